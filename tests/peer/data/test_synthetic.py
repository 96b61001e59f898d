"""Images made on the spot: a mixture of Gaussians, the same wherever it is made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peer.data import DataSpec, load_source
from peer.experiment import from_mapping
from sim.runs.simulate import make_states
from tests.support.systems import PLAIN
from topology import UserError


def spec(**keys: object) -> DataSpec:
    return DataSpec.model_validate({"source": "synthetic", "images": 500, "classes": 4} | keys)


def test_shapes_classes_and_range() -> None:
    images = load_source(spec(size=12, channels=3))
    assert images.shape == (3, 12, 12)
    assert images.labels is not None
    assert np.bincount(images.labels).tolist() == [125] * 4
    x = images.take(range(500))
    assert x.min() >= -1
    assert x.max() <= 1


def test_a_class_is_its_centre_and_a_spread() -> None:
    images = load_source(spec(spread=0.05))
    assert images.labels is not None
    x = images.take(range(500)).numpy()  # (n, 1, 8, 8)
    centres = np.stack([x[images.labels == c].mean(0) for c in range(4)])
    nearest = np.square(x[:, None] - centres).sum((2, 3, 4)).argmin(1)
    assert (nearest == images.labels).all()
    assert np.std(x - centres[images.labels]) == pytest.approx(0.05, rel=0.05)


def test_the_seed_says_everything() -> None:
    one, again = load_source(spec()), load_source(spec(), peer_id=3)
    other = load_source(spec(mixture=1))
    assert np.array_equal(one.pixels, again.pixels)  # shared by all: whoever asks
    assert not np.array_equal(one.pixels, other.pixels)


def test_peers_have_images_of_their_own_of_the_same_classes() -> None:
    own = spec(partition="own", spread=0.0)
    one, other = load_source(own, 0), load_source(own, 1)
    assert one.labels is not None
    assert other.labels is not None
    assert not np.array_equal(one.labels, other.labels)
    for c in range(4):
        assert np.array_equal(one.pixels[one.labels == c][0], other.pixels[other.labels == c][0])


def test_every_peer_of_a_simulation_gets_its_own() -> None:
    data = {"source": "synthetic", "images": 30, "partition": "own"}
    algorithm = {"name": "diffusion", "rounds": 1}
    keys = PLAIN | {"graph": "ring", "data": data, "algorithm": algorithm}
    states = make_states(from_mapping(keys))
    shards = [state.shard for state in states.values()]
    assert [len(shard) for shard in shards if shard] == [30] * 5
    assert shards[0] is not None
    assert shards[1] is not None
    assert not torch.equal(shards[0].pixels, shards[1].pixels)


def test_keys_of_a_synthetic_source_belong_to_it() -> None:
    with pytest.raises(UserError, match=r"data.images: source digits has its own"):
        DataSpec.model_validate({"source": "digits", "images": 10})
    assert "images" not in DataSpec().model_dump()
    assert DataSpec.model_validate(spec().model_dump()) == spec()
