"""The pictures that peers kept while they learned (``metrics.pictures_every``), found again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from peer.loggers.pictures import FOLDER, round_of
from sim.records.reader import RecordedRun

T = TypeVar("T")

MOST_PEERS = 8
MOST_ROUNDS = 8
"""In a report: each is a file of some ten kilobytes inside it."""


def pictures_of(run: RecordedRun, peer: int) -> dict[int, Path]:
    """By round, the PNG files that a peer kept; empty where it kept none."""
    above = run.generators[peer].parent if peer in run.generators else run.folder / f"peer-{peer}"
    return {
        round: file
        for file in sorted((above / FOLDER).glob("round-*.png"))
        if (round := round_of(file)) is not None
    }


def pictures_by_round(run: RecordedRun) -> dict[int, dict[int, Path]]:
    """By peer and round, the PNG files of a few peers, at rounds spread evenly over the run.

    The first and the last round that there is are among them; empty where none were kept.
    """
    found: dict[int, dict[int, Path]] = {}
    for k in range(run.experiment.peers):
        if files := pictures_of(run, k):
            found[k] = files
        if len(found) == MOST_PEERS:
            break
    shown = set(evenly(sorted({round for files in found.values() for round in files}), MOST_ROUNDS))
    return {
        k: {round: file for round, file in files.items() if round in shown}
        for k, files in found.items()
    }


def evenly(rounds: Sequence[T], most: int) -> list[T]:
    """So many of them at most, spread evenly, the first and the last among them."""
    places = np.linspace(0, len(rounds) - 1, most).round().astype(int)
    return [rounds[place] for place in np.unique(places)] if rounds else []
