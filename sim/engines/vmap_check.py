"""Whether a kind of local effect can be carried out under vmap: tried on copies, not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from peer.compute.execute import carry_out
from peer.effects import Gradient, Step, StepResult, Train
from sim.engines.vmapped import Task, carry_out_all
from sim.engines.workspace import Workspace

TOLERANCE = 1e-2
"""Relative; differences of rounding are a thousand times smaller."""


def refusal(tasks: Sequence[Task]) -> str | None:
    """Why ``tasks``, all of one kind, cannot be carried out together; None where they can.

    Both variants run on copies of the peers. So what vmap refuses is found, and also what it
    accepts and computes wrongly.
    """
    if isinstance(tasks[0].effect, Step):
        return None  # no net is applied
    together, alone = _copies(tasks), _copies(tasks)
    try:
        found = carry_out_all(together, Workspace())
    except Exception as problem:  # a user's module may fail in any way
        text = str(problem).strip().splitlines()
        return text[0] if text else type(problem).__name__
    expected = [carry_out(task.effect, task.state) for task in alone]
    pairs = [(_tensors(x), _tensors(y)) for x, y in zip(found, expected, strict=True)]
    pairs += [(_changed(x), _changed(y)) for x, y in zip(together, alone, strict=True)]
    for ours, theirs in pairs:
        for one, other in zip(ours, theirs, strict=True):
            finite = other[other.isfinite()]  # what overflows alone does so together
            near = TOLERANCE * (finite.abs().max().item() if finite.numel() else 0.0) + 1e-6
            if not torch.allclose(one, other, rtol=TOLERANCE, atol=near, equal_nan=True):
                return "together they give other numbers than alone"
    return None


def _copies(tasks: Sequence[Task]) -> list[Task]:
    """The tasks on copies of their peers, with gradients in place of steps.

    Adam's first step divides a gradient by its own size, which would magnify rounding.
    """
    copies = []
    for state, effect in tasks:
        if isinstance(effect, Train):
            effect = Gradient(
                effect.net, effect.objective, effect.inputs, effect.proximal, effect.batch
            )
        copies.append(Task(state.copy(), effect))
    return copies


def _tensors(result: Any) -> list[torch.Tensor]:
    match result:
        case StepResult(loss, norm):
            return [torch.tensor(loss), torch.tensor(norm)]
        case torch.Tensor():
            return [result]
        case _:
            return []


def _changed(task: Task) -> list[torch.Tensor]:
    """What a task may have changed of its peer: its arenas (their buffers) and the gradient."""
    name = task.effect.net  # type: ignore[attr-defined]
    arenas = [net.arena for net in task.state.nets.values()]
    counters = [counter.float() for arena in arenas for counter in arena.counters.values()]
    return [arena.vector for arena in arenas] + counters + [task.state.nets[name].arena.gradient]
