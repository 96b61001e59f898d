"""Distributed-GAN: three approaches, and F2U and F2A as settings of the second."""

from algorithms.distributed_gan.distributed_gan import DistributedGanConfig, distributed_gan

__all__ = ["DistributedGanConfig", "distributed_gan"]
