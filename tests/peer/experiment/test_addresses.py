"""Addresses that are files of this machine: ``ipc:///FOLDER/NAME``."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peer.experiment import from_mapping
from peer.experiment.addresses import answers, ipc_path, is_ipc, make_way
from peer.net.keys import curve_secret
from peer.net.sockets import Sockets
from topology.errors import UserError

KEYS: dict[str, Any] = {
    "peers": 3,
    "algorithm": {"name": "diffusion", "rounds": 1},
    "optimizer": "adam",
    "gan": "mlp-digits",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder near the root: a socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="ipc-", dir="/tmp") as made:
        yield Path(made)


def test_the_file_of_an_address() -> None:
    assert ipc_path("ipc:///run/user/1000/hearsay-3") == Path("/run/user/1000/hearsay-3")
    assert is_ipc("ipc:///a/b")
    assert not is_ipc("tcp://127.0.0.1:4000")
    assert len(str(ipc_path("ipc:///" + "x" * 106))) == 107  # the longest


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ipc://hearsay/{id}", "names no file; say ipc:///FOLDER/NAME"),
        ("ipc://*{id}", "names no file"),
        ("ipc://@hearsay-{id}", "names no file"),  # anybody may connect to an abstract name
        ("ipc:///run/{id}/", "names no file"),
        ("ipc:///" + "x" * 106 + "{id}", "longer than the 107 bytes"),
        ("ipc:///run/hearsay", "several peers would be at ipc:///run/hearsay"),
    ],
)
def test_an_experiment_with_an_address_that_is_no_file_is_refused(address: str, words: str) -> None:
    with pytest.raises(UserError, match="addresses: ") as info:
        from_mapping(KEYS | {"addresses": address})
    assert words in str(info.value)
    assert "\n" not in str(info.value)


def test_no_keys_are_needed_where_no_other_machine_comes_in(folder: Path) -> None:
    experiment = from_mapping(KEYS | {"addresses": f"ipc://{folder}/peer-{{id}}"})
    assert experiment.address(2) == f"ipc://{folder}/peer-2"
    assert curve_secret(experiment, 0, folder / "none") is None


def test_one_address_beyond_loopback_among_files_still_needs_keys(folder: Path) -> None:
    addresses = [f"ipc://{folder}/0", f"ipc://{folder}/1", "tcp://192.0.2.1:4000"]
    with pytest.raises(UserError, match=r"^keys: peer 2 is at tcp://192\.0\.2\.1:4000"):
        curve_secret(from_mapping(KEYS | {"addresses": addresses}), 0, folder)


def test_an_address_in_use_is_not_taken_over(folder: Path) -> None:
    address = f"ipc://{folder}/peer-0"
    first = Sockets(address, {}, None)
    try:
        assert answers(folder / "peer-0")
        with pytest.raises(UserError, match=f"^addresses: {address} is in use") as info:
            Sockets(address, {}, None)
        assert "\n" not in str(info.value)
        assert answers(folder / "peer-0")  # still
    finally:
        first.close(0)
    assert not answers(folder / "peer-0")


def test_a_socket_that_a_dead_process_left_is_in_nobodys_way(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "peer-0"))
    assert (folder / "peer-0").is_socket()
    Sockets(f"ipc://{folder}/peer-0", {}, None).close(0)


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "thesis").write_text("years of work")
    with pytest.raises(UserError, match="is there and is no socket"):
        Sockets(f"ipc://{folder}/thesis", {}, None)
    assert (folder / "thesis").read_text() == "years of work"


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=f"make the folder {folder}/later"):
        make_way(f"ipc://{folder}/later/peer-0")


def test_a_neighbours_address_that_is_no_file_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^addresses: ipc://there names no file; say ipc:///"):
        Sockets("tcp://127.0.0.1:0", {1: "ipc://there"}, None)
