"""Files of every kind that is read, damaged at random: a value comes of each, or one line.

A hundred of each kind belong to every run of the tests, the thousands to ``pytest -m slow``. Case n
of a kind is the same on every machine: what fails can be looked at by its number.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import resource
import struct
import tempfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import zmq
from PIL import Image
from safetensors.torch import save

import algorithms
from peer.data import DataSpec, load_source
from peer.experiment import from_mapping, load
from peer.experiment.profiles import read_profile
from peer.gan.build import make_gan
from peer.net.keys import public_key, read_secret
from peer.quality.samples import load_generators
from peer.runtime.loading import load_peer
from peer.state.checkpoint import load_state, save_state
from topology import build_graph, build_schedule, check_weights
from topology.errors import InputNote, UserError

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 100, 480
"""Cases of each kind: in every run, and more where there is time."""

SECONDS, BYTES = 10.0, 1 << 30

Read = Callable[[Path], Any]
Make = Callable[[np.random.Generator], bytes]


# --- files that are right -------------------------------------------------------------------------


def picture(rng: np.random.Generator) -> bytes:
    """One of thirty ways to store a small picture."""
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("PNG", "L", {}), ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "LA", {}),
        ("PNG", "P", {}), ("PNG", "1", {}), ("PNG", "I;16", {}), ("PNG", "P", {"transparency": 3}),
        ("JPEG", "L", {}), ("JPEG", "RGB", {"exif": True}), ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}), ("GIF", "P", {"several": True}), ("GIF", "L", {}),
        ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("BMP", "RGB", {}),
        ("BMP", "P", {}), ("PPM", "L", {}), ("PPM", "RGB", {}), ("PPM", "I;16", {}),
        ("TIFF", "L", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "F", {}),
        ("TIFF", "I;16", {}), ("TIFF", "I", {}), ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "RGB", {"several": True}), ("TIFF", "LAB", {}), ("TIFF", "CMYK", {}),
    ]  # fmt: skip
    form, mode, keys = kinds[int(rng.integers(len(kinds)))]
    image = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (9, 11), dtype=np.uint16))
    elif mode == "LAB":
        image = Image.frombytes("LAB", (11, 9), rng.bytes(297))
    else:
        image = (
            image.convert("L").convert(mode)
            if mode in ("F", "I", "1", "LA")
            else image.convert(mode)
        )
    keys = dict(keys)
    if keys.pop("several", False):
        keys |= {"save_all": True, "append_images": [image.copy()]}
    if keys.pop("exif", False):
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        keys["exif"] = exif
    out = io.BytesIO()
    image.save(out, format=form, **keys)
    return out.getvalue()


def idx(rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 256, (12, 5, 4), dtype=np.uint8)
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", *pixels.shape) + pixels.tobytes()
    return gzip.compress(content, mtime=0) if rng.random() < 0.5 else content


def cifar(rng: np.random.Generator) -> bytes:
    records = rng.integers(0, 256, (3, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    return records.tobytes()


def npz(rng: np.random.Generator) -> bytes:
    shape = [(6, 5, 4), (6, 1, 5, 4), (6, 3, 5, 5)][int(rng.integers(3))]
    pixels: np.ndarray = rng.integers(0, 256, shape, dtype=np.uint8)
    if rng.random() < 0.3:
        pixels = (rng.random(shape) * 2 - 1).astype(np.float32)
    out = io.BytesIO()
    write = np.savez_compressed if rng.random() < 0.5 else np.savez
    write(out, images=pixels, labels=rng.integers(0, 4, 6))
    return out.getvalue()


GAN = make_gan("mlp-digits", {}, (1, 8, 8), seed=0)


def generator(rng: np.random.Generator) -> bytes:
    tensors = {name: value.contiguous() for name, value in GAN.generator.state_dict().items()}
    return save(tensors)


EXPERIMENT = from_mapping(
    {
        "peers": 2,
        "graph": "path",
        "algorithm": {"name": "diffusion", "rounds": 2},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "gan": "mlp-digits",
        "data": {"source": "digits", "partition": "iid"},
    }
)
PROGRAM = algorithms.find(EXPERIMENT)
STATE = load_peer(EXPERIMENT, 0, PROGRAM)[0]


def checkpoint(rng: np.random.Generator) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return save_state(STATE, Path(folder), {}, {"seconds": 1.0}, durable=False).read_bytes()


def key(rng: np.random.Generator) -> bytes:
    return zmq.curve_keypair()[1] + b"\n"


def experiment(rng: np.random.Generator) -> bytes:
    files = sorted([*ROOT.glob("examples/*.yaml"), *ROOT.glob("examples/papers/*.yaml")])
    return files[int(rng.integers(len(files)))].read_bytes()


def profile(rng: np.random.Generator) -> bytes:
    return (
        b"of: {model: a board}\nseconds:\n  discriminator: {fixed: 0.5, per_image: 1e-3}\n"
        b"  generator: 0.25\nlink: {delay: 0.001, bandwidth: 94.1}\n"
    )


GRAPH = nx.random_regular_graph(3, 8, seed=1)


def graphml(rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    nx.write_graphml(nx.Graph((f"n{a}", f"n{b}", {"weight": 0.5}) for a, b in GRAPH.edges), out)
    return out.getvalue()


def links(rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        lines = [" ".join(map(str, [k, *sorted(GRAPH[k])])) for k in sorted(GRAPH)]
    else:
        lines = [f"{a} {b} 0.5" for a, b in GRAPH.edges]
    return "\n".join(lines).encode()


MATRIX = np.full((4, 4), 0.25)


def weights(rng: np.random.Generator) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in MATRIX.tolist()).encode()


def npy(rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    np.save(out, MATRIX)
    return out.getvalue()


# --- how they are read ----------------------------------------------------------------------------


def look(images: Any) -> None:
    """Images must be what all code after this takes them for."""
    values = images.take(range(min(len(images), 3)))
    assert values.dtype == torch.float32
    assert bool((values.abs() <= 1).all())
    if images.labels is not None:
        assert len(images.labels) == len(images)
        assert 0 <= images.labels.min() <= images.labels.max() < images.classes
        assert images.classes == len(images.class_names) == len(set(images.class_names))


def load_from(path: Path, source: str, **keys: Any) -> None:
    look(load_source(DataSpec(source=source, path=str(path), partition="all", **keys)))


def read_picture(path: Path) -> None:
    load_from(path.parent, "folder", channels=1 if path.parent.name.endswith("1") else None)


def read_idx(path: Path) -> None:
    path.rename(path.with_name("train-images-idx3-ubyte"))
    load_from(path.parent, "idx")


def read_cifar(path: Path) -> None:
    path.rename(path.with_name("test_batch.bin"))
    load_from(path.parent, "cifar10", split="test")


def read_graph(path: Path) -> None:
    graph = build_graph({"file": str(path)}, 8, 0)
    assert sorted(graph) == list(range(8))


def read_weights(path: Path) -> None:
    check_weights(build_schedule("complete", 4, 0), {"file": str(path)})


def read_generator(path: Path) -> None:
    made = load_generators({0: path}, GAN)[0]
    names = GAN.generator.state_dict()
    assert {k: v.shape for k, v in made.state_dict().items()} == {
        k: v.shape for k, v in names.items()
    }


def read_checkpoint(path: Path) -> None:
    """A damaged one is set aside in one line, and nothing of it is taken."""
    said: list[str] = []
    path.rename(path.with_name("checkpoint-00000000.safetensors"))
    found = load_state(STATE, path.parent, {}, tell=said.append)
    assert (found is None) == (len(said) == 1)
    assert STATE.round == 0
    if found is None:
        raise UserError(said[0])


def read_key(path: Path) -> None:
    path.chmod(0o600)
    path.parent.chmod(0o700)
    assert len(public_key(read_secret(0, path.parent))) == 40


KINDS: dict[str, tuple[Make, Read, str]] = {
    "picture": (picture, read_picture, "x.png"),
    "idx": (idx, read_idx, "x"),
    "cifar": (cifar, read_cifar, "x"),
    "npz": (npz, lambda path: load_from(path, "npz"), "x.npz"),
    "generator": (generator, read_generator, "generator.safetensors"),
    "checkpoint": (checkpoint, read_checkpoint, "x.safetensors"),
    "key": (key, read_key, "peer-0.secret"),
    "experiment": (experiment, load, "x.yaml"),
    "profile": (profile, lambda path: read_profile(path, "devices"), "x.yaml"),
    "graphml": (graphml, read_graph, "x.graphml"),
    "links": (links, read_graph, "x.txt"),
    "weights": (weights, read_weights, "x.csv"),
    "npy": (npy, read_weights, "x.npy"),
}
TEXT = ("experiment", "profile", "graphml", "links", "weights")


# --- damage ---------------------------------------------------------------------------------------


def damaged(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """The content with one to three kinds of damage."""
    for _ in range(int(rng.integers(1, 4))):
        content = _damage(bytearray(content), kind, rng)
    return content


def _damage(content: bytearray, kind: str, rng: np.random.Generator) -> bytes:
    n = len(content)
    place = int(rng.integers(n)) if n else 0
    # headers are at the front: most damage that gets far is there
    near = int(min(n - 1, rng.exponential(24))) if n else 0
    match int(rng.integers(11)):
        case 0:
            return bytes(content[:place])
        case 1 if n:
            content[place] ^= 1 << int(rng.integers(8))
        case 2 if n:
            content[near] = int(rng.integers(256))
        case 3:
            content[near : near + 4] = SIZES[int(rng.integers(len(SIZES)))]
        case 4:
            content[place:place] = rng.bytes(int(rng.integers(1, 20)))
        case 5:
            end = place + int(rng.integers(1, 60))
            content[place:place] = content[place:end] * int(rng.integers(1, 4))
        case 6:
            del content[place : place + int(rng.integers(1, 30))]
        case 7:
            other = KINDS[list(KINDS)[int(rng.integers(len(KINDS)))]][0](rng)
            return other if rng.random() < 0.3 else bytes(content) + other
        case 8:
            return b"" if rng.random() < 0.1 else bytes(content[near:])
        case 9 if kind in TEXT:
            return _reworded(bytes(content), rng)
        case 10:
            content[near : near + 8] = struct.pack("<q", int(rng.integers(-(2**62), 2**62)))
    return bytes(content)


WORDS = (
    *(b"010", b"1:30", b"yes", b"~", b"-1", b"1e-3", b"nan", b"1e999", b"[]", b"{}", b"*a", b"&a"),
    *(b"!!set", b"\t", b"\xef\xbb\xbf", b"\xe9", b"99999999", b"0.1.2", b"#", b":"),
)
SIZES = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\x01\0\0", b"\0\0\xff\xff")


def _reworded(content: bytes, rng: np.random.Generator) -> bytes:
    """Text with a word changed, or a line moved: what editors and people do."""
    lines = content.splitlines(keepends=True) or [b""]
    i, j = (int(rng.integers(len(lines))) for _ in "ab")
    word = WORDS[int(rng.integers(len(WORDS)))]
    match int(rng.integers(4)):
        case 0:
            lines[i], lines[j] = lines[j], lines[i]
        case 1:
            lines.insert(i, lines[j])
        case 2:
            parts = lines[i].split(b" ")
            parts[int(rng.integers(len(parts)))] = word
            lines[i] = b" ".join(parts)
        case 3:
            lines[i] = lines[i].rstrip(b"\n") + b" " + word + b"\n"
    return b"".join(lines)


def outcome(kind: str, case: int, folder: Path) -> str:
    """What comes of a case: ``read``, or what the user is told."""
    rng = np.random.default_rng([case, *kind.encode()])
    make, read, name = KINDS[kind]
    home = folder / f"{kind}-{case}"
    home.mkdir()
    path = home / name
    path.write_bytes(damaged(make(rng), kind, rng))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # none but notes, and of those nothing is made
            warnings.simplefilter("ignore", InputNote)
            read(path)
        told = "read"
    except UserError as refused:
        told = str(refused)
        assert told.isprintable() or "\n" not in told, f"{kind} {case}: more than a line: {told!r}"
        assert len(told) < 1000, f"{kind} {case}: {told}"
    except Exception as problem:
        raise AssertionError(f"{kind} {case}: {type(problem).__name__}: {problem}") from problem
    assert time.monotonic() - began < SECONDS, f"{kind} {case} took too long"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < BYTES, f"{kind} {case} took {grown} bytes"
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read(kind: str, tmp_path: Path) -> None:
    make, read, name = KINDS[kind]
    for case in range(30 if kind == "picture" else 4):
        home = tmp_path / str(case)
        home.mkdir()
        path = home / name
        content = make(np.random.default_rng(case))
        path.write_bytes(content)
        others = b"systems:" in content
        if kind == "picture":
            with Image.open(path) as image:
                others = image.mode in ("I", "F") and image.format == "TIFF"
        with pytest.raises(UserError) if others else nullcontext():  # they are refused by name
            read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    told = [outcome(kind, case, tmp_path) for case in range(FEW)]
    refused = [line for line in told if line != "read"]
    assert len(refused) > FEW // 10  # the damage is real
    assert len(set(refused)) > 5  # and of many kinds


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(kind: str, tmp_path: Path) -> None:
    for case in range(FEW, FEW + MANY):
        outcome(kind, case, tmp_path)


# --- promises -------------------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with a few bytes behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def npy_of(shape: tuple[int, ...], content: bytes = b"\0" * 64) -> bytes:
    out = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + content


def npz_of(shape: tuple[int, ...], zeros: int) -> bytes:
    """An archive of ``images``, packed: so many zeros behind a header of that shape."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy_of(shape, b""))
        for _ in range(zeros >> 20):
            member.write(bytes(1 << 20))
    return out.getvalue()


def idx_of(shape: tuple[int, int, int], zeros: int, packed: bool) -> bytes:
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape)
    if not packed:
        return header + bytes(zeros)
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(header)
        for _ in range(zeros >> 20):
            file.write(bytes(1 << 20))
    return out.getvalue()


def safetensors_of(shape: list[int], length: int | None = None) -> bytes:
    """A file whose header says that a tensor is so large, or that it is itself so long."""
    end = 4 * math.prod(shape)
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + b"\0" * 64


def tiff_of(width: int, height: int) -> bytes:
    """A grey TIFF that says it is so large, with one strip of a few bytes."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, 99)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4
    return start.ljust(200, b"\0") + b"\0" * 99


def gif_of(width: int, height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2\x44\1\0;"


def bomb() -> bytes:
    """GraphML whose entities would multiply to gigabytes."""
    entities = "".join(f"<!ENTITY e{k} '{f'&e{k - 1};' * 20}'>" for k in range(1, 9))
    head = f"<?xml version='1.0'?><!DOCTYPE g [<!ENTITY e0 'x'>{entities}]>"
    return f"{head}<graphml><graph><node id='&e8;'/></graph></graphml>".encode()


def aliases() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("picture", lambda: png_of(60_000, 60_000), "more than 128 million pixels"),
        ("picture", lambda: png_of(13_000, 13_000), "more than 128 million pixels"),
        ("picture", lambda: png_of(2**31 - 1, 2**31 - 1), "more than 128 million pixels"),
        ("npz", lambda: npz_of((10**6, 10**6), 1 << 20), "promises 1000000000000 bytes"),
        ("npz", lambda: npz_of((300, 1 << 10, 1 << 10), 300 << 20), "would unpack to 300 MiB"),
        ("idx", lambda: idx_of((2**32 - 1,) * 3, 10, packed=False), "promises 7922816"),
        ("idx", lambda: idx_of((2**31, 1, 2), 1 << 20, packed=True), "promises 4294967296 bytes"),
        ("idx", lambda: idx_of((300, 1024, 1024), 300 << 20, packed=True), "promises 314572800"),
        ("picture", lambda: tiff_of(60_000, 60_000), "more than 128 million pixels"),
        ("picture", lambda: gif_of(60_000, 60_000), "more than 128 million pixels"),
        ("generator", lambda: safetensors_of([10**6, 10**6]), "cannot be read: "),
        ("generator", lambda: safetensors_of([2], 1 << 62), "header too large"),
        ("checkpoint", lambda: safetensors_of([10**6, 10**6]), "is damaged; set aside"),
        ("checkpoint", lambda: safetensors_of([2], 1 << 62), "is damaged; set aside"),
        ("links", lambda: b"0 1\n1 999999999999\n", "holds 3 peers, and peers is 8"),
        ("links", lambda: b"0 " * 200_000, "line 1: more than a weight follows"),
        ("weights", lambda: b"0," * 200_000, "not 1 by 200000"),
        ("graphml", bomb, "is not GraphML: "),
        ("experiment", aliases, "aliases multiply to more than 2,000,000 values"),
        ("experiment", lambda: b"a: " + b"[" * 200_000, "more than 64 levels deep"),
        ("profile", lambda: b"{" * 200_000, "more than 64 levels deep"),
        ("npy", lambda: npy_of((10**12,)), "is not an array of numbers"),
        ("npy", lambda: npy_of((10**9, 10**9)), "is not an array of numbers in numpy's format"),
    ],
)
def test_what_promises_the_earth_is_refused_before_there_is_room_for_it(
    kind: str, content: Callable[[], bytes], words: str, tmp_path: Path
) -> None:
    _, read, name = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(content())
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    # the buffer for a text is as large as a text may be, though only what is there fills it
    assert peak < (BYTES // 2 if kind in TEXT else 32 << 20)
    assert time.monotonic() - began < SECONDS
