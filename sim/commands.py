"""Commands beside ``sim run``: looking at what runs left, and putting Theorem 1 to the test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

import algorithms
from peer.console import RunDir, Set, load_experiment, terminal
from peer.data import load_source
from peer.data.classes import find_class, shown
from peer.data.images import Images
from peer.data.partitions import label_counts
from peer.gan.conditional import Asked
from peer.quality.samples import draw_samples, load_generators
from peer.state.recorder import choose_run_dir, make_run_dir
from sim.records.generators import generator_files
from sim.records.reader import read_run
from sim.reporting import plots
from sim.reporting.console import show_report
from sim.reporting.report import write_comparison, write_report
from sim.reporting.tables import format_distance, name_classes
from sim.runs.simulate import check_states, shards
from sim.studies.compare import (
    Outcome,
    check_comparison,
    compare,
    comparison_folder,
    quality_curves_of,
    read_comparison,
)
from sim.studies.comparison_table import comparison_table
from sim.studies.disagreement_sweep import sweep_disagreement, write_sweep
from sim.studies.evaluate import REAL, evaluate_run, evaluation_table
from topology.errors import UserError
from topology.names import suggestion

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run, or several.")],
    out: Annotated[
        Path, typer.Option("--out", help="Where several runs are drawn side by side.")
    ] = Path("comparison.png"),
) -> None:
    """Draw the figures and the report of one run, or several runs side by side.

    A run's folder may have been gathered from several machines: put their peer-<id> folders
    into one.
    """
    console = terminal(soft_wrap=True)
    if len(runs) == 1:
        write_report(runs[0], notify=console.print)
        console.print(f"figures are in {runs[0] / 'figures'}, the report is "
                      f"{runs[0] / 'report.html'}")  # fmt: skip
    else:
        console.print(f"drawn: {write_comparison(runs, out)}")


def evaluate(
    run: RunFolder,
    inception: Annotated[
        Path | None, typer.Option("--inception", help="Inception weights (.safetensors), for FID.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=10, help="Of each generator. [default: metrics.samples]"),
    ] = None,
    real: Annotated[
        int, typer.Option("--real", min=10, help="Real images to compare with, at most.")
    ] = REAL,
) -> None:
    """Judge the generators that a run left behind by every measure, and write its report anew."""
    console = terminal()
    found = evaluate_run(run, inception=inception, samples=samples, real=real, notify=console.print)
    show_report(run, console)
    console.print(evaluation_table(found))
    for name, value in found["run"].items():
        console.print(f"{name}: {_brief(value)}", highlight=False)
    console.print(f"written: {run / 'evaluation.json'}", soft_wrap=True)


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_brief(of)}" for key, of in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def compare_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="One file with 'systems:', or experiments."),
    ],
    changes: Set = None,
    run_dir: RunDir = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Such as 0,1,2; the file's if absent.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Runs at once.")] = 1,
    engine: Annotated[str, typer.Option(help="event, stacked or auto, as of sim run.")] = "event",
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what has been run in that folder already.")
    ] = False,
) -> None:
    """Run several systems on the same data and seeds; make one table and one figure of them."""
    console = terminal()
    try:
        chosen = None if seeds is None else [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {seeds}: say whole numbers, such as 0,1,2") from None
    comparison = read_comparison(files, changes or (), chosen)
    check_comparison(comparison)
    folder = comparison_folder(run_dir, files, resume)

    def print_outcome(outcome: Outcome) -> None:
        console.print(
            f"{outcome.system} (seed {outcome.seed}): "
            f"{'' if outcome.covered is None else f'covers {outcome.covered}, '}"
            f"{outcome.measure.upper()} {format_distance(outcome.distance)}, "
            f"{outcome.seconds:.0f} s",
            style="dim",
        )

    outcomes = compare(comparison, folder, processes, print_outcome, engine, resume)
    console.print(comparison_table(outcomes))
    path = plots.save(plots.draw_systems(outcomes), folder / "comparison.png")
    console.print(f"drawn: {path}", soft_wrap=True)
    series = quality_curves_of(outcomes, folder)
    if series:
        x_label = "share of the run that is done (%)"
        figure = plots.draw_quality(series, x_label, outcomes[0].measure)
        path = plots.save(figure, folder / "progress.png")
        console.print(f"drawn: {path}", soft_wrap=True)


def partition(
    file: Annotated[Path, typer.Argument(help="The experiment file.")],
    changes: Set = None,
    out: Annotated[Path, typer.Option("--out", help="Where the figure goes.")] = Path(
        "partition.png"
    ),
) -> None:
    """Draw who holds which classes, without training anything."""
    console = terminal()
    experiment = load_experiment(file, changes, None)
    counts = {}
    classes = 0
    names: tuple[str, ...] = ()
    for k, (images, indices) in enumerate(shards(experiment)):
        if indices is None:
            continue  # a server
        if images.labels is None:
            raise UserError(f"{file}: data: {images.name} has no labels to count")
        counts[k] = label_counts(images, indices)
        classes, names = max(classes, images.classes), images.class_names
    table = Table(title=f"{experiment.data.partition.name} of {experiment.data.source}")
    for heading in ("peer", "images", "classes"):
        table.add_column(heading, justify="right")
    for k, of_peer in counts.items():
        table.add_row(str(k), f"{sum(of_peer.values()):,}", name_classes(sorted(of_peer), names))
    console.print(table)
    path = plots.save(plots.draw_partition(counts, classes, names), out)
    console.print(f"drawn: {path}", soft_wrap=True)


def theory(
    file: Annotated[Path, typer.Argument(help="The experiment that trains the generators.")],
    smallest: Annotated[float, typer.Option("--mu-from", help="Smallest step size.")] = 0.0005,
    largest: Annotated[float, typer.Option("--mu-to", help="Largest step size.")] = 0.005,
    count: Annotated[int, typer.Option("--points", min=2, help="Step sizes in all.")] = 4,
    changes: Set = None,
    run_dir: RunDir = None,
) -> None:
    """Sweep the step size on ring, path and star: disagreement against Theorem 1 of the paper."""
    if not 0 < smallest < largest:
        raise UserError(f"--mu-from {smallest} --mu-to {largest}: say 0 < mu-from < mu-to")
    experiment = load_experiment(file, changes, None)
    console = terminal(soft_wrap=True)
    folder = choose_run_dir(run_dir, file.stem)
    check_states(experiment, algorithms.find(experiment))
    make_run_dir(folder)
    mus = [float(mu) for mu in np.geomspace(smallest, largest, count)]
    sweep = sweep_disagreement(experiment, mus, progress=console.print)
    for graph, slope in sweep.slopes.items():
        under = all(p.disagreement <= p.bound for p in sweep.points if p.graph == graph)
        place = "under" if under else "NOT under"
        console.print(f"{graph}: disagreement grows as mu^{slope:.2f}, {place} the bound")
    console.print(f"the figure is {write_sweep(sweep, folder)}")


def sample(
    run: RunFolder,
    peer: Annotated[int, typer.Option("--peer", help="Whose generator.")] = 0,
    count: Annotated[int, typer.Option("--count", min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which images.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="The PNG. [default: RUN/samples-<peer>.png]")
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="The last generator, not its moving average.")
    ] = False,
    of_class: Annotated[
        str | None,
        typer.Option("--class", help="Which class, by name, where generators are told classes."),
    ] = None,
) -> None:
    """Images from one peer's generator, as one PNG."""
    recorded = read_run(run)
    experiment = recorded.experiment
    if peer not in range(experiment.peers):
        raise UserError(f"--peer {peer}: the run has peers 0 to {experiment.peers - 1}")
    file = generator_files(recorded, last).get(peer)
    if file is None:
        others = ", ".join(map(str, recorded.generators)) or "nobody"
        why = "holds none" if peer in recorded.without_generator else "may not have finished"
        raise UserError(f"--peer {peer}: it left no generator (it {why}); {others} did")
    images = load_source(experiment.data, peer, experiment.folder)
    gan = experiment.build_gan(images.shape, classes=images.classes)
    generator = load_generators({peer: file}, gan)[peer]
    if gan.classes:
        generator = Asked(generator, gan.classes, _number_of_class(of_class, images))
    elif of_class is not None:
        raise UserError(
            "--class: this run's generators are not told classes; train them with conditional: true"
        )
    path = out or recorded.folder / f"samples-{peer}.png"
    plots.save_images(draw_samples(generator, gan.z_dim, count, seed), path)
    terminal(soft_wrap=True).print(f"{count} images: {path}")


def _number_of_class(name: str | None, images: Images) -> int | None:
    """The number of the class that a user names; None for all in turn."""
    if name is None:
        return None
    names = [images.class_name(x) for x in range(images.classes)]
    found = find_class(int(name) if name.isdecimal() else name, names, images.classes)
    if found is None:
        raise UserError(
            f"--class {name}: there is no such class{suggestion(name, names)} ({shown(names)})"
        )
    return found
