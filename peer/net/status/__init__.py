"""What every peer tells all others of itself, over the links that there are."""
