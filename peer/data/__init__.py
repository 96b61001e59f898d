"""A peer's data: where images come from (`sources`) and which of them it holds (`partitions`)."""

from peer.data.description import Description, check_alike
from peer.data.images import Images
from peer.data.partitions import label_counts, partition
from peer.data.sources import common_classes, load_source
from peer.data.spec import DataSpec

__all__ = [
    "DataSpec",
    "Description",
    "Images",
    "check_alike",
    "common_classes",
    "label_counts",
    "load_source",
    "partition",
]
