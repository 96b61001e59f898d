"""From a run directory to what a person looks at: figures, ``summary.json``, ``report.html``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import topology
from peer.data import load_source
from peer.experiment import Experiment
from peer.gan import Gan, Layout
from peer.gan.net_name import PAIR
from peer.quality.coverage import confident_classes
from peer.quality.quality_log import summary_of
from peer.quality.samples import draw_samples
from peer.quality.scorer import finite_or_none
from peer.state.checkpoint import write_json, write_whole
from peer.state.recorder import are_numbers
from sim.metrics.quality import (
    Quality,
    Source,
    evaluate_generators,
)
from sim.metrics.theorem1_bound import Bound, bound_for
from sim.records.generators import load_run
from sim.records.quality_log import QualityCurve, final_scores, read_quality_log
from sim.records.reader import Curve, RecordedRun, read_run
from sim.records.run_metrics import delta_losses, measure_clock, measure_run
from sim.reporting import plots
from sim.reporting.html import render
from sim.reporting.tables import summary_table
from topology.errors import UserError

__all__ = ["evaluate_generators", "summary_table", "write_comparison", "write_report"]

_SHOWN = 16


def write_report(
    run_dir: str | Path,
    *,
    seconds: float | None = None,
    baselines: Mapping[str, Quality] | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Judge a run's generators; write ``figures/``, ``summary.json`` and ``report.html``.

    May be called again on the same run: baselines and seconds that are not given are those of the
    summary that is there already.

    Args:
        run_dir: what ``sim`` or ``peer up`` wrote, or peers' folders gathered in one place.
        seconds: wall-clock seconds of training; the longest of any peer if None.
        baselines: verdicts to stand beside the run's, by name, such as untrained generators.
        folder: where relative paths of the experiment start; the run directory if None.
        cache: where judges are kept; the user's cache folder if None.
        notify: is told, in a few words, what takes long.

    Returns:
        The content of ``summary.json``. Keys by peer have ids as text; None stands for a value that
        is not finite; ``coverage`` and ``cfid`` are empty where nothing can be judged.

    Raises:
        UserError: not a run directory, or its generators do not fit its experiment.
    """
    run = read_run(run_dir)
    earlier = _earlier_summary(run.folder)
    source, why_unjudged = _source(run.experiment, folder, cache, notify)
    gan = _gan(run, source, folder)
    generators = load_run(run, gan) if gan else {}
    quality = None
    if source and gan and generators:
        quality = source.judge_generators(generators, gan.z_dim)
    elif not run.generators:
        why_unjudged = "no peer has left a generator"
    if baselines is None:
        kept = earlier.get("baselines") or {}
        baselines = {name: Quality.from_record(record) for name, record in kept.items()}
    lambda_2 = topology.contraction(run.experiment.schedule, run.experiment.weights)
    curves = {net: curve for net in run.nets if (curve := run.disagreement(net)) is not None}
    bounds = _bounds(run, gan, lambda_2)
    summary = _summarise(run, quality, why_unjudged, curves, bounds, lambda_2)
    names = _class_names(run, source)
    if names:
        summary["class_names"] = list(names)
    summary["run"] = measure_run(run, source)
    summary["seconds"] = _seconds(run, seconds, earlier)
    quality_curve = read_quality_log(run.folder)
    summary |= measure_clock(run, quality_curve)
    summary["quality"] = summary_of(final_scores(run.folder))
    summary["baselines"] = {name: of.as_record() for name, of in baselines.items()}

    figures = _draw_measures(run, curves, bounds, lambda_2)
    if quality and quality.coverage:
        name = f"{run.experiment.algorithm.name} (this run)"
        beside = {other: of for other, of in baselines.items() if of.classes == quality.classes}
        groups = {name: quality} | beside
        figures["coverage"] = plots.draw_coverage(
            {label: of.coverage for label, of in groups.items()}, quality.classes, quality.labels
        )
        figures["cfid"] = plots.draw_cfid({label: of.cfid for label, of in groups.items()})
    if quality_curve is not None:
        figures["quality"] = _draw_quality(run, quality_curve, quality_curve.rounds, "rounds")
        if summary["predicted"]:
            hours = quality_curve.seconds / 3600
            figures["quality_time"] = _draw_quality(run, quality_curve, hours, "virtual hours")
    if gan and generators:
        figures["samples"] = _draw_samples(run, source, gan, generators, names)
    labels = source.labels if source else _labels(run)
    graph = run.experiment.graph_of_peers
    figures["graph"] = plots.draw_graph(graph, labels, run.unfinished, names)
    paths = {
        name: plots.save(figure, run.folder / "figures" / f"{name}.png")
        for name, figure in figures.items()
    }
    write_json(run.folder / "summary.json", summary)
    write_whole(run.folder / "report.html", render(run, summary, paths).encode())
    return summary


def write_comparison(
    run_dirs: Sequence[str | Path], path: Path, *, cache: Path | None = None
) -> Path:
    """Draw several runs side by side into the PNG at ``path``.

    A run without a summary is reported on first. Runs go by their folders' names.

    Raises:
        UserError: one of them is not a run directory.
    """
    compared: dict[str, plots.RunSeries] = {}
    classes: set[int] = set()
    for run_dir in map(Path, run_dirs):
        run = read_run(run_dir)
        summary = _earlier_summary(run_dir) or write_report(run_dir, cache=cache)
        curves = {net: curve for net in run.nets if (curve := run.disagreement(net)) is not None}
        name = plots.plain(run_dir.resolve().name)
        compared[name if name not in compared else str(run_dir)] = plots.RunSeries(
            curves,
            {int(k): int(n) for k, n in summary.get("coverage", {}).items()},
            {
                int(k): math.nan if x is None else float(x)
                for k, x in summary.get("cfid", {}).items()
            },
        )
        if summary.get("classes"):
            classes.add(int(summary["classes"]))
    return plots.save(plots.draw_comparison(compared, max(classes, default=None)), path)


def _summarise(
    run: RecordedRun,
    quality: Quality | None,
    why_unjudged: str | None,
    curves: Mapping[str, Curve],
    bounds: Mapping[str, Bound],
    lambda_2: float | None,
) -> dict[str, Any]:
    """The content of ``summary.json``, without seconds and baselines."""
    judged: dict[str, Any] = quality.as_record() if quality else {"coverage": {}, "cfid": {}}
    labels = {str(k): list(of) for k, of in _labels(run).items()} | (judged.get("labels") or {})
    errors = {net: curve.errors for net, curve in curves.items() if curve.errors is not None}
    results = {str(k): result for k, result in run.results.items()}
    return {
        "algorithm": run.experiment.algorithm.name,
        "peers": run.experiment.peers,
        "rounds": run.rounds,
        **judged,
        "labels": labels,
        "quality_absent": why_unjudged,
        "disagreement": dict.fromkeys(PAIR)
        | {net: finite_or_none(curve.values[-1]) for net, curve in curves.items()},
        "disagreement_estimated": bool(errors),
        "disagreement_relative_error": {net: finite_or_none(of[-1]) for net, of in errors.items()},
        "disagreement_bound": {
            net: {"value": finite_or_none(of.value), "name": of.name, "surrogate": of.surrogate}
            for net, of in bounds.items()
        },
        "lambda_2": lambda_2,
        "arena_blake2b": {k: result.arena_blake2b for k, result in results.items()},
        "bytes_in": {k: result.bytes_in for k, result in results.items()},
        "bytes_out": {k: result.bytes_out for k, result in results.items()},
        "missing": {
            k: {str(who): n for who, n in result.missing.items()}
            for k, result in results.items()
            if result.missing
        },
        "unfinished": list(run.unfinished),
    }


def _draw_quality(run: RecordedRun, curve: QualityCurve, x: np.ndarray, x_label: str) -> Any:
    name = run.experiment.algorithm.name
    lines = {name: (x, curve.covered, curve.network)}
    if np.isfinite(curve.own).any():
        of_own = x, np.full(len(x), np.nan), curve.own
        lines = {f"{name}, to all images": lines[name], f"{name}, to own images": of_own}
    return plots.draw_quality(lines, x_label, curve.measure)


def _draw_measures(
    run: RecordedRun,
    curves: Mapping[str, Curve],
    bounds: Mapping[str, Bound],
    lambda_2: float | None,
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    # Where all peers are equal (one peer, or no step yet) a log scale has nothing to show.
    if any((curve.values > 0).any() for curve in curves.values()):
        known = None if run.experiment.algorithm.name == "local" else lambda_2
        figures["disagreement"] = plots.draw_disagreement(curves, bounds, known)
    losses = {net: run.losses(net) for net in run.nets}
    shown = {net: values for net, (_, values) in losses.items() if np.isfinite(values).any()}
    if shown:
        unit = "nats" if run.experiment.loss.name.startswith("bce") else ""
        figures["losses"] = plots.draw_losses(losses[next(iter(shown))][0], shown, unit)
    balance = delta_losses(run)
    if balance is not None:
        figures["delta_loss"] = plots.draw_delta_loss(*balance)
    return figures


def _draw_samples(
    run: RecordedRun,
    source: Source | None,
    gan: Gan,
    generators: Mapping[int, Any],
    names: Sequence[str],
) -> Any:
    """The grid of samples; frames and the peers' own images only where there is a judge."""
    seed = run.experiment.seed
    drawn = {k: draw_samples(g, gan.z_dim, _SHOWN, seed) for k, g in generators.items()}
    samples = {k: images.numpy() for k, images in drawn.items()}
    if source is None:
        return plots.draw_samples(samples, labels=_labels(run) or None, names=names)
    marked: dict[int, npt.NDArray[np.bool_]] = {}
    for k, images in drawn.items():
        confident = confident_classes(source.judge.probabilities(images))
        own_classes = source.labels.get(k)
        absent = ~np.isin(confident, own_classes or ()) if own_classes else False
        marked[k] = (confident >= 0) & absent
    own = {k: source.examples(k, 4).numpy() for k in samples if k in source.shards}
    return plots.draw_samples(samples, own, marked, source.labels, names)


def _source(
    experiment: Experiment,
    folder: Path | None,
    cache: Path | None,
    notify: Callable[[str], None] | None,
) -> tuple[Source | None, str | None]:
    """The labelled common source; or None, and why there is none."""
    try:
        return Source(experiment, folder, cache, notify), None
    except UserError as problem:
        return None, str(problem)


def _gan(run: RecordedRun, source: Source | None, folder: Path | None) -> Gan | None:
    """The experiment's GAN, for the shape of its images; None where nothing says the shape."""
    if source:
        images = source.images
        return run.experiment.build_gan(images.shape, classes=images.classes)
    for result in run.results.values():
        if result.shape:
            return run.experiment.build_gan(result.shape, classes=_classes(run))
    for k in run.generators:
        try:
            images = load_source(run.experiment.data, k, folder or run.experiment.folder)
        except UserError:
            continue  # this peer's images are on its own machine
        return run.experiment.build_gan(images.shape, classes=images.classes)
    return None


def _classes(run: RecordedRun) -> int:
    """How many classes the peers of a run know of, by what they left."""
    results = run.results.values()
    return max(max(len(of.class_names), 1 + max(of.labels or [-1])) for of in results)


def _bounds(run: RecordedRun, gan: Gan | None, lambda_2: float | None) -> dict[str, Bound]:
    bounds: dict[str, Bound] = {}
    if lambda_2 is None or not run.experiment.schedule.static:
        return bounds  # Theorem 1 is about one graph
    modules = {"generator": gan.generator, "discriminator": gan.discriminator} if gan else {}
    for net, module in modules.items():
        _, norms = run.gradient_norms(net)
        finite = norms[np.isfinite(norms)]
        bound = bound_for(
            run.experiment,
            net,
            lambda_2,
            largest_gradient_sq=float(finite.max()) ** 2 if len(finite) else None,
            parameters=Layout.of(module).parameter_count,
        )
        if bound is not None:
            bounds[net] = bound
    return bounds


def _class_names(run: RecordedRun, source: Source | None) -> tuple[str, ...]:
    """What the classes are called, where that is more than their numbers."""
    said = [result.class_names for result in run.results.values() if result.class_names]
    names = source.images.class_names if source else next(iter(said), ())
    return () if are_numbers(names) else tuple(names)


def _labels(run: RecordedRun) -> dict[int, tuple[int, ...]]:
    """The classes of each peer's data, as it reported them."""
    return {k: tuple(sorted(of.labels)) for k, of in run.results.items() if of.labels is not None}


def _seconds(run: RecordedRun, given: float | None, earlier: Mapping[str, Any]) -> float:
    if given is not None:
        return given
    if isinstance(earlier.get("seconds"), int | float):
        return float(earlier["seconds"])
    finished = [result.seconds for result in run.results.values()]
    logged = [records[-1].seconds for records in run.records.values() if records]
    return max(finished or logged, default=0.0)


def _earlier_summary(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}
