"""Reaching neighbours: their names, their connections, and why one is not reached."""
