"""What a peer tells of itself while it runs, and what it knows of all."""
