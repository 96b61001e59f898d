"""A server that dies in a simulation, and the backup that takes its place."""
