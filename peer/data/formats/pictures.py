"""A picture's file as pixels, as a viewer shows it.

Every picture becomes 8-bit grey or RGB: turned upright (EXIF), laid on one background where it is
transparent, palettes, CMYK and Lab converted. Deep grey pictures are scaled from their type's whole
range: 0 to 65535 for 16 bits, 0 to 1 for floats; what has no such range (32-bit and signed whole
numbers, floats beyond 0 to 1) is refused, because clamping it would leave white or black. Colour
profiles are not applied, but for Lab. Of a file with several frames or pages, the first is read.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor, ImageOps, UnidentifiedImageError

from topology.errors import UserError
from topology.names import first_line

Pixels = NDArray[np.uint8]

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"),
    *(".jfif", ".pbm", ".pnm"),
)
"""What a picture's name ends in."""

LARGEST = 1 << 27
"""Pixels of a picture, at most: more than any camera's, and no more than half a GiB in memory."""

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "PPM", "TIFF", "JPEG2000", "AVIF")
"""Formats that are read, whatever a file's name: Pillow knows some that start other programs."""

_PHOTOMETRIC = 262
"""The tag of a TIFF that says what its values stand for."""

_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose 16-bit grey pictures Pillow may open as 32-bit ones."""


@dataclass(frozen=True)
class Look:
    """What pictures are made into.

    Attributes:
        channels: 1 for grey, 3 for colour.
        size: the side of the square that is cut from the middle and scaled; None: as they are.
        background: what shows through transparent pixels, `white`, `black` or `#rrggbb`.
    """

    channels: int = 3
    size: int | None = None
    background: str = "white"


def read_picture(stream: IO[bytes], where: str, look: Look) -> tuple[Pixels, int]:
    """The pixels (c, h, w) of the picture in a file, and how many frames or pages the file has.

    Raises:
        UserError: it is no picture, damaged, too large, or of a kind that has no white.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that plays no part here
            Image.init()
            known = [name for name in _FORMATS if name in Image.OPEN]  # builds of Pillow differ
            with Image.open(stream, formats=known) as image:
                return as_pixels(image, where, look), _frames(image)
    except UserError:
        raise
    except UnidentifiedImageError:
        what = "begins like none that is known" if stream.seek(0, io.SEEK_END) else "is empty"
        reason = f"the file {what} (read are {', '.join(_FORMATS[:6])}...)"
    except Image.DecompressionBombError:
        reason = f"it has more than {LARGEST >> 20} million pixels; scale it down"
    except Exception as problem:  # decoders of damaged files raise whatever they stumble over
        reason = first_line(problem)
    raise UserError(f"{where} is no image that can be read: {reason}")


def as_pixels(image: Image.Image, where: str, look: Look) -> Pixels:
    """The pixels (c, h, w) of an open picture.

    Raises:
        UserError: it is too large, or of a kind that has no white.
        Exception: whatever Pillow raises at a damaged picture.
    """
    if image.width * image.height > LARGEST:
        raise UserError(
            f"{where} is {image.width}x{image.height}, more than {LARGEST >> 20} million pixels; "
            "scale it down"
        )
    image.load()
    shallow = _as_eight_bits(image, where, look.background)
    upright = ImageOps.exif_transpose(shallow)
    plain = upright.convert("L" if look.channels == 1 else "RGB")
    if look.size is not None:
        plain = ImageOps.fit(plain, (look.size, look.size), Image.Resampling.BILINEAR)
    array = np.asarray(plain, dtype=np.uint8)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _as_eight_bits(image: Image.Image, where: str, background: str) -> Image.Image:
    """The picture in a mode that converts to grey and to RGB as a viewer would."""
    if image.mode == "F":
        grey = _from_floats(np.asarray(image, dtype=np.float64), where)
        return _with_exif(ImageOps.invert(grey) if _least_is_white(image) else grey, image)
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if image.mode == "I" and image.format not in _SIXTEEN_BITS:
            raise UserError(
                f"{where} holds 32-bit or signed whole numbers ({deep.min()} to {deep.max()}), "
                "which have no white of their own; save it as 8-bit or unsigned 16-bit grey"
            )
        grey = Image.fromarray(_scaled(deep.astype(np.int64), 65535))
        if _least_is_white(image):
            grey = ImageOps.invert(grey)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
        return _with_exif(_on_background(grey, background), image)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert found is not None  # a new picture, as it is not made in place
        return _with_exif(found, image)
    return _with_exif(_on_background(image, background), image)


def _least_is_white(image: Any) -> bool:
    """Whether a TIFF says that 0 is white, which Pillow heeds in 8 bits alone."""
    return bool(image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0)


def _on_background(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data and image.mode not in ("La", "RGBa"):
        return image
    premultiplied = {"La": "LA", "RGBa": "RGBA"}
    seen = image.convert(premultiplied.get(image.mode, "RGBA")).convert("RGBA")
    solid = Image.new("RGBA", image.size, (*ImageColor.getrgb(background)[:3], 255))
    return Image.alpha_composite(solid, seen).convert("RGB")


def _with_exif(made: Image.Image, image: Image.Image) -> Image.Image:
    """A picture made from another, to be turned as that one is."""
    if made is not image:
        exif = image.getexif()
        if 0x0112 in exif:
            turned = Image.Exif()
            turned[0x0112] = exif[0x0112]
            made.info = {"exif": turned.tobytes()}
    return made


def _from_floats(values: NDArray[np.float64], where: str) -> Image.Image:
    low, high = float(values.min()), float(values.max())  # NaN if there is one anywhere
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        found = "NaN" if np.isnan(low) else f"values from {low:.6g} to {high:.6g}"
        raise UserError(
            f"{where} holds floats, {found}, where white is 1 and black is 0; scale them to "
            "[0, 1], or save it as 8-bit or unsigned 16-bit grey"
        )
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _scaled(values: NDArray[np.int64], white: int) -> Pixels:
    """0 to ``white`` as 0 to 255, rounded to the nearest."""
    return ((np.clip(values, 0, white) * 255 + white // 2) // white).astype(np.uint8)


def _frames(image: Any) -> int:
    """How many frames or pages; a phone's picture with its own preview behind it (MPO) is one."""
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
