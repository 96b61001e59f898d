"""SECURITY.md: every test that it names exists, and every file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:peer|sim|algorithms|tests)/[\w/]+\.py)`", PAGE)))


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_the_tests_that_are_named_exist(file: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    there = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    assert {name for of, name in NAMED if of == file} - there == set()


def test_the_files_that_are_named_exist() -> None:
    assert len(NAMED) > 50
    assert [file for file in FILES if not (ROOT / file).is_file()] == []


def test_every_line_of_a_table_says_what_shows_it() -> None:
    tables = PAGE.split("## Who is trusted with what")[1].split("## Somebody on the network")[1]
    lines = [line for line in tables.splitlines() if line.startswith("|")]
    rows = [line for line in lines if "shown by" not in line and not line.startswith("|---")]
    silent = [row for row in rows if not re.search(r"::test_|no test|\]\(docs/", row)]
    assert silent == []
