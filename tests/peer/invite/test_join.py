"""What a newcomer believes of its inviter: the code's own experiment, and nothing endless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peer.experiment import Experiment, from_mapping, load
from peer.invite import join
from peer.invite.code import Code, digest_of
from peer.invite.join import Newcomer, own_address, read_text, write_down
from peer.invite.portable import portable
from peer.net.keys import pair_of
from peer.net.members.newcomers import Contact, read_admitted
from topology.errors import UserError

KEYS = {k: pair_of(bytes([k] * 16))[0].decode() for k in range(4)}
COMMON: dict[str, Any] = {
    "peers": 4, "graph": "ring", "algorithm": {"name": "diffusion", "rounds": 3},
    "optimizer": "adam", "gan": "mlp-digits", "keys": KEYS,
}  # fmt: skip


def experiment(folder: Path, **keys: Any) -> Experiment:
    return from_mapping(COMMON | keys, folder=folder)


def code_of(text: str, address: str = "tcp://127.0.0.1:47100") -> Code:
    return Code(0, 4, 1_800_000_000, digest_of(text), bytes(32), bytes(16), address)


class Inviter:
    """Answers in place of a peer."""

    def __init__(self, *answers: tuple[str, tuple[Any, ...]]) -> None:
        self.answers = list(answers)

    def ask(self, kind: str, *words: Any, seconds: float) -> tuple[str, tuple[Any, ...]]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def __exit__(self, *problem: object) -> None:
        return


def newcomer(monkeypatch: pytest.MonkeyPatch, code: Code, inviter: Inviter) -> Newcomer:
    monkeypatch.setattr(join, "Asking", lambda *words: inviter)
    return Newcomer(code, "key")


def test_the_experiment_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "peers: 4\n" * 300
    parts = [("part", (len(text), text[i : i + 1500].encode())) for i in range(0, len(text), 1500)]
    with newcomer(monkeypatch, code_of(text), Inviter(*parts)) as comes:
        assert comes.fetch() == text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("part", (5, b"other")), "sends another experiment than the code was made for"),
        (("part", (5, b"\xff\xfe\xff\xfe\xff")), "sends another experiment than"),
        (("part", (5, b"")), "sends no experiment that a code leads to"),
        (("part", (2**31, b"0123456789")), "sends no experiment that a code leads to"),
        (("no", ("the code has ended",)), "peer 0 at tcp://127.0.0.1:47100: the code has ended"),
        (("yes", ()), "it answers oddly"),
    ],
)
def test_what_is_not_the_codes_experiment_is_refused(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[str, tuple[Any, ...]], words: str
) -> None:
    with (
        newcomer(monkeypatch, code_of("right"), Inviter(answer)) as comes,
        pytest.raises(UserError) as told,
    ):
        comes.fetch()
    assert words in str(told.value)


def test_another_machine_reads_the_same_experiment(tmp_path: Path) -> None:
    """Links and weights in files are written out; what all agree on has the same digests."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "links").write_text("0 1\n1 2\n2 3\n0 3\n0 2\n")
    (here / "weights").write_text("0.5 .25 0 .25\n.25 .5 .25 0\n0 .25 .5 .25\n.25 0 .25 .5\n")
    of_files = {"graph": {"file": "links"}}, {"weights": {"file": "weights"}}
    for keys in ({}, *of_files, {"optimizer": {"generator": "adam", "discriminator": "sgd"}}):
        mine = experiment(here, device="cpu", base=None, **keys)
        changed = {2: pair_of(b"another key 2 ..")[0].decode()}
        text = portable(mine, changed)
        theirs = read_text(text, there, [])
        assert theirs.fingerprint() == mine.fingerprint()
        assert theirs.keys == {**KEYS, **changed}
        assert str(here) not in text
        assert portable(mine, changed) == text


def test_a_graph_of_files_in_a_cycle_cannot_be_carried(tmp_path: Path) -> None:
    (tmp_path / "links").write_text("0 1\n1 2\n2 3\n")
    mine = experiment(tmp_path, graph={"cycle": ["ring", {"file": "links"}]})
    with pytest.raises(UserError, match="graph: names a file in a cycle"):
        portable(mine, {})


def test_what_is_written_down_is_read_again(tmp_path: Path) -> None:
    text = portable(experiment(tmp_path), {})
    run = tmp_path / "run"
    run.mkdir()
    links = {0: Contact("tcp://h:1", KEYS[0]), 4: Contact("tcp://h:5", KEYS[1])}
    path = write_down(text, tmp_path / "data", run, 5, links, 4)
    found = load(path)
    assert found.fingerprint() == experiment(tmp_path).fingerprint()
    assert found.folder == tmp_path / "data"
    assert read_admitted(run / "peer-5") == {4: links[4]}  # the file says where the others are


@pytest.mark.parametrize(
    ("addresses", "inviter", "where"),
    [
        ("tcp://127.0.0.1:{port}", "tcp://127.0.0.1:47100", "tcp://127.0.0.1:47104"),
        ("tcp://pi-{id}.local:{port}", "tcp://127.0.0.1:47100", "tcp://pi-4.local:47104"),
        ("tcp://127.0.0.1:{port}", "tcp://localhost:47100", "tcp://127.0.0.1:47104"),
    ],
)
def test_where_a_newcomer_is(tmp_path: Path, addresses: str, inviter: str, where: str) -> None:
    of = experiment(tmp_path, addresses=addresses)
    assert own_address(of, code_of("", inviter)) in (where, where.replace("127.0.0.1", "[::1]"))
