"""A bad network for real peers: TCP proxies that delay, stall, corrupt and reset."""
