"""Which rank simulates which peer."""

from __future__ import annotations

import networkx as nx
import numpy as np
import scipy.sparse.csgraph


def partition_peers(graph: nx.Graph[int], ranks: int) -> dict[int, int]:
    """The rank of every peer: equally many peers a rank, and few links between ranks.

    Peers are put in reverse Cuthill-McKee order, in which neighbours are near each other, and the
    order is cut into parts (E. Cuthill and J. McKee, "Reducing the bandwidth of sparse symmetric
    matrices", 1969, doi:10.1145/800195.805928).
    """
    adjacency = nx.to_scipy_sparse_array(graph, nodelist=range(len(graph)), format="csr")
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(adjacency, symmetric_mode=True)
    parts = np.array_split(order, ranks)
    return {int(k): rank for rank, part in enumerate(parts) for k in part}


def peers_of_rank(graph: nx.Graph[int], ranks: int, rank: int) -> list[int]:
    """The peers that :func:`partition_peers` gives to one rank."""
    return [k for k, own_rank in partition_peers(graph, ranks).items() if own_rank == rank]
