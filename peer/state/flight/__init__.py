"""A peer's flight recorder: what shaped its run and cannot be computed again from the experiment.

``flight.msgpack`` in the peer's folder says of each of its processes from which checkpoint it went
on, which neighbours it did without in which exchange, whose process's values it used, and which
rounds it left out. ``sim replay`` computes the whole network's run again from that. What is not
said followed the rule: everybody came. Each completed round has a checksum of the peer's nets.
"""
