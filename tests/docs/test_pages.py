"""What the README and the site show is so: files, keys, programs, commands and paths.

A fenced block of YAML is an experiment, or keys of one. A block of Python runs, after those above
it on the page, unless a comment before it says ``<!-- not run: why -->``; then it compiles.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pytest
import typer
import yaml

import algorithms
import peer.__main__
import sim.__main__
from peer.data.sources import SOURCES
from peer.experiment import from_mapping
from peer.gan.losses import LOSSES
from sim.studies.compare import read_comparison

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SKETCHED = [DOCS / folder for folder in ("developing", "explanation", "results", "systems")]
"""Where a block of Python may leave out what does not matter there."""

WHOLE = [page for page in PAGES if not set(SKETCHED) & set(page.parents)]

BASE = yaml.safe_load((EXAMPLES / "ring.yaml").read_text(encoding="utf-8"))

FENCE = re.compile(
    r"(?P<mark><!-- not run: [^>]*-->\n)?"
    r"^(?P<fence>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
PATH = re.compile(
    r"(?<![\w/.~-])(?:algorithms|benchmarks|docs|examples|peer|reproductions|sim|tests|topology)"
    r"/[\w./-]*\w"
)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    runs: bool


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["language"] in languages:
            line = text.count("\n", 0, match.start("fence")) + 1
            yield Block(page, line, match["language"], match["text"], match["mark"] is None)


def every(language: str, pages: list[Path]) -> list[Any]:
    return [
        pytest.param(block, id=f"{name_of(page)}:{block.line}")
        for page in pages
        for block in blocks(page, language)
    ]


def alternatives(text: str) -> Iterator[dict[str, Any]]:
    """A block's keys; where one is there several times, once with each of its values."""
    node = yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    pairs = []
    for key, value in node.value:
        one = yaml.MappingNode("tag:yaml.org,2002:map", [(key, value)])
        pairs += yaml.safe_load(yaml.serialize(one)).items()
    for place in range(max(Counter(key for key, _ in pairs).values())):
        chosen: dict[str, list[Any]] = {}
        for key, value in pairs:
            chosen.setdefault(key, []).append(value)
        yield {key: values[min(place, len(values) - 1)] for key, values in chosen.items()}


@pytest.mark.parametrize("block", every("yaml", PAGES))
def test_yaml_is_an_experiment_or_keys_of_one(block: Block, tmp_path: Path) -> None:
    for keys in alternatives(block.text):
        if "systems" in keys:
            (tmp_path / "compared.yaml").write_text(block.text)
            read_comparison([tmp_path / "compared.yaml"])
            continue
        experiment = from_mapping(BASE | keys, folder=EXAMPLES)
        algorithms.find(experiment, check="algorithm" in keys and "graph" in keys)


@pytest.mark.parametrize("block", every("python", WHOLE))
def test_python_compiles(block: Block) -> None:
    compile(block.text, f"{block.page}:{block.line}", "exec")


@pytest.mark.parametrize(
    "page",
    [page for page in WHOLE if any(block.runs for block in blocks(page, "python"))],
    ids=name_of,
)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        if block.runs:
            exec(compile(block.text, f"{page}:{block.line}", "exec"), namespace)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(PATH.findall(text))
    named |= {f"benchmarks/{name}.py" for name in re.findall(r"-m benchmarks\.(\w+)", text)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def command_lines() -> list[Any]:
    found = []
    for page in PAGES:
        for block in blocks(page, "sh", "console"):
            for line in block.text.splitlines():
                command = line.removeprefix("$ ")
                if block.language == "console" and command == line:
                    continue  # what it printed
                words = shlex.split(command, comments=True)
                if words and words[0] in ("sim", "peer", "make"):
                    found.append(pytest.param(words, id=f"{name_of(page)}: {command}"))
    return found


@pytest.mark.parametrize("words", command_lines())
def test_commands_have_these_options(words: list[str]) -> None:
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets)
        return
    group: Any = typer.main.get_command({"sim": sim, "peer": peer}[program].__main__.app)
    if rest[0] in group.commands:
        command = group.commands[rest.pop(0)]
    else:  # one peer, or short for sim run
        command = group if program == "peer" else group.commands["run"]
    known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
    assert {word for word in rest if word.startswith("-")} <= known


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("reference/gans.md", LOSSES),
        ("reference/data.md", SOURCES),
        ("reference/algorithms.md", algorithms.ALGORITHMS),
    ],
)
def test_tables_that_are_written_by_hand_are_complete(page: str, names: dict[str, Any]) -> None:
    rows = re.findall(r"^\| `([\w-]+)`", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(names)
