"""Sixteen peers, a fault every thirty seconds, ten minutes: no hang, no leak, nothing unlearned."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.soak import LOOK, Found, Life, soak
from tests.support.processes import ForkedPeer


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_minutes_of_faults(tmp_path: Path) -> None:
    found = soak(tmp_path, 10.0, 0, print)
    print(found)
    assert found.broken() == []


def life_of(mib: np.ndarray) -> Life:
    """A process that was looked at so often, with these MiB."""
    seconds = LOOK * np.arange(len(mib))
    return Life(cast(ForkedPeer, None), seconds.tolist(), mib.tolist(), [20] * len(mib))


def test_what_grows_at_the_start_is_no_leak_and_what_grows_for_good_is() -> None:
    minutes = LOOK / 60 * np.arange(120)  # ten of them
    noise = np.random.default_rng(0).normal(0.0, 0.2, 120)
    loads = 300.0 - 100.0 * np.exp(-2 * minutes) + noise
    steps = loads + np.where(minutes > 9, 4.0, 0.0)  # once
    for fine in (loads, steps):
        slopes = life_of(fine).slopes()
        assert slopes is not None
        assert abs(slopes[0]) < 30.0
        assert slopes[1] == 0.0
    leaks = life_of(loads + 1.5 * minutes).slopes()
    assert leaks is not None
    assert leaks[0] == pytest.approx(90.0, abs=25.0)
    assert life_of(loads[:40]).slopes() is None


def test_what_a_soak_would_complain_of() -> None:
    fine = Found(1, {}, [5], {}, [0, 130], (1, 90), (0, 20), [9, 9], [9, 9], "")
    assert fine.broken() == []
    bad = Found(1, {}, [5], {3: 200}, [0, -1], (90, 90), (40, 40), [7, 7], [9, 9], "")
    assert [each.split(":")[0].split()[0] for each in bad.broken()] == [
        "peer",
        "exit",
        "memory",
        "descriptors",
        "covered",
    ]
