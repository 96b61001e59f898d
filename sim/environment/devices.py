"""How long local work takes in virtual time, on the device of each peer."""

from __future__ import annotations

from peer.compute.execute import images_of
from peer.effects import VJP, Effect, Evaluate, Generate, Gradient, Train
from peer.experiment import Experiment
from peer.experiment.cost_models import Cost, Seconds
from peer.experiment.profiles import seconds_on
from peer.gan.net_name import NetName
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
        device, images = self._of[state.peer], images_of(effect, state)
        match effect:
            case Train(_, objective, steps):
                if device is None:
                    return steps * self._step
                return steps * _step(device, objective).of(images)
            case Gradient(_, objective):  # the cost of the step that follows is included
                return self._step if device is None else _step(device, objective).of(images)
            case Generate(net) | Evaluate(net):
                return _of_net(device, net, "draw", "judge", images)
            case VJP(net):
                return _of_net(device, net, "descend", "feedback", images)
            case _:
                return 0.0


def _step(device: Seconds, objective: str) -> Cost:
    cost: Cost = getattr(device, objective)  # the names are those of OBJECTIVES
    return cost


def _of_net(device: Seconds | None, net: str, of_g: str, of_d: str, images: int) -> float:
    if device is None:
        return 0.0
    cost: Cost = getattr(device, of_g if NetName.parse(net).role == "generator" else of_d)
    return cost.of(images)
