"""Validates what a user wrote by pydantic's models; says in one line what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from topology.errors import UserError
from topology.names import suggestion

LONGEST = 60
"""Letters of a value that stand in a message, at most."""


def validated(model: Any, data: Any, key: str = "") -> Any:
    """``data``, which stands under ``key`` in the file, as an instance of ``model``.

    Args:
        model: any type that pydantic validates: a model, a dataclass, a union of them...
        data: what the user wrote.
        key: where it stands, for errors; "" at the top.

    Raises:
        UserError: the first thing that is wrong, and how many more there are.
    """
    try:
        made = TypeAdapter(model).validate_python(data)
        _refuse_truths(data, made, [key] if key else [])
        return made
    except ValidationError as problem:
        errors = problem.errors(include_url=False)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UserError(f"{_sentence(model, errors[0], key)}{more}") from None


def _refuse_truths(said: Any, made: Any, path: list[str]) -> None:
    """Refuse true and false that became a number: Python counts them as 1 and 0."""
    if isinstance(said, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        raise UserError(_no_number(".".join(path), said))
    if isinstance(said, Mapping):
        for name, value in said.items():
            of = made.get(name) if isinstance(made, Mapping) else getattr(made, str(name), None)
            _refuse_truths(value, of, [*path, str(name)])
    elif isinstance(said, list | tuple) and isinstance(made, list | tuple):
        for place, (value, of) in enumerate(zip(said, made, strict=False)):
            _refuse_truths(value, of, [*path, str(place)])


def _no_number(key: str, said: bool) -> str:
    return (
        f"{key}: must be a number, not {str(said).lower()}, which is what YAML makes of yes, no, "
        "on and off"
    )


def _sentence(model: Any, error: Any, where: str) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join([where, *location] if where else location)
    match error["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            known = _known_keys(model, location[:-1])
            hint = suggestion(location[-1], known) or f"; known are {', '.join(known)}"
            return f"unknown key '{key}'{hint}"
        case "missing" | "missing_argument":
            return f"key '{key}' is missing"
        case "greater_than" | "greater_than_equal" if isinstance(error["input"], bool):
            return _no_number(key, error["input"])
        case _:
            message = error["msg"].removeprefix("Value error, ")
            return f"{key}: {message[:1].lower()}{message[1:]} (not {_shown(error['input'])})"


def _shown(value: Any) -> str:
    """A value as it may stand in a message: an end of what is long is left out."""
    shown = repr(value)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def _known_keys(model: Any, path: list[str]) -> list[str]:
    """The keys that the model at ``path`` below ``model`` has; places in lists are passed over."""
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            model = _model_in(field.annotation)
    if hasattr(model, "model_fields"):
        return list(model.model_fields)
    return list(getattr(model, "__dataclass_fields__", {}))


def _model_in(annotation: Any) -> Any:
    """The model that an annotation is, or holds: as one of several, in a list, in a mapping."""
    if hasattr(annotation, "model_fields") or hasattr(annotation, "__dataclass_fields__"):
        return annotation
    return next((m for of in get_args(annotation) if (m := _model_in(of)) is not None), None)
