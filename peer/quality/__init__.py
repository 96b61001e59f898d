"""How good a generator is, as far as one peer can tell without any other peer's images."""
