"""The page over HTTP: it follows a run, and where it may, steers it.

What a stranger can do with the address is nothing: every path wants the token, which is 128 random
bits; the Host header must be the address that was bound, so that no other site's name can be made
to point here; what changes something is a POST with the token in a header, which another site
cannot send. Connections are bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from peer.live.facts import Network
from peer.live.feed import Feed
from peer.live.page import Live, page

POLL = 0.25
"""Seconds between two looks for facts that have come."""

PROMETHEUS = "text/plain; version=0.0.4"
"""What Prometheus' text format calls itself."""

KEEP_ALIVE = 10.0
"""Seconds after which something is said on a connection on which nothing is to be said."""

Action = Callable[[int], str]
"""Does something to a peer; returns what it did, in words. Raises :class:`Refused`."""


LinkAction = Callable[[int, int], str]
"""The same to a link, by its two ends."""


class Refused(Exception):
    """It cannot be done, and why."""


@dataclass(frozen=True)
class Shown:
    """What a page is about.

    Attributes:
        network: what stays as it is.
        feed: where facts come in.
        title, subtitle: plain text.
        actions: what may be done to a peer, by name; none where the page only looks.
        link_actions: the same to a link.
        by_now: the network as it is known when somebody opens the page, where that changes.
        token: without which nothing is answered.
    """

    network: Network
    feed: Feed
    title: str
    subtitle: str
    actions: Mapping[str, Action] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    clock: Callable[[], float] | None = None
    link_actions: Mapping[str, LinkAction] = field(default_factory=dict)
    by_now: Callable[[], Network] | None = None


@dataclass(frozen=True)
class Told:
    """What programs are told of a peer.

    Attributes:
        overview: what it knows of all, for JSON; see :mod:`peer.telling.overview`.
        metrics: for Prometheus, in its text format; nothing, if None.
        token: without which nothing is answered.
        is_open: nobody needs the token.
    """

    overview: Callable[[], dict[str, Any]]
    metrics: Callable[[], bytes] | None
    token: str
    is_open: bool


def application(shown: Shown | None, hosts: list[str], told: Told | None = None) -> Starlette:
    """The page, its stream of facts and its actions; and what programs are told.

    Args:
        shown: what the page is about; there is none, if None.
        hosts: names under which it may be asked for, without port.
        told: what programs are told; nothing, if None.
    """
    routes = ([] if shown is None else _of_page(shown)) + ([] if told is None else _of_told(told))
    middleware = Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    return Starlette(routes=routes, middleware=[middleware])


def _of_told(told: Told) -> list[Route]:
    def is_known(request: Request) -> bool:
        return told.is_open or _has(request, told.token)

    async def status(request: Request) -> Response:
        if not is_known(request):
            return PlainTextResponse("the token is missing, or another one\n", 403)
        return JSONResponse(told.overview(), headers=_HEADERS)

    async def metrics(request: Request) -> Response:
        if not is_known(request):
            return PlainTextResponse("the token is missing, or another one\n", 403)
        assert told.metrics is not None
        return Response(told.metrics(), media_type=PROMETHEUS, headers=_HEADERS)

    routes = [Route("/status.json", status)]
    return routes if told.metrics is None else [*routes, Route("/metrics", metrics)]


def _has(request: Request, token: str) -> bool:
    """Whether whoever asks has the token: in the address, or in a header, as Prometheus sends."""
    kind, _, bearer = (request.headers.get("authorization") or "").partition(" ")
    said = request.headers.get("x-token") or request.query_params.get("token")
    said = said or (bearer if kind.lower() == "bearer" else "")
    return hmac.compare_digest(said.encode(), token.encode())


def _of_page(shown: Shown) -> list[Route]:
    def is_known(request: Request) -> bool:
        return _has(request, shown.token)

    async def whole(request: Request) -> Response:
        if not is_known(request):
            return PlainTextResponse("the address ends with ?token=..., as printed\n", 403)
        number, found = shown.feed.after(0, most=sys.maxsize)  # seen at once; the rest is streamed
        address = f"facts?token={shown.token}&after={number}"
        text = page(
            shown.network if shown.by_now is None else shown.by_now(),
            found,
            title=shown.title,
            subtitle=shown.subtitle,
            footer="Served by the run itself; nothing else is asked.",
            live=Live(
                address,
                tuple(shown.actions),
                shown.token,
                None if shown.clock is None else shown.clock(),
                tuple(shown.link_actions),
            ),
        )
        return HTMLResponse(text, headers=_HEADERS)

    async def facts(request: Request) -> Response:
        if not is_known(request):
            return PlainTextResponse("no\n", 403)
        try:
            after = request.headers.get("last-event-id") or request.query_params.get("after")
            number = int(after or 0)
        except ValueError:
            return PlainTextResponse("after: a whole number\n", 400)
        return StreamingResponse(
            _stream(shown.feed, number), media_type="text/event-stream", headers=_HEADERS
        )

    async def act(request: Request) -> Response:
        actions, peers = shown.actions, (request.path_params["peer"],)
        return await do(request, actions, peers)

    async def act_on_link(request: Request) -> Response:
        ends = request.path_params["one"], request.path_params["other"]
        return await do(request, shown.link_actions, ends)

    async def do(
        request: Request, actions: Mapping[str, Callable[..., str]], peers: tuple[int, ...]
    ) -> Response:
        # A header, and not the address: a form of another site could send the address.
        said = request.headers.get("x-token") or ""
        if not hmac.compare_digest(said.encode(), shown.token.encode()):
            return PlainTextResponse("no\n", 403)
        action = actions.get(request.path_params["action"])
        if action is None or not shown.network.places.keys() >= set(peers):
            return JSONResponse({"said": "there is no such thing"}, 404)
        try:
            said = await asyncio.to_thread(action, *peers)
        except Refused as why:
            return JSONResponse({"said": str(why)}, 409)
        return JSONResponse({"said": said})

    return [
        Route("/", whole),
        Route("/facts", facts),
        Route("/peers/{peer:int}/{action:str}", act, methods=["POST"]),
        Route("/links/{one:int}/{other:int}/{action:str}", act_on_link, methods=["POST"]),
    ]


_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address has the token in it
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def _stream(feed: Feed, number: int) -> AsyncIterator[str]:
    """Server-sent events: a list of facts each, numbered, so that a browser asks for the rest."""
    silent = 0.0
    while True:
        number, found = feed.after(number)
        if found:
            silent = 0.0
            text = json.dumps(found, separators=(",", ":"), allow_nan=False)
            yield f"id: {number}\ndata: {text}\n\n"
        elif feed.is_closed:
            yield "event: end\ndata: {}\n\n"
            return
        else:
            await asyncio.sleep(POLL)
            silent += POLL
            if silent >= KEEP_ALIVE:
                silent = 0.0
                yield ": still here\n\n"
