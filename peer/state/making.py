"""A peer's state at round 0, made from the experiment and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from peer.data.sources import Images
from peer.experiment import Experiment
from peer.gan import Gan
from peer.gan.net_name import PAIR, NetName
from peer.state.device import usable_device
from peer.state.net import Net
from peer.state.peer_state import PeerState
from peer.state.shard import Shard
from peer.streams import Streams


def make_state(
    experiment: Experiment,
    peer: int,
    images: Images,
    indices: np.ndarray | None,
    rows: Mapping[str, torch.Tensor] | None = None,
    names: Sequence[str] = PAIR,
    gan: Gan | None = None,
) -> PeerState:
    """A peer at round 0.

    Args:
        experiment: what all peers agree on.
        peer: its id.
        images: the source that its shard comes from (it also gives the images' shape).
        indices: which of them are its own; None for a peer without data.
        rows: where its nets' arenas lie, by name (rows of the network's matrices); new if absent.
        names: the nets that it holds (see :class:`peer.gan.net_name.NetName`).
        gan: the experiment's, where it is built already and the same for several peers.

    Raises:
        UserError: its device cannot be used here, its nets cannot be built, or one of the names is
            no net's.
    """
    device = usable_device(experiment.device)
    gan = gan or experiment.build_gan(images.shape, peer, images.classes)
    nets: dict[str, Net] = {}
    for name in names:
        initial = gan.arenas[NetName.parse(name).role]
        new = torch.zeros(initial.layout.length, device=device) if rows is None else rows[name]
        optimizer, schedule = experiment.optimizer_for(name), experiment.schedule_for(name)
        nets[name] = Net(initial.copy(new), optimizer, schedule)
    shard = None
    if indices is not None:
        labels = None if images.labels is None else images.labels[indices]
        shard = Shard(images.take(indices).to(device), labels)
    return PeerState(
        peer,
        nets,
        shard,
        Streams(experiment.seed, peer),
        gan,
        experiment.loss_functions(),
        experiment.batch,
        device,
        experiment.peers,
        0 if images.labels is None else images.classes,
        experiment.codec,
        experiment.augment.names,
        experiment.ema,
        experiment.conditional,
        class_names=images.class_names,
    )
