"""``{commands} peer.__main__``: every command of a typer application, with its options."""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from reference_tables import ReferenceDirective, table
from sphinx.application import Sphinx
from typer.models import ArgumentInfo, OptionInfo

WORDS = {int: "N", float: "X", Path: "PATH"}
"""What stands for a value of that type, where the command does not say."""


class Parameter(NamedTuple):
    """An option or argument, as it is typed, its default and what it does."""

    spelled: str
    default: str
    text: str
    positional: bool


def parameters(command: Callable[..., Any]) -> Iterator[Parameter]:
    """What a command takes, read off its signature."""
    hints = typing.get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        if typing.get_origin(hints[name]) is not typing.Annotated:
            continue  # the context
        annotation, info = typing.get_args(hints[name])
        if info.hidden:
            continue
        kind = _without_none(annotation)
        metavar = info.metavar or WORDS.get(kind, "TEXT")
        default = _default(parameter.default)
        if isinstance(info, ArgumentInfo):
            metavar = info.metavar or name.upper()
            yield Parameter(f"`{metavar}`", default, info.help or "", True)
            continue
        assert isinstance(info, OptionInfo)
        # In an Annotated option, typer finds the first name where a default would be.
        named = [info.default] if isinstance(info.default, str) else []
        named += info.param_decls or []
        spelled = " ".join(named or [f"--{name.replace('_', '-')}"]).replace("/", " / ")
        if kind is not bool:
            spelled += f" {metavar}"
        yield Parameter(f"`{spelled}`", default, _plain(info.help or ""), False)


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`"


def _plain(help: str) -> str:
    return help.replace("[default:", "Default:").removesuffix("]")


class Commands(ReferenceDirective):
    """The argument is the module whose ``app`` it is, such as ``peer.__main__``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A section a command; what is called without a sub-command comes first."""
        module = importlib.import_module(self.arguments[0])
        program = self.arguments[0].split(".")[0]
        made = []
        if module.app.registered_callback is not None:
            made.append(self.command(program, module.app.registered_callback.callback))
        for each in module.app.registered_commands:
            name = each.name or each.callback.__name__
            made.append(self.command(f"{program} {name}", each.callback))
        return made

    def command(self, name: str, command: Callable[..., Any]) -> nodes.section:
        """One command: what it does, how it is called, what it takes."""
        found = list(parameters(command))
        words = [each.spelled.strip("`") for each in found if each.positional]
        words += [each.spelled.strip("`") for each in found if not each.positional
                  and each.default == "required"]  # fmt: skip
        options = ["[OPTIONS]"] if any(each.default != "required" for each in found) else []
        usage = " ".join([name, *words, *options])
        content = self.paragraphs(inspect.getdoc(command) or "")
        content.append(nodes.literal_block(usage, usage, language="text"))
        rows = [(each.spelled, each.default, each.text) for each in found]
        content.append(table(("Option", "Default", "What it does"), rows, anchors=name))
        return self.section(name, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
