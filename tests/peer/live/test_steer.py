"""What a page does to the peers of ``peer up``: to processes, and from a browser to real peers."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import algorithms
import peer.live.server
from peer.experiment import from_mapping
from peer.live.command import steered
from peer.live.feed import Feed
from peer.live.page import page
from peer.live.server import Refused
from peer.live.steer import Steering
from peer.runtime.launcher import Child, up, with_free_ports
from peer.runtime.signals import Stop

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
STAYS = "import signal, sys\nprint('x', flush=True)\n" + (
    "signal.signal(signal.SIGINT, lambda *a: sys.exit(130))\nsignal.pause()"
)


def process() -> subprocess.Popen[str]:
    found = subprocess.Popen([sys.executable, "-c", STAYS], stdout=subprocess.PIPE, text=True)
    assert found.stdout is not None
    with found.stdout:
        found.stdout.readline()
    time.sleep(0.1)  # it has said that it is there, and is about to wait
    return found


@pytest.fixture
def steering() -> Iterator[Steering]:
    children = [Child(k, process()) for k in range(2)]

    def start(child: Child) -> None:
        child.process = process()

    found = Steering(Feed())
    found.begun(children, start)
    yield found
    for child in children:
        child.process.kill()
        child.process.wait()


def told(steering: Steering) -> list[tuple[int, str]]:
    steering.look()
    return [(f["peer"], f["text"]) for f in steering.feed.after(0)[1] if f["kind"] == "state"]


def ended(steering: Steering, peer: int) -> None:
    steering._children[peer].process.wait(timeout=20)


def test_a_peer_is_paused_and_goes_on(steering: Steering) -> None:
    with pytest.raises(Refused, match="peer 0 is not paused"):
        steering.actions["go on"](0)
    steering.actions["pause"](0)
    assert told(steering) == [(0, "paused")]
    steering.actions["go on"](0)
    assert told(steering) == [(0, "paused"), (0, "")]


def test_a_peer_is_killed_and_started_again(steering: Steering) -> None:
    with pytest.raises(Refused, match="peer 1 runs"):
        steering.actions["start again"](1)
    steering.actions["kill"](1)
    ended(steering, 1)
    assert told(steering) == [(1, "killed (SIGKILL)")]
    with pytest.raises(Refused, match="peer 1 does not run"):
        steering.actions["kill"](1)
    steering.actions["start again"](1)
    assert told(steering)[-1] == (1, "")


def test_who_is_paused_stops_when_asked(steering: Steering) -> None:
    steering.actions["pause"](0)
    steering.actions["stop"](0)
    ended(steering, 0)
    assert told(steering)[-1][1] in ("stopped", "failed (exit code 130)")


def test_a_run_that_has_ended_starts_nobody(steering: Steering) -> None:
    for k in (0, 1):
        steering.actions["kill"](k)
        ended(steering, k)
    with pytest.raises(Refused, match="the run has ended"):
        steering.actions["start again"](0)


def test_a_link_is_cut_at_both_ends_and_made_whole(steering: Steering) -> None:
    heard: dict[int, list[str]] = {0: [], 1: [], 2: []}
    feed = Feed()
    cutting = Steering(feed, [(0, 1), (1, 2)])

    class Hearing(Child):
        def tell(self, order: str) -> None:
            heard[self.peer].append(order)

    children = [Hearing(k, steering._children[k].process) for k in range(2)]
    cutting.begun([*children], lambda child: None)
    act = cutting.link_actions
    assert act["cut"](1, 0) == "cut: nothing gets through between peers 1 and 0"
    assert act["cut"](1, 2)  # of which one end does not run
    assert heard == {0: ["cut 1"], 1: ["cut 0", "cut 2"], 2: []}
    for action, ends, why in (("cut", (0, 1), "is cut already"), ("cut", (0, 2), "no link")):
        with pytest.raises(Refused, match=why):
            act[action](*ends)
    children[0].process.kill()
    ended(steering, 0)

    def start(child: Child) -> None:
        child.process = process()
        steering._children[0].process = child.process  # which the fixture ends

    cutting._start = start
    cutting.actions["start again"](0)
    assert heard[0] == ["cut 1", "cut 1"]  # its new process is told
    act["mend"](0, 1)
    assert (heard[0][-1], heard[1][-1]) == ("mend 1", "mend 0")
    with pytest.raises(Refused, match="is whole"):
        act["mend"](0, 1)
    told = [fact["links"] for fact in feed.after(0)[1] if fact["kind"] == "cut"]
    assert told == [[[0, 1]], [[0, 1], [1, 2]], [[1, 2]]]


def test_where_no_link_can_be_cut_nothing_is_offered(steering: Steering) -> None:
    assert not steering.link_actions


def test_what_is_no_peer(steering: Steering) -> None:
    for action in ("pause", "go on", "stop", "kill", "start again"):
        with pytest.raises(Refused):
            steering.actions[action](7)


DRIVER = """
<script>
(async () => {
  const until = async (what) => {
    for (let i = 0; i < 600 && !what(); i += 1) await new Promise((r) => setTimeout(r, 100));
    return what();
  };
  const seen = {};
  const cards = [...document.querySelectorAll(".card")];
  const text = (k) => cards[k].querySelector("span:last-child").textContent;
  const image = (k) => cards[k].querySelector("img").src;
  seen.drawn = await until(() => image(0));
  const first = image(0);
  seen.changed = await until(() => image(0) !== first) && true;
  cards[2].click();
  [...document.querySelectorAll("#buttons button")].find((b) => b.textContent === "kill").click();
  seen.killed = await until(() => text(2).startsWith("killed")) && text(2);
  seen.said = one("acted").textContent;
  seen.grey = cards[2].classList.contains("silent")
    && document.querySelectorAll("#graph .silent").length;
  seen.without = await until(() => text(1).includes("without 2")) && text(1);
  seen.missed = document.querySelectorAll("#graph line.missed").length;
  [...document.querySelectorAll("#buttons button")].find((b) => b.textContent === "start again")
    .click();
  seen.back = await until(() => !text(2).startsWith("killed")) && text(2);
  cards[0].click();
  one("other").value = "1";
  const click = (text) => [...document.querySelectorAll("#link-buttons button")]
    .find((b) => b.textContent === text).click();
  click("cut");
  seen.cut = await until(() => document.querySelectorAll("#graph line.cut").length);
  seen.parted = await until(() => text(0).includes("without") && text(0).includes("1")) && text(0);
  click("mend");
  seen.whole = await until(() => !document.querySelectorAll("#graph line.cut").length);
  seen.together = await until(() => /^round/.test(text(0))) && text(0);
  seen.curves = page.parts[1].plans.map((plan) => plan.chart.data[0].length > 1);
  await fetch("seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>
</body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page")
@pytest.mark.timeout(240)
def test_in_a_browser_pictures_change_and_a_click_kills_a_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five real peers, a real browser; the page gets a script that clicks as a person would."""
    seen: dict[str, Any] = {}
    driven(monkeypatch, seen.update)
    experiment = with_free_ports(
        from_mapping(
            {
                "peers": 5,
                "algorithm": {"name": "diffusion", "rounds": 100_000},
                "optimizer": {"name": "adam", "lr": 0.001},
                "gan": "mlp-digits",
                "data": {"source": "digits", "partition": "pairs"},
                "batch": 8,
                "deadline": 2,
                "checkpoint": 50,
                "metrics": {"every": 1, "pictures_every": 10},
            }
        )
    )
    (tmp_path / "run").mkdir()
    lines: list[str] = []
    stop = Stop()
    program = algorithms.find(experiment)
    console = Console(file=io.StringIO())
    with steered("127.0.0.1:0", experiment, program, tmp_path / "run", lines.append) as watch:
        arguments = (experiment, tmp_path / "run", program.rounds, console, [], [], stop, watch)
        running = threading.Thread(target=up, args=arguments)
        running.start()
        address = re.findall(r"http\S+", lines[0])[0]
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                   "--disable-background-networking", "--disable-sync"]  # fmt: skip
        browser = subprocess.Popen(
            [str(CHROMIUM), *options, f"--user-data-dir={tmp_path / 'profile'}",
             "--remote-debugging-port=0", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
        )  # fmt: skip
        try:
            limit = time.monotonic() + 200
            while not seen and time.monotonic() < limit:
                time.sleep(0.1)
        finally:
            browser.kill()
            browser.wait()
            stop.ask("the test is over")
            running.join()
    assert seen["changed"]
    assert seen["said"] == "killed"
    assert seen["killed"] == "killed (SIGKILL)"
    assert seen["grey"] == 1
    assert seen["without"] == "without 2"
    assert seen["missed"] == 2
    assert seen["back"] is not False
    assert seen["cut"] == 1
    assert seen["parted"].startswith("without 1")
    assert seen["whole"]
    assert seen["together"].startswith("round")
    assert all(seen["curves"])
    said = (tmp_path / "run" / "peers.log").read_text(encoding="utf-8")
    assert "peer 0: the link to peer 1 is cut: nothing gets through" in said
    assert "peer 1: the link to peer 0 is whole again" in said


def driven(monkeypatch: pytest.MonkeyPatch, tell: Callable[[Any], None]) -> None:
    """Give the page the driver's script, and the server a place where it says what it saw."""
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    monkeypatch.setattr(
        peer.live.server, "page", lambda *a, **b: page(*a, **b).replace("</body>", DRIVER)
    )
    original = peer.live.server.application

    def application(*arguments: Any) -> Any:
        found = original(*arguments)

        async def take(request: Request) -> Response:
            tell(json.loads(await request.body()))
            return Response()

        found.routes.append(Route("/seen", take, methods=["POST"]))
        return found

    monkeypatch.setattr(peer.live.server, "application", application)
