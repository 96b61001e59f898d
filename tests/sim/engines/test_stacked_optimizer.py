"""One optimizer step of many nets is everyone's own."""

from __future__ import annotations

import pytest
import torch

from peer.experiment import from_mapping
from peer.gan.optimizers import OPTIMIZERS
from peer.state import Net
from sim.engines.stacked_arenas import view_of
from sim.engines.stacked_optimizer import StackedOptimizer
from sim.runs.simulate import make_states
from tests.support.systems import PLAIN

NET = "discriminator"


def nets_of(optimizer: str) -> list[Net]:
    """Five peers' nets, rows of one matrix."""
    algorithm = {"name": "diffusion", "rounds": 1}
    keys = PLAIN | {"graph": "ring", "algorithm": algorithm, "init": "own"}
    keys |= {"optimizer": {"name": optimizer, "lr": 0.01, "weight_decay": 0.1}}
    states = make_states(from_mapping(keys))
    return [state.nets[NET] for state in states.values()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_net_is_stepped_as_by_its_own_optimizer(optimizer: str) -> None:
    """All nets, some, some with unequal step counts, and one whose moments were cleared."""
    nets = nets_of(optimizer)
    alone = [net.copy() for net in nets]
    rng = torch.Generator().manual_seed(1)
    all_nets, some = StackedOptimizer(nets), StackedOptimizer(nets[1:3])
    cleared = nets[3], alone[3]
    for number, optimizer in enumerate([all_nets, all_nets, some, all_nets, some, all_nets]):
        if number == 5:
            for net in cleared:
                net.moments.clear()
        gradients = torch.randn(len(optimizer.nets), len(alone[0].arena.gradient), generator=rng)
        optimizer.step(gradients.unbind())
        for net, gradient in zip(optimizer.nets, gradients, strict=True):
            twin = alone[nets.index(net)]
            twin.arena.gradient.copy_(gradient)
            twin.step()
        for net, twin in zip(nets, alone, strict=True):
            torch.testing.assert_close(net.arena.vector, twin.arena.vector, rtol=1e-5, atol=1e-6)
            assert net.moments.keys() == twin.moments.keys()
            for name, value in net.moments.items():
                torch.testing.assert_close(value, twin.moments[name], rtol=1e-5, atol=1e-6)


def test_adams_moments_of_many_nets_are_one_matrix_until_step_counts_differ() -> None:
    nets = nets_of("adam")
    optimizer = StackedOptimizer(nets)
    gradients = torch.ones(5, len(nets[0].arena.gradient))
    for count in (1, 2):
        optimizer.step(gradients.unbind())
        together = view_of([net.moments["exp_avg"] for net in nets])
        assert together is not None
        assert together.shape == gradients.shape
        assert [float(net.moments["step"]) for net in nets] == [count] * 5
    one = nets[2].copy()  # of its own
    assert one.moments["exp_avg"].untyped_storage().nbytes() == gradients[0].nbytes
    nets[2].step()
    optimizer.step(gradients.unbind())
    assert [float(net.moments["step"]) for net in nets] == [3, 3, 4, 3, 3]
