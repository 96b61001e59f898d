"""Claims of our own documentation, on the same footing."""
