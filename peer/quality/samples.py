"""Images from the generators that a run left behind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from peer.gan import Gan
from peer.gan.draw import draw
from peer.state.checkpoint import load_generator
from peer.streams import stream
from topology.errors import UserError


def load_generators(files: Mapping[int, Path], gan: Gan) -> dict[int, nn.Module]:
    """The generators in ``files`` (safetensors, by peer), each a copy of ``gan``'s.

    Raises:
        UserError: a file is damaged, or of another model than the experiment's.
    """
    generators = {}
    for k, path in sorted(files.items()):
        module = copy.deepcopy(gan.generator)
        try:
            load_generator(module, path)
        except (OSError, SafetensorError) as problem:
            raise UserError(f"{path}: cannot be read: {problem}") from None
        except RuntimeError:
            raise UserError(f"{path}: is not a generator of the experiment's gan") from None
        generators[k] = module
    return generators


def draw_samples(generator: nn.Module, z_dim: int, count: int, seed: int) -> torch.Tensor:
    """``count`` images (count, c, h, w) from ``generator``, as it would be used: in eval mode.

    z is standard normal and follows from ``seed`` alone: every peer of an experiment starts from
    the same z, so that what differs between their samples is the generators. Batch norm uses its
    running statistics; a module that draws random numbers of its own draws from ``seed`` too. The
    generator's mode is left as it was.
    """
    z = stream(seed, "quality", "z").standard_normal((count, z_dim), dtype=np.float32)
    return draw(generator, torch.from_numpy(z), seed)
