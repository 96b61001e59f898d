"""What others would write: the same work as a round of diffusion, without hearsay's drivers."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from peer.experiment import Experiment
from peer.gan import Gan, Layout
from sim.runs.simulate import shards

Seconds = Callable[[int], float]
"""Of so many rounds: seconds a round."""


def _gan(experiment: Experiment) -> Gan:
    return experiment.build_gan(shards(experiment)[0][0].shape)


def flat_loop(experiment: Experiment, threads: int) -> Seconds:
    """Peer after peer in plain torch, its nets being views of the rows of one matrix a net."""
    gan, peers, batch = _gan(experiment), experiment.peers, experiment.batch
    device = torch.device(experiment.device)
    data = [images.take(part).to(device) for images, part in shards(experiment) if part is not None]
    matrices: dict[str, torch.Tensor] = {}
    modules: dict[str, list[nn.Module]] = {}
    optimizers: dict[str, list[torch.optim.Optimizer]] = {}
    for role, template in gan.modules.items():
        layout = Layout.of(template)
        W = torch.zeros(peers, layout.length, device=device)
        gradients = torch.zeros(peers, layout.trained, device=device)
        matrices[role], modules[role], optimizers[role] = W, [], []
        for row, gradient in zip(W, gradients, strict=True):
            modules[role].append(_viewing(template, layout, row, gradient, experiment))
            flat = nn.Parameter(row[: layout.trained])
            flat.grad = gradient
            optimizers[role].append(
                torch.optim.Adam([flat], lr=0.001, betas=(0.5, 0.999), fused=True)
            )
    loss = experiment.loss_functions()
    around = torch.arange(peers, device=device)

    def average(W: torch.Tensor) -> None:
        W.copy_((W + W[around - 1] + W[(around + 1) % peers]) / 3)

    def round_() -> None:
        for k in range(peers):
            g, d = modules["generator"][k], modules["discriminator"][k]
            real = data[k][torch.randint(len(data[k]), (batch,), device=device)]
            with torch.no_grad():
                fake = g(torch.randn(batch, gan.z_dim, device=device))
            _step(loss.discriminator(d(real), d(fake)), d, optimizers["discriminator"][k])
        average(matrices["discriminator"])
        for k in range(peers):
            g, d = modules["generator"][k], modules["discriminator"][k]
            z = torch.randn(batch, gan.z_dim, device=device)
            _step(loss.generator(d(g(z))), g, optimizers["generator"][k])
        average(matrices["generator"])

    return _timed(round_, threads, device)


def one_gan(experiment: Experiment, threads: int) -> Seconds:
    """The arithmetic limit: one GAN on mini-batches as large as all the peers' together.

    It draws them from one stream of its own and from one peer's images, and combines nothing.
    """
    device = torch.device(experiment.device)
    gan = _gan(experiment)
    g, d = gan.generator.to(device), gan.discriminator.to(device)
    many = experiment.peers * experiment.batch
    images, part = shards(experiment)[0]
    assert part is not None
    data = images.take(part).to(device)
    loss = experiment.loss_functions()
    of_g, of_d = (
        torch.optim.Adam(net.parameters(), lr=0.001, betas=(0.5, 0.999), fused=True)
        for net in (g, d)
    )

    def round_() -> None:
        real = data[torch.randint(len(data), (many,), device=device)]
        with torch.no_grad():
            fake = g(torch.randn(many, gan.z_dim, device=device))
        _step(loss.discriminator(d(real), d(fake)), d, of_d)
        _step(loss.generator(d(g(torch.randn(many, gan.z_dim, device=device)))), g, of_g)

    return _timed(round_, threads, device)


def _viewing(
    template: nn.Module,
    layout: Layout,
    row: torch.Tensor,
    gradient: torch.Tensor,
    experiment: Experiment,
) -> nn.Module:
    """A copy of ``template`` whose parameters, and their gradients, are views of two rows."""
    module = copy.deepcopy(template).to(experiment.device)
    for name, parameter in module.named_parameters():
        slot = next(slot for slot in layout.slots if slot.name == name)
        view = layout.view(row, slot)
        view.copy_(parameter.detach())
        parameter.data, parameter.grad = view, layout.view(gradient, slot)
    return module


def _step(loss: torch.Tensor, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for flat in group["params"]:
            if flat.grad is not None:
                flat.grad.zero_()
    torch.autograd.backward(loss, inputs=list(net.parameters()))
    optimizer.step()


def _timed(round_: Callable[[], None], threads: int, device: torch.device) -> Seconds:
    def seconds(rounds: int) -> float:
        torch.set_num_threads(threads)
        began = time.perf_counter()
        for _ in range(rounds):
            round_()
        if device.type != "cpu":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / rounds

    seconds(1)
    return seconds
