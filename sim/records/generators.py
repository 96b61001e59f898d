"""What the peers of a run on disk ended with, ready to draw samples."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from peer.gan import Gan
from peer.quality.mixture import Mixture, asked_for_all
from peer.quality.samples import load_generators
from sim.records.reader import RecordedRun


def generator_files(run: RecordedRun, last: bool = False) -> dict[int, Path]:
    """By peer, the file that its images are drawn from: the moving average's, if there is one."""
    if last or run.experiment.ema is None:
        return dict(run.generators)
    return {k: path.with_name("generator_ema.safetensors") for k, path in run.generators.items()}


def load_run(run: RecordedRun, gan: Gan, last: bool = False) -> dict[int, nn.Module]:
    """What each peer of a run on disk ended with, by peer; those without a generator are left out.

    With ``last``, the last generators, also where the experiment has their moving average. Those
    that are told classes are asked for all in turn.

    Raises:
        UserError: a file is damaged, or of another model than the experiment's.
    """
    generators = load_generators(generator_files(run, last), gan)
    for k, path in run.generators.items():
        shares = run.results[k].mixture if k in run.results else {}
        files = {
            i: path.with_name(f"generator-{name}.safetensors") for i, name in enumerate(shares)
        }
        if files:
            parts = load_generators(files, gan)
            generators[k] = Mixture(list(parts.values()), list(shares.values()))
    return {k: asked_for_all(generator, gan) for k, generator in generators.items()}
