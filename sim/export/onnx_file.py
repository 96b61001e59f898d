"""A generator as ONNX, for whatever runs that: phones, game engines, other languages."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from topology.errors import UserError
from topology.names import first_line

_NEEDED = ("onnx", "onnxscript")


def write_onnx(generator: nn.Module, z_dim: int, path: Path) -> None:
    """Write ``generator`` in evaluation mode: input ``z`` (batch, z_dim), output ``images``.

    The weights are inside the file, the batch is of any size.

    Raises:
        UserError: the extra ``onnx`` is missing, or the generator cannot be exported.
        OSError: the file cannot be written.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise UserError(
            "sim export: ONNX needs the packages onnx and onnxscript; pip install 'hearsay[onnx]', "
            "or write a page with --html, which needs nothing"
        )
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of libraries that play no part here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own code
            program = torch.onnx.export(
                generator,
                (torch.zeros(2, z_dim),),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=["z"],
                output_names=["images"],
                verbose=False,
            )
    except Exception as problem:  # the exporter has many ways of saying no
        raise UserError(
            f"sim export: this generator cannot be written as ONNX: {first_line(problem)}"
        ) from None
    assert program is not None
    program.save(path, external_data=False)
