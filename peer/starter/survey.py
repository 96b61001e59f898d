"""What a folder of pictures holds, as far as an experiment's keys depend on it.

All pictures are counted, by the loader that a run uses, so that what it leaves out is said here,
too. Only some of them are opened, spread evenly over the folder: `HEADERS` for their size, which
stands in a file's first bytes, and `PIXELS` of those for their colour.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from peer.data.classes import by_number_then_text, number_classes
from peer.data.formats.arrays import in_range
from peer.data.formats.idx import find_file
from peer.data.formats.pictures import Look, read_picture
from peer.data.images import Found
from peer.data.sources import SOURCES, resolve_path
from peer.data.spec import DataSpec, SourceName
from topology.errors import UserError

HEADERS = 400
"""Files whose size is looked at, at most, of all peers together."""

PIXELS = 16
"""Pictures whose pixels are looked at, at most: is a picture in a colour format grey?"""

_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")
_GREY = 4.0
"""Mean distance of red and blue from green, in 255ths, up to which a picture is grey: JPEG's."""

_PEER = re.compile(r"peer-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        source: the experiment's `data.source`.
        path: its `data.path`; it holds `{id}` where each peer has its own.
        peers: how many peers there will be.
        counts: pictures of each peer, by peer, where each has its own; of all together, one number.
        classes: how many pictures of each class, of all peers together; empty without classes.
        sizes: how often each width and height occurs among those looked at.
        colour: whether one of those looked at is in colour.
        elsewhere: whether the other peers' pictures lie on other machines, which nobody sees here.
    """

    source: SourceName
    path: str
    peers: int
    counts: tuple[int, ...]
    classes: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    colour: bool
    elsewhere: bool = False

    @property
    def own(self) -> bool:
        """Whether each peer has its own pictures."""
        return self.elsewhere or "{id}" in self.path

    @property
    def total(self) -> int:
        """Pictures that were found."""
        return sum(self.counts)

    @property
    def expected(self) -> int:
        """Pictures of all peers, where those elsewhere have as many as there are here."""
        return self.total * self.peers if self.elsewhere else self.total

    @property
    def fewest(self) -> int:
        """Pictures of the peer that holds fewest, where all shares are equal if nobody has own."""
        return min(self.counts) if self.own else self.total // self.peers

    @property
    def side(self) -> int:
        """The median of the pictures' shorter sides: what a square of the middle has."""
        sides = [min(size) for size, often in self.sizes.items() for _ in range(often)]
        return int(np.median(sides))

    @property
    def uniform(self) -> tuple[int, int] | None:
        """The width and height of all pictures that were looked at; None where they differ."""
        return next(iter(self.sizes)) if len(self.sizes) == 1 else None

    def in_words(self) -> str:
        """One line: how many, how large, grey or in colour, of which classes."""
        if self.uniform:
            size = f"{self.uniform[0]}x{self.uniform[1]} pixels"
        else:
            low, high = (pick(min(size) for size in self.sizes) for pick in (min, max))
            size = f"shorter sides of {low} to {high} pixels (median {self.side})"
        looked_at = sum(self.sizes.values())
        if looked_at < self.total:
            size += f" in the {looked_at} looked at"
        of_each = ", ".join(f"{name}: {count:,}" for name, count in list(self.classes.items())[:12])
        more = f" and {len(self.classes) - 12} more" if len(self.classes) > 12 else ""
        classes = f"{len(self.classes)} classes ({of_each}{more})" if self.classes else "no classes"
        shares = (
            f", {', '.join(map(str, self.counts))} of each peer" if len(self.counts) > 1 else ""
        )
        kind = "colour" if self.colour else "grey"
        return f"{self.total:,} pictures{shares}, {kind}, {size}; {classes}"


@dataclass
class _Sample:
    """Sizes and colour of the pictures that were looked at so far."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    colour: bool = False


def look_at(given: str, peers: int | None, own: bool = False) -> Survey:
    """Look at the pictures of ``given``: a folder, one with ``{id}``, or a file of arrays.

    Args:
        given: pictures, class folders, folders ``peer-0``, ``peer-1``..., an .npz file, or the
            folder of IDX files or of CIFAR-10's.
        peers: how many there will be; None for 5, or for as many as have their own folder.
        own: these are one machine's, and the others have their own.

    Raises:
        UserError: there is nothing that a source reads, or not for each peer.
    """
    path, peers = _of_each_peer(given, peers)
    of_each = "{id}" in path
    source = _source(resolve_path(path, 0 if of_each else None))
    partition = "own" if own or of_each else "iid"
    keys = {"source": source, "path": path, "partition": partition}
    spec = DataSpec.model_validate(keys)
    counts: list[int] = []
    classes: Counter[str] = Counter()
    labelled: set[bool] = set()
    sample = _Sample()
    owners: Sequence[int | None] = range(peers) if of_each else [None]
    for owner in owners:
        found = SOURCES[source](spec, resolve_path(path, owner), owner)
        counts.append(found.count)
        if found.labels is not None:
            labels, names = number_classes(found)
            classes.update(dict(zip(names, np.bincount(labels).tolist(), strict=True)))
        labelled.add(found.labels is not None)
        _look(found, HEADERS // len(owners) or 1, sample)
    if len(labelled) > 1:
        raise UserError(
            f"{given}: some peers have class folders, and others none; sort all pictures into "
            "classes, or none"
        )
    in_order = {name: classes[name] for name in sorted(classes, key=by_number_then_text)}
    elsewhere = own and not of_each
    return Survey(
        source, path, peers, tuple(counts), in_order, sample.sizes, sample.colour, elsewhere
    )


def _of_each_peer(given: str, peers: int | None) -> tuple[str, int]:
    """The path, with ``{id}`` where folders are called ``peer-0``..., and how many peers."""
    if "{id}" in given:
        return given, _count_owners(given) if peers is None else peers
    folder = resolve_path(given)
    if folder.is_dir():
        found = {
            int(match[1])
            for entry in folder.iterdir()
            if (match := _PEER.fullmatch(entry.name)) and entry.is_dir()
        }
        if len(found) > 1:
            wanted = max(found) + 1 if peers is None else peers
            missing = sorted(set(range(wanted)) - found)
            if missing:
                raise UserError(
                    f"{given}: has folders of {len(found)} peers, and none called "
                    f"peer-{missing[0]}; number them from 0, or say --peers "
                    f"{_run_from_zero(found) or 1}"
                )
            return str(Path(given) / "peer-{id}"), wanted
    return given, 5 if peers is None else peers


def _count_owners(path: str) -> int:
    """For how many peers, counted from 0, there is something at a path with ``{id}``."""
    count = 0
    while resolve_path(path, count).exists():
        count += 1
    return max(count, 1)  # of none, the source says what it would need


def _run_from_zero(found: set[int]) -> int:
    return next(k for k in range(len(found) + 1) if k not in found)


def _source(path: Path) -> SourceName:
    """Which source reads what lies there; a folder of pictures is the last guess."""
    if path.suffix == ".npz":
        return "npz"
    cifar = (path / "data_batch_1.bin", path / "cifar-10-batches-bin")
    if any(each.exists() for each in cifar):
        return "cifar10"
    return "idx" if find_file(path, "train", "images", 3) else "folder"


def _look(found: Found, most: int, sample: _Sample) -> None:
    """Open some of the pictures, and add what they are to the sample."""
    if not found.files:
        places = _spread(found.count, most)
        pixels = found.read(places)  # (n, c, h, w)
        sample.sizes[(pixels.shape[3], pixels.shape[2])] += len(pixels)
        sample.colour |= pixels.shape[1] == 3
        if found.unit is None:
            in_range(pixels, None, found.where)  # refuses what a run would refuse
        return
    files = [found.files[place] for place in _spread(found.count, most).tolist()]
    doubtful = [file for file in files if _size_of(file, sample)]
    for place in _spread(len(doubtful), PIXELS).tolist():
        if sample.colour:
            return
        sample.colour = _in_colour(doubtful[place])


def _size_of(file: Path, sample: _Sample) -> bool:
    """Count a picture's size; returns whether its format may hold colour."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # it lies on its side
                width, height = height, width
            sample.sizes[(width, height)] += 1
            return image.mode not in _GREY_MODES
    except Exception:  # whatever Pillow stumbles over, the loader says in its own words
        _read(file)
        raise


def _in_colour(file: Path) -> bool:
    pixels = _read(file).astype(np.int16)  # (3, h, w)
    return bool(np.abs(pixels[[0, 2]] - pixels[1]).mean() > _GREY)


def _read(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with file.open("rb") as stream:
        return read_picture(stream, f"data.path: {file}", Look(size=64))[0]


def _spread(count: int, most: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """At most so many of the numbers below ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
