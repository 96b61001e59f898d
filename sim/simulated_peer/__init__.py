"""A peer in the simulator: its coroutine, the exchange that it is in, what its nets were."""
