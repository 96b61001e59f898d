"""Partitions that give peers unlike amounts: Dirichlet, FeGAN's engine, halves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.data.partitions import partition
from peer.data.sources import Images
from peer.data.spec import DataSpec
from sim.commands import partition as draw_partition
from topology.errors import UserError


def images_of(counts: list[int]) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Images(np.zeros((len(labels), 1, 1, 1), dtype=np.uint8), labels, "some", unit=127.5)


def spec_of(**of: object) -> DataSpec:
    return DataSpec.model_validate({"partition": of})


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.1, 0.5, 5.0]))
def test_dirichlet_shares_everything_out_once(peers: int, seed: int, alpha: float) -> None:
    images = images_of([60] * 10)
    parts = partition(spec_of(name="dirichlet", alpha=alpha, least=5), images, peers, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))
    assert min(map(len, parts)) >= 5
    again = partition(spec_of(name="dirichlet", alpha=alpha, least=5), images, peers, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_a_small_alpha_is_less_even_than_a_large_one() -> None:
    def unevenness(alpha: float) -> float:
        images = images_of([100] * 10)
        assert images.labels is not None
        spread = []
        for seed in range(10):
            for part in partition(spec_of(name="dirichlet", alpha=alpha), images, 5, seed):
                share = np.bincount(images.labels[part], minlength=10) / len(part)
                spread.append(share.max())
        return float(np.mean(spread))

    assert unevenness(0.1) > 1.5 * unevenness(10.0)


def test_dirichlet_says_when_it_cannot() -> None:
    with pytest.raises(UserError, match=r"data.partition.least: 50 images for each of 4 peers"):
        partition(spec_of(name="dirichlet", least=50), images_of([10] * 10), 4, 0)
    bare = Images(np.zeros((50, 1, 1, 1), dtype=np.uint8), None, "bare", unit=127.5)
    with pytest.raises(UserError, match="dirichlet goes by label"):
        partition(spec_of(name="dirichlet"), bare, 4, 0)


def test_halves_leave_nobody_out() -> None:
    parts = partition(spec_of(name="halves"), images_of([7, 6]), 2, 3)
    assert sorted(map(len, parts)) == [6, 7]
    assert sorted(np.concatenate(parts).tolist()) == list(range(13))


@pytest.mark.parametrize(("classes", "samples"), [(5, 3000), (10, 2000), (20, 3000), (40, 4000)])
def test_fegans_engine_gives_later_devices_more(classes: int, samples: int) -> None:
    images = images_of([6000] * 10)
    assert images.labels is not None
    spec = spec_of(name="fegan", max_class=classes, max_samples=samples)
    parts = partition(spec, images, 80, 1)
    held = [np.bincount(images.labels[part], minlength=10) for part in parts]
    for i, of in enumerate(held, start=1):
        assert 1 <= (of > 0).sum() <= max(1, min(10, classes * i // 80))
        assert of.max() <= max(1, min(i * i, samples * i // 80))
        assert len(np.unique(parts[i - 1])) == len(parts[i - 1])
    assert sum(of.sum() for of in held[40:]) > 3 * sum(of.sum() for of in held[:40])
    disjoint = partition(spec.model_copy(update={"partition": spec.partition.model_copy(
        update={"disjoint": True, "max_samples": 100})}), images, 80, 1)  # fmt: skip
    together = np.concatenate(disjoint)
    assert len(np.unique(together)) == len(together)
    released = spec_of(name="fegan", max_class=classes, max_samples=samples, as_released=True)
    first, *_, last = partition(released, images, 80, 1)
    assert len(np.unique(images.labels[first])) == 1
    assert len(np.unique(images.labels[last])) == min(10, classes * 79 // 80 + 1)


def test_the_partition_is_drawn_without_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "star.yaml"
    file.write_text(
        "peers: 5\ngraph: star\nalgorithm: {name: fedavg, rounds: 1}\ngan: mlp-digits\n"
        "optimizer: adam\ndata: {partition: {name: dirichlet, alpha: 0.3}}\n"
    )
    draw_partition(file, None, tmp_path / "map.png")
    said = capsys.readouterr().out
    assert [line.split("│")[1].strip() for line in said.splitlines() if line.startswith("│")] == [
        "1", "2", "3", "4",
    ]  # fmt: skip
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
