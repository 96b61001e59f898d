"""A client's representation: one vector for all its data, by sparse coding (Oasis, 4.1 and 5).

Codes a minimise ``||x - sum over j of a_j b_j||^2 + beta ||a||_1`` for unit-norm bases b_j. With a
dictionary of each client's own, as in the paper, codes of different clients cannot be compared; the
default is one dictionary for all.

Privacy: the paper's theorem needs secret bases, so with a common dictionary it does not hold; and
the mean image of a client whose images are similar gives them away in any case. Choose
``label_histogram`` where labels may be disclosed and images may not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.histograms import histogram_of_labels
from peer.data.sources import public_digits
from peer.peer import Peer
from peer.settings import Settings
from peer.streams import stream

Array = NDArray[np.float64]


class Representation(Settings):
    """Settings under ``representation:``.

    ``dictionary``: ``common_random`` (seeded, no data needed), ``common_learned`` (from public
    handwritten digits, resized), ``local_same_init`` and ``local`` (each client's own, as in the
    paper); or no coding at all: ``mean_image``, ``label_histogram``.
    """

    dictionary: Literal[
        "common_random",
        "common_learned",
        "local_same_init",
        "local",
        "mean_image",
        "label_histogram",
    ] = "common_random"
    batches: int = Field(10, ge=1, description="K random batches make a point.")
    batch: int = Field(32, ge=1, description="Images a batch.")
    atoms: int = Field(64, ge=2, description="s: bases, the length of the vector.")
    beta: float = Field(0.2, gt=0, description="Sparsity.")
    reduce: Literal["mean_then_encode", "encode_then_mean"] = Field(
        "mean_then_encode", description="Code the batches' mean, or average the batches' codes."
    )


def represent(peer: Peer, how: Representation) -> Array:
    """r_k: (atoms,), or as long as an image or a histogram."""
    if how.dictionary == "label_histogram":
        return np.asarray(histogram_of_labels(peer), dtype=np.float64)
    images = (peer.pixels.mean(dim=1).flatten(1).cpu().numpy().astype(np.float64) + 1) / 2
    points = batch_means(images, how, peer.rng("representation"))  # (K, pixels)
    if how.dictionary == "mean_image":
        return np.asarray(points.mean(axis=0))
    bases = bases_for(peer, how, points)
    if how.reduce == "mean_then_encode":
        points = points.mean(axis=0, keepdims=True)
    return np.asarray(encode(points, bases, how.beta).mean(axis=0))


def batch_means(images: Array, how: Representation, rng: np.random.Generator) -> Array:
    """The mean images of K batches, (K, pixels), drawn without replacement if there are enough."""
    count = how.batches * how.batch
    chosen = rng.choice(len(images), count, replace=len(images) < count)
    return np.asarray(images[chosen].reshape(how.batches, how.batch, -1).mean(axis=1))


def encode(points: Array, bases: Array, beta: float) -> Array:
    """Codes of ``points`` (n, pixels) in ``bases`` (s, pixels): (n, s).

    scikit-learn minimises half the squared error, so its alpha is beta / 2.
    """
    from sklearn.decomposition import sparse_encode  # scikit-learn takes a second to import

    codes = sparse_encode(points, bases, algorithm="lasso_lars", alpha=beta / 2)
    return np.asarray(codes)


def bases_for(peer: Peer, how: Representation, points: Array) -> Array:
    """The dictionary, (s, pixels), of unit-norm rows."""
    from sklearn.decomposition import DictionaryLearning, MiniBatchDictionaryLearning

    pixels = points.shape[1]
    common = random_bases(how.atoms, pixels, stream(peer.seed, "dictionary"))
    match how.dictionary:
        case "common_random":
            return common
        case "common_learned":
            public = public_digits(*peer.pixels.shape[-2:]).reshape(-1, pixels)
            learner = MiniBatchDictionaryLearning(
                how.atoms, alpha=how.beta / 2, max_iter=20, dict_init=common, random_state=0
            )
            return np.asarray(learner.fit(public).components_)
        case "local_same_init":
            start = common
        case _:
            start = random_bases(how.atoms, pixels, peer.rng("dictionary"))
    learner = DictionaryLearning(
        how.atoms,
        alpha=how.beta / 2,
        max_iter=50,
        fit_algorithm="lars",
        code_init=encode(points, start, how.beta),
        dict_init=start,
        random_state=0,
    )
    return np.asarray(learner.fit(points).components_)


def random_bases(atoms: int, pixels: int, rng: np.random.Generator) -> Array:
    """Rows of unit norm in random directions."""
    bases = rng.standard_normal((atoms, pixels))
    return np.asarray(bases / np.linalg.norm(bases, axis=1, keepdims=True))
