"""Figures: numbers in, a matplotlib figure out, and :func:`save` writes it as a PNG."""

from peer.loggers.mosaic import save_images
from sim.reporting.plots.curves import draw_delta_loss, draw_disagreement, draw_losses
from sim.reporting.plots.partition import draw_partition
from sim.reporting.plots.peer_comparison import RunSeries, draw_cfid, draw_comparison, draw_coverage
from sim.reporting.plots.pictures import draw_graph, draw_samples
from sim.reporting.plots.quality import draw_quality
from sim.reporting.plots.style import pixels, plain, save
from sim.reporting.plots.systems import draw_systems

__all__ = [
    "RunSeries",
    "draw_cfid",
    "draw_comparison",
    "draw_coverage",
    "draw_delta_loss",
    "draw_disagreement",
    "draw_graph",
    "draw_losses",
    "draw_partition",
    "draw_quality",
    "draw_samples",
    "draw_systems",
    "pixels",
    "plain",
    "save",
    "save_images",
]
