"""Learning-rate schedules: against torch's own, in every engine, and what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

import algorithms
from peer.compute.execute import carry_out
from peer.effects import Gradient, Step, Train
from peer.experiment import from_mapping
from peer.gan.schedules import Schedule
from peer.state import PeerState
from sim.engines.stacked import Stacked
from sim.engines.stacked_optimizer import StackedOptimizer
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN, keys_of
from topology import UserError

R = 12


def torchs(optimizer: torch.optim.Optimizer, kind: str, warmup: int) -> LRScheduler:
    """The same schedule, put together from torch's."""
    rest = R - warmup
    after = {
        "constant": lambda: ConstantLR(optimizer, factor=1.0),
        "linear": lambda: LinearLR(optimizer, 1.0, 0.0, total_iters=rest),
        "cosine": lambda: CosineAnnealingLR(optimizer, T_max=rest),
    }[kind]
    if not warmup:
        return after()
    grows = LinearLR(optimizer, 1 / warmup, 1.0, total_iters=max(1, warmup - 1))
    return SequentialLR(optimizer, [grows, after()], milestones=[warmup])


@pytest.mark.parametrize("warmup", [0, 2, 5])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_rates_are_torchs(kind: str, warmup: int) -> None:
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own, that its epoch argument is going
        scheduler = torchs(plain, kind, warmup)
        schedule = Schedule.of({"schedule": kind, "warmup": warmup}, R)
        for round in range(R):
            assert 0.3 * schedule.factor(round) == pytest.approx(plain.param_groups[0]["lr"])
            plain.step()
            scheduler.step()


def experiment_of(optimizer: Any, rounds: int = R, **keys: Any) -> Any:
    algorithm = {"name": "diffusion", "rounds": rounds}
    keys = PLAIN | {"graph": "ring", "algorithm": algorithm, "optimizer": optimizer} | keys
    return from_mapping(keys)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "nadam"])
def test_a_trained_net_is_that_of_torchs_optimizer_and_scheduler(name: str) -> None:
    """G of one peer, D held fixed; the second half of the rounds in two effects a step."""
    optimizer = {"name": name, "lr": 0.01, "schedule": "cosine", "warmup": 3}
    experiment = experiment_of(optimizer)
    state, twin = make_states(experiment)[0], make_states(experiment)[0]
    G, D = twin.pair("")
    assert isinstance(G, nn.Module)
    assert isinstance(D, nn.Module)
    classes = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
    plain = getattr(torch.optim, classes.get(name, "NAdam"))(G.parameters(), lr=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = torchs(plain, "cosine", 3)
        for round in range(R):
            state.round = round
            if round < R // 2:
                carry_out(Train("generator", "generator"), state)
            else:
                carry_out(Gradient("generator", "generator"), state)
                carry_out(Step("generator"), state)
            plain.zero_grad()
            loss = nn.BCEWithLogitsLoss()(D(G(twin.draw_noise(16))), torch.ones(16, 1))
            loss.backward()
            plain.step()
            scheduler.step()
    found, expected = (s.nets["generator"].arena.vector for s in (state, twin))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # steps are 1e-2


def end(keys: dict[str, Any], engine: Stacked | None) -> dict[int, PeerState]:
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    return states


ONE_EACH = {
    "generator": {"name": "sgd", "lr": 0.02, "schedule": "linear"},
    "discriminator": {"name": "sgd", "lr": 0.01, "warmup": 4},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": 8}},
        {"algorithm": {"name": "fedavg", "rounds": 4, "order": "simultaneous"}},
        keys_of("gossip, independent, by samples", 8) | {"network": {"delay": 0.3, "jitter": 3.0}},
    ],
    ids=["recorded", "kept gradients", "peers at different rounds"],
)
def test_stacked_is_one_peer_at_a_time(changes: dict[str, Any]) -> None:
    keys = PLAIN | changes | {"optimizer": ONE_EACH}
    engine = Stacked()
    stacked, alone = end(keys, engine), end(keys, None)
    constant = end(keys | {"optimizer": {"name": "sgd", "lr": 0.02}}, None)
    assert any(tuner.stacked for tuner in engine.tuners.values())
    for k, state in alone.items():
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(ours, constant[k].nets[name].arena.vector, atol=1e-4)


def test_rows_at_different_rounds_take_steps_of_their_own_rates() -> None:
    optimizer = {"name": "adam", "lr": 0.1, "schedule": "linear"}
    nets = [s.nets["generator"] for s in make_states(experiment_of(optimizer)).values()]
    alone = [net.copy() for net in nets]
    stacked = StackedOptimizer(nets)
    for rounds in ([0] * 5, [3, 9, None, 3, 6], [7] * 5):
        gradients = torch.randn(5, len(alone[0].arena.gradient))
        stacked.step(gradients.unbind(), rounds)
        for net, twin, gradient, round in zip(nets, alone, gradients, rounds, strict=True):
            if round is not None:
                twin.arena.gradient.copy_(gradient)
                twin.step(round)
            torch.testing.assert_close(net.arena.vector, twin.arena.vector, rtol=1e-5, atol=1e-6)
            assert float(net.moments["step"]) == float(twin.moments["step"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosin"}, "optimizer.schedule: there is no schedule 'cosin'; did you mean"),
        ({"warmup": -1}, "optimizer.warmup: must be a number of rounds, 0 or more, not -1"),
        ({"warmup": 0.5}, "optimizer.warmup: must be a number of rounds, 0 or more, not 0.5"),
        ({"schedule": "linear", "warmup": 13}, "13 rounds of warm-up are more than all 12 rounds"),
        ({"warmpu": 2}, "optimizer.warmpu: adam has no such setting; did you mean 'warmup'?"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        experiment_of({"name": "adam", "lr": 0.001} | settings)


def test_a_schedule_over_rounds_that_are_not_told_is_refused() -> None:
    keys = PLAIN | {"graph": "ring", "algorithm": {"name": "mine:run"}}
    with pytest.raises(UserError, match=r"'linear' needs to know .* set algorithm\.rounds"):
        from_mapping(keys | {"optimizer": {"name": "adam", "schedule": "linear"}})
    from_mapping(keys | {"optimizer": {"name": "adam", "warmup": 3}})
