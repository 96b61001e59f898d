"""Images that lie in files of their own: folders, CIFAR's binary files, the hub's data sets."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peer.data import load_source
from peer.data.formats.arrays import CIFAR_CLASSES
from peer.data.sources import Images
from peer.data.spec import DataSpec
from peer.experiment import from_mapping
from tests.support.systems import PLAIN
from topology.errors import UserError


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def load(path: Path, **keys: object) -> Images:
    return load_source(DataSpec.model_validate({"source": "folder", "path": str(path)} | keys))


def test_a_folder_of_folders_has_labels_and_a_flat_one_none(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "cats" / f"{i}.png", (255, 0, 0))
    picture(tmp_path / "dogs" / "0.png", (0, 0, 255))
    images = load(tmp_path)
    assert images.shape == (3, 4, 6)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1]
    assert images.take([0, 3])[:, :, 0, 0].tolist() == [[1, -1, -1], [-1, -1, 1]]
    flat = load(tmp_path / "cats", size=3, channels=1)
    assert flat.labels is None
    assert flat.shape == (1, 3, 3)
    assert len(load(tmp_path / "cats", limit=2)) == 2


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; give a folder of images"):
        load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        load(tmp_path / "empty")
    picture(tmp_path / "two" / "a.png", (1, 2, 3))
    picture(tmp_path / "two" / "b.png", (1, 2, 3), (8, 8))
    with pytest.raises(UserError, match=r"data.size is missing: a.png is 6x4 and b.png 8x8"):
        load(tmp_path / "two")
    (tmp_path / "two" / "c.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"c.png is no image that can be read"):
        load(tmp_path / "two", size=4)


def test_cifars_binary_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = rng.integers(0, 10, (7, 3073), dtype=np.uint8)
    for i in range(1, 6):
        records.tofile(tmp_path / f"data_batch_{i}.bin")
    keys = {"source": "cifar10", "path": str(tmp_path)}
    images = load_source(DataSpec.model_validate(keys))
    assert images.shape == (3, 32, 32)
    assert len(images) == 35
    assert images.labels is not None
    names = [CIFAR_CLASSES[label] for label in records[:, 0]]
    assert [images.class_names[label] for label in images.labels[:7]] == names
    assert images.class_names == tuple(sorted(set(names)))  # and no others
    assert np.array_equal(images.pixels[0].reshape(-1), records[0, 1:])
    with pytest.raises(UserError, match=r"holds no test_batch.bin; fetch .*cifar-10-binary.tar.gz"):
        load_source(DataSpec.model_validate(keys | {"split": "test"}))
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(UserError, match="cut short"):
        load_source(DataSpec.model_validate(keys))


def test_any_source_is_resized(tmp_path: Path) -> None:
    digits = load_source(DataSpec.model_validate({"source": "digits", "size": 32}))
    assert digits.shape == (1, 32, 32)
    plain = load_source(DataSpec.model_validate({"source": "digits"}))
    assert digits.take([5]).mean().item() == pytest.approx(plain.take([5]).mean().item(), abs=0.02)
    wide = np.zeros((2, 1, 4, 8), dtype=np.uint8)
    wide[..., 2:6] = 255  # the middle square is white
    np.savez(tmp_path / "wide.npz", images=wide)
    keys = {"source": "npz", "path": str(tmp_path / "wide.npz"), "size": 4}
    assert load_source(DataSpec.model_validate(keys)).take([0]).tolist() == [[[[1.0] * 4] * 4]]


def test_the_hub_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DataSpec.model_validate({"source": "hub", "path": "someone/pictures", "size": 4})
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'hearsay\[hub\]'"):
        load_source(spec)

    class Rows(list):
        features = ("image", "label")

    rows = Rows({"image": Image.new("RGB", (5, 5), (255, 255, 255)), "label": 3} for _ in range(2))
    package = types.ModuleType("datasets")
    package.load_dataset = lambda path, split: rows  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", package)
    images = load_source(spec)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0]
    assert images.class_names == ("3",)
    assert images.shape == (3, 4, 4)


def test_a_name_on_the_hub_is_no_path() -> None:
    keys = {"data": {"source": "hub", "path": "someone/pictures"}}
    raw = PLAIN | keys | {"algorithm": {"name": "local", "rounds": 1}}
    experiment = from_mapping(raw, ["data.path=else/where"])
    assert experiment.resolved()["data"]["path"] == "else/where"
    assert from_mapping(raw).fingerprint()["data"] != experiment.fingerprint()["data"]


@pytest.mark.real_data
def test_cifar_as_an_image_folder(real_data: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(real_data / "cifar10" / "cifar10-imagefolder.tar.xz") as archive:
        members = [m for m in archive if "/test/" in f"/{m.name}"]
        archive.extractall(tmp_path, members=members, filter="data")
    folder = next(tmp_path.rglob("test"))
    images = load(folder)
    assert images.shape == (3, 32, 32)
    assert len(images) == 2000
    assert images.classes == 10
