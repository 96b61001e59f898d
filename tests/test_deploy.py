"""examples/deploy: the files parse, and the commands in them are ones that `peer` takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer
import yaml

import peer.__main__
from peer.experiment import load

DEPLOY = Path(__file__).resolve().parents[1] / "examples" / "deploy"


def takes(arguments: list[str]) -> None:
    """The command line is parsed, and nothing is run."""
    typer.main.get_command(peer.__main__.app).make_context("peer", list(arguments))


def test_the_units_command() -> None:
    unit = (DEPLOY / "hearsay@.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    takes(shlex.split(line.replace("%i", "3"))[1:])


def test_five_containers_of_five_ids() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert load(DEPLOY / "ring.yaml").peers == len(services)
    for k, service in enumerate(services.values()):
        takes(service["command"])
        assert service["command"][:2] == ["--id", str(k)]
        kind, asked = service["healthcheck"]["test"]
        command, _, otherwise = asked.partition(" || ")
        assert (kind, otherwise) == ("CMD-SHELL", "exit 1")  # Docker knows no code but 0 and 1
        takes(shlex.split(command)[1:])


def test_the_tasks_command() -> None:
    script = (DEPLOY / "peers.sbatch").read_text()
    (line,) = re.findall(r"exec peer (.*)' peer", script)
    takes(shlex.split(line.replace('"$SLURM_PROCID"', "3")))


def test_the_pods_command() -> None:
    _, pods = yaml.safe_load_all((DEPLOY / "statefulset.yaml").read_text())
    (container,) = pods["spec"]["template"]["spec"]["containers"]
    words = container["command"][-1].replace("${HOSTNAME##*-}", "3")
    takes(shlex.split(words)[2:])
    takes(container["readinessProbe"]["exec"]["command"][1:])
    assert pods["spec"]["replicas"] == 5
