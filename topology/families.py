"""The families of graphs that an experiment can name, as one table.

A family is a function from the number of peers (two or more), and for a random family a seed, to a
connected graph on nodes 0 to peers - 1; what else it takes are its parameters. To add one, write
the function and give it a line in :data:`FAMILIES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import networkx as nx
import numpy as np

from topology.errors import UserError

TRIES = 100
"""How many graphs a random family draws, at most, to find a connected one."""


@dataclass(frozen=True)
class Family:
    """One family of graphs.

    Args:
        build: the function; called with peers, seed where the family is random, and parameters.
        parameters: the type of each parameter that the user may set.
        random: whether the graph depends on a seed.
    """

    build: Callable[..., nx.Graph[int]]
    parameters: Mapping[str, type[int] | type[float]] = field(default_factory=dict)
    random: bool = False


def star(peers: int, centre: int = 0) -> nx.Graph[int]:
    """Every peer linked to the centre alone."""
    _within("centre", centre, 0, peers - 1)
    graph: nx.Graph[int] = nx.Graph()
    graph.add_edges_from((centre, leaf) for leaf in range(peers) if leaf != centre)
    return graph


def grid(peers: int, rows: int | None = None, columns: int | None = None) -> nx.Graph[int]:
    """A lattice without wrapping, numbered row by row; as nearly square as peers allows."""
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(*_shape(peers, rows, columns)))


def torus(peers: int, rows: int | None = None, columns: int | None = None) -> nx.Graph[int]:
    """A lattice whose rows and columns close into rings; shaped and numbered as a grid.

    Two peers in a row or column share one link; a prime number of peers gives one ring.
    """
    shape = _shape(peers, rows, columns)
    graph: nx.Graph[int] = nx.Graph()
    numbers = np.arange(peers).reshape(shape)
    for axis in (0, 1):
        if shape[axis] > 1:
            ahead = np.roll(numbers, -1, axis)
            graph.add_edges_from(zip(range(peers), ahead.ravel().tolist(), strict=True))
    return graph


def hypercube(peers: int) -> nx.Graph[int]:
    """Peers linked where their numbers differ in one bit; there must be a power of two of them."""
    if peers & (peers - 1):
        below = 1 << (peers.bit_length() - 1)
        raise UserError(
            f"peers: must be a power of two on a hypercube: {below} or {2 * below}, not {peers}"
        )
    bits = range(peers.bit_length() - 1)
    return nx.Graph([(peer, peer ^ 1 << bit) for peer in range(peers) for bit in bits])


def exponential(peers: int) -> nx.Graph[int]:
    """Every peer linked to those 1, 2, 4, 8... places ahead of and behind it, round the circle.

    Source: Ying et al., "Exponential Graph is Provably Efficient for Decentralized Deep Training"
    (2021, arXiv:2110.13363), with every link both ways.
    """
    ahead = [1 << bit for bit in range((peers - 1).bit_length())]
    return nx.Graph([(peer, (peer + step) % peers) for peer in range(peers) for step in ahead])


def wheel(peers: int, centre: int = 0) -> nx.Graph[int]:
    """A star whose leaves form a ring, in the order of their numbers."""
    graph = star(peers, centre)
    leaves = [peer for peer in range(peers) if peer != centre]
    if len(leaves) > 1:
        graph.add_edges_from(zip(leaves, [*leaves[1:], leaves[0]], strict=True))
    return graph


def erdos_renyi(peers: int, seed: int, p: float | None = None) -> nx.Graph[int]:
    """Each link there with probability p, independently; drawn again until connected.

    By default p = 2 ln(K)/K, twice the threshold of connectedness: one draw in two or more
    is then connected (about exp(-1/K) of them), for any number of peers K.
    """
    enough = min(1.0, 2 * math.log(peers) / peers)
    chance = enough if p is None else p
    if not 0 < chance <= 1:
        raise UserError(f"graph.p: must be more than 0 and at most 1, not {chance}")
    # below 1e-12 networkx divides by log(1 - p) = 0; there are no links then either way
    return _first_connected(
        lambda draw: nx.fast_gnp_random_graph(peers, max(chance, 1e-12), seed=draw),
        seed,
        f"graph.p: {TRIES} draws with p = {chance:.3g} gave no connected graph of {peers} peers; "
        f"{enough:.3g} is enough",
    )


def watts_strogatz(peers: int, seed: int, k: int | None = None, p: float = 0.1) -> nx.Graph[int]:
    """A ring of k nearest neighbours, each link rewired with probability p, until connected.

    By default k is 4, or what fewer than five peers allow. k is even: k/2 on each side.
    """
    most = max(2, peers - 1)
    k = min(4, most - most % 2) if k is None else k
    _within("k", k, 2, most)
    if k % 2:
        raise UserError(f"graph.k: must be even, half of them on each side, not {k}")
    if not 0 <= p <= 1:
        raise UserError(f"graph.p: must be from 0 to 1, not {p}")
    draw = _draw(seed, 0)  # networkx goes on with the same stream until a graph is connected
    try:
        graph: nx.Graph[int] = nx.connected_watts_strogatz_graph(peers, k, p, TRIES, draw)
    except nx.NetworkXError as error:
        raise UserError(
            f"graph.k: {TRIES} draws with k = {k}, p = {p:.3g} gave no connected graph of "
            f"{peers} peers; a larger k or a smaller p would"
        ) from error
    return graph


def random_regular(peers: int, seed: int, degree: int | None = None) -> nx.Graph[int]:
    """A graph drawn among those where every peer has the same number of links.

    By default degree is 3, or 4 where peers is odd (peers times degree must be even), or what
    fewer than five peers allow.
    """
    degree = min(3 + peers % 2, peers - 1) if degree is None else degree
    _within("degree", degree, min(2, peers - 1), peers - 1)
    if peers * degree % 2:
        raise UserError(
            f"graph.degree: must be even where peers is odd ({peers}): {degree - 1} or "
            f"{degree + 1}, not {degree}"
        )
    # networkx pairs stubs at random, which rarely succeeds in dense graphs: draw the complement
    dense = degree > (peers - 1) / 2
    drawn = peers - 1 - degree if dense else degree

    def attempt(draw: int) -> nx.Graph[int]:
        graph = nx.random_regular_graph(drawn, peers, seed=draw)
        return nx.complement(graph) if dense else graph

    return _first_connected(
        attempt,
        seed,
        f"graph.degree: {TRIES} draws with degree = {degree} gave no connected graph of {peers} "
        f"peers; {degree + 1 + peers % 2} would",
    )


def barabasi_albert(peers: int, seed: int, m: int | None = None) -> nx.Graph[int]:
    """Preferential attachment: each new peer links to m earlier ones, likelier to those with more.

    It grows from a star of m + 1 peers, so that it is always connected. By default m is 2, or 1 for
    two peers.
    """
    m = min(2, peers - 1) if m is None else m
    _within("m", m, 1, peers - 1)
    return nx.barabasi_albert_graph(peers, m, seed=_draw(seed, 0))


FAMILIES: Mapping[str, Family] = {
    "ring": Family(nx.cycle_graph),
    "path": Family(nx.path_graph),
    "star": Family(star, {"centre": int}),
    "complete": Family(nx.complete_graph),
    "grid": Family(grid, {"rows": int, "columns": int}),
    "torus": Family(torus, {"rows": int, "columns": int}),
    "hypercube": Family(hypercube),
    "exponential": Family(exponential),
    "wheel": Family(wheel, {"centre": int}),
    "erdos-renyi": Family(erdos_renyi, {"p": float}, random=True),
    "watts-strogatz": Family(watts_strogatz, {"k": int, "p": float}, random=True),
    "random-regular": Family(random_regular, {"degree": int}, random=True),
    "barabasi-albert": Family(barabasi_albert, {"m": int}, random=True),
}
"""The families by name."""


def _shape(peers: int, rows: int | None, columns: int | None) -> tuple[int, int]:
    """Rows and columns that hold all the peers, as given or as nearly square as peers allows."""
    for key, value in (("rows", rows), ("columns", columns)):
        if value is not None and (value < 1 or peers % value):
            raise UserError(f"graph.{key}: must divide peers = {peers}, and {value} does not")
    if rows is None:
        rows = peers // columns if columns else _largest_divisor_up_to_root(peers)
    columns = columns or peers // rows
    if rows * columns != peers:
        raise UserError(
            f"graph.rows: {rows} rows of {columns} columns hold {rows * columns} peers, "
            f"and peers is {peers}"
        )
    return rows, columns


def _first_connected(
    attempt: Callable[[int], nx.Graph[int]], seed: int, otherwise: str
) -> nx.Graph[int]:
    for number in range(TRIES):
        graph = attempt(_draw(seed, number))
        if nx.is_connected(graph):
            return graph
    raise UserError(otherwise)


def _draw(seed: int, number: int) -> int:
    # An integer seeds Python's own generator inside networkx. All peers must draw the same graph on
    # every machine, and numpy may change what a Generator draws from one release to the next.
    sequence = np.random.SeedSequence(seed, spawn_key=(*b"graph", number))
    return int(sequence.generate_state(1, np.uint64)[0])


def _within(key: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        right = str(least) if least == most else f"from {least} to {most}"
        raise UserError(f"graph.{key}: must be {right}, not {value}")


def _largest_divisor_up_to_root(number: int) -> int:
    return next(d for d in range(math.isqrt(number), 0, -1) if number % d == 0)
