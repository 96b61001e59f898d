"""The parts of the experiment file that are small: names with settings, metrics, faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from peer.gan.net_name import PAIR
from peer.settings import Settings


class NamedSpec(BaseModel):
    """A name and that name's own settings: ``{name: adam, lr: 0.001}``, or just ``adam``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class OptimizerSpec(Settings):
    """One optimizer for both nets (``{name: adam, lr: 0.001}``), or one each, under their names."""

    generator: NamedSpec
    discriminator: NamedSpec

    @model_validator(mode="before")
    @classmethod
    def _shared(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, Mapping) and "name" in value):
            return dict.fromkeys(PAIR, value)
        return value


class MetricsSpec(Settings):
    """What is measured, and how often."""

    every: int = Field(1, ge=1, description="Rounds between two records of a peer.")
    samples: int = Field(1000, ge=10, description="Samples a generator is judged by.")
    quality_every: int = Field(
        0, ge=0, description="Rounds between two verdicts on the generators in simulation; 0: none."
    )
    target: float | None = Field(
        None, gt=0, description="A CFID; the virtual time at which it is reached is reported."
    )
    sketch: bool = Field(True, description="Log count sketches of the arenas over ZeroMQ.")
    pictures_every: int = Field(
        0, ge=0, description="Rounds between two pictures of what each peer draws; 0: none."
    )
    tensorboard: bool = Field(False, description="Log for TensorBoard, too; needs the extra.")
    loggers: tuple[str, ...] = Field((), description="Loggers of your own, as module:factory.")


class FaultSpec(Settings):
    """A simulated peer that is away from ``down`` until ``up`` (virtual seconds; for ever)."""

    peer: int = Field(description="Who is away.")
    down: float = Field(ge=0, description="Virtual seconds; from then on it is away.")
    up: float | None = Field(None, description="Virtual seconds; until then. Absent: for ever.")
