"""What a user can get wrong is met with one line and exit code 2."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import peer.__main__
import sim.__main__
from peer.console import run_app
from tests.real.conftest import SMALL
from tests.support.processes import Processes

Refused = Callable[..., str]


@pytest.fixture
def refused(
    processes: Processes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refused:
    """Run ``peer --id 0`` (or what is said) on a file with these changes; the one line it says."""

    def run(
        *arguments: str, command: str = "peer", whole: Sequence[str] = (), **changes: Any
    ) -> str:
        file = processes.write(SMALL | changes)
        monkeypatch.chdir(processes.folder)
        if whole:
            app, words = peer.__main__.app, list(whole)
        elif command == "peer":
            app, words = peer.__main__.app, ["--id", "0", "--topology", str(file), *arguments]
        else:
            app, words = sim.__main__.app, ["run", str(file), *arguments]
        with pytest.raises(SystemExit) as ended:
            run_app(app, words)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said

    return run


@pytest.mark.parametrize("command", ["peer", "sim"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batchs": 3}, "experiment.yaml: unknown key 'batchs'; did you mean 'batch'?"),
        ({"optimizer": {"name": "adam", "rl": 1}}, "optimizer.rl: adam has no such setting"),
        ({"optimizer": "lbfgs"}, "'lbfgs' is not an element-wise optimizer"),
        ({"algorithm": {"name": "difusion", "rounds": 1}}, "did you mean 'diffusion'?"),
        (
            {"algorithm": {"name": "diffusion", "rounds": 1, "nd": 2}},
            "unknown key 'algorithm.nd'; did you mean 'n_d'?",
        ),
        ({"graph": "rign"}, "did you mean 'ring'?"),
        ({"graph": {"edges": [[0, 1], [2, 3], [3, 4]]}}, "graph"),
        ({"data": {"source": "digits", "partition": "pears"}}, "did you mean 'pairs'?"),
        ({"gan": "mlp-digit"}, "did you mean 'mlp-digits'?"),
        ({"gan": "dcgan28"}, "dcgan28 draws 28x28 images, the data are 8x8"),
        ({"data": {"source": "idx", "path": "nowhere"}}, "data.path"),
        ({"peers": 2000, "data": {"source": "digits"}}, "peer"),
        ({"addresses": "tcp://127.0.0.1:4000"}, "several peers would be at"),
        ({"seed": -1}, "seed"),
        ({"loss": "wgann"}, "loss"),
        ({"loss": {"name": "wgan", "gp": 1}}, "unknown key 'loss.gp'; known are name, gradient_p"),
        ({"loss": {"r1": -1}}, "loss.r1: input should be greater than or equal to 0"),
        (
            {"devices": "raspbery-pi-4"},
            "did you mean 'raspberry-pi-4'? (built in: raspberry-pi-4",
        ),
        ({"devices": {"three": "raspberry-pi-4"}}, "devices: keys are peers' ids and 'default'"),
        ({"devices": {7: "raspberry-pi-4"}}, "devices: there is no peer 7; ids are 0 to 4"),
        ({"devices": {0: {"sped": 2}}}, "unknown key 'devices.0.sped'; did you mean 'speed'?"),
        ({"devices": {0: {"speed": 2}}}, "devices.0: a device needs a profile, or seconds of"),
        ({"devices": {0: {"profile": "raspberry-pi-4", "speed": 0}}}, "devices.0.speed: input"),
        ({"network": {"bandwidth": 0}}, "network.bandwidth: input should be greater than 0"),
        ({"network": {"link": "wify"}}, "network.link: there is no link profile of that name; did"),
        ({"network": {"links": [{"between": [0, 1], "bandwith": 2}]}}, "did you mean 'bandwidth'?"),
        ({"network": {"ends": [{"peer": 9}]}}, "network.ends: there is no peer 9"),
        (
            {
                "algorithm": {
                    "name": "diffusion",
                    "rounds": 1,
                    "overlap": True,
                    "order": "consensus",
                }
            },
            "leave out order: consensus, or overlap",
        ),
        ({"compression": "int9"}, "compression: there is no codec 'int9'; did you mean 'int8'?"),
        ({"compression": "gzip"}, "'gzip' (codecs: none, bf16, int8, int4, top-k, choco)"),
        (
            {"compression": {"name": "int8", "blok": 64}},
            "unknown key 'compression.blok'; did you mean 'block'?",
        ),
        ({"compression": {"name": "int8", "block": 3}}, "compression.block: input should be a"),
        ({"compression": {"name": "top-k", "share": 0}}, "compression.share: input should be gr"),
        ({"compression": {"name": "none", "share": 1}}, "compression: 'none' has no settings"),
        (
            {"compression": "choco", "graph": {"schedule": "one-peer-exponential"}},
            "compression: choco keeps copies at both ends of fixed links, and this graph changes",
        ),
        ({"metrics": {"target": 50}}, "metrics.target: nobody measures distances on the way"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_one_line_says_what_and_what_would_be_right(
    refused: Refused, command: str, changes: dict[str, Any], words: str
) -> None:
    assert words in refused(command=command, **changes)


def test_a_profile_that_is_not_there(refused: Refused) -> None:
    said = refused(command="sim", devices={2: "pi.yaml"})
    assert "devices.2: there is no profile" in said
    assert "pi.yaml; `peer profile` writes one" in said


def test_a_peer_that_is_no_neighbour_to_profile_with(refused: Refused) -> None:
    file = ["--topology", "experiment.yaml"]
    said = refused(whole=["profile", *file, "--with", "1"])
    assert "--with 1: name a neighbour of the peer that --id names" in said
    said = refused(whole=["profile", *file, "--id", "0", "--with", "2"])
    assert "--with 2" in said


def test_a_benchmark_where_namespaces_cannot_be_made(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.prediction"],
        cwd=Path(__file__).resolve().parents[2],
        env={"PATH": str(tmp_path)},  # no `ip` there
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == (
        "prediction: no network namespaces here (root, ip and tc make them): "
        "there is no command 'ip'\n"
    )


def test_plain_text_beyond_loopback(refused: Refused) -> None:
    said = refused(addresses="tcp://10.0.0.{id}:4000")
    assert "keys: peer 0 is at tcp://10.0.0.0:4000" in said


def test_an_id_that_is_not_there(refused: Refused) -> None:
    assert "--id 7: the experiment has peers 0 to 4" in refused("--id", "7")


def test_a_port_in_use(refused: Refused) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        said = refused(peers=1, data={"partition": "all"}, addresses=[address])
    assert f"addresses: {address} is in use" in said


def test_a_truncated_data_file(refused: Refused, tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (10, 28, 28))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + b"\1" * 99))
    said = refused(data={"source": "idx", "path": str(tmp_path)}, gan="mlpgan")
    assert "data.path" in said
    assert "train-images-idx3-ubyte.gz" in said


def test_a_custom_gan_of_the_wrong_shape(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "wrong_nets.py").write_text(
        "from torch import nn\n"
        "def build(shape):\n"
        "    return nn.Linear(9, 5), nn.Sequential(nn.Flatten(), nn.Linear(64, 1))\n"
    )
    said = refused(gan="wrong_nets:build")
    assert "the generator turns z (2, 9) into (2, 5); these data need (2, 1, 8, 8)" in said


def test_broken_yaml_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("peers: 5\ngraph: [ring\n")
    for path, words in (
        (file, "broken.yaml, line 3"),
        (tmp_path / "no.yaml", "no such experiment"),
    ):
        with pytest.raises(SystemExit) as ended:
            run_app(sim.__main__.app, ["run", str(path)])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_a_run_directory_that_is_taken(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "experiment.yaml").write_text("")
    said = refused("--run-dir", str(tmp_path / "taken"), command="sim")
    assert "it holds a run already" in said
