"""What of an experiment a peer's state comes from: two states with equal traits go on alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from peer.experiment.schema import Experiment

ABSENT = "(absent)"


def traits(experiment: Experiment, images: str) -> dict[str, Any]:
    """All of it, in types that JSON knows.

    How many rounds there are to be is left out: it may always grow. So are addresses, paths, the
    device and time limits.

    Args:
        experiment: what all peers agree on.
        images: a digest of the peer's own images.
    """
    keys = experiment.model_dump(mode="json")
    named = keys["data"]["source"] == "hub"  # there a path is a name, and part of what is meant
    if not named:
        keys["data"].pop("path", None)
    algorithm = dict(experiment.algorithm.model_dump(mode="json"))
    for settings in (algorithm, algorithm.get("settings", {})):
        settings.pop("rounds", None)
    parts = ("peers", "gan", "init", "optimizer", "loss", "data", "batch", "seed", "threads")
    graph = keys["graph"]
    if isinstance(graph, dict) and "file" in graph:
        graph = "a file"  # wherever it lies: what is in it counts
    later = {"augment": experiment.augment.names} | {of: keys[of] for of in ("ema", "conditional")}
    found = {part: keys[part] for part in parts}
    found |= {part: value for part, value in later.items() if value}  # older states lack them
    return found | {
        "algorithm": algorithm,
        "compression": keys["compression"],
        "graph": graph,
        "graph and weights": experiment.fingerprint()["graph"],
        "images": images,
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What differs, a phrase each: ``batch: 8 there, 16 here``."""
    one, other = dict(_leaves(theirs)), dict(_leaves(ours))
    return [
        f"{key}: {_shown(one.get(key, ABSENT))} there, {_shown(other.get(key, ABSENT))} here"
        for key in sorted(one.keys() | other.keys())
        if one.get(key, ABSENT) != other.get(key, ABSENT)
    ]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for part, inner in value.items():
            yield from _leaves(inner, f"{key}.{part}" if key else str(part))
    else:
        yield key, value


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
