"""Reproductions: what is kept, gone on with, judged and drawn; and that every one of them runs."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peer.console import run_app
from peer.experiment import from_mapping
from reproductions import claims, images, page, running
from reproductions.__main__ import app
from reproductions.claims import Holds, Reproduction, Verdict, column, find, mean, names, spread
from reproductions.drawing import axes, curves, dots
from reproductions.measures import final_scores_of, loss_curves, quality_curve
from reproductions.running import PLANNED, Task, carry_out
from sim.reporting.plots import pixels
from topology.errors import UserError

SMALL: dict[str, Any] = {
    "peers": 3,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 4},
    "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 8,
    "metrics": {"every": 1, "quality_every": 2, "samples": 64},
}


def experiments() -> dict[str, dict[str, Any]]:
    return {"ring": SMALL, "path": SMALL | {"graph": "path"}}


def measure(run: Path) -> Mapping[str, Any]:
    return final_scores_of(run) | {"curve": quality_curve(run), "losses": loss_curves(run)}


def verdict(found: claims.Found) -> Verdict:
    return Verdict(Holds.by(mean(found, "ring", "distance") > 0), spread(found, "ring", "distance"))


def draw(found: claims.Found) -> Any:
    figure, (left, right) = axes(2)
    curves(left, found, "rounds", "distance", xlabel="rounds", ylabel="CFID")
    dots(right, found, "distance", ylabel="CFID")
    return figure


MADE_UP = Reproduction(
    source="Nobody, figure 1",
    claim="It runs.",
    smaller="Everything.",
    rule="It holds if a distance is positive.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="Dots.",
    seeds=2,
    attempts={"twice the rounds": {"algorithm": {"rounds": 8}}},
)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The machinery with one made-up reproduction; the folder of its results."""
    for module in (claims, running, page):
        monkeypatch.setattr(module, "find", lambda name: MADE_UP)
    monkeypatch.setattr(running, "_sources", lambda name: [Path(__file__)])
    for module in (running, page):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that the tests of this file share."""
    return tmp_path_factory.mktemp("kept")


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's tasks one after another, so that what is patched here holds for them."""

    class Pool:
        def __init__(self, *given: Any, **words: Any) -> None: ...
        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *problem: object) -> None: ...
        def shutdown(self, **words: Any) -> None: ...
        def submit(self, function: Callable[..., Any], *given: Any) -> Any:
            done: Future[Any] = Future()
            try:
                done.set_result(function(*given))
            except BaseException as problem:
                done.set_exception(problem)
            return done

    monkeypatch.setattr(running, "ProcessPoolExecutor", Pool)


def test_a_record_has_everything_that_a_reader_needs(
    made_up: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    said: list[str] = []
    record = carry_out(["made-up"], kept, notify=said.append)["made-up"]
    assert json.loads((made_up / "made-up.json").read_text()) == record
    planned, more = record["runs"]
    assert (planned["attempt"], more["attempt"]) == (PLANNED, "twice the rounds")
    assert record["verdict"] == planned["verdict"] == "holds"
    assert {len(of) for of in planned["found"].values()} == {2}
    digests = [d for run in record["runs"] for of in run["digests"].values() for d in of]
    assert len(set(digests)) == 8  # two systems, two seeds, two attempts
    assert record["machine"]["torch"]
    assert said[-1].startswith("made-up: holds: ")
    assert planned["found"]["ring"][0]["curve"]["rounds"] == [2, 4]
    assert more["found"]["ring"][0]["curve"]["rounds"] == [2, 4, 6, 8]
    picture = pixels(draw(planned["found"]))
    assert picture.std() > 0


def test_nothing_runs_twice_and_a_broken_run_goes_on(
    made_up: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    first = carry_out(["made-up"], kept, notify=lambda line: None)["made-up"]
    monkeypatch.setattr(running, "_simulate", lambda *given: pytest.fail("it ran again"))
    again = carry_out(["made-up"], kept, notify=lambda line: None)["made-up"]
    assert again == first


def test_a_run_that_was_broken_off_starts_afresh_or_from_its_checkpoint(tmp_path: Path) -> None:
    experiment = from_mapping(SMALL | {"checkpoint": 0})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for place in (whole, cut):
        place.mkdir()
    running._simulate(experiment, whole, "event")
    (cut / "rubbish.jsonl").write_text("{")  # killed before its first checkpoint
    (cut / "peer-0").mkdir()
    running._simulate(experiment, cut, "event")
    assert not (cut / "rubbish.jsonl").exists()
    done = [json.loads((place / "done.json").read_text())["digest"] for place in (whole, cut)]
    assert done[0] == done[1]
    assert not list(whole.glob("peer-*/checkpoint-*"))


def test_the_page_is_made_of_records_alone(
    made_up: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    carry_out(["made-up"], kept, notify=lambda line: None)
    monkeypatch.setattr(running, "_simulate", lambda *given: pytest.fail("it ran"))
    monkeypatch.setattr(page, "names", lambda: ["made-up", "another"])
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(page, "PICTURES", tmp_path / "pictures")
    text = page.write_page().read_text()
    assert "| Nobody, figure 1 | It runs. |" in text
    assert "**[holds](#made-up)**" in text
    assert "Tried, too: twice the rounds." in text
    assert "`another`" in text  # without a verdict so far
    assert (tmp_path / "pictures" / "made-up.png").is_file()


def test_figures_come_before_tables_in_the_order_of_their_numbers() -> None:
    stems = ["fig10", "fig6_8", "table1", "fig9", "fig4_5", "eq17"]
    assert sorted(stems, key=claims._order) == [
        "eq17",
        "fig4_5",
        "fig6_8",
        "fig9",
        "fig10",
        "table1",
    ]


def test_spreads_leave_out_what_is_unknown() -> None:
    found = {"a": [{"x": 1.0}, {"x": None}, {"x": 3.0}, {}], "b": [{"x": None}]}
    assert mean(found, "a", "x") == 2.0
    assert spread(found, "a", "x") == "2 ± 1.41"
    assert spread(found, "b", "x") == "unknown"
    assert math.isnan(mean(found, "b", "x"))
    assert [math.isnan(x) for x in column(found, "a", "x")] == [False, True, False, True]


def test_an_unknown_name_is_answered_with_all_names() -> None:
    with pytest.raises(UserError, match=r"there is no reproduction 'fig6'; choose from diffusion-"):
        find("fig6")


@pytest.mark.parametrize("name", names())
def test_every_reproduction_says_everything(name: str) -> None:
    reproduction = find(name)
    for words in ("source", "claim", "smaller", "rule", "caption"):
        text = getattr(reproduction, words)
        assert len(text) > 10, words
        assert "  " not in text, words
    assert reproduction.claim.endswith(".")
    assert 1 <= reproduction.seeds <= 20
    assert len(reproduction.attempts) <= 2


@pytest.mark.parametrize("name", [n for n in names() if (running.RESULTS / f"{n}.json").is_file()])
def test_verdicts_on_record_follow_from_their_numbers(name: str) -> None:
    record = json.loads((running.RESULTS / f"{name}.json").read_text())
    assert len(record["runs"]) <= 3
    for run in record["runs"]:
        again = find(name).verdict(run["found"])
        assert (again.holds.value, again.numbers) == (run["verdict"], run["numbers"])
        assert bool(again.part) == (again.holds is Holds.PART)
    assert record == running.reworded(record), "python -m reproductions --page"


def test_what_holds_in_part_says_which_part() -> None:
    assert Verdict.by({"a": True, "b": True}, "1").part == ""
    assert Verdict.by({"a": False, "b": False}, "1") == Verdict(Holds.NO, "1")
    assert Verdict.by({"a": True, "b": False}, "1") == Verdict(Holds.PART, "1", "a, not b")
    tests = {"a": False, "b": True, "c": True, "d": False, "e": True, "f": False}
    assert Verdict.by(tests, "1").part == "b, c and e, not a, d or f"


def test_words_change_after_a_run_but_the_rule_does_not(
    made_up: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    record = carry_out(["made-up"], kept, notify=lambda line: None)["made-up"]
    later = replace(MADE_UP, claim="It runs well.")
    monkeypatch.setattr(running, "find", lambda name: later)
    assert running.reworded(record) == record | {"claim": "It runs well."}
    later = replace(MADE_UP, rule="It holds if it runs.")
    with pytest.raises(UserError, match="made-up: the rule was changed after the run"):
        running.reworded(record)


def test_without_real_images_their_reproductions_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARSAY_DATA", str(tmp_path))
    said: list[str] = []
    assert carry_out(["diffusion-fig3"], tmp_path / "kept", notify=said.append) == {}
    assert said == [
        f"diffusion-fig3: left out: MNIST's files are not in {tmp_path}/mnist; say --images FOLDER"
    ]


def test_a_named_reproduction_without_its_images_fails_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEARSAY_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        run_app(app, ["diffusion-fig3", "--keep", str(tmp_path / "kept")])
    assert stopped.value.code == 2
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"diffusion-fig3: left out: MNIST's files are not in {tmp_path}/mnist; say --images FOLDER"
    ]


@pytest.mark.parametrize("wrong", [[], ["diffusion-fig33"], ["--processes", "0", "--list"]])
def test_wrong_commands_end_with_code_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_app(app, wrong)
    assert stopped.value.code == 2


@pytest.mark.slow
@pytest.mark.timeout(2400)  # a quarter of an hour where nothing else runs
def test_every_reproduction_runs_a_few_rounds(
    tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARSAY_DATA", str(real_data))
    said: list[str] = []
    done = carry_out(names(), tmp_path, processes=2, quick=True, notify=said.append)
    assert list(done) == names(), [line for line in said if "left out" in line]
    for name, record in done.items():
        assert page.draw(name, record, tmp_path / "figures").is_file()


def test_a_task_of_a_reproduction_is_an_experiment(made_up: Path) -> None:
    task = Task("made-up", "twice the rounds", "path", 1, quick=False)
    experiment = task.experiment()
    assert (experiment.seed, experiment.graph) == (1, "path")
    assert experiment.algorithm.settings["rounds"] == 8
    quick = Task("made-up", PLANNED, "path", 0, quick=True).experiment()
    assert quick.algorithm.settings["rounds"] == 4


def test_an_attempt_may_change_some_systems_alone(
    made_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = {"path": {"algorithm": {"rounds": 8}}}
    attempts = {"a longer path": lambda system: longer.get(system, {})}
    monkeypatch.setattr(running, "find", lambda name: replace(MADE_UP, attempts=attempts))
    ring, path = (Task("made-up", "a longer path", s, 0, quick=False) for s in ("ring", "path"))
    assert path.experiment().algorithm.settings["rounds"] == 8
    planned = Task("made-up", PLANNED, "ring", 0, quick=False)
    assert ring.keys() == planned.keys()  # so its kept run is taken


def test_images_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "train" / "cat"
    inner.mkdir(parents=True)
    (inner / "0.jpg").write_bytes(b"x")
    packed = tmp_path / "data" / "cifar10" / "all.tar.xz"
    packed.parent.mkdir(parents=True)
    with tarfile.open(packed, "w:xz") as archive:
        archive.add(tmp_path / "train", "train")
    monkeypatch.setenv("HEARSAY_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        path = Path(images.cifar()["path"])
        assert (path / "cat" / "0.jpg").is_file()
        assert tmp_path in path.parents
