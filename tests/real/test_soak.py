"""Sixteen peers, a fault every thirty seconds, ten minutes: no hang, no leak, nothing unlearned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import Found, soak


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_minutes_of_faults(tmp_path: Path) -> None:
    found = soak(tmp_path, 10.0, 0, print)
    print(found)
    assert found.broken() == []


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
