"""A strip of pictures fits a STATUS, whatever is drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from peer.net.status.account import Picture
from peer.telling.strip import strip


def noise(channels: int, side: int) -> torch.Tensor:
    draw = np.random.default_rng(0).uniform(-1, 1, (16, channels, side, side))
    return torch.from_numpy(draw.astype(np.float32))


@pytest.mark.parametrize("side", [8, 28, 64, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_fits_and_is_read(channels: int, side: int) -> None:
    png = strip(noise(channels, side))
    assert Picture.from_bytes(Picture(10**9, png).to_bytes()).png == png
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert abs(image.width - 2 * image.height) <= 1


def test_small_images_are_as_they_were_drawn() -> None:
    images = torch.full((16, 1, 8, 8), -1.0)
    images[5] = 1.0  # the second of the second row
    with Image.open(io.BytesIO(strip(images))) as image:
        found = np.asarray(image.convert("L"))
    wanted = np.zeros((16, 32), np.uint8)
    wanted[8:, 8:16] = 255
    np.testing.assert_array_equal(found, wanted)


def test_what_is_not_a_number_is_grey() -> None:
    with Image.open(io.BytesIO(strip(torch.full((8, 3, 8, 8), torch.nan)))) as image:
        assert set(np.asarray(image.convert("L")).ravel()) == {128}
