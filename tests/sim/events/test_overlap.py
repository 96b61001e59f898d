"""Diffusion with ``overlap``: values are under tuner while the next ones are computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import algorithms
from peer.compute.execute import carry_out
from peer.effects import Combine, Moment, Train
from peer.experiment import from_mapping
from peer.peer import Peer
from peer.state import PeerState
from sim.engines.stacked import Stacked
from sim.events.driver import EventDriver
from sim.runs.simulate import drive, make_states

States = dict[int, PeerState]

KEYS: dict[str, Any] = {
    "peers": 5,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 4, "overlap": True},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 8,
}


def run(engine: Stacked | None = None, **changes: Any) -> tuple[States, EventDriver]:
    algorithm = KEYS["algorithm"] | changes.pop("algorithm", {})
    experiment = from_mapping(KEYS | changes | {"algorithm": algorithm})
    states = make_states(experiment)
    return states, drive(experiment, states, algorithms.find(experiment), engine=engine)


def read(states: States, net: str = "generator") -> np.ndarray:
    return np.stack([state.nets[net].arena.vector.double().numpy() for state in states.values()])


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "lr": 0.05}, {"name": "adam", "lr": 1e-3}])
def test_with_one_local_step_it_is_consensus(optimizer: dict[str, Any]) -> None:
    """The gradient at the old point, the mean of the old points: in which order is no matter."""
    overlapped, _ = run(optimizer=optimizer)
    consensus, _ = run(optimizer=optimizer, algorithm={"overlap": False, "order": "consensus"})
    diffusion, _ = run(optimizer=optimizer, algorithm={"overlap": False})
    for net in ("generator", "discriminator"):
        np.testing.assert_allclose(read(overlapped, net), read(consensus, net), atol=2e-5)
        assert np.abs(read(overlapped, net) - read(diffusion, net)).max() > 1e-4


def test_several_local_steps_are_kept_and_old_values_combined() -> None:
    """``phi_k + sum a_lk (w_l - w_k)``, by hand from what training alone makes of each peer."""
    start, _ = run(init="own", algorithm={"rounds": 0})
    ended, _ = run(init="own", algorithm={"rounds": 1, "n_g": 0, "local_steps": 3})
    trained = make_states(from_mapping(KEYS | {"init": "own"}))
    for state in trained.values():
        carry_out(Train("discriminator", "discriminator", 3), state)
    w, phi = read(start, "discriminator"), read(trained, "discriminator")
    neighbours = (np.roll(w, 1, axis=0) + np.roll(w, -1, axis=0) - 2 * w) / 3
    np.testing.assert_allclose(read(ended, "discriminator"), phi + neighbours, atol=1e-6)


def test_the_mean_stays_where_steps_do_nothing() -> None:
    still = {"name": "sgd", "lr": 0.0}
    start, _ = run(init="own", optimizer=still, algorithm={"rounds": 0})
    for compression in ("none", "int4", "choco"):
        ended, _ = run(init="own", optimizer=still, compression=compression)
        drift = read(ended).mean(axis=0) - read(start).mean(axis=0)
        assert np.abs(drift).max() < 1e-6 * np.abs(read(start)).max()
        assert np.abs(read(ended) - read(start)).max() > 1e-3


def test_the_longer_of_the_two_is_what_takes_time() -> None:
    network = {"delay": 2.0}
    apart, together = (
        run(network=network, algorithm={"overlap": overlap})[1] for overlap in (False, True)
    )
    assert apart.peers[0].now == pytest.approx(4 * 2 * (0.001 + 2.0))
    assert together.peers[0].now == pytest.approx(4 * 2 * 2.0)
    assert run()[1].peers[0].now == pytest.approx(4 * 2 * 0.001)


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_delays_move_the_clock_and_not_the_numbers(compression: str) -> None:
    calm, _ = run(compression=compression)
    slow, _ = run(compression=compression, network={"delay": 0.01, "jitter": 5.0})
    for net in ("generator", "discriminator"):
        np.testing.assert_array_equal(read(calm, net), read(slow, net))


def test_losses_and_absences_leave_weights_on_oneself() -> None:
    faults = [{"peer": 2, "down": 0.001, "up": 9.0}]
    ended, _ = run(network={"loss": 0.3, "delay": 0.5}, deadline=1, faults=faults)
    assert all(state.round == 4 for state in ended.values())
    assert all(np.isfinite(read(ended)).all(axis=1))


@pytest.mark.parametrize("compression", ["none", "bf16"])
def test_stacked_equals_one_peer_at_a_time(compression: str) -> None:
    changes: dict[str, Any] = {
        "algorithm": {"n_d": 2, "local_steps": 2},
        "compression": compression,
    }
    one, engine = run(**changes)[0], Stacked()
    stacked, _ = run(engine, **changes)
    assert any(tuner.stacked for tuner in engine.tuners.values())
    for net in ("generator", "discriminator"):
        np.testing.assert_allclose(read(one, net), read(stacked, net), atol=1e-3)
        assert np.mean(np.abs(read(one, net) - read(stacked, net)) < 1e-5) > 0.99


def test_a_peer_alone_adapts() -> None:
    ended, _ = run(peers=1, data={"source": "digits", "partition": "all"})
    plain, _ = run(
        peers=1, data={"source": "digits", "partition": "all"}, algorithm={"overlap": False}
    )
    np.testing.assert_array_equal(read(ended), read(plain))


def test_the_steps_travel_with_the_combine() -> None:
    experiment = from_mapping(KEYS)
    peer = Peer(make_states(experiment)[0], experiment.schedule)
    running = algorithms.find(experiment).start(peer)
    effect = running.send(None)
    assert effect == Combine(
        "discriminator",
        {1: Moment(0, 0), 4: Moment(0, 0)},
        peer.weights,
        Train("discriminator", "discriminator"),
    )
    running.close()
