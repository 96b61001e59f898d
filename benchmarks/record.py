"""What every benchmark writes: the machine, the figures, and how they were made."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """The machine, as far as a reader of the figures needs to know."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    return {"processor": processor, "cores": os.cpu_count(), "torch": torch.__version__}


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write one JSON record."""
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    print(f"recorded in {path}")
