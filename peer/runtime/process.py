"""One real peer as a process: its data, nets, sockets, driver and records put together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from peer.data.agreement import Agreed, Agreement, tell_agreed
from peer.effects import Report
from peer.experiment import Experiment
from peer.experiment.addresses import where_to_listen
from peer.experiment.traits import traits
from peer.loggers import Loggers, Pictures, check_loggers, open_loggers
from peer.net.away.patience import Patience
from peer.net.endpoint import Endpoint
from peer.net.io_thread import IoThread
from peer.net.keys import keys_folder
from peer.net.link import Link
from peer.net.members.newcomers import (
    as_listed,
    check_newcomer,
    contacts_of,
    listed_contacts,
    read_admitted,
)
from peer.net.members.roster import forgotten
from peer.net.members.taking_part import known_members
from peer.net.recorded.io import with_journal
from peer.net.sockets import Sockets
from peer.net.status.shown import Shown
from peer.net.waiting.isolation import Isolated
from peer.net.zmq_driver import Stopped, ZmqDriver
from peer.peer import Peer
from peer.program import Program
from peer.quality.quality_log import QualityLog
from peer.runtime.course import Course
from peer.runtime.identity import identify, security_of
from peer.runtime.links import make_links
from peer.runtime.loading import load_peer
from peer.runtime.options import Ending, Options
from peer.runtime.saver import Saver
from peer.runtime.signals import Stop
from peer.state.checkpoint import content_of, load_state, recalled
from peer.state.count_sketch import encode
from peer.state.flight.frames import FrameFile
from peer.state.flight.recorder import FlightRecorder, flight_path
from peer.state.journal.journal import open_journal
from peer.state.json_lines import cut_back
from peer.state.recorder import Recorder, shard_digest, sketcher, write_experiment, write_peer
from peer.telling.overview import overview
from peer.telling.teller import Teller
from topology.errors import Isolation, UserError
from topology.membership import FAR

Log = Callable[[str], None]


class PeerProcess:
    """Peer ``peer`` of an experiment, on this machine.

    Args:
        experiment: the same at every peer.
        peer: which one this is.
        program: what it runs.
        run_dir: its own folder, ``peer-<id>``, is made there; a checkpoint in it is gone on from.
        log: gets one line for everything worth telling, from any thread; it must not raise.
        options: how it is to run.
        stop: asks it to stop.

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
        stop: Stop | None = None,
    ) -> None:
        check_newcomer(experiment, program, peer, options.join, options.links)
        self.experiment = experiment
        self.program = program
        self.run_dir = run_dir
        self.folder = run_dir / f"peer-{peer}"
        self.log = log
        own = as_listed(experiment, peer)
        self.state, self._source = load_peer(own, peer, program)
        self._traits = traits(experiment, shard_digest(self.state))
        self._totals: dict[str, Any] = {"seconds": 0.0, "bytes_in": 0, "bytes_out": 0}
        self._records: dict[str, Any] = {"missed": {}, "participants": []}
        self._source_session: int | None = None  # of the process whose checkpoint is gone on from
        self.flight = FlightRecorder()
        is_resumed = self._resume(options)
        check_loggers(experiment)
        self.quality: QualityLog | None = None
        if experiment.metrics.quality_every:
            path = self.folder / "quality.jsonl"
            self.quality = QualityLog(experiment, program, path, time.monotonic, log)
        self.state.recall = lambda: recalled(self.folder, self.flight.recalled)
        self.peer = Peer(self.state, experiment.schedule, experiment.weights)
        self.admitted = read_admitted(self.folder)
        more = options.links, self.admitted, options.address
        self._contacts = contacts_of(experiment, peer, *more)
        self.neighbours = sorted(self._contacts.keys() - {peer})
        takes_part = self.peer.round > 0 and known_members(self.state).departure(peer, FAR) is None
        self._join = options.links if options.join and not takes_part else None
        self.stop = stop or Stop()
        self._acknowledge = options.acknowledge
        is_exact, is_anew = experiment.durability == "exact", options.resume_at is not None
        self.journal = open_journal(self.folder, self.state.round, is_exact, is_anew)
        self.isolation: Isolation | None = None  # why it stopped, if nobody was there any more
        self.course = Course(self.stop.asked, self.state.round)
        self.saver = Saver(self.state, self.folder, self._traits, log, journal=self.journal)
        self.finished = threading.Event()
        self.io = self._io_thread(options, is_resumed)
        told = self.io, time.monotonic, options.tells_pictures, self.saver.newest
        self.teller = Teller(self.state, experiment.seed, *told)
        self.status.round = self.state.round

    def _resume(self, options: Options) -> bool:
        """Go on from what is in the peer's folder; returns whether there is anything."""
        checkpoint = load_state(
            self.state,
            self.folder,
            self._traits,
            at=options.resume_at,
            anyway=options.resume_anyway,
            tell=self.log,
        )
        if checkpoint is None and options.resume:
            at = "" if options.resume_at is None else f" of round {options.resume_at}"
            raise UserError(
                f"--resume: there is no checkpoint{at} in {self.folder}; leave --resume out to "
                "begin, or name the run's --run-dir"
            )
        if checkpoint is not None:
            self.log(f"resumed after round {self.state.round}, from {checkpoint.path}")
            totals = checkpoint.totals
            self._source_session = totals.get("session")
            self._totals = {name: totals[name] for name in self._totals}
            self._records = {name: totals[name] for name in self._records} | {
                "skipped": totals.get("skipped", {})
            }
        if self.state.round >= self.program.rounds:
            self.log(
                f"it has all its {self.program.rounds} rounds already; for more, say --set "
                "algorithm.rounds=..."
            )
        try:
            for name in ("metrics.jsonl", "quality.jsonl"):
                cut_back(self.folder / name, self.state.round)
        except OSError as problem:
            raise UserError(f"{self.folder}: cannot be written: {problem.strerror}") from None
        return checkpoint is not None

    @property
    def status(self) -> Shown:
        """What the live table shows."""
        return self.io.status

    def overview(self) -> dict[str, Any]:
        """What this peer knows of all."""
        return overview(self.io.flood, self.program.rounds, time.monotonic())

    def _io_thread(self, options: Options, is_resumed: bool) -> IoThread:
        experiment, state = self.experiment, self.state
        neighbours = self.neighbours
        here = state.peer if options.host is None else options.host
        contacts = {k: of for k, of in self._contacts.items() if k != state.peer}
        contacts[here] = self._contacts[state.peer]
        if options.host is not None:
            contacts |= listed_contacts(experiment, [here])
        security = security_of(experiment, here, keys_folder(options.keys), contacts)
        addresses = {k: contacts[k].address for k in neighbours}
        listen = experiment.listening_address(here, contacts[here].address)
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
        now = time.monotonic()
        workers = self.program.workers(experiment.peers)
        workers += [state.peer] if state.peer >= experiment.peers else []
        agreed = state.class_names if is_resumed else None
        me = identify(experiment, state, self._source, workers, agreed, now)
        self.session = me.session
        self._agreement = self._open_agreement(me.data) if options.agrees_on_classes else None
        checksum = experiment.checksum and security is None
        links_to = partial(
            make_links, experiment, state, me, checksum=checksum, journal=self.journal
        )
        links = links_to(neighbours, now=now)
        self.link_to: Callable[[int], Link] = lambda k: links_to([k], now=time.monotonic())[k]
        if experiment.backups and self.program.server in links:
            links[self.program.server].empty_seat()
        longest = experiment.longest_deadline
        isolation = None if experiment.alone else experiment.isolation or 10 * longest
        patience = Patience(neighbours, now) if experiment.deadline_adapts else None
        members = known_members(state)
        endpoint = Endpoint(
            links, addresses, now, isolation, patience, experiment.graph_of_peers, members
        )
        return IoThread(sockets, endpoint, self.log, self._isolated)

    def _open_agreement(self, agreement: Agreement | None) -> Agreement | None:
        """What is to be waited for before the program starts; None where classes are known."""
        if agreement is None or agreement.classes is None:
            return agreement
        self.state.take_classes(agreement.classes)
        return None

    def _take_classes(self, agreed: Agreed) -> None:
        """All peers, or those that are there, have agreed on a list: number our classes by it."""
        own = self.state.class_names
        self.state.take_classes(agreed.classes)
        self.flight.agreed(agreed.classes)
        has_data = self.state.shard is not None  # a server has none
        waited = self.experiment.start_timeout
        tell_agreed(agreed, own if has_data else None, waited, self.log)

    def _isolated(self, isolated: Isolated, reasons: dict[int, str]) -> None:
        """No neighbour is reached: what the peer ends with, instead of success."""
        why = "; ".join(
            f"peer {k} at {self.io.endpoint.addresses[k]}: {reason}"
            for k, reason in reasons.items()
        )
        problem = Isolation(
            f"no neighbour {'was' if isolated.never else 'has been'} reached in "
            f"{isolated.seconds:g} s ({why}); to train without them, say alone: true"
        )
        if isolated.never:
            self.io.results.put(problem)  # instead of the first exchange
        else:
            self.isolation = problem
            self.stop.ask("no neighbour is there any more")

    def run(self) -> Ending:
        """Run to the end, or until asked to stop.

        Raises:
            UserError: a neighbour runs another experiment, or nothing can be written.
            Isolation: no neighbour is reached; what was learned with them is saved.
        """
        experiment, state = self.experiment, self.state
        every, last = experiment.metrics.every, self.program.rounds
        try:
            write_experiment(experiment, self.run_dir)
            recorder = Recorder(self.folder / "metrics.jsonl", every, last, self.log)
            flown = FrameFile(flight_path(self.folder), self.log)
            if self.journal is not None:
                self.journal.begin(self.session)
        except OSError as problem:
            raise UserError(f"{self.run_dir}: cannot be written: {problem.strerror}") from None
        recorder.go_on_from(state.peer, self._records)
        self.flight = FlightRecorder.of_file(flown)
        self.flight.started(experiment, state, self.session, self._source_session)
        loggers = open_loggers(experiment, self.run_dir, tell=self.log)
        pictures = Pictures(experiment, last, self.run_dir, loggers, self.log)
        began = time.monotonic()
        before = dict(self._totals)
        sketches = sketcher(experiment, state) if experiment.metrics.sketch else {}

        def count() -> None:
            self._totals["seconds"] = before["seconds"] + time.monotonic() - began
            self._totals["bytes_in"] = before["bytes_in"] + self.status.bytes_in
            self._totals["bytes_out"] = before["bytes_out"] + self.status.bytes_out

        def report(effect: Report) -> bool:
            wanted = recorder.wants(effect.round)
            count()
            recorder.write(
                state.peer,
                effect.round,
                effect.measures,
                seconds=self._totals["seconds"],
                bytes_in=self._totals["bytes_in"],
                bytes_out=self._totals["bytes_out"],
                sketches={
                    name: encode(sketch(state.nets[name].arena.parameters))
                    for name, sketch in (sketches.items() if wanted else ())
                },
            )
            if wanted:
                loggers.record(state.peer, effect.round, effect.measures, **self._totals)
            self._score(effect.round, loggers)
            pictures.keep(state, effect.round)
            self.status.round = effect.round
            self.status.losses = dict(effect.measures["losses"])
            self.teller.completed(effect.round, effect.measures, self._totals["seconds"], sketches)
            if self.saver.is_telling_again:
                return True  # of these rounds, the process before has saved what was due
            is_there = self.peer.schedule.takes_part(state.peer, effect.round)
            goes_on = self.course.goes_on(effect.round) and is_there
            due = experiment.checkpoint and effect.round % experiment.checkpoint == 0
            if due or not goes_on or effect.round >= last or self.saver.is_due:
                save()
            if self._acknowledge is not None:
                content = content_of(state, self._traits, self._all_totals(recorder))
                self._acknowledge(effect.round, content)
            return goes_on or not is_there  # its program ends by itself

        def save() -> None:
            recorder.sync()  # records of rounds that are not made again
            if self.quality is not None:
                self.quality.sync()
            totals = self._totals | recorder.totals(state.peer)
            self.saver.save(totals | {"session": self.session})
            self.teller.saved(self.saver.newest)

        def agreed(classes: Agreed) -> None:
            self._take_classes(classes)
            if self.saver.has_to_begin:
                save()

        quality = self.quality or contextlib.nullcontext()
        journal = contextlib.closing(self.journal) if self.journal else contextlib.nullcontext()
        with recorder, contextlib.closing(flown), journal, loggers, quality:
            agree = None if self._agreement is None else agreed
            if agree is None and self.saver.has_to_begin:
                save()
            io, clock = with_journal(self.io, self.journal, state, time.monotonic)
            driver = ZmqDriver(
                self.peer,
                io,
                report,
                self.stop.asked,
                agree,
                experiment.catch_up,
                self.flight,
                clock,
                self.journal,
            )
            try:
                patience = experiment.longest_deadline
                completed = driver.run(self.program, experiment.threads, patience, self._join)
            except Stopped:
                # the round at hand is given up: what is on the disk is where this process began
                if self.isolation is not None:
                    raise self.isolation from None
                return Ending(False, driver.began, self.saver.newest)
            count()
            unwritten = self._leave_what_it_made(recorder)
        self.finished.set()
        gone = driver.taking_part.departure() if state.round < last else None
        if gone is not None and gone.kind == "forget":
            self.isolation, completed = forgotten(gone), False
        if self.isolation is not None and not completed:
            raise self.isolation
        lost = self.saver.problem or unwritten
        return Ending(completed, state.round, self.saver.newest, lost, gone is not None)

    def _all_totals(self, recorder: Recorder) -> dict[str, Any]:
        """What a checkpoint says of this run, beside the state."""
        return self._totals | recorder.totals(self.state.peer) | {"session": self.session}

    def _score(self, round: int, loggers: Loggers) -> None:
        """Score what was learned, if it is time to, and show it."""
        if self.quality is None:
            return
        seconds, sent = self._totals["seconds"], int(self._totals["bytes_out"])
        wall = seconds - self.quality.judging
        score = self.quality.write(self.state, round, seconds=seconds, wall=wall, bytes_out=sent)
        if score is not None:
            self.status.score = score.as_record()
            loggers.scalars("quality", score.scalars(), round, self.state.peer)

    def _leave_what_it_made(self, recorder: Recorder) -> str:
        """Write the generator and the summary; returns what is in the way, if anything is."""
        state = self.state
        try:
            write_peer(
                state,
                self.folder,
                seconds=self._totals["seconds"],
                bytes_in=int(self._totals["bytes_in"]),
                bytes_out=int(self._totals["bytes_out"]),
                missing=recorder.missed(state.peer),
                product=self.program.makes_product(state.peer, self.experiment.peers),
                quality=self.quality.summary_of(state.peer) if self.quality else None,
            )
        except OSError as problem:
            return problem.strerror or str(problem)
        return ""
