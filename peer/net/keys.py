"""A peer's key pair, made where it will live, and who may talk to whom.

CURVE (libzmq's CurveZMQ) authenticates and encrypts every link. The secret key stays in a file that
only its owner can read; the public key goes into the experiment file, whose list is the allow-list.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from peer.experiment import Experiment
from peer.experiment.addresses import is_loopback
from peer.net.members.newcomers import Contact, contacts_of
from peer.state.disk import REAL, make_folders
from topology.errors import UserError

NEXT = ".next"
"""Behind the name of a secret that is to follow the one in use."""

_Z85 = frozenset(z85.Z85CHARS.decode())


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
    return _make(folder, f"peer-{peer}.secret")


def _make(folder: Path, name: str) -> str:
    path = folder / name
    if path.exists():
        return public_key(_read(path))
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


def rotate_keys(peer: int, folder: Path) -> str:
    """Make the pair that is to follow peer ``peer``'s, beside it; returns its public key (Z85).

    One that was made before, and is not in use yet, is that pair.

    Raises:
        UserError: there is no pair yet, or the folder cannot be written.
    """
    read_secret(peer, folder)
    return _make(folder, f"peer-{peer}.secret{NEXT}")


def secret_of(peer: int, folder: Path, public: str) -> tuple[bytes, bool] | None:
    """The secret key of ``public``, and whether it is the one that is to follow; None: neither is.

    Raises:
        UserError: as :func:`read_secret`.
    """
    secret = read_secret(peer, folder)
    if public_key(secret) == public:
        return secret, False
    if (folder / f"peer-{peer}.secret{NEXT}").exists():
        secret = read_secret(peer, folder, NEXT)
        if public_key(secret) == public:
            return secret, True
    return None


def take_next(peer: int, folder: Path) -> None:
    """The pair that was to follow takes the place of the one that was used.

    Raises:
        UserError: the folder cannot be written.
    """
    path = folder / f"peer-{peer}.secret"
    try:
        REAL.rename(path.with_name(path.name + NEXT), path)
        REAL.sync_folder(folder)
    except OSError as problem:
        raise UserError(f"keys: cannot write {path}: {problem.strerror}") from None


def read_secret(peer: int, folder: Path, which: str = "") -> bytes:
    """Peer ``peer``'s secret key: the one in use, or the one that is to follow (:data:`NEXT`).

    Raises:
        UserError: it is missing, is none, or others can read or replace it.
    """
    path = folder / f"peer-{peer}.secret{which}"
    if not path.exists():
        raise UserError(
            f"keys: peer {peer} has no secret key at {path}; make it with "
            f"'peer keys --id {peer}' and put the line it prints into the experiment file"
        )
    return _read(path)


def _read(path: Path) -> bytes:
    folder = path.parent
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        folder_mode = stat.S_IMODE(folder.stat().st_mode)
        secret = path.read_bytes().strip()
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


def pair_of(seed: bytes) -> tuple[bytes, bytes]:
    """The pair of keys (public, secret; Z85) that follows from a seed of 16 bytes."""
    raw = hashlib.blake2b(seed, digest_size=32, person=b"hearsay invite").digest()
    secret: bytes = z85.encode(raw)
    return zmq.curve_public(secret), secret


def packed_key(key: bytes) -> bytes:
    """The 32 bytes of a key in Z85."""
    raw: bytes = z85.decode(key)
    return raw


def key_of(packed: bytes) -> bytes:
    """The key in Z85 that :func:`packed_key` packed."""
    key: bytes = z85.encode(packed)
    return key


class KeyRing:
    """Public keys by neighbour; changed and asked by the I/O thread, asked by ZeroMQ's guard, too.

    Args:
        allowed: one key a neighbour.

    Attributes:
        let_in: keys that may connect, though they are no neighbour's, or not yet.
        guests: keys of those who were invited, by the numbers that they are told apart by.
    """

    def __init__(self, allowed: Mapping[int, bytes]) -> None:
        self._keys: dict[int, tuple[bytes, ...]] = {k: (key,) for k, key in allowed.items()}
        self._whose = {key: k for k, key in allowed.items()}
        self.let_in: frozenset[bytes] = frozenset()
        self.guests: dict[int, bytes] = {}
        self._guest_of: dict[bytes, int] = {}
        self._invited = 0  # so many have been, ever
        self._away: set[int] = set()  # neighbours that are turned away

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the holder of ``key`` is a neighbour, in the form that zmq.auth asks."""
        return key in self._whose or key in self.let_in or key in self._guest_of

    def who(self, key: bytes) -> int:
        """The neighbour that has that key; -1 for nobody, and less for who was invited."""
        return self._whose.get(key, self._guest_of.get(key, -1))

    def invite(self, keys: Iterable[bytes]) -> None:
        """The holders of these keys may ask to be let in, and nobody else whom we do not know."""
        known = {key: number for key, number in self._guest_of.items() if key in set(keys)}
        for key in keys:
            if key not in known:
                self._invited += 1
                known[key] = -1 - self._invited
        self.guests = {number: key for key, number in known.items()}
        self._guest_of = known

    def turn_away(self, neighbour: int) -> None:
        """That neighbour is let in no more, until it is given a key anew; we may still dial it."""
        self._away.add(neighbour)
        self._index()

    def used(self, neighbour: int) -> bytes:
        """The key that the neighbour uses, as far as is known."""
        return self._keys[neighbour][0]

    def knows(self, neighbour: int, key: bytes) -> bool:
        """Whether the neighbour is let in by that key."""
        return key in self._keys.get(neighbour, ())

    def expect(self, neighbour: int, key: bytes) -> None:
        """The neighbour has that key, or will; what it uses now is let in until it comes by it."""
        used = () if neighbour in self._away else self._keys.get(neighbour, ())[:1]
        self._set(neighbour, used if used == (key,) else (*used, key))

    def replace(self, neighbour: int, key: bytes) -> None:
        """That neighbour is whoever holds that key, and nobody else."""
        self._set(neighbour, (key,))

    def came(self, neighbour: int, key: bytes) -> bool:
        """The neighbour has come by that key; returns whether it is another than before."""
        if self._keys.get(neighbour, ())[:1] == (key,):
            return False
        self._set(neighbour, (key,))
        return True

    def _set(self, neighbour: int, keys: Iterable[bytes]) -> None:
        self._keys[neighbour] = tuple(keys)
        self._away.discard(neighbour)
        self._index()

    def _index(self) -> None:
        here = self._keys.keys() - self._away
        self._whose = {key: k for k in here for key in self._keys[k]}


def check_public(key: str, where: str) -> None:
    """Refuse what is no public key.

    Raises:
        UserError: blaming ``where``.
    """
    if len(key) != 40 or not set(key) <= _Z85 or not _has_32_bytes(key):
        raise UserError(f"{where}: a public key has 40 characters, as 'peer keys' prints it")


def _has_32_bytes(key: str) -> bool:
    """Whether each five of its characters stand for four bytes: some stand for more."""
    try:
        return bool(z85.encode(z85.decode(key)).decode() == key)
    except struct.error:
        return False


def curve_secret(
    experiment: Experiment,
    peer: int,
    folder: Path,
    links: Mapping[int, Contact] | None = None,
) -> bytes | None:
    """The secret key that ``peer`` is to use; None for plain text.

    Plain text is for loopback only, unless the experiment says ``insecure``.

    Args:
        experiment: says whether there are keys.
        peer: whose secret.
        folder: where secrets are.
        links: where the peer and its neighbours are, and their public keys; as the file says, if
            None.

    Raises:
        UserError: keys are needed and missing, or do not fit.
    """
    links = contacts_of(experiment, peer) if links is None else links
    if not experiment.keys:
        addresses = [(k, contact.address) for k, contact in links.items()]
        addresses.append((peer, experiment.listening_address(peer, links[peer].address)))
        beyond = sorted((k, address) for k, address in addresses if not is_loopback(address))
        if beyond and not experiment.insecure:
            k, address = beyond[0]
            raise UserError(
                f"keys: peer {k} is at {address}, beyond loopback, where links are encrypted; "
                f"run 'peer keys --id {k}' on its machine and add the line it prints under "
                "'keys:' (or set insecure: true)"
            )
        return None
    for k, contact in links.items():
        if contact.key is None and (k != peer or peer < experiment.peers):
            raise UserError(f"keys: peer {k} has none; run 'peer keys --id {k}' on its machine")
        if contact.key is not None:
            check_public(contact.key, f"keys.{k}")
    wanted = links[peer].key
    found = secret_of(peer, folder, wanted) if wanted else (read_secret(peer, folder), False)
    if found is None:
        raise UserError(
            f"keys.{peer}: the experiment file names another public key than {folder} holds for "
            f"peer {peer}; run 'peer keys --id {peer}' and copy the line it prints"
        )
    secret, follows = found
    if follows:  # it was changed while the peer was not running
        take_next(peer, folder)
    return secret


def is_let_in(
    address: str, server: bytes, public: bytes, secret: bytes, seconds: float = 5.0
) -> bool | None:
    """Knock at a peer's door with a pair of keys: whether it lets its holder in.

    None where nothing was heard in so many seconds, or who is there does not hold the key
    ``server``. The address has a number, and no name. It takes a context of its own: any thread may
    call it.
    """
    context = zmq.Context()
    knocking = context.socket(zmq.DEALER)
    knocking.linger = 0
    knocking.ipv6 = "[" in address
    knocking.curve_serverkey = server
    knocking.curve_secretkey, knocking.curve_publickey = secret, public
    events = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
    monitor = knocking.get_monitor_socket(events)
    try:
        knocking.connect(address)
        if not monitor.poll(int(1000 * seconds)):
            return None
        return bool(recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)
    finally:
        knocking.disable_monitor()
        monitor.close(0)
        knocking.close(0)
        context.term()
