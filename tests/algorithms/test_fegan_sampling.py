"""FeGAN's scores, weights and balanced sampling: golden values, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.fegan.sampling import kl_weights, queues_of, sample_balanced, scores, with_loads
from peer.data.partitions import partition
from peer.data.sources import Images
from peer.data.spec import DataSpec
from sim.metrics.seen import seen_by_rounds

HISTOGRAMS = {
    0: np.array([10, 0, 0]), 1: np.array([0, 20, 10]), 2: np.array([10, 10, 20]),
}  # fmt: skip


def test_the_golden_scores_and_weights() -> None:
    s = scores(HISTOGRAMS)
    assert [s[k] for k in range(3)] == pytest.approx([0.173287, 0.129118, 0.021237], abs=1e-6)
    exp = kl_weights(s, [0, 1, 2], "exp")
    assert list(exp.values()) == pytest.approx([0.355147, 0.339802, 0.305052], abs=1e-6)
    assert list(kl_weights(s, [1, 0], "exp").values()) == pytest.approx(
        [0.511040, 0.488960], abs=1e-6
    )
    linear = kl_weights(s, [0, 1, 2], "linear")
    assert list(linear.values()) == pytest.approx([0.535427, 0.398953, 0.065620], abs=1e-6)
    assert list(kl_weights(s, [0, 1, 2], "dirac").values()) == [1, 0, 0]
    loaded = with_loads(exp, {0: 1.0, 1: 0.25, 2: 1.0})
    assert list(loaded.values()) == pytest.approx([0.476612, 0.114005, 0.409384], abs=1e-6)
    assert kl_weights({0: 0.0, 1: 0.0}, [0, 1], "linear") == {0: 0.5, 1: 0.5}
    assert scores({0: np.array([0, 0]), 1: np.array([3, 1])})[0] == 0.0


def test_the_golden_rounds_of_balanced_sampling() -> None:
    c = {0: [30, 0, 0], 1: [0, 5, 0], 2: [0, 5, 40], 3: [10, 10, 10]}
    queues = queues_of({k: np.array(of) for k, of in c.items()})
    taken = [0.0, 0.0, 0.0]
    rounds, sums = [], []
    for _ in range(4):
        rounds.append(set(sample_balanced(queues, taken, c, 2)))
        sums.append(tuple(taken))
    assert rounds == [{3, 0}, {3, 2}, {1, 3}, {2, 1}]
    assert sums == [(40, 10, 10), (50, 25, 60), (60, 40, 70), (60, 50, 110)]


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8))
def test_a_group_is_of_different_devices_and_taken_is_what_they_show(table: list) -> None:
    c = {k: row for k, row in enumerate(table) if sum(row)}
    if not c:
        return
    queues = queues_of({k: np.array(row) for k, row in c.items()})
    taken = [0.0] * 3
    shown = np.zeros(3)
    for _ in range(5):
        group = sample_balanced(queues, taken, c, 3)
        assert 0 < len(group) == len(set(group)) <= min(3, len(c))
        shown += np.sum([c[k] for k in group], axis=0)
        assert taken == shown.tolist()


def digits60k() -> Images:
    labels = np.repeat(np.arange(10), 6000)
    return Images(np.zeros((60_000, 1, 1, 1), dtype=np.uint8), labels, "sixty", unit=127.5)


@pytest.mark.parametrize("setting", [(5, 3000), (10, 2000), (20, 3000), (40, 4000)])
@pytest.mark.parametrize("fraction", [0.025, 0.1])
def test_balanced_sampling_sees_a_truer_distribution(
    setting: tuple[int, int], fraction: float
) -> None:
    """KL(seen || real) below random sampling's on the paper's own partitions, 20 seeds."""
    images = digits60k()
    assert images.labels is not None
    most_classes, most_samples = setting
    spec = DataSpec.model_validate(
        {"partition": {"name": "fegan", "max_class": most_classes, "max_samples": most_samples}}
    )
    everything = dict.fromkeys(range(10), 6000)
    balanced, random = [], []
    for seed in range(20):
        parts = partition(spec, images, 80, seed)
        c = {k: np.bincount(images.labels[part], minlength=10) for k, part in enumerate(parts)}
        assert 90_000 < sum(of.sum() for of in c.values()) < 640_000  # devices overlap
        held = {k: dict(enumerate(of.tolist())) for k, of in c.items()}
        size = int(fraction * 80)
        queues, taken = queues_of(c), [0.0] * 10
        shows = {k: of.tolist() for k, of in c.items()}
        groups = [sample_balanced(queues, taken, shows, size) for _ in range(50)]
        rng = np.random.default_rng(seed)
        chance = [rng.choice(80, size, replace=False).tolist() for _ in range(50)]
        balanced.append(seen_by_rounds(groups, held, everything).divergence)
        random.append(seen_by_rounds(chance, held, everything).divergence)
    ours, theirs = np.mean(balanced, axis=0), np.mean(random, axis=0)
    for after in (10, 50):
        assert ours[after - 1] < theirs[after - 1]
