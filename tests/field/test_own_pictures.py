"""Five machines with a folder of pictures each: from `peer new` to pictures of another's class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

import sim.__main__
from peer.console import run_app
from peer.data import load_source
from peer.experiment import load
from tests.support.namespaces import Machine, Network
from tests.support.processes import ForkedPeer, Processes

pytestmark = pytest.mark.timeout(240)

MakeNetwork = Callable[[int], Network]

MACHINES, EACH = 5, 70
ROUNDS, SCORED = 120, 10
SHORT = {
    "algorithm.rounds": ROUNDS,
    "metrics.quality_every": SCORED,
    "metrics.samples": 300,
    "metrics.judge": "false",  # its training takes longer than all the rest
}


def own_classes(k: int) -> tuple[str, str]:
    """Each machine has two of the ten digits."""
    return str(2 * k), str(2 * k + 1)


def homes_of(folder: Path) -> list[Path]:
    """A home for each machine, with a folder of pictures: 140 digits of two classes, as PNG."""
    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8)
    homes = [folder / f"home-{k}" for k in range(MACHINES)]
    for k, home in enumerate(homes):
        for name in own_classes(k):
            place = home / "photos" / name
            place.mkdir(parents=True)
            for i, picture in enumerate(pixels[digits.target == int(name)][:EACH]):
                Image.fromarray(picture).save(place / f"{i:03}.png")
    return homes


class Household:
    """The machines, each with its home; commands run there as their owners would type them."""

    def __init__(self, processes: Processes, machines: list[Machine], homes: list[Path]) -> None:
        self.processes = processes
        self.machines = machines
        self.homes = homes

    def start(self, k: int, *words: str) -> ForkedPeer:
        process = ForkedPeer(list(words), self.homes[k], self.machines[k])
        self.processes.started.append(process)
        return process

    def run(self, k: int, *words: str) -> tuple[int, str]:
        process = self.start(k, *words)
        code = process.wait(timeout=60)
        return code, process.communicate()[0]


def first_experiment(house: Household) -> str:
    """The file that `peer new` writes on the first machine."""
    code, said = house.run(0, "new", "photos", "--own")
    assert code == 0, said
    assert "photos: 140 pictures, grey, 8x8 pixels; 2 classes (0: 70, 1: 70)" in said
    for command in ("peer keys --id 0", "peer check --id 0", "peer --id 0 --topology photos.yaml"):
        assert command in said
    written = (house.homes[0] / "photos.yaml").read_text(encoding="utf-8")
    keys: dict[str, Any] = yaml.safe_load(written)
    assert (keys["peers"], keys["gan"]) == (MACHINES, "mlp-digits")
    assert (keys["data"]["path"], keys["data"]["partition"]) == ("photos", "own")
    assert keys["metrics"]["quality_every"] > 0
    assert keys["metrics"]["judge"] is True
    return written


def public_line(house: Household, k: int) -> str:
    """What `peer keys` says is to be put under `keys:`."""
    code, said = house.run(k, "keys", "--id", str(k), "--keys", "secret")
    assert code == 0, said
    return said.rstrip().splitlines()[-1]


def filled_in(written: str, lines: list[str]) -> str:
    """The file with what its comments ask for: keys, and the classes of all machines."""
    every_class = ", ".join(f"'{name}'" for k in range(MACHINES) for name in own_classes(k))
    for old, new in (
        ("keys: {}", "\n".join(["keys:", *lines])),
        ("  partition: own", f"  partition: own\n  classes: [{every_class}]"),
        ("# conditional: true", "conditional: true"),
    ):
        assert written.count(old) == 1
        written = written.replace(old, new)
    return written


def test_the_whole_way(
    network: MakeNetwork, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = network(MACHINES)
    homes = homes_of(processes.folder)
    held = [{path.relative_to(home) for path in home.rglob("*.png")} for home in homes]
    house = Household(processes, lab.machines, homes)

    written = first_experiment(house)
    lines = [public_line(house, k) for k in range(MACHINES)]
    for home in homes:
        (home / "photos.yaml").write_text(filled_in(written, lines), encoding="utf-8")
    topology = ["--topology", "photos.yaml", "--keys", "secret"]
    for key, value in SHORT.items():
        topology += ["--set", f"{key}={value}"]
    code, said = house.run(1, "check", "--id", "1", *topology)
    assert code == 0, said
    assert "peer 1: key: there, and the file names it" in said
    assert "neighbour 2 at tcp://pi-2.local:47102: is not there yet" in said

    running = [
        house.start(k, "--id", str(k), *topology, "--run-dir", "run") for k in range(MACHINES)
    ]
    said_by = []
    for process in running:
        assert process.wait(timeout=150) == 0, process.communicate()[0]
        said_by.append(process.communicate()[0])
    for k, said in enumerate(said_by):
        assert f"finished after round {ROUNDS}; its generator is in" in said
        scored_better(homes[k] / "run" / f"peer-{k}" / "quality.jsonl", k)
    for k in range(MACHINES):
        nothing_of_others(homes, k, held[k])
    draws_what_it_never_had(homes[1], capsys)


def scored_better(log: Path, k: int) -> None:
    """The distance to everybody's pictures, of which a peer has a fifth, has fallen."""
    scores = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(score["peer"], score["round"]) for score in scores] == [
        (k, at) for at in range(SCORED, ROUNDS + 1, SCORED)
    ]
    assert all(score["images"] == MACHINES * 2 * EACH for score in scores)
    first, *_, last = [score["rfd"] for score in scores]
    assert last < 0.8 * first, scores


def contents(home: Path, k: int) -> set[bytes]:
    """Some pictures of a machine: as files, and as the pixels that its peer trains on."""
    files = {path.read_bytes() for path in home.glob("photos/*/00*.png")}
    experiment = load(home / "photos.yaml")
    images = load_source(experiment.data, k, experiment.folder)
    pixels = images.take(np.arange(0, len(images), 10))  # (14, 1, 8, 8)
    return files | {image.numpy().tobytes() for image in pixels}


def nothing_of_others(homes: list[Path], k: int, held: set[Path]) -> None:
    """On a machine's disk are its own pictures, and what its peer drew; nobody else's."""
    home = homes[k]
    disk = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    for j, other in enumerate(homes):
        there = [each for each in contents(other, j) if any(each in file for file in disk)]
        assert bool(there) == (j == k)
    found = {path.relative_to(home) for path in home.rglob("*.png")}
    assert held <= found
    assert all(path.parts[0] == "run" for path in found - held)
    assert {path.name for path in (home / "photos").iterdir()} == set(own_classes(k))
    assert {path.name for path in (home / "run").glob("peer-*")} == {f"peer-{k}"}


def draws_what_it_never_had(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Peer 1 has threes and twos; it is asked for a seven, whose owner is two machines away."""
    image = home / "seven.png"
    words = ["sample", str(home / "run"), "--peer", "1", "--class", "7", "--out", str(image)]
    with pytest.raises(SystemExit) as ended:
        run_app(sim.__main__.app, words)
    assert not ended.value.code
    assert f"64 images: {image}" in capsys.readouterr().out
    with Image.open(image) as drawn:
        pixels = np.asarray(drawn.convert("L"))
    assert pixels.std() > 20  # in 255ths; one colour all over has 0
