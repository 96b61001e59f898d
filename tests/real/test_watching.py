"""Three peers, each with a page of its own that knows the others by what comes over its links."""

from __future__ import annotations

import html
import json
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import ForkedPeer, Processes, until

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LONGEST = 120.0
"""Seconds after which something that must happen has not happened."""


def wait_for(what: Callable[[], Any]) -> Any:
    """What is found, once it is found."""
    limit = time.monotonic() + LONGEST
    while not (found := what()):
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.5)
    return found


def started(processes: Processes, pages: tuple[int, ...]) -> tuple[list[ForkedPeer], list[str]]:
    """A line of three peers that run for long, and the addresses of their pages."""
    file = processes.write(
        SMALL
        | {
            "peers": 3,
            "graph": {"edges": [[0, 1], [1, 2]]},
            "addresses": free_addresses(3),
            "algorithm": {"name": "diffusion", "rounds": 1_000_000},
            "deadline": 2,
        }
    )
    live = ["--live", "127.0.0.1:0"]
    peers = [processes.peer(file, k, *(live if k in pages else [])) for k in range(3)]
    found = [re.findall(r"http\S+", until(peers[k], "the page is"))[-1] for k in pages]
    return peers, found


def status(address: str) -> dict[int, dict[str, Any]]:
    """What a page's peer knows of all, by peer."""
    with urllib.request.urlopen(address.replace("/?", "/status.json?"), timeout=20) as answer:
        return {each["peer"]: each for each in json.load(answer)["peers"]}


def silent_cards(folder: Path, address: str) -> dict[str, str]:
    """A browser's view of the page: what is said of each peer that is grey, by its heading."""
    shown = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={folder / 'profile'}", "--timeout=3000", "--dump-dom", address],
        capture_output=True, text=True, timeout=60, check=False,
    ).stdout  # fmt: skip
    cards = re.findall(r'<button type="button" class="(card[^"]*)".*?</button>', shown, re.DOTALL)
    bodies = re.findall(r'<button type="button" class="card[^"]*".*?</button>', shown, re.DOTALL)
    assert len(cards) == 3
    found = {}
    for classes, body in zip(cards, bodies, strict=True):
        if "silent" in classes.split():
            name = re.search(r"<b>(.*?)</b>", body)
            said = re.findall(r"<span>([^<]*)</span>", body)
            assert name is not None
            found[name[1]] = html.unescape(said[-1])
    return found


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page")
@pytest.mark.timeout(300)
def test_a_killed_peer_turns_grey_on_the_page_of_another(
    processes: Processes, tmp_path: Path
) -> None:
    peers, (_, _, page) = started(processes, pages=(0, 1, 2))
    wait_for(lambda: all(each["condition"] == "running" for each in status(page).values()))
    with urllib.request.urlopen(page, timeout=20) as answer:
        assert "as peer 2 hears of it" in answer.read().decode()
    assert silent_cards(tmp_path, page) == {}
    peers[0].kill()
    wait_for(lambda: status(page)[0]["condition"] == "silent")
    assert status(page)[0]["heard"] > 14
    seen = wait_for(lambda: silent_cards(tmp_path, page))
    assert list(seen) == ["peer 0"]
    assert re.fullmatch(r"silent for \d+ s", seen["peer 0"])
    wait_for(lambda: status(page)[1]["phases"]["0"] in ("suspect", "down"))


@pytest.mark.timeout(300)
def test_pictures_leave_only_who_says_live_and_a_farewell_is_heard(processes: Processes) -> None:
    peers, (page,) = started(processes, pages=(2,))
    known = wait_for(
        lambda: (of := status(page)) and all("draws" in each for each in of.values()) and of
    )
    assert [known[k]["draws"] for k in range(3)] == [False, False, True]
    wait_for(lambda: any(fact["kind"] == "picture" for fact in facts_of(page)))
    drawn = {fact["peer"] for fact in facts_of(page) if fact["kind"] == "picture"}
    assert drawn == {2}
    peers[0].send_signal(signal.SIGTERM)
    wait_for(lambda: status(page)[0]["condition"] == "stopped")


def text_of(page: str) -> str:
    with urllib.request.urlopen(page, timeout=20) as answer:
        return str(answer.read().decode())


def facts_of(page: str) -> list[dict[str, Any]]:
    """What the page is opened with."""
    found = re.search(r'id="facts">(.*?)</script>', text_of(page), re.DOTALL)
    assert found is not None
    return list(json.loads(found[1])["facts"])


def test_a_host_of_backups_has_no_page(processes: Processes) -> None:
    file = processes.write(
        SMALL
        | {
            "peers": 4,
            "graph": "star",
            "backups": 1,
            "addresses": free_addresses(5),
            "algorithm": {"name": "fedavg", "rounds": 3},
        }
    )
    process = processes.peer(file, 0, "--live", "0")
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait(60) == 2
    assert "--live: with backups, the server's place moves" in said
