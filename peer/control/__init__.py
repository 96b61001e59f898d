"""How an operator reaches a peer that runs: orders by a socket in its folder."""
