"""The stacked engine against the event engine: the same numbers up to rounding."""

from __future__ import annotations

import json
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import algorithms
import sim
from peer.effects import Train
from peer.experiment import from_mapping
from peer.state import PeerState
from sim.engines.autotune import TRIALS, Autotuner
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN, SYSTEMS, keys_of
from topology import UserError

SGD = {"optimizer": {"name": "sgd", "lr": 0.01}}
"""Adam's first steps divide rounding by itself; under SGD, equal means equal."""

ONE_AT_A_TIME = {"sequential", "sequential, serverless", "fegan", "fegan (0, 0)"}
"""Systems in which no two of these few peers ever train together."""


def end(keys: dict[str, Any], engine: Stacked | None) -> dict[int, PeerState]:
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    return states


def assert_close(one: dict[int, PeerState], other: dict[int, PeerState]) -> None:
    for k in one:
        assert one[k].round == other[k].round
        assert one[k].streams.dump() == other[k].streams.dump()
        for name, net in one[k].nets.items():
            ours, theirs = net.arena.vector, other[k].nets[name].arena.vector
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_stacked_equals_one_peer_at_a_time(system: str) -> None:
    keys = keys_of(system, rounds=3) | SGD
    engine = Stacked()
    assert_close(end(keys, engine), end(keys, None))
    assert any(tuner.stacked for tuner in engine.tuners.values()) == (system not in ONE_AT_A_TIME)


def test_peers_train_on_batches_of_their_own() -> None:
    """FeGAN's loads: only those that draw as many images are computed together."""
    slow = {"alpha": 1.0, "delta": 1.0, "memory": 8.0}
    algorithm = {
        "name": "fegan", "rounds": 2, "local_steps": 3, "fraction": 1.0, "balanced": False,
        "capabilities": {1: slow, 3: slow},
    }  # fmt: skip
    keys = PLAIN | SGD | {"algorithm": algorithm}
    engine = Stacked()
    stacked = end(keys, engine)
    assert {k: load[1] for k, load in stacked[0].facts["loads"].items()} == {
        "1": 8, "2": 16, "3": 8, "4": 16,
    }  # fmt: skip
    assert_close(stacked, end(keys, None))
    together = [kind for kind, tuner in engine.tuners.items() if tuner.stacked]
    assert {kind[5] for kind in together if kind[0] is Train} == {8, 16}


BATCH_NORM = {
    "gan": {"name": "dcgan28", "width": 4},
    "data": {"source": "synthetic", "images": 40, "size": 28, "partition": "own"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"graph": "ring", "algorithm": {"name": "diffusion", "n_d": 2}},
        {"algorithm": {"name": "fedavg", "local_steps": 2, "fraction": 0.5}},  # rows far apart
        {"algorithm": {"name": "distributed_gan", "approach": "average_output"}},
        {"graph": "complete", "algorithm": {"name": "mdgan", "swap": True, "swap_epochs": 0.5}},
    ],
    ids=["diffusion", "fedavg", "average output", "mdgan"],
)
def test_batch_norm_stacked_moves_its_statistics(changes: dict[str, Any]) -> None:
    algorithm = {**changes["algorithm"], "rounds": 2}
    keys = PLAIN | BATCH_NORM | SGD | changes | {"algorithm": algorithm}
    engine = Stacked(threads=2, convolutions=True)
    stacked, alone = end(keys, engine), end(keys, None)
    assert_close(stacked, alone)
    assert all(tuner.stacked for tuner in engine.tuners.values())
    for k, state in alone.items():
        for name, net in state.nets.items():
            for counter, value in net.arena.counters.items():
                assert torch.equal(value, stacked[k].nets[name].arena.counters[counter])


DIFFUSION = PLAIN | {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": 8}} | SGD


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"delay": 0.01, "jitter": 3.0}},
        {"network": {"loss": 0.3}, "deadline": 1.0},
        {"faults": [{"peer": 2, "down": 0.0045, "up": 40.0}], "deadline": 3.0},
        {"faults": [{"peer": 1, "down": 0.0045}], "deadline": 3.0},
        {"compression": "int8"},
        {"algorithm": {"name": "diffusion", "rounds": 8, "local_steps": 3, "overlap": True}},
    ],
    ids=["jitter", "loss", "away", "gone", "compressed", "overlapping"],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_whatever_the_network_does_the_result_is_the_same(
    changes: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several threads, peers go on while others' blocks are still computed."""
    # Threads share small products, too.
    monkeypatch.setattr("sim.engines.sparse_combine.THREADING_BYTES", 0)
    before = torch.get_num_threads()
    assert_close(end(DIFFUSION | changes, Stacked(threads)), end(DIFFUSION | changes, None))
    assert torch.get_num_threads() == before


def test_every_optimizer_is_stacked_with_a_step_count_a_row() -> None:
    """FedAvg samples: workers have taken different numbers of steps."""
    for name in ("adam", "adamw", "rmsprop", "adagrad", "nadam"):
        keys = keys_of("fedavg, half of them", rounds=4)
        keys |= {"optimizer": {"name": name, "lr": 0.001}}
        engine = Stacked()
        stacked, alone = end(keys, engine), end(keys, None)
        assert all(tuner.stacked for tuner in engine.tuners.values())
        counts = set()
        for k in range(1, 5):
            for net in ("generator", "discriminator"):
                ours, theirs = stacked[k].nets[net].moments, alone[k].nets[net].moments
                assert ours.keys() == theirs.keys()
                if "step" in theirs:
                    counts.add(float(theirs["step"]))
                    assert float(ours["step"]) == float(theirs["step"])
        assert len(counts) > 1


AWKWARD = """
import torch
from torch import nn

class Counting(nn.Module):
    def forward(self, x):
        return x * (2.0 if x.sum().item() > 0 else 1.0)   # vmap has no number to compare

def build(shape, draws=False):
    middle = nn.Dropout(0.5) if draws else Counting()
    g = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
    return g, nn.Sequential(nn.Flatten(), nn.Linear(64, 16), middle, nn.Linear(16, 1))
"""


def test_a_net_that_cannot_be_batched_runs_as_alone_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "awkward_nets.py").write_text(AWKWARD)
    experiment = from_mapping(DIFFUSION | {"gan": "awkward_nets:build"}, folder=tmp_path)
    states, alone = make_states(experiment), make_states(experiment)
    engine = Stacked(threads=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        drive(experiment, states, algorithms.find(experiment), engine=engine)
    drive(experiment, alone, algorithms.find(experiment))
    for k, state in states.items():
        for name, net in state.nets.items():  # combines are one sparse product, hence "close"
            torch.testing.assert_close(net.arena.vector, alone[k].nets[name].arena.vector)
    texts = [str(each.message) for each in said if "one peer at a time" in str(each.message)]
    assert len(texts) == len(set(engine.tuners)) == 2  # D's steps, and G's through D


@pytest.mark.parametrize(
    "keys", [{}, {"graph": "complete", "algorithm": {"name": "mdgan", "rounds": 2}}]
)
def test_a_net_that_draws_is_not_batched(keys: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "drawing_nets.py").write_text(AWKWARD)
    gan = {"name": "drawing_nets:build", "draws": True}
    experiment = from_mapping(DIFFUSION | {"gan": gan} | keys, folder=tmp_path)
    states, alone = make_states(experiment), make_states(experiment)
    engine = Stacked(threads=2)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    drive(experiment, alone, algorithms.find(experiment))
    assert not engine.tuners
    for k, state in states.items():
        for name, net in state.nets.items():
            torch.testing.assert_close(net.arena.vector, alone[k].nets[name].arena.vector)


@pytest.mark.parametrize(("together", "alone"), [(0.5, 1.0), (1.0, 0.5)])
def test_the_tuner_takes_the_faster_of_the_two_by_medians(together: float, alone: float) -> None:
    tuner = Autotuner(None)
    assert tuner.describe() == "not decided: too few steps"
    tried = []
    for turn in range(2 * (TRIALS + 1)):
        stacked = tuner.choose()
        tried.append(stacked)
        first = 100.0 * (turn < 2)  # first times, which warm up, do not count
        tuner.record(stacked, first + (together if stacked else alone))
    assert tried == [True, False] * (TRIALS + 1)
    faster = together < alone
    assert tuner.stacked == tuner.choose() == faster
    name = "together" if faster else "side by side"
    assert tuner.describe() == f"{name}, 2.00 times as fast"
    tuner.record(not faster, 0.0)  # it has decided
    assert tuner.describe() == f"{name}, 2.00 times as fast"


def test_a_variant_that_was_given_is_not_timed() -> None:
    for stacked, words in ((True, "together"), (False, "side by side")):
        tuner = Autotuner(stacked)
        tuner.record(stacked, 1.0)
        assert tuner.choose() == stacked
        assert tuner.describe() == words


def test_kinds_that_differ_in_shapes_alone_are_told_apart() -> None:
    engine = Stacked()
    for batch, stacked in ((8, True), (16, False)):
        engine.tuners["Generate", "generator", batch] = Autotuner(stacked)
    assert engine.chosen() == {
        "Generate generator": "together",
        "Generate generator (2)": "side by side",
    }


def test_auto_times_both_variants_and_says_what_it_chose(tmp_path: Path) -> None:
    keys = DIFFUSION | {"algorithm": {"name": "diffusion", "rounds": 2 * TRIALS + 4}}
    sim.run(from_mapping(keys), run_dir=tmp_path / "auto", engine="auto", report=False)
    chosen = json.loads((tmp_path / "auto" / "engine.json").read_text())
    assert chosen["engine"] == "auto"
    for net in ("discriminator", "generator"):
        assert chosen[f"Train {net}"].endswith("times as fast")
    with pytest.raises(UserError, match="there is no 'fast'; choose one of event, stacked, auto"):
        sim.run(from_mapping(keys), engine="fast")


def test_autograd_does_not_take_a_write_to_one_peer_for_one_to_others() -> None:
    """A peer's parameters move while another one's gradient is worked out in another thread."""
    states = make_states(from_mapping(DIFFUSION))
    one, other = (states[k].nets["generator"].arena.vector for k in (0, 1))
    before = other._version
    one.add_(1.0)
    assert other._version == before
    assert one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()  # rows of one


def test_nothing_computes_after_a_run_that_failed() -> None:
    begun, ended = threading.Event(), []

    def slow(_: object) -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(True)

    engine = Stacked(threads=2)
    engine._pool.submit(slow)
    begun.wait(5)
    engine.finish()
    assert ended
    assert not engine._pool._running
