"""Screenshots of the live page, in headless Chromium, of runs that are made for it.

    python docs/images/draw_live.py [--chromium /usr/bin/chromium]

live-cut.png and live-killed.png: five peers of `peer up`, one link cut by hand, then one peer
killed. live-peer.png: peer 3's own page, one of four on a line, where peer 0 was killed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

IMAGES = Path(__file__).resolve().parent
RING: dict[str, Any] = {
    "peers": 5,
    "algorithm": {"name": "diffusion", "rounds": 3000},
    "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 64,
    "deadline": 3,
    "metrics": {"every": 5, "pictures_every": 50, "quality_every": 100},
}
LINE = RING | {
    "peers": 4,
    "graph": {"edges": [[0, 1], [1, 2], [2, 3]]},
    "port": 47900,
    "addresses": "tcp://127.0.0.1:{port}",
}
FEW = 300
"""Rounds after which there is something to see."""


def main() -> None:
    """Draw all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="chromium")
    chromium = parser.parse_args().chromium
    with tempfile.TemporaryDirectory() as folder:
        of_up(chromium, Path(folder) / "up")
        of_peers(chromium, Path(folder) / "peers")


def of_up(chromium: str, folder: Path) -> None:
    """Cut a link and kill a peer of ``peer up`` by the page's own requests."""
    file = written(RING, folder)
    command = ["up", "--topology", file, "--run-dir", folder / "run", "--live", "0", "--no-report"]
    process, page = started(command, folder)
    try:
        wait(lambda: len(facts(page, "round")) and last_round(page) >= FEW)
        ask(page, "links/0/1/cut")
        wait(lambda: any(fact["missing"] for fact in facts(page, "round")[-5:]))
        shoot(chromium, folder, f"{page}#peer-0", "live-cut.png")
        ask(page, "links/0/1/mend")
        ask(page, "peers/2/kill")
        time.sleep(8)  # until its neighbours have gone on without it
        shoot(chromium, folder, f"{page}#peer-2", "live-killed.png")
    finally:
        end(process)


def of_peers(chromium: str, folder: Path) -> None:
    """Kill a peer that is three links away from the one whose page it is."""
    file = written(LINE, folder)
    base = ["--topology", file, "--run-dir", folder / "run", "--live", "0"]
    found = [started(["--id", k, *base], folder) for k in range(4)]
    page = found[3][1]
    try:
        wait(lambda: len(facts(page, "picture")) >= 4 and last_round(page) >= FEW)
        end(found[0][0])
        time.sleep(20)
        shoot(chromium, folder, page, "live-peer.png")
    finally:
        for process, _ in found[1:]:
            end(process)


def written(keys: dict[str, Any], folder: Path) -> Path:
    """An experiment's file, in a folder of its own."""
    folder.mkdir()
    path = folder / "ring.yaml"
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def started(command: list[Any], folder: Path) -> tuple[subprocess.Popen[str], str]:
    """``peer`` with these arguments, and the address of its page."""
    said = folder / f"said-{len(list(folder.iterdir()))}"
    words = [sys.executable, "-m", "peer", *map(str, command)]
    with said.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, text=True)
    pages = wait(lambda: re.findall(r"the page is (http\S+)", said.read_text()))
    return process, pages[0]


def end(process: subprocess.Popen[str]) -> None:
    """End a process at once; ``peer up`` may end its own."""
    process.terminate() if "up" in process.args else process.kill()
    process.wait()


def wait(what: Callable[[], Any], longest: float = 300.0) -> Any:
    """What is found, once it is."""
    limit = time.monotonic() + longest
    while not (found := what()):
        if time.monotonic() > limit:
            raise SystemExit("it never came to be")
        time.sleep(1)
    return found


def facts(page: str, kind: str) -> list[dict[str, Any]]:
    """Of one kind, what the page is opened with."""
    text = urllib.request.urlopen(page, timeout=30).read().decode()
    found = re.search(r'id="facts">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return [fact for fact in json.loads(found[1])["facts"] if fact["kind"] == kind]


def last_round(page: str) -> int:
    """The furthest that any peer has told."""
    return max((int(fact["round"]) for fact in facts(page, "round")), default=0)


def ask(page: str, path: str) -> None:
    """Do what a click on the page does."""
    address, _, token = page.partition("?token=")
    request = urllib.request.Request(address + path, method="POST", headers={"X-Token": token})
    print(path, json.load(urllib.request.urlopen(request, timeout=30))["said"])


def shoot(chromium: str, folder: Path, address: str, name: str) -> None:
    """A picture of the page, as it is now."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--user-data-dir={folder / 'profile'}", "--window-size=1200,1280"]
    options += ["--timeout=4000", f"--screenshot={IMAGES / name}", address]
    subprocess.run([chromium, *options], check=True, capture_output=True, timeout=120)
    print(IMAGES / name)


if __name__ == "__main__":
    main()
