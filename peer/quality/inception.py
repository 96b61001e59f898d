"""FID and KID: the same two formulas on the 2,048 features of the Inception net of 2015.

The net's architecture is torch-fidelity's (the extra ``fid``), whose features equal those of the
original TensorFlow graph; the weights come from a local safetensors file, and nothing is
downloaded. The official weights are a pickle, which is not read here: docs/reference/measures.md
has the line that converts it, once.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from topology.errors import UserError

FEATURES = 2048
_CHUNK = 32


class Inception:
    """The Inception net with weights from ``path``.

    Args:
        path: a safetensors file of the net's state dict.
        device: where it computes.
        key: what named the file, for messages.

    Raises:
        UserError: torch-fidelity is not there, or ``path`` holds no such net.
    """

    def __init__(self, path: Path, device: str = "cpu", key: str = "--inception") -> None:
        self._device = torch.device(device)
        self._net = _load(_empty_net(key), path, key).to(self._device)

    def features(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """Features (n, 2048) of ``images`` (n, c, h, w) in [-1, 1], c 1 or 3.

        Grey is repeated thrice, values are rounded to 256 levels, and the net resizes to 299 as
        the TensorFlow graph did. Where a value of an image is not finite, its features are NaN.
        """
        found = np.empty((len(images), FEATURES))
        with torch.no_grad():
            for start in range(0, len(images), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                pixels = as_bytes(images[chunk]).to(self._device)
                found[chunk] = self._net(pixels)[0].to(torch.float64).cpu().numpy()
        found[~images.isfinite().flatten(1).all(dim=1).numpy()] = np.nan
        return found


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """Images (n, 1 or 3, h, w) in [-1, 1] as uint8 (n, 3, h, w)."""
    scaled = images.nan_to_num(nan=0.0).clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return scaled.expand(-1, 3, -1, -1).contiguous()


def _empty_net(key: str) -> nn.Module:
    """torch-fidelity's net without memory for its weights."""
    try:
        name = "torch_fidelity.feature_extractor_inceptionv3"
        architecture: Any = importlib.import_module(name).FeatureExtractorInceptionV3
    except (ImportError, OSError, RuntimeError) as problem:  # or of another torch
        raise UserError(
            f"{key} needs torch-fidelity, which cannot be imported ({problem}): "
            "pip install 'hearsay[fid]'"
        ) from None

    # Its constructor loads a pickle. It gets an empty one, made here and now, and loads nothing.
    class Unloaded(architecture):  # type: ignore[misc]
        def load_state_dict(
            self, state_dict: Any, strict: bool = True, assign: bool = False
        ) -> Any:
            return super().load_state_dict(state_dict, strict and bool(state_dict), assign)

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        return Unloaded(
            "inception-v3-compat", [str(FEATURES)], feature_extractor_weights_path=nothing
        )


def _load(net: nn.Module, path: Path, key: str) -> nn.Module:
    """Fill ``net`` from the safetensors file at ``path``, which must have its keys and shapes."""
    if not path.is_file():
        raise UserError(f"{key} {path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            _check(net, shapes, f"{key} {path}")
            tensors = {key: file.get_tensor(key).to(torch.float32) for key in _needed(net)}
    except (OSError, SafetensorError) as problem:
        raise UserError(
            f"{key} {path}: not a safetensors file ({problem}); "
            "docs/reference/measures.md says how to convert the official .pth"
        ) from None
    # Counters of batches, which older files lack, play no part in evaluation.
    counters = {key: torch.zeros((), dtype=torch.int64) for key in net.state_dict()}
    net.load_state_dict(counters | tensors, assign=True)
    return net.eval().requires_grad_(False)


def _needed(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of everything that evaluation needs, by name."""
    state = net.state_dict().items()
    return {k: tuple(of.shape) for k, of in state if not k.endswith("num_batches_tracked")}


def _check(net: nn.Module, shapes: dict[str, tuple[int, ...]], where: str) -> None:
    """Refuse a file of something else, by the first tensor that is not as it should be."""
    for key, shape in _needed(net).items():
        if shapes.get(key) != shape:
            found = f"has shape {shapes[key]}" if key in shapes else "is missing"
            raise UserError(
                f"{where}: not the weights of the FID Inception net: tensor '{key}' "
                f"{found}; it must have shape {shape}"
            )
