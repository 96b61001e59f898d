"""The experiment file: one YAML file that says everything, the same copy at every peer."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import torch
from pydantic import Field, PrivateAttr
from torch import nn

import topology
from peer.codecs import Choco, Compression
from peer.data.spec import DataSpec
from peer.experiment.addresses import ipc_path, is_ipc
from peer.experiment.compression import codec_named
from peer.experiment.cost_models import Devices, NetworkSpec
from peer.experiment.overrides import override
from peer.experiment.parts import (
    Augment,
    AugmentSpec,
    Conditional,
    Ema,
    FaultSpec,
    LossKey,
    LossSpec,
    MetricsSpec,
    NamedSpec,
    OptimizerSpec,
    classes_told,
)
from peer.experiment.reaching import Reaching
from peer.experiment.validation import validated
from peer.experiment.yaml_file import AN_EXPERIMENT, read_mapping, refuse_other_files
from peer.gan.build import Gan, make_gan
from peer.gan.losses import LOSSES, Loss
from peer.gan.models.shapes import Shape
from peer.gan.net_name import PAIR, NetName
from peer.gan.optimizers import make_optimizer
from peer.gan.penalties import Penalties, couples_samples
from peer.gan.schedules import Schedule
from peer.settings import Settings
from topology.errors import UserError, note


class Experiment(Reaching):
    """The whole experiment, validated. The keys are those of the YAML file."""

    peers: int = Field(
        ge=1, le=1_000_000, description="How many peers there are; their ids are 0, 1, 2..."
    )
    graph: str | dict[str, Any] = Field(
        "ring",
        description="A family, {family: .., ...}, {edges: [[0, 1], ...]}, {file: ..}, or one that "
        "changes: {schedule: .., ...} or {cycle: [ring, ...]}.",
    )
    weights: str | dict[str, Any] = Field(
        "metropolis",
        description="A rule, {rule: .., ...}, {matrix: [[..], ...]} or {file: ..}; a[l][k] is what "
        "peer k takes of peer l.",
    )
    algorithm: NamedSpec = Field(description="What the peers do, and its settings.")
    gan: NamedSpec = Field(description="A model's name, or module:factory for your own.")
    optimizer: OptimizerSpec = Field(
        description="An element-wise torch optimizer, and the schedule of its rate; or one a net."
    )
    loss: LossKey = Field(
        default_factory=LossSpec,
        description="A loss's name, or {name: wgan, gradient_penalty: 10}.",
    )
    conditional: Conditional = Field(
        None,
        description="Whether G and D are told classes: true, or {labels: own, embedding: 16}.",
    )
    data: DataSpec = Field(default_factory=DataSpec, description="Where images come from.")
    batch: int = Field(64, ge=2, le=1_000_000, description="Images a mini-batch.")
    augment: Augment = Field(
        default_factory=AugmentSpec,
        description="How images, real and fake, are changed before D sees them (DiffAugment): "
        "[translation, cutout, colour, flip], or {translation: true, ..}.",
    )
    ema: Ema | None = Field(
        None,
        description="A moving average of G, which is judged and drawn from: its decay, or "
        "{decay: 0.999, combine: false}.",
    )
    init: Literal["shared", "own"] = Field("shared", description="Equal initial weights, or not.")
    seed: int = Field(0, ge=0, description="Everything random follows from it.")
    threads: int = Field(1, ge=1, le=1024, description="Compute threads a peer; changes rounding.")
    device: str = Field("cpu", description="A torch device: cpu, cuda, cuda:1...")
    metrics: MetricsSpec = Field(default_factory=MetricsSpec)
    compression: NamedSpec = Field(
        default_factory=lambda: NamedSpec(name="none"),
        description="How a combine's parameters are sent: none, bf16, int8, int4, top-k, choco, or "
        "{name: int8, block: 256, ..}. Letters of server algorithms are sent in full.",
    )
    checkpoint: int = Field(100, ge=0, description="Rounds between two checkpoints; 0 for none.")

    base: str | None = Field(None, description="Where relative paths start; the file's folder.")

    network: NetworkSpec = Field(default_factory=NetworkSpec, description="Simulation only.")
    devices: Devices = Field(
        default_factory=dict,
        description="Simulation only: what a local step takes, of all, a list, or {default: .., "
        "3: ..}; each a profile's name, a file of `peer profile`, or {profile, speed, seconds}.",
    )
    faults: tuple[FaultSpec, ...] = Field((), description="Simulation only.")

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """Where the file lies: what relative paths in it start from."""
        return self._folder

    @cached_property
    def schedule(self) -> topology.Schedule:
        """The graph of every round."""
        return topology.build_schedule(self.graph, self.peers, self.seed, self.folder)

    @cached_property
    def codec(self) -> Compression | None:
        """The codec that ``compression`` names; None where values are sent as float32.

        Raises:
            UserError: there is none of that name, or it has no such setting.
        """
        return codec_named(self.compression)

    @property
    def graph_family(self) -> str:
        """What the graph is called; ``given graph`` where its links are listed."""
        graph = self.graph
        return graph if isinstance(graph, str) else str(graph.get("family", "given graph"))

    @property
    def graph_of_peers(self) -> nx.Graph[int]:
        """All links that ever occur, on nodes 0 to peers - 1; connected."""
        return self.schedule.union()

    @property
    def server(self) -> int:
        """The peer that plays the server, with an algorithm that has one."""
        return int(self.algorithm.settings.get("server", 0))

    def hosts(self, server: int) -> tuple[int, ...]:
        """Ids of the processes that can run the server's program: its own, and its backups."""
        return (server, *range(self.peers, self.peers + self.backups))

    def loss_functions(self) -> Loss:
        """The pair of losses that ``loss`` names, with its penalties."""
        of = self.loss
        penalties = Penalties(of.gradient_penalty, of.r1, of.r1_every)
        return replace(LOSSES[of.name], penalties=penalties)

    def build_gan(self, sample_shape: Shape, owner: int | None = None, classes: int = 0) -> Gan:
        """The experiment's GAN for images of ``sample_shape`` (channels, height, width).

        Initial weights are equal at all peers, unless the experiment says ``init: own`` and names
        their ``owner``. Nets that are told classes are for as many as ``data.classes`` names, or
        for the ``classes`` that the data have. Raises UserError as
        :func:`peer.gan.build.make_gan` does, and where there are no classes to be told.
        """
        gan = make_gan(
            self.gan.name,
            self.gan.settings,
            sample_shape,
            seed=self.seed,
            owner=owner if self.init == "own" else None,
            folder=self.folder,
            **classes_told(self.conditional, self.data.classes, classes),
        )
        if (self.loss.gradient_penalty or self.loss.r1) and couples_samples(gan.discriminator):
            note(
                "loss: gradients with respect to an image are penalised, and batch-norm in the "
                f"discriminator of '{self.gan.name}' couples the images of a batch; prefer one "
                "without it, such as resnet32 or mlp-digits"
            )
        return gan

    def optimizer_for(self, net: str) -> NamedSpec:
        """The optimizer of the net called ``net``: that of its role, whatever its prefix.

        Raises:
            UserError: it is no net's name.
        """
        of_role: NamedSpec = getattr(self.optimizer, NetName.parse(net).role)
        return of_role

    def schedule_for(self, net: str) -> Schedule:
        """How the learning rate of the net called ``net`` changes over the algorithm's rounds.

        Raises:
            UserError: there is no such schedule, or it does not fit the rounds.
        """
        optimizer = self.optimizer_for(net)
        return Schedule.of(optimizer.settings, self.algorithm.settings.get("rounds"))

    @property
    def extras(self) -> dict[str, Any]:
        """Of the keys without which older states and peers were made, those that are used."""
        said = {"augment": self.augment.names, "ema": self.ema, "conditional": self.conditional}
        return {
            key: of.model_dump(mode="json") if isinstance(of, Settings) else of
            for key, of in said.items()
            if of
        }

    def fingerprint(self) -> dict[str, str]:
        """A digest of each part that all peers must agree on, as hexadecimal, by the part's name.

        Addresses, paths, device and time limits may differ from machine to machine and are left
        out.
        """
        named = self.data.source == "hub"  # there a path is a name, and part of what is agreed
        data = self.data.model_dump(mode="json", exclude=None if named else {"path"})
        parts: dict[str, Any] = {
            "peers": self.peers,
            "graph": [self.schedule.facts(), topology.weights_facts(self.weights)],
            "algorithm": self.algorithm.model_dump(mode="json"),
            "gan": [self.gan.model_dump(mode="json"), self.init],
            "optimizer": self.optimizer.model_dump(mode="json"),
            "loss": self.loss.model_dump(mode="json"),
            "data": data,
            "batch": self.batch,
            "seed": self.seed,
            "threads": self.threads,
            "durability": self.durability,
            "compression": [
                self.compression.name,
                None if self.codec is None else self.codec.model_dump(mode="json"),
            ],
        }
        parts |= self.extras
        if self.backups:
            parts["backups"] = self.backups  # how many a majority is, all must agree on
        if self.metrics.quality_every and self.data.partition.name == "own":
            metrics = self.metrics
            scored = metrics.inception is None, metrics.judge, metrics.quality_every
            parts["metrics"] = scored  # peers exchange moments, and ask for them in those rounds
        return {name: _digest(value) for name, value in parts.items()}

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, in types that YAML and JSON know; paths are absolute."""
        keys: dict[str, Any] = self.model_dump(mode="json")
        keys["base"] = str(self.folder)
        if self.data.path is not None and self.data.source != "hub":
            keys["data"]["path"] = str(self.folder / Path(self.data.path).expanduser())
        if self.metrics.inception is not None:
            path = self.folder / Path(self.metrics.inception).expanduser()
            keys["metrics"]["inception"] = str(path)
        if isinstance(self.graph, dict) and isinstance(self.graph.get("file"), str):
            keys["graph"]["file"] = str(self.folder / Path(self.graph["file"]).expanduser())
        if self.optimizer.generator == self.optimizer.discriminator:
            keys["optimizer"] = keys["optimizer"]["generator"]
        return keys

    def varied(self, **keys: Any) -> Experiment:
        """A copy with some top-level keys changed, validated again.

        Raises:
            UserError: as :func:`from_mapping`.
        """
        return from_mapping(self.resolved() | keys, folder=self.folder)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read and validate an experiment file, with ``key=value`` overrides applied to it.

    Raises:
        UserError: the file is missing, is not YAML, or says something that cannot be.
    """
    path = Path(path)
    try:
        raw = read_mapping(path, str(path), AN_EXPERIMENT)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such experiment file") from None
    refuse_other_files(raw, path)
    return from_mapping(raw, overrides, path.parent, str(path))


def from_mapping(
    raw: Mapping[str, Any],
    overrides: Iterable[str] = (),
    folder: Path | None = None,
    where: str = "experiment",
) -> Experiment:
    """Validate an experiment given as a mapping of the file's keys.

    Args:
        raw: the keys; left as it is.
        overrides: changes to it, ``dotted.key=value`` each.
        folder: where relative paths start, unless ``base`` says so; the working directory if None.
        where: what the experiment is called in errors.

    Raises:
        UserError: naming the key at fault.
    """
    data = copy.deepcopy(dict(raw))
    for each in overrides:
        override(data, each)
    if "weights" in data:
        base = Path(str(data.get("base") or folder or Path.cwd())).resolve()
        data["weights"] = topology.anchored_weights(data["weights"], base)
    try:
        experiment: Experiment = validated(Experiment, data)
        experiment._folder = Path(experiment.base or folder or Path.cwd()).resolve()
        _check(experiment)
    except UserError as problem:
        raise UserError(f"{where}: {problem}") from None
    return experiment


def _check(experiment: Experiment) -> None:
    """Refuse keys that contradict each other.

    Raises:
        UserError: naming the first of them.
    """
    peers = range(experiment.peers)
    topology.check_weights(experiment.schedule, experiment.weights)
    for role in PAIR:
        optimizer = experiment.optimizer_for(role)
        make_optimizer(optimizer.name, optimizer.settings, [nn.Parameter(torch.zeros(1))])
        experiment.schedule_for(role)
    if isinstance(experiment.codec, Choco) and not experiment.schedule.static:
        raise UserError(
            "compression: choco keeps copies at both ends of fixed links, and this graph changes; "
            "choose int8, or a graph that stays"
        )
    metrics = experiment.metrics
    for key in ("target", "inception", "judge"):
        if getattr(metrics, key) and not metrics.quality_every:
            raise UserError(
                f"metrics.{key}: nobody measures distances on the way; set quality_every, too"
            )
    if metrics.judge and experiment.data.partition.name != "own":
        raise UserError(
            "metrics.judge: is for private images (partition: own); where all come from one "
            "source, a judge is trained on that, if it has labels"
        )
    processes = range(experiment.peers + experiment.backups)
    if not isinstance(experiment.addresses, str) and len(experiment.addresses) < processes.stop:
        raise UserError(
            f"addresses: {len(experiment.addresses)} for {processes.stop} peers; "
            "give one a peer, or a template with {id} and {port}"
        )
    try:
        given = [experiment.address(peer) for peer in processes]
    except (KeyError, IndexError, ValueError) as problem:
        raise UserError(
            f"addresses: '{experiment.addresses}' has the unknown field {problem}; "
            "a template may use {id} and {port}"
        ) from None
    for address in given:
        if is_ipc(address):
            ipc_path(address)
    if experiment.discovers and experiment.backups:
        raise UserError("backups: take addresses that are listed; 'discover' finds peers alone")
    if len(set(given)) < len(given):
        twice = next(address for address in given if given.count(address) > 1)
        raise UserError(f"addresses: several peers would be at {twice}; use {{port}} or {{id}}")
    network = experiment.network
    named: dict[str, Iterable[int | str]] = {
        "keys": experiment.keys.keys() - processes[experiment.peers :],
        "faults": [fault.peer for fault in experiment.faults],
        "devices": experiment.devices.keys() - {"default"},
        "network.ends": [end.peer for end in network.ends],
        "network.links": [peer for link in network.links for peer in link.between],
    }
    for key, ids in named.items():
        for peer in ids:
            if peer not in peers:
                raise UserError(f"{key}: there is no peer {peer}; ids are 0 to {peers.stop - 1}")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON schema of the experiment file, for editors."""
    return Experiment.model_json_schema()
