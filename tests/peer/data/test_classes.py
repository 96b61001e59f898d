"""Classes are what is there, by name, in one order, whatever the source."""

from __future__ import annotations

import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peer.data import DataSpec, Images, common_classes, load_source, partition
from peer.data.classes import by_number_then_text, clean_name, find_class, first_in_turn
from topology.errors import InputNote, UserError


def npz(folder: Path, labels: Any, **keys: Any) -> Images:
    path = folder / "a.npz"
    pixels = np.zeros((len(labels), 2, 2), dtype=np.uint8)
    pixels[:, 0, 0] = np.arange(len(labels)) % 250 + 2
    np.savez(path, images=pixels, labels=labels)
    return load_source(DataSpec(source="npz", path=str(path), **keys))


def tree(root: Path, classes: dict[str, int]) -> Path:
    """So many pictures in each class folder, each of its own grey."""
    grey = 0
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (2, 2), grey := grey + 5).save(root / name / f"{i}.png")
    return root


def folder(path: Path, **keys: Any) -> Images:
    return load_source(DataSpec(source="folder", path=str(path), channels=1, **keys))


# --- numbers and names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        ([0, 1, 2], [0, 1, 2], ("0", "1", "2")),
        ([3, 1, 2, 1], [2, 0, 1, 0], ("1", "2", "3")),  # begin at 1
        ([0, 5, 5, 9], [0, 1, 1, 2], ("0", "5", "9")),  # gaps
        ([202599000, 7, 7], [1, 0, 0], ("7", "202599000")),  # ids
        ([2**63 - 1, 0], [1, 0], ("0", str(2**63 - 1))),
        ([1.0, 3.0, 1.0], [0, 1, 0], ("1", "3")),
        (np.array([9, 10, 2], dtype=np.uint8), [1, 2, 0], ("2", "9", "10")),
        ([True, False], [1, 0], ("0", "1")),
    ],
)
def test_labels_are_numbered_by_what_is_there(
    tmp_path: Path, labels: Any, numbers: list[int], names: tuple[str, ...]
) -> None:
    images = npz(tmp_path, labels)
    assert images.labels is not None
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == numbers
    assert images.class_names == names
    assert images.classes == len(names)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, -1], "image 1 (from 0) has -1"),
        ([0.0, 0.5], "image 1 (from 0) has 0.5"),
        ([0.0, np.nan], "image 1 (from 0) has nan"),
        ([0.0, np.inf], "image 1 (from 0) has inf"),
        ([0.0, 1e300], "image 1 (from 0) has 1e+300"),
        (["cat", "dog"], "image 0 (from 0) has 'cat'"),
        (np.array([0, 2**63], dtype=np.uint64), "image 1 (from 0) has 9223372036854775808"),
        (np.array([0, 1j]), "image 0 (from 0) has 0j"),
        ([[0], [1]], "has shape (2, 1) for 2 images"),
        (np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]"), "must be classes"),
    ],
)
def test_impossible_labels_are_refused(tmp_path: Path, labels: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        npz(tmp_path, labels)
    message = str(caught.value)
    assert message.startswith("data.path: `labels` of ")
    assert words in message
    assert "\n" not in message


def test_a_label_count_that_is_not_the_images(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((3, 2, 2), dtype=np.uint8), labels=[0, 1])
    with pytest.raises(UserError, match=r"`labels` of .* has shape \(2,\) for 3 images"):
        load_source(DataSpec(source="npz", path=str(path)))


def test_idx_labels_that_begin_at_1(tmp_path: Path) -> None:
    """EMNIST's letters: 26 classes, two a peer, none left out."""
    labels = (np.arange(52) % 26 + 1).astype(np.uint8)
    pixels = np.full((52, 2, 2), 9, dtype=np.uint8)
    for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (tmp_path / f"train-{kind}-ubyte").write_bytes(header + array.tobytes())
    images = load_source(DataSpec(source="idx", path=str(tmp_path)))
    assert images.class_names == tuple(str(x) for x in range(1, 27))
    shards = partition(DataSpec(partition="pairs"), images, 13, 0)
    assert images.labels is not None
    assert [sorted(set(images.labels[s].tolist())) for s in shards] == [
        [2 * k, 2 * k + 1] for k in range(13)
    ]


def test_cifar_labels_over_9_are_refused(tmp_path: Path) -> None:
    records = np.zeros((3, 3073), dtype=np.uint8)
    records[1, 0] = 10
    records.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(UserError, match=r"label 10 of image 1 \(from 0\) is none of the 10 class"):
        load_source(DataSpec(source="cifar10", path=str(tmp_path), split="test"))


def test_embedded_and_made_up_classes_have_names() -> None:
    assert load_source(DataSpec()).class_names == tuple("0123456789")
    made = load_source(DataSpec(source="synthetic", images=20, classes=4))
    assert made.class_names == tuple("0123")
    few = load_source(DataSpec(source="synthetic", images=2, classes=4))
    assert few.class_names == ("0", "1")  # what is there


def hub(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], features: Any) -> None:
    class Rows(list):  # type: ignore[type-arg]
        pass

    Rows.features = features  # type: ignore[attr-defined]
    package = types.ModuleType("datasets")
    package.load_dataset = lambda path, split: Rows(rows)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", package)


def test_the_hubs_names_are_kept_in_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (2, 2), (9, 9, 9))
    label = types.SimpleNamespace(names=["zebra", "ant", "bee"])
    rows = [{"image": picture, "label": x} for x in (2, 0, 2)]
    hub(monkeypatch, rows, {"image": None, "label": label})
    images = load_source(DataSpec(source="hub", path="a/b"))
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 1]
    assert images.class_names == ("zebra", "bee")
    hub(monkeypatch, [*rows, {"image": picture, "label": -1}], {"image": None, "label": label})
    with pytest.raises(UserError, match=r"column label of 'a/b' .* image 3 \(from 0\) has -1"):
        load_source(DataSpec(source="hub", path="a/b"))
    hub(monkeypatch, [{"image": picture, "label": 3}], {"image": None, "label": label})
    with pytest.raises(UserError, match="label 3 of image 0"):
        load_source(DataSpec(source="hub", path="a/b"))


@pytest.mark.parametrize("label", [None, [1, 2], 0.5, {"a": 1}])
def test_a_hub_column_that_holds_no_labels(monkeypatch: pytest.MonkeyPatch, label: Any) -> None:
    picture = Image.new("RGB", (2, 2), (9, 9, 9))
    hub(monkeypatch, [{"image": picture, "label": x} for x in (0, label)], ("image", "label"))
    with pytest.raises(UserError, match="column label of 'a/b'") as caught:
        load_source(DataSpec(source="hub", path="a/b"))
    assert "\n" not in str(caught.value)


def test_hub_pictures_are_shown_as_those_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    clear = Image.new("RGBA", (2, 1), (255, 0, 255, 0))
    hub(monkeypatch, [{"image": deep}, {"image": clear}], ("image",))
    images = load_source(DataSpec(source="hub", path="a/b", channels=1))
    assert images.pixels.reshape(2, 2).tolist() == [[0, 255], [255, 255]]
    hub(monkeypatch, [{"image": clear}, {"image": None}], ("image",))
    with pytest.raises(UserError, match=r"row 1 of 'a/b' .* its image is of type NoneType"):
        load_source(DataSpec(source="hub", path="a/b"))


# --- folders --------------------------------------------------------------------------------------


def test_numbered_folders_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    tree(tmp_path, {"10": 1, "2": 1, "cat": 1, "Ant": 1, "02": 1, "0": 1})
    images = folder(tmp_path)
    assert images.class_names == ("0", "02", "2", "10", "Ant", "cat")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert images.pixels[:, 0, 0, 0].tolist() == [30, 25, 10, 5, 20, 15]


def test_one_name_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    tree(tmp_path, {"caf\u00e9": 1, "cafe\u0301": 1, "tea": 1})
    assert folder(tmp_path).class_names == ("caf\u00e9", "tea")
    assert clean_name("a\nb\x1b[31m") == "a\ufffdb\ufffd[31m"
    assert clean_name("x\udce9") == "x?" or clean_name("x\udce9") == "x\ufffd"


def test_the_order_of_names() -> None:
    names = ["b", "10", "9", "a", "1", "01", "-1", "1.5"]
    assert sorted(names, key=by_number_then_text) == ["01", "1", "9", "10", "-1", "1.5", "a", "b"]


# --- data.classes ---------------------------------------------------------------------------------


def test_own_classes_become_the_experiments_numbers(tmp_path: Path) -> None:
    tree(tmp_path / "p0", {"cat": 2, "dog": 1})
    tree(tmp_path / "p1", {"dog": 1, "emu": 1})
    found = {}
    for k in (0, 1):
        spec = DataSpec(
            source="folder",
            path=str(tmp_path / "p{id}"),
            partition="own",
            classes=["emu", "dog", "cat"],
        )
        found[k] = load_source(spec, k)
    assert found[0].labels.tolist() == [2, 2, 1]
    assert found[1].labels.tolist() == [1, 0]
    assert found[0].class_names == found[1].class_names == ("emu", "dog", "cat")
    assert found[0].classes == 3


def test_images_whose_class_is_not_listed_are_refused_by_name(tmp_path: Path) -> None:
    tree(tmp_path / "a", {"cat": 2, "cow": 3})
    with pytest.raises(UserError) as caught:
        folder(tmp_path / "a", classes=["cat", "dog"])
    assert str(caught.value) == (
        "data.classes: a has 3 images of 'cow', which the list ('cat', 'dog') lacks; add the "
        "class, or take its images away"
    )
    tree(tmp_path / "flat" / "inner", {"x": 1})
    with pytest.raises(UserError, match=r"data\.classes: x has no labels"):
        folder(tmp_path / "flat" / "inner" / "x", classes=["cat"])


def test_numbers_may_be_listed_as_numbers(tmp_path: Path) -> None:
    images = npz(tmp_path, [7, 3, 7], classes=[3, 5, 7])
    assert images.labels is not None
    assert images.labels.tolist() == [2, 0, 2]
    assert images.class_names == ("3", "5", "7")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"source": "npz", "classes": []}, "[] is no list of classes; write their names"),
        ({"source": "npz", "classes": "cat"}, "'cat' is no list of classes"),
        ({"source": "npz", "classes": ["a", "a"]}, "'a' is there twice"),
        ({"source": "npz", "classes": [1, "1"]}, "'1' is there twice"),
        ({"source": "npz", "classes": [True]}, "True is no name; put quotes around names"),
        ({"source": "npz", "classes": [["a"]]}, "['a'] is no name"),
        ({"source": "npz", "classes": 3}, "source npz has its own"),
        ({"source": "synthetic", "classes": ["a"], "path": None}, "makes its classes up"),
        ({"source": "synthetic", "classes": 0, "path": None}, "at least 1"),
    ],
)
def test_lists_of_classes_that_are_none(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        DataSpec(**{"path": "x"} | keys)
    assert str(caught.value).startswith("data.classes: ")
    assert words in str(caught.value)


def test_a_list_of_classes_is_written_and_read_back() -> None:
    spec = DataSpec(source="npz", path="x", classes=["cat", 7])
    written = spec.model_dump(mode="json")
    assert written["classes"] == ["cat", "7"]
    assert DataSpec.model_validate(written) == spec
    assert "classes" not in DataSpec(source="npz", path="x").model_dump(mode="json")


def test_the_classes_that_peers_have_together(tmp_path: Path) -> None:
    tree(tmp_path / "0", {"cat": 1, "10": 1})
    tree(tmp_path / "1", {"9": 1, "dog": 1})
    spec = DataSpec(source="folder", path=str(tmp_path / "{id}"), partition="own")
    assert common_classes(spec, [0, 1]) == ("9", "10", "cat", "dog")
    tree(tmp_path / "2" / "..", {"2/x": 1})
    Image.new("L", (2, 2)).save(tmp_path / "2" / "flat.png")
    for each in (tmp_path / "2" / "x").iterdir():
        each.unlink()
    with pytest.raises(UserError, match="peer 0 has images in classes, and peer 2 without"):
        common_classes(spec, [0, 1, 2])


# --- partitions by name ---------------------------------------------------------------------------


def test_sets_of_classes_go_by_name(tmp_path: Path) -> None:
    images = npz(tmp_path, [1, 2, 3, 1, 2, 3])
    shards = partition(DataSpec(partition={"labels": [[1], [3, 2]]}), images, 2, 0)
    assert [s.tolist() for s in shards] == [[0, 3], [1, 2, 4, 5]]
    tree(tmp_path / "t", {"cat": 1, "dog": 1, "emu": 1})
    animals = folder(tmp_path / "t")
    for sets in ([["dog"], ["cat", "emu"]], [[1], [0, 2]], [["dog"], [0, "emu"]]):
        found = partition(DataSpec(partition={"labels": sets}), animals, 2, 0)
        assert [s.tolist() for s in found] == [[1], [0, 2]]
    paired = partition(DataSpec(partition={"pairs": [["emu", "dog"]]}), animals, 1, 0)
    assert [s.tolist() for s in paired] == [[1, 2]]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([[0], [1]], "there is no class 0; name classes of a, '1', '2', '3'"),
        ([["cat"], [1]], "there is no class cat"),
        ([[1, "1"], [2]], "set 0 is [1, '1'], which names a class twice"),
    ],
)
def test_sets_of_classes_that_are_not_there(tmp_path: Path, sets: Any, words: str) -> None:
    images = npz(tmp_path, [1, 2, 3])
    with pytest.raises(UserError) as caught:
        partition(DataSpec(partition={"labels": sets}), images, 2, 0)
    assert words in str(caught.value)


def test_yaml_words_are_no_classes() -> None:
    with pytest.raises(UserError, match="put quotes around names"):
        DataSpec(partition={"labels": [[True]]})


def test_classes_that_are_nobodys_are_counted(tmp_path: Path) -> None:
    images = npz(tmp_path, [0, 1, 2, 3, 4] * 3)
    with pytest.warns(InputNote, match=r"3 of the 15 images are nobody's, those of class '4'"):
        partition(DataSpec(partition="pairs"), images, 2, 0)
    with pytest.warns(InputNote, match=r"9 of the 15 images are nobody's.* '2', '3', '4'"):
        partition(DataSpec(partition="pairs"), images, 1, 0)


def test_finding_a_class() -> None:
    assert find_class(0, ("cat", "dog"), 2) == 0
    assert find_class("dog", ("cat", "dog"), 2) == 1
    assert find_class(2, ("cat", "dog"), 2) is None
    assert find_class(2, ("1", "2"), 2) == 1
    assert find_class(0, ("1", "2"), 2) is None
    assert find_class(1, (), 2) == 1  # no names: the number is all there is


# --- limits ---------------------------------------------------------------------------------------


def test_a_limit_takes_classes_in_turn(tmp_path: Path) -> None:
    tree(tmp_path, {"cat": 6, "dog": 3, "emu": 1})
    images = folder(tmp_path, limit=6)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert images.pixels[:, 0, 0, 0].tolist() == [5, 10, 15, 35, 40, 50]
    assert len(folder(tmp_path, limit=10)) == 10


def test_a_limit_of_mixed_images_keeps_the_first(tmp_path: Path) -> None:
    mixed = [0, 1, 0, 0, 1, 1]
    assert npz(tmp_path, mixed, limit=3).labels.tolist() == [0, 1, 0]
    late = [0, 0, 0, 0, 1, 0, 2]  # the first three would leave classes out
    assert npz(tmp_path, late, limit=3).labels.tolist() == [0, 1, 2]
    assert first_in_turn(None, 9, 4).tolist() == [0, 1, 2, 3]


def test_a_limit_below_the_number_of_classes_says_which_are_lost(tmp_path: Path) -> None:
    with pytest.warns(InputNote, match=r"data.limit: 2 images leave out 1 of 3 classes \('9'\)"):
        images = npz(tmp_path, [5, 7, 9, 5], limit=2)
    assert images.class_names == ("5", "7")
