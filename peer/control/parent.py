"""What a peer is told by whoever started it: ``peer up``, by standard input."""

from __future__ import annotations

import json
import os
import threading

from peer.runtime.process import PeerProcess


def listen_to_parent(process: PeerProcess) -> None:
    """Do as whoever started this peer says on standard input; stop when that ends.

    ``promise`` is answered by ``{"promise": ROUND}`` (see :class:`peer.runtime.course.Course`);
    ``stop after R`` tells what all peers agreed on.
    """

    def listen() -> None:
        with os.fdopen(os.dup(0), encoding="utf-8", errors="replace") as orders:
            for order in orders:
                match order.split():
                    case ["promise"]:
                        process.log(json.dumps({"promise": process.course.promise()}))
                    case ["stop", "after", round]:
                        process.course.last(int(round))
        process.stop.ask("whoever started this peer is gone")

    threading.Thread(target=listen, name="parent", daemon=True).start()
