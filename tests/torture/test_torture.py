"""The chamber: real driver and protocol, simulated network; what it promises, and what it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sim.torture.chaos.draw import draw_scenario
from sim.torture.chaos.scenario import KINDS, Fault, Rates, Scenario
from sim.torture.chaos.shrink import shrink
from sim.torture.trial import run_scenario
from tests.torture import bugs
from topology.errors import UserError

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


# --- it can fail ----------------------------------------------------------------------------------


def seeds_until_found(count: int, **fixed: object) -> int | None:
    """The first of so many seeds that breaks a promise."""
    for seed in range(count):
        if run_scenario(draw_scenario(seed, 10, fixed=fixed)).failures:
            return seed
    return None


def test_the_canary_fails() -> None:
    verdict = run_scenario(draw_scenario(0, 10, "canary"))
    assert verdict.failures == ["in the calm rounds, the peers' disagreement did not fall"]


def test_an_exchange_without_agreement_is_found_in_5_seeds() -> None:
    assert seeds_until_found(5, **bugs.NAIVE) is not None


@pytest.mark.parametrize("put", [bugs.a_doubt_is_forgotten, bugs.what_is_held_counts_twice])
def test_a_bug_put_back_is_found_in_10_seeds(
    put: bugs.Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch)
    assert seeds_until_found(10) is not None


def test_leaping_late_comers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_scenario(draw_scenario(8)).failures == []
    bugs.late_comers_leap_over_each_other(monkeypatch)
    assert run_scenario(draw_scenario(8)).failures != []


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
