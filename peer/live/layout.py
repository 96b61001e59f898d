"""Where the peers of a graph are drawn."""

from __future__ import annotations

import networkx as nx
import numpy as np

Place = tuple[float, float]


def lay_out(graph: nx.Graph[int]) -> dict[int, Place]:
    """A place in [-1, 1] x [-1, 1] for each node; the same graph has the same places.

    A circle for rings, dense and tiny graphs; else by distances, or springs where large.
    """
    peers = graph.number_of_nodes()
    ring = all(degree == 2 for _, degree in graph.degree)
    if ring or peers <= 3 or nx.density(graph) >= 0.6:
        # From the top, clockwise, so that peer 0 is where one looks first.
        angles = np.pi / 2 - 2 * np.pi * np.arange(peers) / peers
        nodes = sorted(graph)
        return {k: (float(np.cos(a)), float(np.sin(a))) for k, a in zip(nodes, angles, strict=True)}
    found = nx.kamada_kawai_layout(graph) if peers <= 100 else nx.spring_layout(graph, seed=0)
    return {int(k): (float(x), float(y)) for k, (x, y) in found.items()}
