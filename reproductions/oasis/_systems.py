"""The set-ups of the paper's sections 2.3, 6 and 7, in the small: twenty clients on a star."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reproductions.images import digits

CLIENTS = 20
ROUNDS = 500
FRACTION = 0.1
LOCAL_STEPS = 5
DIGITS = 1797
ETA = round(2000 / 60_000 * DIGITS)

PUBLISHED = ("FedAvg", "FedProx", "Ditto", "Oasis")

SMALLER = (
    f"{CLIENTS} clients and {ROUNDS} rounds, as on the paper's Raspberry Pis, two clients a round "
    f"with five local steps, and its settings (FedProx 0.5, Ditto 0.1 and five steps, gamma 0.1; "
    f"eta of {ETA} images is the same share of all as its 2,000 of MNIST). Digits of 8 pixels in "
    "place of MNIST, by a Dirichlet distribution of 0.1, and MLPs of a fiftieth of the size; Adam "
    "with step size 0.001, batches of 32. "
)

NON_IID = {"name": "dirichlet", "alpha": 0.1}


def federated(algorithm: Mapping[str, Any], data: Any = None, **keys: Any) -> dict[str, Any]:
    """An experiment of clients that hold digits non-iid, unless ``data`` says otherwise."""
    return {
        "peers": CLIENTS + 1,
        "graph": "star",
        "algorithm": {"rounds": ROUNDS, "fraction": FRACTION, "local_steps": LOCAL_STEPS}
        | dict(algorithm),
        "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        "gan": "mlp-digits",
        "data": data or digits(NON_IID),
        "batch": 32,
        "metrics": {"every": 2},
    } | keys


def algorithms_of(eta: int = ETA) -> dict[str, dict[str, Any]]:
    """The four systems that the paper compares, with its settings."""
    return {
        "FedAvg": {"name": "fedavg"},
        "FedProx": {"name": "fedavg", "mu": 0.5},
        "Ditto": {"name": "ditto", "pull": 0.1, "personal_steps": 5},
        "Oasis": {"name": "oasis", "grouping": {"eta": eta}},
    }


def four() -> dict[str, dict[str, Any]]:
    """The four systems on digits."""
    return {system: federated(algorithm) for system, algorithm in algorithms_of().items()}


def regularised(data: Any = None) -> dict[str, Any]:
    """All clients in one group, with the regulariser: section 2.3's regularised FedAvg."""
    return federated({"name": "oasis", "grouping": {"k": 1}}, data)


def clustered() -> dict[str, Any]:
    """Groups by classes and their numbers, without the regulariser: section 2.3.2."""
    return federated(
        {
            "name": "oasis",
            "representation": {"dictionary": "label_histogram"},
            "grouping": {"eta": ETA},
            "regulariser": {"gamma": 0.0},
        }
    )


def ablated(gamma: float, grouping: Mapping[str, Any]) -> dict[str, Any]:
    """Oasis with another grouping, or another weight of the regulariser: section 7.4."""
    regulariser = {} if gamma == 0.1 else {"regulariser": {"gamma": gamma}}
    return federated({"name": "oasis", "grouping": dict(grouping)} | regulariser)


def stand_alone() -> dict[str, Any]:
    """One GAN with all images, which takes as many steps as the server's model does in a row."""
    return {
        "peers": 1,
        "graph": "complete",
        "algorithm": {"name": "local", "rounds": ROUNDS * LOCAL_STEPS},
        "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        "gan": "mlp-digits",
        "data": digits("all"),
        "batch": 32,
        "metrics": {"every": 2 * LOCAL_STEPS},
    }
