"""Carries reproductions out: every run is kept, and gone on with where it was broken off.

A run's folder is named by a digest of its experiment's keys, so that figures which need the same
run share it, several commands may work side by side, and nothing runs twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import platform
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sim
from benchmarks.record import machine
from peer.experiment import Experiment, from_mapping
from peer.state.checkpoint import write_json
from reproductions import claims
from reproductions.claims import HERE, Found, Keys, Numbers, Reproduction, find, merged
from reproductions.images import MissingImages
from sim.records.reader import read_run
from sim.runs.checkpoints import Stops
from topology.errors import InputNote, UserError

RESULTS = HERE / "results"
PLANNED = "as planned"


@dataclass(frozen=True)
class Task:
    """One run of one reproduction."""

    name: str
    attempt: str  # PLANNED, or one of its attempts
    system: str
    seed: int
    quick: bool

    def keys(self) -> dict[str, Any]:
        """Those of the experiment file of what is run.

        Raises:
            MissingImages: of real images that are not here.
        """
        reproduction = find(self.name)
        keys = reproduction.experiments()[self.system]
        changes = {} if self.attempt == PLANNED else reproduction.attempts[self.attempt]
        changes = changes(self.system) if callable(changes) else changes
        keys = merged({"checkpoint": 0} | dict(keys), changes) | {"seed": self.seed}
        return _shrunk(keys) if self.quick else keys

    def experiment(self) -> Experiment:
        """What is run.

        Raises:
            MissingImages: of real images that are not here.
            UserError: it cannot be.
        """
        return from_mapping(self.keys(), where=self.name)


@dataclass(frozen=True)
class Measured:
    """What is known of one task."""

    task: Task
    numbers: Numbers
    seconds: float  # in one thread, beside whatever else the machine did
    digest: str  # of all peers' parameters


def tasks_of(name: str, quick: bool) -> list[Task]:
    """All runs of a reproduction; one seed and no attempts if it is a quick one."""
    reproduction = find(name)
    attempts = [PLANNED] if quick else [PLANNED, *reproduction.attempts]
    return [
        Task(name, attempt, system, seed, quick)
        for attempt in attempts
        for system in reproduction.experiments()
        for seed in range(1 if quick else reproduction.seeds)
    ]


def _shrunk(keys: Keys) -> dict[str, Any]:
    """A few rounds of it, judged twice by few samples: everything runs, and nothing is learnt."""
    rounds = min(int(keys["algorithm"]["rounds"]), 4)
    small: dict[str, Any] = {"algorithm": {"rounds": rounds}, "metrics": {"every": 1}}
    if keys.get("metrics", {}).get("quality_every"):
        small["metrics"] |= {"quality_every": max(1, rounds // 2), "samples": 64}
    if keys["data"]["source"] == "idx":
        small["data"] = {"limit": 2000}
    return merged(keys, small)


def carry_out(
    chosen: Sequence[str],
    folder: Path,
    *,
    processes: int = 1,
    quick: bool = False,
    notify: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Run what has not been run yet, measure it, and judge it.

    Args:
        chosen: names of reproductions.
        folder: where runs are kept.
        processes: how many runs at once, each in one thread.
        quick: a few rounds of each, to see that everything runs; no verdict is kept.
        notify: gets a line for every run, and for every verdict.

    Returns:
        By name, the record that is also written to ``results/<name>.json``.
    """
    waiting: dict[str, list[Task]] = {}
    for name in chosen:
        try:
            waiting[name] = tasks_of(name, quick)
        except MissingImages as missing:
            notify(f"{name}: left out: {missing}")
    records: dict[str, dict[str, Any]] = {}
    done: dict[str, list[Measured]] = {name: [] for name in waiting}
    with ThreadPoolExecutor(processes) as pool:
        futures = [
            pool.submit(_measured_apart, task, folder)
            for tasks in waiting.values()
            for task in tasks
        ]
        try:
            for future in as_completed(futures):
                measured = future.result()
                task = measured.task
                done[task.name].append(measured)
                tried = "" if task.attempt == PLANNED else f" ({task.attempt})"
                notify(f"{task.name}{tried}: {task.system}, seed {task.seed}")
                if len(done[task.name]) == len(waiting[task.name]):
                    record = _judged(task.name, waiting[task.name], done[task.name])
                    records[task.name] = record
                    if quick:
                        notify(f"{task.name}: it runs; a few rounds decide nothing")
                    else:
                        notify(f"{task.name}: {record['verdict']}: {record['numbers']}")
                        write_json(RESULTS / f"{task.name}.json", record)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: records[name] for name in chosen if name in records}


def _measured_apart(task: Task, folder: Path) -> Measured:
    """What is known of a task; if that is nothing, a process of its own finds out.

    One process for all would keep what every run has read: gigabytes, after some runs of MNIST.
    """
    place = _place(task, folder)
    if (place / "done.json").is_file():
        with _alone(place):
            known = _known(task, place)
        if known is not None:
            return known
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as process:
        return process.submit(_measured, task, place).result()


def _place(task: Task, folder: Path) -> Path:
    """The folder of its run, named by what the module says, in which is the folder of real images:
    a key that hearsay learns later changes nothing."""
    reproduction = find(task.name)
    kind = reproduction.engine if reproduction.carry_out is None else task.name
    return folder / _digest(json.dumps([task.keys(), kind], sort_keys=True).encode())


def _known(task: Task, place: Path) -> Measured | None:
    """What is on the disk, if the run is over and was measured as it would be now."""
    kept = place / f"measured-{task.name}.json"
    if not kept.is_file():
        return None
    measured = json.loads(kept.read_text())
    if measured["sources"] != _digest(*(path.read_bytes() for path in _sources(task.name))):
        return None
    said = json.loads((place / "done.json").read_text())
    return Measured(task, measured["numbers"], said["seconds"], said["digest"])


def _measured(task: Task, place: Path) -> Measured:
    """Run one task, unless that has been done, and measure it, unless that has been done."""
    reproduction, experiment = find(task.name), task.experiment()
    with _alone(place):
        if not (place / "done.json").is_file():
            if reproduction.carry_out is None:
                _simulate(experiment, place, reproduction.engine)
            else:
                _carry_out(experiment, place, reproduction.carry_out)
        known = _known(task, place)
        if known is None:
            sources = _digest(*(path.read_bytes() for path in _sources(task.name)))
            numbers = reproduction.measure(place)
            kept = place / f"measured-{task.name}.json"
            write_json(kept, {"sources": sources, "numbers": numbers})
            known = _known(task, place)
    assert known is not None
    return known


def _simulate(experiment: Experiment, place: Path, engine: str) -> None:
    """One run in one thread, from its last checkpoint if there is one."""
    resume = any(place.glob("peer-*/checkpoint-*"))
    if not resume:
        for left in place.iterdir():
            if left.name != "lock":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    rounds = int(experiment.algorithm.settings["rounds"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)  # notes on the data, once for every seed
        run = sim.run(
            experiment,
            run_dir=place,
            engine=engine,
            threads=1,
            report=False,
            resume=resume,
            stops=Stops(every=max(100, rounds // 5)),
        )
    for saved in place.glob("peer-*/checkpoint-*"):
        saved.unlink()
    arenas = read_run(place).results
    digest = _digest(*(arenas[k].arena_blake2b.encode() for k in sorted(arenas)))
    virtual = run.virtual_seconds
    write_json(place / "done.json", {"seconds": run.seconds, "virtual": virtual, "digest": digest})


def _carry_out(
    experiment: Experiment, place: Path, how: Callable[[Experiment, Path], None]
) -> None:
    """What a reproduction does in place of a simulation; broken off, it begins anew."""
    began = time.monotonic()
    how(experiment, place)
    seconds = time.monotonic() - began
    written = sorted(path for path in place.glob("*.json") if path.name != "done.json")
    digest = _digest(*(path.read_bytes() for path in written))
    write_json(place / "done.json", {"seconds": seconds, "virtual": 0.0, "digest": digest})


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Nobody else works on this run meanwhile."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sources(name: str) -> list[Path]:
    """The files that say what is measured: the module's own, its folder's, and the shared ones."""
    own = next(p for p in HERE.glob("*/*.py") if p.stem[0] != "_" and claims.name_of(p) == name)
    return [own, *sorted(own.parent.glob("_*.py")), HERE / "measures.py"]


def _judged(name: str, tasks: Sequence[Task], measured: Sequence[Measured]) -> dict[str, Any]:
    """The record of a reproduction that has been carried out, in the order of its tasks."""
    reproduction = find(name)
    by_task = {each.task: each for each in measured}
    attempts: dict[str, dict[str, list[Measured]]] = {}
    for task in tasks:
        attempts.setdefault(task.attempt, {}).setdefault(task.system, []).append(by_task[task])
    runs = [
        {
            "attempt": attempt,
            "found": {system: [each.numbers for each in of] for system, of in systems.items()},
            "digests": {system: [each.digest for each in of] for system, of in systems.items()},
        }
        for attempt, systems in attempts.items()
    ]
    seconds = {each.digest: each.seconds for each in measured}
    record = {
        "name": name,
        "rule": reproduction.rule,
        "seeds": reproduction.seeds,
        "core_minutes": round(sum(seconds.values()) / 60, 1),
        "machine": _machine(),
        "runs": runs,
    }
    return reworded(record)


def reworded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with what its module says now, of the same numbers by the same rule.

    Raises:
        UserError: the rule was changed after the run.
    """
    reproduction = find(record["name"])
    if record["rule"] != reproduction.rule:
        raise UserError(f"{record['name']}: the rule was changed after the run")
    runs = [
        {"attempt": run["attempt"]}
        | _verdict(reproduction, run["found"])
        | {key: run[key] for key in ("found", "digests")}
        for run in record["runs"]
    ]
    words = ("source", "claim", "smaller", "rule", "caption")
    return {
        "name": record["name"],
        **{word: getattr(reproduction, word) for word in words},
        "seeds": record["seeds"],
        **{key: runs[0][key] for key in ("verdict", "part", "numbers")},
        **{key: record[key] for key in ("core_minutes", "machine")},
        "runs": runs,
    }


def _verdict(reproduction: Reproduction, found: Found) -> dict[str, str]:
    verdict = reproduction.verdict(found)
    return {
        "verdict": verdict.holds.value,
        "part": verdict.part,
        "numbers": verdict.numbers,
    }


def _machine() -> dict[str, Any]:
    """On what it ran, with the version of Python, and the commit, where there is one."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=HERE, capture_output=True, text=True
    )
    return machine() | {
        "python": platform.python_version(),
        "commit": asked.stdout.strip() or None,
    }


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
