"""What the `data:` part of an experiment file may say.

Whatever is wrong with it, short of a plain wrong type, is a `UserError` that names the key.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from peer.data.classes import clean_name
from peer.data.partition_spec import (
    All,
    Dirichlet,
    Fegan,
    Halves,
    Iid,
    Labels,
    Own,
    Pairs,
    Partition,
    choose,
    parse_partition,
)
from peer.settings import Settings
from topology.errors import UserError

__all__ = [
    "All",
    "DataSpec",
    "Dirichlet",
    "Fegan",
    "Halves",
    "Iid",
    "Labels",
    "Own",
    "Pairs",
    "Partition",
    "SourceName",
    "Split",
    "parse_partition",
]

SourceName = Literal["digits", "idx", "npz", "folder", "cifar10", "hub", "synthetic"]
Split = Literal["train", "test"]
ValueRange = Literal["bytes", "unit", "signed"]

# What `path` must lead to; a source that is missing here reads no path.
_PATHS = {
    "idx": "the folder of the IDX files (train-images-idx3-ubyte, plain or .gz, ...)",
    "npz": "an .npz file with an array `images`",
    "folder": "a folder of images, or of one folder a class",
    "cifar10": "the folder of CIFAR-10's binary files (data_batch_1.bin, ...)",
    "hub": "the name of a data set on the hub (organisation/name)",
}
_MADE = ("images", "classes", "spread", "mixture")
_SELDOM = ("background", "range", "axes")
"""Said only where they are given: what a file did not say is not put into its mouth."""
_PICTURES = ("folder", "hub")
_SPLIT = ("idx", "cifar10", "hub")


def _count_or_names(value: object) -> object:
    """What `data.classes` says: how many classes are made up, or the names of those that there are.

    Raises:
        UserError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if not isinstance(value, list | tuple) or not value:
        raise UserError(
            f"data.classes: {value!r} is no list of classes; write their names, as in [cat, dog], "
            "or for synthetic data how many there are, at least 1"
        )
    names: list[str] = []
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | str) or each == "":
            raise UserError(
                f"data.classes: {each!r} is no name; put quotes around names that YAML takes for "
                "something else"
            )
        names.append(clean_name(str(each)))
        if names[-1] in names[:-1]:
            raise UserError(f"data.classes: {names[-1]!r} is there twice; name each class once")
    return tuple(names)


class DataSpec(Settings):
    """Where images come from, and how they are shared out among the peers that hold data.

    Attributes:
        source: `digits` (embedded, 8x8), `idx` (a folder of MNIST-family files), `npz` (a file),
            `folder` (of images), `cifar10` (its binary files), `hub` (needs `hearsay[hub]`) or
            `synthetic` (made on the spot).
        path: what they read; `{id}` stands for the peer's id, `~` for the home folder, a relative
            path starts at the experiment file's folder.
        split: `train` or `test`, where the source has both.
        size: images become squares of so many pixels: the middle, scaled.
        channels: 1 for grey, 3 for colour; without it 3 of `folder` and `hub`, 1 of `synthetic`,
            and of the others what there is.
        classes: the names of all classes in one order, the same for all peers: a peer's own classes
            become numbers in that list. Without it, peers with images of their own agree on one.
            Of `synthetic`: how many there are.
        background: of transparent pictures: `white` (the default), `black` or `#rrggbb`.
        range: what the values of files mean, where type and values do not show it: `bytes` (0 to
            255), `unit` (0 to 1) or `signed` (-1 to 1).
        axes: of an array in an .npz file: its axes by letters, such as `nhwc` or `hwcn`.
        images, spread, mixture: of `synthetic`: how many images there are (with `partition: own`,
            how many each peer has), how far they scatter around their class's centre, and the seed.
        limit: keep so many images only, for quick trials: the first, or where they are sorted by
            class, or the first would leave a class out, the first of each class in turn.
        partition: who holds what; see `parse_partition` for the forms.

    Raises:
        UserError: an unknown name, or keys that contradict each other.
        pydantic.ValidationError: an unknown key, or a value of the wrong type.
    """

    source: SourceName = "digits"
    path: str | None = None
    split: Split = "train"
    size: Annotated[int, Field(gt=0, le=16_384)] | None = None
    channels: Literal[1, 3] | None = None
    background: str | None = None
    range: ValueRange | None = None
    axes: str | None = None
    images: PositiveInt = 1000
    classes: Annotated[
        int | tuple[str, ...],
        BeforeValidator(
            _count_or_names, json_schema_input_type=PositiveInt | list[NonNegativeInt | str]
        ),
    ] = 10
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

    @property
    def per_peer(self) -> bool:
        """Whether one machine that plays several peers finds other images for each of them."""
        own = isinstance(self.partition, Own)
        return own and (self.source == "synthetic" or "{id}" in (self.path or ""))

    @field_validator("source", mode="before")
    @classmethod
    def _known_source(cls, source: object) -> str:
        return choose("data.source", source, get_args(SourceName))

    @field_validator("split", mode="before")
    @classmethod
    def _known_split(cls, split: object) -> str:
        return choose("data.split", split, get_args(Split))

    @field_validator("range", mode="before")
    @classmethod
    def _known_range(cls, given: object) -> object:
        return given if given is None else choose("data.range", given, get_args(ValueRange))

    @field_validator("background", mode="before")
    @classmethod
    def _is_colour(cls, given: object) -> object:
        if given is None:
            raise UserError(
                "data.background: is empty; put quotes around '#rrggbb', as # starts a comment"
            )
        if isinstance(given, str) and re.fullmatch("white|black|#[0-9a-fA-F]{6}", given):
            return given
        raise UserError(f"data.background: {given!r} is no colour; say white, black or '#rrggbb'")

    @field_validator("axes")
    @classmethod
    def _are_axes(cls, given: str | None) -> str | None:
        if given is None or sorted(given) in (sorted("nchw"), sorted("nhw")):
            return given
        raise UserError(
            f"data.axes: {given!r} names no axes; write n (images), c (channels), h and w in the "
            "array's order, such as nhwc, or nhw without channels"
        )

    @model_serializer(mode="wrap")
    def _say_what_matters(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that only a synthetic source has, or that are seldom given, are said only there."""
        keys: dict[str, Any] = write(self)
        unsaid = {key for key in _SELDOM if keys[key] is None}
        if self.source != "synthetic":
            unsaid |= set(_MADE) - {"classes" if isinstance(self.classes, tuple) else ""}
        return {key: value for key, value in keys.items() if key not in unsaid}

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
        if isinstance(self.classes, tuple):
            if self.source == "synthetic":
                raise UserError(
                    "data.classes: source synthetic makes its classes up; say how many, such as 10"
                )
            made.discard("classes")
        if made and self.source != "synthetic":
            raise UserError(
                f"data.{min(made)}: source {self.source} has its own; leave it out, "
                "or set data.source to synthetic"
            )
        self._fit_the_source()
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

    def _fit_the_source(self) -> None:
        """Refuse keys that the source would take no notice of."""
        readers = {
            "background": _PICTURES,
            "axes": ("npz",),
            "range": tuple(_PATHS),
        }
        for key, sources in readers.items():
            if getattr(self, key) is not None and self.source not in sources:
                raise UserError(
                    f"data.{key}: source {self.source} takes no notice of it; leave it out, or set "
                    f"data.source to {' or '.join(sources)}"
                )
