"""What a peer draws, round by round: from the same z each time, so that one sees it come to be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from peer.experiment import Experiment
from peer.gan.draw import draw
from peer.loggers.logger import Loggers
from peer.loggers.mosaic import save_images
from peer.quality.mixture import final_generator
from peer.state import PeerState
from peer.streams import stream

FOLDER = "pictures"
SHOWN = 16
"""Images in a picture."""

_NAME = re.compile(r"round-([0-9]+)\.png")


class Pictures:
    """Keeps ``peer-<id>/pictures/round-00000100.png`` every ``metrics.pictures_every`` rounds.

    Args:
        experiment: says how often.
        last: the run's last round, which is always drawn.
        run_dir: the run's folder.
        loggers: get the same images, as ``pictures``.
        tell: gets a line, once, where they cannot be written.
    """

    def __init__(
        self,
        experiment: Experiment,
        last: int,
        run_dir: Path,
        loggers: Loggers,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.every = experiment.metrics.pictures_every
        self.seed = experiment.seed
        self.last = last
        self.run_dir = run_dir
        self.loggers = loggers
        self._tell = tell
        self._is_troubled = False

    def keep(self, state: PeerState, round: int) -> None:
        """Draw after ``round``, if it is time to and the peer has a generator.

        It is the one that the peer would end with now: the moving average, where there is one.

        z is the peer's own, from a stream that nothing else draws from, and the generator is in
        evaluation mode meanwhile: training has the same bits as without.
        """
        if not self.every or (round % self.every and round != self.last):
            return
        if "generator" not in state.nets:
            return
        images = draw_for(state.peer, final_generator(state), state.gan.z_dim, self.seed)
        try:
            save_images(images, self.run_dir / f"peer-{state.peer}" / FOLDER / name_of(round))
        except OSError as problem:
            if not self._is_troubled:
                self._tell(f"{FOLDER} of round {round} cannot be written ({problem.strerror})")
            self._is_troubled = True
        self.loggers.images(FOLDER, images, round, state.peer)


def name_of(round: int) -> str:
    """The file of a round's picture."""
    return f"round-{round:08}.png"


def round_of(file: Path) -> int | None:
    """The round of such a file; None where it is something else's."""
    match = _NAME.fullmatch(file.name)
    return None if match is None else int(match[1])


def draw_for(peer: int, generator: nn.Module, z_dim: int, seed: int) -> torch.Tensor:
    """Images (16, c, h, w) from the peer's own fixed z."""
    z = stream(seed, peer, FOLDER).standard_normal((SHOWN, z_dim), dtype=np.float32)
    return draw(generator, torch.from_numpy(z), seed)
