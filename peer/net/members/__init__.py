"""Who takes part: what a peer knows of it, and how it tells its neighbours."""
