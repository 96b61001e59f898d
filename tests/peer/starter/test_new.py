"""``peer new``: what it says of a folder, what it chooses, and that the file runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import peer.__main__
import sim.__main__
import sim.api
from peer.console import run_app
from peer.experiment import load
from peer.starter.command import describe
from peer.starter.rules import KEYS, NETS, batch_of, net_of, rounds_of
from peer.starter.survey import HEADERS, Survey, look_at
from topology.errors import InputNote, UserError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)

    def run(*words: str, program: str = "peer") -> tuple[int, str, str]:
        app = {"sim": sim.__main__.app, "peer": peer.__main__.app}[program]
        with pytest.raises(SystemExit) as ended:
            run_app(app, ["new", *words])
        said = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return run


def pictures(
    folder: Path, count: int, *, mode: str = "RGB", size: tuple[int, int] = (40, 36), seed: int = 0
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    channels = (3,) if mode == "RGB" else ()
    for k in range(count):
        pixels = rng.integers(0, 256, size=(size[1], size[0], *channels), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:04}.png")
    return folder


def survey(**changes: object) -> Survey:
    keys: dict[str, object] = {
        "source": "folder",
        "path": "photos",
        "peers": 5,
        "counts": (300,),
        "classes": {},
        "sizes": {(32, 32): 300},
        "colour": True,
    }
    return Survey(**(keys | changes))  # type: ignore[arg-type]


# --- what is written runs ---------------------------------------------------------------------


@pytest.mark.parametrize("program", ["peer", "sim"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("classes", [("cat", "no", "10"), ()], ids=["classes", "none"])
def test_the_file_runs(
    command: Command, tmp_path: Path, program: str, mode: str, classes: tuple[str, ...]
) -> None:
    for name in classes or ("",):
        pictures(tmp_path / "photos" / name, 60 // len(classes or (1,)), mode=mode)
    code, out, err = command("photos", "--peers", "3", program=program)
    assert (code, err) == (0, "")
    assert out.startswith(f"photos: 60 pictures, {'colour' if mode == 'RGB' else 'grey'}, 40x36")
    assert ("10: 20, cat: 20, no: 20" in out) == bool(classes)
    for line in ("sim photos.yaml", "peer check --topology photos.yaml", "peer up --topology"):
        assert line in out
    experiment = load("photos.yaml")
    assert (experiment.peers, experiment.data.size) == (3, 32)
    assert experiment.ema is not None
    assert experiment.ema.decay == 0.989
    assert experiment.data.channels == (3 if mode == "RGB" else 1)
    short = ["algorithm.rounds=1", "gan.width=2"]
    done = sim.api.run("photos.yaml", overrides=short, run_dir=tmp_path / "run", report=False)
    assert (done.path / "peer-2" / "generator.safetensors").is_file()


def test_every_key_has_a_comment_above_it(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 50)
    assert command("photos")[0] == 0
    lines = (tmp_path / "photos.yaml").read_text(encoding="utf-8").splitlines()
    keys = [k for k, line in enumerate(lines) if ": " in line and not line.strip().startswith("#")]
    assert len(keys) > 10
    assert all(lines[k - 1].strip().startswith("# ") for k in keys)


@pytest.mark.parametrize("given", ["photos", "photos/peer-{id}"])
def test_folders_of_peers_become_their_own(command: Command, tmp_path: Path, given: str) -> None:
    for k in range(3):
        pictures(tmp_path / "photos" / f"peer-{k}" / "cat", 10, seed=k)
        pictures(tmp_path / "photos" / f"peer-{k}" / f"only {k}", 10, seed=9 + k)
    code, out, _ = command(given)
    assert code == 0
    assert "20, 20, 20 of each peer" in out
    data = load("photos.yaml").data
    assert (data.path, data.partition.name) == ("photos/peer-{id}", "own")
    assert "4 classes (cat: 30, only 0: 10, only 1: 10, only 2: 10)" in out
    done = sim.api.run(
        "photos.yaml",
        overrides=["algorithm.rounds=1", "gan.width=2"],
        run_dir=tmp_path / "run",
        report=False,
    )
    assert done.experiment.peers == 3


@pytest.mark.parametrize("peers", [1, 2])
def test_one_peer_and_two(command: Command, tmp_path: Path, peers: int) -> None:
    pictures(tmp_path / "photos", 20, size=(8, 8))
    assert command("photos", "--peers", str(peers))[0] == 0
    done = sim.api.run(
        "photos.yaml", overrides=["algorithm.rounds=1"], run_dir=tmp_path / "run", report=False
    )
    assert done.experiment.peers == peers


def test_arrays_are_read_too(command: Command, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(80, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(80) % 4)
    code, out, _ = command("mine.npz", "--out", "other.yaml")
    assert code == 0
    assert "80 pictures, grey, 20x20 pixels; 4 classes" in out
    experiment = load("other.yaml")
    assert (experiment.data.source, experiment.data.size) == ("npz", 28)
    assert experiment.gan.name == "dcgan28"


def test_a_path_beyond_the_files_folder_is_absolute(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "far" / "photos", 50)
    (tmp_path / "files").mkdir()
    assert command("far/photos", "--out", "files/mine.yaml")[0] == 0
    assert load("files/mine.yaml").data.path == str(tmp_path / "far" / "photos")


def test_one_of_several_machines(command: Command, tmp_path: Path) -> None:
    for name in ("cat", "no"):
        pictures(tmp_path / "photos" / name, 100, mode="L", size=(8, 8))
    code, out, err = command("photos", "--own", "--peers", "6")
    assert (code, err) == (0, "")
    assert out.startswith("photos: 200 pictures, grey, 8x8 pixels; 2 classes (cat: 100, no: 100)")
    for line in ("peer keys --id 0", "peer check --id 0 --topology", "peer --id 0 --topology"):
        assert f"  {line}" in out
    assert "peer up" not in out
    experiment = load("photos.yaml")
    assert experiment.peers == 6
    assert (experiment.data.path, experiment.data.partition.name) == ("photos", "own")
    assert experiment.address(3) == "tcp://pi-3.local:47103"
    assert experiment.listening_address(3) == "tcp://*:47103"
    assert dict(experiment.keys) == {}
    assert experiment.metrics.judge  # 1,200 pictures, as far as can be seen from here
    assert "classes" not in experiment.data.model_fields_set  # others' are not seen here
    last = (tmp_path / "photos.yaml").read_text(encoding="utf-8").splitlines()[-2:]
    assert "data.classes must then name the classes of all machines" in last[0]
    assert last[1] == "# conditional: true"


# --- what is refused, in one line -------------------------------------------------------------


def test_a_file_is_never_overwritten(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 50)
    (tmp_path / "photos.yaml").write_text("mine")
    code, out, err = command("photos")
    assert (code, out) == (2, "")
    assert err == (
        "error: photos.yaml: is there already, and is left as it is; name another with --out\n"
    )
    assert (tmp_path / "photos.yaml").read_text() == "mine"


def test_one_picture_too_few(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 49)
    code, _, err = command("photos")
    assert code == 2
    assert err == (
        "error: photos: holds 49 pictures, and 5 peers need 50 at least, 10 each; say --peers 4, "
        "or add some\n"
    )
    assert not (tmp_path / "photos.yaml").exists()
    pictures(tmp_path / "photos", 50)
    assert command("photos")[0] == 0


def test_one_peers_pictures_are_too_few(command: Command, tmp_path: Path) -> None:
    for k in range(2):
        pictures(tmp_path / "photos" / f"peer-{k}", 10 - k)
    code, _, err = command("photos")
    assert code == 2
    assert "peer 1 has 9 pictures, and a peer needs 10" in err


def test_a_missing_peer_and_an_empty_folder(command: Command, tmp_path: Path) -> None:
    for k in (0, 2):
        pictures(tmp_path / "photos" / f"peer-{k}", 10)
    code, _, err = command("photos")
    assert code == 2
    assert "none called peer-1" in err
    (tmp_path / "empty").mkdir()
    assert command("empty")[0] == 2
    code, _, err = command("photos/peer-0/0000.png")
    assert code == 2
    assert "is a file; give a folder of images" in err
    code, _, err = command("nowhere")
    assert code == 2
    assert "does not exist" in err


def test_what_is_skipped_is_said(tmp_path: Path) -> None:
    pictures(tmp_path / "cat", 10)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    with pytest.warns(InputNote, match=r"notes\.txt is no picture by its name, and left out"):
        look_at(str(tmp_path), 1)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, 20)
    (tmp_path / "0007.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0007\.png is no image that can be read"):
        look_at(str(tmp_path), 1)


# --- what is looked at, and what is chosen -----------------------------------------------------


def test_not_all_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, HEADERS + 50, size=(4, 4))
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    found = look_at(str(tmp_path), 1)
    assert found.total == HEADERS + 50
    assert len(opened) <= HEADERS + 16


def test_grey_pictures_in_a_colour_format_are_grey(tmp_path: Path) -> None:
    for k in range(20):
        Image.new("RGB", (30, 30), (k, k, k)).save(tmp_path / f"{k}.png")
    assert not look_at(str(tmp_path), 1).colour
    for k in range(20):
        Image.new("RGB", (30, 30), (k, 0, 0)).save(tmp_path / f"{k}.png")
    assert look_at(str(tmp_path), 1).colour


@pytest.mark.parametrize(
    ("side", "count", "name"),
    [
        (64, 5000, "dcgan64"),
        (64, 4999, "dcgan-diffusion32"),
        (30, 50, "dcgan-diffusion32"),
        (29, 50, "dcgan28"),
        (16, 50, "mlp-digits"),
    ],
)
def test_the_net_by_side_and_count(side: int, count: int, name: str) -> None:
    gan = net_of(survey(sizes={(side, side + 9): 1}, counts=(count,))).gan
    assert (gan if isinstance(gan, str) else gan["name"]) == name


@pytest.mark.parametrize(
    ("count", "batch", "rounds"),
    [(50, 8, 900), (300, 32, 900), (1000, 64, 1500), (10**5, 64, 4000)],
)
def test_batch_and_rounds_by_the_count(count: int, batch: int, rounds: int) -> None:
    found = survey(counts=(count,))
    assert (batch_of(found), rounds_of(found)) == (batch, rounds)


def chosen(**changes: object) -> dict[str, object]:
    found = survey(**changes)
    return {key.name: value for key in KEYS if (value := key.value(found)) is not None}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["translation", "cutout", "colour"]),
        ({"colour": False}, ["translation", "cutout"]),
        ({"counts": (4999,)}, ["translation", "cutout", "colour"]),
        ({"counts": (5000,)}, None),
        ({"sizes": {(16, 16): 300}}, None),
        ({"counts": (999,), "elsewhere": True}, ["translation", "cutout", "colour"]),
    ],
)
def test_few_pictures_are_augmented(changes: dict[str, object], names: list[str] | None) -> None:
    assert chosen(**changes).get("augment") == names


CLASSES = {"cat": 250, "dog": 250}


@pytest.mark.parametrize(
    ("changes", "every", "judge"),
    [
        ({}, 90, None),  # all images come from one place: the run has a judge of its own
        ({"classes": CLASSES, "counts": (500,)}, 90, None),
        ({"path": "p/{id}", "classes": CLASSES, "counts": (100,) * 5}, 90, True),
        ({"path": "p/{id}", "classes": CLASSES, "counts": (100,) * 4 + (99,)}, 90, None),
        ({"path": "p/{id}", "counts": (200,) * 5}, 150, None),
        ({"path": "p/{id}", "classes": CLASSES, "counts": (64, 10)}, 90, None),
        ({"path": "p/{id}", "classes": CLASSES, "counts": (63, 63)}, None, None),
        ({"elsewhere": True, "classes": CLASSES, "counts": (100,)}, 90, True),
        ({"elsewhere": True, "classes": CLASSES, "counts": (63,)}, None, None),
    ],
)
def test_what_is_measured(
    changes: dict[str, object], every: int | None, judge: bool | None
) -> None:
    keys = chosen(**changes)
    assert (keys.get("metrics.quality_every"), keys.get("metrics.judge")) == (every, judge)


def test_classes_are_named_where_all_are_seen() -> None:
    each = {"path": "p/{id}", "counts": (250, 250)}
    assert chosen(classes=CLASSES, **each)["data.classes"] == ["cat", "dog"]
    assert "data.classes" not in chosen(classes={str(k): 9 for k in range(51)}, **each)
    assert "data.classes" not in chosen(classes=CLASSES)
    assert "data.classes" not in chosen(classes=CLASSES, counts=(500,), elsewhere=True)
    assert "# conditional: true" in describe(survey(classes=CLASSES))
    assert "conditional" not in describe(survey())


def test_the_last_net_fits_whatever_is_there() -> None:
    assert (NETS[-1].from_side, NETS[-1].from_count) == (0, 0)
