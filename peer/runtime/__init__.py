"""A peer as a process of this machine; all peers of a file; checks before, measurements of one."""
