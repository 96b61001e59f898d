"""A real peer as a process: running it, starting all of a file, checking and measuring first."""
