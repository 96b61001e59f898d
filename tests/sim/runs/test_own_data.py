"""Peers with folders of their own, all on this machine: the simulator sees every one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import algorithms
import sim
from peer.doctor.examination import Wanted, examine
from peer.experiment import Experiment, from_mapping
from peer.runtime.preflight import check_data
from sim.reporting.tables import name_classes, summary_table
from sim.runs.simulate import shards
from topology.errors import UserError

GREY = {"cat": 20, "dog": 120, "emu": 230, "2": 40, "10": 60}


def pets(root: Path, *peers: tuple[str, ...], size: tuple[int, int] = (8, 8)) -> None:
    for k, classes in enumerate(peers):
        for name in classes:
            (root / f"p{k}" / name).mkdir(parents=True)
            for i in range(3):
                image = Image.new("L", size, GREY[name] + i)
                image.save(root / f"p{k}" / name / f"{i}.png")


def experiment(root: Path, peers: int = 2, **data: Any) -> Experiment:
    keys = {
        "peers": peers,
        "graph": "complete",
        "algorithm": {"name": "diffusion", "rounds": 1},
        "optimizer": "adam",
        "gan": "mlp-digits",
        "batch": 4,
        "data": {"source": "folder", "path": "p{id}", "partition": "own", "channels": 1} | data,
    }
    return from_mapping(keys, folder=root)


def test_a_class_has_one_number_at_all_peers(tmp_path: Path) -> None:
    pets(tmp_path, ("cat", "dog"), ("dog", "emu"), ("10", "2"))
    found = shards(experiment(tmp_path, 3))
    seen: dict[str, set[int]] = {}
    for images, indices in found:
        assert images.class_names == ("2", "10", "cat", "dog", "emu")
        assert images.classes == 5
        assert indices is not None
        assert images.labels is not None
        for i in indices:
            grey = int(images.pixels[i].mean())
            name = next(name for name, value in GREY.items() if value <= grey < value + 3)
            seen.setdefault(name, set()).add(int(images.labels[i]))
    assert seen == {"2": {0}, "10": {1}, "cat": {2}, "dog": {3}, "emu": {4}}


def test_a_rank_that_loads_some_peers_numbers_them_as_all_do(tmp_path: Path) -> None:
    pets(tmp_path, ("cat", "dog"), ("dog", "emu"))
    (images, _), = shards(experiment(tmp_path), only=[1])  # fmt: skip
    assert images.labels is not None
    assert set(images.labels.tolist()) == {1, 2}


def test_the_list_in_the_file_decides(tmp_path: Path) -> None:
    pets(tmp_path, ("cat", "dog"), ("dog", "emu"))
    found = shards(experiment(tmp_path, classes=["emu", "dog", "cat", "cow"]))
    assert [sorted(set(of.labels.tolist())) for of, _ in found] == [[1, 2], [0, 1]]  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"data.classes: p1 has 3 images of 'emu', which the list"):
        shards(experiment(tmp_path, classes=["dog", "cat"]))


def test_images_of_other_shapes_are_refused_with_both_peers(tmp_path: Path) -> None:
    pets(tmp_path, ("cat",), ("dog",))
    for file in (tmp_path / "p1").rglob("*.png"):
        Image.new("L", (6, 4), 9).save(file)
    words = (
        "data.path: peer 0 has images of 8x8 with 1 channel, and peer 1 of 6x4 with 1 channel; "
        "set data.size and data.channels, or save them alike"
    )
    own = experiment(tmp_path)
    for check in (shards, lambda of: check_data(of, algorithms.find(of)), sim.run):
        with pytest.raises(UserError) as caught:
            check(own)
        assert str(caught.value) == words
    assert shards(experiment(tmp_path, size=8))[1][0].shape == (1, 8, 8)


def test_channels_of_arrays_are_compared(tmp_path: Path) -> None:
    for k, channels in enumerate((1, 3)):
        pixels = np.full((4, channels, 8, 8), 9, np.uint8)
        np.savez(tmp_path / f"p{k}.npz", images=pixels)
    own = experiment(tmp_path, source="npz", path="p{id}.npz", channels=None)
    with pytest.raises(UserError, match="8x8 with 1 channel, and peer 1 of 8x8 with 3 channels"):
        shards(own)


def test_a_check_says_which_classes_all_peers_have_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pets(tmp_path, ("cat", "dog"), ("dog", "emu"))

    def said(own: Experiment, peer: int | None = None) -> tuple[bool, str]:
        console = Console(soft_wrap=True, markup=False)
        wanted = Wanted(peer, tmp_path / "x.yaml", tmp_path / "keys", tmp_path, False)
        faults = examine(own, algorithms.find(own), wanted, console)
        return not faults, capsys.readouterr().out

    good, words = said(experiment(tmp_path))
    assert good
    assert "peer 0: classes: 'cat', 'dog', 'emu' (this peer has 'cat', 'dog')" in words
    assert "peer 1: classes: 'cat', 'dog', 'emu' (this peer has 'dog', 'emu')" in words
    good, words = said(experiment(tmp_path, classes=["cat", "dog", "emu"]))
    assert good
    assert "classes:" not in words
    shutil.rmtree(tmp_path / "p1")
    good, words = said(experiment(tmp_path), 0)
    assert good
    assert "peer 0: classes: 'cat', 'dog' (this peer's; all peers agree on a list when" in words
    (tmp_path / "p1").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "p1" / "flat.png")
    good, words = said(experiment(tmp_path))
    assert not good
    assert "data.path: peer 0 has images in classes, and peer 1 without; sort all of them" in words


def test_names_are_shown_wherever_a_class_is(tmp_path: Path) -> None:
    pets(tmp_path, ("cat", "dog"), ("dog", "emu"))
    done = sim.run(experiment(tmp_path), run_dir=tmp_path / "run")
    left = json.loads((tmp_path / "run" / "peer-1" / "summary.json").read_text())
    assert left["class_names"] == ["cat", "dog", "emu"]
    assert left["labels"] == {"1": 3, "2": 3}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["class_names"] == ["cat", "dog", "emu"]
    column = list(summary_table(done.summary).columns[1].cells)
    assert column[:2] == ["cat, dog", "dog, emu"]
    assert "dog, emu" in (tmp_path / "run" / "report.html").read_text()


def test_numbers_need_no_names(tmp_path: Path) -> None:
    keys = {"source": "digits", "path": None, "partition": "iid", "channels": None}
    done = sim.run(experiment(tmp_path, **keys), run_dir=tmp_path / "run", report=False)
    assert done.states[0].class_names == tuple("0123456789")
    assert "class_names" not in json.loads((tmp_path / "run/peer-0/summary.json").read_text())


@pytest.mark.parametrize(
    ("classes", "names", "shown"),
    [
        ([0, 1, 2], (), "0-2"),
        ([2, 0], (), "0 2"),
        ([], ("cat",), "-"),
        ([0, 1, 2], ("1", "2", "3"), "1-3"),
        ([0, 2], ("7", "8", "202599000"), "7 202599000"),
        ([1, 0], ("cat", "dog"), "cat, dog"),
        ([0, 1], ("3", "dog"), "3, dog"),
        (range(9), tuple("abcdefghi"), "a, b, c, d, e, f and 3 more"),
        ([0], ("x" * 40,), "x" * 23 + "\u2026"),
    ],
)
def test_classes_in_a_table(classes: Any, names: tuple[str, ...], shown: str) -> None:
    assert name_classes(classes, names) == shown
