"""Arrays: ranges and axes that are plausible, or a line that says what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peer.data import DataSpec, Images, load_source
from topology.errors import UserError


def npz(folder: Path, images: Any, labels: Any = None, **keys: Any) -> Images:
    path = folder / "a.npz"
    arrays = {"images": images} | ({} if labels is None else {"labels": labels})
    np.savez(path, **arrays)
    return load_source(DataSpec(source="npz", path=str(path), **keys))


def refusal(folder: Path, images: Any, labels: Any = None, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        npz(folder, images, labels, **keys)
    assert str(caught.value).startswith("data.")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def values(images: Images) -> list[float]:
    return images.take([0]).ravel().tolist()


# --- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "given", "right"),
    [
        (np.array([0, 0.5, 1, 0], np.float32), "unit", [-1, 0, 1, -1]),
        (np.array([0, 0.5, 1, 0], np.float32), "signed", [0, 0.5, 1, 0]),
        (np.array([0, 255, 51, 0], np.float64), "bytes", [-1, 1, -0.6, -1]),
        (np.array([0, 1, 1, 0], np.uint8), "unit", [-1, 1, 1, -1]),
        (np.array([0, 1, 1, 0], np.uint8), "bytes", [-1, 2 / 255 - 1, 2 / 255 - 1, -1]),
        (np.array([False, True, True, False]), "unit", [-1, 1, 1, -1]),
        (np.array([0, 255, 51, 0], np.int64), "bytes", [-1, 1, -0.6, -1]),
        (np.array([-1, 0, 1, 1], np.int64), "signed", [-1, 0, 1, 1]),
        (np.array([-1, 1, 0, 0.25], np.float16), None, [-1, 1, 0, 0.25]),
        (np.array([0, 0, 0, 0], np.uint8), None, [-1, -1, -1, -1]),
        (np.array([0, 0, 0, 0], np.float32), None, [0, 0, 0, 0]),
    ],
)
def test_values_come_out_by_their_range(
    tmp_path: Path, pixels: np.ndarray, given: str | None, right: list[float]
) -> None:
    found = values(npz(tmp_path, pixels.reshape(1, 2, 2), range=given))
    assert found == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize(
    ("pixels", "given", "words"),
    [
        ([0.0, 0.5, 1.0, 0.0], None, "from 0 to 1, with nothing below 0; say data.range: unit"),
        ([0.0, 128.0, 255.0, 0.0], None, "from 0 to 255; scale floats to [-1, 1], save uint8"),
        ([0.0, 128.0, 255.0, 0.0], None, "or say data.range: bytes"),
        ([0.0, 9000.0, 65535.0, 0.0], None, "from 0 to 65535; scale floats to [-1, 1], or save"),
        ([-2.1, 0.0, 2.6, 0.0], None, "from -2.1 to 2.6; scale floats to [-1, 1], or save"),
        ([0.0, 0.0, 1.1, 0.0], "unit", "from 0 to 1.1; data.range: unit means 0 to 1"),
        ([-0.5, 0.0, 1.0, 0.0], "unit", "from -0.5 to 1; data.range: unit means 0 to 1"),
        ([np.nan, 0.0, 1.0, 0.0], "unit", "holds NaN; data.range: unit"),
        ([np.inf, 0.0, 1.0, 0.0], None, "from 0 to inf"),
        ([0.0, 0.0, -np.inf, 0.0], "signed", "from -inf to 0"),
    ],
)
def test_floats_that_do_not_fit_their_range(
    tmp_path: Path, pixels: list[float], given: str | None, words: str
) -> None:
    assert words in refusal(tmp_path, np.array(pixels).reshape(1, 2, 2), range=given)


@pytest.mark.parametrize(
    ("pixels", "given", "words"),
    [
        (np.array([0, 1, 1, 0], np.uint8), None, "bytes of only 0 and 1, which would be black"),
        (np.array([0, 1, 2, 0], np.uint8), "unit", "from 0 to 2; data.range: unit means 0 to 1"),
        (np.array([0, 1, 2, 0], np.int64), None, "of type int64; save uint8 (0 to 255) or floats"),
        (np.array([0, 1, 256, 0], np.int64), "bytes", "from 0 to 256; data.range: bytes means 0"),
        (np.array([0, 1, 1, 0], bool), None, "of type bool"),
        (np.array([0, 9, 65535, 0], np.uint16), None, "of type uint16"),
        (np.array([0, 9, 65535, 0], np.uint16), "bytes", "from 0 to 65535"),
        (np.array([0, 1j, 0, 0]), "unit", "of type complex128"),
        (np.array(["a", "b", "c", "d"]), None, "of type <U1"),
    ],
)
def test_whole_numbers_that_do_not_fit_their_range(
    tmp_path: Path, pixels: np.ndarray, given: str | None, words: str
) -> None:
    assert words in refusal(tmp_path, pixels.reshape(1, 2, 2), range=given)


def test_what_rounding_puts_beyond_the_range_is_clipped(tmp_path: Path) -> None:
    found = npz(tmp_path, np.array([[[1.0000001, -1.0005, 0, -1]]]))
    assert values(found) == [1, -1, 0, -1]
    assert values(npz(tmp_path, np.array([[[1.0000001, 0]]]), range="unit")) == [1, -1]
    assert "from -1.003 to 0" in refusal(tmp_path, np.array([[[-1.003, 0]]]))


def test_masks_of_0_and_1_in_other_sources(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "mask.png")
    keys = {"source": "folder", "path": str(tmp_path), "channels": 1}
    with pytest.raises(UserError, match="bytes of only 0 and 1"):
        load_source(DataSpec.model_validate(keys))
    assert values(load_source(DataSpec.model_validate(keys | {"range": "unit"}))) == [-1, 1]


@pytest.mark.parametrize("source", ["digits", "synthetic"])
def test_sources_with_a_range_of_their_own(source: str) -> None:
    with pytest.raises(UserError, match=rf"data\.range: source {source} takes no notice of it"):
        DataSpec(source=source, range="unit")
    with pytest.raises(UserError, match=r"data\.range: unknown 'bits'; did you mean 'bytes'\?"):
        DataSpec(source="npz", path="x", range="bits")


# --- axes -----------------------------------------------------------------------------------------

STACK = np.random.default_rng(3).integers(2, 256, (5, 3, 6, 4), dtype=np.uint8)  # n, c, h, w


@pytest.mark.parametrize("axes", ["nchw", "nhwc", "hwcn", "cnwh", "wnch"])
def test_axes_are_put_in_order(tmp_path: Path, axes: str) -> None:
    stored = STACK.transpose(["nchw".index(letter) for letter in axes])
    images = npz(tmp_path, stored, axes=axes)
    assert images.shape == (3, 6, 4)
    assert np.array_equal(images.pixels, STACK)
    assert images.pixels.flags.c_contiguous


@pytest.mark.parametrize("axes", ["nhw", "hwn", "whn"])
def test_grey_axes_are_put_in_order(tmp_path: Path, axes: str) -> None:
    grey = STACK[:, 0]
    images = npz(tmp_path, grey.transpose(["nhw".index(letter) for letter in axes]), axes=axes)
    assert np.array_equal(images.pixels[:, 0], grey)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((32, 32, 3, 50), "32 images of 32 channels; say data.axes: hwcn"),
        ((32, 32, 1, 50), "32 images of 32 channels; say data.axes: hwcn"),
        ((20, 9, 3, 4), "channels last; save images.transpose(0, 3, 1, 2), or say data.axes: nhwc"),
        ((20, 28, 28, 1), "channels last"),
        ((20, 28, 28, 3), "channels last"),
        ((20, 28, 28, 4), "channels last"),
        ((20, 7, 16, 16), "20 images of 7 channels; save grey (1) or colour (3)"),
        ((20, 3, 3, 1), "20 images of 3 channels or, channels last, of 1; say data.axes: nchw"),
        ((20, 4, 4, 3), "20 images of 4 channels or, channels last, of 3"),
        ((32, 32, 3), "which may be one colour image; save images[None]"),
        ((28, 28, 1000), "28 images of 1000x28, or 1000 of 28x28; say data.axes: nhw or hwn"),
        ((8, 8), "save it as (n, h, w) or (n, c, h, w)"),
        ((2, 1, 1, 8, 8), "save it as (n, h, w) or (n, c, h, w)"),
        ((0, 8, 8), "is empty"),
    ],
)
def test_axes_that_are_not_plausible(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    assert words in refusal(tmp_path, np.full(shape, 9, np.uint8))


@pytest.mark.parametrize(
    ("shape", "right"),
    [
        ((7, 3, 32, 32), (3, 32, 32)),
        ((7, 1, 28, 20), (1, 28, 20)),
        ((7, 4, 16, 16), (4, 16, 16)),
        ((7, 28, 28), (1, 28, 28)),
        ((28, 28, 28), (1, 28, 28)),
        ((1, 2, 2), (1, 2, 2)),
        ((3, 3, 3, 3), (3, 3, 3)),
    ],
)
def test_axes_that_are(tmp_path: Path, shape: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert npz(tmp_path, np.full(shape, 9, np.uint8)).shape == right


def test_labels_tell_which_axis_the_images_are(tmp_path: Path) -> None:
    hwn = np.full((9, 8, 12), 9, np.uint8)
    assert "and there are 12 labels; say data.axes: hwn" in refusal(tmp_path, hwn, np.arange(12))
    hwcn = np.full((4, 4, 4, 12), 9, np.uint8)
    assert "12 labels; say data.axes: hwcn" in refusal(tmp_path, hwcn, np.arange(12))
    assert len(npz(tmp_path, hwn, np.arange(12) % 2, axes="hwn")) == 12
    assert len(npz(tmp_path, np.full((28, 28, 1000), 9, np.uint8), np.arange(28) % 2)) == 28


@pytest.mark.parametrize("axes", ["nchn", "xyz", "hw", "", "nchwt"])
def test_axes_that_are_none(axes: str) -> None:
    with pytest.raises(UserError, match=r"data\.axes: .* names no axes; write n \(images\)"):
        DataSpec(source="npz", path="x", axes=axes)


def test_axes_of_another_number(tmp_path: Path) -> None:
    words = "has shape (5, 3, 6, 4), and data.axes: nhw has 3 letters; name its 4 axes"
    assert words in refusal(tmp_path, STACK, axes="nhw")


# --- channels -------------------------------------------------------------------------------------


def test_channels_mean_the_same_for_every_source(tmp_path: Path) -> None:
    from PIL import Image

    colour = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    grey = npz(tmp_path, colour, channels=1)
    assert grey.shape == (1, 5, 6)
    for pixels, found in zip(colour, grey.pixels, strict=True):
        luma = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
        assert np.array_equal(found[0], np.asarray(luma))
    back = npz(tmp_path, grey.pixels, channels=3)
    assert back.shape == (3, 5, 6)
    assert all(np.array_equal(back.pixels[:, c], grey.pixels[:, 0]) for c in range(3))
    assert load_source(DataSpec(channels=3)).shape == (3, 8, 8)
    floats = npz(tmp_path, (colour / 127.5 - 1).astype(np.float32), channels=1)
    assert np.abs(floats.take(range(4)).numpy() - grey.take(range(4)).numpy()).max() < 0.005
    assert npz(tmp_path, colour).shape == (3, 5, 6)


def test_channels_of_pictures_with_four(tmp_path: Path) -> None:
    words = "a has 4 channels, which are neither grey (1) nor colour (3)"
    assert words in refusal(tmp_path, np.full((2, 4, 9, 9), 7, np.uint8), channels=3)


# --- archives -------------------------------------------------------------------------------------


def test_an_archive_that_is_written_otherwise(tmp_path: Path) -> None:
    for order in ("C", "F"):
        for kind in ("<f4", ">f4", "<f8"):
            signed = np.array(STACK / 127.5 - 1, dtype=kind, order=order)
            assert np.allclose(npz(tmp_path, signed).pixels, STACK / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("name", ["a.zip", "a.npz"])
def test_a_zip_of_something_else(tmp_path: Path, name: str) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("cat.png", b"x")
    with pytest.raises(UserError, match=r"holds cat\.png; save the pixels as an array `images`"):
        load_source(DataSpec(source="npz", path=str(tmp_path / name)))
