"""One real peer as a process: its data, nets, sockets, driver and records put together."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peer.compute.compressed_combine import Coding
from peer.data import load_source, partition
from peer.effects import Report
from peer.experiment import Experiment
from peer.net.io_thread import Network, Status
from peer.net.keys import curve_secret, keys_folder, public_key
from peer.net.link import Link
from peer.net.session import Identity, Timing
from peer.net.sockets import Security, Sockets
from peer.net.zmq_driver import Stopped, ZmqDriver
from peer.peer import Peer
from peer.program import Program
from peer.state import PeerState, make_state
from peer.state.checkpoint import load_state, save_state
from peer.state.count_sketch import encode
from peer.state.recorder import Recorder, sketcher, write_experiment, write_peer
from topology.errors import UserError

Log = Callable[[str], None]


@dataclass
class Options:
    """How one process runs, beside what the experiment says.

    Attributes:
        keys: the folder of secret keys; the default one if None.
        resume: whether to go on from the newest checkpoint.
        watch_parent: whether to stop when standard input ends, as it does when ``peer up`` dies.
    """

    keys: Path | None = None
    resume: bool = False
    watch_parent: bool = False


class PeerProcess:
    """Peer ``peer`` of an experiment, on this machine.

    Args:
        experiment: the same at every peer.
        peer: which one this is.
        program: what it runs.
        run_dir: its own folder, ``peer-<id>``, is made there.
        log: is called with each line for the user.
        options: how the process runs.

    Raises:
        UserError: the experiment cannot run here (id, data, keys, address in use...).
    """

    def __init__(
        self,
        experiment: Experiment,
        peer: int,
        program: Program,
        run_dir: Path,
        log: Log,
        options: Options,
    ) -> None:
        if not 0 <= peer < experiment.peers:
            raise UserError(
                f"--id {peer}: the experiment has peers 0 to {experiment.peers - 1}; choose one"
            )
        self.experiment = experiment
        self.program = program
        self.run_dir = run_dir
        self.folder = run_dir / f"peer-{peer}"
        self.log = log
        self.state, self._source = load_peer(experiment, peer, program)
        if options.resume and load_state(self.state, self.folder):
            log(f"resumed after round {self.state.round}")
        self.peer = Peer(self.state, experiment.schedule, experiment.weights)
        self.neighbours = sorted(experiment.graph_of_peers.neighbors(peer))
        self.stop = threading.Event()
        self.finished = threading.Event()
        self.network = self._network(options)

    @property
    def status(self) -> Status:
        """What the live table shows."""
        return self.network.status

    def _network(self, options: Options) -> Network:
        experiment, state = self.experiment, self.state
        secret = curve_secret(experiment, state.peer, keys_folder(options.keys))
        neighbours = self.neighbours
        security = None
        if secret is not None:
            allowed = {k: experiment.keys[k].encode() for k in neighbours}
            security = Security(secret, public_key(secret).encode(), allowed)
        addresses = {k: experiment.address(k) for k in neighbours}
        sockets = Sockets(experiment.listening_address(state.peer), addresses, security)
        try:
            sockets.prove_that_strangers_are_refused()
        except UserError:
            sockets.close(0)
            raise
        me = Identity(
            state.peer,
            secrets.randbits(64),
            experiment.fingerprint() | {"images": self._source},
            {f"model:{role}": layout.signature() for role, layout in state.gan.layouts.items()},
        )
        sizes = {name: 4 * net.arena.layout.length for name, net in state.nets.items()}
        timing = Timing.within(experiment.start_timeout, experiment.deadline)
        checksum = experiment.checksum and security is None
        now = time.monotonic()
        coding = None
        if experiment.codec is not None:
            layouts = {name: net.arena.layout for name, net in state.nets.items()}
            coding = Coding(experiment.compression.name, experiment.codec, layouts)
        links = {k: Link(me, k, sizes, timing, checksum, now, coding) for k in neighbours}
        return Network(sockets, links, self.log, options.watch_parent)

    def run(self) -> bool:
        """Run to the end.

        Returns:
            False where the user stopped it before.

        Raises:
            UserError: a neighbour runs another experiment.
        """
        experiment, state = self.experiment, self.state
        write_experiment(experiment, self.run_dir)
        began = time.monotonic()
        sketches = sketcher(experiment, state) if experiment.metrics.sketch else {}
        every, last = experiment.metrics.every, self.program.rounds
        with Recorder(self.folder / "metrics.jsonl", every, last) as recorder:

            def report(effect: Report) -> None:
                wanted = recorder.wants(effect.round)
                recorder.write(
                    state.peer,
                    effect.round,
                    effect.measures,
                    seconds=time.monotonic() - began,
                    bytes_in=self.status.bytes_in,
                    bytes_out=self.status.bytes_out,
                    sketches={
                        name: encode(sketch(state.nets[name].arena.vector))
                        for name, sketch in (sketches.items() if wanted else ())
                    },
                )
                self.status.round = effect.round
                self.status.losses = dict(effect.measures["losses"])
                if experiment.checkpoint and effect.round % experiment.checkpoint == 0:
                    save_state(state, self.folder)

            driver = ZmqDriver(self.peer, self.network, report, self.stop)
            try:
                completed = driver.run(self.program, experiment.threads, experiment.deadline)
            except Stopped:
                return False
            if completed or experiment.checkpoint:
                save_state(state, self.folder)
            write_peer(
                state,
                self.folder,
                seconds=time.monotonic() - began,
                bytes_in=self.status.bytes_in,
                bytes_out=self.status.bytes_out,
                missing=recorder.missed(state.peer),
                product=self.program.makes_product(state.peer, experiment.peers),
            )
        self.finished.set()
        return completed

    def obey_signals(self) -> None:
        """Stop the peer on Ctrl-C or SIGTERM: at the end of its round, at a second one at once."""

        def stop(number: int, frame: object) -> None:
            if self.stop.is_set():
                os._exit(128 + number)
            self.log("stopping at the end of this round (again: at once)")
            self.stop.set()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)


def load_peer(experiment: Experiment, peer: int, program: Program) -> tuple[PeerState, str]:
    """Peer ``peer`` at round 0 with its own part of the data.

    Returns:
        Its state, and a digest of the images that all peers must share; "own" where each has its
        own.

    Raises:
        UserError: the data are not there, or leave a peer without samples.
    """
    workers = program.workers(experiment.peers)
    reader = peer if peer in workers else workers[0]
    images = load_source(experiment.data, reader, experiment.folder)
    indices = None
    if peer in workers:
        parts = partition(experiment.data, images, len(workers), experiment.seed)
        indices = parts[workers.index(peer)]
    own = experiment.data.partition.name == "own"
    source = "own" if own else hashlib.blake2b(images.pixels.tobytes(), digest_size=8).hexdigest()
    state = make_state(experiment, peer, images, indices, names=program.nets(peer))
    return state, source
