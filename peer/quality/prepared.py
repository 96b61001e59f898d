"""A program whose peers also come to know the moments of all their images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from peer.experiment import Experiment
from peer.peer import Peer
from peer.program import Program
from peer.quality.features import dimension_of, features_for, gathers_moments
from peer.quality.network_moments import gather, share


def with_moments(program: Program, experiment: Experiment) -> Program:
    """``program``, its peers exchanging moments first where scores are of private images.

    Where they are not, the very same program.
    """
    if not gathers_moments(experiment):
        return program
    return replace(program, start=_prepared(program.start, experiment))


def _prepared(start: Callable[[Peer], Any], experiment: Experiment) -> Callable[[Peer], Any]:
    every, least = experiment.metrics.quality_every, experiment.metrics.least
    dimension = dimension_of(experiment)

    async def share_after_verdicts(peer: Peer) -> None:
        if (peer.round + 1) % every == 0:
            await share(peer, dimension)

    async def prepared(peer: Peer) -> None:
        features = None
        if peer.samples:
            features = features_for(experiment, peer.pixels.shape[1])
        peer.after_round = share_after_verdicts
        await gather(peer, features, dimension, least)
        await start(peer)

    return prepared
