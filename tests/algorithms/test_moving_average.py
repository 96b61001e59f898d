"""The moving average of G: its formula by hand, its way to a disk and back, and what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import algorithms
import sim
from peer.experiment import from_mapping
from peer.quality.mixture import final_generator
from peer.state import PeerState
from sim.records.generators import load_run
from sim.records.reader import read_run
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN, keys_of
from topology import UserError

KEYS: dict[str, Any] = PLAIN | {
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 4},
    "ema": 0.25,
}
BATCH_NORM = {
    "gan": {"name": "dcgan28", "width": 4},
    "data": {"source": "synthetic", "images": 40, "size": 28, "partition": "own"},
}


def end(keys: dict[str, Any], rounds: int) -> dict[int, PeerState]:
    keys = keys | {"algorithm": keys["algorithm"] | {"rounds": rounds}}
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states


def g(states: dict[int, PeerState], k: int, name: str = "generator") -> torch.Tensor:
    net = states[k].nets[name].arena
    return net.vector[: net.layout.trained].double()


def test_the_average_is_the_papers_of_the_generator_after_each_round() -> None:
    """beta is 1/10, 2/11, 3/12, then 1/4 of the file, as (1 + t)/(10 + t) is more."""
    history = [end(KEYS, rounds) for rounds in range(5)]
    for k in range(5):
        w = [g(states, k) for states in history]
        expected = w[0]
        for beta, each in zip((1 / 10, 2 / 11, 3 / 12, 1 / 4), w[1:], strict=True):
            expected = beta * expected + (1 - beta) * each
        torch.testing.assert_close(
            g(history[4], k, "ema_generator"), expected, rtol=1e-6, atol=1e-7
        )
    plain = end({key: KEYS[key] for key in KEYS if key != "ema"}, 4)
    for k in range(5):
        assert torch.equal(g(plain, k), g(history[4], k))  # G itself does not notice


def test_combined_it_is_one_more_net_that_is_mixed_by_the_weights() -> None:
    keys = KEYS | {"ema": {"decay": 0.25, "combine": True}}
    before, after = end(keys, 0), end(keys, 1)
    own = [0.1 * g(before, k) + 0.9 * g(after, k) for k in range(5)]
    for k in range(5):
        mixed = (own[k] + own[(k + 1) % 5] + own[(k - 1) % 5]) / 3  # Metropolis on a ring
        torch.testing.assert_close(g(after, k, "ema_generator"), mixed, rtol=1e-5, atol=1e-6)


def test_buffers_are_copied() -> None:
    states = end(KEYS | BATCH_NORM, 3)
    for state in states.values():
        average, net = state.nets["ema_generator"].arena, state.nets["generator"].arena
        trained = net.layout.trained
        assert torch.equal(average.vector[trained:], net.vector[trained:])
        assert not torch.equal(average.vector[:trained], net.vector[:trained])
        for name, counter in net.counters.items():
            assert counter > 0
            assert torch.equal(average.counters[name], counter)


def test_a_state_taken_apart_goes_on_with_the_same_bits() -> None:
    keys = KEYS | {"ema": {"decay": 0.999, "combine": True}}
    whole = end(keys, 4)
    half = end(keys, 2)
    experiment = from_mapping(keys)
    states = make_states(experiment)
    for k, state in states.items():
        state.load(half[k].dump())
    drive(experiment, states, algorithms.find(experiment))
    for k in states:
        for name in ("generator", "ema_generator"):
            assert torch.equal(g(states, k, name), g(whole, k, name))


def test_a_run_leaves_both_and_is_judged_by_the_average(tmp_path: Path) -> None:
    run = sim.run(KEYS, run_dir=tmp_path / "run", report=False)
    folder = run.path / "peer-1"
    last, average = (load_file(folder / f"generator{x}.safetensors") for x in ("", "_ema"))
    assert last.keys() == average.keys()
    recorded = read_run(run.path)
    states = end(KEYS, 4)
    gan = states[1].gan
    for tensors, is_last in ((last, True), (average, False)):
        loaded = load_run(recorded, gan, last=is_last)[1].state_dict()
        assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    judged = final_generator(states[1]).state_dict()
    assert all(torch.equal(judged[name], average[name]) for name in average)


def test_a_decay_is_short_for_a_mapping_on_the_command_line_too() -> None:
    ema = from_mapping(KEYS, ["ema.combine=true"]).ema
    assert ema is not None
    assert (ema.decay, ema.combine) == (0.25, True)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UserError, match="ema: oasis ends with the generators of groups"):
        algorithms.find(from_mapping(keys_of("oasis", 1) | {"ema": 0.9}))
    with pytest.raises(UserError, match=r"ema.combine: peer 1 has no generator in mdgan"):
        algorithms.find(from_mapping(keys_of("mdgan", 1) | {"ema": {"combine": True}}))
    with pytest.raises(UserError, match=r"ema.decay: input should be less than 1"):
        from_mapping(KEYS | {"ema": 1.5})
    with pytest.raises(UserError, match=r"ema: .*\(not True\)"):
        from_mapping(KEYS | {"ema": True})
