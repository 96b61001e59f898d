"""What a peer notes of itself at the end of a round, and tells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from peer.net.status.account import Account, Picture
from peer.net.status.flood import Flood
from peer.net.status.shown import Shown
from peer.runtime.loading import load_peer
from peer.state.count_sketch import estimate_disagreement
from peer.state.recorder import arena_digest, sketcher
from peer.telling.teller import Teller
from tests.support.network_in_memory import identity, make_endpoint

KEYS: dict[str, Any] = {
    "peers": 2,
    "graph": "complete",
    "addresses": ["tcp://127.0.0.1:0", "tcp://127.0.0.1:1"],
    "algorithm": {"name": "diffusion", "rounds": 9},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
}


class Telling:
    """A peer that does not run, and a clock that is set."""

    def __init__(self, draws: bool = True) -> None:
        experiment = from_mapping(KEYS)
        self.state, _ = load_peer(experiment, 0, algorithms.find(experiment))
        endpoint = make_endpoint(identity(0), [1])
        status = Shown(phases={1: "unknown"})
        io: Any = SimpleNamespace(status=status, flood=Flood(endpoint.roster, endpoint.links))
        self.now, self.io = 0.0, io
        self.sketches = sketcher(experiment, self.state)
        self.teller = Teller(self.state, 0, io, lambda: self.now, draws, None)

    def completed(self, round: int, seconds: float = 1.0, missing: tuple[int, ...] = ()) -> None:
        self.now += seconds
        measures = {"losses": {"generator": 0.5}, "missing": list(missing)}
        self.teller.completed(round, measures, self.now, self.sketches)

    def told(self) -> dict[str, Any]:
        kinds = {"account": Account, "picture": Picture}
        found = self.teller.tell(self.now, "running")
        return {topic: kinds[topic].from_bytes(body) for topic, body in found}


@pytest.fixture
def telling() -> Telling:
    return Telling()


def test_an_account_says_what_was_noted(telling: Telling) -> None:
    telling.teller.tell(0.0, "running")
    assert telling.told()["account"].round == 0
    for round in range(1, 11):
        telling.completed(round, 0.5, (1,) if round == 4 else ())
    telling.state.round = 10
    telling.teller.saved(10)
    telling.now += 3
    account = telling.told()["account"]
    assert (account.round, account.missed, account.missing) == (10, 1, ())
    assert account.pace == pytest.approx(0.8)  # eight seconds, three of them in the round at hand
    assert (account.saved, account.saved_ago) == (10, 3.0)
    assert account.memory > 10**7
    assert account.phases == {1: "unknown"}


def test_a_score_is_told_with_its_round(telling: Telling) -> None:
    telling.completed(1)
    assert telling.told()["account"].measure == ""
    telling.io.status.score = {"measure": "rfd", "rfd": 3.5, "own": None, "covered": 9}
    telling.completed(2)
    telling.completed(3)
    account = telling.told()["account"]
    assert (account.measure, account.score, account.scored) == ("rfd", 3.5, 2)


def test_what_could_not_be_saved_is_not_said_to_be(telling: Telling) -> None:
    telling.state.round = 10
    telling.teller.saved(5)
    assert telling.told()["account"].saved is None


def test_sketches_are_of_rounds_that_all_have_in_common() -> None:
    """Peers at different paces, each as often as it may: some rounds are sketched by both."""
    sketched: list[set[int]] = []
    for pace in (0.1, 0.13):
        telling = Telling(draws=False)
        rounds = set()
        for round in range(1, 1200):
            telling.completed(round, pace)
            rounds.add(telling.told()["account"].sketched)
        sketched.append(rounds)
    assert all(len(rounds) >= 5 for rounds in sketched)
    assert len(sketched[0] & sketched[1]) >= 4
    assert max(map(len, sketched)) <= 1200 * 0.13 / 10 + 1  # no more than one in ten seconds


def test_a_sketch_tells_how_far_apart_two_are(telling: Telling) -> None:
    telling.completed(1)
    one = telling.told()["account"].sketches["generator"]
    net = telling.state.nets["generator"].arena.parameters
    with torch.no_grad():
        net.add_(0.01)
    telling.completed(100, 1000.0)
    other = telling.told()["account"].sketches["generator"]
    found, _ = estimate_disagreement(np.stack([one, other]))
    assert found == pytest.approx(len(net) * 0.005**2, rel=0.3)


def test_pictures_are_drawn_now_and_then_and_change_nothing(telling: Telling) -> None:
    before = arena_digest(telling.state), torch.get_rng_state().tolist()
    drawn = []
    for round in range(1, 41):
        telling.completed(round)
        drawn += [p.round for topic, p in telling.told().items() if topic == "picture"]
    assert 2 <= len(drawn) <= 3  # in forty seconds
    assert (arena_digest(telling.state), torch.get_rng_state().tolist()) == before


def test_who_does_not_draw_tells_no_picture() -> None:
    telling = Telling(draws=False)
    telling.completed(1)
    told = telling.told()
    assert set(told) == {"account"}
    assert (told["account"].draws, told["account"].holds) == (False, None)


def test_who_shows_what_it_draws_says_which_classes_it_holds(telling: Telling) -> None:
    telling.completed(1)
    assert telling.told()["account"].holds == (0, 1)
