"""A run's records: a JSON line for each peer and round, and a summary for each peer."""

from __future__ import annotations

import glob
import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from peer.experiment import Experiment
from peer.experiment.yaml_file import write_mapping
from peer.gan.arena import module_with
from peer.state import PeerState
from peer.state.checkpoint import save_generator, write_json, write_whole
from peer.state.count_sketch import CountSketch
from peer.state.disk import REAL, Disk, make_folders
from peer.state.json_lines import JsonLines
from peer.state.moving_average import AVERAGE
from topology.errors import UserError


class Recorder:
    """Writes the ``metrics.jsonl`` of one peer, or of all the peers of a simulation.

    Args:
        path: the file; it is appended to, so that a resumed run goes on in it.
        every: rounds between two records of a peer.
        last: the run's last round, which is always recorded.
        tell: gets a line when records cannot be written for a time.
        disk: on which it is.
    """

    def __init__(
        self,
        path: Path,
        every: int,
        last: int,
        tell: Callable[[str], None] = print,
        disk: Disk = REAL,
    ) -> None:
        self.path = path
        self.every = every
        self.last = last
        self.tell = tell
        self.disk = disk
        self._lines = JsonLines(path, tell, disk)
        self._network: JsonLines | None = None  # of the whole network, where anybody sees it
        self._missed: dict[int, Counter[int]] = {}
        self._participants: dict[int, list[list[int]]] = {}  # since the last record
        self._skipped: dict[int, Counter[str]] = {}  # likewise
        self._skipping: set[int] = set()  # the peers whose last round had a step that was skipped

    def wants(self, round: int) -> bool:
        """Whether that round is recorded."""
        return round % self.every == 0 or round == self.last or round == 1

    def write(
        self,
        peer: int,
        round: int,
        measures: Mapping[str, Any],
        *,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
        sketches: Mapping[str, str] | None = None,
    ) -> None:
        """Record one round of one peer, if it is one that is recorded."""
        self._missed.setdefault(peer, Counter()).update(measures["missing"])
        if "participants" in measures:  # kept for every round, also those that are not recorded
            self._participants.setdefault(peer, []).append(list(measures["participants"]))
        self._note_skipped(peer, round, measures)
        if not self.wants(round):
            return
        record = {
            "peer": peer,
            "round": round,
            "seconds": round_to(seconds, 6),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            **measures,
        }
        if self._skipped.get(peer):
            record["skipped"] = dict(self._skipped.pop(peer))
        if "participants" in measures:
            record["participants"] = self._participants.pop(peer)
        if sketches:
            record["sketches"] = dict(sketches)
        self._lines.write(record)

    def _note_skipped(self, peer: int, round: int, measures: Mapping[str, Any]) -> None:
        """Count the steps that were not finite, and say it when a burst of them begins."""
        skipped: Mapping[str, int] = measures.get("skipped", {})
        if skipped:
            self._skipped.setdefault(peer, Counter()).update(skipped)
            if peer not in self._skipping:
                of = ", ".join(f"{n} of its {net}" for net, n in skipped.items())
                self.tell(
                    f"peer {peer}: round {round}: steps that are not finite are skipped ({of})"
                )
            self._skipping.add(peer)
        else:
            self._skipping.discard(peer)
        if "went_back" in measures:
            self.tell(
                f"peer {peer}: round {round}: its nets went back to {measures['went_back']}: too "
                "many steps in a row were not finite"
            )

    def write_network(self, round: int, disagreement: Mapping[str, float]) -> None:
        """Record the disagreement of the whole network, which only a simulation can see."""
        if self._network is None:
            path = self.path.with_name("network.jsonl")
            self._network = JsonLines(path, self.tell, self.disk)
        self._network.write({"round": round, "disagreement": dict(disagreement)})

    def sync(self) -> None:
        """Wait until what was recorded is on the disk, as before a checkpoint of those rounds."""
        self._lines.sync()

    def totals(self, peer: int) -> dict[str, Any]:
        """What has been added up of that peer's rounds, in types that JSON knows."""
        skipped = dict(self._skipped.get(peer, {}))
        return {
            "missed": self.missed(peer),
            "participants": self._participants.get(peer, []),
            **({"skipped": skipped} if skipped else {}),
        }

    def go_on_from(self, peer: int, totals: Mapping[str, Any]) -> None:
        """Take over what :meth:`totals` gave: the run is resumed where it was asked for."""
        self._missed[peer] = Counter({int(k): int(n) for k, n in totals["missed"].items()})
        if totals["participants"]:
            self._participants[peer] = [list(each) for each in totals["participants"]]
        if totals.get("skipped"):
            self._skipped[peer] = Counter(totals["skipped"])

    def missed(self, peer: int) -> dict[str, int]:
        """Rounds in which each neighbour stayed away, by neighbour."""
        return {str(who): n for who, n in sorted(self._missed.get(peer, Counter()).items())}

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        if self._network is not None:
            self._network.close()


def round_to(value: float, digits: int) -> float:
    """``round``, for functions in which that word is a number of a round."""
    return round(value, digits)


def sketcher(experiment: Experiment, state: PeerState) -> dict[str, CountSketch]:
    """One count sketch of each net's parameters, without buffers; the same at all peers."""
    return {
        name: CountSketch(net.arena.layout.trained, experiment.seed, name)
        for name, net in state.nets.items()
    }


def arena_digest(state: PeerState) -> str:
    """BLAKE2b of the peer's final parameters, all nets in the order of their names."""
    digest = hashlib.blake2b(digest_size=32)
    for _, net in sorted(state.nets.items()):
        digest.update(net.arena.vector.detach().cpu().numpy().data)
    return digest.hexdigest()


def shard_digest(state: PeerState) -> str:
    """A digest of the peer's own images and their classes; ``none`` where it holds no data."""
    if state.shard is None:
        return "none"
    digest = hashlib.blake2b(state.shard.pixels.cpu().contiguous().numpy().data, digest_size=8)
    if state.shard.labels is not None:
        digest.update(np.ascontiguousarray(state.shard.labels).data)
    return digest.hexdigest()


def label_counts(state: PeerState) -> dict[str, int] | None:
    """How many images of each class the peer holds; None where the data have no labels."""
    if state.shard is None or state.shard.labels is None:
        return None
    return {str(c): int(n) for c, n in sorted(Counter(state.shard.labels.tolist()).items())}


def are_numbers(names: Sequence[str]) -> bool:
    """Whether classes' names say no more than their numbers do."""
    return list(names) == [str(x) for x in range(len(names))]


def write_experiment(experiment: Experiment, run_dir: Path) -> None:
    """Write the resolved experiment to the run directory."""
    content = write_mapping(experiment.resolved()).encode()
    path = run_dir / "experiment.yaml"
    if not (path.exists() and path.read_bytes() == content):
        write_whole(path, content)


def write_peer(
    state: PeerState,
    folder: Path,
    *,
    seconds: float,
    bytes_in: int,
    bytes_out: int,
    missing: Mapping[str, int],
    product: bool = True,
    durable: bool = True,
    quality: Mapping[str, Any] | None = None,
    disk: Disk = REAL,
) -> None:
    """Write a peer's results: its generator, as safetensors, and its summary.

    A peer that ends with a mixture of generators (Oasis's server) writes each of them, too, and one
    with a moving average of its generator writes ``generator_ema.safetensors`` beside it. Unless
    ``durable``, files may be lost in a power cut, and writing does not wait for the disk.
    """
    mixture: dict[str, float] = state.facts.get("mixture", {})
    keep = partial(save_generator, durable=durable, disk=disk)
    if "generator" in state.nets:
        arena = state.nets["generator"].arena
        keep(arena.tensors(), folder / "generator.safetensors")
        if AVERAGE in state.nets:
            keep(state.nets[AVERAGE].arena.tensors(), folder / "generator_ema.safetensors")
        for name in mixture:
            vector = state.tensors[f"{name}/generator"]
            part = module_with(arena.template, vector)
            keep(part.state_dict(), folder / f"generator-{name}.safetensors")
    summary = {
        "peer": state.peer,
        "rounds": state.round,
        "arena_blake2b": arena_digest(state),
        "seconds": round_to(seconds, 3),
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "missing": dict(missing),
        "labels": label_counts(state),
        "shape": None if state.shard is None else list(state.shard.pixels.shape[1:]),
        "product": product,
    }
    if not are_numbers(state.class_names):
        summary["class_names"] = list(state.class_names)
    if mixture:
        summary["mixture"] = mixture
    if quality:
        summary["quality"] = dict(quality)
    write_json(folder / "summary.json", summary, durable=durable, disk=disk)


def choose_run_dir(run_dir: str | Path | None, name: str, *, shared: bool = False) -> Path:
    """The folder to write into: the one given, or the next free ``runs/<name>-<n>``; not made yet.

    A ``shared`` folder may hold a run already: that of other peers, or one to resume.

    Raises:
        UserError: it holds a run already, or cannot be a folder.
    """
    if run_dir is None:
        return next_free(Path("runs") / name)
    folder = Path(run_dir)
    try:
        taken = not shared and (folder / "experiment.yaml").exists()
        is_file = folder.exists() and not folder.is_dir()
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise UserError(f"--run-dir {str(folder)!r}: cannot be made: {reason}") from None
    if taken:
        raise UserError(f"--run-dir {folder}: it holds a run already; name another or remove it")
    if is_file:
        raise UserError(f"--run-dir {folder}: is a file; name a folder")
    return folder


def make_run_dir(folder: Path) -> Path:
    """Make the folder that :func:`choose_run_dir` chose, when nothing can be refused any more.

    Raises:
        UserError: it cannot be made.
    """
    try:
        make_folders(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass  # better known now than after the first round
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise UserError(f"--run-dir {folder}: cannot be written: {reason}") from None
    return folder


def prepare_run_dir(run_dir: str | Path | None, name: str, *, shared: bool = False) -> Path:
    """Choose the folder to write into, and make it.

    Raises:
        UserError: it holds a run already, or cannot be made.
    """
    return make_run_dir(choose_run_dir(run_dir, name, shared=shared))


def next_free(stem: Path) -> Path:
    """``stem-1``, or the first of those that follow that is not there yet."""
    number = 1
    while (free := stem.with_name(f"{stem.name}-{number}")).exists():
        number += 1
    return free


def latest_run(name: str) -> Path | None:
    """The newest ``runs/<name>-<n>``; None where there is none."""
    numbered = [
        (int(number), path)
        for path in Path("runs").glob(f"{glob.escape(name)}-*")
        if (number := path.name.removeprefix(f"{name}-")).isdecimal()
    ]
    return max(numbered)[1] if numbered else None
