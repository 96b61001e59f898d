"""The images of reproductions: digits, which come along, and MNIST and CIFAR-10, which do not.

The folder of real images is named by ``--images`` or ``HEARSAY_DATA``. It holds ``mnist`` (the
IDX files, plain or .gz) and ``cifar10`` (``train/<class>/*``, or a ``.tar.xz`` of that).
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

from topology.errors import UserError

KEPT = Path("runs/reproductions")
"""Where runs and unpacked images are kept, below the working directory."""


class MissingImages(UserError):
    """Real images that are not on this machine."""


def real_images() -> Path:
    """The folder of real images, which need not be there."""
    return Path(os.environ.get("HEARSAY_DATA", "data"))


def digits(partition: Any = "iid", **more: Any) -> dict[str, Any]:
    """The key ``data``: scikit-learn's 1,797 handwritten digits of 8x8 pixels."""
    return {"source": "digits", "partition": partition, **more}


def mnist(partition: Any = "iid", **more: Any) -> dict[str, Any]:
    """The key ``data``: MNIST's 60,000 training images of 28x28 pixels.

    Raises:
        MissingImages: they are not here.
    """
    folder = real_images() / "mnist"
    if not any(folder.glob("train-images*")):
        raise MissingImages(f"MNIST's files are not in {folder}; say --images FOLDER")
    return {"source": "idx", "path": str(folder.resolve()), "partition": partition, **more}


def cifar(partition: Any = "iid", **more: Any) -> dict[str, Any]:
    """The key ``data``: CIFAR-10 in folders, a folder a class, 32x32 pixels.

    Raises:
        MissingImages: they are not here.
    """
    folder = real_images() / "cifar10"
    if not (folder / "train").is_dir():
        packed = next(folder.glob("*.tar.xz"), None)
        if packed is None:
            raise MissingImages(f"CIFAR-10's folders are not in {folder}; say --images FOLDER")
        folder = KEPT / "cifar10"
        if not (folder / "train").is_dir():
            with tarfile.open(packed) as archive:
                archive.extractall(folder, filter="data")
    path = str((folder / "train").resolve())
    return {"source": "folder", "path": path, "channels": 3, "partition": partition, **more}
