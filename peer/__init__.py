"""What one peer is and does: its GAN, its data, its links, its disk."""

from topology.errors import UserError

__all__ = ["UserError"]
