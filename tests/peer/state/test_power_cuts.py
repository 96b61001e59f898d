"""Power cuts, full and failing disks: what was saved is there, and whole, whatever happens.

A *life* of a peer is as long as the power is on: it mounts the disk, goes on from what it finds
there, trains, records and saves, and is cut off before any one operation of its disk. A *run* is as
many lives as it takes to reach the last round. Programs and disks with one thing wrong, each a
mistake that has lost somebody's data, must not pass.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from peer.runtime.saver import Saver
from peer.state import PeerState, SavedState
from peer.state.checkpoint import load_state, save_state, saved_rounds
from peer.state.disk import PART, make_folders
from peer.state.json_lines import cut_back
from peer.state.recorder import Recorder
from sim.environment.disk import PowerCut, SimulatedDisk
from tests.peer.state.test_checkpoint import trained

FOLDER = Path("runs", "ring-1", "peer-0")
RECORDS = FOLDER / "metrics.jsonl"
LAST, EVERY = 24, 2
"""Rounds of a run, and between two checkpoints."""

LONGEST = 40
"""Operations of a life, at most: those of four saves."""

SIZE = 16_000
"""Bytes of a checkpoint, about."""

RUNS = 25
"""Runs that what is right must pass."""


def advance(state: PeerState) -> None:
    """A round of training that takes no time: everything that is saved changes."""
    state.round += 1
    state.draw_real()
    for name, net in state.nets.items():
        change = state.streams[name].standard_normal(len(net.arena.vector), dtype=np.float32)
        net.arena.vector += net.arena.vector.new_tensor(change)
        for moment in net.moments.values():
            moment *= 0.9
    state.facts["history"] = [*state.facts.get("history", []), state.round][-50:]


@pytest.fixture(scope="module")
def fresh() -> PeerState:
    """A peer of a small GAN, at round 0; to be copied."""
    state = trained(gan={"name": "tests.support.games:drawing", "z": 4})[0]
    state.round = 0
    disk = SimulatedDisk()
    save_state(state, FOLDER, disk=disk)
    assert SIZE / 2 < disk.used < 2 * SIZE
    return state


@pytest.fixture(scope="module")
def states(fresh: PeerState) -> list[SavedState]:
    """What its state is after each round, from 0 on."""
    state = fresh.copy()
    found = [state.dump()]
    for _ in range(LAST):
        advance(state)
        found.append(state.dump())
    return found


def same(a: SavedState, b: SavedState) -> bool:
    """Whether two states are of the same bits."""
    return (
        a.facts == b.facts
        and a.tensors.keys() == b.tensors.keys()
        and all(
            x.dtype == y.dtype and x.shape == y.shape and x.numpy().tobytes() == y.numpy().tobytes()
            for x, y in ((a.tensors[name], b.tensors[name]) for name in a.tensors)
        )
    )


@dataclass
class Run:
    """One peer on one disk, and what must be found on it.

    Attributes:
        fresh: the peer at round 0.
        states: what it is after each round.
        disk: where it saves.
        returned: the round of the last save that returned; None before the first.
        is_recorded: whether records are looked at, too.
        said: what it told its user since it was last mounted.
        cuts: how often it was cut off.
    """

    fresh: PeerState
    states: list[SavedState]
    disk: SimulatedDisk
    returned: int | None = None
    is_recorded: bool = True
    said: list[str] = field(default_factory=list)
    cuts: int = 0

    def mount(self) -> PeerState:
        """What a peer does when it starts, and everything that it is promised."""
        state, disk = self.fresh.copy(), self.disk
        self.said.clear()
        found = load_state(state, FOLDER, tell=self.said.append, disk=disk)
        assert self.said == [], "a checkpoint is damaged"
        if self.returned is not None:
            assert found is not None, f"the save of round {self.returned} is lost"
            assert state.round >= self.returned, f"the save of round {self.returned} is lost"
        assert same(state.dump(), self.states[state.round]), f"round {state.round} is another"
        assert not [name for name in disk.names(FOLDER) if name.endswith(PART)]
        cut_back(RECORDS, state.round, disk)
        if self.is_recorded:
            assert records(disk) == list(range(1, state.round + 1))
        return state

    def live(self, state: PeerState) -> None:
        """Train, record and save, to the last round."""
        saver = Saver(state, FOLDER, {}, self.said.append, self.disk)
        with Recorder(RECORDS, 1, LAST, self.said.append, self.disk) as recorder:
            while state.round < LAST:
                advance(state)
                recorder.write(
                    0, state.round, {"missing": []}, seconds=0.0, bytes_in=0, bytes_out=0
                )
                if state.round % EVERY == 0:
                    recorder.sync()
                    saver.save({})
                    if not saver.problem:
                        self.returned = state.round

    def to_its_end(self, rng: np.random.Generator) -> None:
        """Live and be cut off until the last round is there."""
        while True:
            self.disk.cut_at = self.disk.operations + int(rng.integers(LONGEST))
            try:
                self.live(self.mount())
            except PowerCut:
                self.cuts += 1
            else:
                break
            self.disk.crash(rng)
        self.disk.crash(rng)
        assert self.mount().round == LAST


def records(disk: SimulatedDisk) -> list[int]:
    """The rounds in the file of records, which holds whole lines and nothing else."""
    try:
        with disk.open(RECORDS) as file:
            content = file.read()
    except FileNotFoundError:
        return []
    assert content.endswith(b"\n") or not content
    return [json.loads(line)["round"] for line in content.splitlines()]


# --- power cuts -----------------------------------------------------------------------------------


def test_200_cuts_lose_no_save_that_returned(fresh: PeerState, states: list[SavedState]) -> None:
    cuts = 0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        run = Run(fresh, states, SimulatedDisk(short=rng))
        run.to_its_end(rng)
        cuts += run.cuts
    assert cuts >= 200


def test_a_cut_before_every_operation_of_a_run(fresh: PeerState, states: list[SavedState]) -> None:
    number, is_cut = 0, True
    while is_cut:
        run = Run(fresh, states, SimulatedDisk())
        run.disk.cut_at = number
        is_cut = False
        try:
            run.live(run.mount())
        except PowerCut:
            is_cut = True
        run.disk.crash(np.random.default_rng(number))
        run.mount()
        number += 1
    assert number > 100


def test_the_same_generator_gives_the_same_run(fresh: PeerState, states: list[SavedState]) -> None:
    def counted(seed: int) -> tuple[int, int]:
        rng = np.random.default_rng(seed)
        run = Run(fresh, states, SimulatedDisk(short=rng))
        run.to_its_end(rng)
        return run.cuts, run.disk.operations

    assert counted(3) == counted(3)
    assert counted(3) != counted(4)


# --- a disk that is full, or fails ----------------------------------------------------------------


@pytest.mark.parametrize("is_full", [False, True])
def test_a_full_or_failing_disk_stops_no_training_and_damages_nothing(
    is_full: bool, fresh: PeerState, states: list[SavedState]
) -> None:
    troubled = unsaved = 0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        run = Run(fresh, states, SimulatedDisk(short=rng), is_recorded=False)
        disk, state = run.disk, run.mount()
        make_folders(FOLDER, disk=disk)
        begun = disk.operations + 2  # the file of records is open
        for number in begun + rng.integers(100, size=20):
            disk.failing[int(number)] = (errno.EIO, errno.ENOSPC)[int(rng.integers(2))]
        if is_full:  # room for no checkpoint, for some, for all
            disk.room = int(rng.integers(5 * SIZE))
        run.live(state)
        assert same(state.dump(), states[LAST])
        told = [line for line in run.said if line.startswith("the state after")]
        assert ["cannot" in line for line in told] == [i % 2 == 0 for i in range(len(told))]
        troubled += len(told)
        unsaved += run.returned != LAST
        if not is_full:  # the last operations were sound: nothing is missing
            assert run.returned == LAST
            assert records(disk) == list(range(1, LAST + 1))
        disk.failing.clear()
        disk.room = None  # a peer that starts on a full disk is refused
        disk.crash(rng)
        run.mount()
        records(disk)
    assert troubled >= RUNS
    assert bool(unsaved) == is_full


# --- what is wrong must not pass ------------------------------------------------------------------


class FilesUnsynced(SimulatedDisk):
    """A file is renamed, and its bytes are not on the platter."""

    def sync(self, file: IO[bytes]) -> None:
        if hasattr(file, "raw"):  # written as a whole; records are not buffered
            file.flush()
        else:
            super().sync(file)


class FoldersUnsynced(SimulatedDisk):
    """A file is on the platter, and its name is not."""

    def sync_folder(self, folder: Path) -> None:
        pass


class NewFoldersUnsynced(SimulatedDisk):
    """The name of the file is on the platter, and that of its folder is not."""

    def sync_folder(self, folder: Path) -> None:
        if folder == FOLDER:
            super().sync_folder(folder)


class RecordsUnsynced(SimulatedDisk):
    """A checkpoint is on the platter, and the records of its rounds are not."""

    def sync(self, file: IO[bytes]) -> None:
        if hasattr(file, "raw"):
            super().sync(file)


class RemovedFirst(SimulatedDisk):
    """Older checkpoints make room before the new one is there."""

    def create_beside(self, path: Path) -> tuple[IO[bytes], Path]:
        for round in saved_rounds(FOLDER, self):
            self.remove(FOLDER / f"checkpoint-{round:08d}.safetensors")
        return super().create_beside(path)


class InPlace(SimulatedDisk):
    """A file is written under the name that it is read by."""

    def create_beside(self, path: Path) -> tuple[IO[bytes], Path]:
        file, beside = super().create_beside(path)
        super().rename(beside, path)
        return file, path

    def rename(self, path: Path, to: Path) -> None:
        if path != to:
            super().rename(path, to)


class RenamedFirst(SimulatedDisk):
    """The name of a file is on the platter before its bytes are: folders are synced, then files."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.waiting: list[IO[bytes]] = []

    def sync(self, file: IO[bytes]) -> None:
        file.flush()
        self.waiting.append(file)

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        for file in self.waiting:
            self.operate()
            getattr(file, "raw", file).file.sync()
        self.waiting.clear()


WRONG = {
    FilesUnsynced: 10,
    FoldersUnsynced: 10,
    NewFoldersUnsynced: 100,
    RecordsUnsynced: 20,
    RemovedFirst: 20,
    InPlace: 100,
    RenamedFirst: 10,
}
"""Cuts after which each mistake must have been found, at most, by ten different generators."""


def cuts_until_found(
    wrong: type[SimulatedDisk], seed: int, fresh: PeerState, states: list[SavedState]
) -> int:
    rng = np.random.default_rng(seed)
    cuts = 0
    for _ in range(RUNS):
        run = Run(fresh, states, wrong(short=rng))
        try:
            run.to_its_end(rng)
        except AssertionError:
            return cuts + run.cuts
        cuts += run.cuts
    raise AssertionError(f"{wrong.__name__} passes")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found(
    wrong: type[SimulatedDisk], fresh: PeerState, states: list[SavedState]
) -> None:
    cuts = [cuts_until_found(wrong, seed, fresh, states) for seed in range(10)]
    print(f"{wrong.__name__}: found after {cuts} cuts")
    assert max(cuts) <= WRONG[wrong]
