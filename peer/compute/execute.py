"""Carrying out local effects for one peer, eagerly: what the event and ZeroMQ drivers share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from peer.effects import (
    VJP,
    Effect,
    Evaluate,
    Generate,
    Gradient,
    Proximal,
    Step,
    StepResult,
    Train,
)
from peer.gan.objectives import OBJECTIVES
from peer.state import PeerState
from peer.streams import torch_seeded


def prepare_compute_thread(threads: int) -> None:
    """What every thread that computes must set before it does, for equal bits."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def carry_out(effect: Effect, state: PeerState) -> Any:
    """Do what ``effect`` says to ``state``; the result is what the coroutine gets back."""
    match effect:
        case Train(net, objective, steps, inputs, proximal):
            results = []
            for _ in range(steps):
                results.append(_gradient(state, net, objective, inputs, proximal))
                state.nets[net].step()
            return StepResult.mean(results)
        case Gradient(net, objective, inputs, proximal):
            return _gradient(state, net, objective, inputs, proximal)
        case Step(net):
            return state.nets[net].step()
        case Generate(net, z):
            with torch.no_grad(), _dice(state):
                return state.nets[net].module(z)
        case Evaluate(net, x):
            module = state.nets[net].module
            module.eval()
            with torch.no_grad():
                y = module(x)
            module.train()
            return y
        case VJP():
            return _vjp(state, effect)
        case _:
            raise TypeError(f"{type(effect).__name__} is not a local effect")


def _dice(state: PeerState) -> AbstractContextManager[None]:
    """A module that draws inside (dropout) uses torch's generator: set from our own stream."""
    if not state.gan.draws:
        return nullcontext()
    return torch_seeded(int(state.streams["modules"].integers(2**63)))


def _gradient(
    state: PeerState,
    name: str,
    objective_name: str,
    inputs: Mapping[str, Any],
    proximal: Proximal | None,
) -> StepResult:
    """Draw a mini-batch and leave the objective's gradient in the arena of net ``name``."""
    objective = OBJECTIVES[objective_name]
    prefix = name.removesuffix("generator").removesuffix("discriminator")
    batch = state.draw_batch(objective.sees_data, inputs, prefix)
    net = state.nets[name]
    generator, discriminator = state.pair(prefix)
    with _dice(state):
        value, loss = objective.value(generator, discriminator, state.loss, batch)
    gradient = net.arena.gradient.zero_()
    # Only this net's parameters: no time goes into the other net's weight gradients.
    torch.autograd.backward(value, inputs=net.arena.leaves)
    if proximal is not None and proximal.mu:
        trained = len(gradient)  # buffers, at the tail, are not pulled
        gradient.add_(net.arena.vector[:trained], alpha=proximal.mu)
        gradient.sub_(proximal.anchor[:trained], alpha=proximal.mu)
    return StepResult(loss.item(), gradient.dot(gradient).item())


def _vjp(state: PeerState, effect: VJP) -> torch.Tensor | None:
    arena = state.nets[effect.net].arena
    leaf = effect.inputs.detach().requires_grad_(not effect.keep)
    with _dice(state):
        outputs = arena.module(leaf)
    if effect.keep:
        if effect.keep == "set":
            arena.gradient.zero_()
        torch.autograd.backward(outputs, effect.cotangent, inputs=arena.leaves)
        return None
    return torch.autograd.grad(outputs, leaf, effect.cotangent)[0]
