"""From ``compression:`` to the codec that it names."""

from __future__ import annotations

from peer.codecs import CODECS, Compression
from peer.experiment.parts import NamedSpec
from peer.experiment.validation import validated
from topology.errors import UserError
from topology.names import suggestion


def codec_named(compression: NamedSpec) -> Compression | None:
    """The codec of that name, with its settings; None where values are sent as float32.

    Raises:
        UserError: there is none of that name, or it has no such setting.
    """
    name, settings = compression.name, compression.settings
    if name == "none" and not settings:
        return None
    if name == "none":
        raise UserError(f"compression: 'none' has no settings such as {min(settings)!r}")
    if name not in CODECS:
        known = ["none", *CODECS]
        raise UserError(
            f"compression: there is no codec '{name}'{suggestion(name, known)} "
            f"(codecs: {', '.join(known)})"
        )
    codec: Compression = validated(CODECS[name], settings, "compression")
    return codec
