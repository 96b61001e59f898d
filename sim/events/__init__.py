"""Discrete-event simulation: the event queue, the driver, and exchanges between peers."""
