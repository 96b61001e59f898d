"""A page that draws new pictures in the visitor's browser, with the generator inside.

The page is one file and fetches nothing; its own content policy forbids it. The script is ours and
short (``draw.js`` computes, ``page.js`` shows), the weights are base64 of float32, or of float16.
"""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from string import Template
from typing import Any

import torch
from torch import nn

from sim.export.operations import Operations, operations_of

REACH = 6
"""How far the sliders go: z's own numbers scatter by 1 around 0 in each direction."""

Shape = tuple[int, int, int]


def write_page(
    generator: nn.Module,
    z_dim: int,
    shape: Shape,
    *,
    title: str,
    subtitle: str,
    half: bool = False,
) -> str:
    """The page's HTML.

    Args:
        generator: z (batch, z_dim) to images (batch, *shape) in [-1, 1]; of 1, 3 or 4 channels.
        z_dim: how many numbers it starts from.
        shape: channels, height and width of an image.
        title, subtitle: plain text.
        half: whether the layers' weights are kept as float16, half as large.

    Raises:
        UserError: the generator does something that the page's script does not know.
    """
    found = operations_of(generator, z_dim)
    model = {
        "z": z_dim,
        "shape": list(shape),
        "steps": found.steps,
        "sizes": found.sizes,
        "result": found.result,
        "directions": directions(found, z_dim),
        "tensors": [_encoded(tensor, half) for tensor in found.tensors],
    }
    here = resources.files("sim.export")
    return Template(here.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        reach=REACH,
        model=json.dumps(model).replace("<", "\\u003c"),
        draw=here.joinpath("draw.js").read_text(encoding="utf-8"),
        page=here.joinpath("page.js").read_text(encoding="utf-8"),
    )


def directions(found: Operations, z_dim: int) -> list[list[float]]:
    """Two directions of z, of length 1, that change what the first layer says most.

    They are the first right singular vectors of that layer's weight. Source: Shen, Zhou 2021
    (arXiv:2007.06600), closed-form factorisation. Without such a layer: z's first two numbers.
    """
    matrix = torch.eye(z_dim, dtype=torch.float64)
    first = next((step for step in found.steps if 0 in step["in"]), None)
    if first is not None and first["op"] in ("linear", "transposed"):
        weight = found.tensors[first["weight"]].double()
        matrix = weight if first["op"] == "linear" else weight.flatten(1).T  # (out, z_dim)
    rows = torch.linalg.svd(matrix, full_matrices=False).Vh[:2]
    signed = rows * rows.sum(1, keepdim=True).sign()  # a vector and its opposite are one answer
    padded = [[round(x, 6) for x in row] for row in signed.tolist()]
    return padded + [[0.0] * z_dim] * (2 - len(padded))


def half_error(generator: nn.Module, z: torch.Tensor) -> float:
    """The largest difference that the page's float16 makes to an image's values, on these z."""
    halved = {name: _rounded(value) for name, value in generator.state_dict().items()}
    with torch.no_grad():
        rounded = torch.func.functional_call(generator, halved, (z,))
        return float((rounded - generator(z)).abs().max())


def _is_large(tensor: torch.Tensor) -> bool:
    """Weights of layers. Biases and batch norm are few numbers, and stay float32."""
    return tensor.dim() > 1


def _rounded(value: torch.Tensor) -> torch.Tensor:
    return value.half().float() if _is_large(value) else value


def _encoded(tensor: torch.Tensor, half: bool) -> dict[str, Any]:
    small = half and _is_large(tensor)
    values = tensor.numpy().astype("<f2" if small else "<f4").tobytes()
    return {"half": small, "values": base64.b64encode(values).decode()}
