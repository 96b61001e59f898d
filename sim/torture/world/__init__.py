"""What surrounds a simulated process: time, threads, a network, a disk; and how they fail."""
