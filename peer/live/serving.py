"""A page while a run goes on: the server's thread, and the one that looks at the run's folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from peer.experiment.addresses import is_loopback
from peer.live.facts import Fact, Network
from peer.live.feed import Feed
from peer.live.follow import Follower
from topology.errors import UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from peer.live.server import Action, LinkAction, Told

TOKEN = "HEARSAY_TOKEN"
"""In the environment: the token of page and metrics, where it is to stay the same."""

LOOK = 0.5
"""Seconds between two looks for facts."""

MOST_CONNECTIONS = 64
"""At once; whoever comes then is told to come later."""


def parse_address(text: str, option: str = "--live") -> tuple[str, int]:
    """``HOST:PORT``, ``PORT`` or ``HOST``; port 0 is one that is free.

    Raises:
        UserError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not host and not port.isdecimal():
        host, port = port, "0"
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{option} {text}: say HOST:PORT, such as 127.0.0.1:8000")
    return host, int(port)


def check_live(address: str, option: str = "--live") -> None:
    """Whether a page, or metrics, can be served there.

    Raises:
        UserError: a package is missing, or the address is none.
    """
    parse_address(address, option)
    needed = {"starlette": "starlette", "uvicorn": "uvicorn"}
    if option == "--metrics":
        needed["prometheus_client"] = "prometheus-client"
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        words = f"{option}: needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}"
        raise UserError(f"{words}; pip install 'hearsay[live]'")


def the_token() -> str:
    """What whoever asks has to know: drawn for this run, or :data:`TOKEN` of the environment.

    Raises:
        UserError: the environment's can be guessed.
    """
    given = os.environ.get(TOKEN)
    if given is None:
        return secrets.token_urlsafe(16)
    if not re.fullmatch(r"[\w.~-]{16,256}", given, re.ASCII):
        raise UserError(
            f"{TOKEN}: must be 16 letters, digits or -._~ at least; leave it out, and one is drawn"
        )
    return given


class Source(Protocol):
    """Where facts come from."""

    def news(self) -> list[Fact]:
        """Facts that were not there at the last look."""


@contextlib.contextmanager
def listening(
    address: str, option: str, make: Callable[[list[str], bool], Starlette]
) -> Iterator[str]:
    """Serve an application while the block runs; gives its address, such as ``http://pi-3:8000``.

    Args:
        address: as :func:`parse_address` takes it.
        option: that names it.
        make: an application for these names of hosts; and whether they are this machine's alone.

    Raises:
        UserError: it cannot listen there.
    """
    import uvicorn  # an extra, for those who want a page

    host, port = parse_address(address, option)
    bound = _bind(host, port, option)
    is_here = is_loopback(f"tcp://{_called(host)}:1")
    hosts = ["127.0.0.1", "localhost", "[::1]"] if is_here else ["*"]
    server = uvicorn.Server(
        uvicorn.Config(
            make(hosts, is_here),
            log_level="critical",
            access_log=False,
            lifespan="off",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
    )
    thread = threading.Thread(
        target=server.run, args=([bound],), name=option.strip("-"), daemon=True
    )
    thread.start()
    try:
        yield f"http://{_called(host)}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        bound.close()


@contextlib.contextmanager
def serving(
    address: str,
    network: Network,
    source: Path | Source,
    *,
    title: str,
    subtitle: str,
    tell: Callable[[str], None],
    actions: Mapping[str, Action] | None = None,
    feed: Feed | None = None,
    clock: Callable[[], float] | None = None,
    told: Callable[[bool, str], Told] | None = None,
    link_actions: Mapping[str, LinkAction] | None = None,
    by_now: Callable[[], Network] | None = None,
) -> Iterator[Feed]:
    """Serve a run's page while the block runs, and look for facts.

    Args:
        address: as :func:`parse_address` takes it.
        network: what stays as it is.
        source: the run's folder, or where else facts come from.
        title, subtitle: plain text.
        tell: gets the address, in a line.
        actions: what may be done to a peer, by name.
        feed: where others put facts, too; one of its own if None.
        clock: by which facts say when something was heard.
        link_actions: what may be done to a link.
        by_now: the network as it is known when somebody opens the page, where that changes.
        told: what programs are told, too; is given whether they need no token, and the token.

    Raises:
        UserError: it cannot listen there.
    """
    from peer.live.server import Shown, application  # which needs an extra

    feed = feed if feed is not None else Feed()
    token = the_token()
    may_do = dict(actions or {}), token, clock, dict(link_actions or {}), by_now
    shown = Shown(network, feed, title, subtitle, *may_do)
    over = threading.Event()
    follower = Follower(source) if isinstance(source, Path) else source
    following = threading.Thread(
        target=_follow, args=(follower, feed, over), name="follow", daemon=True
    )

    def make(hosts: list[str], is_here: bool) -> Starlette:
        return application(shown, hosts, None if told is None else told(is_here, token))

    with listening(address, "--live", make) as where:
        following.start()
        tell(f"the page is {where}/?token={token}")
        try:
            yield feed
        finally:
            over.set()
            following.join(timeout=5)
            feed.close()


def _called(host: str) -> str:
    """As it stands in an address."""
    return f"[{host}]" if ":" in host else host


def _bind(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(MOST_CONNECTIONS)  # whoever comes before the server's thread runs waits
    except (OSError, OverflowError) as problem:
        found.close()
        why = getattr(problem, "strerror", None) or problem
        raise UserError(f"{option} {host}:{port}: cannot listen there ({why})") from None
    return found


def _follow(follower: Source, feed: Feed, over: threading.Event) -> None:
    """Look for facts until the run is over, and once more then."""
    while not over.wait(LOOK):
        feed.add(follower.news())
    while news := follower.news():
        feed.add(news)
