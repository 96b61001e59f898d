"""Carrying out local effects for one peer, eagerly: what the event and ZeroMQ drivers share."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from peer.effects import (
    VJP,
    Effect,
    Evaluate,
    Generate,
    Gradient,
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
        case Train(net, objective, steps):
            results = []
            for _ in range(steps):
                results.append(_gradient(state, net, objective))
                state.nets[net].optimizer.step()
            if len(results) == 1:
                return results[0]
            losses, norms = zip(*results, strict=True)
            return StepResult(torch.stack(losses).mean(), torch.stack(norms).mean())
        case Gradient(net, objective):
            return _gradient(state, net, objective)
        case Step(net):
            return state.nets[net].optimizer.step()
        case Generate(net, z):
            with torch.no_grad():
                return state.nets[net].module(z)
        case Evaluate(net, x):
            module = state.nets[net].module
            module.eval()
            with torch.no_grad():
                y = module(x)
            module.train()
            return y
        case VJP(net, inputs, cotangent):
            return _vjp(state, net, inputs, cotangent)
        case _:
            raise TypeError(f"{type(effect).__name__} is not a local effect")


def _gradient(state: PeerState, name: str, objective_name: str) -> StepResult:
    """Draw a mini-batch and leave the objective's gradient in the arena of net ``name``."""
    objective = OBJECTIVES[objective_name]
    batch = state.draw_batch(objective.sees_data)
    arena = state.nets[name].arena
    generator, discriminator = state.nets["generator"], state.nets["discriminator"]
    # A module that draws inside (dropout) draws from torch's generator, set from our own stream.
    dice = torch_seeded(int(state.streams["modules"].integers(2**63))) if state.gan.draws else None
    with dice or nullcontext():
        loss = objective.value(generator.module, discriminator.module, state.loss, batch)
    arena.gradient.zero_()
    # Only this net's parameters: no time goes into the other net's weight gradients.
    torch.autograd.backward(loss, inputs=list(arena.module.parameters()))
    return StepResult(loss.detach(), arena.gradient.dot(arena.gradient))


def _vjp(
    state: PeerState, name: str, inputs: torch.Tensor, cotangent: torch.Tensor
) -> torch.Tensor:
    arena = state.nets[name].arena
    leaf = inputs.detach().requires_grad_()
    arena.gradient.zero_()
    torch.autograd.backward(
        arena.module(leaf), cotangent, inputs=[leaf, *arena.module.parameters()]
    )
    assert leaf.grad is not None
    return leaf.grad
