"""The set-up of the paper's sections 4 to 6: its devices, its clock, its data engine."""

from __future__ import annotations

from typing import Any

RANDOM = {"balanced": False, "kl": False}
"""FL-vanilla: s = w = 0."""

GENERATOR, DISCRIMINATOR = 0.010, 0.005
"""Seconds of a step on 50 images: what the paper's least-squares GAN takes on its P100 by about 70
Gflop an iteration, at half of that card's peak."""

LINK = 2000.0
"""Mbit/s of the paper's machines, each way."""

PARAMETERS = {"lsgan32": 1_147_842, "digits": 53_953, "mnist": 238_273}
"""Of the paper's nets, and of ours at 8 and at 28 pixels."""

CLOCK = (
    "Time is virtual, by two assumptions. An iteration takes 15 ms, which is an estimate for the "
    "paper's nets on its graphics cards. A machine's network card is as much slower than the "
    "paper's 2 Gbit/s as our nets are smaller than the 4.4 MiB of its nets as built here (the "
    "paper says 3 MB at most). "
)

COMPARED = (
    "MD-GAN's discriminators stay where they are. Its images are 16 times smaller than the 32 "
    "pixels of those nets, and the nets 21 times, so that its traffic weighs a third more here. "
)

UNTRAINED = (
    "Nothing here depends on what is learnt, so one step on a few images stands for the E "
    "iterations of a round, and takes their time. "
)


def clock(images: str = "digits", iterations: int = 1) -> dict[str, Any]:
    """The keys ``devices`` and ``network``, where one step stands for ``iterations``."""
    rate = LINK * PARAMETERS[images] / PARAMETERS["lsgan32"]
    return {
        "devices": {
            "seconds": {
                "generator": iterations * GENERATOR,
                "discriminator": iterations * DISCRIMINATOR,
                "draw": 0,  # G_first: of the iteration, which is counted whole
            }
        },
        "network": {"uplink": rate, "downlink": rate},
    }


def untrained(
    devices: int,
    rounds: int,
    data: dict[str, Any],
    *,
    fraction: float = 0.025,
    iterations: int = 30,
    images: str = "digits",
    **algorithm: Any,
) -> dict[str, Any]:
    """FeGAN on ``devices`` whose E ``iterations`` are one step: who is chosen, what is sent."""
    return {
        "peers": devices + 1,
        "graph": "star",
        "algorithm": {
            "name": "fegan",
            "rounds": rounds,
            "fraction": fraction,
            "local_steps": 1,
            **algorithm,
        },
        "optimizer": {"name": "adam", "lr": 0.0002, "betas": [0.5, 0.999]},
        "gan": "mlp-digits",
        "data": data,
        "batch": 2,
        "metrics": {"every": 50 if rounds >= 50 else rounds},
        **clock(images, iterations),
    }


def mdgan(devices: int, rounds: int, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """MD-GAN on the same devices and links, with batches of 50; discriminators stay in place."""
    keys = {
        "peers": devices + 1,
        "graph": "star",
        "algorithm": {"name": "mdgan", "rounds": rounds, "swap": False},
        "optimizer": {"name": "adam", "lr": 0.0002, "betas": [0.5, 0.999]},
        "gan": "mlp-digits",
        "data": data,
        "batch": 50,
        "metrics": {"every": rounds},
        **clock(),
    }
    del keys["devices"]["seconds"]["draw"]  # the server's own work
    return keys | more
