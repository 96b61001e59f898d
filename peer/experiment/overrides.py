"""Changes to an experiment from the command line: ``--set dotted.key=value``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peer.experiment.cost_models import is_file
from peer.experiment.yaml_file import read_value
from topology.errors import UserError

_SHORTHAND = {
    "graph": "family",
    "weights": "rule",
    "gan": "name",
    "algorithm": "name",
    "optimizer": "name",
    "loss": "name",
    "compression": "name",
    "ema": "decay",
    "devices": "default",
}


def override(data: dict[str, Any], change: str) -> None:
    """Apply one ``dotted.key=value`` to ``data``; shorthands (``gan: name``) become mappings.

    Raises:
        UserError: it is not of that form, or the value is not YAML.
    """
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {change}: say key=value, such as algorithm.rounds=50")
    try:
        value = read_value(text)
    except UserError as problem:
        raise UserError(f"--set {change}: '{text}' is not a YAML value: {problem}") from None
    *path, last = key.strip().split(".")
    here = data
    for part in path:
        below = here.get(part)
        if isinstance(below, str | float):
            below = {_SHORTHAND.get(part, "name"): below}
        if isinstance(below, list):
            raise UserError(
                f"--set {change}: {part} is a list; give it whole, such as {part}=[...]"
            )
        if not isinstance(below, dict):
            below = {}
        here[part] = below
        here = below
    is_name = here is data.get("data") and here.get("source") == "hub"
    is_path = last in ("path", "file") and not is_name
    is_profile = key.strip().split(".")[0] in ("devices", "network")
    if isinstance(value, str) and (is_path or (is_profile and is_file(value))):
        value = str(Path(value).expanduser().absolute())  # relative to here, not to the file
    here[last] = value
