"""YAML as people mean it: numbers are numbers, and what may mean two things is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import algorithms
from peer.experiment import from_mapping, load
from peer.experiment.yaml_file import read_mapping, read_value, write_mapping
from sim.studies.compare import read_comparison
from topology.errors import UserError

KEYS = """\
peers: 3
graph: ring
algorithm: {name: diffusion, rounds: 3}
optimizer: {name: adam, lr: 0.001}
gan: mlp-digits
"""


def read(folder: Path, text: str | bytes) -> dict[str, Any]:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_mapping(path, "x.yaml", "it should be an experiment")


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, text)
    assert str(caught.value).startswith("x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", 1),
        ("a: 1\na: 1\n", 2, "a", 1),
        ("data:\n  path: x\n  size: 3\n  path: y\n", 4, "path", 2),
        ("a: {b: 1, c: {d: 1, d: 2}}\n", 1, "d", 1),
        ("a:\n- {b: 1}\n- b: 1\n  b: 2\n", 4, "b", 3),
        ("keys:\n  0: x\n  '0': y\n", 3, "0", 2),
        ("a: &m {b: 1}\nc:\n  <<: *m\n  d: 1\n  d: 2\n", 5, "d", 4),
    ],
)
def test_a_key_given_twice_is_said_with_both_lines(
    tmp_path: Path, text: str, line: int, key: str, first: int
) -> None:
    assert refusal(tmp_path, text) == (
        f"x.yaml, line {line}: key '{key}' is given twice, first in line {first}; keep one of them"
    )


def test_merging_is_no_giving_twice(tmp_path: Path) -> None:
    text = "a: &m {b: 1, c: 2}\nd: {<<: *m, c: 3}\ne: {<<: [*m, {f: 4}]}\n"
    found = read(tmp_path, text)
    assert found["d"] == {"b": 1, "c": 3}
    assert found["e"] == {"b": 1, "c": 2, "f": 4}


@pytest.mark.parametrize("word", ["yes", "No", "on", "OFF", "true", "~", "null"])
def test_keys_that_yaml_reads_as_something_else(tmp_path: Path, word: str) -> None:
    assert f"YAML reads the key {word!r} as " in refusal(tmp_path, f"a: 1\n{word}: 2\n")
    assert read(tmp_path, f"'{word}': 2\n") == {word: 2}


def test_keys_that_are_no_words(tmp_path: Path) -> None:
    assert "line 1: a key is one word or number" in refusal(tmp_path, "? [a]\n: 1\n")
    assert "line 1: a key is one word or number" in refusal(tmp_path, "{a: 1}: 1\n")


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("-2.5e3", -2500.0), (".5e1", 5.0), ("1.e2", 100.0),
        ("+1e+2", 100.0), ("1.0e-3", 0.001), ("0", 0), ("-0", 0), ("0.5", 0.5), ("0e0", 0.0),
        ("0x1F", 31), ("1_000", 1000), ("10", 10), ("-7", -7), ("1e", "1e"), ("e3", "e3"),
        ("1e-3x", "1e-3x"), ("1.2.3", "1.2.3"), ("2026-01-31", "2026-01-31"), ("'08'", "08"),
        ("'1e-3'", "1e-3"), ("yes", True), ("off", False), ("1,5", "1,5"), ("007.5", 7.5),
    ],
)  # fmt: skip
def test_what_plain_words_are(tmp_path: Path, text: str, value: Any) -> None:
    for found in (read(tmp_path, f"a: {text}\n")["a"], read_value(text)):
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("010", "YAML reads 010 as 8; write 10, or '010' in quotes if it is a word"),
        ("08", "08 begins with 0; write 8, or '08' in quotes if it is a word"),
        ("-017", "YAML reads -017 as -15; write 17"),
        ("00", "YAML reads 00 as 0; write 0"),
        ("1:30", "YAML reads 1:30 as a number to the base of 60"),
        ("12:30:45", "YAML reads 12:30:45 as a number to the base of 60"),
        ("1:30.5", "YAML reads 1:30.5 as a number to the base of 60"),
        (".inf", ".inf is not a finite number"),
        ("-.INF", "-.INF is not a finite number"),
        (".nan", ".nan is not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ("!!python/name:os.system x", "the tag tag:yaml.org,2002:python/name:os.system has no"),
        ("!!set {a}", "the tag tag:yaml.org,2002:set has no place here"),
        ("!!binary aGk=", "the tag tag:yaml.org,2002:binary has no place here"),
        ("!mine x", "the tag !mine has no place here"),
    ],
)
def test_what_means_something_else_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert f"x.yaml, line 2: {words}" in refusal(tmp_path, f"b: 1\na: {text}\n")
    with pytest.raises(UserError) as caught:
        read_value(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("where", ["optimizer.lr", "optimizer.eps", "network.delay"])
def test_an_exponent_is_a_number_everywhere(tmp_path: Path, where: str) -> None:
    part, key = where.split(".")
    for form in ("1e-3", "1E-3", "1.0e-3", "0.001"):
        experiment = from_mapping(read(tmp_path, KEYS), [f"{where}={form}"])
        said = experiment.resolved()[part][key]
        assert said == 0.001
        assert isinstance(said, float)


def test_an_exponent_is_a_number_in_settings_of_gan_and_optimizer(tmp_path: Path) -> None:
    text = KEYS.replace("lr: 0.001", "lr: 1e-3, betas: [5e-1, 9.99e-1]")
    (tmp_path / "x.yaml").write_text(text)
    experiment = load(tmp_path / "x.yaml")
    assert experiment.optimizer.generator.settings == {"lr": 0.001, "betas": [0.5, 0.999]}
    as_text = from_mapping(read(tmp_path, KEYS) | {"optimizer": {"name": "adam", "lr": "1e-3"}})
    assert as_text.optimizer.generator.settings["lr"] == "1e-3"  # and still a number to torch
    wide = from_mapping(read(tmp_path, KEYS) | {"gan": {"name": "mlp-digits", "z": "16"}})
    assert wide.build_gan((1, 8, 8)).z_dim == 16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("peers=yes", "peers: must be a number, not true, which is what YAML makes of yes, no, on"),
        ("algorithm.rounds=on", "algorithm.rounds: must be a number, not true"),
        ("batch=true", "batch: must be a number, not true"),
        ("network.delay=no", "network.delay: must be a number, not false"),
        ("optimizer.lr=yes", "optimizer.lr: must be a number, not True"),
        ("optimizer.lr=fast", "optimizer.lr: must be a number, not 'fast'"),
        ("optimizer.lr=[1]", "optimizer.lr: must be a number, not [1]"),
        ("optimizer.betas=[0.5]", "optimizer.betas: must be 2 values, not [0.5]"),
        ("optimizer.betas=[0.5, no]", "optimizer.betas[1]: must be a number, not False"),
        ("optimizer.amsgrad=3", "optimizer.amsgrad: must be true or false, not 3"),
        ("gan.z=yes", "gan.z: must be a number, not True"),
        ("gan.z=wide", "gan.z: must be a number, not 'wide'"),
        ("gan=yes", "gan"),
        ("graph=on", "graph"),
        ("peers=010", "--set peers=010: '010' is not a YAML value: YAML reads 010 as 8; write 10"),
        ("batch=1:30", "--set batch=1:30: '1:30' is not a YAML value: YAML reads 1:30 as a number"),
        ("data={path: a, path: b}", "key 'path' is given twice, first in line 1"),
        ("graph.edges.0=[0, 1]", "graph"),
    ],
)
def test_numbers_that_are_none(tmp_path: Path, change: str, words: str) -> None:
    def prepare() -> None:
        experiment = from_mapping(read(tmp_path, KEYS), [change])
        algorithms.find(experiment)
        experiment.build_gan((1, 8, 8))

    with pytest.raises(UserError) as caught:
        prepare()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yes_and_no_are_good_answers_to_some_keys(tmp_path: Path) -> None:
    experiment = from_mapping(read(tmp_path, KEYS), ["insecure=yes", "checksum=off"])
    assert experiment.insecure is True
    assert experiment.checksum is False
    assert from_mapping(read(tmp_path, KEYS), ["optimizer.amsgrad=on"]).optimizer


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "x.yaml: is empty; it should be an experiment"),
        (b"# nothing yet\n", "x.yaml: is empty"),
        (b"- 1\n- 2\n", "x.yaml: is a list; it should be an experiment"),
        (b"peers\n", "x.yaml: is one word"),
        ("peers: 3\n".encode("utf-16"), "x.yaml: is written in UTF-16; save it as UTF-8"),
        ("peers: 3\n".encode("utf-16-be"), "line 1: holds a null byte, as binary files and UTF-16"),
        (b"a: 1\nb: caf\xe9\n", "x.yaml, line 2: holds a byte that is no UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "x.yaml, line 1: holds a byte that is no UTF-8"),
        (b"a: 1\0\n", "x.yaml, line 1: holds a null byte"),
        (b"a: \x07\n", "x.yaml: not a YAML file: unacceptable character"),
        (b"a:\n\tb: 1\n", "x.yaml, line 2: not a YAML file: found character '\\t' that cannot"),
        (b"a:\n\tb: 1\n", "indent with spaces, not with tabs"),
        (b"a: 1\n---\nb: 2\n", "x.yaml, line 2: not a YAML file"),
        (b"a: [1, 2\nb: 3\n", "x.yaml, line 2: not a YAML file"),
        (b"a: &a [*a]\n", "line 1: *a is part of itself"),
        (b"a: *b\n", "line 1: not a YAML file: found undefined alias"),
        (b"[" * 100_000, "line 1: more than 64 levels deep"),
        (b"- " * 3000, "line 1: more than 64 levels deep"),
        (b"{a: " * 3000, "line 1: more than 64 levels deep"),
        (
            b"keys: {}\n  0: abc\n",
            "line 2: not a YAML file: expected <block end>, but found '<block mapping start>'; "
            "'keys: {}' is complete and nothing can stand below it: take {} away, so that the line "
            "is 'keys:'",
        ),
        (b"keys: {}   # none\n\n  0: abc\n", "take {} away, so that the line is 'keys:'"),
        (b"faults: []\n  - {peer: 1}\n", "take [] away, so that the line is 'faults:'"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_a_mark_of_byte_order_is_no_letter(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfpeers: 3\n") == {"peers": 3}


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for name, above in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]")
    began = time.monotonic()
    assert "aliases multiply to more than 2,000,000 values" in refusal(tmp_path, "\n".join(lines))
    assert time.monotonic() - began < 5


def test_a_folder_a_missing_file_and_a_path_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; give a file in it$"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"no\.yaml: there is no such experiment file$"):
        load(tmp_path / "no.yaml")
    with pytest.raises(UserError, match="cannot be read: embedded null byte"):
        load(tmp_path / "a\0b")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        load(tmp_path / "file" / "x.yaml")


def test_a_key_line_that_is_not_below_keys(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(KEYS + 'keys:\n0: "abc"\n')
    with pytest.raises(UserError, match=r"x\.yaml: 0 is no key of an experiment; if it is"):
        load(tmp_path / "x.yaml")


def test_other_kinds_of_files_are_told_their_command(tmp_path: Path) -> None:
    comparison = tmp_path / "compare.yaml"
    comparison.write_text("workers: 3\nsystems:\n  a: {algorithm: {name: local, rounds: 1}}\n")
    with pytest.raises(UserError) as caught:
        load(comparison)
    assert str(caught.value).endswith(f"run it with: sim compare {comparison}")
    experiment = tmp_path / "ring.yaml"
    experiment.write_text(KEYS)
    with pytest.raises(UserError) as caught:
        read_comparison([experiment])
    assert str(caught.value).endswith(f"run it with: sim run {experiment}")
    assert len(read_comparison([experiment], seeds=[0, 1]).experiments) == 2
    with pytest.raises(UserError, match="another file is called ring, too; systems go by"):
        read_comparison([experiment, experiment])
    profile = tmp_path / "pi.yaml"
    profile.write_text("seconds: {discriminator: 1, generator: 1}\n")
    with pytest.raises(UserError, match="is a profile of `peer profile`; name it under 'devices:'"):
        load(profile)


# --- writing --------------------------------------------------------------------------------------

TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "08",
        "010",
        "1e-3",
        "1:30",
        "yes",
        "null",
        "~",
        "2026-01-01",
        "",
        " x ",
        "1_0",
        "- a",
        "=",
        "<<",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory: Any, keys: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("written") / "x.yaml"
    path.write_text(write_mapping(keys), encoding="utf-8")
    assert read_mapping(path, "x.yaml", "") == keys


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_file_without_an_end() -> None:
    with pytest.raises(UserError, match=r"/dev/zero: is larger than 64 MiB"):
        load("/dev/zero")
