"""The parts of the experiment file that are small: names with settings, metrics, faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from peer.gan.augment import TRANSFORMS
from peer.gan.net_name import PAIR
from peer.settings import Settings
from topology.errors import UserError


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


LossName = Literal["bce_ns", "bce_sat", "lsgan", "hinge", "wgan"]


class LossSpec(Settings):
    """What both nets minimise: a loss, and penalties of the discriminator's gradients."""

    name: LossName = Field(
        "bce_ns",
        description="Minimax, non-saturating or saturating; least squares; hinge; Wasserstein.",
    )
    gradient_penalty: float = Field(
        0.0,
        ge=0,
        description="lambda of (|grad D| - 1)^2 between real and fake images; 10 in its paper.",
    )
    r1: float = Field(0.0, ge=0, description="gamma of gamma/2 |grad D|^2 at real images; 0: none.")
    r1_every: int = Field(
        1, ge=1, description="R1 in every so many steps of D only, times as many."
    )

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The name alone where nothing else is said, as it was before there were penalties."""
        said: dict[str, Any] = handler(self)
        default = type(self).model_fields
        kept = {
            key: said[key] for key in said if key == "name" or said[key] != default[key].default
        }
        return kept["name"] if kept.keys() == {"name"} else kept


def _with_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


LossKey = Annotated[
    LossSpec, BeforeValidator(_with_name, json_schema_input_type=LossName | LossSpec)
]
"""``loss:``, a name or a mapping."""


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


class AugmentSpec(Settings):
    """What D sees of images, real and fake: ``{translation: true, cutout: true}``, or a list."""

    translation: bool = Field(False, description="Moved by up to 1/8 of the side.")
    cutout: bool = Field(False, description="A square of half the side is left out.")
    colour: bool = Field(False, description="Other brightness, saturation and contrast.")
    flip: bool = Field(False, description="Left and right exchanged, one time in two.")

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are used, in the order in which they are applied."""
        return tuple(name for name in TRANSFORMS if getattr(self, name))


def _from_list(value: Any) -> Any:
    return {str(name): True for name in value} if isinstance(value, list | tuple) else value


Augment = Annotated[
    AugmentSpec,
    BeforeValidator(
        _from_list,
        json_schema_input_type=AugmentSpec
        | list[Literal["translation", "cutout", "colour", "flip"]],
    ),
]


class EmaSpec(Settings):
    """The moving average of G at every peer: ``{decay: 0.999, combine: false}``, or the decay."""

    decay: float = Field(0.999, ge=0, lt=1, description="beta: what stays of the average a round.")
    combine: bool = Field(
        False, description="Average it with the neighbours, too, at the end of every round."
    )


def _from_decay(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"decay": value} if is_number else value


Ema = Annotated[EmaSpec, BeforeValidator(_from_decay, json_schema_input_type=EmaSpec | float)]


class ConditionalSpec(Settings):
    """Nets that are told a class: ``true``, or ``{labels: own, embedding: 16}``."""

    labels: Literal["own", "all"] = Field(
        "own", description="Classes of fakes: as among the peer's own images, or all alike."
    )
    embedding: int = Field(16, ge=1, description="How many numbers a class is to G.")


def _from_truth(value: Any) -> Any:
    return {} if value is True else None if value is False else value


Conditional = Annotated[
    ConditionalSpec | None,
    BeforeValidator(_from_truth, json_schema_input_type=ConditionalSpec | bool | None),
]


def classes_told(
    spec: ConditionalSpec | None, named: int | tuple[str, ...], classes: int
) -> dict[str, int]:
    """What :func:`peer.gan.build.make_gan` takes of nets that are told classes; {} without them.

    Args:
        spec: the experiment's ``conditional``.
        named: its ``data.classes``, whose names are all that there are.
        classes: how many the data have, where nothing names them.

    Raises:
        UserError: there are none.
    """
    if spec is None:
        return {}
    count = len(named) if isinstance(named, tuple) else classes
    if not count:
        raise UserError(
            "conditional: the data have no classes to be told; give the images labels, and name "
            "them in data.classes"
        )
    return {"classes": count, "embedding": spec.embedding}


class MetricsSpec(Settings):
    """What is measured, and how often."""

    every: int = Field(1, ge=1, description="Rounds between two records of a peer.")
    samples: int = Field(1000, ge=10, description="Samples a generator is judged by.")
    quality_every: int = Field(
        0, ge=0, description="Rounds between two verdicts on the generators; 0: none."
    )
    target: float | None = Field(
        None, gt=0, description="A distance; the virtual time at which it is reached is reported."
    )
    inception: str | None = Field(
        None, description="Weights of the Inception net, a safetensors file: scores are FIDs then."
    )
    judge: bool = Field(
        False,
        description="Whether peers with private, labelled images train a judge together first, "
        "which says what classes are covered.",
    )
    least: int = Field(
        64,
        ge=2,
        description="A peer with fewer private images tells no moments of them: they would give "
        "the images away.",
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
