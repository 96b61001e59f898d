"""What the doctor finds: of one layer, whether it is well, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass

LAYERS = (
    "experiment", "data", "disk", "memory", "descriptors", "threads",
    "key", "port", "name", "route", "torch", "clock",
)  # fmt: skip
"""All that may fail."""


@dataclass(frozen=True)
class Finding:
    """One line of an examination.

    Attributes:
        layer: one of :data:`LAYERS`; empty where nothing fails.
        words: what was found, and where.
        mend: the command that mends it; empty where words alone say it.
    """

    layer: str
    words: str
    mend: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether something is to be mended."""
        return bool(self.layer)
