"""The chamber: real driver and protocol, simulated network; what it promises, and what it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from peer.console import run_app
from peer.effects import Letter
from peer.peer import Peer
from sim.__main__ import app
from sim.torture.chaos.draw import draw_scenario
from sim.torture.chaos.scenario import KINDS, POINTS, Fault, Rates, Scenario
from sim.torture.chaos.shrink import shrink
from sim.torture.trial import Trial, run_scenario
from tests.torture import bugs
from topology.errors import UserError


class NothingToSay(BaseModel):
    """Settings of the algorithms below."""

    rounds: int


ROOT = Path(__file__).resolve().parents[2]
KEPT = (Path(__file__).parent / "seeds.txt").read_text(encoding="utf-8").splitlines()
SEEDS = [
    (int(seed), int(peers)) for seed, peers, _ in (line.split(maxsplit=2) for line in KEPT[1:])
]


@pytest.mark.parametrize(("seed", "peers"), SEEDS)
def test_seeds_that_found_something(seed: int, peers: int) -> None:
    assert run_scenario(draw_scenario(seed, peers)).failures == []


@pytest.mark.parametrize("block", range(10))
def test_every_promise_is_kept(block: int) -> None:
    for seed in range(8 * block, 8 * block + 8):
        assert run_scenario(draw_scenario(seed, 16)).failures == [], f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("block", range(15))
def test_every_promise_is_kept_by_up_to_fifty(block: int) -> None:
    for seed in range(1000 + 20 * block, 1020 + 20 * block):
        assert run_scenario(draw_scenario(seed)).failures == [], f"seed {seed}"


# --- the same seed, the same trace ----------------------------------------------------------------


def test_the_same_seed_has_the_same_trace() -> None:
    first, again = (run_scenario(draw_scenario(5)) for _ in range(2))
    assert first.trace == again.trace
    assert first.counts == again.counts
    assert run_scenario(draw_scenario(6)).trace != first.trace


def test_the_trace_is_the_same_in_another_process() -> None:
    code = (
        "from sim.torture.chaos.draw import draw_scenario\n"
        "from sim.torture.trial import run_scenario\n"
        "print(run_scenario(draw_scenario(5)).trace)"
    )
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == run_scenario(draw_scenario(5)).trace


def test_faults_happen_in_the_chamber() -> None:
    scenario = replace(draw_scenario(1, 6), rates=Rates(0.05, 0.1, 0.1, 0.2), faults=())
    counts = run_scenario(scenario).counts
    assert all(counts[kind] > 0 for kind in ("lost", "twice", "late", "flipped", "combines"))


@pytest.mark.parametrize("point", POINTS)
def test_every_failpoint_is_reached(point: str) -> None:
    """A process is killed there, and goes on from what its disk has; the mean stays."""
    # Who decides never votes, and only who votes holds anything apart: when the decider dies.
    peer = 0 if point in ("got vote", "sending commit", "sent commit") else 1
    faults = (
        Fault("power", 1.0, 0.3, peer, point=point),
        Fault("crash", 3.0, 8.0, 0, point="got vote"),
    )
    verdict = run_scenario(
        Scenario(
            1, 2, "path", rounds=60, heals_at=45.0, compute=(0.3, 0.3), exchanges=2, faults=faults
        )
    )
    assert verdict.failures == []
    assert verdict.counts["crashes"] == 2


# --- it can fail ----------------------------------------------------------------------------------


def first_found(seeds: int, focus: str | None, **fixed: object) -> int | None:
    """The first of so many seeds that breaks a promise."""
    for seed in range(seeds):
        if run_scenario(draw_scenario(seed, 8, fixed=fixed, focus=focus)).failures:
            return seed
    return None


def test_the_canary_fails() -> None:
    verdict = run_scenario(draw_scenario(0, 10, "canary", {"compression": "none"}))
    assert verdict.failures == ["in the calm rounds, the peers' disagreement did not fall"]


def test_an_exchange_without_agreement_is_found_in_10_seeds() -> None:
    assert first_found(10, None, **bugs.NAIVE) is not None


@pytest.mark.parametrize(
    ("put", "seeds", "focus"),
    [
        (bugs.a_doubt_is_forgotten, 10, None),
        (bugs.what_is_held_counts_twice, 20, None),
        (bugs.a_rename_is_not_synced, 10, None),
        (bugs.a_checkpoint_is_not_synced, 10, None),
        (bugs.votes_of_the_past_count, 40, "restarts"),
        (bugs.a_former_vote_is_not_answered, 10, "restarts"),
        (bugs.values_ahead_outlive_their_process, 20, "restarts"),
        (bugs.an_offer_stays_deferred, 10, "letters"),
        (bugs.a_late_value_is_used, 10, "letters"),
    ],
)
def test_a_bug_put_back_is_found(
    put: bugs.Put, seeds: int, focus: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch)
    assert first_found(seeds, focus) is not None


# --- users' own experiments -----------------------------------------------------------------------


def test_an_experiment_of_a_user_is_put_to_the_torture(tmp_path: Path) -> None:
    """Its peers, graph, nets and algorithm are used; both nets are audited."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "peers: 3\ngraph: path\nalgorithm: {name: diffusion, rounds: 5}\n"
        "gan: {name: 'tests.support.games:drawing', z: 4}\ndata: {source: digits}\nbatch: 4\n"
        "optimizer: {name: sgd, lr: 0.05}\n"
    )
    trial = Trial(draw_scenario(3, program="", file=str(path)))
    assert trial.run().failures == []
    assert trial.ledgers.keys() == {"generator", "discriminator"}
    assert trial.scenario.peers == 3
    assert trial.edges == [(0, 1), (1, 2)]
    assert all(ledger.combines > 0 for ledger in trial.ledgers.values())


async def never_combines(peer: Peer, config: NothingToSay) -> None:
    """An algorithm in which peers only talk."""
    async for _ in peer.rounds(config.rounds):
        letter = Letter("hello", {}, {"from": peer.id})
        came = await peer.exchange("hello", dict.fromkeys(peer.neighbours, letter), peer.neighbours)
        assert all(each.facts["from"] == k for k, each in came.items())


async def fails_in_its_third_round(peer: Peer, config: NothingToSay) -> None:
    """An algorithm with a bug of its own."""
    async for r in peer.rounds(config.rounds):
        assert r < 2


@pytest.mark.parametrize(
    ("coroutine", "expected"),
    [("never_combines", ""), ("fails_in_its_third_round", "AssertionError")],
)
def test_an_algorithm_of_a_user_is_put_to_the_torture(coroutine: str, expected: str) -> None:
    scenario = draw_scenario(4, 4, f"tests.torture.test_torture:{coroutine}")
    assert any(expected in failure for failure in run_scenario(scenario).failures) == bool(expected)


def test_what_the_command_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        (["--program", "consensos"], "consensus"),
        (["examples/ring.yaml", "--peers", "9"], "says how many peers"),
        (["examples/ring.yaml", "--program", "canary"], "module:coroutine"),
    ):
        with pytest.raises(SystemExit):
            run_app(app, ["torture", *words])
        assert why in capsys.readouterr().err


# --- files and shrinking --------------------------------------------------------------------------


def test_a_scenario_is_read_as_it_was_written(tmp_path: Path) -> None:
    scenario = draw_scenario(7)
    scenario.write(tmp_path / "one.json")
    assert Scenario.read(tmp_path / "one.json") == scenario
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(UserError, match="no scenario"):
        Scenario.read(tmp_path / "one.json")


def test_shrinking_leaves_what_the_failure_needs() -> None:
    faults = tuple(Fault(KINDS[i % 4], 1.0 + i, 1.0, 0, 1) for i in range(20))
    scenario = Scenario(0, 2, rates=Rates(0.1, 0.1, 0.1, 0.1), jitter=0.3, faults=faults)
    needed = {faults[3], faults[17]}
    smallest = shrink(scenario, lambda s: needed <= set(s.faults) and s.rates.late > 0)
    assert set(smallest.faults) == needed
    assert smallest.rates == Rates(late=0.1)
    assert smallest.jitter == 0.0
