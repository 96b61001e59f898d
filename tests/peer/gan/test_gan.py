"""The models' sizes, the losses' values, the arena's layout, the optimizers that are let in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from peer.gan import LOSSES, OPTIMIZERS, Arena, Layout, make_gan, make_optimizer
from peer.state.checkpoint import save_generator
from topology import UserError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "shape", "generator", "discriminator"),
    [
        ("mlp-digits", {}, (1, 8, 8), 28_992, 24_961),
        ("mlpgan", {}, (1, 28, 28), 1_486_352, 1_460_225),
        ("dcgan28", {}, (1, 28, 28), 759_680, 138_624),
        ("dcgan28", {"width": 32}, (1, 28, 28), 347_072, 36_544),
    ],
)
def test_parameter_counts(
    name: str, settings: dict[str, int], shape: tuple[int, int, int], generator: int,
    discriminator: int,
) -> None:  # fmt: skip
    gan = make_gan(name, settings, shape, seed=0)
    assert (count(gan.generator), count(gan.discriminator)) == (generator, discriminator)
    assert Layout.of(gan.generator).parameter_count == generator
    images = gan.generator(torch.randn(3, gan.z_dim, generator=torch.Generator().manual_seed(1)))
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1


def test_initial_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (make_gan("mlp-digits", {}, (1, 8, 8), seed=s) for s in (3, 3, 4))
    own = make_gan("mlp-digits", {}, (1, 8, 8), seed=3, owner=1)
    weight = one.generator.get_parameter("0.weight")
    assert torch.equal(weight, same.generator.get_parameter("0.weight"))
    assert not torch.equal(weight, other.generator.get_parameter("0.weight"))
    assert not torch.equal(weight, own.generator.get_parameter("0.weight"))
    assert torch.equal(before, torch.get_rng_state())  # nobody else's draws have moved


def test_losses_at_hand_computed_logits() -> None:
    real, fake = torch.tensor([[0.0], [math.log(3)]]), torch.tensor([[0.0]])
    # sigma(0) = 1/2, sigma(ln 3) = 3/4
    bce = (math.log(2) + math.log(4 / 3)) / 2 + math.log(2)
    assert LOSSES["bce_ns"].discriminator(real, fake).item() == pytest.approx(bce)
    assert LOSSES["bce_ns"].generator(fake).item() == pytest.approx(math.log(2))
    assert LOSSES["bce_sat"].generator(fake).item() == pytest.approx(-math.log(2))
    two = torch.tensor([[2.0]])
    assert LOSSES["lsgan"].discriminator(two, two).item() == pytest.approx((1 + 4) / 2)
    assert LOSSES["lsgan"].generator(torch.tensor([[3.0]])).item() == pytest.approx(4)


def test_an_arena_is_the_module_and_every_slot_is_aligned() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    values = {name: p.detach().clone() for name, p in module.named_parameters()}
    layout = Layout.of(module)
    arena = Arena(module, torch.zeros(layout.length))
    module = arena.module  # type: ignore[assignment]
    assert [slot.offset % 16 for slot in layout.slots] == [0] * 6
    assert [slot.name for slot in layout.slots if not slot.trained] == [
        "1.running_mean",
        "1.running_var",
    ]
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, values[name])
    module(torch.randn(7, 3, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert arena.gradient.abs().sum() > 0
    arena.vector.fill_(2.0)
    assert module[0].weight.mean() == 2.0
    assert module[1].running_var.mean() == 2.0  # type: ignore[union-attr]


def test_a_copy_of_an_arena_has_its_values_and_no_memory_of_it() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    length = Layout.of(module).length
    arena = Arena(module, torch.zeros(length))
    arena.vector.mul_(2)
    arena.counters["1.num_batches_tracked"].fill_(7)
    copy = arena.copy(torch.zeros(length))
    assert torch.equal(copy.vector, arena.vector)
    assert copy.tensors().keys() == arena.tensors().keys() == module.state_dict().keys()
    arena.vector.zero_()
    arena.counters["1.num_batches_tracked"].zero_()
    assert copy.vector.any()
    assert copy.tensors()["1.num_batches_tracked"] == 7


def test_a_saved_generator_is_what_torch_would_save(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    arena = Arena(module, torch.zeros(Layout.of(module).length))
    for durable in (True, False):
        save_generator(arena.tensors(), tmp_path / "g.safetensors", durable=durable)
        assert (tmp_path / "g.safetensors").read_bytes() == save(module.state_dict())


def test_an_optimizer_moves_parameters_and_no_buffer() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    arena = Arena(module, torch.zeros(Layout.of(module).length))
    before = arena.vector.clone()
    arena.parameters.grad = torch.ones(arena.layout.trained)
    make_optimizer("sgd", {"lr": 0.5}, [arena.parameters]).step()
    trained = arena.layout.trained
    assert torch.allclose(arena.vector[:trained], before[:trained] - 0.5)
    assert torch.equal(arena.vector[trained:], before[trained:])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_steps_as_torchs_own(name: str) -> None:
    kind, implementation = OPTIMIZERS[name]
    start = torch.linspace(-1, 1, 33)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = make_optimizer(name, {"lr": 0.01}, [ours])
    torchs = getattr(torch.optim, kind.__name__)([theirs], lr=0.01, **implementation)
    assert isinstance(optimizer, type(torchs))
    for step in range(3):
        ours.grad = (ours * (step + 1)).detach()
        theirs.grad = (theirs * (step + 1)).detach()
        optimizer.step()
        torchs.step()
        assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start)
    assert ours.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["lbfgs", "adafactor", "muon"])
def test_optimizers_that_are_not_element_wise_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="not an element-wise optimizer"):
        make_optimizer(name, {}, [nn.Parameter(torch.zeros(4))])


def test_a_module_that_draws_is_noticed() -> None:
    assert make_gan("mlpgan", {}, (1, 8, 8), seed=0).draws
    assert not make_gan("mlpgan", {"dropout": 0.0}, (1, 8, 8), seed=0).draws
