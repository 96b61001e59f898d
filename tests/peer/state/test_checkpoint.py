"""Checkpoints: whole or not there, loaded whole or not at all, of this peer and this experiment."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from peer.experiment import Experiment, from_mapping
from peer.experiment.traits import differences, traits
from peer.state import PeerState, SavedState
from peer.state.checkpoint import (
    load_state,
    newest_checkpoint,
    save_state,
    saved_rounds,
    write_whole,
)
from peer.state.json_lines import JsonLines, cut_back
from peer.state.recorder import Recorder, arena_digest
from sim.environment.disk import SimulatedDisk
from sim.runs.simulate import drive, make_states
from topology.errors import UserError

KEYS: dict[str, Any] = {
    "peers": 2,
    "graph": "path",
    "algorithm": {"name": "diffusion", "rounds": 2},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 8,
}


def experiment_of(**changes: Any) -> Experiment:
    return from_mapping(KEYS | changes)


def trained(**changes: Any) -> dict[int, PeerState]:
    import algorithms

    experiment = experiment_of(**changes)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states


@pytest.fixture(scope="module")
def peers() -> dict[int, PeerState]:
    """Two peers after two rounds; to be saved, and not changed but for the number of the round."""
    return trained()


def saved_at(state: PeerState, folder: Path, *rounds: int) -> None:
    for round in rounds:
        state.round = round
        save_state(state, folder, {"batch": 8}, {"bytes_in": round})
    state.round = 2


def test_a_checkpoint_comes_back_with_all_that_was_said_of_it(
    peers: dict[int, PeerState], tmp_path: Path
) -> None:
    saved_at(peers[0], tmp_path, 5)
    fresh = make_states(experiment_of())[0]
    found = load_state(fresh, tmp_path, {"batch": 8})
    assert found is not None
    assert (found.round, found.totals, fresh.round) == (5, {"bytes_in": 5}, 5)
    assert arena_digest(fresh) == arena_digest(peers[0])
    assert fresh.streams.dump() == peers[0].streams.dump()


def test_the_list_of_classes_is_part_of_the_state() -> None:
    state = make_states(experiment_of())[0]
    assert state.shard is not None
    assert state.shard.labels is not None
    state.draw_real("second/")  # a shard of another pair
    own = state.shard.labels.copy()
    state.take_classes(["cat", *"9876543210"])
    for shard in (state.shard, *state._shards.values()):
        assert shard.labels is not None
        assert (shard.labels == 10 - own).all()
    assert (state.classes, state.class_names[:2]) == (11, ("cat", "9"))
    again = make_states(experiment_of())[0]
    again.load(state.dump())
    assert again.class_names == state.class_names
    assert (again.shard.labels == state.shard.labels).all()  # type: ignore[union-attr]
    before = again.dump()
    with pytest.raises(ValueError, match=r"peer 0 has \d+ images of '0', which the list \('1', "):
        again.take_classes([*"123456789"])
    assert again.class_names == state.class_names
    facts = msgpack.unpackb(before.facts, strict_map_key=False)
    facts["classes"], facts["round"] = ["7", "8"], 9
    with pytest.raises(ValueError, match="which the list"):
        again.load(SavedState(before.tensors, msgpack.packb(facts)))
    assert again.dump().facts == before.facts


def test_what_was_just_written_is_kept_whatever_else_is_there(
    peers: dict[int, PeerState], tmp_path: Path
) -> None:
    saved_at(peers[0], tmp_path, 10, 20, 30, 40)
    assert saved_rounds(tmp_path) == [40, 30, 20]
    saved_at(peers[0], tmp_path, 25)  # gone on from round 20: 30 and 40 are given up
    assert saved_rounds(tmp_path) == [25, 20]


def test_what_was_given_up_does_not_come_back_at_a_power_cut(peers: dict[int, PeerState]) -> None:
    folder = Path("run", "peer-0")
    for seed in range(10):
        disk = SimulatedDisk()
        for round in (20, 30, 40, 25):  # gone on from round 20
            peers[0].round = round
            save_state(peers[0], folder, disk=disk)
        peers[0].round = 2
        disk.crash(np.random.default_rng(seed))
        assert saved_rounds(folder, disk) == [25, 20]


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    match how:
        case "cut":
            content = content[: len(content) // 2]
        case "emptied":
            content = bytearray()
        case "a bit of the values":
            content[-1000] ^= 1
        case "a bit of the head":
            content[3] ^= 0x80
        case "a bit of the totals":
            at = content.index(b"bytes_in") + 1
            content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "how", ["cut", "emptied", "a bit of the values", "a bit of the head", "a bit of the totals"]
)
def test_a_damaged_checkpoint_is_set_aside_and_an_older_one_taken(
    how: str, peers: dict[int, PeerState], tmp_path: Path
) -> None:
    saved_at(peers[0], tmp_path, 10, 20, 30)
    spoil(tmp_path / "checkpoint-00000030.safetensors", how)
    fresh = make_states(experiment_of())[0]
    said: list[str] = []
    found = load_state(fresh, tmp_path, {"batch": 8}, tell=said.append)
    assert found is not None
    assert fresh.round == 20
    assert len(said) == 1
    assert said[0].endswith("is damaged; set aside as checkpoint-00000030.safetensors.damaged")
    assert saved_rounds(tmp_path) == [20, 10]
    saved_at(peers[0], tmp_path, 21, 22)
    assert saved_rounds(tmp_path) == [22, 21, 20]  # the damaged one is not counted
    assert (tmp_path / "checkpoint-00000030.safetensors.damaged").exists()


def test_where_all_are_damaged_there_is_none(peers: dict[int, PeerState], tmp_path: Path) -> None:
    saved_at(peers[0], tmp_path, 1020, 1040)
    for path in tmp_path.glob("checkpoint-*"):
        spoil(path, "cut")
    fresh = make_states(experiment_of())[0]
    before = arena_digest(fresh)
    assert load_state(fresh, tmp_path, {"batch": 8}) is None
    assert (fresh.round, arena_digest(fresh)) == (0, before)
    saved_at(peers[0], tmp_path, 20)
    assert saved_rounds(tmp_path) == [20]


def test_another_peers_checkpoint_is_refused(peers: dict[int, PeerState], tmp_path: Path) -> None:
    saved_at(peers[1], tmp_path, 10)
    fresh = make_states(experiment_of())[0]
    with pytest.raises(UserError, match="peer 0 cannot take the state of peer 1"):
        load_state(fresh, tmp_path, {"batch": 8})
    assert fresh.round == 0
    assert saved_rounds(tmp_path) == [10]  # it is sound: whoever mixed the folders up sorts it out


def test_another_experiments_is_refused_naming_what_differs(
    peers: dict[int, PeerState], tmp_path: Path
) -> None:
    saved_at(peers[0], tmp_path, 10)
    fresh = make_states(experiment_of())[0]
    with pytest.raises(UserError, match="of another experiment: batch: 8 there, 16 here"):
        load_state(fresh, tmp_path, {"batch": 16})
    assert fresh.round == 0
    said: list[str] = []
    assert load_state(fresh, tmp_path, {"batch": 16}, anyway=True, tell=said.append)
    assert fresh.round == 10
    assert said == ["going on all the same: batch: 8 there, 16 here"]


def test_the_traits_of_two_experiments() -> None:
    def named(**changes: Any) -> list[str]:
        return differences(traits(experiment_of(), "abc"), traits(experiment_of(**changes), "abc"))

    assert named() == []
    assert named(algorithm={"name": "diffusion", "rounds": 900}) == []  # they may always grow
    assert named(deadline=5.0, port=50000, checkpoint=3) == []
    assert named(gan="mlpgan") == ["gan.name: mlp-digits there, mlpgan here"]
    assert named(seed=4) == ["seed: 0 there, 4 here"]
    assert named(optimizer={"name": "sgd", "lr": 0.5})[0] == (
        "optimizer.discriminator.lr: 0.001 there, 0.5 here"
    )
    assert named(algorithm={"name": "diffusion", "rounds": 2, "n_d": 3}) == [
        "algorithm.n_d: (absent) there, 3 here"
    ]


def edited(saved: SavedState, change: str) -> SavedState:
    facts = msgpack.unpackb(saved.facts, strict_map_key=False)
    tensors = dict(saved.tensors)
    match change:
        case "another layout":
            facts["nets"]["generator"][0] = "0" * 16
        case "another optimizer":
            facts["nets"]["generator"][1] = "sgd"
        case "a net more":
            facts["nets"]["second"] = ["0" * 16, "adam"]
        case "an arena too long":
            tensors["generator/arena"] = torch.zeros(len(tensors["generator/arena"]) + 1)
        case "no arena":
            del tensors["generator/arena"]
        case "a moment too long":
            tensors["generator/optimizer.exp_avg"] = torch.zeros(3)
        case "fewer images":
            tensors["shard/order"] = torch.arange(10)
        case "an image twice":
            tensors["shard/order"] = torch.zeros_like(tensors["shard/order"])
        case "no order":
            del tensors["shard/order"]
        case "a position outside":
            facts["positions"][""] = 10**6
        case "no data":
            del facts["positions"]
        case "a stream that is none":
            facts["streams"]["noise"] = {"counters": {}}
        case "nothing that is known":
            tensors["else"] = torch.zeros(1)
        case "no facts":
            facts = {"peer": 0}
    return SavedState(tensors, msgpack.packb(facts))


@pytest.mark.parametrize(
    "change",
    [
        "another layout", "another optimizer", "a net more", "an arena too long", "no arena",
        "a moment too long", "fewer images", "an image twice", "no order", "a position outside",
        "no data", "a stream that is none", "nothing that is known", "no facts",
    ],
)  # fmt: skip
def test_a_state_is_loaded_whole_or_not_at_all(change: str, peers: dict[int, PeerState]) -> None:
    state = make_states(experiment_of())[0]
    state.draw_batch(True)
    digest, streams = arena_digest(state), state.streams.dump()
    assert state.shard is not None
    order, position = state.shard.order.copy(), state.shard.position
    with pytest.raises(ValueError, match=r"."):
        state.load(edited(peers[0].dump(), change))
    assert (state.round, arena_digest(state), state.streams.dump()) == (0, digest, streams)
    assert (state.shard.order == order).all()
    assert state.shard.position == position
    assert not state.nets["generator"].moments
    state.load(edited(peers[0].dump(), "nothing"))
    assert arena_digest(state) == arena_digest(peers[0])


def test_the_checkpoint_of_one_round_is_found(peers: dict[int, PeerState], tmp_path: Path) -> None:
    saved_at(peers[0], tmp_path, 10, 20, 30)
    found = newest_checkpoint(tmp_path, 20)
    assert found is not None
    assert found.round == 20
    assert newest_checkpoint(tmp_path, 25) is None


# --- records --------------------------------------------------------------------------------------


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_are_cut_back_to_the_round_that_is_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"peer": 0, "round": r}) + "\n" for r in range(1, 9)]
    path.write_text(
        "".join([*whole[:3], '{"peer": 0, "ro\n', *whole[3:], '{"peer": 0, "round": 6'])
    )
    cut_back(path, 6)
    assert [line["round"] for line in lines(path)] == [1, 2, 3, 4, 5, 6]
    assert path.read_bytes().endswith(b"\n")
    before = path.stat()
    cut_back(path, 6)
    assert path.stat().st_ino == before.st_ino  # nothing to be done, nothing written
    cut_back(tmp_path / "absent.jsonl", 3)


LINES = Path("run", "metrics.jsonl")


def read(disk: SimulatedDisk, path: Path = LINES) -> bytes:
    with disk.open(path) as file:
        return file.read()


def test_records_wait_while_the_disk_is_full() -> None:
    said: list[str] = []
    disk = SimulatedDisk(room=18)
    log = JsonLines(LINES, said.append, disk)
    log.write({"round": 1})
    log.write({"round": 2})  # five bytes of it find room
    log.write({"round": 3})
    assert read(disk) == b'{"round": 1}\n'  # no half line
    assert len(said) == 1
    assert "cannot be written (No space left on device)" in said[0]
    disk.room = None
    log.write({"round": 4})
    log.close()
    assert read(disk) == b"".join(b'{"round": %d}\n' % round for round in (1, 2, 3, 4))
    assert len(said) == 2
    assert said[1].endswith("is written again")


def test_half_a_line_that_cannot_be_taken_back_is_taken_back_before_the_next() -> None:
    disk = SimulatedDisk(room=18)
    log = JsonLines(LINES, print, disk)
    log.write({"round": 1})
    disk.failing[disk.operations + 2] = errno.EIO  # after two writes, of which one finds no room
    log.write({"round": 2})
    assert read(disk) == b'{"round": 1}\n{"rou'
    disk.room = None
    log.write({"round": 3})
    assert read(disk) == b"".join(b'{"round": %d}\n' % round for round in (1, 2, 3))


def test_records_that_never_find_room_are_counted_at_the_end() -> None:
    said: list[str] = []
    disk = SimulatedDisk(room=0)
    log = JsonLines(LINES, said.append, disk)
    log.write({"round": 1})
    log.write({"round": 2})
    log.close()
    assert len(said) == 2
    assert said[1].endswith("metrics.jsonl: records of its end are not written: 2")
    late = JsonLines(LINES, said.append, disk)
    late.write({"round": 1})
    disk.room = None
    late.close()  # there is room again
    assert read(disk) == b'{"round": 1}\n'


def test_what_was_added_up_goes_on(tmp_path: Path) -> None:
    def write(recorder: Recorder, round: int) -> None:
        measures = {"missing": [3], "participants": [round]}
        recorder.write(0, round, measures, seconds=0.0, bytes_in=0, bytes_out=0)

    one, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    with Recorder(one, 10, 20) as whole, Recorder(other, 10, 20) as b:
        for round in range(1, 8):
            write(whole, round)
            write(b, round)
        totals = json.loads(json.dumps(b.totals(0)))
        with Recorder(other, 10, 20) as resumed:
            resumed.go_on_from(0, totals)
            for round in range(8, 21):
                write(whole, round)
                write(resumed, round)
            assert resumed.missed(0) == whole.missed(0) == {"3": 20}
    assert lines(one) == lines(other)


def test_what_cannot_be_written_is_named() -> None:
    disk = SimulatedDisk(room=0)
    with pytest.raises(OSError, match=r"No space left on device: 'generator.safetensors'$"):
        write_whole(Path("generator.safetensors"), b"x", disk=disk)
    assert disk.names(Path()) == []


def test_a_descriptors_problem_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("peer.state.disk.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*generator.safetensors'$"):
        write_whole(tmp_path / "generator.safetensors", b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_was_being_written_when_the_power_went_is_taken_away(
    peers: dict[int, PeerState], tmp_path: Path
) -> None:
    saved_at(peers[0], tmp_path, 10)
    (tmp_path / ".checkpoint-00000020.safetensors.k3x9.part").write_bytes(b"half")
    (tmp_path / "own.part").write_bytes(b"somebody's")
    assert load_state(make_states(experiment_of())[0], tmp_path, {"batch": 8})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-00000010.safetensors", "own.part"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_a_checkpoint_is_as_the_umask_says(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "x", b"a net")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
