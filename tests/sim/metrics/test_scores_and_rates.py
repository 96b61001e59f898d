"""Mode score, delta loss, what has been seen, rates: values by hand and golden ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.metrics.pace import convergence_gain, delta_loss, mode_score, time_to_score
from sim.metrics.seen import divergence, seen_by_rounds


def test_mode_score_between_one_and_the_number_of_classes():
    assert mode_score(np.eye(5)) == pytest.approx(5)
    assert mode_score(np.full((8, 5), 0.2)) == pytest.approx(1)
    assert mode_score(np.tile([1.0, 0, 0], (7, 1))) == pytest.approx(1)
    assert math.isnan(mode_score(np.array([[np.nan, 1.0]])))


def test_mode_score_is_also_that_of_che_et_al():
    draw = np.random.default_rng(np.random.SeedSequence(0))
    p, data = draw.dirichlet([1.0] * 4, 50), draw.dirichlet([1.0] * 4)
    marginal = p.mean(axis=0)
    theirs = np.mean([divergence(row, data) for row in p]) - divergence(marginal, data)
    assert mode_score(p) == pytest.approx(math.exp(theirs))


def test_delta_loss_over_the_peers_that_have_both_losses():
    nan = math.nan
    mean, std = delta_loss(
        np.array([[2.0, 4.0], [1.0, nan], [nan, 1.0]]),
        np.array([[1.0, 1.0], [3.0, 1.0], [1.0, nan]]),
    )
    assert mean[:2].tolist() == [2.0, -2.0]
    assert std[:2].tolist() == [1.0, 0.0]
    assert math.isnan(mean[2])
    assert math.isnan(std[2])
    ln2 = math.log(2)
    assert delta_loss(np.array([[2 * ln2]]), np.array([[ln2]]))[0] == pytest.approx(0.693147)


HISTOGRAMS = {0: {0: 10}, 1: {1: 20, 2: 10}, 2: {0: 10, 1: 10, 2: 20}}  # Q = (.25, .375, .375)


def test_golden_divergences():
    q = [0.25, 0.375, 0.375]
    found = [divergence(c, q) for c in ([10, 0, 0], [0, 20, 10], [10, 10, 20])]
    assert found == pytest.approx([1.386294, 0.344315, 0.042475], abs=1e-6)
    assert divergence([0.5, 0.5], [1.0, 0.0]) == math.inf


def test_what_has_been_seen():
    found = seen_by_rounds([[0], [1], [0, 2], []], HISTOGRAMS)
    # V = (10, 0, 0), (10, 20, 10), (30, 30, 30), again
    assert found.divergence[:2] == pytest.approx([1.386294, 0.042475], abs=1e-6)
    assert found.divergence[2] == pytest.approx(divergence([1, 1, 1], [0.25, 0.375, 0.375]))
    assert found.divergence[3] == found.divergence[2]
    assert found.reverse[0] == pytest.approx(divergence([0.25, 0.375, 0.375], [11, 1, 1]))
    assert found.samples == pytest.approx([10 / 3, 40 / 3, 30, 30])
    assert found.unique == pytest.approx([10 / 3, 40 / 3, 80 / 3, 80 / 3])


def test_nothing_seen_yet():
    found = seen_by_rounds([[], [1]], {0: {0: 2, 2: 2}, 1: {0: 4}})
    assert math.isnan(found.divergence[0])
    assert found.divergence[1] == pytest.approx(math.log(4 / 3))
    assert len(seen_by_rounds([], HISTOGRAMS).samples) == 0


def test_time_until_a_score_is_reached():
    times, fid = [1, 2, 3, 4], [90.0, math.nan, 50.0, 40.0]
    assert time_to_score(times, fid, 50) == 3
    assert time_to_score(times, fid, 60) == pytest.approx(2.5)
    assert time_to_score(times, fid, 10) is None
    assert time_to_score([], [], 1) is None


def test_convergence_gain_passes_over_what_is_not_finite():
    vanilla = ([10, 20, 30], [math.nan, 60.0, 70.0])
    assert convergence_gain(vanilla, ([4, 8, 12], [80.0, math.nan, 40.0])) == pytest.approx(2.5)
    assert convergence_gain(vanilla, ([4, 8], [80.0, 70.0])) is None
    assert convergence_gain(([1.0], [math.nan]), vanilla) is None
