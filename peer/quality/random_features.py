"""Features of a fixed net that nobody trained: the same numbers at every peer, from a seed alone.

What a convolutional net with random weights sees of an image is enough to tell distributions of
images apart (Ulyanov, Vedaldi and Lempitsky 2018, arXiv:1711.10925, of its prior; Naeem et al.
2020, arXiv:2002.09797, of random embeddings as an evaluation's features). The Fréchet distance on
these features is called RFD. It is no FID and no CFID, and its values compare with those of the
same images' size and channels alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from peer.streams import stream

FEATURES = 256
CHANNELS = (32, 64, 128)
"""Of the three convolutions; the last one's mean and maximum over the map are the features."""

_SLOPE = 0.2
_CHUNK = 512


class RandomFeatures:
    """The net for images of ``channels`` channels, whatever their size.

    Three 3 x 3 convolutions of stride 2 with leaky ReLU 0.2, their kernels orthogonal and drawn
    from the stream (0, "random features"). Each layer's input is scaled so that images of
    independent pixels in [-1, 1] keep unit variance; so the scale does not depend on any image.
    """

    measure = "rfd"
    dimension = FEATURES

    def __init__(self, channels: int) -> None:
        source = stream(0, "random features", channels)
        self._kernels = []
        inputs = channels
        for outputs in CHANNELS:
            draws = torch.from_numpy(source.standard_normal((outputs, inputs * 9)))
            self._kernels.append(_orthogonal(draws).reshape(outputs, inputs, 3, 3).float())
            inputs = outputs

    def __call__(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """Features (n, 256) of ``images`` (n, c, h, w) in [-1, 1]; NaN where an image is not."""
        found = np.empty((len(images), FEATURES))
        with torch.no_grad():
            for start in range(0, len(images), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                x = images[chunk].to("cpu", torch.float32)
                for kernel in self._kernels:
                    x = functional.leaky_relu(functional.conv2d(x, kernel, None, 2, 1), _SLOPE)
                flat = x.flatten(2)  # (n, 128, pixels of the map)
                found[chunk] = torch.cat((flat.mean(2), flat.amax(2)), 1).numpy()
        return found


@cache
def random_features(channels: int) -> RandomFeatures:
    """The same object for the same ``channels``."""
    return RandomFeatures(channels)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Rows (or columns, where they are fewer) that are orthogonal, each output of unit variance.

    The gain undoes what the leaky ReLU takes: sqrt(2 / (1 + 0.2^2)).
    """
    rows, columns = matrix.shape
    tall = matrix if rows >= columns else matrix.T
    q, r = torch.linalg.qr(tall)
    q = q * r.diagonal().sign()  # unique, whatever the library's convention of signs
    q = q if rows >= columns else q.T
    scale = (rows / columns) ** 0.5 if rows > columns else 1.0
    gain = scale * (2 / (1 + _SLOPE**2)) ** 0.5
    return torch.as_tensor(q * gain)
