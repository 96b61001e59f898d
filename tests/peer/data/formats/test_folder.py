"""Folders of pictures: nothing is left out in silence, nothing is a class that is none."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peer.data import DataSpec, Images, load_source
from topology.errors import InputNote, UserError


def grey(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def folder(path: Path, **keys: Any) -> Images:
    spec = DataSpec(source="folder", path=str(path), partition="all", channels=1, **keys)
    return load_source(spec)


def quiet(path: Path, **keys: Any) -> Images:
    """The images, where nothing is to be said about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        return folder(path, **keys)


def noted(path: Path, **keys: Any) -> tuple[Images, list[str]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", InputNote)
        images = folder(path, **keys)
    return images, [str(each.message) for each in said]


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        folder(path)
    assert str(caught.value).startswith("data.path: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name, value in (("cat", 20), ("dog", 120)):
        for k in (0, 1):
            grey(tmp_path / name / f"{k}.png", value + k)
    return tmp_path


def is_pets(images: Images) -> bool:
    assert images.labels is not None
    assert images.pixels[:, 0, 0, 0].tolist() == [20, 21, 120, 121]
    return (images.labels.tolist(), images.class_names) == ([0, 0, 1, 1], ("cat", "dog"))


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", ".Trashes", "lost+found", "$RECYCLE.BIN",
     "System Volume Information", "__pycache__", "#recycle"],
)  # fmt: skip
@pytest.mark.parametrize("place", [".", "cat"])
def test_what_systems_leave_behind_is_no_class(pets: Path, name: str, place: str) -> None:
    grey(pets / place / name / "thumb.png", 7)
    assert is_pets(quiet(pets))


@pytest.mark.parametrize(
    "name", ["Thumbs.db", ".DS_Store", "desktop.ini", "._0.png", ".hidden.jpg"]
)
def test_files_that_systems_leave_behind(pets: Path, name: str) -> None:
    (pets / "cat" / name).write_bytes(b"whatever")
    (pets / name).write_bytes(b"whatever")
    assert is_pets(quiet(pets))


def test_an_empty_class_folder_is_said_and_no_class(pets: Path) -> None:
    (pets / "cow").mkdir()
    images, said = noted(pets)
    assert is_pets(images)
    assert len(said) == 1
    assert "cow is a class folder without pictures, and left out" in said[0]


def test_pictures_deeper_in_a_class_are_of_that_class(pets: Path) -> None:
    for k in range(5):
        grey(pets / "cat" / "more" / "still" / f"{k}.png", 50)
    images = quiet(pets)
    assert images.labels is not None
    assert images.labels.tolist() == [0] * 7 + [1] * 2


def test_a_picture_beside_the_class_folders_is_said(pets: Path) -> None:
    grey(pets / "cover.png")
    images, said = noted(pets)
    assert is_pets(images)
    assert len(said) == 1
    assert "cover.png lies beside the class folders, and left out" in said[0]
    for k in range(2):
        grey(pets / f"more{k}.png")
    assert "3 (cover.png...) lie beside the class folders, and left out" in noted(pets)[1][0]


def test_as_many_beside_as_within_are_unclear(pets: Path) -> None:
    for k in range(4):
        grey(pets / f"{k}.png")
    message = refusal(pets)
    assert "holds 4 files (0.png...) beside 4 in 2 folders (cat...)" in message
    assert "leave pictures or class folders there, not both" in message


def test_one_folder_beside_pictures_is_unclear(tmp_path: Path) -> None:
    grey(tmp_path / "a.png")
    for k in range(3):
        grey(tmp_path / "thumbnails" / f"{k}.png")
    assert "holds 1 file (a.png) beside 3 in 1 folder (thumbnails...)" in refusal(tmp_path)


def test_pictures_beside_folders_without_any_have_no_classes(tmp_path: Path) -> None:
    grey(tmp_path / "a.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    images, said = noted(tmp_path)
    assert images.labels is None
    assert len(images) == 1
    assert "notes/a.txt is no picture by its name, and left out" in said[0]


@pytest.mark.parametrize("splits", [["train"], ["train", "test"], ["Train", "valid"]])
def test_the_parent_of_train_is_told_the_way(tmp_path: Path, splits: list[str]) -> None:
    for split in splits:
        grey(tmp_path / split / "cat" / "1.png")
        grey(tmp_path / split / "dog" / "1.png")
    message = refusal(tmp_path)
    first = sorted(splits)[0]
    assert f"images lie deeper, in {first}/cat; give {tmp_path / first}" in message


def test_splits_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        grey(tmp_path / split / "1.png")
    message = refusal(tmp_path)
    assert f"is divided into test and train, which are no classes; give {tmp_path}" in message
    grey(tmp_path / "cat" / "1.png")
    assert folder(tmp_path).class_names == ("cat", "test", "train")  # then they are classes


def test_what_is_no_picture_by_its_name_is_counted(pets: Path) -> None:
    for name in ("a.heic", "b.HEIC", "notes.txt"):
        (pets / "dog" / name).write_bytes(b"x")
    images, said = noted(pets)
    assert is_pets(images)
    assert len(said) == 1
    assert "3 (dog/a.heic...) are no pictures by their names, and left out" in said[0]


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.heic").touch()
    (tmp_path / "IMG_2.heic").touch()
    assert "holds no images (.jpg, .jpeg, .png, .bmp...), but 2 files (IMG_1.heic...)" in refusal(
        tmp_path
    )


def test_links_that_lead_nowhere_are_counted(pets: Path) -> None:
    (pets / "cat" / "x.png").symlink_to("nowhere.png")
    os.mkfifo(pets / "dog" / "pipe.png")
    images, said = noted(pets)
    assert is_pets(images)
    assert "2 (cat/x.png...) are no files that can be read, and left out" in said[0]


def test_links_to_pictures_and_folders_are_followed_once(pets: Path) -> None:
    (pets / "cat" / "9.png").symlink_to(pets / "dog" / "0.png")
    (pets / "dog" / "loop").symlink_to(pets)
    images, said = noted(pets)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert "dog/loop is no file that can be read, and left out" in said[0]


@pytest.mark.parametrize("suffix", [".PNG", ".JPG", ".Jpeg", ".TIF", ".jfif"])
def test_suffixes_in_any_case(tmp_path: Path, suffix: str) -> None:
    form = "PNG" if suffix == ".PNG" else "TIFF" if suffix == ".TIF" else "JPEG"
    Image.new("L", (3, 3), 200).save(tmp_path / f"x{suffix}", format=form)
    assert len(quiet(tmp_path)) == 1


def test_names_that_are_no_utf_8_can_be_shown(tmp_path: Path) -> None:
    bad = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / bad).mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    grey(tmp_path / bad / "1.png")
    grey(tmp_path / "dog" / "1.png")
    names = folder(tmp_path).class_names
    assert "".join(names).encode()
    assert names[1] == "dog"


def test_reading_only_what_the_limit_keeps(pets: Path) -> None:
    (pets / "cat" / "1.png").write_bytes(b"damaged, and beyond the limit")
    assert folder(pets, limit=2).pixels[:, 0, 0, 0].tolist() == [20, 120]
