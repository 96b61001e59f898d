"""TensorBoard: a folder of event files for each peer, and one for the network.

Written by tensorboardX, which needs no more than NumPy and protobuf; torch's own writer would want
the whole of TensorBoard on a peer that only writes. ``tensorboard --logdir RUN`` shows them.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch

from peer.loggers.mosaic import mosaic
from topology.errors import UserError

PACKAGE = "tensorboardX"

MOST = 64
"""Peers that are written, by id: each keeps a file open and a thread running."""


def check_tensorboard() -> None:
    """Refuse where it is not installed.

    Raises:
        UserError: saying what is missing.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            "metrics.tensorboard: needs the package tensorboardX; pip install "
            "'hearsay[tensorboard]', or leave the key out"
        )


class TensorBoard:
    """Writes ``RUN/peer-<id>/tensorboard`` and, of the network, ``RUN/tensorboard``."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._writers: dict[int | None, Any] = {}

    def scalar(self, name: str, value: float, round: int, peer: int | None) -> None:
        """A curve of that name."""
        if peer is None or peer < MOST:
            self._writer(peer).add_scalar(name, value, round)

    def images(self, name: str, images: torch.Tensor, round: int, peer: int | None) -> None:
        """One picture, the images side by side."""
        if peer is None or peer < MOST:
            self._writer(peer).add_image(name, mosaic(images), round, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, peer: int | None) -> Any:
        if peer not in self._writers:
            above = self.run_dir if peer is None else self.run_dir / f"peer-{peer}"
            package = importlib.import_module(PACKAGE)
            self._writers[peer] = package.SummaryWriter(str(above / "tensorboard"))
        return self._writers[peer]
