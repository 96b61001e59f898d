"""How an exchange on a link ends, and how both ends agree on that."""
