"""Where a peer listens on its machine."""

from __future__ import annotations

import errno
import threading

import zmq

from peer.experiment.addresses import to_bind
from topology.errors import UserError

_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENODEV)


def bind(router: zmq.Socket[bytes], listen: str, patience: float = 0.0) -> None:
    """Have ``router`` listen at an address of this machine.

    Args:
        router: it listens nowhere yet.
        listen: ``tcp://*:PORT`` and the like.
        patience: seconds to wait for an address that is in use.

    Raises:
        UserError: the address is in use, or is not this machine's.
    """
    address = to_bind(listen)
    router.ipv6 = "[" in address or "//*:" in address
    try:
        try:
            router.bind(address)
        except zmq.ZMQError as problem:
            if not router.ipv6 or problem.errno not in _NO_IPV6:
                raise
            router.ipv6 = False  # everywhere, on a machine without IPv6
            router.bind(address)
    except zmq.ZMQError as problem:
        if problem.errno == zmq.EADDRINUSE and patience > 0:
            threading.Event().wait(0.02)
            bind(router, listen, patience - 0.02)
            return
        if problem.errno == zmq.EADDRINUSE:
            raise UserError(
                f"addresses: {listen} is in use; stop the program that listens there, or choose "
                "another 'port'"
            ) from None
        raise UserError(
            f"addresses: cannot listen at {listen}: {problem.strerror}; if this machine is reached "
            "under another address than its own, say listen: 'tcp://*:PORT'"
        ) from None
