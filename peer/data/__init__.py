"""A peer's data: where images come from (`sources`) and which of them it holds (`partitions`)."""

from peer.data.partitions import label_counts, partition
from peer.data.sources import Images, load_source
from peer.data.spec import DataSpec

__all__ = ["DataSpec", "Images", "label_counts", "load_source", "partition"]
