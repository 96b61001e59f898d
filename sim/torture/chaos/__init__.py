"""What goes wrong, drawn by a seed, and made smaller where it was too much."""
