"""Every published system at a small size, for the tests that all of them must pass."""

from __future__ import annotations

from typing import Any

PLAIN: dict[str, Any] = {
    "peers": 5,
    "graph": "star",
    "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 16,
    "seed": 3,
    "checkpoint": 0,
}

SYSTEMS: dict[str, dict[str, Any]] = {
    "fedavg": {"algorithm": {"name": "fedavg", "local_steps": 2}},
    "fedavg, half of them": {"algorithm": {"name": "fedavg", "local_steps": 2, "fraction": 0.5}},
    "fl-vanilla": {
        "algorithm": {
            "name": "fedavg",
            "local_steps": 2,
            "order": "G_first",
            "weighting": "uniform",
            "optimizer_state": "reset",
        }
    },
    "fedprox": {"algorithm": {"name": "fedavg", "local_steps": 3, "mu": 0.5}},
    "fedgan": {
        "algorithm": {"name": "fedavg", "local_steps": 2, "order": "simultaneous"},
        "optimizer": {"name": "sgd", "lr": 0.01},
    },
    "fedavg, server in the middle": {
        "algorithm": {"name": "fedavg", "local_steps": 1, "server": 2},
        "graph": {"edges": [[2, 0], [2, 1], [2, 3], [2, 4], [0, 1]]},
    },
    "gossip": {"algorithm": {"name": "gossip", "period": 2}, "graph": "ring"},
    "gossip, independent, by samples": {
        "algorithm": {
            "name": "gossip",
            "mode": "independent",
            "mass": "samples",
            "partners": "anybody",
            "period": 1,
        },
        "graph": "complete",
        "data": {"source": "digits", "partition": {"name": "labels", "labels": [[0], [1], [2]]}},
        "peers": 3,
    },
    "gossip, push": {
        "algorithm": {"name": "gossip", "mix": "push", "period": 2, "probability": 0.6},
        "graph": "ring",
    },
    "gossip, sum-weight": {
        "algorithm": {"name": "gossip", "mix": "sum_weight", "mode": "independent", "period": 1},
        "graph": "complete",
    },
    "mdgan": {
        "algorithm": {"name": "mdgan", "swap_epochs": 0.1, "n_d": 2},
        "graph": "complete",
    },
    "mdgan, no swap": {
        "algorithm": {"name": "mdgan", "swap": False, "k": 1},
        "loss": "bce_sat",
        "peers": 4,
    },
    "selective update": {"algorithm": {"name": "distributed_gan", "approach": "selective_update"}},
    "selective update, a few": {
        "algorithm": {
            "name": "distributed_gan",
            "approach": "selective_update",
            "selection": {"rule": "user_max_norm", "fraction": 0.1, "steps": 2},
        }
    },
    "average output": {"algorithm": {"name": "distributed_gan", "approach": "average_output"}},
    "f2u": {
        "algorithm": {
            "name": "distributed_gan",
            "approach": "average_output",
            "outputs": {"by": "max"},
        },
        "loss": "lsgan",
    },
    "f2a": {
        "algorithm": {
            "name": "distributed_gan",
            "approach": "average_output",
            "outputs": {"by": "softmax"},
        },
        "loss": "lsgan",
    },
    "sequential": {"algorithm": {"name": "distributed_gan"}},
    "sequential, serverless": {
        "algorithm": {"name": "distributed_gan", "serverless": True},
        "graph": "ring",
    },
    "fegan": {
        "algorithm": {
            "name": "fegan",
            "fraction": 0.5,
            "local_steps": 2,
            "capabilities": {2: {"alpha": 3.0}, 3: {"memory": 10.0, "delta": 1.0}},
        }
    },
    "fegan, other settings": {
        "algorithm": {
            "name": "fegan",
            "fraction": 0.5,
            "local_steps": 2,
            "scheme": "linear",
            "histogram": "clusters",
            "count": "processed",
            "loads": {"by": "linear"},
            "capabilities": {1: {"score": 0.5}},
        }
    },
    "fegan (0, 0)": {
        "algorithm": {"name": "fegan", "balanced": False, "kl": False, "local_steps": 2}
    },
    "oasis": {
        "algorithm": {"name": "oasis", "fraction": 0.7, "local_steps": 2, "grouping": {"k": 2}},
    },
    "oasis, other settings": {
        "algorithm": {
            "name": "oasis",
            "fraction": 1.0,
            "local_steps": 2,
            "regulariser": {"annealing": "literal", "trigger": "delta_loss"},
            "representation": {"dictionary": "local", "reduce": "encode_then_mean", "atoms": 8},
            "grouping": {"eta": 400, "distance": "mean"},
        },
        "loss": "lsgan",
    },
    "diffusion on matchings": {
        "algorithm": {"name": "diffusion", "n_d": 2},
        "graph": {"schedule": "random-matching", "of": "complete"},
    },
    "dposg": {
        "algorithm": {"name": "dposg", "mixings": 2},
        "graph": "ring",
        "optimizer": {"name": "sgd", "lr": 0.05},
    },
    "dss-og": {
        "algorithm": {"name": "dss_og"},
        "graph": "ring",
        "optimizer": {
            "generator": {"name": "sgd", "lr": 0.02},
            "discriminator": {"name": "sgd", "lr": 0.05},
        },
    },
    "dss-og, everything that is drawn": {
        "algorithm": {"name": "dss_og"},
        "graph": "ring",
        "optimizer": {"name": "sgd", "lr": 0.05},
        "loss": {"name": "bce_ns", "gradient_penalty": 1.0, "r1": 1.0, "r1_every": 2},
        "augment": ["translation", "cutout"],
        "conditional": True,
    },
    "ditto": {
        "algorithm": {"name": "ditto", "local_steps": 2, "personal_steps": 2, "fraction": 0.5}
    },
}


def keys_of(system: str, rounds: int) -> dict[str, Any]:
    """The experiment of a system, as a mapping."""
    keys = PLAIN | SYSTEMS[system]
    return keys | {"algorithm": keys["algorithm"] | {"rounds": rounds}}
