"""What generators draw: which classes, how near the data, and what is said without labels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from peer.data import load_source
from peer.experiment import Experiment, from_mapping
from peer.quality.samples import draw_samples, load_generators
from sim.metrics.quality import (
    Quality,
    Source,
    class_histogram,
    confident_classes,
    count_covered,
    evaluate_generators,
    share_absent,
)
from topology.errors import UserError


def _experiment(**keys: object) -> Experiment:
    return from_mapping(
        {
            "peers": 5,
            "algorithm": {"name": "diffusion", "rounds": 1},
            "optimizer": "adam",
            "gan": "mlp-digits",
            "data": {"source": "digits", "partition": "pairs"},
        }
        | keys
    )


class Memory(nn.Module):
    """A generator that shows real digits of some classes, whatever z says."""

    def __init__(self, classes: Sequence[int], fill: float | None = None) -> None:
        super().__init__()
        images = load_source(_experiment().data)
        assert images.labels is not None
        self.images = images.take(np.flatnonzero(np.isin(images.labels, list(classes))))
        self.fill = fill

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        which = (z[:, 0].abs() * 1e4).long() % len(self.images)
        shown = self.images[which]
        return shown if self.fill is None else torch.full_like(shown, self.fill)


def test_a_sample_counts_from_confidence_point_nine_on():
    below = np.nextafter(0.9, 0)
    probabilities = np.array(
        [[0.9, 0.1, 0.0], [below, 1 - below, 0.0], [0.0, 0.05, 0.95], [np.nan] * 3]
    )
    confident = confident_classes(probabilities)
    assert confident.tolist() == [0, -1, 2, -1]
    assert class_histogram(confident, 4).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("histogram", "samples", "covered"),
    [
        ([10, 9, 500, 0], 1000, 2),  # 1 % of all samples is enough, a sample less is not
        ([1, 1, 1], 100, 3),
        ([1, 1, 1], 101, 0),
        ([2, 1, 1], 150, 1),
        ([0, 0], 10, 0),
    ],
)
def test_covered_from_one_percent_of_all_samples_on(histogram, samples, covered):
    assert count_covered(np.array(histogram), samples) == covered


def test_absent_share_is_of_all_samples():
    histogram = np.array([100, 50, 30, 20])  # 200 of 400 samples are of no class for sure
    assert share_absent(histogram, [0, 1], 400) == pytest.approx(50 / 400)
    assert share_absent(histogram, [0, 1, 2, 3], 400) == 0.0
    assert share_absent(histogram, [], 400) == pytest.approx(0.5)


def test_real_digits_are_recognised(judge_cache: Path):
    quality = evaluate_generators(
        _experiment(),
        {0: Memory(range(10)), 1: Memory([2, 3]), 3: Memory([0, 9])},
        cache=judge_cache,
    )
    assert quality.samples == 1000
    assert quality.classes == 10
    assert quality.judge_accuracy >= 0.97
    assert dict(quality.coverage) == {0: 10, 1: 2, 3: 2}
    assert dict(quality.labels) == {0: (0, 1), 1: (2, 3), 3: (6, 7)}
    assert sum(quality.histogram[0]) > 950
    assert min(quality.histogram[1][2:4]) > 400
    assert quality.absent_share[0] == pytest.approx(sum(quality.histogram[0][2:]) / 1000)
    assert quality.absent_share[1] < 0.01
    assert quality.absent_share[3] > 0.95
    # A thousand real digits are close to all of them; two classes alone are far from ten.
    assert quality.cfid[0] < quality.cfid[1] / 20


def test_untrained_generators_draw_nothing(judge_cache: Path):
    experiment = _experiment()
    generator = experiment.build_gan((1, 8, 8)).generator
    quality = evaluate_generators(experiment, {0: generator, 1: Memory([0, 1])}, cache=judge_cache)
    assert quality.coverage[0] <= 2
    assert quality.cfid[0] > quality.cfid[1]


def test_samples_that_are_not_finite_cover_nothing(judge_cache: Path):
    quality = evaluate_generators(_experiment(), {0: Memory([1], fill=math.nan)}, cache=judge_cache)
    assert quality.coverage[0] == 0
    assert math.isnan(quality.cfid[0])
    record = json.loads(json.dumps(quality.as_record(), allow_nan=False))
    assert record["cfid"] == {"0": None}
    again = Quality.from_record(record)
    assert math.isnan(again.cfid[0])
    assert again.as_record() == quality.as_record()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"source": "npz", "path": "own.npz", "partition": "own"}, "common source"),
        ({"source": "npz", "path": "plain.npz"}, "no labels"),
        ({"source": "npz", "path": "missing.npz"}, "does not exist"),
        ({"source": "digits", "limit": 40}, "40 images, too few"),
    ],
)
def test_no_labelled_common_source_is_said(tmp_path: Path, data: dict[str, str], why: str):
    np.savez(tmp_path / "plain.npz", images=np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(UserError, match=why):
        evaluate_generators(_experiment(data=data), {}, tmp_path, cache=tmp_path)


def test_a_peers_own_examples_take_turns_by_class(judge_cache: Path):
    source = Source(_experiment(), cache=judge_cache)
    everything = source.images.take(np.arange(len(source.images)))
    found = [
        int((everything == image).all(dim=(1, 2, 3)).nonzero()[0])
        for image in source.examples(2, 6)
    ]
    assert source.images.labels is not None
    assert source.images.labels[found].tolist() == [4, 5, 4, 5, 4, 5]
    assert len(set(found)) == 6


def test_samples_follow_from_the_seed_alone():
    generator = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    generator.train()
    generator[1].eval()
    torch.manual_seed(0)
    first = draw_samples(generator, 3, 300, seed=7)
    torch.manual_seed(1)
    assert torch.equal(draw_samples(generator, 3, 300, seed=7), first)
    assert torch.equal(draw_samples(generator, 3, 16, seed=7), first[:16])
    assert not torch.equal(draw_samples(generator, 3, 300, seed=8), first)
    # Eval mode: running statistics, no dropout. And every part is left in the mode it was in.
    z = draw_samples(nn.Identity(), 3, 300, seed=7)
    expected = generator[0](z) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(first, expected.detach())
    assert [m.training for m in generator] == [True, False, True]
    assert int(generator[1].num_batches_tracked) == 0
    assert abs(float(z.mean())) < 0.1
    assert float(z.std()) == pytest.approx(1, abs=0.1)


def test_generators_are_loaded_by_peer(make_run: Callable[..., Path]):
    folder = make_run(peers=3)
    gan = _experiment().build_gan((1, 8, 8))
    files = {k: folder / f"peer-{k}" / "generator.safetensors" for k in (0, 2)}
    generators = load_generators(files, gan)
    assert sorted(generators) == [0, 2]
    ratio = next(generators[2].parameters()) / next(generators[0].parameters())
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.4))
    files[2].write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"peer-2.*cannot be read"):
        load_generators(files, gan)
    other = _experiment(gan="dcgan28").build_gan((1, 28, 28))
    with pytest.raises(UserError, match="is not a generator of the experiment's gan"):
        load_generators({0: files[0]}, other)
