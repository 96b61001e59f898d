"""The experiment file's reference, made from the code that reads it.

``{experiment-keys}``: every key of the file. ``{catalogue} algorithms``: what can be named under a
key, each with its settings: see :data:`CATALOGUES`. A key that nothing describes is a warning, and
so fails the build.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import torch
import yaml
from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from reference_tables import ReferenceDirective, Row, described, lead, table
from sphinx.application import Sphinx
from sphinx.util import logging

from algorithms import ALGORITHMS
from peer.codecs import CODECS
from peer.data.spec import DataSpec
from peer.experiment import Experiment
from peer.experiment.cost_models import DEVICES, LINKS
from peer.experiment.parts import LossSpec, NamedSpec, OptimizerSpec
from peer.gan.models import MODELS
from peer.gan.optimizers import OPTIMIZERS
from topology import FAMILIES, RULES
from topology.schedule import KINDS, one_peer_exponential, random_matching

logger = logging.getLogger(__name__)

Model = type[BaseModel]
HEADINGS = ("Key", "Value", "Default", "What it says")

NETWORKX = {
    "ring": "Every peer linked to the next, and the last to the first.",
    "path": "Every peer linked to the next.",
    "complete": "Every peer linked to every other.",
}
"""What the families are that networkx builds."""

UNSET = {"self", "params", "fused", "foreach", "capturable", "differentiable"}
"""Arguments of torch's optimizers that are no settings of an experiment."""


# --- values and defaults --------------------------------------------------------------------------


def value_of(annotation: Any, metadata: list[Any]) -> str:
    """A type as a reader of YAML would say it: a whole number, at least 1."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return value_of(inner, [*metadata, *more])
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return " or ".join(dict.fromkeys(value_of(part, metadata) for part in parts))
    if origin is Literal:
        return ", ".join(f"`{_yaml(choice)}`" for choice in get_args(annotation))
    if origin is tuple:
        first, *rest = get_args(annotation)
        if rest and rest[0] is not Ellipsis:
            return f"list of {1 + len(rest)}, each a {value_of(first, [])}"
        return f"list, each {value_of(first, [])}"
    if origin is dict:
        of = get_args(annotation)[1]
        return "mapping" if of is Any else f"mapping, peer's id to {value_of(of, [])}"
    if annotation in (int, float):
        kind = "whole number" if annotation is int else "number"
        return ", ".join([kind, *_bounds(metadata)])
    if annotation is bool:
        return "`true` or `false`"
    if annotation is str:
        return "text"
    if inspect.isclass(annotation) and issubclass(annotation, NamedSpec | OptimizerSpec | LossSpec):
        return "name, or name and settings"
    return "mapping"


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for bound in metadata:
        match bound:
            case annotated_types.Ge(ge=least):
                yield f"at least {least}"
            case annotated_types.Gt(gt=below):
                yield f"more than {below}"
            case annotated_types.Le(le=most):
                yield f"at most {most}"
            case annotated_types.Lt(lt=above):
                yield f"less than {above}"
            case annotated_types.MultipleOf(multiple_of=unit):
                yield f"a multiple of {unit}"


def default_of(field: FieldInfo) -> str:
    """The default as it would be written; empty where there is none."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        name = getattr(value, "name", None)
        return f"`{name}`" if name else ""
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    written = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return written.removesuffix("\n").removesuffix("\n...")


def models_in(annotation: Any) -> list[tuple[Model, str]]:
    """The models of settings inside a type, each with what leads to one from the key."""
    origin = get_origin(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [] if issubclass(annotation, NamedSpec | OptimizerSpec) else [(annotation, "")]
    if origin is dict:
        return [(model, f".ID{path}") for model, path in models_in(get_args(annotation)[1])]
    if origin is tuple:
        return [(model, f"[]{path}") for model, path in models_in(get_args(annotation)[0])]
    if origin in (Annotated, Union, types.UnionType):
        return [found for part in get_args(annotation) for found in models_in(part)]
    return []


def rows_of(model: Model, prefix: str = "", nested: bool = False) -> Iterator[Row]:
    """A row for each key of ``model``; with ``nested``, for those of models inside it, too."""
    said = described(inspect.getdoc(model) or "")
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        of_model = lead(inspect.getdoc(inner[0][0]) or "") if len(inner) == 1 else ""
        text = field.description or said.get(name) or of_model
        if not text and name not in (inspect.getdoc(model) or "") and name != "name":
            logger.warning("nothing describes %s of %s", name, model.__name__)
        row = (
            f"`{prefix}{name}`",
            value_of(field.annotation, field.metadata),
            default_of(field),
            " ".join(text.split()),
        )
        yield row
        if nested and len(inner) == 1:
            yield from rows_of(inner[0][0], f"{prefix}{name}{inner[0][1]}.", nested=True)


class ExperimentKeys(ReferenceDirective):
    """A table of the file's keys, then a section for each mapping in it."""

    def run(self) -> list[nodes.Node]:
        """What stands inside ``data.partition`` is a catalogue of its own."""
        made: list[nodes.Node] = [table(HEADINGS, rows_of(Experiment), anchors="key")]
        seen: set[Model] = set()
        waiting: list[tuple[str, Model]] = [("", Experiment)]
        while waiting:
            path, model = waiting.pop(0)
            if path:
                text = self.paragraphs(lead(inspect.getdoc(model) or ""))
                keys = table(HEADINGS, rows_of(model, f"{path}."), anchors="key")
                made.append(self.section(path, [*text, keys]))
            inside = []
            for name, field in model.model_fields.items():
                for inner, more in models_in(field.annotation):
                    if inner not in seen and not (model is DataSpec and name == "partition"):
                        seen.add(inner)
                        inside.append((f"{path}.{name}{more}".removeprefix("."), inner))
            waiting = inside + waiting
        return made


# --- what can be named ----------------------------------------------------------------------------


class Entry(typing.NamedTuple):
    """Something that can be named: its name, what it is, and its settings."""

    name: str
    text: str
    rows: Sequence[Row]


def algorithms() -> Iterator[Entry]:
    """Every published system, in the words of its own file."""
    for name, coroutine in ALGORITHMS.items():
        config = typing.get_type_hints(coroutine)["config"]
        text = inspect.getdoc(sys.modules[coroutine.__module__]) or ""
        yield Entry(name, text, list(rows_of(config, nested=True)))


def gans() -> Iterator[Entry]:
    """Every model, a row each, with the settings of its factory."""
    for name, factory in MODELS.items():
        docstring = inspect.getdoc(factory) or ""
        known = list(inspect.signature(factory).parameters)[1:]  # without the images' shape
        own = [f"`{key}`: {text}" for key, text in described(docstring).items() if key in known]
        text = " ".join(" ".join([lead(docstring), *own]).split())
        yield Entry(name, "", [(f"`{name}`", ", ".join(_settings(factory, known)), text)])


def optimizers() -> Iterator[Entry]:
    """Every optimizer, a row each, with the settings that torch gives it."""
    for name, (kind, _) in OPTIMIZERS.items():
        known = inspect.signature(kind.__init__).parameters
        settings = list(_settings(kind.__init__, [key for key in known if key not in UNSET]))
        yield Entry(
            name, "", [(f"`{name}`", ", ".join(settings), f"`torch.optim.{kind.__name__}`")]
        )


def families() -> Iterator[Entry]:
    """Every family of graphs, a row each."""
    for name, family in FAMILIES.items():
        own = family.build.__module__.startswith("topology")
        text = lead(inspect.getdoc(family.build) or "") if own else NETWORKX[name]
        settings = [*_settings(family.build, family.parameters), *["`seed`"] * family.random]
        yield Entry(name, "", [(f"`{name}`", ", ".join(settings), " ".join(text.split()))])


def schedules() -> Iterator[Entry]:
    """Every schedule of graphs that change."""
    for name, function in zip(KINDS, (one_peer_exponential, random_matching), strict=True):
        yield Entry(name, lead(inspect.getdoc(function) or ""), [])


def rules() -> Iterator[Entry]:
    """Every rule of combination weights, a row each."""
    for name, rule in RULES.items():
        text = " ".join(lead(inspect.getdoc(rule.weigh) or "").split())
        text = re.sub(r":func:`topology\.laplacian\.(\w+)`", r"`\1`", text)
        settings = _settings(rule.weigh, rule.settings)
        yield Entry(name, "", [(f"`{name}`", ", ".join(settings), text)])


def _settings(function: Callable[..., Any], names: Iterable[str]) -> Iterator[str]:
    """Settings by name, with the default where there is one: `p: 0.1`."""
    known = inspect.signature(function).parameters
    for name in names:
        default = known[name].default
        if isinstance(default, torch.Tensor):
            default = default.item()
        yield f"`{name}`" if default is None else f"`{name}: {default}`"


def codecs() -> Iterator[Entry]:
    """Every codec."""
    for name, codec in CODECS.items():
        yield Entry(name, lead(inspect.getdoc(codec) or ""), list(rows_of(codec)))


def partitions() -> Iterator[Entry]:
    """Every way of sharing images out."""
    for form, _ in models_in(DataSpec.model_fields["partition"].annotation):
        rows = [row for row in rows_of(form) if row[0] != "`name`"]
        yield Entry(form.model_fields["name"].default, lead(inspect.getdoc(form) or ""), rows)


def _profiles(built_in: Mapping[str, BaseModel]) -> Iterator[Entry]:
    for name, profile in built_in.items():
        said = profile.model_dump(exclude_none=True, exclude_defaults=True)
        yield Entry(name, "", [(f"`{name}`", f"`{_yaml(said)}`")])


CATALOGUES: dict[str, tuple[Callable[[], Iterator[Entry]], Row]] = {
    "algorithms": (algorithms, HEADINGS),
    "gans": (gans, ("Name", "Settings", "What it is")),
    "optimizers": (optimizers, ("Name", "Settings", "What it is")),
    "families": (families, ("Name", "Settings", "What it is")),
    "schedules": (schedules, ()),
    "rules": (rules, ("Name", "Settings", "What it is")),
    "codecs": (codecs, HEADINGS),
    "partitions": (partitions, HEADINGS),
    "devices": (lambda: _profiles(DEVICES), ("Name", "What it says")),
    "links": (lambda: _profiles(LINKS), ("Name", "What it says")),
}
"""What each catalogue lists, and the headings of its tables."""


class Catalogue(ReferenceDirective):
    """A section for each name; names that are but a value share one table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Of the catalogue that the argument names."""
        entries, headings = CATALOGUES[self.arguments[0]]
        found = list(entries())
        if not any(entry.text for entry in found):
            return [table(headings, [row for entry in found for row in entry.rows])]
        made: list[nodes.Node] = []
        for name, text, rows in found:
            content = self.paragraphs(text)
            if rows:
                content.append(table(headings, rows, anchors=name))
            made.append(self.section(name, content))
        return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("experiment-keys", ExperimentKeys)
    app.add_directive("catalogue", Catalogue)
    return {"parallel_read_safe": True}
