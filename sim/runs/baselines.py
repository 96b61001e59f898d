"""What a run is compared with: its peers untrained, and trained without communication."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import algorithms
from peer.experiment import Experiment
from peer.quality.mixture import asked_for_all
from sim.metrics.quality import Quality, evaluate_generators
from sim.runs.simulate import drive, make_states
from topology.errors import UserError


def judge_baselines(experiment: Experiment, say: Callable[[str], None]) -> Mapping[str, Quality]:
    """The verdicts on the experiment's peers before training, and after training alone."""
    experiment = alone(experiment)
    program = algorithms.find(experiment)
    states = make_states(experiment, program=program)
    generators = {
        k: asked_for_all(state.nets["generator"].module, state.gan) for k, state in states.items()
    }
    untrained = evaluate_generators(experiment, generators, notify=say)
    say("the same peers once more, while nobody talks...")
    drive(experiment, states, program)
    return {"untrained": untrained, "nobody talks": evaluate_generators(experiment, generators)}


def alone(experiment: Experiment) -> Experiment:
    """The experiment in which every peer trains on its own data and sends nothing.

    Raises:
        UserError: it has a server, without data to train on.
    """
    if algorithms.find(experiment).server is not None:
        raise UserError("with a server there is one peer without data; see sim compare")
    settings = experiment.algorithm.settings
    shared = ("rounds", "n_d", "n_g", "local_steps")
    kept = {key: settings[key] for key in shared if key in settings}
    return experiment.varied(algorithm={"name": "local", **kept}, faults=[])
