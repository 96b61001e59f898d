"""A peer's GAN: its models, losses and optimizers, in arenas."""

from peer.gan.arena import Arena, Layout
from peer.gan.build import Gan, make_gan
from peer.gan.losses import LOSSES, Loss
from peer.gan.models import MODELS
from peer.gan.objectives import OBJECTIVES, Batch
from peer.gan.optimizers import OPTIMIZERS, make_optimizer

__all__ = [
    "LOSSES",
    "MODELS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "Arena",
    "Batch",
    "Gan",
    "Layout",
    "Loss",
    "make_gan",
    "make_optimizer",
]
