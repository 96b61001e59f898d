"""What the peers of a run on disk ended with, ready to draw samples."""

from __future__ import annotations

from torch import nn

from peer.gan import Gan
from peer.quality.mixture import Mixture
from peer.quality.samples import load_generators
from sim.records.reader import RecordedRun


def load_run(run: RecordedRun, gan: Gan) -> dict[int, nn.Module]:
    """What each peer of a run on disk ended with, by peer; those without a generator are left out.

    Raises:
        UserError: a file is damaged, or of another model than the experiment's.
    """
    generators = load_generators(run.generators, gan)
    for k, path in run.generators.items():
        shares = run.results[k].mixture if k in run.results else {}
        files = {
            i: path.with_name(f"generator-{name}.safetensors") for i, name in enumerate(shares)
        }
        if files:
            parts = load_generators(files, gan)
            generators[k] = Mixture(list(parts.values()), list(shares.values()))
    return generators
