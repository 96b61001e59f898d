"""What `data.partition` may say: who holds which images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from peer.data.classes import clean_name
from peer.settings import Settings
from topology.errors import UserError
from topology.names import suggestion

ClassSets = Sequence[Sequence[int | str]]


def _is_class(value: object) -> object:
    """A class is called by its name; a whole number is a name too, or a place among the classes."""
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        hint = " (YAML reads yes, no, on and off as true and false; put quotes around names)"
        raise PydanticCustomError(
            "class_name",
            "Input should be the name or the number of a class{hint}",
            {"hint": hint if isinstance(value, bool) else ""},
        )
    if isinstance(value, int) and value < 0:
        raise PydanticCustomError(
            "greater_than_equal", "Input should be greater than or equal to 0"
        )
    return clean_name(value) if isinstance(value, str) else value


ClassName = Annotated[
    int | str, BeforeValidator(_is_class, json_schema_input_type=NonNegativeInt | str)
]


class Iid(Settings):
    """Every peer draws from the whole: a seeded permutation in equal parts, no remainder."""

    name: Literal["iid"] = "iid"


class Pairs(Settings):
    """Two classes a peer: {2k, 2k+1}, or the pairs given; pair k mod (number of pairs) is peer k's.

    A class is called by its name, or by its number where names are words. Peers that share a class
    split it disjointly. `cap` is the most images that one peer keeps.
    """

    name: Literal["pairs"] = "pairs"
    pairs: tuple[tuple[ClassName, ClassName], ...] | None = Field(
        None, description="Two classes a peer; {2k, 2k+1} if absent."
    )
    cap: PositiveInt | None = Field(None, description="The most images that one peer keeps.")

    @field_validator("pairs")
    @classmethod
    def _distinct(cls, pairs: ClassSets | None) -> ClassSets | None:
        if pairs is not None:
            _check_classes("data.partition.pairs", "pair", pairs)
        return pairs


class Labels(Settings):
    """One set of classes a peer, in id order; a class that several name is split disjointly.

    `cap` is the most images that one peer keeps.
    """

    name: Literal["labels"] = "labels"
    labels: tuple[tuple[ClassName, ...], ...] = Field(description="A set of classes a peer.")
    cap: PositiveInt | None = Field(None, description="The most images that one peer keeps.")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: ClassSets) -> ClassSets:
        _check_classes("data.partition.labels", "set", labels)
        return labels


class Own(Settings):
    """Each peer's source is its own: it holds everything found at its path."""

    name: Literal["own"] = "own"


class All(Settings):
    """Every peer holds everything: the centralised baseline, usually with `peers: 1`."""

    name: Literal["all"] = "all"


class Halves(Settings):
    """Random parts, equal but for one image: halves for two users (Distributed-GAN)."""

    name: Literal["halves"] = "halves"


class Dirichlet(Settings):
    """Each class shared out by p ~ Dir(alpha); nobody holds less than `least` images."""

    name: Literal["dirichlet"] = "dirichlet"
    alpha: PositiveFloat = Field(0.1, description="The smaller, the fewer classes a peer sees.")
    least: PositiveInt | None = Field(None, description="The fewest images that a peer may hold.")


class Fegan(Settings):
    """FeGAN's data engine: devices of higher id hold more classes and more of each; they overlap.

    `disjoint` gives each image to one device alone; `as_released` has the released code's numbers.
    """

    name: Literal["fegan"] = "fegan"
    max_class: PositiveInt = Field(5, description="Classes that a device holds, at most.")
    max_samples: PositiveInt = Field(3000, description="Images of a class, at most.")
    disjoint: bool = Field(False, description="Each image is one device's alone.")
    as_released: bool = Field(False, description="The released code's numbers.")


Partition = Iid | Pairs | Labels | Own | All | Halves | Dirichlet | Fegan

_FORMS: dict[str, type[Partition]] = {
    "iid": Iid,
    "pairs": Pairs,
    "labels": Labels,
    "own": Own,
    "all": All,
    "halves": Halves,
    "dirichlet": Dirichlet,
    "fegan": Fegan,
}


def parse_partition(given: object) -> Partition:
    """Turn what an experiment file says of `data.partition` into its settings.

    Forms: a name (`pairs`), `{name: pairs, cap: 12000}`, or, where a key bears the partition's own
    name, that key alone (`{labels: [[0, 1], [2, 3]]}`).

    Raises:
        UserError: an unknown name or key, a missing key, or a value of the wrong kind.
    """
    if isinstance(given, Partition):
        return given
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict):
        names = ", ".join(_FORMS)
        raise UserError(f"data.partition: {given!r} is no partition; write one of {names}")
    settings = {str(key): value for key, value in given.items()}
    if "name" not in settings:
        settings["name"] = next((key for key in settings if key in _FORMS), None)
        if settings["name"] is None:
            raise UserError(
                f"data.partition.name is missing beside {', '.join(given) or 'nothing'}; "
                f"give one of {', '.join(_FORMS)}"
            )
    form = _FORMS[choose("data.partition", settings["name"], _FORMS)]
    for key in settings:
        choose(f"data.partition (name: {settings['name']}), key", key, form.model_fields)
    try:
        return form.model_validate(settings)
    except ValidationError as error:
        raise UserError(_explain(error, settings["name"])) from None


def choose(key: str, given: object, choices: Iterable[str]) -> str:
    """Return `given` if it is one of `choices`.

    Raises:
        UserError: it is not; the message names the nearest that is, and all of them.
    """
    names = list(choices)
    if isinstance(given, str) and given in names:
        return given
    hint = suggestion(str(given), names) or ";"
    raise UserError(f"{key}: unknown {given!r}{hint} choose from {', '.join(names)}")


def _check_classes(key: str, noun: str, sets: ClassSets) -> None:
    if not sets:
        raise UserError(f"{key} is empty; give a list such as [[0, 1], [2, 3]]")
    for position, classes in enumerate(sets):
        if not classes:
            raise UserError(f"{key}: {noun} {position} is empty; name a class, such as [0]")
        if len(set(classes)) < len(classes):
            raise UserError(
                f"{key}: {noun} {position} is {list(classes)}; name each class once, as in [0, 1]"
            )


def _explain(error: ValidationError, name: str) -> str:
    first = error.errors()[0]
    key = ".".join(["data.partition", *map(str, first["loc"])])
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"{key} is missing: {name} needs it, as in {{{name}: [[0, 1], [2, 3]]}}"
    return f"{key}: {first['msg']} (given {first['input']!r})"
