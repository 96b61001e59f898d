"""Oasis: clients grouped by their data, one federated GAN for each group."""

from algorithms.oasis.oasis import OasisConfig, oasis

__all__ = ["OasisConfig", "oasis"]
