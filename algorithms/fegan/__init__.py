"""FeGAN (Guerraoui, Guirguis, Kermarrec, Le Merrer 2020)."""

from algorithms.fegan.fegan import fegan
from algorithms.fegan.settings import FeGanConfig

__all__ = ["FeGanConfig", "fegan"]
