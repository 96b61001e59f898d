"""The network as a peer's journal tells of it, and then as it is."""
