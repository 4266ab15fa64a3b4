"""The payloads that the original program stored, as events of ours.

It put the members of a stream object beside a `kind` of its own, and stored `null` where it
could not encode a line. The stored text stays as it is; this is how it is shown.
"""

from __future__ import annotations

import msgspec

from ringbus.events import KINDS, Note, encode

_FLATTENED = b'{"kind":"stream",'
_LOST = encode(
    Note(
        "This event was lost: the program that wrote it could not encode it and stored null.",
        reason="stored as null",
    )
)[1]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def shown(kind: str, stored: bytes | None) -> bytes:
    """The payload to show for `stored`; what is no event stays as it is."""
    if stored is None or stored.strip() == b"null":
        return _LOST
    if kind == "stream":
        return b'{"kind":"stream","data":%b}' % _unflattened(stored)
    if kind not in KINDS:
        return stored
    members = _object(stored)
    if members is None:
        return stored
    members.pop("kind", None)
    return _encode({"kind": kind, **members})


def _unflattened(stored: bytes) -> bytes:
    # Cut off in front, not taken out by name: the line may have had a `kind` of its own.
    if stored.startswith(_FLATTENED):
        return b"{" + stored[len(_FLATTENED) :]
    members = _object(stored)
    if members is None or bytes(members.get("kind", b"")) != b'"stream"':
        return stored
    del members["kind"]
    return _encode(members)


def _object(stored: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return _members(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
