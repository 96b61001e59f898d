"""What the `data:` part of an experiment file may say.

Whatever is wrong with it, short of a plain wrong type, is a `UserError` that names the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from topology.errors import UserError

SourceName = Literal["digits", "idx", "npz", "folder", "cifar10", "hub", "synthetic"]
Split = Literal["train", "test"]

# What `path` must lead to; a source that is missing here reads no path.
_PATHS = {
    "idx": "the folder of the IDX files (train-images-idx3-ubyte, plain or .gz, ...)",
    "npz": "an .npz file with an array `images`",
    "folder": "a folder of images, or of one folder a class",
    "cifar10": "the folder of CIFAR-10's binary files (data_batch_1.bin, ...)",
    "hub": "the name of a data set on the hub (organisation/name)",
}
_MADE = ("images", "classes", "spread", "mixture")
_SPLIT = ("idx", "cifar10", "hub")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Iid(_Settings):
    """Every peer draws from the whole: a seeded permutation in equal parts, no remainder."""

    name: Literal["iid"] = "iid"


class Pairs(_Settings):
    """Two classes a peer: {2k, 2k+1}, or the pairs given; pair k mod (number of pairs) is peer k's.

    Peers that share a class split it disjointly. `cap` is the most images that one peer keeps.
    """

    name: Literal["pairs"] = "pairs"
    pairs: tuple[tuple[NonNegativeInt, NonNegativeInt], ...] | None = Field(
        None, description="Two classes a peer; {2k, 2k+1} if absent."
    )
    cap: PositiveInt | None = Field(None, description="The most images that one peer keeps.")

    @field_validator("pairs")
    @classmethod
    def _distinct(cls, pairs: Sequence[Sequence[int]] | None) -> Sequence[Sequence[int]] | None:
        if pairs is not None:
            _check_classes("data.partition.pairs", "pair", pairs)
        return pairs


class Labels(_Settings):
    """One set of classes a peer, in id order; a class that several name is split disjointly.

    `cap` is the most images that one peer keeps.
    """

    name: Literal["labels"] = "labels"
    labels: tuple[tuple[NonNegativeInt, ...], ...] = Field(description="A set of classes a peer.")
    cap: PositiveInt | None = Field(None, description="The most images that one peer keeps.")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        _check_classes("data.partition.labels", "set", labels)
        return labels


class Own(_Settings):
    """Each peer's source is its own: it holds everything found at its path."""

    name: Literal["own"] = "own"


class All(_Settings):
    """Every peer holds everything: the centralised baseline, usually with `peers: 1`."""

    name: Literal["all"] = "all"


class Halves(_Settings):
    """Random parts, equal but for one image: halves for two users (Distributed-GAN)."""

    name: Literal["halves"] = "halves"


class Dirichlet(_Settings):
    """Each class shared out by p ~ Dir(alpha); nobody holds less than `least` images."""

    name: Literal["dirichlet"] = "dirichlet"
    alpha: PositiveFloat = Field(0.1, description="The smaller, the fewer classes a peer sees.")
    least: PositiveInt | None = Field(None, description="The fewest images that a peer may hold.")


class Fegan(_Settings):
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
    nearest = get_close_matches(str(given).lower(), names, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UserError(f"{key}: unknown {given!r}; {hint}choose from {', '.join(names)}")


class DataSpec(BaseModel):
    """Where images come from, and how they are shared out among the peers that hold data.

    Attributes:
        source: `digits` (embedded, 8x8), `idx` (a folder of MNIST-family files), `npz` (a file),
            `folder` (of images), `cifar10` (its binary files), `hub` (needs `hearsay[hub]`) or
            `synthetic` (made on the spot).
        path: what they read; `{id}` stands for the peer's id, `~` for the home folder, a relative
            path starts at the experiment file's folder.
        split: `train` or `test`, where the source has both.
        size: images become squares of so many pixels: the middle, scaled.
        channels: of the images of `folder` and `hub` (3 by default) and `synthetic` (1): 1 for
            grey, 3 for colour.
        images, classes, spread, mixture: of `synthetic`: how many images there are (with
            `partition: own`, how many each peer has), of how many classes, how far they scatter
            around their class's centre, and the seed.
        limit: keep the first so many images only, for quick trials.
        partition: who holds what; see `parse_partition` for the forms.

    Raises:
        UserError: an unknown name, or keys that contradict each other.
        pydantic.ValidationError: an unknown key, or a value of the wrong type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceName = "digits"
    path: str | None = None
    split: Split = "train"
    size: PositiveInt | None = None
    channels: Literal[1, 3] | None = None
    images: PositiveInt = 1000
    classes: PositiveInt = 10
    spread: NonNegativeFloat = 0.2
    mixture: NonNegativeInt = 0
    limit: PositiveInt | None = None
    partition: Annotated[
        Partition,
        BeforeValidator(
            parse_partition,
            json_schema_input_type=Literal[
                "iid", "pairs", "own", "all", "halves", "dirichlet", "fegan"
            ]
            | Partition,
        ),
    ] = Iid()

    @field_validator("source", mode="before")
    @classmethod
    def _known_source(cls, source: object) -> str:
        return choose("data.source", source, get_args(SourceName))

    @field_validator("split", mode="before")
    @classmethod
    def _known_split(cls, split: object) -> str:
        return choose("data.split", split, get_args(Split))

    @model_serializer(mode="wrap")
    def _say_what_matters(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only a synthetic source has these keys, so only there are they said."""
        keys: dict[str, Any] = write(self)
        if self.source != "synthetic":
            keys = {key: value for key, value in keys.items() if key not in _MADE}
        return keys

    @field_serializer("partition")
    def _shorten(self, partition: Partition) -> str | dict[str, Any]:
        """Write it as one would by hand: the name alone where there is nothing else to say."""
        settings = partition.model_dump(mode="json", exclude_none=True)
        return settings if len(settings) > 1 else partition.name

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wanted = _PATHS.get(self.source)
        own = isinstance(self.partition, Own)
        if wanted and not self.path:
            raise UserError(f"data.path is missing: source {self.source} reads {wanted}")
        if self.path is not None and not wanted:
            raise UserError(
                f"data.path: source {self.source} reads no path; leave it out, "
                f"or set data.source to {' or '.join(_PATHS)}"
            )
        if self.split != "train" and self.source not in _SPLIT:
            raise UserError(
                f"data.split: source {self.source} has no {self.split} split; leave it out, "
                "or set data.source to idx"
            )
        made = self.model_fields_set & set(_MADE)
        if made and self.source != "synthetic":
            raise UserError(
                f"data.{min(made)}: source {self.source} has its own; leave it out, "
                "or set data.source to synthetic"
            )
        if own and not self.path and self.source != "synthetic":
            raise UserError(
                "data.partition: own means that each peer has its own data.path, and there is "
                "none; set data.source to idx or npz with a data.path, or use partition: iid"
            )
        if self.path and "{id}" in self.path and not own:
            raise UserError(
                f"data.path: with {{id}} each peer has its own images, so none can be shared out "
                f"by {self.partition.name}; set data.partition to own, or leave {{id}} out"
            )
        return self


def _check_classes(key: str, noun: str, sets: Sequence[Sequence[int]]) -> None:
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
