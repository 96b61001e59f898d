"""Pictures that lie in a folder of their own, or in one folder a class.

A class is a folder below the path, with all pictures in it at any depth. Nothing is left out in
silence: what is no picture by its name, cannot be read or lies beside the class folders is counted
and said, but for what file managers and notebooks leave behind, which nobody means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peer.data.classes import by_number_then_text, clean_name
from peer.data.formats.pictures import SUFFIXES, Look, Pixels, read_picture
from peer.data.images import Found
from peer.data.spec import DataSpec
from topology.errors import UserError, note

_LEFT_BEHIND = {
    *("__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"),
    *("system volume information", "$recycle.bin", "#recycle", "#snapshot"),
}
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_DEEPEST = 40


@dataclass
class _Listing:
    """What lies below a folder, in order of names, nearest first."""

    pictures: list[Path] = field(default_factory=list)
    direct: int = 0  # pictures that lie in the folder itself
    others: list[Path] = field(default_factory=list)  # no pictures, by their names
    dangling: list[Path] = field(default_factory=list)  # links to nothing, or back; pipes, devices

    def add(self, below: _Listing) -> None:
        self.pictures += below.pictures
        self.others += below.others
        self.dangling += below.dangling


def find_pictures(spec: DataSpec, path: Path) -> Found:
    """Every picture below ``path``: a class for each sub-folder, in the order of their names.

    A folder of pictures without sub-folders that hold any (CelebA, LSUN) has no labels.

    Raises:
        UserError: there are none, it is unclear which of them are meant, a file cannot be read, or
            they are of several sizes and there is no ``data.size``.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"data.path: {path} {what}; give a folder of images, or of such folders")
    top, folders = _entries(path)
    listings = {folder: _walk(folder, [path.resolve()]) for folder in folders}
    filled = {folder: of for folder, of in listings.items() if of.pictures}
    whole = _Listing(list(top.pictures), top.direct, list(top.others), list(top.dangling))
    for of in listings.values():
        whole.add(of)
    if not whole.pictures:
        beside = f", but {_some(whole.others)}" if whole.others else ""
        beside += f", but {_some(whole.dangling)} that cannot be read" if whole.dangling else ""
        raise UserError(
            f"data.path: {path} holds no images ({', '.join(SUFFIXES[:4])}...){beside}; "
            "give a folder of images, or of such folders"
        )
    _say(path, "is no picture by its name", "are no pictures by their names", whole.others)
    _say(path, "is no file that can be read", "are no files that can be read", whole.dangling)
    if not filled:
        return _found(spec, path, top.pictures, None)
    _refuse_unclear(path, top, filled)
    if top.pictures:
        _say(path, "lies beside the class folders", "lie beside the class folders", top.pictures)
    empty = [folder for folder in folders if folder not in filled]
    _say(path, "is a class folder without pictures", "are class folders without pictures", empty)
    in_order = sorted(filled, key=lambda folder: by_number_then_text(clean_name(folder.name)))
    files = [file for folder in in_order for file in filled[folder].pictures]
    labels = [folder.name for folder in in_order for _ in filled[folder].pictures]
    return _found(spec, path, files, labels)


def _found(spec: DataSpec, path: Path, files: list[Path], labels: list[str] | None) -> Found:
    look = Look(spec.channels or 3, spec.size, spec.background or "white")

    def read(chosen: NDArray[np.int64] | None) -> Pixels:
        places = range(len(files)) if chosen is None else chosen.tolist()
        return _read([files[place] for place in places], look)

    where = f"data.path: {path}"
    return Found(len(files), read, path.name, where, labels, where, is_text=True, files=files)


def _read(files: Iterable[Path], look: Look) -> Pixels:
    files = list(files)
    pixels: list[Pixels] = []
    several: list[Path] = []
    for file in files:
        try:
            with file.open("rb") as stream:
                found, frames = read_picture(stream, f"data.path: {file}", look)
        except OSError as problem:
            raise UserError(f"data.path: {file} cannot be read: {problem.strerror}") from None
        pixels.append(found)
        several += [file] * (frames > 1)
        if found.shape != pixels[0].shape:
            raise UserError(
                f"data.size is missing: {files[0].name} is {_size(pixels[0])} and {file.name} "
                f"{_size(found)}; say data.size: 64, and they are cropped and scaled"
            )
    if several:
        note(
            f"data.path: {_some(several)} with several frames or pages; the first of each is read, "
            "and to use the others save each as a file"
        )
    return np.stack(pixels)


def _refuse_unclear(path: Path, top: _Listing, filled: dict[Path, _Listing]) -> None:
    """Refuse where class folders may not be what they seem."""
    if not any(of.direct for of in filled.values()):
        first = next(iter(filled.values())).pictures[0].relative_to(path)
        raise UserError(
            f"data.path: {path} has no images in its folders; images lie deeper, in "
            f"{first.parent}; give {path / first.parts[0]}, or where each folder is one peer's, "
            f"call them peer-0, peer-1... and give {path / 'peer-{id}'}"
        )
    splits = [folder.name for folder in filled if folder.name.lower() in _SPLITS]
    if len(splits) == len(filled):
        raise UserError(
            f"data.path: {path} is divided into {' and '.join(splits)}, which are no classes; "
            f"give {path / splits[0]}"
        )
    within = sum(len(of.pictures) for of in filled.values())
    if top.pictures and (len(filled) < 2 or within <= len(top.pictures)):
        raise UserError(
            f"data.path: {path} holds {_some(top.pictures)} beside {within} in "
            f"{len(filled)} folder{'s' * (len(filled) > 1)} ({next(iter(filled)).name}...); leave "
            "pictures or class folders there, not both"
        )


def _walk(folder: Path, above: list[Path]) -> _Listing:
    """Everything below a folder; a link back to a folder above it is not followed."""
    here = folder.resolve()
    if here in above:
        return _Listing(dangling=[folder])
    if len(above) > _DEEPEST:
        raise UserError(f"data.path: {folder} lies deeper than {_DEEPEST} folders; give its parent")
    found, folders = _entries(folder)
    for each in folders:
        found.add(_walk(each, [*above, here]))
    return found


def _entries(folder: Path) -> tuple[_Listing, list[Path]]:
    """The files of a folder, sorted into kinds, and its sub-folders."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as problem:
        raise UserError(f"data.path: {folder} cannot be read: {problem.strerror}") from None
    found, folders = _Listing(), []
    for entry in entries:
        if entry.name.startswith((".", "@")) or entry.name.lower() in _LEFT_BEHIND:
            continue
        if entry.is_dir():
            folders.append(entry)
        elif not entry.is_file():
            found.dangling.append(entry)
        elif entry.suffix.lower() in SUFFIXES:
            found.pictures.append(entry)
        else:
            found.others.append(entry)
    found.direct = len(found.pictures)
    return found, folders


def _say(path: Path, one: str, many: str, left: list[Path]) -> None:
    if left:
        example = left[0].relative_to(path)
        what = f"{example} {one}" if len(left) == 1 else f"{len(left)} ({example}...) {many}"
        note(f"data.path: of what {path} holds, {what}, and left out")


def _some(files: list[Path]) -> str:
    return f"{len(files)} file{'s' * (len(files) != 1)} ({files[0].name}{'...' * (len(files) > 1)})"


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}"
