"""The experiment's file as a newcomer gets it: all that peers agree on, and no machine's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peer.experiment import Experiment
from peer.experiment.yaml_file import write_mapping
from topology import weights_facts
from topology.errors import UserError

OWN = ("base", "device", "network", "devices", "faults")
"""Keys of one machine, or of simulations: a newcomer has its own, or none."""

LONGEST = 1 << 20
"""Bytes of such a file, at most."""


def portable(experiment: Experiment, keys: Mapping[int, str]) -> str:
    """The text of a file by which another machine can take part.

    Links and weights that are read from files are written out, paths of data stand as they were
    written.

    Args:
        experiment: this peer's.
        keys: public keys that are others than the experiment's, as they were changed meanwhile.

    Raises:
        UserError: it names a file that cannot be written out, or is too long.
    """
    found: dict[str, Any] = experiment.model_dump(mode="json")
    for key in OWN:
        found.pop(key, None)
    found["keys"] = dict(sorted({**experiment.keys, **keys}.items()))
    if isinstance(found["graph"], dict) and "file" in found["graph"]:
        found["graph"] = {"edges": experiment.schedule.facts()}
    if "file" in str(found["graph"]) and "'file':" in str(found["graph"]):
        raise UserError("graph: names a file in a cycle, which a code cannot carry; list its edges")
    if isinstance(found["weights"], dict) and "file" in found["weights"]:
        found["weights"] = {"matrix": weights_facts(experiment.weights)}
    if found["optimizer"]["generator"] == found["optimizer"]["discriminator"]:
        found["optimizer"] = found["optimizer"]["generator"]
    text = write_mapping({key: value for key, value in found.items() if value is not None})
    if len(text.encode()) > LONGEST:
        raise UserError(
            f"the experiment takes more than the {LONGEST >> 20} MiB that a code leads to; copy "
            "the file, and let the newcomer in by 'peer admit'"
        )
    return text
