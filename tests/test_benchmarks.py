"""What the benchmarks work out of their times, and what they say where they cannot run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks import classifier, exchange, live, rivals, slow_link, swappers
from peer.gan import LOSSES, OBJECTIVES, Batch
from peer.gan.conditional import one_hot


def test_a_speed_is_the_median_of_ratios_within_a_turn() -> None:
    times = {"a": [1.0, 10.0, 2.0], "b": [2.0, 5.0, 3.0]}  # b / a: 2, 0.5, 1.5
    assert exchange.speed(times, "a", "b") == 1.5
    assert exchange.speed(times, "b", "a") == pytest.approx(1 / 1.5)


def test_the_mean_of_what_is_swapped() -> None:
    assert sum(swappers.VALUES) / 2 == swappers.MEAN


def test_a_flat_net_has_the_parameters_asked_for() -> None:
    generator, discriminator = swappers.flat((1, 8, 8), 1000)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 1000
    images = generator(torch.ones(2, 5))
    assert images.shape == (2, 1, 8, 8)
    assert discriminator(images).shape == (2, 1)


def test_the_slow_line_carries_a_million_parameters() -> None:
    assert slow_link.parameter_count() == 1_008_415
    generator, discriminator = slow_link.wide((1, 8, 8))
    assert discriminator(generator(torch.ones(3, 32))).shape == (3, 1)


@pytest.mark.parametrize("words", [("false",), ("no-such-command-here",)])
def test_without_namespaces_one_line_and_exit_2(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as info:
        slow_link.command(*words)
    assert info.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("slow_link: network namespaces cannot be made here; ")
    assert words[0] in said
    assert said.count("\n") == 1


def test_a_page_costs_what_served_periods_take_beside_their_neighbours() -> None:
    paces = [0.1] * 100 + [0.11] * 100 + [0.2] * 100 + [0.21] * 100  # the machine slows down
    at = np.cumsum(paces)[9::10]
    turns = [live.Turn([100 * k], [100 * k + 100], k % 2 == 1) for k in range(4)]
    assert live.ratios([at], turns) == pytest.approx([0.11 / 0.15, (0.11 + 0.21) / 2 / 0.2])


def test_the_processor_time_of_serving() -> None:
    turns = [live.Turn([], [], k % 2 == 1, [0.1, 0.4][k % 2], 10.0) for k in range(4)]
    assert live.processor_share(turns) == pytest.approx(0.03)


def test_the_rivals_minimise_the_same() -> None:
    net, y = classifier.Classifier(), torch.tensor([3, 0, 9, 3])
    (x, _), *_ = rivals.data(1)
    batch = Batch(real=x[:4], labels_real=one_hot(y, 10))
    ours = OBJECTIVES["classify"].value(None, net, LOSSES["bce_ns"], batch)
    torch.testing.assert_close(ours.minimised, cross_entropy(net.layers(x[:4]), y))
    assert net(x).shape == (rivals.IMAGES, 1)  # one number an image, as of any discriminator


def test_all_rivals_that_are_here_compute_rounds() -> None:
    times = rivals.compare(3, 1)
    assert {"bare loop", "flat loop", "hearsay, event", "hearsay, stacked"} <= times.keys()
    assert all(len(of_side) == 1 and of_side[0] > 0 for of_side in times.values())
    assert rivals.ratio({"a": [1.0, 4.0], "b": [2.0, 2.0]}, "a", "b") == 1.25
