"""Uneven partitions, and images that lie in files of their own."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from peer.data import load_source
from peer.data.formats.arrays import CIFAR_CLASSES
from peer.data.partitions import partition
from peer.data.sources import Images
from peer.data.spec import DataSpec
from peer.experiment import from_mapping
from sim.commands import partition as draw_partition
from tests.support.systems import PLAIN
from topology.errors import UserError


def images_of(counts: list[int]) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Images(np.zeros((len(labels), 1, 1, 1), dtype=np.uint8), labels, "some", unit=127.5)


def spec_of(**of: object) -> DataSpec:
    return DataSpec.model_validate({"partition": of})


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.1, 0.5, 5.0]))
def test_dirichlet_shares_everything_out_once(peers: int, seed: int, alpha: float) -> None:
    images = images_of([60] * 10)
    parts = partition(spec_of(name="dirichlet", alpha=alpha, least=5), images, peers, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))
    assert min(map(len, parts)) >= 5
    again = partition(spec_of(name="dirichlet", alpha=alpha, least=5), images, peers, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_a_small_alpha_is_less_even_than_a_large_one() -> None:
    def unevenness(alpha: float) -> float:
        images = images_of([100] * 10)
        assert images.labels is not None
        spread = []
        for seed in range(10):
            for part in partition(spec_of(name="dirichlet", alpha=alpha), images, 5, seed):
                share = np.bincount(images.labels[part], minlength=10) / len(part)
                spread.append(share.max())
        return float(np.mean(spread))

    assert unevenness(0.1) > 1.5 * unevenness(10.0)


def test_dirichlet_says_when_it_cannot() -> None:
    with pytest.raises(UserError, match=r"data.partition.least: 50 images for each of 4 peers"):
        partition(spec_of(name="dirichlet", least=50), images_of([10] * 10), 4, 0)
    bare = Images(np.zeros((50, 1, 1, 1), dtype=np.uint8), None, "bare", unit=127.5)
    with pytest.raises(UserError, match="dirichlet goes by label"):
        partition(spec_of(name="dirichlet"), bare, 4, 0)


def test_halves_leave_nobody_out() -> None:
    parts = partition(spec_of(name="halves"), images_of([7, 6]), 2, 3)
    assert sorted(map(len, parts)) == [6, 7]
    assert sorted(np.concatenate(parts).tolist()) == list(range(13))


@pytest.mark.parametrize(("classes", "samples"), [(5, 3000), (10, 2000), (20, 3000), (40, 4000)])
def test_fegans_engine_gives_later_devices_more(classes: int, samples: int) -> None:
    images = images_of([6000] * 10)
    assert images.labels is not None
    spec = spec_of(name="fegan", max_class=classes, max_samples=samples)
    parts = partition(spec, images, 80, 1)
    held = [np.bincount(images.labels[part], minlength=10) for part in parts]
    for i, of in enumerate(held, start=1):
        assert 1 <= (of > 0).sum() <= max(1, min(10, classes * i // 80))
        assert of.max() <= max(1, min(i * i, samples * i // 80))
        assert len(np.unique(parts[i - 1])) == len(parts[i - 1])
    assert sum(of.sum() for of in held[40:]) > 3 * sum(of.sum() for of in held[:40])
    disjoint = partition(spec.model_copy(update={"partition": spec.partition.model_copy(
        update={"disjoint": True, "max_samples": 100})}), images, 80, 1)  # fmt: skip
    together = np.concatenate(disjoint)
    assert len(np.unique(together)) == len(together)
    released = spec_of(name="fegan", max_class=classes, max_samples=samples, as_released=True)
    first, *_, last = partition(released, images, 80, 1)
    assert len(np.unique(images.labels[first])) == 1
    assert len(np.unique(images.labels[last])) == min(10, classes * 79 // 80 + 1)


# --- sources --------------------------------------------------------------------------------------


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


def test_the_partition_is_drawn_without_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "star.yaml"
    file.write_text(
        "peers: 5\ngraph: star\nalgorithm: {name: fedavg, rounds: 1}\ngan: mlp-digits\n"
        "optimizer: adam\ndata: {partition: {name: dirichlet, alpha: 0.3}}\n"
    )
    draw_partition(file, None, tmp_path / "map.png")
    said = capsys.readouterr().out
    assert [line.split("│")[1].strip() for line in said.splitlines() if line.startswith("│")] == [
        "1", "2", "3", "4",
    ]  # fmt: skip
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
