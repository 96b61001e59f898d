"""What makes GANs work on real images, each with several algorithms, for tests of all engines."""

from __future__ import annotations

from typing import Any

from tests.support.systems import PLAIN, keys_of

ALL_OF_THEM = ["translation", "cutout", "colour", "flip"]

DIFFUSION: dict[str, Any] = PLAIN | {
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 3},
}

EXTRAS: dict[str, dict[str, Any]] = {
    "augment, diffusion": DIFFUSION | {"augment": ALL_OF_THEM},
    "augment, mdgan": keys_of("mdgan", 3) | {"augment": ALL_OF_THEM},
    "augment, average output": keys_of("average output", 3) | {"augment": ["cutout"]},
    "augment, oasis": keys_of("oasis", 3) | {"augment": ["translation", "colour"]},
    "augment, ditto": keys_of("ditto", 3) | {"augment": ["flip"]},
    "ema, diffusion": DIFFUSION | {"ema": {"decay": 0.5, "combine": True}},
    "ema, mdgan": keys_of("mdgan", 3) | {"ema": 0.9},
    "ema, fedavg": keys_of("fedavg", 3) | {"ema": {"decay": 0.9, "combine": True}},
    "ema, ditto": keys_of("ditto", 3) | {"ema": 0.9},
    "conditional, diffusion": DIFFUSION | {"conditional": True},
    "conditional, fedavg": keys_of("fedavg", 3) | {"conditional": {"labels": "all"}},
    "conditional, fl-vanilla": keys_of("fl-vanilla", 3) | {"conditional": True},
    "conditional, oasis": keys_of("oasis", 3) | {"conditional": True},
    "conditional, fegan": keys_of("fegan", 3) | {"conditional": True},
    "conditional, ditto": keys_of("ditto", 3) | {"conditional": True, "augment": ["cutout"]},
}
"""By a name for the test, the keys of an experiment of three rounds."""
