"""Inception features from a local file: what FID and KID proper are made of (extra ``fid``).

The network is torch-fidelity's; its weights come from a ``.safetensors`` file, so that nothing is
unpickled. Whoever has the official ``.pth`` converts it once, where they trust it; the README has
the line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from topology.errors import UserError

FEATURES = 2048
_CHUNK = 32


class Inception:
    """The pool3 features of the Inception network of 2015.

    Args:
        file: its weights, ``.safetensors``.

    Raises:
        UserError: the extra is not installed, or the file is missing or of another kind.
    """

    def __init__(self, file: Path) -> None:
        try:
            from torch_fidelity import feature_extractor_inceptionv3 as module
        except ImportError:
            raise UserError(
                "--inception needs the package torch-fidelity; pip install 'hearsay[fid]'"
            ) from None
        weights = _read(file)
        # Without a path it fetches its weights from the network: here, from our file.
        with mock.patch.object(module, "load_state_dict_from_url", return_value=weights):
            try:
                self._net: Any = module.FeatureExtractorInceptionV3("inception", [str(FEATURES)])
            except RuntimeError as problem:
                wrong = " ".join(str(problem).split(":", 1)[-1].split())[:120]
                raise UserError(
                    f"--inception {file}: holds other weights than Inception's: {wrong}..."
                ) from None

    def features(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """(n, 2048) of images (n, c, h, w) in [-1, 1]; grey ones count three times."""
        rows = []
        with torch.no_grad():
            for start in range(0, len(images), _CHUNK):
                part = images[start : start + _CHUNK]
                colour = part.expand(-1, 3, -1, -1) if part.shape[1] == 1 else part[:, :3]
                bytes_ = ((colour + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
                rows.append(self._net(bytes_)[0].cpu().numpy().astype(np.float64))
        return np.concatenate(rows)


def _read(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise UserError(f"--inception {file}: there is no such file")
    if file.suffix != ".safetensors":
        raise UserError(
            f"--inception {file}: must be a .safetensors file; "
            "the README says how to convert the official one"
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError) as problem:
        raise UserError(f"--inception {file}: cannot be read: {problem}") from None
