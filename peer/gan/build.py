"""From the experiment's ``gan:`` to a generator and a discriminator, checked before training."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peer.gan.arena import Arena, Layout
from peer.gan.conditional import conditional_pair
from peer.gan.models import MODELS
from peer.gan.models.shapes import Shape
from peer.gan.net_name import Role
from peer.gan.unet_losses import as_pixel_judge
from peer.streams import stream, torch_seeded
from topology.errors import UserError
from topology.names import suggestion
from topology.settings import like_default


@dataclass(frozen=True)
class Gan:
    """A generator and a discriminator that fit each other and the data.

    Attributes:
        generator: z (batch, z_dim) to images (batch, c, h, w) in [-1, 1].
        discriminator: images to logits (batch, 1).
        z_dim: how many numbers the generator starts from.
        draws: whether either module draws random numbers while training, as dropout does. Then it
            runs with torch's generator set from the peer's own stream.
        shape: of an image: channels, height, width.
        classes: of a conditional pair (:mod:`peer.gan.conditional`): G is told one by its last
            ``classes`` inputs, D beside an image; 0 where there are none.
    """

    generator: nn.Module
    discriminator: nn.Module
    z_dim: int
    draws: bool
    shape: Shape
    classes: int = 0

    @property
    def inputs(self) -> int:
        """How many numbers the generator takes: those of z, and of a one-hot class."""
        return self.z_dim + self.classes

    @property
    def modules(self) -> dict[Role, nn.Module]:
        """Both modules, by role."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    @cached_property
    def layouts(self) -> dict[Role, Layout]:
        """How the arena of each net is laid out, by role."""
        return {role: Layout.of(module) for role, module in self.modules.items()}

    @cached_property
    def arenas(self) -> dict[Role, Arena]:
        """Both nets with their initial values, by role; every peer copies them."""
        return {
            role: Arena(self.modules[role], torch.zeros(layout.length), layout)
            for role, layout in self.layouts.items()
        }

    @cached_property
    def judges_pixels(self) -> bool:
        """Whether the discriminator judges pixels too: its losses mix images, by uniforms."""
        return as_pixel_judge(self.discriminator) is not None


def make_gan(
    name: str,
    settings: Mapping[str, Any],
    sample_shape: Shape,
    *,
    seed: int,
    owner: int | None = None,
    folder: Path | None = None,
    classes: int = 0,
    embedding: int = 16,
) -> Gan:
    """Make the GAN called ``name``.

    Args:
        name: a key of ``MODELS``, or ``module:factory``.
        settings: keyword arguments of its factory.
        sample_shape: an image's channels, height, width.
        seed: of the initial weights, which are equal at all peers.
        owner: a peer whose initial weights differ from the others'; None for equal ones.
        folder: where a user's module is looked for first.
        classes: that the nets are told; 0 for nets without classes.
        embedding: how many numbers a class is to G.

    Raises:
        UserError: an unknown model or setting, a factory that cannot be imported, or modules whose
            shapes do not fit ``sample_shape``.
    """
    source = stream(seed, "init") if owner is None else stream(seed, owner, "init")
    factory = MODELS.get(name) or _import_factory(name, folder)
    settings = _of_their_kinds(factory, settings)
    z_dim = 0
    with torch_seeded(int(source.integers(2**63))):
        try:
            if classes:
                pair, z_dim = conditional_pair(
                    name, factory, settings, sample_shape, classes, embedding
                )
            else:
                pair = factory(sample_shape, **settings)
        except (TypeError, ValueError, RuntimeError) as problem:  # an unknown one, width: -1...
            raise UserError(
                f"gan: '{name}' cannot be built with these settings: {_first_line(problem)}"
            ) from None
        generator, discriminator = _pair(name, pair)
        z_dim = z_dim or int(settings.get("z", 0)) or _z_dim(generator)
        draws = _check(name, generator, discriminator, z_dim + classes, sample_shape)
    return Gan(generator, discriminator, z_dim, draws, sample_shape, classes)


def _of_their_kinds(factory: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each a number where the factory's own default is one."""
    try:
        known = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a factory that does not say
        return dict(settings)
    return {
        key: like_default(f"gan.{key}", value, known[key].default) if key in known else value
        for key, value in settings.items()
    }


def _import_factory(name: str, folder: Path | None) -> Any:
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise UserError(
            f"gan: there is no model '{name}'{suggestion(name, MODELS)} "
            f"(models: {', '.join(MODELS)}; or name your own as module:factory)"
        )
    return import_attribute("gan", module_name, attribute, folder)


def import_attribute(key: str, module_name: str, attribute: str, folder: Path | None) -> Any:
    """``attribute`` of a user's module, looked for in ``folder`` first.

    Raises:
        UserError: the module cannot be imported or has no such attribute.
    """
    place = str(folder.resolve() if folder else Path.cwd())
    sys.path.insert(0, place)
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:
        raise UserError(
            f"{key}: cannot import '{module_name}' (from {place} or the Python path): {problem}"
        ) from None
    finally:
        sys.path.remove(place)
    if not hasattr(module, attribute):
        raise UserError(f"{key}: module '{module_name}' has nothing called '{attribute}'")
    return getattr(module, attribute)


def _pair(name: str, pair: Any) -> tuple[nn.Module, nn.Module]:
    match pair:
        case (nn.Module() as generator, nn.Module() as discriminator):
            return generator, discriminator
    raise UserError(
        f"gan: '{name}' must return (generator, discriminator), two torch.nn.Modules, "
        f"not {type(pair).__name__}"
    )


def _z_dim(generator: nn.Module) -> int:
    """The module's own ``z_dim``, or the width that its first layer takes, or 100."""
    declared = getattr(generator, "z_dim", None)
    if isinstance(declared, int):
        return declared
    for module in generator.modules():
        if isinstance(module, nn.Linear):
            return module.in_features
        if isinstance(module, nn.ConvTranspose2d):
            return module.in_channels
    return 100


def _check(
    name: str, generator: nn.Module, discriminator: nn.Module, z_dim: int, shape: Shape
) -> bool:
    """Push two samples through both nets and check all shapes; returns whether a module draws."""
    for part, module in (("generator", generator), ("discriminator", discriminator)):
        for parameter_name, tensor in module.named_parameters():
            if tensor.dtype != torch.float32:
                raise UserError(
                    f"gan: '{name}': the {part}'s parameter {parameter_name} is {tensor.dtype}; "
                    "hearsay's nets are float32"
                )
    z = torch.zeros(2, z_dim)
    before = torch.get_rng_state()
    with torch.no_grad():
        images = _push(name, "generator", generator, z)
        if tuple(images.shape) != (2, *shape):
            raise UserError(
                f"gan: '{name}': the generator turns z (2, {z_dim}) into {tuple(images.shape)}; "
                f"these data need (2, {', '.join(map(str, shape))})"
            )
        logits = _push(name, "discriminator", discriminator, torch.zeros(2, *shape))
    if logits.shape[0] != 2 or logits.numel() != 2:
        raise UserError(
            f"gan: '{name}': the discriminator turns images (2, {', '.join(map(str, shape))}) into "
            f"{tuple(logits.shape)}; it must give one logit an image, (2, 1)"
        )
    _check_pixels(name, discriminator, shape)
    _reset_statistics(generator)
    _reset_statistics(discriminator)
    return not torch.equal(before, torch.get_rng_state())


def _check_pixels(name: str, discriminator: nn.Module, shape: Shape) -> None:
    """Where a discriminator judges pixels too, its verdicts and settings must be usable."""
    judge = as_pixel_judge(discriminator)
    if judge is None:
        return
    x = torch.zeros(2, *shape)
    try:
        with torch.no_grad():
            shapes = [tuple(verdict.shape) for verdict in judge.forward_pixels(x)]
    except Exception as problem:
        raise UserError(
            f"gan: '{name}': forward_pixels fails on an input of shape {tuple(x.shape)}: "
            f"{_first_line(problem)}"
        ) from None
    wanted = [(2, 1), (2, 1, *shape[1:])]
    if shapes != wanted:
        raise UserError(
            f"gan: '{name}': forward_pixels turns images {tuple(x.shape)} into "
            f"{', '.join(map(str, shapes))}; it must give {wanted[0]}, {wanted[1]}"
        )
    if not (isinstance(judge.mix, int | float) and 0 <= judge.mix <= 1):
        raise UserError(f"gan.mix: a share from 0 to 1, not {judge.mix}")
    if not (isinstance(judge.consistency, int | float) and judge.consistency >= 0):
        raise UserError(f"gan.consistency: a weight of 0 or more, not {judge.consistency}")


def _push(name: str, part: str, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    try:
        out = module(x)
    except Exception as problem:
        raise UserError(
            f"gan: '{name}': the {part} fails on an input of shape {tuple(x.shape)}: "
            f"{_first_line(problem)}"
        ) from None
    if not isinstance(out, torch.Tensor):
        raise UserError(f"gan: '{name}': the {part} returns {type(out).__name__}, not a tensor")
    return out


def _first_line(problem: Exception) -> str:
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__


def _reset_statistics(module: nn.Module) -> None:
    """Reset batch-norm statistics, which the check has changed."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase):
            part.reset_running_stats()
