"""What the reference is made of: every key and every option, each with a description."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import typer

pytest.importorskip("sphinx")

import command_reference
import experiment_reference
import reference_tables

import peer.__main__
import sim.__main__
from algorithms import ALGORITHMS
from peer.experiment import Experiment


def test_every_key_of_the_file_is_there() -> None:
    rows = list(experiment_reference.rows_of(Experiment, nested=True))
    keys = {row[0].strip("`") for row in rows}
    assert set(Experiment.model_fields) <= keys
    assert {"metrics.every", "network.links[].between", "devices.ID.seconds.draw.fixed"} <= keys
    batch = next(row for row in rows if row[0] == "`batch`")
    assert batch[1:3] == ("whole number, at least 2, at most 1000000", "`64`")


@pytest.mark.parametrize("catalogue", experiment_reference.CATALOGUES)
def test_nothing_lacks_a_description(catalogue: str, caplog: pytest.LogCaptureFixture) -> None:
    entries, _ = experiment_reference.CATALOGUES[catalogue]
    with caplog.at_level(logging.WARNING):
        found = list(entries())
    assert found
    assert [record.getMessage() for record in caplog.records] == []


def test_settings_of_algorithms() -> None:
    found = {entry.name: entry for entry in experiment_reference.algorithms()}
    assert list(found) == list(ALGORITHMS)
    oasis = {row[0]: row for row in found["oasis"].rows}
    assert oasis["`regulariser.gamma`"][1:3] == ("number, at least 0", "`0.1`")
    assert oasis["`fraction`"][2] == "`0.1`"  # its own, not that of the class above


@pytest.mark.parametrize("app", [peer.__main__.app, sim.__main__.app], ids=["peer", "sim"])
def test_options_are_those_that_are_parsed(app: typer.Typer) -> None:
    group: Any = typer.main.get_command(app)
    for each in app.registered_commands:
        assert each.callback is not None
        shown = list(command_reference.parameters(each.callback))
        parsed = [
            name
            for option in group.commands[each.name].params
            if not option.hidden and option.opts[0].startswith("-")
            for name in [*option.opts, *option.secondary_opts]
        ]
        spelled = [part for of in shown for part in of.spelled.strip("`").split() if part[0] == "-"]
        assert sorted(spelled) == sorted(parsed)
        assert all(of.text for of in shown)


def test_docstrings_are_taken_apart() -> None:
    docstring = "What it is.\n\nMore.\n\nArgs:\n    a, b: two\n        things.\n    c: one.\n"
    assert reference_tables.lead(docstring) == "What it is.\n\nMore."
    assert reference_tables.described(docstring) == {
        "a": "two things.",
        "b": "two things.",
        "c": "one.",
    }
