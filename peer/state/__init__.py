"""Everything of a peer that outlives a round, on its way to a disk and back."""

from peer.state.peer_state import Net, PeerState, Shard, Snapshot, make_state

__all__ = ["Net", "PeerState", "Shard", "Snapshot", "make_state"]
