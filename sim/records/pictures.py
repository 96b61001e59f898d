"""The pictures that peers kept while they learned (``metrics.pictures_every``), found again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from peer.loggers.pictures import FOLDER
from sim.records.reader import RecordedRun

MOST_PEERS = 8
MOST_ROUNDS = 8
"""In a report: each is a file of some ten kilobytes inside it."""

_NAME = re.compile(r"round-([0-9]+)\.png")


def pictures_by_round(run: RecordedRun) -> dict[int, dict[int, Path]]:
    """By peer and round, the PNG files of a few peers, at rounds spread evenly over the run.

    The first and the last round that there is are among them; empty where none were kept.
    """
    found: dict[int, dict[int, Path]] = {}
    for k in range(run.experiment.peers):
        above = run.generators[k].parent if k in run.generators else run.folder / f"peer-{k}"
        files = {
            int(match[1]): file
            for file in sorted((above / FOLDER).glob("round-*.png"))
            if (match := _NAME.fullmatch(file.name))
        }
        if files:
            found[k] = files
        if len(found) == MOST_PEERS:
            break
    rounds = sorted({round for files in found.values() for round in files})
    if not rounds:
        return {}
    places = np.unique(np.linspace(0, len(rounds) - 1, MOST_ROUNDS).round().astype(int))
    shown = {rounds[place] for place in places}
    return {
        k: {round: file for round, file in files.items() if round in shown}
        for k, files in found.items()
    }
