"""The proxy before a server that sends back what it gets."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from peer.chaos.faults import Faults
from peer.chaos.proxy import Place, Proxy
from topology.errors import UserError

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def through(faults: Faults, talk: Talk, seed: int = 0) -> tuple[Proxy, list[str]]:
    """Have ``talk`` talk to an echo server through a proxy; the proxy, and what it said."""
    said: list[str] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1 << 16):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def run() -> Proxy:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        target = Place("127.0.0.1", server.sockets[0].getsockname()[1])
        proxy = Proxy("p", 0, Place("127.0.0.1", 0), target, faults, seed, said.append)
        await proxy.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            async with asyncio.timeout(30):
                await talk(reader, writer)
        finally:
            writer.transport.abort()
            await proxy.close()
            server.close()
            await asyncio.sleep(0.01)
        return proxy

    return asyncio.run(run()), said


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    writer.write_eof()
    return await reader.read(-1)


def test_without_faults_bytes_and_the_end_pass() -> None:
    data = os.urandom(3_000_000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await echoed(reader, writer, data) == data

    proxy, said = through(Faults(), talk)
    assert proxy.counts == {"connections": 1}
    assert said == []


def test_a_delay_counts_both_ways() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began = time.monotonic()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert 0.4 <= time.monotonic() - began < 2.0

    through(Faults(delay=0.2), talk)


def test_a_throttle_limits_the_rate() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began = time.monotonic()
        assert len(await echoed(reader, writer, bytes(500_000))) == 500_000
        assert 0.5 <= time.monotonic() - began < 4.0

    through(Faults(throttle=1e6), talk)


def test_a_stall_passes() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        longest = 0.0
        for _ in range(40):
            began = time.monotonic()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.02)
        assert longest > 0.2

    proxy, said = through(Faults(stall_every=0.2, stall=0.4), talk)
    assert proxy.counts["stall"] == len(said) >= 1
    assert "nothing moves for" in said[0]


def test_a_reset_is_an_rst_to_both_ends() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        with pytest.raises(ConnectionResetError):  # not the end of a stream
            await reader.read(1)

    proxy, said = through(Faults(reset_every=0.2), talk)
    assert proxy.counts["reset"] == 1
    assert said == ["p, connection 0: reset"]


def test_one_bit_is_flipped_and_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back = b""
        for _ in range(200):
            writer.write(bytes(1000))
            back += await reader.readexactly(1000)
        flips.append(int.from_bytes(back, "big").bit_count())

    flips: list[int] = []
    proxy, said = through(Faults(corrupt_every=0.02), talk)
    assert proxy.counts["flip"] == len(said) == flips[0] >= 1


def test_a_direction_that_is_cut_takes_all_and_gives_nothing() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()  # nobody is told
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_drained(reader), 0.3)

    proxy, said = through(Faults(cut_every=0.1), talk)
    assert proxy.counts["cut"] == 1
    assert "is lost from now on" in said[0]


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(1000):
        pass


def test_where_nobody_answers_connections_are_reset_and_it_is_said_once() -> None:
    said: list[str] = []

    async def run() -> None:
        idle = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        free = idle.sockets[0].getsockname()[1]
        idle.close()
        place = Place("127.0.0.1", free)
        proxy = Proxy("p", 0, Place("127.0.0.1", 0), place, Faults(), 0, said.append)
        await proxy.open()
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()
        await proxy.close()

    asyncio.run(run())
    assert len(said) == 1
    assert "nobody answers behind it" in said[0]


def test_nothing_stays_open_of_connections_that_ended_in_any_way() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        await asyncio.sleep(0.05)
        before = _descriptors()
        for kind in range(60):
            there, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(bytes(1000))
            if kind % 3 == 0:
                back.transport.abort()
            elif kind % 3 == 1:
                back.write_eof()
                await there.read(-1)
            back.close()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if _descriptors() <= before:
                break
        assert _descriptors() <= before

    through(Faults(), talk)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_port_in_use_is_a_line() -> None:
    async def run() -> None:
        taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        place = Place("127.0.0.1", taken.sockets[0].getsockname()[1])
        proxy = Proxy("p", 0, place, place, Faults(), 0, print)
        with pytest.raises(UserError, match="is in use"):
            await proxy.open()
        taken.close()

    asyncio.run(run())
