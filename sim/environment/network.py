"""The simulated network: how long an exchange is under way, which are lost, and who is away.

Everything is drawn from (seed, link, moment), never from the order in which things happen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from peer.effects import Moment
from peer.experiment import Experiment
from peer.experiment.cost_models import LinkProfile
from peer.experiment.profiles import link_of
from peer.streams import stream
from sim.environment.channels import Channel
from sim.environment.devices import Devices
from sim.simulated_peer.simulated_peer import Value

SUSPECT_AFTER = 5.0
"""Seconds of silence after which a neighbour is not waited for any more (as over ZeroMQ)."""


class Sent(NamedTuple):
    """A value on its way.

    Attributes:
        soonest: when it is there, if nothing is in its way that other senders use, too.
        delay: the part of that in which it takes up nothing.
        nbytes: that it takes of what other senders use, too.
        crossing: whether its sender wants one back, at the same moment.
        value: None where neither end of it is in this process.
    """

    sender: int
    receiver: int
    t: Moment
    at: float
    soonest: float
    delay: float
    nbytes: float
    crossing: bool
    value: Value | None


class Network:
    """Time, loss and absence, as the experiment's ``network:``, ``devices:``, ``faults:`` say.

    A link's own keys come first, then its profile's, then the network's, then the network's
    profile's.

    Raises:
        UserError: a profile's file is missing, or is no profile.
    """

    def __init__(self, experiment: Experiment) -> None:
        spec, folder = experiment.network, experiment.folder
        self.seed = experiment.seed
        self.compute = Devices(experiment).seconds
        common = _said(spec)
        if spec.link is not None:
            common = _said(link_of(spec.link, folder)) | common
        self._default = LinkProfile.model_validate(common)
        self._links: dict[frozenset[int], LinkProfile] = {}
        for i, link in enumerate(spec.links):
            own = _said(link)
            if link.link is not None:
                own = _said(link_of(link.link, folder, f"network.links.{i}.link")) | own
            self._links[frozenset(link.between)] = LinkProfile.model_validate(common | own)
        ends = {end.peer: end for end in spec.ends}
        up = {k: (k in ends and ends[k].uplink) or spec.uplink for k in range(experiment.peers)}
        down = {k: (k in ends and ends[k].downlink) or spec.downlink for k in up}
        self._uplinks = {k: Channel(mbit_s) if mbit_s else None for k, mbit_s in up.items()}
        self._downlinks = {k: Channel(mbit_s) if mbit_s else None for k, mbit_s in down.items()}
        self._channel = Channel(spec.channel) if spec.channel else None
        self._directions: dict[tuple[int, int], Channel | None] = {}  # of links
        self.absences: dict[int, list[tuple[float, float]]] = {}
        for fault in experiment.faults:
            until = math.inf if fault.up is None else fault.up
            self.absences.setdefault(fault.peer, []).append((fault.down, until))

        busy = [*self._uplinks.values(), *self._downlinks.values(), self._channel]
        flawed = any(_said(self._default).values()) or self._links or self.absences
        self.is_ideal = not flawed and not any(busy)
        """Whether values are there at once, and everybody always: nothing need be asked below."""
        lossy = any(link.loss for link in (self._default, *self._links.values()))
        self.is_reliable = not lossy and not self.absences
        """Whether every value arrives, be it late: nobody ever does without a neighbour."""
        self.is_shared = any([*self._downlinks.values(), self._channel])
        """Whether values of several senders go through the same: one is in another's way."""

    def send(
        self,
        sender: int,
        moments: Mapping[int, Moment],
        now: float,
        outgoing: Mapping[int, Value],
        wanted: Collection[int],
    ) -> list[Sent]:
        """Put what a peer sends in one exchange on its way: through its uplink, and each link.

        On the uplink all of it goes side by side, and is through at once. To be asked once: what
        values go through is busy meanwhile.

        Args:
            sender: the peer.
            moments: of the exchange, by neighbour.
            now: when it begins.
            outgoing: the value for each neighbour to whom one goes.
            wanted: the neighbours who send one, too, at that moment.
        """
        if self.is_ideal:
            return [
                Sent(sender, k, moments[k], now, now, 0.0, 0.0, k in wanted, outgoing[k])
                for k in sorted(outgoing)
            ]
        nbytes = {k: outgoing[k].nbytes * self._share(sender, k, wanted) for k in sorted(outgoing)}
        uplink = self._uplinks[sender]
        up = uplink.carry(now, sum(nbytes.values())) if uplink else now
        found = []
        for k, size in nbytes.items():
            link, delay = self._link(sender, k), self.delay(sender, k, moments[k])
            through = max(up, link.carry(now, size)) if link else up
            soonest = through + delay
            found.append(
                Sent(sender, k, moments[k], now, soonest, delay, size, k in wanted, outgoing[k])
            )
        return found

    def arrival(self, sent: Sent) -> float:
        """When a value is there: through its receiver's downlink and the common channel, too.

        To be asked once for every value that any peer sends, in the same order everywhere.
        """
        if not self.is_shared:
            return sent.soonest
        ways = [way for way in (self._downlinks[sent.receiver], self._channel) if way is not None]
        through = [way.carry(sent.at, sent.nbytes) + sent.delay for way in ways]
        return max([sent.soonest, *through])

    def delay(self, sender: int, receiver: int, t: Moment) -> float:
        """Seconds that a message sent at ``t`` is under way, whatever its size."""
        link = self._of(sender, receiver)
        delay, jitter = link.delay or 0.0, link.jitter
        if not jitter:
            return delay
        return delay + jitter * stream(self.seed, "delay", sender, receiver, *t).random()

    def loses(self, one: int, other: int, t: Moment) -> bool:
        """Whether the link's exchange at ``t`` is lost: for both ends, as the protocol agrees."""
        loss = self._of(one, other).loss
        if not loss:
            return False
        low, high = sorted((one, other))
        return bool(stream(self.seed, "loss", low, high, *t).random() < loss)

    def back_at(self, peer: int, now: float) -> float:
        """When ``peer`` is next there: ``now`` itself, or the end of its absence."""
        if not self.absences:
            return now
        for down, up in sorted(self.absences.get(peer, [])):
            if down <= now < up:
                now = up
        return now

    def dump(self) -> dict[str, list[list[float]]]:
        """When what values go through is busy, in types that JSON knows, for :meth:`load`."""
        return {name: channel.dump() for name, channel in self._channels() if channel is not None}

    def load(self, dumped: Mapping[str, Sequence[Sequence[float]]]) -> None:
        """Be as busy as :meth:`dump` said."""
        for name in dumped:
            kind, *ends = name.split()
            if kind == "link":
                self._link(int(ends[0]), int(ends[1]))  # made when it is first used
        for name, channel in self._channels():
            if channel is not None and name in dumped:
                channel.load(dumped[name])

    def _channels(self) -> Iterator[tuple[str, Channel | None]]:
        yield "common", self._channel
        for kind, of in (("uplink", self._uplinks), ("downlink", self._downlinks)):
            for peer, channel in of.items():
                yield f"{kind} {peer}", channel
        for (sender, receiver), channel in self._directions.items():
            yield f"link {sender} {receiver}", channel

    def _share(self, sender: int, receiver: int, wanted: Collection[int]) -> float:
        """How many times as much a value counts where it meets another on its link."""
        return 1 / (self._of(sender, receiver).duplex or 1.0) if receiver in wanted else 1.0

    def _of(self, one: int, other: int) -> LinkProfile:
        if not self._links:
            return self._default
        return self._links.get(frozenset((one, other)), self._default)

    def _link(self, sender: int, receiver: int) -> Channel | None:
        """One direction of a link, where its bandwidth is limited."""
        if (sender, receiver) not in self._directions:
            bandwidth = self._of(sender, receiver).bandwidth
            self._directions[sender, receiver] = Channel(bandwidth) if bandwidth else None
        return self._directions[sender, receiver]


def _said(link: LinkProfile) -> dict[str, float]:
    """What it says of links, without what it leaves open."""
    return link.model_dump(include=set(LinkProfile.model_fields), exclude_none=True)
