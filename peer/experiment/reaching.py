"""Where peers are reached, and how long they are waited for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from peer.experiment.addresses import DISCOVER, beside
from peer.settings import Settings

ELECTION_PORT = 1000
"""How much the port at which a process takes part in elections is above its own."""

LONGEST = 60.0
"""Seconds that a silent neighbour is waited for, unless the file says otherwise."""


class Reaching(Settings):
    """The experiment's keys on addresses, secrets and time limits."""

    addresses: str | tuple[str, ...] = Field(
        "tcp://127.0.0.1:{port}",
        description="One a peer, or a template with {id} and {port}; ipc:///FOLDER/{id} between "
        "processes of one machine; discover: found by mDNS, on one network (hearsay[discover]).",
    )
    port: int = Field(47100, ge=1, le=65535, description="{port} is this plus the peer's id.")
    listen: str | None = Field(None, description="Where to listen, if not at one's own address.")
    keys: dict[int, str] = Field(default_factory=dict, description="Each peer's public key.")
    invitations: bool = Field(
        True, description="Let in whom a neighbour has invited (`peer invite`), on its word."
    )
    insecure: bool = Field(False, description="Allow plain text beyond loopback.")
    start_timeout: float = Field(120.0, gt=0, description="Seconds round 0 waits for neighbours.")
    deadline: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        LONGEST,
        description="Seconds a silent neighbour is waited for; auto: a slow one, too, is waited "
        "for within limits, which follow from what exchanges take.",
    )
    catch_up: int = Field(
        10,
        ge=1,
        description="Rounds that a peer which was away makes up by itself; with more missing it "
        "is not waited for, and joins the others where they are.",
    )
    durability: Literal["none", "interval", "exact"] = Field(
        "interval",
        description="What a lost connection may cost. interval: both ends of a link use what they "
        "swap, or neither does, and what is not known yet is held apart; a crash loses what was "
        "trained since the last checkpoint. exact: a crash loses nothing that a neighbour has "
        "used, as what comes is on the disk before it counts; costs one or two fsync an exchange. "
        "none: one end may use it alone, which moves the peers' mean.",
    )
    backups: int = Field(
        0,
        ge=0,
        le=8,
        description="Processes that stand by for the server of a star: its state is with them "
        "before a round counts, and one of them takes its place where it dies. Their ids follow "
        "the peers'.",
    )
    isolation: float | None = Field(
        None,
        gt=0,
        description="Seconds without any neighbour after which a peer gives up; ten deadlines.",
    )
    alone: bool = Field(False, description="Train on where no neighbour is reached.")
    checksum: bool = Field(
        True,
        description="Check every chunk, where CURVE is off and both ends have it on.",
    )

    @property
    def discovers(self) -> bool:
        """Whether peers find each other's addresses (``addresses: discover``)."""
        return self.addresses == DISCOVER

    @property
    def deadline_adapts(self) -> bool:
        """Whether it follows from what exchanges take (``deadline: auto``)."""
        return self.deadline == "auto"

    @property
    def longest_deadline(self) -> float:
        """Seconds that a silent neighbour is waited for at most."""
        return LONGEST if isinstance(self.deadline, str) else self.deadline

    def election_address(self, process: int, *, to_listen: bool = False) -> str:
        """Where a process takes part in elections: next to where it is reached as a peer."""
        of_peer = self.listening_address(process) if to_listen else self.address(process)
        return beside(of_peer, ELECTION_PORT)

    def address(self, peer: int) -> str:
        """Where ``peer`` is reached, such as ``tcp://192.168.0.13:47103``."""
        if self.discovers:
            return f"mdns://peer-{peer}"
        if isinstance(self.addresses, str):
            return self.addresses.format(id=peer, port=self.port + peer)
        return self.addresses[peer]

    def listening_address(self, peer: int, address: str | None = None) -> str:
        """Where ``peer`` listens: ``listen``, or its own ``address``; that of the file, if None."""
        if self.listen is None:
            where = self.address(peer) if address is None else address
            return f"tcp://*:{self.port + peer}" if where.startswith("mdns://") else where
        return self.listen.format(id=peer, port=self.port + peer)
