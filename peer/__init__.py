"""What one peer is and does: its GAN, its data, its links, its disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topology.errors import UserError

__all__ = ["UserError"]


def __getattr__(name: str) -> Any:
    """Import when asked: the command obeys signals before anything large is imported."""
    if name == "UserError":
        from topology.errors import UserError

        return UserError
    raise AttributeError(f"module 'peer' has no attribute '{name}'")
