"""What every peer did to its nets, and whether that adds up."""
