"""The network model: when values arrive, which exchanges are lost, and which peers are away.

Every random number follows from (seed, link, moment), never from the order of events.
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


class Transmission(NamedTuple):
    """A value on its way.

    Attributes:
        sender: who sent it.
        receiver: to whom.
        t: the exchange's moment on their link.
        sent_at: virtual time, in seconds.
        earliest_arrival: when it arrives if no other sender's values contend with it.
        propagation_delay: the part of the way in which it occupies no bandwidth, in seconds.
        shared_bytes: bytes charged to what senders share: the downlink, the common channel.
        is_mutual: whether the receiver sends a value back in the same exchange.
        value: None where neither end of it is in this process.
    """

    sender: int
    receiver: int
    t: Moment
    sent_at: float
    earliest_arrival: float
    propagation_delay: float
    shared_bytes: float
    is_mutual: bool
    value: Value | None


class NetworkModel:
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
        common = _stated(spec)
        if spec.link is not None:
            common = _stated(link_of(spec.link, folder)) | common
        self._default = LinkProfile.model_validate(common)
        self._links: dict[frozenset[int], LinkProfile] = {}
        for i, link in enumerate(spec.links):
            own = _stated(link)
            if link.link is not None:
                own = _stated(link_of(link.link, folder, f"network.links.{i}.link")) | own
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
            if experiment.backups and fault.peer == experiment.server:
                continue  # its place is taken by another (sim.failover)
            until = math.inf if fault.up is None else fault.up
            self.absences.setdefault(fault.peer, []).append((fault.down, until))

        busy = [*self._uplinks.values(), *self._downlinks.values(), self._channel]
        flawed = any(_stated(self._default).values()) or self._links or self.absences
        self.is_ideal = not flawed and not any(busy)
        """Whether values arrive at once and no peer is ever away: nothing below need be asked."""
        lossy = any(link.loss for link in (self._default, *self._links.values()))
        self.is_reliable = not (lossy or self.absences or experiment.deadline_adapts)
        """Whether every value arrives and is waited for: no peer ever does without a neighbour."""
        self.is_shared = any([*self._downlinks.values(), self._channel])
        """Whether several senders share bandwidth: then one's values delay another's."""

    def send(
        self,
        sender: int,
        moments: Mapping[int, Moment],
        now: float,
        outgoing: Mapping[int, Value],
        wanted: Collection[int],
    ) -> list[Transmission]:
        """Send a peer's values of one exchange: through its uplink, then through each link.

        On the uplink they share the bandwidth equally, and all end at the same time. To be called
        once an exchange, because it occupies uplink and links.

        Args:
            sender: the peer.
            moments: of the exchange, by neighbour.
            now: when it begins.
            outgoing: the value for each neighbour to whom one is sent.
            wanted: the neighbours who send one back in the same exchange.
        """
        if self.is_ideal:
            return [
                Transmission(sender, k, moments[k], now, now, 0.0, 0.0, k in wanted, outgoing[k])
                for k in sorted(outgoing)
            ]
        nbytes = {
            k: outgoing[k].nbytes * self._duplex_charge(sender, k, wanted) for k in sorted(outgoing)
        }
        uplink = self._uplinks[sender]
        up = uplink.carry(now, sum(nbytes.values())) if uplink else now
        found = []
        for k, size in nbytes.items():
            link, delay = self._link(sender, k), self.delay(sender, k, moments[k])
            through = max(up, link.carry(now, size)) if link else up
            arrival, t = through + delay, moments[k]
            found.append(
                Transmission(sender, k, t, now, arrival, delay, size, k in wanted, outgoing[k])
            )
        return found

    def arrival(self, sent: Transmission) -> float:
        """When a value arrives: through its receiver's downlink and the common channel, too.

        To be called once for every value that any peer sends, in the same order on every rank,
        because it occupies what senders share.
        """
        if not self.is_shared:
            return sent.earliest_arrival
        shared = [each for each in (self._downlinks[sent.receiver], self._channel) if each]
        ends = [
            each.carry(sent.sent_at, sent.shared_bytes) + sent.propagation_delay for each in shared
        ]
        return max([sent.earliest_arrival, *ends])

    def delay(self, sender: int, receiver: int, t: Moment) -> float:
        """Seconds of propagation delay of a message at ``t``, whatever its size."""
        link = self._profile(sender, receiver)
        delay, jitter = link.delay or 0.0, link.jitter
        if not jitter:
            return delay
        return delay + jitter * stream(self.seed, "delay", sender, receiver, *t).random()

    def crossing(self, nbytes: int) -> float:
        """Seconds that so many bytes take from one process to another, where nothing else does."""
        seconds = self._default.delay or 0.0
        if self._default.bandwidth:
            seconds += 8e-6 * nbytes / self._default.bandwidth
        return seconds

    def loses(self, one: int, other: int, t: Moment) -> bool:
        """Whether the link's exchange at ``t`` is lost, and so for both of its ends."""
        loss = self._profile(one, other).loss
        if not loss:
            return False
        low, high = sorted((one, other))
        return bool(stream(self.seed, "loss", low, high, *t).random() < loss)

    def back_at(self, peer: int, now: float) -> float:
        """When ``peer`` is next present: ``now`` itself, or the end of its absence."""
        if not self.absences:
            return now
        for down, up in sorted(self.absences.get(peer, [])):
            if down <= now < up:
                now = up
        return now

    def dump(self) -> dict[str, list[list[float]]]:
        """When each channel is busy, in types that JSON knows, for :meth:`load`."""
        return {name: channel.dump() for name, channel in self._channels() if channel is not None}

    def load(self, dumped: Mapping[str, Sequence[Sequence[float]]]) -> None:
        """Be as busy as :meth:`dump` said."""
        for name in dumped:
            kind, *ends = name.split()
            if kind == "link":
                self._link(int(ends[0]), int(ends[1]))  # links have no channel before their use
        for name, channel in self._channels():
            if channel is not None and name in dumped:
                channel.load(dumped[name])

    def _channels(self) -> Iterator[tuple[str, Channel | None]]:
        """All that there are so far, each with a name of its own."""
        yield "common", self._channel
        for kind, channels in (("uplink", self._uplinks), ("downlink", self._downlinks)):
            for peer, channel in channels.items():
                yield f"{kind} {peer}", channel
        for (sender, receiver), channel in self._directions.items():
            yield f"link {sender} {receiver}", channel

    def _duplex_charge(self, sender: int, receiver: int, wanted: Collection[int]) -> float:
        """By what its bytes are multiplied, where a value in the other direction slows it down."""
        return 1 / (self._profile(sender, receiver).duplex or 1.0) if receiver in wanted else 1.0

    def _profile(self, one: int, other: int) -> LinkProfile:
        if not self._links:
            return self._default
        return self._links.get(frozenset((one, other)), self._default)

    def _link(self, sender: int, receiver: int) -> Channel | None:
        """One direction of a link, if its bandwidth is limited."""
        if (sender, receiver) not in self._directions:
            bandwidth = self._profile(sender, receiver).bandwidth
            self._directions[sender, receiver] = Channel(bandwidth) if bandwidth else None
        return self._directions[sender, receiver]


def _stated(link: LinkProfile) -> dict[str, float]:
    """The link keys that are given, without those left open."""
    return link.model_dump(include=set(LinkProfile.model_fields), exclude_none=True)
