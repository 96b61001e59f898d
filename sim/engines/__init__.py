"""How local effects and combines are computed: one peer at a time, or many peers at once."""
