"""Letters in the event driver: delays, losses, peers that are away; seeded, and never stuck."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import Letter, Now, Sleep
from peer.experiment import from_mapping
from peer.peer import Peer
from peer.program import Program, Running
from peer.state import PeerState
from sim.event import EventDriver
from sim.network import Network

DEADLINE = 10.0


@dataclass
class Star:
    """Server 0 and its workers; ``>`` the server sends, ``<`` it gathers, ``x`` both at once."""

    workers: int = 2
    pattern: str = "><"
    rounds: int = 3
    pause: dict[int, float] = field(default_factory=dict)  # before every exchange
    skips: bool = True  # a worker to whom nothing comes leaves the rest of the round
    keys: dict[str, Any] = field(default_factory=dict)
    deadline: float = DEADLINE
    log: list[tuple[int, int, int, str, float, float, tuple[int, ...]]] = field(
        default_factory=list
    )

    def run(self) -> Star:
        experiment = from_mapping(
            {
                "peers": self.workers + 1,
                "graph": "star",
                "algorithm": {"name": "diffusion", "rounds": 1},
                "optimizer": {"name": "sgd", "lr": 0.05},
                "gan": "mlp-digits",
                "data": {"source": "digits", "partition": "iid"},
                "batch": 8,
            }
            | self.keys
        )
        peers = {}
        for k in range(self.workers + 1):
            device = torch.device("cpu")
            state = SimpleNamespace(round=0, peer=k, peers=self.workers + 1, nets={}, device=device)
            peers[k] = Peer(cast(PeerState, state), experiment.schedule)
        program = Program("test", self._peer, self.rounds)
        self.driver = EventDriver(peers, program, Network(experiment), self.deadline)
        self.driver.run()
        return self

    def _peer(self, peer: Peer) -> Running:
        return self._server(peer) if peer.id == 0 else self._worker(peer)

    async def _server(self, peer: Peer) -> None:
        workers = range(1, self.workers + 1)
        async for r in peer.rounds(self.rounds):
            for i, way in enumerate(self.pattern):
                await self._step(peer, r, i, way, workers, way in ">x", way in "<x")

    async def _worker(self, peer: Peer) -> None:
        async for r in peer.rounds(self.rounds):
            for i, way in enumerate(self.pattern):
                came = await self._step(peer, r, i, way, [0], way in "<x", way in ">x")
                if self.skips and way in ">x" and not came:
                    break

    async def _step(
        self, peer: Peer, r: int, i: int, way: str, others: Iterable[int], sends: bool, wants: bool
    ) -> dict[int, Letter]:
        if self.pause.get(peer.id):
            await Sleep(self.pause[peer.id])
        began = await Now()
        letter = Letter("it", {"x": torch.full((3,), peer.id)}, {"from": peer.id, "at": [r, i]})
        letters = dict.fromkeys(others, letter) if sends else {}
        came = await peer.exchange("it", letters, others if wants else ())
        for k, each in came.items():
            assert each.facts == {"from": k, "at": [r, i]}
            assert torch.equal(each.tensors["x"], torch.full((3,), k))
        self.log.append((peer.id, r, i, way, began, await Now(), tuple(came)))
        return came

    def steps(self, peer: int) -> list[tuple[int, int, float, float, tuple[int, ...]]]:
        return [(r, i, a, b, came) for k, r, i, _, a, b, came in self.log if k == peer]


# --- time -----------------------------------------------------------------------------------------


def test_a_send_takes_its_delay_and_so_does_waiting_for_it() -> None:
    star = Star(workers=1, rounds=1, keys={"network": {"delay": 2.0}}).run()
    assert [(a, b) for _, _, a, b, _ in star.steps(0)] == [(0.0, 2.0), (2.0, 4.0)]
    assert [(a, b) for _, _, a, b, _ in star.steps(1)] == [(0.0, 2.0), (2.0, 4.0)]


def test_a_send_is_over_when_it_is_there_though_the_other_end_is_busy() -> None:
    star = Star(workers=1, rounds=1, pause={1: 30.0}, keys={"network": {"delay": 1.0}}).run()
    assert [(a, b) for _, _, a, b, _ in star.steps(0)] == [(0.0, 1.0), (1.0, 61.0)]
    assert [(a, b) for _, _, a, b, _ in star.steps(1)] == [(30.0, 30.0), (60.0, 61.0)]


def test_two_letters_cross_in_one_delay() -> None:
    star = Star(workers=2, rounds=2, pattern="x", keys={"network": {"delay": 3.0}}).run()
    assert [b for _, _, _, b, _ in star.steps(0)] == [3.0, 6.0]
    assert [came for *_, came in star.steps(0)] == [(1, 2)] * 2


def test_a_gathering_is_over_with_the_slowest_link() -> None:
    links = [{"between": [0, 2], "delay": 5.0}]
    star = Star(rounds=1, keys={"network": {"delay": 1.0, "links": links}}).run()
    assert [b for _, _, _, b, _ in star.steps(0)] == [5.0, 10.0]
    assert [b for _, _, _, b, _ in star.steps(1)] == [1.0, 2.0]


def test_jitter_moves_the_clock_and_not_what_comes() -> None:
    calm = Star().run()
    jumpy = Star(keys={"network": {"delay": 0.1, "jitter": 3.0}}).run()
    assert [came for *_, came in calm.steps(0)] == [came for *_, came in jumpy.steps(0)]
    assert jumpy.steps(0)[-1][3] > calm.steps(0)[-1][3]


# --- losses and absences --------------------------------------------------------------------------


def test_a_lost_letter_costs_the_deadline_at_both_ends() -> None:
    star = Star(workers=1, rounds=40, skips=False, keys={"network": {"loss": 0.3}}).run()
    got = {(r, i): bool(came) for r, i, _, _, came in star.steps(1) + star.steps(0) if came}
    lost = 80 - len(got)
    assert 10 < lost < 40
    for peer in (0, 1):
        waits = [b - a for _, _, a, b, _ in star.steps(peer)]
        assert set(waits) <= {0.0, DEADLINE}
    assert 0.5 * lost * DEADLINE < star.driver.processes[0].now <= lost * DEADLINE


def test_who_is_past_a_lost_exchange_is_not_waited_for_again() -> None:
    """The one that begins later finds the other past it, and goes on at once."""
    star = Star(workers=1, rounds=40, pattern="x", pause={1: 25.0}, skips=False)
    star.keys = {"network": {"loss": 0.3}}
    star.run()
    waits = [b - a for _, _, a, b, _ in star.steps(1)]
    assert max(waits) == 0.0


def test_an_absent_worker_is_left_out_and_costs_one_deadline() -> None:
    star = Star(rounds=5, keys={"faults": [{"peer": 2, "down": 0.0}]}).run()
    assert [came for _, i, _, _, came in star.steps(0) if i == 1] == [(1,)] * 5
    assert star.driver.processes[0].now <= 2 * DEADLINE
    assert not star.steps(2)


def test_an_absent_server_is_not_waited_for_for_ever() -> None:
    star = Star(rounds=5, keys={"faults": [{"peer": 0, "down": 0.0}]}).run()
    assert [came for *_, came in star.steps(1)] == [()] * 5
    assert star.driver.processes[1].now <= 2 * DEADLINE


def test_a_server_away_for_a_while_and_back_in_time_misses_nothing() -> None:
    faults = [{"peer": 0, "down": 1.0, "up": 7.0}]
    star = Star(pause={0: 0.8, 1: 0.3}, keys={"faults": faults}).run()
    assert [came for _, i, _, _, came in star.steps(0) if i == 1] == [(1, 2)] * 3


def test_one_that_dies_while_its_letter_is_under_way_stops_nobody() -> None:
    """What it would have gone on with comes only after it has gone for ever."""
    keys = {"network": {"delay": 4.0}, "faults": [{"peer": 1, "down": 2.0}]}
    star = Star(keys=keys).run()
    assert len(star.steps(0)) == 6
    assert len(star.steps(2)) == 6


FAULTS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 60), st.none() | st.floats(0.1, 60)), max_size=4
)


@settings(max_examples=300)
@given(
    st.integers(1, 3),
    st.text("<>x", min_size=1, max_size=4),
    st.dictionaries(st.integers(0, 3), st.sampled_from([0.01, 0.5, 3.0, 7.0, 25.0])),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 4.0, 15.0]),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from([0.0, 0.1, 0.5]),
    FAULTS,
    st.integers(0, 1000),
)
def test_nobody_is_ever_stuck_and_the_seed_decides(
    workers: int,
    pattern: str,
    pause: dict[int, float],
    skips: bool,
    delay: float,
    jitter: float,
    loss: float,
    faults: list[tuple[int, float, float | None]],
    seed: int,
) -> None:
    absences = [
        {"peer": k, "down": down, "up": None if length is None else down + length}
        for k, down, length in faults
        if k <= workers
    ]
    network = {"delay": delay, "jitter": jitter, "loss": loss}
    keys = {"network": network, "faults": absences, "seed": seed}
    first, again = (
        Star(workers, pattern, 3, pause, skips, keys).run() for _ in range(2)
    )  # run() itself raises where somebody is stuck
    assert first.log == again.log
    for k, process in first.driver.processes.items():
        if process.finished:
            assert len({r for r, *_ in first.steps(k)}) == 3
        assert process.now < 3 * 4 * (2 * DEADLINE + delay + jitter + 25.0) * 2 + 400.0
