"""The experiment file: one YAML file that says everything, the same at every peer."""

from peer.experiment.schema import NETS, Experiment, from_mapping, load

__all__ = ["NETS", "Experiment", "from_mapping", "load"]
