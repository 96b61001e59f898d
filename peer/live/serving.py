"""A page while a run goes on: the server's thread, and the one that looks at the run's folder."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from peer.experiment.addresses import is_loopback
from peer.live.facts import Network
from peer.live.feed import Feed
from peer.live.follow import Follower
from topology.errors import UserError

if TYPE_CHECKING:
    from peer.live.server import Action

LOOK = 0.5
"""Seconds between two looks at the run's folder."""

MOST_CONNECTIONS = 64
"""At once; whoever comes then is told to come later."""


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``PORT`` or ``HOST``; port 0 is one that is free.

    Raises:
        UserError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not host and not port.isdecimal():
        host, port = port, "0"
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:
        raise UserError(f"--live {text}: say HOST:PORT, such as 127.0.0.1:8000")
    return host, int(port)


def check_live(address: str) -> None:
    """Whether a page can be served there.

    Raises:
        UserError: a package is missing, or the address is none.
    """
    parse_address(address)
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--live: needs the packages {' and '.join(missing)}; pip install 'hearsay[live]'"
        )


@contextlib.contextmanager
def serving(
    address: str,
    network: Network,
    folder: Path,
    *,
    title: str,
    subtitle: str,
    tell: Callable[[str], None],
    actions: Mapping[str, Action] | None = None,
    feed: Feed | None = None,
) -> Iterator[Feed]:
    """Serve a run's page while the block runs, and follow the run's folder.

    Args:
        address: as :func:`parse_address` takes it.
        network: what stays as it is.
        folder: the run's.
        title, subtitle: plain text.
        tell: gets the address, in a line.
        actions: what may be done to a peer, by name.
        feed: where others put facts, too; one of its own if None.

    Raises:
        UserError: it cannot listen there.
    """
    import uvicorn  # an extra, for those who want a page

    from peer.live.server import Shown, application

    feed = feed if feed is not None else Feed()
    shown = Shown(network, feed, title, subtitle, dict(actions or {}))
    host, port = parse_address(address)
    bound = _bind(host, port)
    port = bound.getsockname()[1]
    hosts = (
        ["127.0.0.1", "localhost", "[::1]"] if is_loopback(f"tcp://{_called(host)}:1") else ["*"]
    )
    server = uvicorn.Server(
        uvicorn.Config(
            application(shown, hosts),
            log_level="critical",
            access_log=False,
            lifespan="off",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
    )
    over = threading.Event()
    follower = Follower(folder)
    threads = [
        threading.Thread(target=server.run, args=([bound],), name="live page", daemon=True),
        threading.Thread(target=_follow, args=(follower, feed, over), name="follow", daemon=True),
    ]
    for thread in threads:
        thread.start()
    tell(f"the page is http://{_called(host)}:{port}/?token={shown.token}")
    try:
        yield feed
    finally:
        over.set()
        threads[1].join(timeout=5)
        feed.close()
        server.should_exit = True
        threads[0].join(timeout=5)
        bound.close()


def _called(host: str) -> str:
    """As it stands in an address."""
    return f"[{host}]" if ":" in host else host


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(MOST_CONNECTIONS)  # whoever comes before the server's thread runs waits
    except (OSError, OverflowError) as problem:
        found.close()
        why = getattr(problem, "strerror", None) or problem
        raise UserError(f"--live {host}:{port}: cannot listen there ({why})") from None
    return found


def _follow(follower: Follower, feed: Feed, over: threading.Event) -> None:
    """Look at the run's folder until the run is over, and once more then."""
    while not over.wait(LOOK):
        feed.add(follower.news())
    while news := follower.news():
        feed.add(news)
