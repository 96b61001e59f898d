"""FeGAN: federated GANs with balanced sampling and KL weighting."""

from algorithms.fegan.fegan import fegan
from algorithms.fegan.settings import FeGanConfig

__all__ = ["FeGanConfig", "fegan"]
