"""One simulated peer: its coroutine, the exchange that it waits in, and snapshots of its nets."""
