"""Peers taken apart and rebuilt between rounds go on with the same bits.

Everything that outlives a round is in ``peer.state``: here every peer is thrown away after each of
ten rounds, and a new one is made from what its state dumped as bytes, or wrote to a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgpack
import numpy as np
import pytest
import safetensors.torch
import torch

import algorithms
from peer.experiment import Experiment, from_mapping
from peer.state import PeerState, SavedState
from peer.state.checkpoint import load_state, save_state
from peer.state.recorder import arena_digest
from sim.runs.simulate import drive, make_states

ROUNDS, PEERS = 10, 3
NETS = ("discriminator", "generator")
ADAM = {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]}
MOMENTUM = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True}
States = dict[int, PeerState]

# Ten rounds cross an epoch of digits (120 images a class or more, batches of 100) and of the iid
# images (20 a peer); the 5 images of a peer in "few" are drawn with replacement.
CASES: dict[str, dict] = {
    "mlp-digits, adam": {"batch": 100, "optimizer": ADAM},
    "mlp-digits, momentum": {"batch": 100, "optimizer": MOMENTUM},
    "mlp-digits, one optimizer a net": {
        "optimizer": {"generator": MOMENTUM, "discriminator": {"name": "radam", "lr": 0.001}}
    },
    "combine then adapt": {"algorithm": {"order": "combine-then-adapt", "local_steps": 2}},
    "consensus": {"algorithm": {"order": "consensus", "n_g": 2}, "optimizer": MOMENTUM},
    "overlap": {"algorithm": {"overlap": True, "local_steps": 2}, "compression": "top-k"},
    "local": {"algorithm": {"name": "local", "n_d": 2, "local_steps": 2}},
    "mlpgan with dropout": {
        "gan": {"name": "mlpgan", "z": 16, "dropout": 0.3},
        "peers": 2,  # of three million parameters each
        "optimizer": MOMENTUM,
    },
    "dcgan28": {"gan": {"name": "dcgan28", "width": 8}, "data": "images", "batch": 8},
    "int8, stochastic": {"compression": {"name": "int8", "rounding": "stochastic"}},
    "top-k": {"compression": "top-k"},
    "choco": {"compression": "choco"},
    "dcgan28, few": {"gan": {"name": "dcgan28", "width": 8}, "data": "few", "batch": 8},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random 28x28 images, 60 in one file and 15 in the other."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, count in (("images", 60), ("few", 15)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", images=pixels)
    return folder


def experiment_of(case: str, folder: Path, rounds: int = ROUNDS) -> Experiment:
    given = dict(CASES[case])
    algorithm = {"name": "diffusion", "rounds": rounds} | given.pop("algorithm", {})
    data: dict = {"source": "digits", "partition": "pairs"}
    if name := given.pop("data", None):
        data = {"source": "npz", "path": str(folder / f"{name}.npz"), "partition": "iid"}
    raw = {
        "peers": PEERS,
        "graph": "path",
        "gan": "mlp-digits",
        "optimizer": ADAM,
        "batch": 16,
        "seed": 11,
    }
    return from_mapping(raw | given | {"algorithm": algorithm, "data": data})


# --- ways to rebuild a peer -----------------------------------------------------------------------


def through_bytes(state: PeerState, fresh: PeerState, place: Path) -> None:
    saved = state.dump()
    content = safetensors.torch.save(saved.tensors)
    assert isinstance(saved.facts, bytes)
    fresh.load(SavedState(safetensors.torch.load(content), bytes(bytearray(saved.facts))))


def through_the_disk(state: PeerState, fresh: PeerState, place: Path) -> None:
    save_state(state, place)
    assert load_state(fresh, place)


def edited_by(change: Callable[[SavedState, dict], None]):
    """A rebuilding that ``change`` may spoil: it edits the saved state, and its facts unpacked."""

    def rebuild(state: PeerState, fresh: PeerState, place: Path) -> None:
        saved = state.dump()
        facts = msgpack.unpackb(saved.facts, strict_map_key=False)
        change(saved, facts)
        fresh.load(SavedState(saved.tensors, msgpack.packb(facts)))

    return rebuild


def scrub(state: PeerState) -> None:
    """Spoil what is left of a peer that was taken apart: nothing may still lean on it."""
    for net in state.nets.values():
        net.arena.vector.fill_(torch.nan)
        for moment in net.optimizer.state.get(net.arena.parameters, {}).values():
            moment.fill_(torch.nan)
    for purpose in list(state.streams.dump()):
        state.streams[purpose].standard_normal(17)
    if state.shard is not None:
        state.shard.order = state.shard.order[::-1].copy()
        state.shard.pixels.fill_(torch.nan)


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Callable[[str], States]:
    """The peers of a case after ten rounds in one go; to be looked at, and not changed."""

    @cache
    def run(case: str) -> States:
        experiment = experiment_of(case, folder)
        states = make_states(experiment)
        drive(experiment, states, algorithms.find(experiment))
        return states

    return run


def taken_apart(
    case: str, folder: Path, place: Path, rebuild=through_bytes, after=range(1, ROUNDS + 1)
) -> States:
    """The peers of a case after ten rounds, each made anew and rebuilt ``after`` those given."""
    states = make_states(experiment_of(case, folder))
    for rounds in after:
        experiment = experiment_of(case, folder, rounds)
        drive(experiment, states, algorithms.find(experiment))
        assert {state.round for state in states.values()} == {rounds}
        new = make_states(experiment_of(case, folder))
        for k, state in states.items():
            rebuild(state, new[k], place / str(k))
        for state in states.values():
            scrub(state)
        states = new
    if rounds < ROUNDS:
        experiment = experiment_of(case, folder)
        drive(experiment, states, algorithms.find(experiment))
    return states


def digests(states: States) -> list[str]:
    return [arena_digest(state) for _, state in sorted(states.items())]


def assert_equal_to_the_bit(one: PeerState, other: PeerState) -> None:
    """All that a peer consists of, read from its parts and not by ``dump`` alone."""
    assert one.round == other.round == ROUNDS
    assert one.streams.dump() == other.streams.dump()
    assert one.facts == other.facts
    assert one.shard.position == other.shard.position
    np.testing.assert_array_equal(one.shard.order, other.shard.order)
    for net in NETS:
        a, b = one.nets[net], other.nets[net]
        assert torch.equal(a.arena.vector, b.arena.vector)
        for (name, value), (_, twin) in zip(
            a.module.state_dict().items(), b.module.state_dict().items(), strict=True
        ):
            assert torch.equal(value, twin), name
        moments = [part.optimizer.state[part.arena.parameters] for part in (a, b)]
        assert moments[0].keys() == moments[1].keys()
        for name, value in moments[0].items():
            assert torch.equal(value, moments[1][name]), name


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_rebuilt_from_bytes_after_every_round(case, uninterrupted, folder, tmp_path) -> None:
    whole = uninterrupted(case)
    rebuilt = taken_apart(case, folder, tmp_path)
    assert digests(rebuilt) == digests(whole)
    for k in whole:
        assert_equal_to_the_bit(rebuilt[k], whole[k])
        assert all(torch.isfinite(net.arena.vector).all() for net in whole[k].nets.values())
    untrained = make_states(experiment_of(case, folder))
    assert not set(digests(whole)) & set(digests(untrained))


@pytest.mark.parametrize("case", ["mlp-digits, adam", "dcgan28", "dcgan28, few"])
def test_rebuilt_from_the_disk_after_every_round(case, uninterrupted, folder, tmp_path) -> None:
    whole = uninterrupted(case)
    rebuilt = taken_apart(case, folder, tmp_path, through_the_disk)
    assert digests(rebuilt) == digests(whole)
    for k in whole:
        assert_equal_to_the_bit(rebuilt[k], whole[k])


@pytest.mark.parametrize("rebuild", [through_bytes, through_the_disk])
def test_rebuilt_before_the_first_round(rebuild, uninterrupted, folder, tmp_path) -> None:
    """Nothing has been drawn yet: there are no moments, no streams, no order of images."""
    experiment = experiment_of("mlp-digits, adam", folder)
    states, new = make_states(experiment), make_states(experiment)
    for k, state in states.items():
        rebuild(state, new[k], tmp_path / str(k))
    assert digests(new) == digests(states)
    drive(experiment, new, algorithms.find(experiment))
    assert digests(new) == digests(uninterrupted("mlp-digits, adam"))


def test_the_cases_hold_what_they_are_there_for(uninterrupted) -> None:
    """Moments, batch-norm statistics, streams and epochs: all of them really are in play."""
    adam = uninterrupted("mlp-digits, adam")[0]
    moments = adam.nets["generator"].optimizer.state[adam.nets["generator"].arena.parameters]
    assert {name for name, value in moments.items() if value.abs().max() > 0} == {
        "step",
        "exp_avg",
        "exp_avg_sq",
    }
    assert 2 * len(adam.shard) < 100 * ROUNDS
    deep = uninterrupted("dcgan28")[0].nets
    buffers = {n: dict(deep[n].module.named_buffers()) for n in NETS}
    assert buffers["generator"]["2.running_mean"].abs().max() > 0
    assert buffers["discriminator"]["3.num_batches_tracked"] > 0
    assert any(not slot.trained for slot in deep["generator"].arena.layout.slots)
    assert len(uninterrupted("dcgan28, few")[0].shard) < 8
    streams = uninterrupted("mlpgan with dropout")[0].streams.dump()
    assert {"batches", "noise"} < set(streams)  # and one more, for dropout


# --- what the tests above would notice ------------------------------------------------------------


def no_streams(saved: SavedState, facts: dict) -> None:
    facts["streams"] = {}


def no_batches(saved: SavedState, facts: dict) -> None:
    del facts["streams"]["batches"]  # drawn with replacement: this stream alone says what


def no_noise(saved: SavedState, facts: dict) -> None:
    del facts["streams"]["noise"]


def no_dropout(saved: SavedState, facts: dict) -> None:
    facts["streams"] = {n: s for n, s in facts["streams"].items() if n in ("batches", "noise")}


def no_position(saved: SavedState, facts: dict) -> None:
    facts["positions"] = dict.fromkeys(facts["positions"], 0)


def no_moments(saved: SavedState, facts: dict) -> None:
    for name in list(saved.tensors):
        if "optimizer." in name:
            del saved.tensors[name]


def no_statistics(saved: SavedState, facts: dict) -> None:
    """Zero the tail of D's arena, where batch-norm's running mean and variance lie."""
    saved.tensors["discriminator/arena"][-32:] = 0


def no_dice(saved: SavedState, facts: dict) -> None:
    del facts["streams"]["compression"]


def no_own_tensors(saved: SavedState, facts: dict) -> None:
    """Forget what top-k has left out so far."""
    for name in [n for n in saved.tensors if n.startswith("own/")]:
        del saved.tensors[name]


def no_copies(saved: SavedState, facts: dict) -> None:
    """Forget CHOCO's copies, and with them that there were any: all is sent in full again."""
    no_own_tensors(saved, facts)
    facts["facts"] = {}


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        ("mlp-digits, adam", no_streams),
        ("mlp-digits, adam", no_noise),
        ("mlp-digits, adam", no_position),
        ("mlp-digits, adam", no_moments),
        ("mlp-digits, momentum", no_moments),
        ("mlpgan with dropout", no_dropout),
        ("dcgan28", no_streams),
        ("dcgan28", no_statistics),
        ("dcgan28, few", no_batches),
        ("int8, stochastic", no_dice),
        ("top-k", no_own_tensors),
        ("choco", no_copies),
    ],
)
def test_a_rebuilding_that_forgets_changes_the_bits(
    case, spoil, uninterrupted, folder, tmp_path
) -> None:
    whole = uninterrupted(case)
    spoiled = taken_apart(case, folder, tmp_path, edited_by(spoil), after=[5])
    assert not set(digests(spoiled)) & set(digests(whole))


def test_a_spoiler_that_spoils_nothing_is_a_rebuilding(uninterrupted, folder, tmp_path) -> None:
    """The negative controls differ by what they forget, and not by how they are done."""
    rebuild = edited_by(lambda saved, facts: None)
    rebuilt = taken_apart("mlp-digits, adam", folder, tmp_path, rebuild, after=[5])
    assert digests(rebuilt) == digests(uninterrupted("mlp-digits, adam"))


def test_a_saved_state_is_a_copy(folder: Path) -> None:
    """A peer that trains on does not change what was dumped of it before."""
    experiment = experiment_of("mlp-digits, adam", folder)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment_of("mlp-digits, adam", folder, 3)))
    all_saved = {k: state.dump() for k, state in states.items()}
    drive(experiment, states, algorithms.find(experiment))
    again = make_states(experiment)
    for k, saved in all_saved.items():
        again[k].load(saved)
        assert again[k].round == 3
    drive(experiment, again, algorithms.find(experiment))
    assert digests(again) == digests(states)


def test_a_peer_does_not_take_another_peers_state(folder: Path) -> None:
    states = make_states(experiment_of("mlp-digits, adam", folder))
    before = digests(states)
    with pytest.raises(ValueError, match="peer 1 cannot take the state of peer 0"):
        states[1].load(states[0].dump())
    assert digests(states) == before
