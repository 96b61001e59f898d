"""The set-up of the paper's section 5, in the small: five agents, MNIST, a DCGAN each."""

from __future__ import annotations

from typing import Any

from reproductions.images import mnist

AGENTS = 5
IMAGES_A_PEER = 1000

SMALLER = (
    "Five agents, as there, on a ring, as the paper's graph is a picture only. MNIST at 28 pixels, "
    "without Fashion-MNIST, and a DCGAN of a quarter of the width. Adam with step size 0.001 in "
    "place of SGD with 0.05, which needs a hundred times the iterations; one step of D a step of "
    "G in place of five. "
)


def agents(algorithm: dict[str, Any], data: dict[str, Any], peers: int = AGENTS) -> dict[str, Any]:
    """An experiment of the paper's section 5."""
    rounds = algorithm["rounds"]
    return {
        "peers": peers,
        "graph": "ring" if peers > 1 else "complete",
        "algorithm": algorithm,
        "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        "gan": {"name": "dcgan28", "width": 16},
        "data": data,
        "batch": 32,
        "metrics": {"every": 20, "quality_every": rounds // 8},
    }


def disjoint(rounds: int, algorithm: str) -> dict[str, Any]:
    """Two classes an agent: section 5.2."""
    return agents({"name": algorithm, "rounds": rounds}, mnist({"name": "pairs", "cap": 12000}))


def alike(rounds: int, algorithm: str) -> dict[str, Any]:
    """All classes at every agent: section 5.1, with a thousand images each."""
    data = mnist("iid", limit=AGENTS * IMAGES_A_PEER)
    return agents({"name": algorithm, "rounds": rounds}, data)


def centralised(rounds: int) -> dict[str, Any]:
    """A single GAN with all agents' images."""
    data = mnist("all", limit=AGENTS * IMAGES_A_PEER)
    return agents({"name": "local", "rounds": rounds}, data, peers=1)
