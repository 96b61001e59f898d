"""YAML as people mean it: files and values of experiments, read strictly.

YAML 1.1 reads 010 as 8, 1:30 as 90 and 1e-3 as text, and keeps the second of two equal keys without
a word. Here 1e-3 is a number, a key given twice is an error, and what 1.1 turns into something else
than was written is refused by name. `yes`, `no`, `on` and `off` stay true and false, as they are
good answers to some keys; where a number is meant, :mod:`peer.experiment.validation` refuses them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from topology.errors import UserError
from topology.names import first_line

MOST_BYTES = 1 << 26
"""Of a file, at most."""

_DEEPEST = 64
_MOST_NODES = 2_000_000
"""Values of a file with its aliases written out, at most."""

_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_EMPTY_ABOVE = re.compile(r"\s*([^\s#:]+):\s*(\{\s*\}|\[\s*\])\s*(?:#.*)?")

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_KNOWN = ("null", "bool", "int", "float", "str", "seq", "map")


class _Refused(yaml.MarkedYAMLError):
    """What is YAML and is refused here; its problem says all."""


class _Reader(yaml.SafeLoader):
    """Builds plain values, and refuses what may mean something else."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of finished nodes, by identity: values in each

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As PyYAML's; counts how deep it is, and how much aliases multiply."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _refused(event, f"more than {_DEEPEST} levels deep, which no experiment is")
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) in self._sizes:
                return node
            raise _refused(event, f"*{event.anchor} is part of itself")
        if isinstance(event, yaml.MappingStartEvent):
            _check_keys([key for key, _ in node.value])
        children: Any = node.value if isinstance(node.value, list) else []
        parts = [part for of in children for part in (of if isinstance(of, tuple) else [of])]
        size = 1 + sum(self._sizes[id(part)] for part in parts)
        if size > _MOST_NODES:
            raise _refused(event, f"aliases multiply to more than {_MOST_NODES:,} values")
        self._sizes[id(node)] = size
        return node

    def construct_number(self, node: Any) -> int | float:
        """A number that is what it looks like."""
        text = node.value
        if _LEADING_ZERO.fullmatch(text):
            plain = text.replace("_", "").lstrip("+-0") or "0"
            what = (
                f"YAML reads {text} as {int(text, 8)}"
                if set(text) <= set("+-_01234567")
                else (f"{text} begins with 0")
            )
            raise _refused(node, f"{what}; write {plain}, or '{text}' in quotes if it is a word")
        if _SEXAGESIMAL.fullmatch(text):
            raise _refused(
                node,
                f"YAML reads {text} as a number to the base of 60; write the number of seconds or "
                f"minutes, or '{text}' in quotes if it is a word",
            )
        if node.tag == _INT:
            return int(super().construct_yaml_int(node))
        number = float(super().construct_yaml_float(node))
        if not math.isfinite(number):
            raise _refused(node, f"{text} is not a finite number; write one that is")
        return number

    def construct_unknown(self, node: Any) -> Any:
        """Tags that no experiment needs."""
        raise _refused(node, f"the tag {node.tag} has no place here; write the plain value")


def _check_keys(keys: list[Any]) -> None:
    """Refuse a key that is given twice, or that is no word and no number."""
    seen: dict[str, Any] = {}
    for key in keys:
        if not isinstance(key, yaml.ScalarNode):
            raise _refused(key, "a key is one word or number, not a list or a mapping")
        kind = key.tag.rpartition(":")[2]
        if kind in ("bool", "null"):
            read = "true or false" if kind == "bool" else "nothing"
            raise _refused(
                key, f"YAML reads the key {key.value!r} as {read}; put it in quotes if it is a word"
            )
        if key.value in seen and kind != "merge":
            first = seen[key.value].start_mark.line + 1
            raise _refused(
                key, f"key {key.value!r} is given twice, first in line {first}; keep one of them"
            )
        seen[key.value] = key


def _refused(place: Any, problem: str) -> _Refused:
    return _Refused(problem=problem, problem_mark=place.start_mark)


def _resolvers(of: Any) -> None:
    """What plain words mean: 1e-3 is a number, a date is a word; 08 is looked at, too."""
    of.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != _TIMESTAMP]
        for first, pairs in of.yaml_implicit_resolvers.items()
    }
    for tag, form in ((_FLOAT, _EXPONENT), (_INT, _LEADING_ZERO)):
        # PyYAML matches the beginning of a word
        of.add_implicit_resolver(tag, re.compile(f"(?:{form.pattern})$"), list("-+.0123456789"))


class _Writer(yaml.SafeDumper):
    """Puts quotes around every text that the reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Written out each time: who reads a file should not have to look further up."""
        return True


_resolvers(_Reader)
_resolvers(_Writer)
_Reader.add_constructor(_INT, _Reader.construct_number)
_Reader.add_constructor(_FLOAT, _Reader.construct_number)
_Reader.yaml_constructors = {
    tag: make
    for tag, make in _Reader.yaml_constructors.items()
    if tag is not None and tag.rpartition(":")[2] in _KNOWN
}
_Reader.add_constructor(None, _Reader.construct_unknown)


def read_mapping(path: Path, where: str, what: str) -> dict[str, Any]:
    """The keys of a YAML file.

    Args:
        path: the file.
        where: what a message begins with, such as the file's name.
        what: what the file should be, such as "an experiment is a mapping of keys".

    Raises:
        UserError: it cannot be read, is no YAML or no mapping, or says what may mean two things.
        FileNotFoundError: it is not there.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise UserError(f"{where}: is a folder; give a file in it") from None
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else first_line(problem)
        raise UserError(f"{where}: cannot be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{where}: is larger than {MOST_BYTES >> 20} MiB; {what}")
    return parse_mapping(content, where, what)


def parse_mapping(content: bytes, where: str, what: str) -> dict[str, Any]:
    """The keys in a YAML file's bytes; see :func:`read_mapping`.

    Raises:
        UserError: it is no YAML or no mapping, or says what may mean two things.
    """
    text = _decoded(content, where)
    found = _parsed(text, where)
    if found is None:
        raise UserError(f"{where}: is empty; {what}")
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else "one word"
        raise UserError(f"{where}: is {kind}; {what}")
    return found


def read_value(text: str) -> Any:
    """One value, as it would stand behind a key.

    Raises:
        UserError: it is no YAML, or may mean two things.
    """
    return _parsed(text, "", whole=False)


def write_mapping(keys: dict[str, Any]) -> str:
    """The text of a file that :func:`read_mapping` reads back."""
    return yaml.dump(keys, Dumper=_Writer, sort_keys=False)


def write_value(value: Any) -> str:
    """One value on one line, as it may stand behind a key of a file that is read back."""
    line = yaml.dump(
        [value],
        Dumper=_Writer,
        default_flow_style=True,
        sort_keys=False,
        width=math.inf,
        allow_unicode=True,
    )
    return str(line).strip()[1:-1]


def _decoded(content: bytes, where: str) -> str:
    for mark, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if content.startswith(mark):
            raise UserError(f"{where}: is written in {name}; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise UserError(
            f"{where}, line {line}: holds a byte that is no UTF-8; save it as UTF-8 text"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{where}, line {line}: holds a null byte, as binary files and UTF-16 do; save it as "
            "UTF-8 text"
        )
    return text


def _parsed(text: str, where: str, *, whole: bool = True) -> Any:
    try:
        reader = _Reader(text)
        try:
            return reader.get_single_data()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        line = None if mark is None or not whole else mark.line + 1
        place = where if line is None else f"{where}, line {line}"
        what = problem.problem or "it does not parse"
        if not isinstance(problem, _Refused):
            what = f"not a YAML file: {what}{_hint(text, line, what)}" if whole else what
        raise UserError(f"{place}: {what}" if place else what) from None
    except yaml.YAMLError as problem:  # a character that has no place in text
        what = f"not a YAML file: {first_line(problem)}"
        raise UserError(f"{where}: {what}" if where else what) from None
    except (RecursionError, ValueError, OverflowError, MemoryError) as problem:
        what = f"cannot be read as YAML: {first_line(problem)}"
        raise UserError(f"{where}: {what}" if where else what) from None


def _hint(text: str, line: int | None, what: str) -> str:
    """What is likely to be wrong with a line, where there is a usual mistake that looks like it."""
    if line is None:
        return ""
    lines = text.splitlines()
    above = [
        each for each in lines[: line - 1] if each.strip() and not each.lstrip().startswith("#")
    ]
    for each in (above[-1:] + lines[line - 1 : line])[:2]:
        empty = _EMPTY_ABOVE.fullmatch(each)
        if empty:
            key, braces = empty.groups()
            return (
                f"; '{key}: {braces}' is complete and nothing can stand below it: take {braces} "
                f"away, so that the line is '{key}:'"
            )
    if "\\t" in what or any(
        "\t" in each[: len(each) - len(each.lstrip())] for each in lines[line - 1 : line]
    ):
        return "; indent with spaces, not with tabs"
    return ""


AN_EXPERIMENT = "an experiment is a mapping of keys, such as 'peers: 5'"


def refuse_other_files(raw: Mapping[Any, Any], path: Path) -> None:
    """Say what a file is that is no experiment, and what it is for.

    Raises:
        UserError: it is one of those that people confuse with an experiment.
    """
    if "systems" in raw:
        raise UserError(
            f"{path}: is a comparison, as it has the key 'systems'; run it with: sim compare {path}"
        )
    if "seconds" in raw and "peers" not in raw:
        raise UserError(
            f"{path}: is a profile of `peer profile`; name it under 'devices:' in an experiment"
        )
    for key in raw:
        if isinstance(key, int):
            raise UserError(
                f"{path}: {key} is no key of an experiment; if it is a peer's public key, indent "
                "the line by two spaces below 'keys:'"
            )
