"""How long local work takes in virtual time, on the device of each peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from peer.effects import VJP, Effect, Evaluate, Generate, Gradient, Train
from peer.experiment import Experiment
from peer.experiment.cost_models import Cost, Seconds
from peer.experiment.profiles import seconds_on
from peer.peer import role_of
from peer.state import PeerState


class Devices:
    """The devices that the experiment's ``devices:`` gives to its peers.

    A peer without one takes ``network.step`` seconds a step, and no time for anything else.

    Raises:
        UserError: a profile's file is missing, or is no profile.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._step = experiment.network.step
        found = {
            k: seconds_on(device, experiment.folder, f"devices.{k}")
            for k, device in experiment.devices.items()
        }
        default = found.get("default")
        self._of = {k: found.get(k, default) for k in range(experiment.peers)}

    def seconds(self, state: PeerState, effect: Effect) -> float:
        """Seconds that ``effect`` takes at the peer of that state, by its device and its batch."""
        device, batch = self._of[state.peer], state.batch
        match effect:
            case Train(_, objective, steps, inputs):
                if device is None:
                    return steps * self._step
                return steps * _step(device, objective).of(_images(inputs, batch))
            case Gradient(_, objective, inputs):  # the cost of the step that follows is included
                if device is None:
                    return self._step
                return _step(device, objective).of(_images(inputs, batch))
            case Generate(net, x) | Evaluate(net, x):
                return _of_net(device, net, "draw", "judge", len(x))
            case VJP(net, x):
                return _of_net(device, net, "descend", "feedback", len(x))
            case _:
                return 0.0


def _step(device: Seconds, objective: str) -> Cost:
    cost: Cost = getattr(device, objective)  # the names are those of OBJECTIVES
    return cost


def _of_net(device: Seconds | None, net: str, of_g: str, of_d: str, images: int) -> float:
    if device is None:
        return 0.0
    cost: Cost = getattr(device, of_g if role_of(net) == "generator" else of_d)
    return cost.of(images)


def _images(inputs: Mapping[str, Any], batch: int) -> int:
    """Images in the mini-batch: those given as inputs, else as many as are drawn."""
    given = (inputs.get(name) for name in ("real", "z", "fake"))
    return next((len(x) for x in given if isinstance(x, torch.Tensor)), batch)
