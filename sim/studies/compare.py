"""Several systems on the same data, partition and seeds, side by side.

A comparison is one YAML file: the keys that all share, ``workers``, ``seeds``, and ``systems``,
each with the keys in which it differs. A system with a server gets one peer more, so that the
workers, and what each of them holds, are the same for all. Or it is several experiment files, run
as they are.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import algorithms
from peer.data.spec import Own
from peer.experiment import Experiment, from_mapping, load
from peer.experiment.overrides import override
from peer.experiment.yaml_file import read_mapping
from peer.quality.mixture import final_generator
from peer.quality.scorer import Score
from peer.state.checkpoint import write_json
from peer.state.recorder import latest_run, prepare_run_dir
from sim.api import run
from sim.metrics.pace import convergence_gain, time_to_score
from sim.metrics.quality import evaluate_generators
from sim.records.quality_log import QualityCurve, final_scores, read_quality_log
from sim.runs.simulate import check_states
from topology.errors import InputNote, UserError

OUTCOME = "outcome.json"
"""In a run's folder, once it is over and judged."""


@dataclass(frozen=True)
class Outcome:
    """One system with one seed, judged by the generators that it is for."""

    system: str
    seed: int
    rounds: int
    judged: int  # generators
    covered: int | None  # classes that the poorest of them covers
    measure: str  # of the distances: cfid, fid or rfd
    distance: float | None  # to all images, the mean over the generators
    bytes_out: int  # of all peers together
    seconds: float  # of this machine's, for all peers together
    virtual_seconds: float | None = None  # predicted, where the experiment names devices
    own_distance: float | None = None  # to the peer's own images, the mean
    target: float | None = None  # the distance of metrics.target
    time_to_target: float | None = None  # virtual seconds, if it was reached
    rounds_to_target: float | None = None
    gain: float | None = None  # see with_gains


@dataclass(frozen=True)
class Comparison:
    """Experiments by system and seed, validated but not run yet."""

    experiments: Mapping[tuple[str, int], Experiment]


def read_comparison(
    files: Sequence[Path], overrides: Iterable[str] = (), seeds: Sequence[int] | None = None
) -> Comparison:
    """From one file with ``systems:``, or from experiment files, one a system.

    Raises:
        UserError: a file says something that cannot be.
    """
    overrides = list(overrides)
    experiments: dict[tuple[str, int], Experiment] = {}
    for file in files:
        raw = _read(file)
        if "systems" not in raw:
            if len(files) == 1 and len(seeds or ()) < 2:
                raise UserError(
                    f"{file}: is one experiment, without 'systems:', and there is nothing to "
                    f"compare it with; run it with: sim run {file}"
                )
            for seed in seeds or [load(file, overrides).seed]:
                if (file.stem, seed) in experiments:
                    raise UserError(
                        f"{file}: another file is called {file.stem}, too; systems go by their "
                        "files' names, so give it another"
                    )
                experiments[file.stem, seed] = load(file, [*overrides, f"seed={seed}"])
            continue
        for each in overrides:
            override(raw, each)
        systems, workers = raw.pop("systems"), raw.pop("workers", None)
        listed = raw.pop("seeds", [raw.get("seed", 0)])
        if not isinstance(systems, dict) or not isinstance(workers, int) or workers < 1:
            raise UserError(f"{file}: a comparison has 'workers: 10' and 'systems:', by name")
        for name, keys in systems.items():
            for seed in seeds or listed:
                experiments[str(name), seed] = _one(file, raw, str(name), keys, workers, seed)
    return Comparison(experiments)


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_mapping(file, str(file), "a comparison has 'workers: 10' and 'systems:'")
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None


def _one(
    file: Path, shared: Mapping[str, Any], name: str, keys: Any, workers: int, seed: int
) -> Experiment:
    """The experiment of one system: the shared keys, its own, and a peer more for a server."""
    if not isinstance(keys, dict) or "algorithm" not in keys:
        raise UserError(f"{file}: systems.{name}: needs at least 'algorithm: {{name: ..}}'")
    merged = {**shared, **keys, "seed": seed}
    where = f"{file}: systems.{name}"
    for peers in (workers, workers + 1):
        experiment = from_mapping(merged | {"peers": peers}, folder=file.parent, where=where)
        if len(algorithms.find(experiment, check=peers > workers).workers(peers)) == workers:
            algorithms.find(experiment)
            return experiment
    raise UserError(f"{where}: cannot have {workers} workers")


def check_comparison(comparison: Comparison) -> None:
    """Refuse what a run would refuse of its data and nets, once for all that have the same.

    Raises:
        UserError: naming the system.
    """
    seen: set[str] = set()
    for (system, _), experiment in comparison.experiments.items():
        kind = experiment.fingerprint()
        mark = repr([kind[part] for part in ("peers", "gan", "data")] + [experiment.data.path])
        if mark not in seen:
            seen.add(mark)
            try:
                check_states(experiment, algorithms.find(experiment))
            except UserError as problem:
                raise UserError(f"{system}: {problem}") from None


def compare(
    comparison: Comparison,
    folder: Path,
    processes: int = 1,
    notify: Callable[[Outcome], None] | None = None,
    engine: str = "event",
    resume: bool = False,
) -> list[Outcome]:
    """Run everything, each in its own folder under ``folder``, and judge it.

    Args:
        comparison: what to run.
        folder: gets a run directory for each, and ``comparison.json``.
        processes: how many run at once.
        notify: is called with each outcome as it comes.
        engine: as of :func:`sim.runs.simulate`; each run computes in one thread.
        resume: keep the runs in ``folder`` that are over; one that was broken off begins anew.

    Raises:
        UserError: with ``resume``, a run in ``folder`` is of another experiment.
    """
    outcomes = []
    tasks = [
        (system, seed, experiment.resolved(), str(folder / _slug(system, seed)), engine)
        for (system, seed), experiment in comparison.experiments.items()
    ]
    if resume:
        for _, _, keys, of, _ in tasks:
            _kept(keys, Path(of), engine)  # refused before anything runs
            if not (Path(of) / OUTCOME).exists() and (Path(of) / "experiment.yaml").exists():
                shutil.rmtree(of)
    if processes == 1:
        for task in tasks:
            outcomes.append(_run(*task))
            if notify:
                notify(outcomes[-1])
    else:
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=spawned) as pool:
            for future in as_completed([pool.submit(_run, *task) for task in tasks]):
                outcomes.append(future.result())
                if notify:
                    notify(outcomes[-1])
    order = {key: i for i, key in enumerate(comparison.experiments)}
    outcomes.sort(key=lambda outcome: order[outcome.system, outcome.seed])
    outcomes = with_gains(outcomes, folder)
    write_json(folder / "comparison.json", [asdict(outcome) for outcome in outcomes])
    return outcomes


def with_gains(outcomes: Sequence[Outcome], folder: Path) -> list[Outcome]:
    """The outcomes with their convergence gains (FeGAN, section 6).

    A gain is how many times sooner, in virtual time, a system reaches the best distance of the
    first system with the same seed. None where it never does, or where quality was not logged
    (``metrics.quality_every``).
    """
    found = []
    for outcome in outcomes:
        first = read_quality_log(folder / _slug(outcomes[0].system, outcome.seed))
        own = read_quality_log(folder / _slug(outcome.system, outcome.seed))
        gain = None
        if first is not None and own is not None:
            series = [(each.seconds.tolist(), each.network.tolist()) for each in (first, own)]
            gain = convergence_gain(*series)
        found.append(replace(outcome, gain=gain))
    return found


def _slug(system: str, seed: int) -> str:
    return "".join(c if c.isalnum() else "-" for c in system.lower()) + f"-seed-{seed}"


def _run(system: str, seed: int, keys: Mapping[str, Any], folder: str, engine: str) -> Outcome:
    """Run and judge one system with one seed, here, unless that is done already."""
    kept = _kept(keys, Path(folder), engine)
    if kept is not None:
        return kept
    experiment = from_mapping(keys)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)  # notes on its data were said before
        outcome = _judged(system, seed, experiment, folder, engine)
    record = {"engine": engine, "experiment": keys, "outcome": asdict(outcome)}
    write_json(Path(folder) / OUTCOME, record)
    return outcome


def _kept(keys: Mapping[str, Any], folder: Path, engine: str) -> Outcome | None:
    """What a run that is over came to; None where there is none.

    Raises:
        UserError: it is of another experiment, or engine; or damaged.
    """
    if not (folder / OUTCOME).is_file():
        return None
    try:
        record = json.loads((folder / OUTCOME).read_text())
        found = record["engine"], _run_keys(record["experiment"])
        outcome = Outcome(**record["outcome"])
    except (ValueError, KeyError, TypeError, UserError):
        raise UserError(f"--resume: {folder / OUTCOME} is damaged; remove it") from None
    if found != (engine, _run_keys(keys)):
        raise UserError(
            f"--resume: {folder} holds a run of another experiment or engine; name another "
            "--run-dir, or remove it"
        )
    return outcome


def _run_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's keys as today's schema knows them, wherever its file lay: paths are absolute."""
    return {key: of for key, of in from_mapping(keys).resolved().items() if key != "base"}


def _judged(system: str, seed: int, experiment: Experiment, folder: str, engine: str) -> Outcome:
    if not experiment.metrics.quality_every and isinstance(experiment.data.partition, Own):
        rounds = max(1, algorithms.find(experiment).rounds)  # scored once, when it is over
        metrics = experiment.metrics.model_dump() | {"quality_every": rounds}
        experiment = experiment.varied(metrics=metrics)
    done = run(experiment, run_dir=folder, engine=engine, threads=1, report=False)
    program = algorithms.find(experiment)
    generators = {
        k: final_generator(state)
        for k, state in done.states.items()
        if program.makes_product(k, experiment.peers)
    }
    target, curve = experiment.metrics.target, read_quality_log(done.path)
    judged = _judge(experiment, generators, done.path)
    return Outcome(
        system,
        seed,
        program.rounds,
        len(generators),
        judged.covered,
        judged.measure,
        judged.network,
        done.bytes_out,
        round(done.seconds, 1),
        done.virtual_seconds if experiment.devices else None,
        judged.own,
        target,
        *_to_target(curve, target),
    )


def _judge(experiment: Experiment, generators: Mapping[int, nn.Module], folder: Path) -> Score:
    """The least coverage and the mean distances of the generators that a system is for."""
    scores = list(final_scores(folder).values())
    if not scores:
        quality = evaluate_generators(experiment, generators)
        network = _mean(quality.cfid.values())
        return Score("cfid", network, None, 0, min(quality.coverage.values(), default=None))
    covered = [score.covered for score in scores if score.covered is not None]
    return Score(
        scores[0].measure,
        _mean(score.network for score in scores),
        _mean(score.own for score in scores),
        scores[0].images,
        min(covered, default=None),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    finite = [x for x in values if x is not None and math.isfinite(x)]
    return statistics.fmean(finite) if finite else None


def _to_target(
    curve: QualityCurve | None, target: float | None
) -> tuple[float | None, float | None]:
    """Virtual seconds and rounds until the target."""
    if curve is None or target is None:
        return None, None
    distance: list[float] = curve.network.tolist()
    seconds, rounds = (
        time_to_score(axis.tolist(), distance, target) for axis in (curve.seconds, curve.rounds)
    )
    return seconds, rounds


def quality_curves_of(
    outcomes: Sequence[Outcome], folder: Path
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By system, of the first seed: percent of the run, classes covered, distance; if logged."""
    series = {}
    for outcome in outcomes:
        curve = read_quality_log(folder / _slug(outcome.system, outcome.seed))
        if curve is not None and outcome.system not in series:
            done = 100 * curve.rounds / max(1, outcome.rounds)
            series[outcome.system] = done, curve.covered, curve.network
    return series


def comparison_folder(run_dir: Path | None, files: Sequence[Path], resume: bool = False) -> Path:
    """Where a comparison goes: the folder given, or the next free one under ``runs``.

    With ``resume`` it is the latest one that is there.

    Raises:
        UserError: it cannot be made, or there is none to go on with.
    """
    if resume and run_dir is None:
        run_dir = latest_run(files[0].stem)
        if run_dir is None:
            raise UserError(
                f"--resume: there is no run runs/{files[0].stem}-N here; name its --run-dir"
            )
    return prepare_run_dir(run_dir, files[0].stem)
