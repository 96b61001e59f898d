"""Several runs side by side, and runs looked at again."""
