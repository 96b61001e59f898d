"""What a peer's data are, in so few words that peers can compare them before they begin.

Each machine knows only its own pictures. That a class has the same number everywhere, and a picture
the same shape, must be agreed upon like the experiment file; the pictures themselves never leave.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from peer.data.classes import by_number_then_text, shown
from peer.data.images import Images
from topology.errors import UserError

MOST_BYTES = 1024
"""Of class names in full; of more, a digest stands for them."""

_KEYS = {"classes", "names", "digest", "shape", "low", "high"}
_DARK = -0.875
"""Values that end here use a sixteenth of the range: 12 bits in 16, or black."""


@dataclass(frozen=True)
class Description:
    """A peer's data in brief.

    Attributes:
        classes: how many there are; 0 where images have no labels.
        names: of the classes, in the order of their numbers; None where another machine sent no
            more than their digest.
        digest: of the names in their order.
        shape: channels, height and width of every image.
        low, high: the least and the greatest value, in [-1, 1], to three decimals.
    """

    classes: int
    names: tuple[str, ...] | None
    digest: str
    shape: tuple[int, int, int]
    low: float
    high: float

    @classmethod
    def of(cls, images: Images) -> Description:
        """What these images are."""
        names = tuple(images.class_name(x) for x in range(images.classes))
        extremes = np.array([images.pixels.min(), images.pixels.max()], dtype=np.float64)
        low, high = (extremes / images.unit + images.offset).round(3).tolist()
        return cls(len(names), names, _digest(names), images.shape, low, high)

    def with_classes(self, names: tuple[str, ...]) -> Description:
        """The same images, numbered by other classes."""
        return replace(self, classes=len(names), names=names, digest=_digest(names))

    @property
    def is_small(self) -> bool:
        """Whether the names of its classes fit into a message; else a digest stands for them."""
        return self.names is not None and len(_text(self.names).encode()) <= MOST_BYTES

    def differences(self, other: Description) -> list[str]:
        """What must be equal and is not, each in words that follow on "its data ...".

        Empty where both mean the same. ``other`` is the one that is spoken of.
        """
        found = []
        if self.shape != other.shape:
            found.append(f"are images of {_size(other.shape)}, and here of {_size(self.shape)}")
        if self.digest != other.digest:
            found.append(f"have {named(other)}, and here {named(self)}")
        return found

    def doubts(self, other: Description) -> list[str]:
        """What may be right and seldom is: one peer's values are all dark, the other's are not."""
        for dark, bright in ((self, other), (other, self)):
            if dark.high <= _DARK and bright.high > 0:
                return [
                    f"have values from {other.low:g} to {other.high:g}, and here from "
                    f"{self.low:g} to {self.high:g}"
                ]
        return []

    def to_words(self) -> dict[str, int | str | list[int]]:
        """Numbers and text for msgpack, at most about 1.5 KiB: names, unless they are too many."""
        return {
            "classes": self.classes,
            "names": _text(self.names) if self.names is not None and self.is_small else "",
            "digest": self.digest,
            "shape": list(self.shape),
            "low": round(1000 * self.low),
            "high": round(1000 * self.high),
        }

    @classmethod
    def from_words(cls, words: object) -> Description:
        """What :meth:`to_words` wrote.

        Raises:
            ValueError: it is anything else; it may come from a stranger.
        """
        if not isinstance(words, Mapping) or set(words) != _KEYS:
            raise ValueError("a description has other keys")
        whole = [words["classes"], words["low"], words["high"]]
        shape, text, digest = words["shape"], words["names"], words["digest"]
        if not isinstance(shape, list | tuple) or len(shape) != 3:
            raise ValueError("a shape has three sides")
        if any(not isinstance(x, int) or isinstance(x, bool) for x in [*whole, *shape]):
            raise ValueError("a description holds whole numbers")
        if min(words["classes"], *shape) < 0 or max(*whole, *shape) >= 2**63:
            raise ValueError("a description has other bounds")
        if not isinstance(text, str) or not isinstance(digest, str) or len(text) > MOST_BYTES:
            raise ValueError("names and digest are text")
        names = _names(text) if text else None
        if names is not None and (len(names) != words["classes"] or _digest(names) != digest):
            raise ValueError("names and digest are of different classes")
        channels, height, width = shape
        low, high = words["low"] / 1000, words["high"] / 1000
        return cls(words["classes"], names, digest[:64], (channels, height, width), low, high)


def check_alike(descriptions: Mapping[int, Description], *, classes: bool = True) -> None:
    """Refuse peers whose data do not fit each other.

    Args:
        descriptions: by peer.
        classes: whether classes are compared, too.

    Raises:
        UserError: naming the first two peers that differ, and in what.
    """
    first = next(iter(descriptions), None)
    for peer, other in descriptions.items():
        if first is None or peer == first:
            continue
        here = descriptions[first]
        if here.shape != other.shape:
            raise UserError(
                f"data.path: peer {first} has images of {_size(here.shape)}, and peer {peer} of "
                f"{_size(other.shape)}; set data.size and data.channels, or save them alike"
            )
        if classes and here.digest != other.digest:
            raise UserError(
                f"data.path: peer {first} has {named(here)}, and peer {peer} {named(other)}; "
                f"list all classes in one order at every peer, {listed(descriptions.values())}"
            )


def refuse_mixture(labelled: Mapping[int, bool]) -> None:
    """Refuse peers of which some have images in classes, and others without.

    Raises:
        UserError: naming the first of each.
    """
    with_labels = [k for k, has_them in labelled.items() if has_them]
    without = [k for k, has_them in labelled.items() if not has_them]
    if with_labels and without:
        raise UserError(
            f"data.path: peer {with_labels[0]} has images in classes, and peer {without[0]} "
            "without; sort all of them into classes, or none"
        )


def listed(descriptions: Iterable[Description]) -> str:
    """The line of an experiment file that lists all their classes."""
    union = {name for of in descriptions for name in of.names or ()}
    names = ", ".join(_quoted(name) for name in sorted(union, key=by_number_then_text))
    return f"data.classes: [{names}]"


def _quoted(name: str) -> str:
    """A name as YAML takes it for text, with quotes where it might not."""
    plain = re.fullmatch(r"[^\W\d_][\w -]*", name) and name.lower() not in _WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


def _text(names: tuple[str, ...]) -> str:
    return json.dumps(names, ensure_ascii=False, separators=(",", ":"))


def _names(text: str) -> tuple[str, ...]:
    try:
        names: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("names are not JSON") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names are a list of text")
    return tuple(names)


def _digest(names: tuple[str, ...]) -> str:
    return hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width}x{height} with {channels} channel{'s' * (channels != 1)}"


def named(of: Description) -> str:
    """Its classes in a sentence: how many, and the first of their names."""
    if not of.classes:
        return "no classes"
    names = f" ({shown(of.names)})" if of.names else f" (digest {of.digest})"
    return f"{of.classes} class{'es' * (of.classes != 1)}{names}"
