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
from peer.experiment.addresses import where_to_listen
from peer.net.endpoint import Endpoint, Isolated
from peer.net.failure_detector import Timing
from peer.net.io_thread import IoThread, Status
from peer.net.keys import curve_secret, keys_folder, public_key
from peer.net.link import Link
from peer.net.session import Identity
from peer.net.sockets import Security, Sockets
from peer.net.zmq_driver import Stopped, ZmqDriver
from peer.peer import Peer
from peer.program import Program
from peer.state import PeerState, make_state
from peer.state.checkpoint import load_state, save_state
from peer.state.count_sketch import encode
from peer.state.recorder import Recorder, sketcher, write_experiment, write_peer
from topology.errors import Isolation, UserError

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
        self.problem: UserError | None = None  # why it stopped, if nobody asked it to
        self.io = self._io_thread(options)
        if options.watch_parent:
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()

    @property
    def status(self) -> Status:
        """What the live table shows."""
        return self.io.status

    def _io_thread(self, options: Options) -> IoThread:
        experiment, state = self.experiment, self.state
        neighbours = self.neighbours
        security = security_of(experiment, state.peer, keys_folder(options.keys))
        addresses = {k: experiment.address(k) for k in neighbours}
        listen = experiment.listening_address(state.peer)
        if experiment.listen is None:
            listen, note = where_to_listen(listen)
            if note:
                self.log(note)
        sockets = Sockets(listen, addresses, security)
        try:
            sockets.prove_that_strangers_are_refused()
        except UserError:
            sockets.close(0)
            raise
        me = identify(experiment, state, self._source)
        sizes = {name: 4 * net.arena.layout.length for name, net in state.nets.items()}
        timing = Timing.within(experiment.start_timeout, experiment.deadline)
        checksum = experiment.checksum and security is None
        now = time.monotonic()
        coding = None
        if experiment.codec is not None:
            layouts = {name: net.arena.layout for name, net in state.nets.items()}
            coding = Coding(experiment.compression.name, experiment.codec, layouts)
        links = {k: Link(me, k, sizes, timing, checksum, now, coding) for k in neighbours}
        isolation = None if experiment.alone else experiment.isolation or 10 * experiment.deadline
        endpoint = Endpoint(links, addresses, now, isolation)
        return IoThread(sockets, endpoint, self.log, self._isolated)

    def _isolated(self, isolated: Isolated, reasons: dict[int, str]) -> None:
        """No neighbour is reached: what the peer ends with, instead of success."""
        why = "; ".join(
            f"peer {k} at {self.experiment.address(k)}: {reason}" for k, reason in reasons.items()
        )
        problem = Isolation(
            f"no neighbour {'was' if isolated.never else 'has been'} reached in "
            f"{isolated.seconds:g} s ({why}); to train without them, say alone: true"
        )
        if isolated.never:
            self.io.results.put(problem)  # instead of the first exchange
        else:
            self.problem = problem
            self.stop.set()  # at the end of the round, which does not wait for anybody

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

            driver = ZmqDriver(self.peer, self.io, report, self.stop)
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
        if self.problem is not None and not completed:
            raise self.problem
        return completed

    def _watch_parent(self) -> None:
        """Stop the peer when the process that started it is gone: standard input ends."""
        while os.read(0, 1024):
            pass
        self.stop.set()

    def obey_signals(self) -> None:
        """Stop the peer on Ctrl-C or SIGTERM: at the end of its round, at a second one at once."""

        def stop(number: int, frame: object) -> None:
            if self.stop.is_set():
                os._exit(128 + number)
            self.log("stopping at the end of this round (again: at once)")
            self.stop.set()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)


def identify(experiment: Experiment, state: PeerState, source: str) -> Identity:
    """What a peer says of itself: a session of its own, and all that neighbours must agree on."""
    return Identity(
        state.peer,
        secrets.randbits(64),
        experiment.fingerprint() | {"images": source},
        {f"model:{role}": layout.signature() for role, layout in state.gan.layouts.items()},
    )


def security_of(experiment: Experiment, peer: int, keys: Path) -> Security | None:
    """The keys of a peer's links; None for plain text.

    Raises:
        UserError: keys are needed and missing, or do not fit.
    """
    secret = curve_secret(experiment, peer, keys)
    if secret is None:
        return None
    neighbours = experiment.graph_of_peers.neighbors(peer)
    allowed = {k: experiment.keys[k].encode() for k in neighbours}
    return Security(secret, public_key(secret).encode(), allowed)


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
