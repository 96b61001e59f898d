"""``sim export``: one peer's generator, for use without hearsay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from peer.console import terminal
from peer.data import load_source
from peer.gan import Gan
from peer.gan.conditional import Asked, one_hot
from peer.quality.mixture import mixture_in
from peer.state.checkpoint import write_whole
from peer.streams import stream
from sim.export.onnx_file import write_onnx
from sim.export.page import half_error, write_page
from sim.records.generators import load_run
from sim.records.reader import RecordedRun, read_run
from topology.errors import UserError

_CHECKED = 16


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    peer: Annotated[int, typer.Option("--peer", help="Whose generator.")] = 0,
    html: Annotated[
        bool, typer.Option("--html", help="A page that draws in the visitor's browser.")
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="With --html: weights as float16, half as large.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file. [default: RUN/generator-<peer>.onnx, or .html]"),
    ] = None,
) -> None:
    """One peer's generator, for use without hearsay: as ONNX, or as a page that draws."""
    if half and not html:
        raise UserError("--half: is for the page; say --html, too")
    recorded = read_run(run)
    generator, gan, shape, classes = final_generator_of(recorded, peer)
    path = out or recorded.folder / f"generator-{peer}.{'html' if html else 'onnx'}"
    console = terminal(soft_wrap=True, highlight=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if html:
            page = write_page(
                generator,
                gan.z_dim,
                shape,
                title=f"What peer {peer} draws",
                subtitle=_subtitle(recorded, peer),
                half=half,
                classes=classes,
            )
            write_whole(path, page.encode())
        else:
            write_onnx(generator, gan.z_dim + len(classes), path)
    except OSError as problem:
        raise UserError(f"--out {path}: cannot be written: {problem.strerror}") from None
    size = path.stat().st_size / 1e6
    console.print(f"written: {path} ({size:.1f} MB)")
    if half:
        z = stream(0, "quality", "z").standard_normal((_CHECKED, gan.z_dim), dtype="float32")
        told = one_hot(torch.arange(_CHECKED) % len(classes), len(classes)) if classes else None
        inputs = torch.from_numpy(z) if told is None else torch.cat((torch.from_numpy(z), told), 1)
        error = half_error(generator, inputs)
        console.print(
            f"float16 changes the values of {_CHECKED} pictures, from -1 to 1, by {error:.1e} at "
            "most"
        )


def final_generator_of(
    run: RecordedRun, peer: int
) -> tuple[nn.Module, Gan, tuple[int, int, int], list[str]]:
    """What a peer of a run ended with, in evaluation mode, its GAN, and an image's shape.

    Last, the names of the classes that the generator is told, one-hot behind z; none where it is
    not.

    Raises:
        UserError: there is no such peer, it left no generator, or several in one.
    """
    if peer not in range(run.experiment.peers):
        raise UserError(f"--peer {peer}: the run has peers 0 to {run.experiment.peers - 1}")
    if peer not in run.generators:
        others = ", ".join(map(str, run.generators)) or "nobody"
        why = "holds none" if peer in run.without_generator else "may not have finished"
        raise UserError(f"--peer {peer}: it left no generator (it {why}); {others} did")
    shapes = {k: result.shape for k, result in run.results.items() if result.shape}
    shape = shapes.get(peer) or next(iter(shapes.values()), None)
    if shape is None:
        shape = load_source(run.experiment.data, peer, run.experiment.folder).shape
    names = _class_names(run) if run.experiment.conditional is not None else []
    gan = run.experiment.build_gan(shape, classes=len(names))
    alone = replace(run, generators={peer: run.generators[peer]})
    generator = load_run(alone, gan)[peer]
    mixture = mixture_in(generator)
    if mixture is not None:
        raise UserError(
            f"--peer {peer}: ends with {len(mixture.parts)} generators that share the work; "
            "export a worker's"
        )
    net = generator.net if isinstance(generator, Asked) else generator
    return net.eval(), gan, shape, names


def _class_names(run: RecordedRun) -> list[str]:
    """The names of all classes, by what the peers left; their numbers where they have none."""
    named = max((result.class_names for result in run.results.values()), key=len, default=())
    largest = max((max(result.labels or [-1]) for result in run.results.values()), default=-1)
    return list(named) or [str(label) for label in range(largest + 1)]


def _subtitle(run: RecordedRun, peer: int) -> str:
    """What the generator was trained on, in a line."""
    words = f"{run.experiment.algorithm.name} among {run.experiment.peers} peers"
    words += f", {run.rounds} rounds"
    result = run.results.get(peer)
    if result is None or not result.labels:
        return words
    names = dict(enumerate(result.class_names))
    held = [names.get(label, str(label)) for label in sorted(result.labels)]
    few = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
    return f"{words}. Its own pictures are of: {few}"
