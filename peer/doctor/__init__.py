"""``peer doctor``: which one layer keeps a peer from its neighbours, and what mends it."""
