"""How a newcomer is invited: one code, with which it fetches all that it needs and is let in."""
