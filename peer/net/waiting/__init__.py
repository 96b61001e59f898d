"""How long a peer waits: for a neighbour in an exchange, and for anybody at all."""
