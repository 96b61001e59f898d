"""A peer's key pair, made where it will live, and who may talk to whom.

CURVE (libzmq's CurveZMQ) authenticates and encrypts every link. The secret key stays in a file that
only its owner can read; the public key goes into the experiment file, whose list is the allow-list.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import zmq
from zmq.utils.z85 import Z85CHARS

from peer.experiment import Experiment
from peer.experiment.addresses import is_loopback
from peer.state.disk import REAL, make_folders
from topology.errors import UserError

_Z85 = frozenset(Z85CHARS.decode())


def keys_folder(given: str | Path | None = None) -> Path:
    """Where secret keys live: what is given, ``$HEARSAY_KEYS``, or the user's configuration.

    A user without a home has it in the working directory.
    """
    if given is not None:
        return Path(given)
    if from_environment := os.environ.get("HEARSAY_KEYS"):
        return Path(from_environment)
    configuration = os.environ.get("XDG_CONFIG_HOME")
    if not configuration:
        try:
            configuration = str(Path.home() / ".config")
        except RuntimeError:  # neither $HOME nor an entry in the password file, as in a container
            configuration = ".config"
    return Path(configuration) / "hearsay" / "keys"


def make_keys(peer: int, folder: Path) -> str:
    """Make peer ``peer``'s pair in ``folder``, if it has none; returns its public key (Z85).

    The folder is made 0700 and the secret 0600 before a byte of it is written.

    Raises:
        UserError: the folder cannot be written.
    """
    path = folder / f"peer-{peer}.secret"
    if path.exists():
        return public_key(read_secret(peer, folder))
    public, secret = zmq.curve_keypair()
    try:
        make_folders(folder)
        folder.chmod(0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret + b"\n")
            REAL.sync(file)  # others are told the public key, and it has no other secret
        REAL.sync_folder(folder)
    except OSError as problem:
        raise UserError(f"keys: cannot write {path}: {problem.strerror}") from None
    return public.decode()


def read_secret(peer: int, folder: Path) -> bytes:
    """Peer ``peer``'s secret key.

    Raises:
        UserError: it is missing, is none, or others can read or replace it.
    """
    path = folder / f"peer-{peer}.secret"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        folder_mode = stat.S_IMODE(folder.stat().st_mode)
        secret = path.read_bytes().strip()
    except FileNotFoundError:
        raise UserError(
            f"keys: peer {peer} has no secret key at {path}; make it with "
            f"'peer keys --id {peer}' and put the line it prints into the experiment file"
        ) from None
    except OSError as problem:
        raise UserError(f"keys: cannot read {path}: {problem.strerror}") from None
    if mode & 0o077:
        raise UserError(f"keys: others can read {path} (mode {mode:04o}); run 'chmod 600 {path}'")
    if folder_mode & 0o022:
        raise UserError(
            f"keys: others can write {folder} (mode {folder_mode:04o}); run 'chmod 700 {folder}'"
        )
    if len(secret) != 40:
        raise UserError(f"keys: {path} holds no secret key; remove it and run 'peer keys' again")
    return secret


def public_key(secret: bytes) -> str:
    """The public key (Z85 text) that belongs to a secret one.

    Raises:
        UserError: it is not a key.
    """
    try:
        return zmq.curve_public(secret).decode()
    except (zmq.ZMQError, ValueError):
        raise UserError("keys: that is no CURVE secret key; run 'peer keys' again") from None


def curve_secret(
    experiment: Experiment, peer: int, folder: Path, others: Iterable[int] | None = None
) -> bytes | None:
    """The secret key that ``peer`` is to use; None for plain text.

    Plain text is for loopback only, unless the experiment says ``insecure``. ``others`` are those
    to whom it talks; its neighbours by default.

    Raises:
        UserError: keys are needed and missing, or do not fit.
    """
    links = [peer, *(experiment.graph_of_peers.neighbors(peer) if others is None else others)]
    if not experiment.keys:
        addresses = [(k, experiment.address(k)) for k in links]
        addresses.append((peer, experiment.listening_address(peer)))
        beyond = [(k, address) for k, address in addresses if not is_loopback(address)]
        if beyond and not experiment.insecure:
            k, address = beyond[0]
            raise UserError(
                f"keys: peer {k} is at {address}, beyond loopback, where links are encrypted; "
                f"run 'peer keys --id {k}' on its machine and add the line it prints under "
                "'keys:' (or set insecure: true)"
            )
        return None
    for k in links:
        if k not in experiment.keys:
            raise UserError(f"keys: peer {k} has none; run 'peer keys --id {k}' on its machine")
        if len(experiment.keys[k]) != 40 or not set(experiment.keys[k]) <= _Z85:
            raise UserError(f"keys.{k}: a public key has 40 characters, as 'peer keys' prints it")
    secret = read_secret(peer, folder)
    if public_key(secret) != experiment.keys[peer]:
        raise UserError(
            f"keys.{peer}: the experiment file names another public key than {folder} holds for "
            f"peer {peer}; run 'peer keys --id {peer}' and copy the line it prints"
        )
    return secret
