"""What FeGAN's server knows of its devices: kept among its facts, from round to round."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from algorithms.fedavg import sampled
from algorithms.fegan.load import Capability, assign
from algorithms.fegan.sampling import kl_weights, queues_of, sample_balanced, scores, with_loads
from algorithms.fegan.settings import FeGanConfig
from algorithms.settings import share_of
from peer.effects import Letter
from peer.peer import Peer
from topology.errors import UserError


def remember(peer: Peer, config: FeGanConfig, letters: dict[int, Letter]) -> None:
    """Turn the devices' metadata into scores, loads and queues, among the server's facts.

    Raises:
        UserError: no device sent any, or none can do the least load.
    """
    if not letters:
        raise UserError("fegan: no device sent its histogram; start them before the deadline")
    histograms = {k: np.array(letter.facts["histogram"]) for k, letter in letters.items()}
    full = {k: Capability(**letter.facts["capability"]) for k, letter in letters.items()}
    loads = assign(full, config.local_steps, peer.batch, config.loads)
    with_data = {k: c for k, c in histograms.items() if c.sum()}
    able = {k: with_data[k] for k in loads if k in with_data}
    if not able:
        raise UserError("algorithm.loads: no device can do the least; lower least_steps")
    shows = {}
    for k, c in able.items():
        share = loads[k][0] * loads[k][1] / c.sum() if config.count == "processed" else 1
        shows[str(k)] = [float(n * share) for n in c]
    peer.facts.update(
        scores={str(k): s for k, s in scores(with_data).items()},  # against the data of all devices
        loads={str(k): list(loads[k]) for k in able},
        queues=queues_of(able),
        taken=[0.0] * len(next(iter(able.values()))),
        shows=shows,
        history=[],
    )


def choose(peer: Peer, config: FeGanConfig, able: list[int]) -> list[int]:
    """This round's devices among those that are ``able``: balanced by class, or at random."""
    if not config.balanced:
        return sampled(peer, config, able)
    size = share_of(len(able), config.fraction)
    shows = {k: peer.facts["shows"][str(k)] for k in able}
    return sorted(sample_balanced(peer.facts["queues"], peer.facts["taken"], shows, size))


def weights(
    peer: Peer, config: FeGanConfig, came: list[int], loads: dict[int, list[int]]
) -> dict[int, float]:
    """omega_k of the devices that answered, from their scores and loads."""
    s = {k: float(peer.facts["scores"][str(k)]) for k in came}
    w = kl_weights(s, came, config.scheme if config.kl else "uniform")
    of_steps = {k: loads[k][0] / config.local_steps for k in came}
    of_batch = {k: loads[k][1] / peer.batch for k in came}
    match config.load_factor:
        case "steps":
            return with_loads(w, {k: of_steps[k] * of_batch[k] for k in came})
        case "batch":
            return with_loads(w, of_batch)
        case _:
            return w


def correct(peer: Peer, absent: Iterable[int]) -> None:
    """Take back from ``taken`` the samples of devices that were chosen and did not answer."""
    for k in absent:
        shown = peer.facts["shows"][str(k)]
        peer.facts["taken"] = [
            taken - n for taken, n in zip(peer.facts["taken"], shown, strict=True)
        ]
