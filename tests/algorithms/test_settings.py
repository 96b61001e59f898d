"""What a fraction in an algorithm's settings means as a count."""

from __future__ import annotations

import pytest

from algorithms.settings import share_of


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (10, 0.55, 5),  # down
        (80, 0.025, 2),  # FeGAN's own
        (100, 0.29, 29),  # 28.999999999999996 as floats multiply
        (4, 0.1, 1),  # never nobody
        (7, 1.0, 7),
    ],
)
def test_a_share_of_a_count(count: int, fraction: float, expected: int) -> None:
    assert share_of(count, fraction) == expected
