"""The moments of all peers' images, known to every peer though no image left its machine.

Before the first round, each peer extracts the moments of its own images, and peers average them
(:mod:`peer.quality.together.consensus`). A peer that comes later asks its neighbours after a round
in which generators are scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from peer.effects import Letter
from peer.experiment import Experiment
from peer.peer import Peer
from peer.program import Program
from peer.quality.features import Features, dimension_of, features_for, gathers_moments
from peer.quality.together import bins, shared_judge
from peer.quality.together.consensus import begin_part, network_mean
from peer.quality.together.moments import Moments, packed_length
from topology.errors import note

KEPT = "moments/network"
"""The name of the packed moments (:meth:`Moments.packed`) among a peer's tensors."""

PARTS = 4
"""What is found out before the first round: moments, bins, a judge, and how often it is right."""

TOLERANCE = 1e-6
"""Shares in the mean may differ by so much; beyond it, the score is said to lean."""


def with_moments(program: Program, experiment: Experiment) -> Program:
    """``program``, its peers exchanging moments first where scores are of private images.

    Where they are not, the very same program.
    """
    if not gathers_moments(experiment):
        return program
    return replace(program, start=_prepared(program.start, experiment))


def _prepared(start: Callable[[Peer], Any], experiment: Experiment) -> Callable[[Peer], Any]:
    every, least = experiment.metrics.quality_every, experiment.metrics.least
    judged = experiment.metrics.judge
    dimension = dimension_of(experiment)

    async def share_after_verdicts(peer: Peer) -> None:
        if (peer.round + 1) % every == 0:
            await share(peer, dimension, peer.state.gan.shape if judged else None)

    async def prepared(peer: Peer) -> None:
        features = None
        if peer.samples:
            features = features_for(experiment, peer.pixels.shape[1])
        peer.after_round = share_after_verdicts
        await gather(peer, features, dimension, least)
        if judged and KEPT in peer.tensors:  # else it came late, and is given the others' judge
            await shared_judge.train(peer, peer.state.gan.shape)
        begin_part(peer, PARTS)
        await start(peer)

    return prepared


async def gather(peer: Peer, features: Features | None, dimension: int, least: int) -> None:
    """Find the network's moments, unless they are known from before.

    Args:
        peer: who calls; all of them do.
        features: of its own images; None where it holds none.
        dimension: d, of everybody's features.
        least: a peer with fewer images tells nothing of them: their moments would give them away.
    """
    if KEPT in peer.tensors:
        return
    own = Moments.none(dimension)
    if features is not None and peer.samples >= least:
        own = Moments.of(features, peer.pixels, dimension)
    elif features is not None:
        note(
            f"metrics.least: peer {peer.id} has {peer.samples} images, fewer than {least}: nothing "
            "is told of them, and the network's score leaves them out"
        )
    found = await network_mean(peer, "moments", own.packed())
    if len(found.peers) == 1 < peer.peers:
        return  # it has been alone: its neighbours know more, and are asked later
    of_all = Moments.unpacked(found.value).scaled(len(found.peers))
    if of_all.count >= 2:
        peer.tensors[KEPT] = of_all.packed()
        counts = torch.zeros(bins.BINS, dtype=torch.float64)
        if features is not None and peer.samples >= least:
            counts = torch.from_numpy(bins.count_images(features, peer.pixels, of_all))
        in_bins = await network_mean(peer, "bins", counts, part=1)
        peer.tensors[bins.KEPT] = (in_bins.value * len(in_bins.peers)).round()
    if found.deviation > TOLERANCE or len(found.peers) < peer.peers:
        absent = sorted(set(range(peer.peers)) - set(found.peers))
        who = f"without peers {absent}" if absent else "of all peers"
        note(
            f"metrics: the score is against images {who}, their shares in it equal to "
            f"{found.deviation:.1g}; neighbours were away while moments were exchanged"
        )


async def share(peer: Peer, dimension: int, shape: tuple[int, int, int] | None = None) -> None:
    """After a round: whoever does not know what the others found gets it from a neighbour.

    Args:
        peer: who calls; all of them do.
        dimension: d, of everybody's features.
        shape: of the images that the judge is for; None where there is no judge.
    """
    neighbours = peer.neighbours
    known = peer.tensors.get(KEPT)
    letter = Letter("moments known", facts={"known": known is not None})
    asked = await peer.exchange("moments known", dict.fromkeys(neighbours, letter), neighbours)
    known_there = {k: of.facts.get("known") is True for k, of in asked.items()}
    if known is not None:
        tensors, facts = {"y": known, "bins": peer.tensors[bins.KEPT]}, {}
        if shape is not None and shared_judge.KEPT in peer.tensors:
            tensors["judge"] = peer.tensors[shared_judge.KEPT]
            facts["accuracy"] = peer.facts[shared_judge.KEPT]
        answer = Letter("moments", tensors, facts)
        asking = [k for k, has in known_there.items() if not has and k not in peer.missed]
        if asking:
            await peer.exchange("moments", dict.fromkeys(asking, answer), ())
        return
    telling = [k for k, has in known_there.items() if has and k not in peer.missed]
    if telling:
        for told in (await peer.gather("moments", telling)).values():
            packed = told.tensors.get("y")
            counts = told.tensors.get("bins")
            if packed is not None and counts is not None and is_usable(packed, counts, dimension):
                peer.tensors[KEPT], peer.tensors[bins.KEPT] = packed.cpu(), counts.cpu()
                if shape is not None:
                    _take_judge(peer, told, shape)
                return


def _take_judge(peer: Peer, told: Letter, shape: tuple[int, int, int]) -> None:
    """The judge that a neighbour sent, if it is one."""
    vector, accuracy = told.tensors.get("judge"), told.facts.get("accuracy")
    if vector is None or not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        return
    right = vector.dtype == torch.float32 and vector.dim() == 1 and bool(vector.isfinite().all())
    if right and len(vector) == shared_judge.length_of(shape, peer.classes):
        peer.tensors[shared_judge.KEPT], peer.facts[shared_judge.KEPT] = vector.cpu(), accuracy


def is_usable(packed: torch.Tensor, counts: torch.Tensor, dimension: int) -> bool:
    """Whether moments and bins that a neighbour sent can be those of at least two images."""
    lengths = {packed_length(dimension): packed, bins.BINS: counts}
    for length, values in lengths.items():
        if values.dtype != torch.float64 or values.shape != (length,):
            return False
    finite = bool(packed.isfinite().all()) and bool((counts >= 0).all())
    return finite and float(packed[0]) >= 2 and float(counts.sum()) > 0
