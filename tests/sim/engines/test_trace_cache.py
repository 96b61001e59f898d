"""Steps that are traced and replayed, against the same steps computed anew every time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import linear

import sim.engines.stacked
from peer.gan.samplewise import is_samplewise, of_both
from sim.engines.batched_linear import BatchedLinear
from sim.engines.inplace_pass import reuse_memory
from sim.engines.trace_cache import TraceCache
from tests.sim.engines.test_stacked import BATCH_NORM, DIFFUSION, SGD, assert_close, end
from tests.support.systems import PLAIN, keys_of

Tensors = dict[str, torch.Tensor]


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradient(parameters: Tensors, x: torch.Tensor) -> Tensors:
    """Of a small net's squared output, for every row of ``parameters``."""
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    leaves = {name: w.detach().requires_grad_() for name, w in parameters.items()}
    y = vmap(lambda w, x: functional_call(net, w, (x,)))(leaves, x)
    found = torch.autograd.grad(y.square().sum(), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def parameters(rows: int) -> Tensors:
    shapes = {"0.weight": (4, 5), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    return {name: draws(rows, *shape, seed=len(name)) for name, shape in shapes.items()}


def test_a_trace_is_replayed_on_other_values_and_not_on_other_shapes() -> None:
    traces, calls = TraceCache(), []

    def function(w: Tensors, x: torch.Tensor) -> Tensors:
        calls.append(len(x))
        return gradient(w, x)

    w = parameters(3)
    for seed in range(4):  # traced at the second, replayed thereafter
        x = draws(3, 7, 5, seed=seed)
        found = traces.call("net", function, w, x, trace=seed == 1)
        torch.testing.assert_close(found, gradient(w, x))
    assert calls == [3, 3]
    traces.call("net", function, parameters(2), draws(2, 7, 5))
    traces.call("another", function, w, draws(3, 7, 5))
    traces.call("net", function, w, draws(3, 5, 7).mT)  # the same shape, other strides
    assert calls == [3, 3, 2, 3, 3]


def test_what_cannot_be_traced_is_computed() -> None:
    def peeks(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum().item() > 0 else x

    traces = TraceCache()
    for sign in (1.0, -1.0):
        for _ in range(3):
            x = torch.full((3,), sign)
            assert torch.equal(traces.call("peeks", peeks, x, trace=True), peeks(x))


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 7, 5)])
@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "one input"])
def test_batched_linear_layers_are_linear_layers(shape: tuple[int, ...], shared: bool) -> None:
    w, b = draws(3, 4, 5).requires_grad_(), draws(3, 4, seed=1).requires_grad_()
    x = draws(*shape, seed=2) if shared else draws(3, *shape, seed=2)
    x.requires_grad_()

    def apply() -> tuple[torch.Tensor, ...]:
        y = vmap(linear, in_dims=(None if shared else 0, 0, 0))(x, w, b)
        return y, *torch.autograd.grad(y.sin().sum(), [x, w, b])

    with BatchedLinear():
        found = apply()
    torch.testing.assert_close(found, apply())


@pytest.mark.parametrize(
    "keys",
    [
        DIFFUSION,
        keys_of("oasis", rounds=4),
        PLAIN | BATCH_NORM | {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": 5}},
    ],
    ids=["diffusion", "oasis", "batch-norm"],
)
def test_a_run_of_traced_steps_equals_one_of_steps_that_are_not(
    keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed: list[Any] = []
    call = TraceCache.call

    def counting(self: TraceCache, key: Any, function: Any, *args: Any, trace: bool) -> Any:
        replayed.append(len([found for found in self._known.values() if found is not None]))
        return call(self, key, function, *args, trace=trace)

    monkeypatch.setattr(TraceCache, "call", counting)
    engine = sim.engines.stacked.Stacked(threads=2, convolutions=True)
    traced = end(keys | SGD, engine)
    assert replayed[-1] >= 2  # of D's steps, and of G's
    monkeypatch.setattr(sim.engines.stacked, "TRACE_AFTER", 10**9)
    anew = end(keys | SGD, sim.engines.stacked.Stacked(threads=2, convolutions=True))
    assert_close(traced, anew)
    assert_close(traced, end(keys | SGD, None))


class Own(nn.Linear):
    """Of it nothing is known."""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.LeakyReLU(0.2), True),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh()), True),
        (nn.BatchNorm1d(4), False),
        (nn.Dropout(0.5), False),
        (torch.nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), False),
        (torch.nn.utils.spectral_norm(nn.Linear(4, 4)), False),
        (Own(4, 4), False),
        (nn.Flatten(0), False),
        (nn.Unflatten(1, (2, 2)), True),
    ],
)
def test_two_batches_pass_at_once_only_where_that_is_the_same(
    layer: nn.Module, expected: bool
) -> None:
    net = nn.Sequential(nn.Linear(4, 4), layer)
    assert is_samplewise(net) == expected
    assert not is_samplewise(net.forward)
    passes = []
    net.register_forward_pre_hook(lambda _net, args: passes.append(len(args[0])))
    assert not is_samplewise(net)
    of_both(net, draws(3, 4), draws(2, 4))
    assert passes == [3, 2]


def test_two_batches_in_one_pass_are_two_passes() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.LeakyReLU(0.2), nn.Linear(4, 1))
    real, fake = draws(5, 2, 3), draws(3, 2, 3, seed=1)
    calls = []
    forward = nn.Sequential.forward

    def counting(self: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return forward(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Sequential, "forward", counting)
        found = of_both(net, real, fake)
    assert calls == [8]
    torch.testing.assert_close(found, (net(real), net(fake)))


def kept_by_an_output(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = 2 * x
    return y, torch.tanh(y)


def kept_by_a_view(x: torch.Tensor) -> torch.Tensor:
    y = 2 * x
    seen = y.view(-1)[1:]
    return torch.tanh(y).sum() + seen.sum()


def given(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x)


def of_a_view(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x.view(6, 4)).view(4, 6)


def twice(x: torch.Tensor) -> torch.Tensor:
    y = 2 * x
    return torch.tanh(y) + torch.sigmoid(y)


def expanded(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh((2 * x[:1]).expand(4, 6))


def slopes(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The same input under leaky ReLUs of different slopes, and needed in between."""
    leaf = x.detach().requires_grad_()
    y = 2 * leaf
    one = nn.functional.leaky_relu(y, 0.2)
    other = nn.functional.leaky_relu(y, 0.3)
    steep = nn.functional.leaky_relu(3 * leaf, -0.5)  # by its result, signs would be lost
    flat = nn.functional.leaky_relu(3 * leaf, 0.0)
    value = (one * other).sum() + (y + steep * one).square().sum() + flat.square().sum()
    (gradient,) = torch.autograd.grad(value, leaf)
    return gradient, one.detach(), steep.detach()


def written_over(x: torch.Tensor) -> torch.Tensor:
    """A residual in place, which leaky ReLU's gradient, by its input, knows nothing of."""
    leaf = x.detach().requires_grad_()
    y = nn.functional.leaky_relu(2 * leaf, 0.2)
    y += 3 * leaf.flip(0)
    (gradient,) = torch.autograd.grad(y.square().sum(), leaf)
    return gradient


TURN = draws(6, 6)


def activations(x: torch.Tensor) -> torch.Tensor:
    leaf = x.detach().requires_grad_()
    y = leaf
    for of in (torch.tanh, torch.relu, torch.sigmoid, nn.functional.leaky_relu):
        y = of(y @ TURN)
    (gradient,) = torch.autograd.grad(y.square().sum(), leaf)
    return gradient


@pytest.mark.parametrize(
    "function",
    [
        kept_by_an_output,
        kept_by_a_view,
        given,
        of_a_view,
        twice,
        expanded,
        slopes,
        written_over,
        activations,
    ],
)
def test_what_is_written_over_is_needed_no_more(function: Any) -> None:
    traces = TraceCache()
    for seed in range(3):
        x = draws(4, 6, seed=seed)
        before = x.clone()
        found = traces.call(function, function, x, trace=seed == 0)
        torch.testing.assert_close(found, function(before), rtol=0, atol=0)
        assert torch.equal(x, before)


def test_activations_and_their_gradients_are_written_over_products() -> None:
    traced = make_fx(activations)(draws(4, 6))
    reuse_memory(traced.graph)
    names = [str(node.target) for node in traced.graph.nodes]
    in_place = [name for name in names if "_." in name or name.endswith("grad_input")]
    assert len(in_place) == 8, names
