"""Pictures come out as a viewer shows them, or are refused by name."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peer.data import DataSpec, Images, load_source
from peer.data.formats.pictures import LARGEST
from topology.errors import InputNote, UserError


def folder(path: Path, **keys: Any) -> Images:
    return load_source(DataSpec(source="folder", path=str(path), partition="all", **keys))


def grey(path: Path, **keys: Any) -> list[int]:
    return folder(path, channels=1, **keys).pixels.ravel().tolist()


def colours(path: Path, **keys: Any) -> list[list[int]]:
    """Pixels (r, g, b), row by row."""
    return folder(path, **keys).pixels[0].transpose(1, 2, 0).reshape(-1, 3).tolist()


def refusal(path: Path, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        folder(path, **keys)
    message = str(caught.value)
    assert message.startswith("data.")
    assert "\n" not in message
    return message


SIXTEEN = np.array([[0, 257 * 64, 257 * 128, 65535]], dtype=np.uint16)


# --- deep grey ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_by_their_whole_range(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(SIXTEEN).save(tmp_path / f"x.{suffix}")
    assert grey(tmp_path) == [0, 64, 128, 255]
    assert colours(tmp_path) == [[v] * 3 for v in (0, 64, 128, 255)]


def test_sixteen_bits_in_the_other_order_of_bytes(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (4, 1), SIXTEEN.astype(">u2").tobytes())
    image.save(tmp_path / "x.tif")
    assert grey(tmp_path) == [0, 64, 128, 255]


def test_grey_maps_whose_white_is_not_a_power_of_two(tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P5 3 1 1000\n" + np.array([0, 500, 1000], ">u2").tobytes())
    assert grey(tmp_path) == [0, 128, 255]
    (tmp_path / "x.pgm").write_bytes(b"P2 3 1 7\n0 3 7\n")
    assert grey(tmp_path) == [0, 109, 255]


def test_a_picture_that_uses_little_of_its_range_stays_dark(tmp_path: Path) -> None:
    """As a viewer shows it; brightness compares from picture to picture."""
    Image.fromarray(SIXTEEN // 16).save(tmp_path / "x.png")
    assert grey(tmp_path) == [0, 4, 8, 16]


def test_floats_from_0_to_1_are_black_to_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.25, 0.5, 1]], np.float32)).save(tmp_path / "x.tif")
    assert grey(tmp_path) == [0, 64, 128, 255]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[0, 255]], np.float32), "floats, values from 0 to 255, where white is 1"),
        (np.array([[-1, 1]], np.float32), "floats, values from -1 to 1"),
        (np.array([[np.nan, 1]], np.float32), "floats, NaN"),
        (np.array([[0, np.inf]], np.float32), "floats, values from 0 to inf"),
        (np.array([[-1024, 3071]], np.int32), "32-bit or signed whole numbers (-1024 to 3071)"),
        (np.array([[0, 2**31 - 1]], np.int32), "32-bit or signed whole numbers"),
    ],
)
def test_what_has_no_white_is_refused_by_name(
    tmp_path: Path, values: np.ndarray, words: str
) -> None:
    Image.fromarray(values).save(tmp_path / "scan.tif")
    message = refusal(tmp_path)
    assert words in message
    assert "scan.tif" in message
    assert "save it as 8-bit or unsigned 16-bit grey" in message


# --- turned ---------------------------------------------------------------------------------------

UPRIGHT = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8)
STORED = {  # what a camera stores that a viewer shows as UPRIGHT
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT[::-1, ::-1].T,
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    keys = {"lossless": True} if suffix == "webp" else {}
    stored.save(tmp_path / f"x.{suffix}", exif=exif, **keys)
    found = folder(tmp_path, channels=1)
    assert found.pixels[0, 0].tolist() == UPRIGHT.tolist()


def test_deep_and_transparent_pictures_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(SIXTEEN).save(tmp_path / "x.png", exif=exif)
    assert grey(tmp_path) == [255, 128, 64, 0]
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    clear.save(tmp_path / "x.png", exif=exif)
    assert colours(tmp_path) == [[255, 255, 255], [255, 0, 0]]


def test_a_camera_that_says_nonsense_of_its_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(UPRIGHT).save(tmp_path / "x.png", exif=exif)
    assert folder(tmp_path, channels=1).pixels[0, 0].tolist() == UPRIGHT.tolist()


# --- transparent ----------------------------------------------------------------------------------


def palette(clear: int | bytes) -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 255, 0, 0, 255])
    image.putdata([0, 1])
    image.info["transparency"] = clear
    return image


def save_clear(path: Path, kind: str) -> None:
    """A pixel that hides a colour, and one that shows (0, 0, 255), or 0 of grey."""
    keys: dict[str, Any] = {}
    match kind:
        case "RGBA":
            image = Image.new("RGBA", (2, 1), (255, 0, 255, 0))
            image.putpixel((1, 0), (0, 0, 255, 255))
        case "LA":
            image = Image.new("LA", (2, 1), (77, 0))
            image.putpixel((1, 0), (0, 255))
        case "P":
            image, keys = palette(0), {"transparency": 0}
        case "P with alphas":
            image, keys = palette(b"\0\xff"), {"transparency": b"\0\xff"}
        case "RGB with tRNS":
            image, keys = Image.new("RGB", (2, 1), (9, 9, 9)), {"transparency": (9, 9, 9)}
            image.putpixel((1, 0), (0, 0, 255))
        case "L with tRNS":
            image, keys = Image.new("L", (2, 1), 77), {"transparency": 77}
            image.putpixel((1, 0), 0)
        case "I;16 with tRNS":
            image = Image.fromarray(np.array([[999, 0]], dtype=np.uint16))
            keys = {"transparency": 999}
    image.save(path, **keys)


@pytest.mark.parametrize("kind", ["RGBA", "P", "P with alphas", "RGB with tRNS"])
@pytest.mark.parametrize(
    ("background", "shown"),
    [(None, [255] * 3), ("white", [255] * 3), ("black", [0] * 3), ("#0a14Ff", [10, 20, 255])],
)
def test_what_is_transparent_shows_the_background(
    tmp_path: Path, kind: str, background: str | None, shown: list[int]
) -> None:
    save_clear(tmp_path / "x.png", kind)
    keys = {} if background is None else {"background": background}
    assert colours(tmp_path, **keys) == [shown, [0, 0, 255]]


@pytest.mark.parametrize("kind", ["LA", "L with tRNS", "I;16 with tRNS"])
def test_grey_that_is_transparent_shows_the_background(tmp_path: Path, kind: str) -> None:
    save_clear(tmp_path / "x.png", kind)
    assert grey(tmp_path) == [255, 0]
    assert grey(tmp_path, background="black") == [0, 0]


def test_half_transparent_is_half_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (0, 0, 0, 128)).save(tmp_path / "x.png")
    assert colours(tmp_path) == [[127, 127, 127]]


def test_opaque_pixels_keep_their_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "x.png")
    plain = folder(tmp_path).pixels
    image.convert("RGBA").save(tmp_path / "x.png")
    assert np.array_equal(folder(tmp_path).pixels, plain)


# --- modes ----------------------------------------------------------------------------------------


def test_cmyk_one_bit_palette_and_lab(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (2, 1))
    cmyk.putdata([(0, 0, 0, 0), (0, 255, 255, 0)])
    cmyk.save(tmp_path / "x.tif")
    assert colours(tmp_path) == [[255, 255, 255], [255, 0, 0]]
    bits = Image.new("1", (2, 1))
    bits.putdata([0, 255])
    bits.save(tmp_path / "x.tif")
    assert grey(tmp_path) == [0, 255]
    lab = Image.new("LAB", (2, 1), (255, 128, 128))
    lab.putpixel((1, 0), (0, 128, 128))
    lab.save(tmp_path / "x.tif")
    white, black = np.array(colours(tmp_path))
    assert white.min() >= 254
    assert black.max() <= 1
    (tmp_path / "x.tif").unlink()
    palette(0).save(tmp_path / "x.bmp")
    assert colours(tmp_path) == [[255, 0, 255], [0, 0, 255]]
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "x.jpg")
    (tmp_path / "x.bmp").unlink()
    assert colours(tmp_path) == [[255, 255, 255]] * 64


def test_sixteen_bit_colour_keeps_its_high_bytes(tmp_path: Path) -> None:
    header = b"P6 1 1 65535\n" + np.array([65535, 257 * 100, 0], ">u2").tobytes()
    (tmp_path / "x.ppm").write_bytes(header)
    assert colours(tmp_path) == [[255, 100, 0]]


# --- frames and pages -----------------------------------------------------------------------------


def test_of_several_frames_the_first_is_read_and_it_is_said_once(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    for name in ("a.gif", "b.tif", "c.webp"):
        keys = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **keys)
    with pytest.warns(InputNote) as said:
        assert grey(tmp_path) == [10] * 48
    assert len(said) == 1
    line = str(said[0].message)
    assert "3 files (a.gif...) with several frames or pages; the first of each is read" in line


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty (read are JPEG, PNG"),
        (b"no picture at all", "the file begins like none that is known"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "the file begins like none",
        ),
    ],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert f"x.png is no image that can be read: {words}" in refusal(tmp_path)


@pytest.mark.parametrize("form", ["png", "jpg", "gif", "tif", "webp", "bmp"])
def test_a_picture_cut_anywhere_is_a_picture_or_a_line(tmp_path: Path, form: str) -> None:
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    kinds = {"jpg": "jpeg", "tif": "tiff"}
    Image.fromarray(pixels).save(out, format=kinds.get(form, form))
    whole = out.getvalue()
    for length in range(0, len(whole) - 2, max(1, len(whole) // 40)):
        (tmp_path / f"x.{form}").write_bytes(whole[:length])
        if length < len(whole) // 2:
            assert f"x.{form} is no image that can be read: " in refusal(tmp_path)


def test_a_picture_of_192_megapixels_is_one_line(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.new("1", (16000, 12000)).save(tmp_path / "map.png")
    message = refusal(tmp_path, size=8)
    assert "map.png" in message
    assert f"more than {LARGEST >> 20} million pixels; scale it down" in message


def test_a_phones_108_megapixels_are_read(tmp_path: Path) -> None:
    Image.new("1", (12000, 9000), 255).save(tmp_path / "phone.png")
    assert grey(tmp_path, size=2) == [255] * 4


@pytest.mark.parametrize("given", ["pink", "#12345", "rgb(1,2,3)", ""])
def test_backgrounds_that_are_none(given: str) -> None:
    with pytest.raises(UserError, match="is no colour; say white, black or '#rrggbb'"):
        DataSpec(source="folder", path="x", background=given)


def test_a_colour_that_yaml_takes_for_a_comment() -> None:
    with pytest.raises(UserError, match=r"data\.background: is empty; put quotes around '#rrggbb'"):
        DataSpec(source="folder", path="x", background=None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiffs_whose_least_value_is_white(tmp_path: Path, dtype: type) -> None:
    """As scanners and X-ray machines write them: PhotometricInterpretation 0."""
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    Image.fromarray(np.array([[0, white]], dtype)).save(tmp_path / "x.tif")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    tag = content.index(bytes([6, 1, 3, 0, 1, 0, 0, 0]))
    content[tag + 8] = 0  # from 1: the least value is black
    (tmp_path / "x.tif").write_bytes(bytes(content))
    assert grey(tmp_path) == [255, 0]


def test_only_pictures_have_a_background() -> None:
    with pytest.raises(UserError, match=r"data\.background: source npz takes no notice of it"):
        DataSpec(source="npz", path="x", background="black")
