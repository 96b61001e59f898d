"""What the pages name in the repository is there: files and folders, modules, and names in them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.peer import Peer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FOLDERS = "algorithms|benchmarks|docs|examples|peer|sim|tests|topology"

FENCE = re.compile(r"^ *(`{3,}|:{3,}).*?^ *\1", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<![}`])`([^`\n]+)`(?!`)")  # of code; a role's content stands behind a brace
PATH = re.compile(rf"(?:{FOLDERS})(?:/[\w.*-]+)+/?")
FILE = re.compile(rf"(?:{FOLDERS})(?:/[\w.-]+)*/[\w-]+\.(?:py|yaml|md|ipynb|json)")
NAME = re.compile(r"((?:algorithms|benchmarks|peer|sim|tests|topology)(?:\.\w+)+)(?:\(.*\))?")
MODULE = re.compile(r"python -m ((?:benchmarks|peer|sim|tests)[\w.]*)")


def stale(text: str) -> list[str]:
    """What ``text`` names that is not there."""
    prose = FENCE.sub("", text)
    blocks = " ".join(fence.group() for fence in FENCE.finditer(text))
    return [each for each in _paths(prose, blocks) if not any(ROOT.glob(each.rstrip("/")))] + [
        each for each in _names(prose, blocks) if not _is_known(each)
    ]


def _paths(prose: str, blocks: str) -> Iterator[str]:
    for span in SPAN.findall(prose):
        yield from (word for word in span.split() if PATH.fullmatch(word))
    yield from (word for word in blocks.split() if FILE.fullmatch(word))


def _names(prose: str, blocks: str) -> Iterator[str]:
    for span in SPAN.findall(prose):
        if match := NAME.fullmatch(span):
            yield match.group(1)
    yield from MODULE.findall(prose + blocks)


def _is_known(name: str) -> bool:
    """Whether ``name`` is a module, a name in one, or one of a peer's own (``peer.combine``)."""
    root, *rest = name.split(".")
    if root == "peer" and len(rest) == 1 and _is_of_a_peer(rest[0]):
        return True
    depth = next((n for n in range(len(rest), -1, -1) if _is_module([root, *rest[:n]])), None)
    if depth is None:
        return False
    if depth == len(rest):
        return True
    here = importlib.import_module(".".join([root, *rest[:depth]]))
    return all((here := getattr(here, part, None)) is not None for part in rest[depth:])


def _is_module(parts: list[str]) -> bool:
    path = ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def _is_of_a_peer(attribute: str) -> bool:
    return hasattr(Peer, attribute) or attribute in Peer.__init__.__code__.co_names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert stale(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`peer/peer.py`, `examples/`, `examples/*.yaml`", []),
        ("`peer/nowhere.py` and `peer/net/`", ["peer/nowhere.py"]),
        ("`sim examples/none.yaml --no-report`", ["examples/none.yaml"]),
        ("```\nsim examples/none.yaml\n```", ["examples/none.yaml"]),
        ("`runs/demo/report.html`, a page, and `peer-3/metrics.jsonl`", []),
        ("`peer.net.wire`, `peer.net.wire.decode`, `sim.run`, `peer.rng('x')`, `peer.facts`", []),
        ("`peer.net.wier`, `peer.net.wire.encodes`", ["peer.net.wier", "peer.net.wire.encodes"]),
        ("`peer.combines`, `peer.missed`", ["peer.combines"]),
        ("```\npython -m benchmarks.rounds --repeats 3\n```", ["benchmarks.rounds"]),
        ("`python -m tests.digests`, {math}`peer/none.py`", []),
    ],
)
def test_what_is_gone_is_found(text: str, found: list[str]) -> None:
    assert stale(text) == found
