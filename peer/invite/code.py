"""The code that a newcomer is given: one word that says all it needs to reach whom it must ask.

Of 26 letters and six digits (RFC 4648's base32): it survives chats, terminals and shells, and a QR
code holds it as it holds capitals. It ends in a CRC-32: no letter of it can be another one, and no
run of six, without being noticed.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import struct
import zlib
from dataclasses import dataclass

from peer.experiment.addresses import check_dialled, numeric, split
from topology.errors import UserError

VERSION = 1

SECRET = 16
"""Bytes from which the newcomer's first pair of keys is made."""

DIGEST = 10
"""Bytes of the digest of the experiment's file."""

LONGEST = 4096
"""Characters of a code, at most."""

_HEAD = struct.Struct(f">BIII{DIGEST}s32s{SECRET}sHB")
_NAME, _IPV4, _IPV6 = 0, 4, 6
"""What follows the head: a machine's name, or a number's four or sixteen bytes."""

_HOST = re.compile(r"[\w.:%-]{1,253}")

_MANGLED = (
    "this is no code of 'peer invite', or a part of it is missing or was mistyped; copy it anew, "
    "as a whole"
)


@dataclass(frozen=True)
class Code:
    """What a code says.

    Attributes:
        inviter: the peer to ask.
        peer: the id that the newcomer is to have.
        until: when the code ends, by the inviter's clock, in seconds since 1970.
        digest: of the experiment's file: :func:`digest_of`.
        key: the inviter's public key, 32 bytes.
        secret: known to whoever has the code, and to the inviter.
        address: where the inviter is reached, such as ``tcp://192.168.0.13:47103``.
    """

    inviter: int
    peer: int
    until: int
    digest: bytes
    key: bytes
    secret: bytes
    address: str

    def __str__(self) -> str:
        kind, host, port = _packed(self.address)
        head = (VERSION, self.inviter, self.peer, self.until, self.digest, self.key, self.secret)
        content = _HEAD.pack(*head, port, kind) + host
        sealed = content + zlib.crc32(content).to_bytes(4, "big")
        return base64.b32encode(sealed).decode().rstrip("=")


def read_code(text: str) -> Code:
    """What a code says; case, spaces and dashes do not matter.

    Raises:
        UserError: it is none, or was mangled.
    """
    word = "".join(text.split()).replace("-", "").upper()
    try:
        sealed = base64.b32decode(word[:LONGEST] + "=" * (-len(word) % 8))
    except ValueError:  # binascii.Error is one
        raise UserError(_MANGLED) from None
    content, check = sealed[:-4], sealed[-4:]
    # the last letter has bits beyond the last byte, which the checksum does not see
    is_whole = base64.b32encode(sealed).decode().rstrip("=") == word
    if not is_whole or len(content) < _HEAD.size or zlib.crc32(content) != _number(check):
        raise UserError(_MANGLED)
    version, inviter, peer, until, digest, key, secret, port, kind = _HEAD.unpack_from(content)
    if version != VERSION:
        raise UserError(
            f"this code is of version {version}, and this hearsay reads version {VERSION}; install "
            "the one that the inviter has"
        )
    address = _unpacked(kind, content[_HEAD.size :], port)
    return Code(inviter, peer, until, digest, key, secret, address)


def digest_of(text: str) -> bytes:
    """The digest of an experiment's file, as a code has it."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST).digest()


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def _packed(address: str) -> tuple[int, bytes, int]:
    """The kind of a TCP address's host, the host, and the port."""
    _, host, port = split(address)
    assert host is not None
    assert port is not None
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return _NAME, host.encode(), port
    if "%" in host:  # a number of an interface's: its name says which
        return _NAME, host.encode(), port
    return (_IPV4 if number.version == 4 else _IPV6), number.packed, port


def _unpacked(kind: int, host: bytes, port: int) -> str:
    """The address that :func:`_packed` took apart."""
    try:
        name = host.decode() if kind == _NAME else str(ipaddress.ip_address(host))
    except ValueError:
        raise UserError(_MANGLED) from None
    if _HOST.fullmatch(name) is None:
        raise UserError(_MANGLED)
    address = numeric(name, port)
    check_dialled(address, 0)
    return address
