"""The terminal: a user's text is never markup, a refusal is one line and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.table import Table

import peer.__main__
import sim.__main__
from peer.console import one_line, run_app, terminal
from topology.errors import UserError, note

KEYS: dict[str, Any] = {
    "peers": 3,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 2},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "batch": 16,
}

NAMES = ["exp[bold]1", "x[", "y[/red]", ":dog:", "a b", "[link=x]", "[fe80::1]"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``sim`` or ``peer`` with these words: its exit code, what it said, and as an error."""

    def run(program: str, *words: str) -> tuple[int, str, str]:
        app = {"sim": sim.__main__.app, "peer": peer.__main__.app}[program]
        with pytest.raises(SystemExit) as ended:
            run_app(app, list(words))
        said = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return run


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(KEYS | changes))
    return path


# --- plain text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_console_shows_text_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal(soft_wrap=True)
    console.print(f"runs/{name}")
    table = Table(title=name, caption=name)
    table.add_column(name, no_wrap=True)
    table.add_row(name)
    console.print(table)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"runs/{name}"
    assert said.count(name) == 5


@pytest.mark.parametrize("name", ["x[bold]1", "y[red", "[red]z", ":dog:"])
def test_a_run_goes_by_its_files_name(command: Command, here: Path, name: str) -> None:
    file = write(here / f"{name}.yaml")
    code, out, _ = command("sim", "run", str(file), "--no-report")
    assert code == 0
    assert f"the run is in runs/{name}-1" in out
    assert (here / "runs" / f"{name}-1" / "experiment.yaml").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_shows_names_as_they_are(command: Command, name: str) -> None:
    code, out, err = command("sim", "run", f"{name}.yaml")
    assert (code, out) == (2, "")
    assert err == f"error: {name}.yaml: there is no such experiment file\n"


def test_addresses_are_no_markup(command: Command, here: Path) -> None:
    addresses = [f"ipc://{here}/[red]{k}" for k in range(3)]
    file = write(here / "x.yaml", addresses=addresses)
    code, out, _ = command("peer", "check", "--topology", str(file))
    assert code == 0
    assert out.count(f"ipc://{here}/[red]") == 3


def test_systems_and_classes_are_no_markup(command: Command, here: Path) -> None:
    from tests.peer.data.test_classes import tree

    tree(here / "pets", {"[bold]": 3, "$a$_b": 3, "c[/x]": 3})
    data = {"source": "folder", "path": "pets", "channels": 1, "partition": "all"}
    code, out, _ = command("sim", "partition", str(write(here / "x.yaml", data=data)))
    assert code == 0
    for name in ("$a$_b,", "[bold],", "c["):
        assert out.count(name) == 3
    assert (here / "partition.png").stat().st_size > 1000


def test_control_characters_and_halves_of_letters_are_written_out() -> None:
    assert one_line("a\nb\x1b[31m\udce9\t\u00e9 \u4e2d") == "a\\nb\\x1b[31m\\udce9\\t\u00e9 \u4e2d"


def test_a_terminal_of_few_letters(here: Path) -> None:
    """On a machine without UTF-8, and for a file whose name is none."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(root)}
    for name in ("caf\u00e9.yaml", os.fsdecode(b"caf\xe9.yaml")):
        ended = subprocess.run(
            [sys.executable, "-m", "sim", "run", name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: caf\\")
        assert ended.stderr.count("\n") == 1


# --- notes ----------------------------------------------------------------------------------------


def test_a_note_is_one_line_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    app = typer.Typer()

    @app.command()
    def look() -> None:
        for _ in range(3):
            note("data.path: [bold] one thing")
        note("data.path: another\nthing")
        raise UserError("and an error")

    with pytest.raises(SystemExit), warnings.catch_warnings():
        run_app(app, [])
    assert capsys.readouterr().err.splitlines() == [
        "note: data.path: [bold] one thing",
        "note: data.path: another\\nthing",
        "error: and an error",
    ]


# --- nothing is left behind -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["sim", "run", "x.yaml"],
        ["sim", "run", "x.yaml", "--processes", "2"],
        ["sim", "compare", "x.yaml", "--seeds", "0,1"],
        ["sim", "theory", "x.yaml"],
        ["peer", "up", "--topology", "x.yaml"],
        ["peer", "--id", "0", "--topology", "x.yaml"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
@pytest.mark.parametrize(
    "data",
    [
        {"source": "npz", "path": "nowhere.npz"},
        {"partition": {"labels": [[0], [1], [12]]}},
    ],
    ids=["no data", "no class"],
)
def test_what_is_refused_leaves_no_folder_and_no_bar(
    command: Command, here: Path, words: list[str], data: dict[str, Any]
) -> None:
    write(here / "x.yaml", data=data)
    code, out, err = command(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "data." in err
    assert os.listdir(here) == ["x.yaml"]


def test_quality_that_cannot_be_judged_leaves_no_folder(command: Command, here: Path) -> None:
    write(here / "x.yaml", metrics={"quality_every": 1, "inception": "nowhere.safetensors"})
    code, out, err = command("sim", "run", "x.yaml")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "metrics.inception:" in err
    assert os.listdir(here) == ["x.yaml"]


@pytest.mark.parametrize("folder", ["x.yaml", "x.yaml/below"])
def test_a_run_folder_that_cannot_be(command: Command, here: Path, folder: str) -> None:
    write(here / "x.yaml")
    code, _, err = command("sim", "run", "x.yaml", "--run-dir", folder)
    assert code == 2
    assert err.startswith("error: --run-dir ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch=[8]", "batch: input should be a valid integer (not [8])"),
        ("batch={a: 1}", "batch: input should be a valid integer (not {'a': 1})"),
        ("algorithm=[diffusion, 3]", "instance of NamedSpec (not ['diffusion', 3])"),
        ("batch=99999999999999999999", "batch: input should be less than or equal to 1000000"),
        ("threads=100000", "threads: input should be less than or equal to 1024 (not 100000)"),
        ("data.size=1000000", "data.size: input should be less than or equal to 16384"),
        ("optimizer.betas={a: 0.5}", "optimizer.betas: must be 2 values, not {'a': 0.5}"),
        ("optimizer.betas=0.5", "optimizer.betas: must be 2 values, not 0.5"),
    ],
)
def test_values_of_another_kind_are_shown(
    command: Command, here: Path, change: str, words: str
) -> None:
    file = write(here / "a.yaml")
    code, _, error = command("sim", "run", str(file), "--set", change)
    assert code == 2
    assert words in error
    assert len(error.splitlines()) == 1


def test_a_value_that_is_long_is_not_shown_whole(command: Command, here: Path) -> None:
    file = write(here / "a.yaml", batch=list(range(1000)))
    code, _, error = command("sim", "run", str(file))
    assert code == 2
    assert "(not [0, 1, 2, 3" in error
    assert len(error) < 200


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (MemoryError("Unable to allocate 4.00 TiB"), "Unable to allocate 4.00 TiB"),
        (
            RuntimeError("[enforce fail] can't allocate memory: you tried to allocate 5 bytes. 12"),
            "tried to allocate 5 bytes",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            "Tried to allocate 2.50 GiB",
        ),
    ],
)
def test_too_little_memory_is_one_line(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, words: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise problem

    file = write(here / "a.yaml")
    monkeypatch.setattr(sim.__main__, "run", fails)
    code, _, error = command("sim", "run", str(file))
    assert code == 1
    assert error == f"error: memory does not suffice ({words}); lower batch, peers or the nets\n"


def test_a_peers_number_begins_at_0(command: Command, here: Path) -> None:
    code, _, error = command("peer", "keys", "--id", "-5", "--keys", "kept")
    assert code == 2
    assert "greater than or equal to 0" in error
    assert not (here / "kept").exists()
