"""Count sketches: linear, unbiased, and the same at every peer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peer.experiment import from_mapping
from peer.state.count_sketch import CountSketch, decode, encode
from peer.state.recorder import sketcher
from sim.runs.simulate import make_states
from tests.support.systems import PLAIN


def _vector(length: int, seed: int) -> torch.Tensor:
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    return torch.from_numpy(draw.standard_normal(length, dtype=np.float32))


def test_a_peer_s_sketch_is_of_its_parameters_and_not_of_batch_norm_s_statistics() -> None:
    experiment = from_mapping(
        PLAIN | {"algorithm": {"name": "local", "rounds": 1}, "gan": "pytorch-gan-mlp"}
    )
    state = make_states(experiment)[0]
    layout = state.nets["generator"].arena.layout
    assert layout.length > layout.trained
    assert sketcher(experiment, state)["generator"].length == layout.trained


def test_each_parameter_lands_with_a_sign_in_one_bucket():
    sketch = CountSketch(50, seed=3, name="generator", buckets=8)
    columns = np.stack([sketch(row) for row in torch.eye(50)])
    assert (np.count_nonzero(columns, axis=1) == 1).all()
    assert set(columns[columns != 0]) == {-1.0, 1.0}
    # The stream of PCG64 is fixed for ever: another build of numpy must land in the same buckets.
    assert np.abs(columns).argmax(axis=1)[:6].tolist() == [4, 0, 0, 1, 5, 0]


def test_linear_in_the_vector():
    sketch = CountSketch(2000, seed=0, name="generator")
    a, b = _vector(2000, 1), _vector(2000, 2)
    np.testing.assert_allclose(sketch(a) - sketch(b), sketch(a - b), atol=1e-4)


def test_seed_and_name_matter_and_nothing_else():
    vector = _vector(500, 0)
    same = CountSketch(500, 7, "generator")(vector)
    assert (CountSketch(500, 7, "generator")(vector) == same).all()
    assert (CountSketch(500, 8, "generator")(vector) != same).any()
    assert (CountSketch(500, 7, "discriminator")(vector) != same).any()


def test_unbiased_with_the_stated_error():
    vector = _vector(400, 5)
    true = float(vector.double().square().sum())
    found = np.array(
        [np.square(CountSketch(400, seed, "net")(vector)).sum() for seed in range(1500)]
    )
    relative = found / true
    assert abs(relative.mean() - 1) < 4 * relative.std() / np.sqrt(len(found))
    # Var = (2/m) (||x||^4 - ||x||_4^4): just below 2/256 for a vector without large entries.
    assert relative.std() == pytest.approx(np.sqrt(2 / 256), rel=0.08)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=300))
def test_text_keeps_every_bit(values: list[float]):
    sketch = np.array(values)
    assert (decode(encode(sketch)).view(np.uint64) == sketch.view(np.uint64)).all()


@pytest.mark.parametrize("text", ["not base64!", "AAAA", "é"])
def test_what_is_no_sketch_is_refused(text: str):
    with pytest.raises(ValueError, match=r"sketch|buffer|ASCII"):
        decode(text)


def test_wrong_length_is_refused():
    with pytest.raises(ValueError, match=r"\(10,\) vectors, not \(11,\)"):
        CountSketch(10, 0, "generator")(torch.zeros(11))
