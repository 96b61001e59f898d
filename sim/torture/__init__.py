"""The torture chamber: the real protocol and driver on a simulated network that breaks."""
