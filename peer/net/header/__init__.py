"""Headers of messages: how they are sealed, and what may stand in them."""
