"""What a peer is told by whoever started it: ``peer up``, by standard input."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

from peer.runtime.course import Course
from peer.runtime.signals import Stop


def listen_to_parent(course: Course, log: Callable[[str], None], stop: Stop, cut: set[int]) -> None:
    """Do as whoever started this peer says on standard input; stop when that ends.

    ``promise`` is answered by ``{"promise": ROUND}`` (see :class:`~peer.runtime.course.Course`);
    ``stop after R`` tells what all peers agreed on. ``cut K`` loses all that goes to peer K or
    comes from it, as a broken network would, until ``mend K``; the other end is told the same.

    Args:
        course: when this peer is to stop.
        log: gets what there is to say.
        stop: asks it to stop.
        cut: the neighbours to whom the link is cut.
    """

    def listen() -> None:
        with os.fdopen(os.dup(0), encoding="utf-8", errors="replace") as orders:
            for order in orders:
                match order.split():
                    case ["promise"]:
                        log(json.dumps({"promise": course.promise()}))
                    case ["cut", k]:
                        cut.add(int(k))
                        log(f"the link to peer {k} is cut: nothing gets through")
                    case ["mend", k]:
                        cut.discard(int(k))
                        log(f"the link to peer {k} is whole again")
                    case ["stop", "after", round]:
                        course.last(int(round))
        stop.ask("whoever started this peer is gone")

    threading.Thread(target=listen, name="parent", daemon=True).start()
