"""How fast a network agrees: the second eigenvalue of its weights, and what follows from it.

Combining alone shrinks disagreement (the mean squared distance to the centroid) by lambda_2^2 a
round, where lambda_2 is the second largest modulus among the eigenvalues of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a peer asks for no spectrum, and loads no scipy
    from scipy.sparse import csr_array

FloatArray = NDArray[np.float64]
Weights: TypeAlias = "FloatArray | csr_array[np.float64]"

EPS = float(np.finfo(np.float64).eps)

DENSE_UP_TO = 300
"""Peers up to which all eigenvalues are found; beyond it, only the wanted one (ARPACK)."""

DENSE_AT_MOST = 5000
"""Peers up to which all eigenvalues are found where ARPACK does not converge."""


def second_eigenvalue(weights: Weights) -> float:
    """The second largest modulus among the eigenvalues of a network's weights.

    It is ``rho(A - 1 1^T / K)``: columns of A sum to 1, so that 1 is a left eigenvector of
    eigenvalue 1, and taking ``x 1^T`` off with any x that sums to 1 turns that eigenvalue to 0 and
    leaves the others as they are (Brauer's theorem). So it holds for weights that are not symmetric
    too. The whole spectrum up to 300 peers, ARPACK with a fixed start above.

    Args:
        weights: (K, K), dense or sparse, columns summing to 1.

    Returns:
        From 0 (one combine is the exact mean; also for one peer) to 1 (the network is not
        connected, and never agrees).

    Raises:
        ValueError: where weights is not square, or a column does not sum to 1.
        RuntimeError: where ARPACK does not converge and K is above 5,000 (weights that are not
            symmetric, on a graph so long that lambda_2 all but touches 1).
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import ArpackError

    if len(weights.shape) != 2 or weights.shape[0] != weights.shape[1]:
        raise ValueError(f"weights must be square, not {weights.shape}")
    peers = weights.shape[0]
    matrix = weights if isinstance(weights, csr_array) else csr_array(weights)
    if peers == 0 or not np.allclose(matrix.sum(axis=0), 1.0, rtol=0, atol=1e-9):
        raise ValueError("every column of the weights must sum to 1")
    if peers <= DENSE_UP_TO:
        modulus = _by_whole_spectrum(matrix)
    else:
        try:
            modulus = _by_arpack(matrix)
        except ArpackError as error:
            if peers > DENSE_AT_MOST:
                raise RuntimeError(
                    f"the second eigenvalue of {peers} peers did not converge"
                ) from error
            modulus = _by_whole_spectrum(matrix)
    return 0.0 if modulus <= peers * EPS else min(modulus, 1.0)


def schedule_eigenvalue(weights: Iterable[Weights]) -> float:
    """The second largest modulus among the eigenvalues of one period of changing weights.

    Combining with A_1, A_2, ... A_p in turn multiplies parameters by ``A_p^T ... A_2^T A_1^T``;
    where this is the exact mean (0), one period is enough. In the long run a period shrinks the
    distance to the mean by what is returned, a round by its p-th root. It says nothing of one
    period alone, for a product of symmetric matrices is not symmetric.

    Args:
        weights: the matrices of one period, each (K, K), columns summing to 1; at least one. For a
            schedule: ``[sparse_weights(graph, rule) for graph in schedule.one_period()]``.

    Returns:
        From 0 to 1 (the union of the graphs is not connected).

    Raises:
        ValueError, RuntimeError: as :func:`second_eigenvalue`.
    """
    from scipy.sparse import csr_array

    product: csr_array[np.float64] | None = None
    for matrix in weights:
        factor = csr_array(matrix)
        product = factor if product is None else csr_array(product @ factor)
    if product is None:
        raise ValueError("a period has at least one matrix of weights")
    return second_eigenvalue(product)


def spectral_gap(weights: Weights) -> float:
    """``1 - lambda_2``, from 0 (never agrees) to 1 (agrees in one round).

    Raises:
        ValueError, RuntimeError: as :func:`second_eigenvalue`.
    """
    return 1.0 - second_eigenvalue(weights)


def mixing_time(weights: Weights, epsilon: float) -> float:
    """The fewest combines t after which ``lambda_2^t <= epsilon``.

    Where weights are symmetric, the distance of the peers' values to their mean (the root of
    disagreement) is then at most epsilon of what it was, wherever they started.

    Args:
        weights: (K, K), dense or sparse, columns summing to 1.
        epsilon: more than 0; the mean has mixed at the start where it is 1 or more.

    Returns:
        A whole number of rounds, or infinity where the network is not connected.

    Raises:
        ValueError: where epsilon is not more than 0.
        ValueError, RuntimeError: as :func:`second_eigenvalue`.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be more than 0, not {epsilon}")
    lambda_2 = second_eigenvalue(weights)
    if epsilon >= 1:
        return 0.0
    if lambda_2 == 0:
        return 1.0
    if lambda_2 == 1:
        return math.inf
    rounds = math.ceil(math.log(epsilon) / math.log(lambda_2))
    # the logarithms may round across a whole number
    if lambda_2 ** (rounds - 1) <= epsilon:
        rounds -= 1
    elif lambda_2**rounds > epsilon:
        rounds += 1
    return float(rounds)


def transient_rounds(mu: float, lambda_2: float) -> float:
    """Rounds of diffusion until peers stay within O(mu^2) of their centroid: 3 ln mu / ln lambda_2.

    Wang, Pavan and Sayed, "Decentralized GAN Training through Diffusion Learning", eq. 17, up to
    the O(1) that the paper leaves open.

    Args:
        mu: the step size, more than 0; the count is 0 where it is 1 or more (nothing is small).
        lambda_2: of the weights, from 0 to 1.

    Returns:
        Rounds, seldom a whole number; 0 where lambda_2 is 0, infinity where it is 1.

    Raises:
        ValueError: where mu or lambda_2 is out of range.
    """
    if not mu > 0:
        raise ValueError(f"mu must be more than 0, not {mu}")
    if not 0 <= lambda_2 <= 1:
        raise ValueError(f"lambda_2 must be from 0 to 1, not {lambda_2}")
    if lambda_2 == 0 or mu >= 1:
        return 0.0
    if lambda_2 == 1:
        return math.inf
    return 3 * math.log(mu) / math.log(lambda_2)


def _by_whole_spectrum(weights: csr_array[np.float64]) -> float:
    deflated = weights.toarray() - 1.0 / weights.shape[0]
    find = np.linalg.eigvalsh if _symmetric(weights) else np.linalg.eigvals
    return float(np.abs(find(deflated)).max())


def _by_arpack(weights: csr_array[np.float64]) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, eigsh

    peers = weights.shape[0]

    def deflated(x: FloatArray) -> FloatArray:
        centred: FloatArray = weights.dot(x) - x.mean()
        return centred

    start: FloatArray = np.random.default_rng(np.random.SeedSequence(0)).standard_normal(peers)
    if np.linalg.norm(deflated(start)) <= peers * EPS * np.linalg.norm(start):
        return 0.0  # A = 1 1^T / K, on which ARPACK finds nothing to start from
    symmetric = _symmetric(weights)
    find = eigsh if symmetric else eigs
    try:
        found = find(
            LinearOperator((peers, peers), matvec=deflated, dtype=np.float64),
            k=1,
            which="LM",
            v0=start,
            ncv=64,  # with the usual 20 vectors, graphs of many rounds take many more iterations
            maxiter=50 if symmetric else 1000,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        if not symmetric:
            raise
        return _next_to_one(weights, start)
    return float(np.abs(found).max())


def _next_to_one(weights: csr_array[np.float64], start: FloatArray) -> float:
    from scipy.sparse.linalg import ArpackError, eigsh

    # On long thin graphs eigenvalues crowd beneath 1: inverting about a point just above 1 spreads
    # them out, and thin graphs factorise cheaply.
    found = eigsh(weights.tocsc(), k=2, sigma=1.001, v0=start, return_eigenvectors=False)
    second = float(found.min())
    lowest = 2 * float(weights.diagonal().min()) - 1  # no eigenvalue is below it (Gershgorin)
    if second < -lowest:
        raise ArpackError(0, {0: "an eigenvalue near -1 may be the larger"})
    return second


def _symmetric(weights: csr_array[np.float64]) -> bool:
    return bool(abs(weights - weights.T).max() <= 1e-12)
