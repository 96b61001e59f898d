"""Real announcements, over loopback: who is heard, who is not, and what a liar gets by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from peer.discover import mdns
from peer.discover.mdns import MOST, Discovery
from peer.net.reach.resolver import Unannounced
from topology.errors import UserError

pytest.importorskip("zeroconf", reason="needs hearsay[discover]")
pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Discovery]


@pytest.fixture
def make(lines: list[str]) -> Iterator[Make]:
    made: list[Discovery] = []

    def one(network: str = "a" * 16) -> Discovery:
        made.append(Discovery(network, lines.append, ["127.0.0.1"]))
        return made[-1]

    yield one
    for each in made:
        each.close()


@pytest.fixture
def lines() -> list[str]:
    return []


def found(of: Discovery, peer: int) -> tuple[str, ...]:
    """Where a peer is, once that is known."""
    while True:
        try:
            return of.find(f"peer-{peer}", 0)
        except Unannounced:
            continue


def test_peers_of_one_experiment_find_each_other(make: Make) -> None:
    one, other = make(), make()
    one.announce(0, 47100)
    other.announce(3, 40003)
    assert found(one, 3) == ("tcp://127.0.0.1:40003",)
    assert found(other, 0) == ("tcp://127.0.0.1:47100",)


def test_another_experiment_is_ignored_and_said_once(make: Make, lines: list[str]) -> None:
    one, same = make(), make()
    for peer in (1, 2):
        make("b" * 16).announce(peer, 40000 + peer)
    same.announce(3, 40003)
    assert found(one, 3) == ("tcp://127.0.0.1:40003",)
    while not lines:
        time.sleep(0.05)
    assert set(lines) == {"addresses: discover: another experiment is announced here, and ignored"}
    with pytest.raises(Unannounced, match="nobody announces peer 1 on this network"):
        one.find("peer-1", 0)


def test_a_liar_is_one_address_more_and_not_without_end(make: Make) -> None:
    """Who is right, the keys say; the true address is among those that are tried."""
    one, true = make(), make()
    true.announce(1, 40001)
    assert found(one, 1) == ("tcp://127.0.0.1:40001",)
    for number in range(MOST + 3):
        make().announce(1, 50000 + number)
    while len(found(one, 1)) < MOST:
        time.sleep(0.05)
    at = found(one, 1)
    assert len(at) == MOST
    assert "tcp://127.0.0.1:40001" in at


def test_who_goes_is_forgotten(make: Make) -> None:
    one, other = make(), make()
    other.announce(1, 40001)
    assert found(one, 1)
    other.close()
    while True:
        try:
            one.find("peer-1", 0)
        except Unannounced:
            break
        time.sleep(0.05)


def test_a_name_with_a_port_is_the_systems_to_look_up(make: Make) -> None:
    assert "tcp://127.0.0.1:47105" in make().find("localhost", 47105)


def test_who_hears_nobody_says_so_once_and_what_to_do(
    make: Make, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mdns, "QUIET", 0.3)
    one = make()
    one.announce(0, 47100)
    one.warn_if_alone(120.0)
    while not lines:
        time.sleep(0.05)
    (line,) = lines
    assert "no other peer of this experiment is heard of in 0.3 s; is one running?" in line
    assert "looking on, for 119.7 s (start_timeout), or list the addresses in the file" in line


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zeroconf", None)
    with pytest.raises(UserError, match=r"pip install 'hearsay\[discover\]', or list the"):
        Discovery("a" * 16, print)
