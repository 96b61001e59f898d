"""Oasis (Hu, Tu, Gong, Jiang, Zheng, Cheng 2024)."""

from algorithms.oasis.oasis import OasisConfig, oasis

__all__ = ["OasisConfig", "oasis"]
