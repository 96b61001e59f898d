"""What may be done, from the page, to the peers that ``peer up`` started on this machine."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Mapping

from peer.live.feed import Feed
from peer.live.server import Action, LinkAction, Refused
from peer.runtime.launcher import Child
from peer.runtime.signals import STOPPED

Link = tuple[int, int]


class Steering:
    """Tells a page what becomes of the peers' processes, and does to them what it asks for.

    Threads: the launcher's calls :meth:`begun`, :meth:`said` and :meth:`look`; the server's calls
    the actions.

    Args:
        feed: of the page.
        links: that can be cut, each with the lower id first.
    """

    def __init__(self, feed: Feed, links: Collection[Link] = ()) -> None:
        self.feed = feed
        self.links = frozenset(links)
        self._cut: set[Link] = set()
        self._children: dict[int, Child] = {}
        self._start: Callable[[Child], None] | None = None
        self._paused: set[int] = set()
        self._told: dict[int, str] = {}
        self._one_at_a_time = threading.Lock()

    @property
    def actions(self) -> Mapping[str, Action]:
        """By the name of their button."""
        return {
            "pause": self._pause,
            "go on": self._go_on,
            "stop": self._stop,
            "kill": self._kill,
            "start again": self._start_again,
        }

    @property
    def link_actions(self) -> Mapping[str, LinkAction]:
        """By the name of their button; none where no link can be cut."""
        return {"cut": self._cut_link, "mend": self._mend_link} if self.links else {}

    def begun(self, children: list[Child], start: Callable[[Child], None]) -> None:
        """The peers' processes run; ``start`` starts one anew."""
        self._start = start
        self._children = {child.peer: child for child in children}

    def said(self, line: str) -> None:
        """A line of the log."""
        self.feed.add([{"kind": "event", "round": None, "text": line}])

    def look(self) -> None:
        """Tell whose process has changed."""
        for peer, child in self._children.items():
            state = self._state(child)
            if self._told.get(peer, "") != state:
                self._told[peer] = state
                self.feed.add([{"kind": "state", "peer": peer, "round": 0, "text": state}])

    def _state(self, child: Child) -> str:
        code = child.process.poll()
        if code is None:
            return "paused" if child.peer in self._paused else ""
        if code == 0:
            return "finished"
        if code < 0:
            return f"killed ({signal.Signals(-code).name})"
        return "stopped" if code == STOPPED else f"failed (exit code {code})"

    def _running(self, peer: int) -> Child:
        child = self._children.get(peer)
        if child is None or not child.runs:
            raise Refused(f"peer {peer} does not run")
        return child

    def _pause(self, peer: int) -> str:
        with self._one_at_a_time:
            self._running(peer).process.send_signal(signal.SIGSTOP)
            self._paused.add(peer)
            return "paused: its process stands still"

    def _go_on(self, peer: int) -> str:
        with self._one_at_a_time:
            child = self._running(peer)
            if peer not in self._paused:
                raise Refused(f"peer {peer} is not paused")
            self._wake(child)
            return "it goes on"

    def _wake(self, child: Child) -> None:
        child.process.send_signal(signal.SIGCONT)
        self._paused.discard(child.peer)

    def _stop(self, peer: int) -> str:
        with self._one_at_a_time:
            child = self._running(peer)
            self._wake(child)
            child.process.send_signal(signal.SIGINT)
            return "it stops at the end of its round, and saves"

    def _kill(self, peer: int) -> str:
        with self._one_at_a_time:
            self._running(peer).process.kill()
            self._paused.discard(peer)
            return "killed"

    def _start_again(self, peer: int) -> str:
        with self._one_at_a_time:
            child = self._children.get(peer)
            if child is None or self._start is None or child.runs:
                raise Refused(f"peer {peer} runs")
            if not any(other.runs for other in self._children.values()):
                raise Refused("the run has ended")
            self._start(child)
            for link in sorted(self._cut):  # its new process knows nothing of that
                if peer in link:
                    child.tell(f"cut {sum(link) - peer}")
            return "started again, from its last checkpoint if it has one"

    def _cut_link(self, a: int, b: int) -> str:
        with self._one_at_a_time:
            link = self._link(a, b)
            if link in self._cut:
                raise Refused(f"the link of peers {a} and {b} is cut already")
            self._cut.add(link)
            self._tell_ends(link, "cut")
            return f"cut: nothing gets through between peers {a} and {b}"

    def _mend_link(self, a: int, b: int) -> str:
        with self._one_at_a_time:
            link = self._link(a, b)
            if link not in self._cut:
                raise Refused(f"the link of peers {a} and {b} is whole")
            self._cut.discard(link)
            self._tell_ends(link, "mend")
            return "it is whole again"

    def _link(self, a: int, b: int) -> Link:
        link = min(a, b), max(a, b)
        if link not in self.links:
            raise Refused(f"there is no link of peers {a} and {b}")
        return link

    def _tell_ends(self, link: Link, order: str) -> None:
        """Tell both processes; one that does not run is told when it is started again."""
        for peer in link:
            child = self._children.get(peer)
            if child is not None and child.runs:
                child.tell(f"{order} {sum(link) - peer}")
        cut = [list(each) for each in sorted(self._cut)]
        self.feed.add([{"kind": "cut", "peer": None, "round": 0, "links": cut}])
