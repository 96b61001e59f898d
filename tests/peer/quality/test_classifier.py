"""Judges: how well they recognise, that they are seeded, and when they are trained again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from peer.quality import classifier
from peer.quality.classifier import FEATURES, cache_folder, judge_for, train_judge


def _stripes(n: int, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Three easy classes: stripes across, stripes down, nothing; all with noise."""
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    labels = draw.integers(0, 3, n)
    stripe = (np.arange(size) % 2 * 2.0 - 1)[None, :].repeat(size, 0)
    kinds = np.stack([stripe.T, stripe, np.zeros((size, size))])
    images = kinds[labels] + draw.normal(0, 0.3, (n, size, size))
    return torch.tensor(images.clip(-1, 1)[:, None], dtype=torch.float32), labels


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of judges that were really trained."""
    seeds: list[int] = []
    train = classifier.train_judge

    def counted(*args, seed, **keys):
        seeds.append(seed)
        return train(*args, seed=seed, **keys)

    monkeypatch.setattr(classifier, "train_judge", counted)
    return seeds


def test_learns_and_says_how_well():
    images, labels = _stripes(300)
    judge = train_judge(images, labels, 3)
    assert judge.accuracy > 0.95
    fresh, truth = _stripes(200, seed=1)
    probabilities = judge.probabilities(fresh)
    assert probabilities.shape == (200, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (probabilities.argmax(1) == truth).mean() > 0.95
    features = judge.features(fresh)
    assert features.shape == (200, FEATURES)
    assert features.std() > 0
    probabilities_again, features_again = judge.verdicts(fresh[:7])
    np.testing.assert_allclose(probabilities_again, probabilities[:7], atol=1e-5)
    np.testing.assert_allclose(features_again, features[:7], atol=1e-4)


def test_accuracy_is_of_images_it_was_not_trained_on():
    images, _ = _stripes(300)
    noise = np.random.default_rng(np.random.SeedSequence(9)).integers(0, 3, 300)
    judge = train_judge(images, noise, 3)
    on_all = float((judge.probabilities(images).argmax(1) == noise).mean())
    assert judge.accuracy < 0.55  # random labels cannot be foretold
    assert on_all > judge.accuracy + 0.1  # though most of them were learnt by heart


def test_seeded_and_without_a_trace_in_global_state():
    images, labels = _stripes(120)
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = train_judge(images, labels, 3, seed=1).probabilities(images)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    torch.manual_seed(6)
    assert (train_judge(images, labels, 3, seed=1).probabilities(images) == first).all()
    assert (train_judge(images, labels, 3, seed=2).probabilities(images) != first).any()


def test_second_call_does_not_train(tmp_path, trained):
    images, labels = _stripes(120)
    told: list[str] = []
    first = judge_for(images, labels, 3, cache=tmp_path, notify=told.append)
    second = judge_for(images, labels, 3, cache=tmp_path, notify=told.append)
    assert trained == [0]
    assert len(told) == 1
    assert "120 images" in told[0]
    assert (first.probabilities(images) == second.probabilities(images)).all()
    assert first.accuracy == second.accuracy
    features = first.features(images)
    for judge in (first, second):
        np.testing.assert_allclose(judge.reference[0], features.mean(axis=0))
        np.testing.assert_allclose(judge.reference[1], np.cov(features.T), atol=1e-9)
    [file] = tmp_path.iterdir()
    with safe_open(file, framework="pt") as kept:
        assert float(kept.metadata()["accuracy"]) == first.accuracy


def test_data_labels_and_seed_each_have_their_own_judge(tmp_path, trained):
    images, labels = _stripes(120)
    judge_for(images, labels, 3, cache=tmp_path)
    other = images.clone()
    other[0, 0, 0, 0] += 0.1
    judge_for(other, labels, 3, cache=tmp_path)
    judge_for(images, (labels + 1) % 3, 3, cache=tmp_path)
    judge_for(images, labels, 3, seed=4, cache=tmp_path)
    assert trained == [0, 0, 0, 4]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_judge_is_replaced(tmp_path, trained):
    images, labels = _stripes(120)
    judge_for(images, labels, 3, cache=tmp_path)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    judge_for(images, labels, 3, cache=tmp_path)
    judge_for(images, labels, 3, cache=tmp_path)
    assert trained == [0, 0]
    assert list(tmp_path.iterdir()) == [file]  # and no temporary file is left


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, trained):
    images, labels = _stripes(120)
    (tmp_path / "file").write_text("in the way")
    assert judge_for(images, labels, 3, cache=tmp_path / "file").accuracy > 0.9
    assert trained == [0]


def test_large_images_and_colour_take_the_large_net(tmp_path):
    images, labels = _stripes(100, size=40)
    judge = train_judge(images.repeat(1, 3, 1, 1), labels, 3)
    assert judge.features(images.repeat(1, 3, 1, 1)[:5]).shape == (5, FEATURES)
    weights = [tuple(p.shape) for p in judge._net.parameters()]
    assert weights[0] == (32, 3, 3, 3)
    assert weights[4] == (128, 64 * 49)


def test_digits_reach_97_percent(judge_cache):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    judge = judge_for(images, digits.target.astype(np.int64), 10, cache=judge_cache)
    assert judge.accuracy >= 0.97


def test_cache_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hearsay"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "hearsay"
