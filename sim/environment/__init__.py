"""Models of what real peers run on: the network between them, and the speed of their devices."""
