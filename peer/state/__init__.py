"""Everything of a peer that outlives a round, on its way to a disk and back."""

from peer.state.making import make_state
from peer.state.net import Net
from peer.state.peer_state import PeerState
from peer.state.saved import SavedState
from peer.state.shard import Shard

__all__ = ["Net", "PeerState", "SavedState", "Shard", "make_state"]
