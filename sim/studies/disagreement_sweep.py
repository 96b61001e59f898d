"""Theorem 1, put to the test: how the discriminators' disagreement grows with the step size.

Equation 17 of the diffusion GAN paper bounds the disagreement by mu² lambda_2² (B² + sigma²) /
(1 - lambda_2)² once i >= 3 ln(mu) / ln(lambda_2) + O(1), the generators held fixed. The sweep
trains the file's experiment for its rounds, fixes the generators at their centroid, and lets the
discriminators go on from theirs with SGD, at several mu and on several graphs. Rounds are
proportional to 1/mu, so that every run of a graph covers the same stretch of the objective: its
time is mu times the round, and the average begins at the time by which the transient of every mu
is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.lines import Line2D

import algorithms
import topology
from peer.compute.execute import prepare_compute_thread
from peer.effects import Report
from peer.experiment import Experiment
from peer.gan.net_name import Role
from peer.gan.objectives import OBJECTIVES, Batch
from peer.state import PeerState
from peer.state.checkpoint import write_json
from peer.streams import stream
from sim.metrics.theorem1_bound import disagreement_bound
from sim.reporting.plots.style import FAINT, PALETTE, save, styled
from sim.runs.observer import snapshot_disagreement
from sim.runs.simulate import drive, make_states
from sim.simulated_peer.round_snapshots import RoundSnapshots
from sim.simulated_peer.simulated_peer import SimulatedPeer
from topology.errors import UserError

NET: Role = "discriminator"
GRADIENT_MEASUREMENTS = 10
"""How often in a run the full gradients are measured."""


@dataclass(frozen=True)
class Point:
    """One run of the sweep.

    Attributes:
        graph: its family.
        lambda_2: of its combination matrix.
        mu: the step size.
        rounds: in all, of which ``transient`` are left out of the average.
        disagreement: (1/K) sum over k of ||w_k - w_c||², averaged over rounds.
        gradient_bound_sq: B² + sigma²: the largest full gradient's squared norm that was seen, and
            the mean squared distance of mini-batch gradients from the full one.
        bound: the right-hand side of equation 17.
    """

    graph: str
    lambda_2: float
    mu: float
    rounds: int
    transient: int
    disagreement: float
    gradient_bound_sq: float
    bound: float


@dataclass(frozen=True)
class Sweep:
    """All runs, and the slope of log disagreement against log mu on each graph."""

    points: tuple[Point, ...]
    slopes: Mapping[str, float]


def sweep_disagreement(
    experiment: Experiment,
    mus: Sequence[float],
    graphs: Sequence[str] = ("ring", "path", "star"),
    stretch: float = 1.5,
    progress: Callable[[str], None] | None = None,
) -> Sweep:
    """Measure the disagreement for every graph and step size.

    Args:
        experiment: trained first, as it is; its graph is that of the training only.
        mus: step sizes.
        graphs: families.
        stretch: the time (mu times rounds) that is averaged over, after the transient.
        progress: is told what runs.

    Raises:
        UserError: the nets are told classes.
    """
    if experiment.conditional is not None:
        raise UserError("conditional: the theorem is of nets without classes; leave it out")
    say = progress or (lambda line: None)
    prepare_compute_thread(experiment.threads)
    program = algorithms.find(experiment)
    say(f"training the generators: {program.rounds} rounds")
    trained = make_states(experiment, program=program)
    drive(experiment, trained, program)
    centroids = {
        net: torch.stack([s.nets[net].arena.vector for s in trained.values()]).mean(0)
        for net in trained[0].nets
    }
    points = []
    for graph in graphs:
        lambda_2 = topology.second_eigenvalue(
            topology.metropolis_weights(experiment.varied(graph=graph).graph_of_peers)
        )
        begin = max(mu * topology.transient_rounds(mu, lambda_2) for mu in mus)
        for mu in mus:
            say(f"{graph}, mu = {mu:.3g}")
            transient, rounds = math.ceil(begin / mu), math.ceil((begin + stretch) / mu)
            point = _run(experiment, graph, lambda_2, mu, transient, rounds, centroids)
            points.append(point)
    slopes = {g: _slope([p for p in points if p.graph == g]) for g in graphs}
    return Sweep(tuple(points), slopes)


def _run(
    experiment: Experiment,
    graph: str,
    lambda_2: float,
    mu: float,
    transient: int,
    rounds: int,
    centroids: Mapping[str, torch.Tensor],
) -> Point:
    """Discriminators on ``graph`` with step size ``mu``, from the centroids."""
    plain = experiment.varied(
        graph=graph,
        optimizer={"name": "sgd", "lr": mu},
        algorithm={"name": "diffusion", "rounds": rounds, "n_d": 1, "n_g": 0},
    )
    program = algorithms.find(plain)
    states = make_states(plain, program=program)
    for state in states.values():
        for net, centroid in centroids.items():
            state.nets[net].arena.vector.copy_(centroid)
    measurements = _Measurements(states, transient, max(1, rounds // GRADIENT_MEASUREMENTS))
    drive(plain, states, program, measurements)
    bound_sq = max(measurements.full) + float(np.mean(measurements.noise))
    bound = disagreement_bound(mu, lambda_2, bound_sq)
    measured = float(np.mean(measurements.disagreement))
    return Point(graph, lambda_2, mu, rounds, transient, measured, bound_sq, bound)


@dataclass
class _Measurements:
    """Measures the disagreement of rounds after the transient, and gradients every few rounds."""

    states: Mapping[int, PeerState]
    transient: int
    every: int
    disagreement: list[float] = field(default_factory=list)
    full: list[float] = field(default_factory=list)  # squared norms of full gradients
    noise: list[float] = field(default_factory=list)  # squared distances of mini-batch gradients

    def __post_init__(self) -> None:
        self._snapshots = RoundSnapshots((NET,), len(self.states), bool)

    def reported(self, peer: SimulatedPeer, report: Report) -> None:
        """One peer has completed a round."""
        layout = peer.state.gan.layouts[NET]
        for round, found in self._snapshots.add(peer, report.round):
            if round > self.transient:
                self.disagreement.append(snapshot_disagreement(found[NET], layout))
        if report.round % self.every == 0:
            self._measure_gradients(peer.state)

    def _measure_gradients(self, state: PeerState) -> None:
        """The full gradient at this peer, and how far mini-batches are from it."""
        assert state.shard is not None
        rng = stream(state.streams.seed, state.peer, "theory", state.round)
        n, batch = len(state.shard), state.batch

        def gradient(chosen: np.ndarray, fakes: int) -> torch.Tensor:
            noise = rng.standard_normal((fakes, state.gan.z_dim), dtype=np.float32)
            real = state.shard.pixels[torch.from_numpy(chosen)]  # type: ignore[union-attr]
            return _gradient(state, Batch(real, torch.from_numpy(noise)))

        full = gradient(np.arange(n), 16 * batch)
        self.full.append(float(full.square().sum()))
        for _ in range(8):
            mini = gradient(rng.integers(0, n, batch), batch)
            self.noise.append(float((mini - full).square().sum()))


def _gradient(state: PeerState, batch: Batch) -> torch.Tensor:
    """The discriminator's gradient on ``batch``, (P,)."""
    arena = state.nets[NET].arena
    generator = state.nets["generator"].module
    loss = OBJECTIVES[NET].value(generator, arena.module, state.loss, batch).minimised
    arena.gradient.zero_()
    torch.autograd.backward(loss, inputs=list(arena.module.parameters()))
    return arena.gradient.clone()


def _slope(points: Sequence[Point]) -> float:
    """Least squares on log-log axes."""
    mu, d = np.log([p.mu for p in points]), np.log([p.disagreement for p in points])
    return float(np.polyfit(mu, d, 1)[0])


def write_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write ``theory.json`` and the figure; returns the figure's path."""
    record: dict[str, Any] = {
        "slopes": dict(sweep.slopes),
        "points": [asdict(point) for point in sweep.points],
    }
    write_json(folder / "theory.json", record)
    with styled(7.6, 4.6) as figure:
        axes = figure.add_subplot()
        for colour, (graph, slope) in zip(PALETTE, sweep.slopes.items(), strict=False):
            points = [p for p in sweep.points if p.graph == graph]
            mus = [p.mu for p in points]
            lambda_2 = points[0].lambda_2
            label = f"{graph}: $λ_2$ = {lambda_2:.3f}, slope {slope:.2f}"
            axes.plot(mus, [p.disagreement for p in points], "o-", color=colour, label=label)
            axes.plot(mus, [p.bound for p in points], "--", color=colour, linewidth=1.2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("step size μ of the discriminators' SGD")
        axes.set_ylabel("disagreement  (1/K) Σ ‖$w_k - w_c$‖²\n(squared parameter units)")
        axes.set_title("The discriminators' disagreement grows as μ², under the bound of Theorem 1")
        handles, names = axes.get_legend_handles_labels()
        dashes = Line2D([], [], color=FAINT, linewidth=1.2, linestyle="--")
        figure.legend([*handles, dashes], [*names, "bound (equation 17)"],
                      loc="outside lower center", ncols=2)  # fmt: skip
    return save(figure, folder / "figures" / "disagreement-mu.png")
