"""One simulation in several processes: parallel discrete-event simulation over ranks."""
