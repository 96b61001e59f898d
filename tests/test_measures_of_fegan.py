"""What the reproductions of FeGAN's figures measure."""

from __future__ import annotations

import math

import pytest

from reproductions.fegan._measures import first_reached, gains, median, ratios
from reproductions.fegan.fig16 import SHARES, _weak


def test_a_growing_quantity_is_read_between_two_rounds() -> None:
    assert first_reached([1.0, 2.0, 4.0], 3.0) == 2.5
    assert first_reached([4.0], 1.0) == 0.25
    assert first_reached([1.0, None, 3.0], 3.0) == 3.0
    assert first_reached([1.0, 2.0], 3.0) is None
    assert first_reached([], 3.0) is None


def test_a_gain_is_the_time_to_the_baselines_best_and_zero_where_it_is_never_reached() -> None:
    def run(distances: list[float | None]) -> dict[str, object]:
        return {"curve": {"seconds": [10.0, 20.0, 30.0], "distance": distances}}

    found = {
        "slow": [run([90.0, 50.0, 60.0]), run([90.0, 50.0, 60.0]), run([None, None, None])],
        "fast": [run([50.0, 70.0, 80.0]), run([90.0, 80.0, 51.0]), run([1.0, 1.0, 1.0])],
    }
    assert gains(found, "slow", "fast") == [2.0, 0.0, 0.0]


def test_ratios_and_medians_know_what_is_unknown() -> None:
    found = {"a": [{"x": 3.0}, {"x": None}, {"x": 1.0}], "b": [{"x": 2.0}, {"x": 1.0}, {"x": 0.0}]}
    one, *others = ratios(found, "a", "b", "x")
    assert one == 1.5
    assert all(map(math.isnan, others))
    assert median([one, *others]) == 1.5
    assert math.isnan(median([]))


@pytest.mark.parametrize("share", SHARES)
def test_weak_devices_are_as_many_as_the_share_says(share: int) -> None:
    assert len(_weak(share)) == 40 * share // 100
