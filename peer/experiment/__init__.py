"""The experiment file: one YAML file that says everything, the same at every peer."""

from peer.experiment.parts import NamedSpec
from peer.experiment.schema import Experiment, from_mapping, load

__all__ = ["Experiment", "NamedSpec", "from_mapping", "load"]
