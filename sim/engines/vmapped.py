"""Local effects of many peers at once: what :mod:`peer.compute.execute` does for one, under vmap.

The arenas of the peers are rows of one matrix, and a net is applied to all of them functionally.
Every peer draws from its own streams, as it would alone, so that results are equal up to rounding.
The tasks of one call are of one *kind*: the same effect on the same net, with inputs of the same
shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call, vmap

from peer.compute.guard import may_step
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
from peer.gan import OBJECTIVES, Batch, Loss
from peer.gan.net_name import PAIR, NetName
from peer.gan.objectives import Objective, Value
from peer.state import Net, PeerState
from sim.engines.stacked_arenas import StackedArenas
from sim.engines.workspace import Workspace

Tensors = dict[str, torch.Tensor]


class Task(NamedTuple):
    """One local effect of one peer."""

    state: PeerState
    effect: Effect


def kind_of(task: Task) -> Hashable | None:
    """A key that tasks share if they can be carried out together; None for one that never can."""
    state, effect = task
    if state.gan.draws or state.gan.judges_pixels:
        return None
    match effect:
        case Train(net, objective, _, inputs, proximal, batch) | Gradient(
            net, objective, inputs, proximal, batch
        ):
            shapes = tuple((name, _shape(value)) for name, value in sorted(inputs.items()))
            is_proximal = proximal is not None and proximal.mu != 0
            drawn = batch or state.batch
            r1 = _r1_phase(state, effect)
            return type(effect), net, objective, shapes, is_proximal, drawn, len(state.nets), r1
        case Step(net):
            return Step, net
        case Generate(net, x) | Evaluate(net, x):
            return type(effect), net, x.shape
        case VJP(net, inputs, cotangent, keep):
            return VJP, net, inputs.shape, cotangent.shape, keep
        case _:
            return None


def _r1_phase(state: PeerState, effect: Train | Gradient) -> int:
    """What peers must have in common for the lazy penalty R1 to be due at the same steps."""
    if not OBJECTIVES[effect.objective].sees_data:
        return 0
    step = state.r1_step(NetName.parse(effect.net).prefix)
    return step if isinstance(effect, Train) and effect.steps > 1 else min(step, 1)


def _shape(value: Any) -> Hashable:
    """None for what is not there, in particular for a penalty that is not due."""
    if value is None:
        return None
    return value.shape if isinstance(value, torch.Tensor) else ()


def carry_out_all(tasks: Sequence[Task], workspace: Workspace) -> list[Any]:
    """Carry out ``tasks``, all of one kind; returns a result for each, as ``carry_out`` does.

    Raises:
        RuntimeError: vmap refuses a net.
    """
    carry_out = _IMPLEMENTATIONS[type(tasks[0].effect)]
    return list(carry_out(tasks, workspace))


def trace_all(tasks: Sequence[Task], workspace: Workspace) -> list[Any]:
    """The same, and trace the step if it is not yet. No other thread may compute meanwhile."""
    workspace.may_trace = True
    try:
        return carry_out_all(tasks, workspace)
    finally:
        workspace.may_trace = False


def _train(tasks: Sequence[Task], workspace: Workspace) -> list[StepResult]:
    """Step by step; peers that have taken all their steps drop out."""
    found: list[list[StepResult]] = [[] for _ in tasks]
    for step in range(max(_steps(task) for task in tasks)):
        active = [i for i, task in enumerate(tasks) if _steps(task) > step]
        chosen = [tasks[i] for i in active]
        results, gradients = _gradients(chosen, workspace)
        finite = [result.is_finite for result in results]
        optimizer = workspace.optimizer([_net(task) for task in chosen])
        optimizer.step(gradients.unbind(), _rounds(chosen, finite))
        for i, result in zip(active, results, strict=True):
            found[i].append(result)
    return [StepResult.mean(of) for of in found]


def _steps(task: Task) -> int:
    assert isinstance(task.effect, Train)
    return task.effect.steps


def _rounds(tasks: Sequence[Task], finite: Sequence[bool]) -> list[int | None]:
    """The round of each peer; None for one whose step is skipped."""
    return [
        task.state.round if may_step(task.state, task.effect.net, each) else None  # type: ignore[attr-defined]
        for task, each in zip(tasks, finite, strict=True)
    ]


def _keep_gradients(tasks: Sequence[Task], workspace: Workspace) -> list[StepResult]:
    results, gradients = _gradients(tasks, workspace)
    for task, gradient, result in zip(tasks, gradients.unbind(), results, strict=True):
        kept = _net(task).arena.gradient
        if result.is_finite:
            kept.copy_(gradient)
        else:
            kept.fill_(math.nan)  # Step is to see it
    return results


def _step_all(tasks: Sequence[Task], workspace: Workspace) -> list[None]:
    nets = [_net(task) for task in tasks]
    gradients = [net.arena.gradient for net in nets]
    finite = torch.stack([gradient.dot(gradient) for gradient in gradients]).isfinite().tolist()
    workspace.optimizer(nets).step(gradients, _rounds(tasks, finite))
    return [None] * len(tasks)


def _net(task: Task) -> Net:
    name: str = task.effect.net  # type: ignore[attr-defined]
    return task.state.nets[name]


def _gradients(
    tasks: Sequence[Task], workspace: Workspace
) -> tuple[list[StepResult], torch.Tensor]:
    """Every peer's result and the gradients of their objectives, (b, trained), in the workspace."""
    effect = tasks[0].effect
    assert isinstance(effect, Train | Gradient)
    name, objective = effect.net, OBJECTIVES[effect.objective]
    prefix, role = NetName.parse(name)
    states = [task.state for task in tasks]
    fields = _draw_batches(tasks, objective.sees_data, prefix)
    held: dict[str, StackedArenas] = {
        of: workspace.stack([state.nets[prefix + of].arena for state in states])
        for of in PAIR
        if prefix + of in states[0].nets
    }
    templates = {of: workspace.template(rows.template) for of, rows in held.items()}
    own, loss = held[role], states[0].loss
    buffers = {of: rows.buffers() for of, rows in held.items()}
    gradients = workspace.gradients(own)
    losses, changed = workspace.traces.call(
        (objective, role, loss, *(rows.template for rows in held.values())),
        _gradient_function(objective, role, loss, templates),
        own.parameters,
        {of: rows.parameters for of, rows in held.items() if of != role},
        buffers,
        fields,
        own.views(gradients),
        trace=workspace.may_trace,
    )
    proximal = [task.effect.proximal for task in tasks]  # type: ignore[attr-defined]
    if effect.proximal is not None and effect.proximal.mu:
        _add_proximal(gradients, own.matrix, proximal)
    norms = torch.linalg.vector_norm(gradients, dim=1).square()  # (b,)
    results = list(map(StepResult._make, torch.stack((losses, norms), 1).tolist()))
    finite = [result.is_finite for result in results]
    for of, rows in held.items():
        moved = changed[of] if all(finite) else _where(finite, changed[of], buffers[of])
        rows.write_buffers(moved)
    return results, gradients


def _where(chosen: Sequence[bool], these: Tensors, those: Tensors) -> Tensors:
    """Rows of ``these`` where ``chosen``, of ``those`` elsewhere; (b, ...) each."""
    found = {}
    for name, value in these.items():
        mask = torch.tensor(chosen, device=value.device).view(-1, *[1] * (value.dim() - 1))
        found[name] = torch.where(mask, value, those[name])
    return found


def _gradient_function(
    objective: Objective, role: str, loss: Loss, templates: dict[str, nn.Module]
) -> Callable[..., tuple[torch.Tensor, dict[str, Tensors]]]:
    """A function of tensors alone, a row a peer, for the trace cache.

    It returns losses (b,) and changed buffers, and writes gradients to its last argument.
    """

    def value(
        leaves: Tensors,
        fixed: dict[str, Tensors],
        buffers: dict[str, Tensors],
        fields: dict[str, Any],
    ) -> tuple[Value, dict[str, Tensors]]:
        parameters = {**fixed, role: leaves}
        nets = {of: Functional(templates[of], parameters[of], buffers[of]) for of in parameters}
        found = objective.value(
            nets.get("generator"), nets.get("discriminator"), loss, Batch(**fields)
        )
        return found, {of: net.current_buffers() for of, net in nets.items()}

    def differentiate(
        parameters: Tensors,
        fixed: dict[str, Tensors],
        buffers: dict[str, Tensors],
        fields: dict[str, Any],
        gradients: Tensors,
    ) -> tuple[torch.Tensor, dict[str, Tensors]]:
        leaves = {name: w.detach().requires_grad_() for name, w in parameters.items()}
        (values, losses), changed = vmap(value)(leaves, fixed, buffers, fields)  # (b,) each
        found = torch.autograd.grad(values.sum(), list(leaves.values()), materialize_grads=True)
        for name, gradient in zip(leaves, found, strict=True):
            gradients[name].copy_(gradient)
        return losses.detach(), changed

    return differentiate


def _add_proximal(gradients: torch.Tensor, w: torch.Tensor, terms: Sequence[Proximal]) -> None:
    """Add ``mu (w - anchor)``, row by row."""
    trained = gradients.shape[1]  # the term does not concern buffers, at the tail
    anchors = torch.stack([term.anchor[:trained] for term in terms])
    mu = torch.tensor([[term.mu] for term in terms], device=w.device)  # (b, 1)
    gradients.addcmul_(mu, w[:, :trained] - anchors)


class Functional:
    """A module applied with other tensors than its own.

    Every call replaces the buffers, and leaves the old ones to the backward pass, which may need
    them.
    """

    def __init__(self, template: nn.Module, parameters: Tensors, buffers: Tensors) -> None:
        self.modules = template.modules  # as nn.Module has it, for objectives that ask
        self.template = template
        self.parameters = parameters
        self.buffers = buffers

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The module's output; changed buffers are in ``self.buffers``."""
        fresh = {name: buffer.clone() for name, buffer in self.buffers.items()}
        y: torch.Tensor = functional_call(self.template, self.parameters | fresh, inputs)
        self.buffers = fresh
        return y

    def current_buffers(self) -> Tensors:
        """Copies that vmap can return: torch.func.grad leaves what it changed wrapped."""
        return {name: buffer.clone() for name, buffer in self.buffers.items()}


def _draw_batches(tasks: Sequence[Task], sees_data: bool, prefix: str) -> dict[str, Any]:
    """Every peer's mini-batch, by field, (b, ...) each."""
    memory = _batch_memory(tasks, sees_data)
    places = map(Batch, _each(memory.real, len(tasks)), _each(memory.z, len(tasks)))
    batches = [
        task.state.draw_batch(sees_data, effect.inputs, prefix, effect.batch, into)
        for task, into in zip(tasks, places, strict=True)
        if isinstance(effect := task.effect, Train | Gradient)
    ]
    device = tasks[0].state.device
    fields: dict[str, Any] = {}
    for name in Batch._fields:
        values = [getattr(batch, name) for batch in batches]
        rows = getattr(memory, name)
        if isinstance(rows, torch.Tensor):
            fields[name] = rows.to(device)
        elif isinstance(values[0], torch.Tensor):
            fields[name] = torch.stack(values).to(device)  # labels of fakes are part of z
        elif isinstance(values[0], Mapping):
            fields[name] = {part: torch.stack([v[part] for v in values]) for part in values[0]}
        elif values[0] is not None:
            fields[name] = torch.tensor(values, device=device)
    return fields


def _each(rows: torch.Tensor | None, count: int) -> Sequence[torch.Tensor | None]:
    return [None] * count if rows is None else rows.unbind()


def _batch_memory(tasks: Sequence[Task], sees_data: bool) -> Batch:
    """Memory to draw mini-batches into, a row a peer; noise is drawn on the host."""
    state, effect = tasks[0]
    assert isinstance(effect, Train | Gradient)
    given, batch = effect.inputs, effect.batch or state.batch
    real = z = None
    if sees_data and "real" not in given and state.shard is not None:
        pixels = state.shard.pixels  # (n, c, h, w)
        real = pixels.new_empty(len(tasks), batch, *pixels.shape[1:])
    if "z" not in given and "fake" not in given:
        z = torch.empty(len(tasks), batch, state.gan.inputs)
    return Batch(real, z)


def _apply(tasks: Sequence[Task], workspace: Workspace) -> Sequence[torch.Tensor]:
    """Apply a net, in training mode (Generate) or not (Evaluate)."""
    evaluate = isinstance(tasks[0].effect, Evaluate)
    inputs = torch.stack(
        [e.x if isinstance(e := task.effect, Evaluate) else e.z for task in tasks]  # type: ignore[attr-defined]
    )
    rows = workspace.stack([_net(task).arena for task in tasks])
    template = workspace.template(rows.template).train(not evaluate)
    try:
        with torch.no_grad():
            outputs, changed = vmap(_applied(template))(rows.parameters, rows.buffers(), inputs)
    finally:
        template.train()
    if not evaluate:
        rows.write_buffers(changed)
    return list(outputs.unbind())


def _applied(template: nn.Module) -> Callable[..., tuple[torch.Tensor, Tensors]]:
    def apply(
        parameters: Tensors, buffers: Tensors, x: torch.Tensor
    ) -> tuple[torch.Tensor, Tensors]:
        net = Functional(template, parameters, buffers)
        return net(x), net.buffers

    return apply


def _vjp(tasks: Sequence[Task], workspace: Workspace) -> Sequence[torch.Tensor | None]:
    effects = [task.effect for task in tasks if isinstance(task.effect, VJP)]
    keep = effects[0].keep
    rows = workspace.stack([_net(task).arena for task in tasks])
    parameters = rows.leaves() if keep else rows.parameters
    inputs = torch.stack([effect.inputs for effect in effects]).requires_grad_(not keep)
    cotangents = torch.stack([effect.cotangent for effect in effects])
    template = workspace.template(rows.template)
    outputs, changed = vmap(_applied(template))(parameters, rows.buffers(), inputs)
    wanted = list(parameters.values()) if keep else [inputs]
    found = torch.autograd.grad(outputs, wanted, cotangents, materialize_grads=True)
    rows.write_buffers(changed)
    if not keep:
        return list(found[0].unbind())
    gradients = workspace.gradients(rows)
    views = rows.views(gradients)
    for name, gradient in zip(parameters, found, strict=True):
        views[name].copy_(gradient)
    for task, gradient in zip(tasks, gradients.unbind(), strict=True):
        kept = _net(task).arena.gradient
        if keep == "set":
            kept.copy_(gradient)
        else:
            kept.add_(gradient)
    return [None] * len(tasks)


_IMPLEMENTATIONS: dict[type[Effect], Callable[[Sequence[Task], Workspace], Sequence[Any]]] = {
    Train: _train,
    Gradient: _keep_gradients,
    Step: _step_all,
    Generate: _apply,
    Evaluate: _apply,
    VJP: _vjp,
}
