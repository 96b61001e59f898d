"""Loggers: whoever wants what a run measures, while it is measured.

The run's own files (``metrics.jsonl`` and its fellows) are written in any case. A logger gets the
same numbers under the same names, and pictures. It learns nothing that could change training, and
where it fails, training goes on without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from peer.experiment import Experiment
from peer.gan.build import import_attribute
from peer.loggers.tensorboard import TensorBoard, check_tensorboard
from topology.errors import UserError
from topology.names import first_line


class Logger(Protocol):
    """What a logger does. ``peer`` is None where something is of the whole network."""

    def scalar(self, name: str, value: float, round: int, peer: int | None) -> None:
        """A number of a round, such as ``losses/generator``; it may be NaN."""

    def images(self, name: str, images: torch.Tensor, round: int, peer: int | None) -> None:
        """Images (n, c, h, w) in [-1, 1], on the CPU."""

    def close(self) -> None:
        """The run is over, or was stopped."""


class Loggers:
    """All loggers of a run as one.

    Args:
        loggers: they are closed with this.
        tell: gets a line where one of them fails, which is left out from then on.
    """

    def __init__(self, loggers: Iterable[Logger] = (), tell: Callable[[str], None] = print) -> None:
        self._loggers = list(loggers)
        self._tell = tell

    def __bool__(self) -> bool:
        return bool(self._loggers)

    def record(self, peer: int, round: int, measures: Mapping[str, Any], **counts: float) -> None:
        """A round of a peer: what it measured, and seconds and bytes so far."""
        if self._loggers:
            for name, value in _numbers({**counts, **measures}):
                self._each("scalar", name, value, round, peer)

    def scalars(
        self, group: str, values: Mapping[str, float], round: int, peer: int | None = None
    ) -> None:
        """Numbers of one kind, as ``group/name`` each."""
        for name, value in values.items():
            self._each("scalar", f"{group}/{name}", value, round, peer)

    def images(self, name: str, images: torch.Tensor, round: int, peer: int) -> None:
        """Images (n, c, h, w) in [-1, 1]."""
        self._each("images", name, images, round, peer)

    def close(self) -> None:
        """Close all of them."""
        self._each("close")
        self._loggers.clear()

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _each(self, method: str, *given: Any) -> None:
        for logger in list(self._loggers):
            try:
                getattr(logger, method)(*given)
            except Exception as problem:  # a user's code: training must not end for it
                self._loggers.remove(logger)
                name = type(logger).__name__
                self._tell(f"logger {name} failed, and is left out: {first_line(problem)}")


def _numbers(measures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by name; those of a mapping as ``key/name``. A list or a word is no number."""
    for key, value in measures.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        for name, each in inner.items():
            if each is None:  # what is not finite, as JSON has it
                each = math.nan
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield (f"{key}/{name}" if name != "" else key), float(each)


def check_loggers(experiment: Experiment) -> None:
    """Refuse loggers that could not be opened, before anything runs.

    Raises:
        UserError: a package or a module is missing.
    """
    if experiment.metrics.tensorboard:
        check_tensorboard()
    for name in experiment.metrics.loggers:
        _factory(name, experiment.folder)


def open_loggers(
    experiment: Experiment,
    run_dir: Path,
    more: Iterable[Logger] = (),
    tell: Callable[[str], None] = print,
) -> Loggers:
    """The loggers that ``metrics`` names, and ``more`` of them.

    Args:
        experiment: with ``metrics.tensorboard`` and ``metrics.loggers``.
        run_dir: each of the experiment's loggers is made with it.
        more: as :func:`sim.run` gets them.
        tell: see :class:`Loggers`.

    Raises:
        UserError: as :func:`check_loggers`, or a user's factory fails.
    """
    check_loggers(experiment)
    loggers: list[Logger] = [TensorBoard(run_dir)] if experiment.metrics.tensorboard else []
    for name in experiment.metrics.loggers:
        try:
            loggers.append(_factory(name, experiment.folder)(run_dir))
        except Exception as problem:
            raise UserError(f"metrics.loggers: '{name}' fails: {first_line(problem)}") from None
    return Loggers([*loggers, *more], tell)


def _factory(name: str, folder: Path) -> Callable[[Path], Logger]:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UserError(f"metrics.loggers: '{name}' is no factory; name your own as module:factory")
    factory: Callable[[Path], Logger] = import_attribute(
        "metrics.loggers", module, attribute, folder
    )
    return factory
