"""A pass over a traced graph that lets operations write over results that are needed no more.

Most activations are computed from a product that nothing else reads, and so are their gradients.
Computed in place, they leave more of a core's caches to what follows. The operations and their
numbers stay the same.
"""

from __future__ import annotations

from operator import getitem

import torch
from torch.fx import Graph, Node

_ops = torch.ops.aten

IN_PLACE = {
    _ops.leaky_relu.default: _ops.leaky_relu_.default,
    _ops.relu.default: _ops.relu_.default,
    _ops.sigmoid.default: _ops.sigmoid_.default,
    _ops.tanh.default: _ops.tanh_.default,
}
"""Element-wise functions of one tensor whose gradient can be computed from their output."""

GRAD_INPUT = {
    _ops.leaky_relu_backward.default: _ops.leaky_relu_backward.grad_input,
    _ops.sigmoid_backward.default: _ops.sigmoid_backward.grad_input,
    _ops.tanh_backward.default: _ops.tanh_backward.grad_input,
    _ops.threshold_backward.default: _ops.threshold_backward.grad_input,
}
"""The backward functions of :data:`IN_PLACE`; the first argument is the output's gradient."""

OUT = {
    _ops.bmm.default: _ops.bmm.out,
    _ops.sum.dim_IntList: _ops.sum.IntList_out,
}
"""Operations that can write to a given output tensor, whatever its strides."""

SLOPE = 2
"""Index of the negative slope among the arguments of ``leaky_relu_backward``."""


def reuse_memory(graph: Graph) -> None:
    """Let ``graph``, of ATen operations, write over intermediate results after their last use."""
    roots = _roots(graph)
    place = {node: i for i, node in enumerate(graph.nodes)}
    _leaky_backward_from_output(graph, roots, place)
    last = dict.fromkeys(roots.values(), 0)  # by memory, the place of its last use
    for node, root in roots.items():
        last[root] = max([last[root], *(place[user] for user in node.users)])
    for node in graph.nodes:
        if node.target not in IN_PLACE and node.target not in GRAD_INPUT:
            continue
        spent = node.args[0]
        is_own = roots[spent] is spent and spent.op == "call_function"  # no view, no argument
        if not is_own or last[spent] > place[node] or not _same_layout(spent, node):
            continue
        if node.target in IN_PLACE:
            node.target = IN_PLACE[node.target]
        else:
            node.target = GRAD_INPUT[node.target]
            node.kwargs = {**node.kwargs, "grad_input": spent}
    _write_to_outputs(graph)


def _write_to_outputs(graph: Graph) -> None:
    """Write results that are only copied into an otherwise unused argument right into it."""
    for node in list(graph.nodes):
        if node.target is not _ops.copy_.default or len(node.args) != 2:
            continue
        into, source = node.args
        is_free = into.op == "placeholder" and list(into.users) == [node]
        is_sole = source.target in OUT and list(source.users) == [node]
        same = into.meta["val"].shape == source.meta["val"].shape
        if is_free and is_sole and same and into.meta["val"].dtype == source.meta["val"].dtype:
            source.target = OUT[source.target]
            source.kwargs = {**source.kwargs, "out": into}
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def _leaky_backward_from_output(
    graph: Graph, roots: dict[Node, Node], place: dict[Node, int]
) -> None:
    """Compute leaky ReLU's gradient from its output, whose signs are those of the input.

    Then the input need not be kept. Outputs that the traced net itself writes over are left alone.
    """
    written = {roots[node] for node in graph.nodes if _writes(node)}
    for node in graph.nodes:
        if node.target is not _ops.leaky_relu.default or node in written:
            continue
        for user in list(node.args[0].users):
            if (
                user.target is _ops.leaky_relu_backward.default
                and user.args[1] is node.args[0]
                and place[user] > place[node]
                and user.args[SLOPE] == (node.args[1] if len(node.args) > 1 else 0.01)
                and user.args[SLOPE] > 0
            ):
                user.args = (user.args[0], node, user.args[SLOPE], True)


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _roots(graph: Graph) -> dict[Node, Node]:
    """For every node, the node in whose memory its value lies: itself, unless it is a view."""
    roots: dict[Node, Node] = {}
    for node in graph.nodes:
        source = node.args[0] if node.args else None
        roots[node] = roots[source] if isinstance(source, Node) and _is_view(node) else node
    return roots


def _is_view(node: Node) -> bool:
    if node.target in (getitem, _ops._unsafe_view.default, _ops.contiguous.default):
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(value.alias_info is not None for value in schema.returns)


def _same_layout(one: Node, other: Node) -> bool:
    x, y = one.meta["val"], other.meta["val"]
    return bool(x.shape == y.shape and x.stride() == y.stride() and x.dtype == y.dtype)
