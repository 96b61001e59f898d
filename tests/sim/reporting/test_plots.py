"""Figures: what is drawn follows the data, whatever the number of peers."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sim.metrics.theorem1_bound import Bound
from sim.records.reader import Curve
from sim.reporting import plots
from sim.reporting.plots.style import MANY_LINES, NET_COLOURS, PALETTE

ROUNDS = np.arange(1, 61)


def _curve(scale: float, error: float | None = None) -> Curve:
    values = scale * (1 + np.exp(-ROUNDS / 10) + 0.1 * np.sin(ROUNDS))
    return Curve(ROUNDS, values, None if error is None else np.full(60, error))


def _losses(peers: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(np.random.SeedSequence(peers))
    return {net: draw.normal(1, 0.2, (60, peers)) for net in ("generator", "discriminator")}


def _digits(peers: int, shape: tuple[int, int, int] = (1, 8, 8)) -> dict[int, np.ndarray]:
    draw = np.random.default_rng(np.random.SeedSequence(peers))
    return {k: draw.uniform(-1, 1, (16, *shape)).astype(np.float32) for k in range(peers)}


def _figures(peers: int, scale: float = 1.0) -> dict[str, Figure]:
    """Every figure there is, with numbers that follow from ``scale``."""
    curves = {"generator": _curve(scale, 0.06), "discriminator": _curve(4 * scale, 0.08)}
    bounds = {"generator": Bound(10 * scale, "surrogate", True)}
    cover = {k: int(3 + 4 * scale + k % 3) for k in range(peers)}
    cfid = {k: 30 * scale + k for k in range(peers)}
    own = {k: (2 * k % 10, 2 * k % 10 + 1) for k in range(peers)}
    samples = {k: scale * x for k, x in _digits(peers).items()}
    graph = nx.cycle_graph(peers) if scale == 1 else nx.star_graph(peers - 1)
    runs = {
        "a": plots.RunSeries({"generator": _curve(scale)}, cover, cfid),
        "b": plots.RunSeries({"generator": _curve(2.0)}, {0: 2}, {0: 400.0}),
    }
    return {
        "disagreement": plots.draw_disagreement(curves, bounds, 0.5 * scale),
        "losses": plots.draw_losses(
            ROUNDS, {net: scale * x for net, x in _losses(peers).items()}, "nats"
        ),
        "delta_loss": plots.draw_delta_loss(
            ROUNDS, scale * np.sin(ROUNDS / 9), np.full(60, 0.3 * scale)
        ),
        "coverage": plots.draw_coverage({"this": cover, "alone": {0: 2}}, 10, own),
        "cfid": plots.draw_cfid({"this": cfid, "alone": {0: 300.0}}),
        "samples": plots.draw_samples(samples, labels=own),
        "graph": plots.draw_graph(graph, own, (1,)),
        "comparison": plots.draw_comparison(runs, 10),
    }


@pytest.mark.parametrize("peers", [5, 30])
def test_every_figure_is_a_png_with_something_on_it_that_follows_the_data(tmp_path, peers):
    figures, same, others = _figures(peers), _figures(peers), _figures(peers, 0.5)
    for name, figure in figures.items():
        path = plots.save(figure, tmp_path / "figures" / f"{name}.png")
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        with Image.open(path) as image:
            shown = np.asarray(image)
        assert 250 <= shown.shape[0] <= 2000, name
        assert 480 <= shown.shape[1] <= 2000, name
        assert shown.std() > 15, name
        assert (shown == plots.pixels(same[name])).all(), name
        other = plots.pixels(others[name])
        assert shown.shape != other.shape or (shown != other).any(), name


def _texts(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    for axes in figure.axes:
        found += [axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), axes.get_title("left")]
        found += [label.get_text() for label in axes.get_xticklabels()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join(found)


def test_disagreement_says_what_it_shows():
    curves = {"generator": _curve(1.0), "discriminator": _curve(2.0)}
    bounds = {"discriminator": Bound(9.0, "bound of Theorem 1", False)}
    figure = plots.draw_disagreement(curves, bounds, 0.53934)
    [axes] = figure.axes
    assert axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["generator"].get_ydata(), curves["generator"].values)
    [flat] = [line for line in axes.get_lines() if len(set(line.get_ydata())) == 1]
    assert flat.get_ydata()[0] == 9.0
    assert flat.get_color() == NET_COLOURS["discriminator"]
    assert flat.get_linestyle() == "-"
    text = _texts(figure)
    for word in ("rounds completed", "squared parameter units", "exact", "0.5393", "Theorem 1"):
        assert word in text
    assert not axes.collections  # no band around what is exact


def test_an_estimate_has_a_band_and_a_surrogate_is_dashed():
    bounds = {"generator": Bound(9.0, "surrogate for the bound (adam)", True)}
    figure = plots.draw_disagreement({"generator": _curve(1.0, 0.05)}, bounds, None)
    [axes] = figure.axes
    [band] = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(_curve(1.0).values.max() * 1.1)
    [flat] = [line for line in axes.get_lines() if len(set(line.get_ydata())) == 1]
    assert flat.get_linestyle() == "--"
    text = _texts(figure)
    assert "estimated" in text
    assert "2 standard errors" in text
    assert "surrogate" in text


def test_zero_disagreement_does_not_reach_the_log_scale():
    curve = Curve(ROUNDS[:3], np.array([0.0, 1.0, 2.0]))
    [axes] = plots.draw_disagreement({"generator": curve}, {}, 0.5).axes
    assert np.isnan(axes.get_lines()[0].get_ydata()[0])


def test_agreement_up_to_rounding_does_not_stretch_the_scale():
    values = np.array([1e-3, 1e-25, 1e-2])
    [axes] = plots.draw_disagreement({"generator": Curve(ROUNDS[:3], values)}, {}, 0.0).axes
    assert axes.get_ylim()[0] == pytest.approx(1e-10)


def test_few_peers_have_lines_and_many_have_bands():
    few = plots.draw_losses(ROUNDS, _losses(MANY_LINES), "nats")
    assert [len(axes.get_lines()) for axes in few.axes] == [2 * MANY_LINES] * 2
    assert few.axes[0].get_lines()[1].get_color() == PALETTE[0]
    assert "peer 7" in _texts(few)
    losses = _losses(1000)
    many = plots.draw_losses(ROUNDS, losses, "")
    assert [len(axes.get_lines()) for axes in many.axes] == [1, 1]
    assert [len(axes.collections) for axes in many.axes] == [2, 2]
    assert "median peer" in _texts(many)
    middle = many.axes[0].get_lines()[0].get_ydata()
    np.testing.assert_allclose(middle, 1.0, atol=0.05)


def test_losses_are_smoothed_and_gaps_stay_gaps():
    losses = np.ones((60, 1))
    losses[30:, 0] = 3.0
    losses[10] = np.nan
    [axes] = plots.draw_losses(ROUNDS, {"generator": losses}, "").axes
    raw, smooth = (line.get_ydata() for line in axes.get_lines())
    assert np.isnan(raw[10])
    assert np.isnan(smooth[10])
    assert smooth[0] == 1.0
    assert smooth[29] == pytest.approx(2.0)  # two records wide
    assert axes.get_ylabel() == "loss"


def test_bars_of_coverage():
    own = {0: [1, 2, 3], 1: [4]}
    groups = {"this run": {0: 9, 1: 7}, "untrained": {0: 0, 1: 1}}
    figure = plots.draw_coverage(groups, 10, own)
    [axes] = figure.axes
    heights = [[bar.get_height() for bar in container] for container in axes.containers]
    assert heights == [[9, 7], [0, 1]]
    [ticks] = axes.collections
    assert [segment[0][1] for segment in ticks.get_segments()] == [3, 1]
    assert axes.get_ylim()[0] == 0
    for word in ("peer 0", "classes covered", "of 10", "this run", "untrained", "own data"):
        assert word in _texts(figure)


def test_coverage_of_many_peers_is_a_distribution():
    groups = {"this run": {k: 9 if k < 75 else 10 for k in range(100)}}
    [axes] = plots.draw_coverage(groups, 10).axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
    assert heights[9] == 75
    assert heights[10] == 25
    assert "share of the peers (%)" in axes.get_ylabel()


def test_cfid_has_bars_or_dots_on_a_log_scale():
    near = plots.draw_cfid({"this": {0: 40.0, 1: 50.0}, "alone": {0: 300.0, 1: 200.0}})
    assert near.axes[0].get_yscale() == "linear"
    assert [bar.get_height() for bar in near.axes[0].patches] == [40, 50, 300, 200]
    assert "40" in _texts(near)
    far = plots.draw_cfid({"this": {0: 4.0, 1: np.nan}, "alone": {0: 300.0, 1: 200.0}})
    assert far.axes[0].get_yscale() == "log"
    assert not far.axes[0].patches
    assert far.axes[0].get_lines()[0].get_ydata()[0] == 4.0
    assert "log scale" in _texts(far)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_the_grid_shows_every_peers_samples(shape):
    samples = _digits(3, shape)
    first = plots.pixels(plots.draw_samples(samples))
    for k in range(3):
        changed = {j: -x if j == k else x for j, x in samples.items()}
        difference = np.abs(plots.pixels(plots.draw_samples(changed)).astype(int) - first)
        rows = np.flatnonzero(difference.sum(axis=(1, 2)))
        height = first.shape[0] - 42
        assert rows.min() >= 34 + height * k // 3 - 2
        assert rows.max() <= 34 + height * (k + 1) // 3 + 2


def test_samples_of_unseen_classes_are_framed():
    samples = {0: np.zeros((16, 1, 8, 8), np.float32)}
    marked = {0: np.arange(16) == 3}
    plain = plots.pixels(plots.draw_samples(samples, marked={0: np.zeros(16, bool)}))
    framed = plots.pixels(plots.draw_samples(samples, marked=marked))
    orange = np.array([0xD5, 0x5E, 0x00])
    new = (np.abs(framed.astype(int) - orange).sum(2) < 30) & (
        np.abs(plain.astype(int) - orange).sum(2) >= 30
    )
    across = np.flatnonzero(new.any(axis=0))
    assert 40 <= across.max() - across.min() <= 60  # one cell wide


@pytest.mark.parametrize(
    ("peers", "count", "side", "holds"),
    [(2, 1, 64, False), (2, 4, 64, True), (3, 16, 28, True), (1, 16, 8, True), (20, 8, 28, False)],
)
def test_the_legend_of_samples_lies_over_nothing(peers, count, side, holds):
    images = {k: np.zeros((count, 1, side, side), dtype=np.float32) for k in range(peers)}
    own = dict.fromkeys(range(peers), np.zeros((4, 1, side, side), dtype=np.float32))
    marked = dict.fromkeys(range(peers), np.ones(count, dtype=bool))
    figure = plots.draw_samples(images, own if holds else None, marked)
    plots.pixels(figure)
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    for text in axes.texts:
        assert not legend.overlaps(text.get_window_extent()), text.get_text()


def test_samples_that_are_not_finite_are_drawn_grey():
    pixels = plots.pixels(plots.draw_samples({0: np.full((16, 1, 8, 8), np.nan, np.float32)}))
    assert (pixels[60, 200:700, :3] == 127).any()


def test_the_graph_names_peers_and_classes():
    figure = plots.draw_graph(nx.cycle_graph(4), {0: (0, 1), 1: (2,), 2: range(10)}, (3,))
    text = _texts(figure)
    for word in ("classes 0, 1", "class 2", "classes 0 to 9", "4 peers, 4 links", "no result"):
        assert word in text
    [links] = figure.axes[0].collections
    assert len(links.get_segments()) == 4
    nodes = figure.axes[0].get_lines()
    assert [node.get_markerfacecolor() for node in nodes][:3] == list(PALETTE[:3])
    assert nodes[3].get_markerfacecolor() == "white"


def test_a_large_graph_is_coloured_by_class():
    labels = {k: (k % 10,) for k in range(50)}
    figure = plots.draw_graph(nx.cycle_graph(50), labels)
    colours = [node.get_markerfacecolor() for node in figure.axes[0].get_lines()]
    assert len(set(colours)) == 10
    assert colours[3] == colours[13]
    assert "class 7" in _texts(figure)


def test_runs_side_by_side():
    runs = {
        "ring": plots.RunSeries({"generator": _curve(1.0)}, {0: 9, 1: 10}, {0: 30.0, 1: 31.0}),
        "star": plots.RunSeries({"generator": _curve(3.0)}, {0: 4, 1: 6}, {0: 900.0, 1: 800.0}),
    }
    figure = plots.draw_comparison(runs, 10)
    disagreement, coverage, cfid = [axes for sub in figure.subfigs for axes in sub.axes]
    assert [line.get_label() for line in disagreement.get_lines()] == ["ring", "star"]
    medians = [line.get_xdata()[0] for line in coverage.get_lines()[1::2]]
    assert medians == [9.5, 5.0]
    assert [label.get_text() for label in coverage.get_yticklabels()] == ["ring", "star"]
    assert cfid.get_xscale() == "log"
    unjudged = {"a": plots.RunSeries({"generator": _curve(1.0)}, {}, {})}
    assert len(plots.draw_comparison(unjudged, None).subfigs) == 1


def test_quality_is_on_a_log_scale_where_values_are_far_apart():
    def draw(cfid: list[float]) -> Figure:
        x = np.array([1.0, 2.0, 3.0])
        return plots.draw_quality({"a": (x, np.array([1, 2, 3]), np.array(cfid))}, "rounds")

    assert draw([500, np.nan, 20]).axes[1].get_yscale() == "log"
    near = draw([500, 450, 540]).axes
    assert [axes.get_yscale() for axes in near] == ["linear", "linear"]
    assert [axes.get_ylim()[0] for axes in near] == [0, 0]
    assert near[1].get_lines()[0].get_ydata().tolist() == [500, 450, 540]
    assert draw([np.nan] * 3).axes[1].get_yscale() == "linear"
