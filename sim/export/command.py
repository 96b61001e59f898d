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
from peer.quality.mixture import Mixture
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
    generator, gan, shape = final_generator_of(recorded, peer)
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
            )
            write_whole(path, page.encode())
        else:
            write_onnx(generator, gan.z_dim, path)
    except OSError as problem:
        raise UserError(f"--out {path}: cannot be written: {problem.strerror}") from None
    size = path.stat().st_size / 1e6
    console.print(f"written: {path} ({size:.1f} MB)")
    if half:
        z = stream(0, "quality", "z").standard_normal((_CHECKED, gan.z_dim), dtype="float32")
        error = half_error(generator, torch.from_numpy(z))
        console.print(
            f"float16 changes the values of {_CHECKED} pictures, from -1 to 1, by {error:.1e} at "
            "most"
        )


def final_generator_of(run: RecordedRun, peer: int) -> tuple[nn.Module, Gan, tuple[int, int, int]]:
    """What a peer of a run ended with, in evaluation mode, its GAN, and an image's shape.

    Raises:
        UserError: there is no such peer, it left no generator, or several in one.
    """
    if peer not in range(run.experiment.peers):
        raise UserError(f"--peer {peer}: the run has peers 0 to {run.experiment.peers - 1}")
    if peer not in run.generators:
        others = ", ".join(map(str, run.generators)) or "nobody"
        why = "holds none" if peer in run.without_generator else "may not have finished"
        raise UserError(f"--peer {peer}: it left no generator (it {why}); {others} did")
    shape = run.results[peer].shape if peer in run.results else None
    if shape is None:
        shapes = [result.shape for result in run.results.values() if result.shape]
        shape = next(iter(shapes), None)
    if shape is None:
        shape = load_source(run.experiment.data, peer, run.experiment.folder).shape
    gan = run.experiment.build_gan(shape)
    alone = replace(run, generators={peer: run.generators[peer]})
    generator = load_run(alone, gan)[peer]
    if isinstance(generator, Mixture):
        raise UserError(
            f"--peer {peer}: ends with {len(generator.parts)} generators that share the work; "
            "export a worker's"
        )
    return generator.eval(), gan, shape


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
