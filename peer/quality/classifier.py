"""The judge: a small convolutional classifier that says which class a generated image belongs to.

It is trained on four fifths of the labelled source that the experiment's data come from; the rest
measures its accuracy, which is reported with its verdicts. Its 128 penultimate features are those
of the CFID (Fréchet distance on a classifier's features, never called FID). It depends on the
images, the architecture and a seed, not on the experiment: runs of one source share one judge,
which is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from peer.quality.frechet import Array, gaussian
from peer.state.checkpoint import write_whole
from peer.streams import stream

FEATURES = 128
_FORMAT = "judge-2"
_CHUNK = 512


class Recipe(NamedTuple):
    """How one architecture is trained: epochs, batch size, largest step size, random shift.

    Every batch is moved by up to ``shift`` pixels each way, as a whole: the cheapest augmentation.
    """

    epochs: int
    batch: int
    lr: float
    shift: int


SMALL = Recipe(epochs=24, batch=64, lr=3e-3, shift=0)
LARGE = Recipe(epochs=5, batch=128, lr=2e-3, shift=1)


class Judge:
    """A trained classifier, with what it got right on images that it was not trained on.

    Attributes:
        accuracy: share of the held-out fifth that it classifies rightly, in [0, 1].
        classes: number of classes it knows.
        reference: mean (128,) and covariance (128, 128) of its features of the whole source: the
            real side of every CFID. Kept, because a pass over 60,000 images takes a while.
    """

    def __init__(self, net: nn.Sequential, classes: int) -> None:
        self._net = net.eval().requires_grad_(False)
        self.classes = classes
        self.accuracy = 0.0
        self.reference: tuple[Array, Array] = np.zeros(FEATURES), np.zeros((FEATURES, FEATURES))

    def probabilities(self, x: torch.Tensor) -> npt.NDArray[np.float64]:
        """Class probabilities (n, classes) of images ``x`` (n, c, h, w) in [-1, 1]."""
        return self.verdicts(x)[0]

    def features(self, x: torch.Tensor) -> npt.NDArray[np.float64]:
        """Penultimate features (n, 128) of images ``x`` (n, c, h, w) in [-1, 1]."""
        return self.verdicts(x)[1]

    def verdicts(self, x: torch.Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Probabilities (n, classes) and features (n, 128) of ``x`` (n, c, h, w), in one pass."""
        probabilities = np.empty((len(x), self.classes))
        features = np.empty((len(x), FEATURES))
        with torch.no_grad():
            for start in range(0, len(x), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                penultimate = self._net[:-1](x[chunk].to(torch.float32).cpu())
                logits = self._net[-1](penultimate).to(torch.float64)
                probabilities[chunk] = functional.softmax(logits, dim=1).numpy()
                features[chunk] = penultimate.numpy()
        return probabilities, features


def judge_for(
    images: torch.Tensor,
    labels: npt.NDArray[np.int64],
    classes: int,
    *,
    seed: int = 0,
    cache: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> Judge:
    """The judge of ``images`` (n, c, h, w) in [-1, 1] with ``labels`` (n,): cached, or trained now.

    Args:
        images: the whole labelled source.
        labels: a class in 0..classes-1 for each image.
        classes: number of classes.
        seed: of the split, the initial weights and the batches.
        cache: folder of trained judges; the user's cache folder if None. One that cannot be
            written is passed over in silence: the judge is then trained again the next time.
        notify: is told when a judge must be trained, which takes seconds to minutes.
    """
    shape: tuple[int, int, int] = (images.shape[1], images.shape[2], images.shape[3])
    path = (cache or cache_folder()) / f"{_key(images, labels, classes, seed)}.safetensors"
    judge = _load(path, shape, classes)
    if judge is None:
        if notify:
            notify(
                f"training the judge on {len(images)} images (once; it is kept in {path.parent})"
            )
        judge = train_judge(images, labels, classes, seed=seed)
        _save(judge, path)
    return judge


def train_judge(
    images: torch.Tensor, labels: npt.NDArray[np.int64], classes: int, *, seed: int = 0
) -> Judge:
    """Train a judge on four fifths of ``images`` and measure its accuracy on the rest.

    Arguments as for :func:`judge_for`. Adam with a one-cycle step size; every random number comes
    from ``seed``, and torch's thread count and global generator are left alone.
    """
    n, c, h, w = images.shape
    order = stream(seed, "judge", "split").permutation(n)
    held_out, training = order[: n // 5], order[n // 5 :]
    recipe = LARGE if _is_large(h, w) else SMALL
    net = untrained_net((c, h, w), classes, seed)
    targets = torch.from_numpy(labels)
    # With channels last, CPUs convolve up to twice as fast.
    _arrange(net, torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.lr)
    batches = -(-len(training) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=batches * recipe.epochs
    )
    draws = stream(seed, "judge", "batches")
    net.train()
    for _ in range(recipe.epochs):
        for batch in np.array_split(draws.permutation(training), batches):
            picked = torch.from_numpy(batch)
            down, right = draws.integers(-recipe.shift, recipe.shift + 1, 2).tolist()
            moved = images[picked].roll((down, right), (2, 3))
            moved = moved.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(net(moved), targets[picked])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    _arrange(net, torch.contiguous_format)
    judge = Judge(net, classes)
    probabilities, features = judge.verdicts(images)
    judge.accuracy = float((probabilities.argmax(axis=1) == labels)[held_out].mean())
    judge.reference = gaussian(features)
    return judge


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/hearsay``, or ``~/.cache/hearsay``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "hearsay"


def _is_large(height: int, width: int) -> bool:
    return min(height, width) >= 28


def _architecture(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Convolutions that end in 7x7 (large images) or half the size (small), then 128, then classes.

    For 28x28 it is conv32-pool-conv64-pool-fc128-fc10; larger images are pooled to 7x7.
    """
    channels, height, width = shape
    large = _is_large(height, width)
    # Pooling before the ReLU gives the same numbers for a quarter of the work.
    layers: list[nn.Module] = [nn.Conv2d(channels, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
    layers.append(nn.Conv2d(32, 64, 3, padding=1))
    layers += [nn.MaxPool2d(2), nn.ReLU()] if large else [nn.ReLU()]
    if large and (height // 4, width // 4) != (7, 7):
        layers.append(nn.AdaptiveAvgPool2d(7))
    area = 49 if large else (height // 2) * (width // 2)
    layers += [nn.Flatten(), nn.Linear(64 * area, FEATURES), nn.ReLU()]
    layers.append(nn.Linear(FEATURES, classes))
    return nn.Sequential(*layers)


def untrained_net(shape: tuple[int, int, int], classes: int, seed: int) -> nn.Sequential:
    """Built without memory first, then filled from our own generator: no global draw is made."""
    with torch.device("meta"):
        net = _architecture(shape, classes)
    net = net.to_empty(device="cpu")
    source = torch.Generator().manual_seed(int(stream(seed, "judge", "init").integers(2**63)))
    for module in net:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=source)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def _arrange(net: nn.Sequential, order: torch.memory_format) -> None:
    """Lay the kernels out in memory in that order."""
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=order)


def _key(images: torch.Tensor, labels: npt.NDArray[np.int64], classes: int, seed: int) -> str:
    """blake2b of the data, the architecture, its recipe and the seed."""
    _, c, h, w = images.shape
    digest = hashlib.blake2b(digest_size=20)
    recipe = LARGE if _is_large(h, w) else SMALL
    with torch.device("meta"):
        architecture = _architecture((c, h, w), classes)
    digest.update(f"{_FORMAT} {tuple(images.shape)} {seed} {recipe} {architecture}".encode())
    digest.update(images.contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    return digest.hexdigest()


def _load(path: Path, shape: tuple[int, int, int], classes: int) -> Judge | None:
    """The judge kept at ``path``; None where there is none, or not a whole one."""
    try:
        with safe_open(path, framework="pt") as kept:
            accuracy = float((kept.metadata() or {})["accuracy"])
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
        reference = tensors.pop("reference.mean").numpy(), tensors.pop("reference.cov").numpy()
        with torch.device("meta"):
            net = _architecture(shape, classes)
        net.load_state_dict(tensors, assign=True)
    except Exception:
        return None
    judge = Judge(net, classes)
    judge.accuracy, judge.reference = accuracy, reference
    return judge


def _save(judge: Judge, path: Path) -> None:
    """Whole or not at all, also at a power cut: half a judge would judge all the same."""
    mean, cov = map(torch.from_numpy, judge.reference)
    tensors = judge._net.state_dict() | {"reference.mean": mean, "reference.cov": cov}
    try:
        write_whole(path, save(tensors, {"accuracy": repr(judge.accuracy)}))
    except OSError:
        return
