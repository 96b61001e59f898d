"""``{messages}``: what the program may say to a user, read off its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from reference_tables import ReferenceDirective, table
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("topology", "peer", "algorithms", "sim")
REFUSALS = {"UserError", "Isolation"}
"""Exceptions whose text is the line that a command ends with."""

LOG = {"Note", "note", "_note", "log", "say", "_say", "tell"}
"""Functions whose argument is a line of the log."""


class Message(NamedTuple):
    """A line that a user may see, with a word in angle brackets for what varies in it."""

    module: str
    line: int
    text: str
    is_refusal: bool


def messages() -> list[Message]:
    """All of them, in the order of files and lines."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [Message(module, *each) for each in sorted(_said_in(tree))]
    return found


def _said_in(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        local = _assigned(scope)
        for node in _own_nodes(scope):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = _name_of(node.func)
            text = _template(node.args[0], local)
            if name in REFUSALS | LOG and len(text) > 12 and " " in text:
                yield node.lineno, text, name in REFUSALS


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a scope, without the functions inside it."""
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting.extend(ast.iter_child_nodes(node))


def _assigned(scope: ast.AST) -> dict[str, ast.expr]:
    """Strings that a scope puts together under a name before it says them."""
    found: dict[str, ast.expr] = {}
    for node in _own_nodes(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.JoinedStr() | ast.Constant()):
                found[name] = node.value
    return found


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _template(node: ast.expr, local: dict[str, ast.expr]) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_template(part, local) for part in parts)
        case ast.FormattedValue(value=value):
            return f"‹{_word(value)}›"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _template(left, local) + _template(right, local)
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):  # what is said where nothing better is
            return _template(last, local)
        case ast.Name(id=name) if name in local:
            return _template(local[name], {})
    return ""


def _word(node: ast.expr) -> str:
    """A word for a value: the last name in it."""
    match node:
        case ast.Name(id=name):
            return name.strip("_")
        case ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Call(func=ast.Attribute(attr="join"), args=[argument]):
            return f"{_word(argument)}, …"
        case ast.Call(args=[argument, *_]):
            return _word(argument)
        case ast.Subscript(value=value) | ast.Await(value=value) | ast.Starred(value=value):
            return _word(value)
    return "…"


class Messages(ReferenceDirective):
    """Every message, by the part of the program that says it."""

    def run(self) -> list[nodes.Node]:
        """A table a sub-package: what ends a command, and what stands in the log."""
        of: dict[str, list[Message]] = {}
        for message in messages():
            of.setdefault("/".join(message.module.split(".")[:2]), []).append(message)
        made: list[nodes.Node] = []
        for part, said in of.items():
            unique = {each.text.strip(): each for each in said}.values()
            rows = [
                (each.text.strip().replace("`", "'"), _KIND[each.is_refusal]) for each in unique
            ]
            made.append(self.section(part, [table(("What it says", "Which is"), rows)]))
        return made


_KIND = {True: "the last line of a command", False: "a line of the log"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("messages", Messages)
    return {"parallel_read_safe": True}
