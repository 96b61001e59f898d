"""``peer profile``: measures how long local work takes here, and how fast a link is."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from peer.compute.execute import carry_out, prepare_compute_thread
from peer.effects import VJP, Effect, Generate, Letter, Now, Train
from peer.experiment import Experiment, from_mapping
from peer.experiment.cost_models import Cost, LinkProfile, Profile, Seconds
from peer.experiment.yaml_file import write_mapping
from peer.peer import PAIR, Peer
from peer.program import Program
from peer.runtime.launcher import with_free_ports
from peer.runtime.loading import load_peer
from peer.runtime.options import Options
from peer.runtime.process import PeerProcess
from peer.state import PeerState
from peer.state.checkpoint import write_whole
from topology.errors import UserError

WARM_UP = 3
"""Repetitions of local work before those that are timed."""

TIMES = 6
"""Exchanges of each size and kind on the link; the first is not counted."""

SMALL = 1024
"""Bytes of the small letters, whose travel time is the delay."""


def measure(
    experiment: Experiment, program: Program, peer: int | None, other: int | None, repeats: int
) -> Profile:
    """A profile of this machine, and of a link.

    Args:
        experiment: whose nets, batch and threads are used.
        program: says who holds data.
        peer: whose data the steps are taken on; the first worker's if None.
        other: the neighbour at the far end of the link, where the same command runs at the same
            time; loopback to a second process if None.
        repeats: of each kind of work.

    Raises:
        UserError: there is no such peer or link, the neighbour does not answer, or the data are
            not there.
    """
    workers = program.workers(experiment.peers)
    k = workers[0] if peer is None else peer
    if k not in range(experiment.peers):
        raise UserError(f"--id {k}: the experiment has peers 0 to {experiment.peers - 1}")
    if other is not None and (peer is None or not experiment.graph_of_peers.has_edge(k, other)):
        raise UserError(f"--with {other}: name a neighbour of the peer that --id names")
    with_both_nets = replace(program, nets=lambda peer: PAIR)
    state, _ = load_peer(experiment, k if k in workers else workers[0], with_both_nets)
    seconds = time_steps(state, experiment.threads, repeats)
    # neighbours combine net by net: the larger net is the largest value on a link
    nbytes = max(4 * net.arena.layout.length for net in state.nets.values())
    link = time_loopback(nbytes) if other is None else time_link(experiment, k, other, nbytes)
    of = {
        "gan": experiment.gan.name,
        "parameters": sum(net.arena.layout.parameter_count for net in state.nets.values()),
        "batch": experiment.batch,
        "threads": experiment.threads,
        "device": experiment.device,
        "torch": str(torch.__version__),
        "link": "loopback" if other is None else f"between peers {k} and {other}",
    }
    return Profile(of=of, seconds=seconds, link=link)


def write_profile(profile: Profile, path: Path) -> None:
    """Write the YAML file that ``devices:`` and ``network.link`` can name."""
    keys = profile.model_dump(exclude_none=True)
    text = "# Measured by `peer profile`: devices: {default: FILE}, network: {link: FILE}\n"
    write_whole(path, (text + write_mapping(keys)).encode())


# --- local work -----------------------------------------------------------------------------------


def time_steps(state: PeerState, threads: int, repeats: int) -> Seconds:
    """Medians over ``repeats`` of each kind of work, on a quarter of the batch and on all of it.

    The kinds take turns, so that a slow moment of the machine does not fall on one of them alone.
    The state's nets change.
    """
    prepare_compute_thread(threads)
    batches = sorted({max(2, state.batch // 4), state.batch})
    taken: dict[tuple[str, int], list[float]] = {}
    for repeat in range(WARM_UP + repeats):
        for batch in batches:
            for kind, effect in _work(state, batch):
                began = time.perf_counter()
                carry_out(effect, state)
                if state.device.type == "cuda":
                    torch.cuda.synchronize(state.device)
                if repeat >= WARM_UP:
                    taken.setdefault((kind, batch), []).append(time.perf_counter() - began)
    medians = {place: statistics.median(of) for place, of in taken.items()}
    kinds = dict.fromkeys(kind for kind, _ in medians)
    return Seconds(**{kind: line({b: medians[kind, b] for b in batches}) for kind in kinds})


def line(seconds: dict[int, float]) -> Cost:
    """The cost through the seconds by batch size, at two sizes or one; no part is negative."""
    (small, quick), (full, slow) = min(seconds.items()), max(seconds.items())
    per_image = max(0.0, (slow - quick) / (full - small)) if full > small else 0.0
    per_image = min(per_image, slow / full)
    return Cost(fixed=slow - per_image * full, per_image=per_image)


def _work(state: PeerState, batch: int) -> Iterator[tuple[str, Effect]]:
    """Every kind of work once, on a mini-batch of ``batch`` images."""
    z = state.draw_noise(batch)  # (batch, z_dim)
    x = carry_out(Generate("generator", z), state)  # (batch, c, h, w)
    logits = torch.ones_like(carry_out(Generate("discriminator", x), state))
    yield "discriminator", Train("discriminator", "discriminator", batch=batch)
    yield "generator", Train("generator", "generator", batch=batch)
    if state.loss.penalty is not None:
        gamma = {"gamma": 0.1}
        yield "regularised", Train("discriminator", "regularised", inputs=gamma, batch=batch)
    yield "draw", Generate("generator", z)
    yield "judge", Generate("discriminator", x)
    yield "descend", VJP("generator", z, torch.ones_like(x), keep="set")
    yield "feedback", VJP("discriminator", x, logits)


# --- a link ---------------------------------------------------------------------------------------


def time_link(experiment: Experiment, peer: int, other: int, nbytes: int) -> LinkProfile:
    """Time letters of two sizes between ``peer`` and ``other``, where the same function runs.

    Sent to and fro, they give delay and bandwidth; swapped at once, the duplex share. Framing,
    copies and threads of the real runtime are included.

    Args:
        experiment: has the addresses and the time limits.
        peer: this end.
        other: the far end, a neighbour.
        nbytes: of the large letter.

    Raises:
        UserError: the neighbour does not answer within the experiment's ``start_timeout``.
    """
    taken: dict[tuple[str, int], list[float]] = {}
    program = Program("profile", lambda peer: _pass(peer, other, nbytes, taken), rounds=1)
    options = Options(agrees_on_classes=False)  # the other peers need not be there
    with tempfile.TemporaryDirectory() as folder:
        process = PeerProcess(experiment, peer, program, Path(folder), _silence, options)
        process.run()
    if len(taken.get(("swap", nbytes), ())) < TIMES:
        raise UserError(
            f"--with {other}: peer {other} does not answer; start "
            f"`peer profile --id {other} --with {peer}` there at the same time"
        )
    median = {place: statistics.median(of[1:]) for place, of in taken.items()}
    alone = max(1e-9, median["to and fro", nbytes] - median["to and fro", SMALL]) / 2
    both = max(1e-9, median["swap", nbytes] - median["swap", SMALL])
    return LinkProfile(
        delay=median["to and fro", SMALL] / 2,
        bandwidth=8e-6 * (nbytes - SMALL) / alone,
        duplex=min(1.0, alone / both),
    )


def time_loopback(nbytes: int) -> LinkProfile:
    """:func:`time_link` between this process and another on this machine."""
    experiment = with_free_ports(from_mapping(_TWO))
    spawned = multiprocessing.get_context("spawn")
    answering = spawned.Process(target=_answer, args=(experiment.resolved(), nbytes), daemon=True)
    answering.start()
    try:
        return time_link(experiment, 0, 1, nbytes)
    finally:
        answering.join(timeout=10)
        if answering.is_alive():
            answering.kill()
            answering.join()


_TWO: dict[str, Any] = {
    "peers": 2,
    "graph": "path",
    "algorithm": {"name": "local", "rounds": 1},
    "gan": "mlp-digits",  # only letters are sent, so its size does not matter
    "optimizer": "adam",
    "data": {"source": "digits", "partition": "iid"},
    "checkpoint": 0,
}


def _answer(keys: dict[str, Any], nbytes: int) -> None:
    """The far end of a loopback link."""
    time_link(from_mapping(keys), 1, 0, nbytes)


async def _pass(
    peer: Peer, other: int, nbytes: int, taken: dict[tuple[str, int], list[float]]
) -> None:
    """Both ends run this: the lower id sends first, and both time the same."""
    async for _ in peer.rounds(1):
        for size in (SMALL, nbytes):
            letter = Letter("profile", {"x": torch.zeros(size // 4)})
            for kind in ["to and fro"] * TIMES + ["swap"] * TIMES:
                began: float = await Now()
                if kind == "swap":
                    came = await peer.exchange("profile", {other: letter}, [other])
                elif peer.id < other:
                    await peer.send(other, "profile", letter.tensors)
                    came = await peer.gather("profile", [other])
                else:
                    came = await peer.gather("profile", [other])
                    await peer.send(other, "profile", letter.tensors)
                if not came:
                    return  # it is not there
                taken.setdefault((kind, size), []).append(await Now() - began)


def _silence(line: str) -> None:
    """Drop what the network thread logs about neighbours."""
