"""A real network's run, once more in one process: what its peers' flights tell, computed again."""
