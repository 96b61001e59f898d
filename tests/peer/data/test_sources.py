"""Images from files and from scikit-learn: what is read, how it is scaled, what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from peer.data import DataSpec, Images, load_source
from peer.data.sources import SOURCES, resolve_path
from peer.data.spec import SourceName
from topology.errors import InputNote, UserError

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (6, 3, 2), dtype=np.uint8)
LABELS = np.array([3, 0, 1, 1, 2, 0], dtype=np.uint8)


def idx_bytes(array: np.ndarray, magic: bytes | None = None) -> bytes:
    header = magic or bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_folder(
    folder: Path,
    images: bytes,
    labels: bytes | None = None,
    prefix: str = "train",
    mark: str = "-",
    suffix: str = "",
) -> Path:
    pack = gzip.compress if suffix == ".gz" else bytes
    folder.mkdir(exist_ok=True)
    (folder / f"{prefix}-images{mark}idx3-ubyte{suffix}").write_bytes(pack(images))
    if labels is not None:
        (folder / f"{prefix}-labels{mark}idx1-ubyte{suffix}").write_bytes(pack(labels))
    return folder


def load_idx(folder: Path, **keys: object) -> Images:
    return load_source(DataSpec(source="idx", path=str(folder), **keys))


def load_npz(path: Path, **arrays: object) -> Images:
    np.savez(path, **arrays)
    return load_source(DataSpec(source="npz", path=str(path)))


def refusal(call, *args: object, **keys: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **keys)
    message = str(caught.value)
    assert message.startswith("data.path: ")
    assert "\n" not in message
    return message


def test_table_has_every_source_of_the_spec():
    assert set(SOURCES) == set(get_args(SourceName))


# --- digits and Images ----------------------------------------------------------------------------


def test_digits_are_the_whole_of_scikit_learns_scaled_exactly():
    images = load_source(DataSpec())
    raw = load_digits()
    assert len(images) == 1797
    assert images.shape == (1, 8, 8)
    assert images.classes == 10
    assert images.pixels.dtype == np.uint8
    assert np.array_equal(images.labels, raw.target)
    values = images.take(np.arange(1797))
    assert torch.equal(values, torch.from_numpy(raw.images / 8 - 1).float()[:, None])
    assert values.min() == -1.0
    assert values.max() == 1.0


def test_take_keeps_order_and_repetition():
    images = Images(PIXELS[:, None], unit=127.5, offset=-1.0)
    taken = images.take([5, 0, 5])
    assert taken.shape == (3, 1, 3, 2)
    assert taken.is_contiguous()
    assert taken.dtype == torch.float32
    expected = PIXELS[[5, 0, 5]].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(taken[:, 0].numpy(), expected, atol=1e-7)


def test_take_starts_on_a_64_byte_boundary():
    images = load_source(DataSpec())
    assert {images.take(range(n)).data_ptr() % 64 for n in range(1, 40)} == {0}


def test_take_nothing_gives_no_images():
    assert load_source(DataSpec()).take([]).shape == (0, 1, 8, 8)


def test_taken_images_share_no_memory_with_the_source():
    images = Images(np.zeros((2, 1, 2, 2), dtype=np.float32))
    images.take([0]).fill_(1.0)
    assert images.take([0, 1]).abs().sum() == 0.0


def test_bytes_reach_both_ends_of_the_range_exactly():
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    values = Images(every, unit=127.5, offset=-1.0).take([0]).flatten()
    assert values[0] == -1.0
    assert values[255] == 1.0
    assert torch.all(values.diff() > 0)


def test_limit_keeps_the_first_images():
    whole = load_source(DataSpec())
    some = load_source(DataSpec(limit=25))
    assert len(some) == len(some.labels) == 25
    assert torch.equal(some.take(range(25)), whole.take(range(25)))
    assert np.array_equal(some.labels, whole.labels[:25])
    assert some.pixels.base is None  # nothing keeps the rest alive
    assert len(load_source(DataSpec(limit=10_000))) == 1797


# --- IDX ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_idx_reads_each_spelling(tmp_path, split, prefix, mark, suffix):
    folder = write_folder(
        tmp_path / "mine", idx_bytes(PIXELS), idx_bytes(LABELS), prefix, mark, suffix
    )
    images = load_idx(folder, split=split)
    assert images.shape == (1, 3, 2)
    assert images.classes == 4
    assert images.name == "mine"
    assert images.labels.dtype == np.int64
    assert np.array_equal(images.labels, LABELS)
    expected = PIXELS[:, None].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(images.take(range(6)).numpy(), expected, atol=1e-7)


def test_idx_reads_the_split_that_is_asked_for(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS))
    write_folder(tmp_path, idx_bytes(PIXELS[:2]), prefix="t10k")
    assert len(load_idx(tmp_path)) == 6
    assert len(load_idx(tmp_path, split="test")) == 2


def test_idx_without_labels_file_is_unlabelled(tmp_path):
    images = load_idx(write_folder(tmp_path, idx_bytes(PIXELS)))
    assert images.labels is None
    assert images.classes == 0
    assert len(images) == 6


def test_idx_unpacks_by_content_whatever_the_suffix(tmp_path):
    write_folder(tmp_path / "a", gzip.compress(idx_bytes(PIXELS)))
    assert len(load_idx(tmp_path / "a")) == 6
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train-images-idx3-ubyte.gz").write_bytes(idx_bytes(PIXELS))
    assert len(load_idx(tmp_path / "b")) == 6


def test_idx_missing_folder_says_what_to_put_there(tmp_path):
    message = refusal(load_idx, tmp_path / "nowhere")
    assert "nowhere does not exist; give the folder that holds train-images-idx3-ubyte" in message


def test_idx_file_instead_of_folder(tmp_path):
    (tmp_path / "file").touch()
    assert "file is a file; give the folder" in refusal(load_idx, tmp_path / "file")


def test_idx_folder_without_the_split(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS))
    message = refusal(load_idx, tmp_path, split="test")
    assert "holds no test images; put t10k-images-idx3-ubyte" in message
    assert "or change data.split" in message


def test_idx_wrong_magic_says_both(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS, magic=b"\x00\x00\x0d\x03"))
    message = refusal(load_idx, tmp_path)
    assert "begins with 00000d03, and an IDX file of bytes in 3 dimensions with 00000803" in message
    assert "put the right file there" in message


def test_idx_labels_in_the_place_of_images(tmp_path):
    write_folder(tmp_path, idx_bytes(LABELS))
    assert "begins with 00000801" in refusal(load_idx, tmp_path)


def test_idx_images_in_the_place_of_labels(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS), idx_bytes(PIXELS))
    assert "bytes in 1 dimension with 00000801" in refusal(load_idx, tmp_path)


@pytest.mark.parametrize("length", range(0, 52, 3))
def test_idx_truncated_anywhere_is_refused(tmp_path, length):
    content = idx_bytes(PIXELS)
    assert len(content) == 52
    message = refusal(load_idx, write_folder(tmp_path, content[:length]))
    remedy = "put the right file there" if length < 4 else "fetch the file again"
    assert message.endswith(remedy)


def test_idx_size_that_the_header_does_not_promise(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS) + b"\x00")
    message = refusal(load_idx, tmp_path)
    assert "has 53 bytes, and its header (6 x 3 x 2) promises 52" in message


def test_idx_header_that_promises_the_earth(tmp_path):
    write_folder(tmp_path, b"\x00\x00\x08\x03" + b"\xff" * 12 + b"\x01\x02")
    assert "fetch the file again" in refusal(load_idx, tmp_path)


def test_idx_truncated_gzip_is_refused_at_every_length(tmp_path):
    packed = gzip.compress(idx_bytes(PIXELS))
    for length in range(len(packed)):
        write_folder(tmp_path, packed[:length])
        message = refusal(load_idx, tmp_path)
        assert "train-images-idx3-ubyte" in message
        assert message.endswith(("fetch the file again", "put the right file there"))


def test_idx_damaged_gzip(tmp_path):
    packed = bytearray(gzip.compress(idx_bytes(PIXELS)))
    packed[-6] ^= 0xFF  # the checksum
    write_folder(tmp_path, bytes(packed))
    assert "cannot be read (CRC check failed" in refusal(load_idx, tmp_path)


def test_idx_label_count_must_match(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS), idx_bytes(LABELS[:4]))
    message = refusal(load_idx, tmp_path)
    assert "has 4 labels for the 6 images" in message
    assert "put the files of one data set there" in message


def test_idx_without_any_image(tmp_path):
    write_folder(tmp_path, idx_bytes(PIXELS[:0]), idx_bytes(LABELS[:0]))
    assert "holds no image; put one with images there" in refusal(load_idx, tmp_path)


# --- npz ------------------------------------------------------------------------------------------


def test_npz_bytes_and_labels(tmp_path):
    images = load_npz(tmp_path / "faces.npz", images=PIXELS, labels=LABELS)
    assert images.shape == (1, 3, 2)
    assert images.pixels.dtype == np.uint8
    assert images.name == "faces"
    assert np.array_equal(images.labels, LABELS)
    expected = PIXELS[:, None].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(images.take(range(6)).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_npz_floats_come_back_as_they_are(tmp_path, kind):
    values = np.linspace(-1, 1, 4 * 3 * 2 * 5).reshape(4, 3, 2, 5).astype(kind)
    images = load_npz(tmp_path / "x.npz", images=values)
    assert images.shape == (3, 2, 5)
    assert images.labels is None
    assert images.pixels.dtype == np.float32
    assert torch.equal(images.take([3, 1]), torch.from_numpy(values[[3, 1]].astype(np.float32)))


def test_npz_column_major_pixels_are_made_row_major(tmp_path):
    images = load_npz(tmp_path / "x.npz", images=np.asfortranarray(PIXELS))
    assert images.pixels.flags.c_contiguous
    assert np.array_equal(images.pixels[:, 0], PIXELS)


ZEROS = np.zeros((2, 4, 4))


@pytest.mark.parametrize(
    ("arrays", "what", "remedy"),
    [
        ({"pixels": ZEROS}, "holds pixels", "as an array `images`"),
        ({"images": ZEROS[0]}, "shape (4, 4)", "(n, h, w) or (n, c, h, w)"),
        ({"images": ZEROS[None, None]}, "shape (1, 1, 2, 4, 4)", "(n, h, w) or (n, c, h, w)"),
        ({"images": ZEROS[:0]}, "is empty", "at least one image"),
        ({"images": np.zeros((2, 8, 8, 3))}, "channels last", "transpose(0, 3, 1, 2)"),
        ({"images": ZEROS.astype(np.int64)}, "type int64", "uint8 (0 to 255)"),
        ({"images": ZEROS.astype(bool)}, "type bool", "uint8 (0 to 255)"),
        ({"images": ZEROS.astype(complex)}, "type complex128", "floats in [-1, 1]"),
        ({"images": ZEROS.astype(object)}, "Object arrays cannot be loaded", "save plain arrays"),
        ({"images": ZEROS + 255.0}, "from 255 to 255", "scale floats to [-1, 1]"),
        ({"images": ZEROS - 1.01}, "from -1.01 to -1.01", "scale floats to [-1, 1]"),
        ({"images": np.array([[[0.0, np.nan]]])}, "holds NaN", "scale floats to [-1, 1]"),
        ({"images": np.array([[[0.0, np.inf]]])}, "from 0 to inf", "scale floats to [-1, 1]"),
        ({"images": ZEROS, "labels": [1]}, "shape (1,) for 2 images", "one label an image"),
        ({"images": ZEROS, "labels": [[1], [2]]}, "shape (2, 1)", "one label an image"),
        ({"images": ZEROS, "labels": [0.5, 1.0]}, "image 0 (from 0) has 0.5", "save integers"),
        ({"images": ZEROS, "labels": [0, -1]}, "counted from 0", "none below 0"),
    ],
)
def test_npz_refusals(tmp_path, arrays, what, remedy):
    message = refusal(load_npz, tmp_path / "x.npz", **arrays)
    assert what in message
    assert remedy in message
    assert "x.npz" in message


def test_npz_other_arrays_are_neither_read_nor_in_the_way(tmp_path):
    load_npz(tmp_path / "x.npz", images=PIXELS, notes=np.array([b"\x00" * 10]))
    with pytest.warns(InputNote, match=r"x\.npz holds, notes is left out; `images` and `labels`"):
        images = load_source(DataSpec(source="npz", path=str(tmp_path / "x.npz")))
    assert np.array_equal(images.pixels[:, 0], PIXELS)


def test_npz_missing_file_and_folder(tmp_path):
    spec = DataSpec(source="npz", path="here")
    message = refusal(load_source, spec, folder=tmp_path)
    assert "here does not exist; give an .npz file with an array `images`" in message
    (tmp_path / "here").mkdir()
    assert "here is a folder; give an .npz file" in refusal(load_source, spec, folder=tmp_path)


def test_npz_single_array_is_told_how_to_save(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    spec = DataSpec(source="npz", path=str(tmp_path / "x.npy"))
    assert "numpy.savez(file, images=array)" in refusal(load_source, spec)


def test_npz_damaged_files(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=PIXELS, labels=LABELS)
    whole = path.read_bytes()
    spec = DataSpec(source="npz", path=str(path))
    for content in (b"", b"not a zip at all", whole[: len(whole) // 2], whole[:-1], b"PK" + whole):
        path.write_bytes(content)
        assert "save plain arrays with numpy.savez" in refusal(load_source, spec)
    flipped = bytearray(whole)
    flipped[whole.index(b"images.npy") + 40] ^= 0xFF
    path.write_bytes(bytes(flipped))
    assert "cannot be read as .npz" in refusal(load_source, spec)


# --- paths ----------------------------------------------------------------------------------------


def test_each_peer_reads_its_own_folder(tmp_path):
    for peer in (0, 3):
        write_folder(tmp_path / f"peer-{peer}", idx_bytes(PIXELS[peer : peer + 2]))
    spec = DataSpec(source="idx", path="peer-{id}", partition="own")
    for peer in (0, 3):
        images = load_source(spec, peer_id=peer, folder=tmp_path)
        assert np.array_equal(images.pixels[:, 0], PIXELS[peer : peer + 2])
    assert "peer-1 does not exist" in refusal(load_source, spec, peer_id=1, folder=tmp_path)
    message = refusal(load_source, spec, folder=tmp_path)
    assert "no peer was named; name one, or give a path without {id}" in message


def test_paths_start_at_the_folder_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/pi")
    assert resolve_path("a/b", folder=tmp_path) == tmp_path / "a" / "b"
    assert resolve_path("/a/b", folder=tmp_path) == Path("/a/b")
    assert resolve_path("~/b", folder=tmp_path) == Path("/home/pi/b")
    assert resolve_path("a") == Path("a")
    assert resolve_path("{id}/{id}-{x}", 7, tmp_path) == tmp_path / "7" / "7-{x}"
    assert "write it out in full" in refusal(resolve_path, "~no-such-user-here/b")


# --- real data ------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_mnist_loads_whole_and_scaled(real_data):
    folder = real_data / "mnist"
    train, test = load_idx(folder), load_idx(folder, split="test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.shape == test.shape == (1, 28, 28)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    values = train.take(range(1000))
    assert values.min() == -1.0
    assert values.max() == 1.0


@pytest.mark.parametrize("source", ["idx", "npz", "folder", "cifar10"])
@pytest.mark.parametrize("path", ["a" * 300, "a\0b", "~no-such-user-here/b"])
def test_paths_that_are_none(tmp_path, source, path):
    refusal(load_source, DataSpec(source=source, path=path), folder=tmp_path)
