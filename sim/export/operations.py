"""From a generator to a list of operations that a few lines of any language can carry out.

``torch.fx`` follows one z through the module and notes what is done to it, residual connections
included. Shapes are those of a batch of one, so that reshaping is no operation: values lie in one
flat row. Batch norm, in evaluation mode, is a scale and a shift a channel, computed in float64.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from topology.errors import UserError

Shape = tuple[int, ...]


@dataclass
class Operations:
    """What a generator does, in order.

    Attributes:
        steps: each ``{"op": .., "in": [values], "out": value, ..}``; values are numbered, z is 0.
            What else a step has depends on the operation; tensors stand as numbers of ``tensors``.
        tensors: float32, in the order in which steps name them.
        sizes: how many numbers each value has.
        result: the value that is the image.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    result: int = 0

    def keep(self, tensor: torch.Tensor | None) -> int | None:
        """The number of a tensor, or None of none."""
        if tensor is None:
            return None
        self.tensors.append(tensor.detach().to(torch.float32).contiguous())
        return len(self.tensors) - 1


def operations_of(generator: nn.Module, z_dim: int) -> Operations:
    """The operations of ``generator`` in evaluation mode, on one z of ``z_dim`` numbers.

    Raises:
        UserError: it does something that is not known here.
    """
    try:
        graph = fx.symbolic_trace(generator)
        with torch.no_grad():
            _Shapes(graph).run(torch.zeros(1, z_dim))
    except Exception as problem:  # control flow that depends on values, and whatever else it does
        raise _unknown(str(problem).splitlines()[0] if str(problem) else "its forward") from None
    writer = _Writer(graph)
    for node in graph.graph.nodes:
        writer.write(node)
    return writer.found


class _Shapes(fx.Interpreter):
    """Notes the shape of every value beside the node that makes it."""

    def run_node(self, n: fx.Node) -> Any:
        """As fx's."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            n.meta["shape"] = tuple(value.shape)
        return value


def _unknown(what: str) -> UserError:
    return UserError(
        f"--html: a page cannot draw with this generator ({what}); "
        "export it as ONNX, without --html"
    )


class _Writer:
    """Turns the nodes of a graph into steps, one after the other."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.found = Operations()
        self._modules = dict(graph.named_modules())
        self._graph = graph
        self._values: dict[str, int] = {}  # by a node's name

    def write(self, node: fx.Node) -> None:
        """Add what a node does; raises :class:`UserError` where that is not known."""
        if node.op == "placeholder":
            self._name(node)
        elif node.op == "output":
            self.found.result = self._values[_node(node.args[0]).name]
        elif node.op == "call_module":
            self._write_module(node, self._modules[str(node.target)])
        elif node.op == "call_function":
            self._write_function(node)
        elif node.op == "call_method" and node.target in (
            "view",
            "reshape",
            "flatten",
            "unflatten",
        ):
            self._alias(node)
        elif node.op == "call_method" and node.target in _PLAIN_NAMES:
            self._plain(node, _PLAIN_NAMES[str(node.target)])
        else:
            raise _unknown(f"{node.op.replace('_', ' ')} {node.target}")

    def _write_module(self, node: fx.Node, module: nn.Module) -> None:
        if isinstance(module, nn.Unflatten | nn.Flatten | nn.Identity) or type(
            module
        ).__name__.startswith("Dropout"):
            self._alias(node)
        elif type(module) is nn.Linear and len(_shape(node)) == 2:
            weight = self.found.keep(module.weight)  # (out, in)
            self._step(node, "linear", weight=weight, bias=self.found.keep(module.bias))
        elif type(module) in (nn.Conv2d, nn.ConvTranspose2d):
            self._convolution(node, module)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._normalisation(node, module)
        elif isinstance(module, nn.Upsample) and module.mode == "nearest":
            self._enlarge(node)
        elif isinstance(module, nn.LeakyReLU):
            self._step(node, "leaky", slope=module.negative_slope)
        elif type(module) in _PLAIN_MODULES:
            self._plain(node, _PLAIN_MODULES[type(module)])
        else:
            raise _unknown(f"a layer {type(module).__name__}")

    def _write_function(self, node: fx.Node) -> None:
        called = node.target
        if called in (operator.add, operator.mul, torch.add, torch.mul):
            self._pair(node, "add" if called in (operator.add, torch.add) else "mul")
        elif called in (operator.getitem, torch.flatten, torch.reshape):
            self._alias(node)  # which refuses an index that takes a part
        elif called is functional.interpolate and node.kwargs.get("mode", "nearest") == "nearest":
            self._enlarge(node)
        elif called is functional.leaky_relu:
            slope = node.kwargs.get("negative_slope", node.args[1] if len(node.args) > 1 else 0.01)
            self._step(node, "leaky", slope=slope)
        elif called in _PLAIN_FUNCTIONS:
            self._plain(node, _PLAIN_FUNCTIONS[called])
        else:
            raise _unknown(f"a function {getattr(called, '__name__', called)}")

    def _plain(self, node: fx.Node, op: str) -> None:
        self._step(node, op)

    def _alias(self, node: fx.Node) -> None:
        """The same numbers in another shape: no step."""
        source = _node(node.args[0])
        if _count(node) != _count(source):
            raise _unknown(f"a part of a tensor, {node.name}")
        self._values[node.name] = self._values[source.name]

    def _convolution(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        square = all(
            len(set(pair)) == 1 and isinstance(pair[0], int)
            for pair in (module.kernel_size, module.stride, module.padding)
            if not isinstance(pair, str)
        )
        plain = module.groups == 1 and set(module.dilation) == {1}
        zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if not (square and plain and zeros and not any(getattr(module, "output_padding", (0,)))):
            raise _unknown(f"a convolution {module}")
        assert not isinstance(module.padding, str)
        self._step(
            node,
            "conv" if isinstance(module, nn.Conv2d) else "transposed",
            weight=self.found.keep(module.weight),  # (out, in, k, k), or transposed (in, out, k, k)
            bias=self.found.keep(module.bias),
            kernel=module.kernel_size[0],
            stride=module.stride[0],
            padding=module.padding[0],
            shape=list(_shape(_node(node.args[0]))[1:]),
            to=list(_shape(node)[1:]),
        )

    def _normalisation(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        if module.running_mean is None or module.running_var is None:
            raise _unknown("batch norm without running statistics")
        mean, var = module.running_mean.double(), module.running_var.double()
        scale = (var + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.double()
        shift = -mean * scale
        if module.bias is not None:
            shift = shift + module.bias.double()
        self._step(node, "affine", scale=self.found.keep(scale), shift=self.found.keep(shift))

    def _enlarge(self, node: fx.Node) -> None:
        """Repeat each pixel: the factor is read off the shapes."""
        (_, _, height, width), (_, _, high, wide) = _shape(_node(node.args[0])), _shape(node)
        if high % height or wide % width or high // height != wide // width:
            raise _unknown("enlarging by no whole number")
        self._step(
            node, "repeat", factor=high // height, shape=list(_shape(_node(node.args[0]))[1:])
        )

    def _pair(self, node: fx.Node, op: str) -> None:
        """Two values of one shape, one of a channel's size, or one that is a number."""
        if node.kwargs:
            raise _unknown(f"{op} with {', '.join(node.kwargs)}")
        first, second = node.args
        if not isinstance(first, fx.Node):
            first, second = second, first
        if isinstance(second, int | float):
            self._step(node, op, number=float(second))
            return
        large, small = sorted((_node(first), _node(second)), key=_count, reverse=True)
        a, b = _shape(large), _shape(small)
        by_channel = len(b) == len(a) and b[1] == a[1] and all(n == 1 for n in b[2:])
        if a != b and not by_channel:
            raise _unknown(f"{op} of {list(a)} and {list(b)}")
        self._step(node, op, of=[large, small])

    def _step(self, node: fx.Node, op: str, of: list[fx.Node] | None = None, **more: Any) -> None:
        sources = of or [next(each for each in node.args if isinstance(each, fx.Node))]
        taken = [self._values[each.name] for each in sources]
        kept = {key: value for key, value in more.items() if value is not None}
        self.found.steps.append({"op": op, "in": taken, "out": self._name(node), **kept})

    def _name(self, node: fx.Node) -> int:
        self._values[node.name] = len(self.found.sizes)
        self.found.sizes.append(_count(node))
        return self._values[node.name]


_PLAIN_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}
_PLAIN_NAMES = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid"}
_PLAIN_FUNCTIONS: dict[Callable[..., Any] | str, str] = {
    torch.relu: "relu",
    functional.relu: "relu",
    torch.tanh: "tanh",
    torch.sigmoid: "sigmoid",
}


def _node(of: Any) -> fx.Node:
    if not isinstance(of, fx.Node):
        raise _unknown(f"{of!r} where a tensor would be")
    return of


def _shape(node: fx.Node) -> Shape:
    if "shape" not in node.meta:
        raise _unknown(f"{node.name}, which is no tensor")
    shape: Shape = node.meta["shape"]
    return shape


def _count(node: fx.Node) -> int:
    count = 1
    for n in _shape(node):
        count *= n
    return count
