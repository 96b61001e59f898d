"""What surrounds simulated peers: the network between them, and how fast their devices are."""
