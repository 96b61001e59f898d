"""What every peer has, averaged over the whole network by exchanges with neighbours alone."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import networkx as nx
import torch

from peer.effects import Letter
from peer.peer import Peer
from topology import neighbour_weights, sparse_weights
from topology.spectral import second_eigenvalue

ACCURACY = 1e-10
"""By how much the peers' values may still differ at the end, relative to how they did at first."""

STAGE = 2**16
"""Exchanges that one attempt takes at most. What peers find out before the first round, they find
in stages, whose exchanges are numbered apart: a peer that was cut off is in another stage, not at
the same exchange with another letter."""

ATTEMPTS = 64
"""Of one mean, at most; each is a stage."""

NEARLY_EVEN = 1e-8
"""Shares in the mean that differ by less, relatively, are equal."""

NOBODY = 1e-12
"""A share below it is that of a peer that took no part."""


class NetworkMean(NamedTuple):
    """What :func:`network_mean` found.

    Attributes:
        value: the mean over the peers that took part, as long as what each of them had.
        peers: those that took part, in id order.
        deviation: of the peers' shares in the mean from equal ones, relative; 0 is exact.
    """

    value: torch.Tensor
    peers: tuple[int, ...]
    deviation: float


async def network_mean(peer: Peer, name: str, value: torch.Tensor, part: int = 0) -> NetworkMean:
    """The mean of all peers' ``value`` (n,), float64, which every peer calls with its own.

    ``part`` numbers what is found out together before the first round (see :data:`STAGE`).

    The combination is that of diffusion, ``y_k <- sum over l in N_k of a_lk y_l`` with Metropolis
    weights on all links that ever occur; Chebyshev's semi-iteration makes T of them as accurate as
    T^2 plain ones (Golub and Varga 1961, doi:10.1007/BF01386013). T follows from lambda_2. On a
    star, the centre adds up and sends the sum back: one exchange each way.

    Each peer's share in the mean travels along, so that every peer can tell who took part and how
    exactly. Where a peer stays away, the others know it by that, and begin again without it.
    """
    shares = torch.zeros(peer.peers, dtype=torch.float64)
    shares[peer.id] = 1.0
    mine = torch.cat((value.to("cpu", torch.float64), shares))  # (n + K,)
    graph = peer.schedule.union()
    attempt = 0
    while True:
        begin_part(peer, part, attempt)
        y = await _mean_over(graph, peer, name, mine)
        shares = y[len(value) :]
        took_part = [k for k, share in enumerate(shares.tolist()) if abs(share) > NOBODY]
        even = 1 / len(took_part)
        deviation = max(abs(float(shares[k]) - even) for k in took_part) / even
        if deviation < NEARLY_EVEN or len(took_part) == len(graph):
            return NetworkMean(y[: len(value)], tuple(took_part), deviation)
        present = graph.subgraph(took_part)
        reached = nx.node_connected_component(present, peer.id)
        graph = nx.Graph(present.subgraph(reached))
        attempt += 1


def begin_part(peer: Peer, part: int, attempt: int = 0) -> None:
    """The exchanges from now on are those of this part, and of this attempt at it."""
    peer.skip_to((part * ATTEMPTS + min(attempt, ATTEMPTS - 1)) * STAGE)


async def _mean_over(graph: nx.Graph[int], peer: Peer, name: str, y: torch.Tensor) -> torch.Tensor:
    """The mean over the peers of ``graph``."""
    if len(graph) == 1:
        return y
    centre = centre_of_star(graph)
    if centre is None:
        weights = neighbour_weights(graph, "metropolis", peer.id)
        return await _iterate(peer, name, y, weights, *_plan(_frozen(graph)))
    others = sorted(graph.neighbors(peer.id))
    if peer.id == centre:
        letters = await peer.gather(name, others)
        total = y.clone()
        for letter in letters.values():  # in id order
            total += _same_length(letter, y)
        mean = total / (1 + len(letters))
        await peer.exchange(name, dict.fromkeys(others, Letter(name, {"y": mean})), ())
        return mean
    await peer.exchange(name, {centre: Letter(name, {"y": y})}, ())
    of_all = (await peer.gather(name, [centre])).get(centre)
    return y if of_all is None else _same_length(of_all, y)


async def _iterate(
    peer: Peer,
    name: str,
    y: torch.Tensor,
    weights: dict[int, float],
    modulus: float,
    exchanges: int,
) -> torch.Tensor:
    """Chebyshev's semi-iteration: y(t+1) = omega (W y(t) - y(t-1)) + y(t-1)."""
    before, omega = y, 1.0
    for t in range(exchanges):
        letters = dict.fromkeys(weights, Letter(name, {"y": y}))
        received = await peer.exchange(name, letters, weights)
        mixed = y.clone()  # sum over l in N_k of a_lk y_l, in id order
        for neighbour, letter in received.items():
            if neighbour not in peer.missed:
                mixed += weights[neighbour] * (_same_length(letter, y) - y)
        if t:
            omega = 1 / (1 - modulus**2 / 2) if t == 1 else 1 / (1 - modulus**2 * omega / 4)
        before, y = y, omega * (mixed - before) + before
    return y


def _same_length(letter: Letter, y: torch.Tensor) -> torch.Tensor:
    """What a neighbour has; our own where it is something else."""
    theirs = letter.tensors.get("y", y)
    return theirs.cpu() if theirs.shape == y.shape and theirs.dtype == y.dtype else y


Edges = tuple[tuple[int, int], ...]


def _frozen(graph: nx.Graph[int]) -> Edges:
    return tuple(sorted((min(edge), max(edge)) for edge in graph.edges))


@lru_cache(maxsize=8)
def _plan(edges: Edges) -> tuple[float, int]:
    """lambda_2, rounded as all machines round it, and how many exchanges reach ACCURACY.

    After T of them, what is left of any difference is at most 1/T_T(1/lambda_2), T_T being
    Chebyshev's polynomial: cosh(T arcosh(1/lambda_2)) >= sqrt(K)/ACCURACY.
    """
    graph = nx.Graph(edges)
    modulus = round(second_eigenvalue(sparse_weights(graph, "metropolis")), 9)
    if modulus == 0:
        return 0.0, 1
    exchanges = math.acosh(math.sqrt(len(graph)) / ACCURACY) / math.acosh(1 / modulus)
    return modulus, math.ceil(exchanges)


def centre_of_star(graph: nx.Graph[int]) -> int | None:
    """The peer that all others are linked with and with nobody else; of two peers, the first."""
    if graph.number_of_edges() != len(graph) - 1:
        return None
    return next((k for k in sorted(graph) if graph.degree[k] == len(graph) - 1), None)
