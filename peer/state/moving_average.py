"""A moving average of G beside it, which is what a peer's images are drawn from.

Source: Yazici, Foo, Winkler, Yap, Piliouras, Chandrasekhar, "The Unusual Effectiveness of Averaging
in GAN Training" (ICLR 2019, arXiv:1806.04498), section 3.2:

    wbar_t = beta wbar_(t-1) + (1 - beta) w_t

At round t, counted from 0, beta is min(decay, (1 + t) / (10 + t)), so that the first weights are
soon forgotten (the warm-up of TensorFlow's ExponentialMovingAverage). Buffers, such as batch-norm's
statistics, are averages already, and are copied.

The average is one more net of the peer, ``ema_generator``, which no step trains: so it is in the
checkpoints, in the digests, in the links and in the matrices of a simulation as any other net.
"""

from __future__ import annotations

from peer.gan.arena import Arena
from peer.gan.net_name import NetName
from peer.state.peer_state import PeerState

AVERAGE = str(NetName("ema_", "generator"))
"""The name of the average of ``generator``."""


def decay_of_round(decay: float, t: int) -> float:
    """beta of round ``t``, counted from 0."""
    return min(decay, (1 + t) / (10 + t))


def follow(average: Arena, net: Arena, beta: float) -> None:
    """wbar = beta wbar + (1 - beta) w in the memory of ``average``; buffers are copied."""
    trained = net.layout.trained
    average.vector[:trained].mul_(beta).add_(net.vector[:trained], alpha=1 - beta)
    average.vector[trained:].copy_(net.vector[trained:])
    for name, counter in net.counters.items():
        average.counters[name].copy_(counter)


def take_in_generator(state: PeerState) -> bool:
    """At the end of a round: the average takes in G; returns whether peers are to combine it.

    Where the experiment has no average, or the peer no generator, nothing happens.
    """
    if AVERAGE not in state.nets or state.ema is None:
        return False
    beta = decay_of_round(state.ema.decay, state.round)
    follow(state.nets[AVERAGE].arena, state.nets["generator"].arena, beta)
    return state.ema.combine
