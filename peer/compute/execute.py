"""Carrying out local effects for one peer, eagerly: what the event and ZeroMQ drivers share."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from peer.compute.guard import keep_buffers, may_step, restore
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
from peer.gan.net_name import NetName, pair_of
from peer.gan.objectives import OBJECTIVES
from peer.state import PeerState
from peer.streams import torch_seeded


def prepare_compute_thread(threads: int) -> None:
    """Set this thread's number of torch threads, and flush denormals: both change rounding."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def carry_out(effect: Effect, state: PeerState) -> Any:
    """Do what ``effect`` says to ``state``; the result is what the coroutine gets back.

    Raises:
        TypeError: it is not a local effect.
    """
    match effect:
        case Train(net, _, steps):
            results = []
            for _ in range(steps):
                results.append(_gradient(state, effect))
                if may_step(state, net, results[-1].is_finite):
                    state.nets[net].step(state.round)
            return StepResult.mean(results)
        case Gradient(net):
            result = _gradient(state, effect)
            if not result.is_finite:
                state.nets[net].arena.gradient.fill_(math.nan)  # Step is to see it
            return result
        case Step(net):
            gradient = state.nets[net].arena.gradient
            if may_step(state, net, math.isfinite(gradient.dot(gradient).item())):
                state.nets[net].step(state.round)
            return None
        case Generate(net, z, seed):
            with torch.no_grad(), _seeded_generator(state, seed):
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


def images_of(effect: Effect, state: PeerState) -> int:
    """How many images the mini-batch of a local effect holds: those given, or those drawn."""
    match effect:
        case Train(inputs=inputs, batch=batch) | Gradient(inputs=inputs, batch=batch):
            given = (inputs.get(name) for name in ("real", "z", "fake"))
            tensors = (x for x in given if isinstance(x, torch.Tensor))
            return next((len(x) for x in tensors), batch or state.batch)
        case Generate(_, x) | Evaluate(_, x) | VJP(_, x):
            return len(x)
        case _:
            return state.batch


def _seeded_generator(state: PeerState, seed: int | None = None) -> AbstractContextManager[None]:
    """Torch's generator, for modules that draw inside (dropout): set to ``seed``, or the next."""
    if seed is None:
        seed = state.draw_seed()
    return nullcontext() if seed is None else torch_seeded(seed)


def _gradient(state: PeerState, effect: Train | Gradient) -> StepResult:
    """Draw a mini-batch and leave the objective's gradient in the net's arena.

    Where the result is not finite, buffers are as before.
    """
    objective, proximal = OBJECTIVES[effect.objective], effect.proximal
    prefix = NetName.parse(effect.net).prefix
    batch = state.draw_batch(objective.sees_data, effect.inputs, prefix, effect.batch)
    net = state.nets[effect.net]
    kept = keep_buffers(state.nets[name] for name in pair_of(prefix) if name in state.nets)
    generator, discriminator = state.pair(prefix)
    with _seeded_generator(state):
        value, loss = objective.value(generator, discriminator, state.loss, batch)
    gradient = net.arena.gradient.zero_()
    # Only this net's parameters: no time goes into the other net's weight gradients.
    torch.autograd.backward(value, inputs=net.arena.leaves)
    if proximal is not None and proximal.mu:
        trained = len(gradient)  # buffers, at the tail, are not pulled
        gradient.add_(net.arena.vector[:trained], alpha=proximal.mu)
        gradient.sub_(proximal.anchor[:trained], alpha=proximal.mu)
    result = StepResult(loss.item(), gradient.dot(gradient).item())
    if not result.is_finite:
        restore(kept)
    return result


def _vjp(state: PeerState, effect: VJP) -> torch.Tensor | None:
    arena = state.nets[effect.net].arena
    leaf = effect.inputs.detach().requires_grad_(not effect.keep)
    with _seeded_generator(state, effect.seed):
        outputs = arena.module(leaf)
    if effect.keep:
        if effect.keep == "set":
            arena.gradient.zero_()
        torch.autograd.backward(outputs, effect.cotangent, inputs=arena.leaves)
        return None
    return torch.autograd.grad(outputs, leaf, effect.cotangent)[0]
