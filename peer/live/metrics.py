"""What Prometheus is told of one peer: its own numbers, and how long ago it heard of the others.

Names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming): base units, and
``_total`` where a number only grows while the process lives.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from peer.live.server import Told
from peer.net.session import Phase
from peer.runtime.process import PeerProcess


class PeerCollector(Collector):
    """Looks at one peer whenever it is asked.

    Args:
        process: the peer's.
    """

    def __init__(self, process: PeerProcess) -> None:
        self.process = process

    def collect(self) -> Iterator[Metric]:
        """Every number there is, as it is now; those that are not known are left out."""
        overview = self.process.overview()
        own = next(each for each in overview["peers"] if each["peer"] == overview["asked"])
        status = self.process.status
        yield _gauge("hearsay_round", "Rounds completed.", status.round)
        yield _gauge("hearsay_rounds", "Rounds that the program asks for.", overview["rounds"])
        pace = own.get("pace")
        yield _gauge("hearsay_round_duration_seconds", "Of a round, lately.", pace)
        loss = GaugeMetricFamily("hearsay_loss", "Of the last round.", labels=["net"])
        for net, value in sorted(dict(status.losses).items()):
            loss.add_metric([net], value)
        yield loss
        yield from self._score(own)
        yield from self._links()
        pending = own.get("pending")
        yield _gauge("hearsay_pending_transfers", "In doubt: kept apart until known.", pending)
        saved, age = own.get("saved"), own.get("saved_ago")
        yield _gauge("hearsay_checkpoint_round", "Of the newest checkpoint.", saved)
        yield _gauge(
            "hearsay_checkpoint_age_seconds",
            "Since this process wrote the newest checkpoint.",
            None if age is None else age + (own["heard"] or 0.0),
        )
        memory = own.get("memory") or None
        yield _gauge("hearsay_resident_memory_bytes", "Of this process.", memory)
        heard = GaugeMetricFamily(
            "hearsay_heard_age_seconds", "Since a peer last told of itself.", labels=["peer"]
        )
        for each in overview["peers"]:
            if each["heard"] is not None:
                heard.add_metric([str(each["peer"])], each["heard"])
        yield heard
        yield CounterMetricFamily(
            "hearsay_status_refused", "STATUS that were dropped.", value=overview["refused"]
        )

    @staticmethod
    def _score(own: dict[str, object]) -> Iterator[Metric]:
        score = GaugeMetricFamily(
            "hearsay_score", "The newest, lower is better.", labels=["measure", "images"]
        )
        for name, images in (("score", "network"), ("own", "own")):
            value = own.get(name)
            if isinstance(value, float):
                score.add_metric([str(own["measure"]), images], value)
        yield score
        covered = own.get("covered")
        yield _gauge(
            "hearsay_covered_classes",
            "That the generator's samples cover.",
            covered if isinstance(covered, int) else None,
        )

    def _links(self) -> Iterator[Metric]:
        io, by = self.process.io, ["neighbour"]
        sent = CounterMetricFamily("hearsay_link_sent_bytes", "To a neighbour.", labels=by)
        received = CounterMetricFamily(
            "hearsay_link_received_bytes", "From a neighbour.", labels=by
        )
        missed = CounterMetricFamily(
            "hearsay_link_missed_rounds", "Rounds that went on without a neighbour.", labels=by
        )
        phase = GaugeMetricFamily(
            "hearsay_link_phase", "1 for the phase that the link is in.", labels=[*by, "phase"]
        )
        phases = dict(io.status.phases)
        for k, now in sorted(phases.items()):
            sent.add_metric([str(k)], io.sockets.sent[k])
            received.add_metric([str(k)], io.received[k])
            missed.add_metric([str(k)], self.process.teller.missed[k])
            for each in Phase:
                phase.add_metric([str(k), each.value], float(each.value == now))
        yield from (sent, received, missed, phase)


def _gauge(name: str, words: str, value: float | None) -> GaugeMetricFamily:
    """A gauge; without a sample where the value is not known."""
    return GaugeMetricFamily(name, words, value=value)


def told_by(process: PeerProcess, is_open: bool, token: str) -> Told:
    """What an application answers of that peer."""
    registry = CollectorRegistry()
    registry.register(PeerCollector(process))
    return Told(process.overview, lambda: generate_latest(registry), token, is_open)
