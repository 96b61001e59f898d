"""Whether the generator's loss falls: figures 8 to 13."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Verdict, column, spread
from reproductions.distributed_gan._users import fall, generator_loss
from reproductions.drawing import axes, curves

FALLS = (
    "By an approach the loss falls if its mean over the last quarter of the rounds is below that "
    "over the first quarter, in most seeds. By all three: holds. By some: in part."
)


def losses(run: Path) -> dict[str, Any]:
    """The curve, and by what share its last quarter is below its first."""
    curve = generator_loss(run)
    by = fall(curve)
    return {"curve": curve, "fall": by if math.isfinite(by) else None}


def losses_fall(found: Found) -> Verdict:
    """The rule, carried out."""
    falls = {s: sum(by > 0 for by in column(found, s, "fall")) for s in found}
    return Verdict.by(
        {s: falls[s] > len(found[s]) / 2 for s in found},
        "the last quarter's mean loss is below the first's, by a share of: "
        + "; ".join(
            f"{s} {spread(found, s, 'fall', '.2f')} ({falls[s]} of {len(found[s])} seeds fall)"
            for s in found
        ),
    )


def draw_losses(found: Found) -> Figure:
    """A plot an approach."""
    figure, made = axes(len(found), width=3.6, height=2.8)
    for ax, system in zip(made, found, strict=True):
        curves(
            ax,
            found,
            "rounds",
            "loss",
            xlabel="rounds",
            ylabel="loss of G (nats)",
            title=system,
            only=[system],
        )
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    return figure
