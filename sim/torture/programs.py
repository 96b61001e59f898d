"""What the peers of the chamber run: consensus on a few floats, with local changes from the seed.

A round is some letters to neighbours of higher ids, then, once or several times, a local change, of
some seconds, and a combine. The last rounds begin some time after the last fault; in them nothing
changes locally, so that the peers have to come to agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from peer.effects import Letter, Sleep
from peer.net.transfer.chunks import SLOWEST_RETRY
from peer.peer import Peer
from peer.program import Program
from sim.torture.books.ledger import Violation
from sim.torture.chaos.scenario import Scenario

CALM = 8
"""The last rounds, in which nothing goes wrong and nothing changes locally."""

SETTLES = SLOWEST_RETRY + 15.0
"""Seconds from the last fault to these rounds: what was lost is asked for again by then, at
the latest after :data:`peer.net.transfer.chunks.SLOWEST_RETRY`."""

NET = "generator"
NOTE = "note"
"""What letters are called."""


def consensus(scenario: Scenario) -> Program:
    """The program of the chamber."""
    return _program("consensus", scenario, 0.0)


def canary(scenario: Scenario) -> Program:
    """One that drifts apart where peers have to come to agree: a chamber that lets it pass is deaf.

    It fails by design, and shows that the alarm works.
    """
    return _program("canary", scenario, 10.0)


def calm_from(scenario: Scenario) -> int:
    """The round with which the calm begins."""
    return max(0, scenario.rounds - CALM)


def _program(name: str, scenario: Scenario, drift: float) -> Program:
    """Local changes of size 0.1 before the calm; of size ``drift`` after each of its rounds."""
    calm = calm_from(scenario)

    async def run(peer: Peer) -> None:
        seconds = scenario.compute[peer.id] if scenario.compute else 0.0
        w = peer.model([NET])[NET]
        async for r in peer.rounds(scenario.rounds):
            await _swap_letters(peer, scenario.letters)
            for _ in range(scenario.exchanges):
                change = peer.rng("changes").standard_normal(len(w), dtype="float32")
                w.add_(torch.from_numpy(change), alpha=0.1 if r < calm else 0.0)
                await Sleep(seconds / scenario.exchanges)
                await peer.combine(NET)
            if r >= calm and drift:
                change = peer.rng("changes").standard_normal(len(w), dtype="float32")
                w.add_(torch.from_numpy(change), alpha=drift)

    return Program(name, run, scenario.rounds, nets=lambda peer: (NET,))


async def _swap_letters(peer: Peer, count: int) -> None:
    """Letters to all neighbours of higher ids, at their own pace; then those of the lower ones."""
    higher = [k for k in peer.neighbours if k > peer.id]
    lower = [k for k in peer.neighbours if k < peer.id]
    for i in range(count if higher else 0):
        await peer.send(higher, NOTE, round=peer.state.round, number=i)
    for i in range(count if lower else 0):
        check_letters(peer, await peer.gather(NOTE, lower), i)


def check_letters(peer: Peer, letters: Mapping[int, Letter], number: int) -> None:
    """Every letter is the one that was awaited.

    Raises:
        Violation: one is of another exchange.
    """
    for k, letter in letters.items():
        said = letter.facts["round"], letter.facts["number"]
        if said != (peer.state.round, number):
            raise Violation(
                f"peer {peer.id}, round {peer.state.round + 1}: peer {k}'s letter {number} is "
                f"letter {said[1]} of round {said[0] + 1}"
            )


PROGRAMS = {"consensus": consensus, "canary": canary}
"""By name."""
