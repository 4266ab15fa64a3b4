"""Rings for a run, and records that can be told apart."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ringbus.errors import RingNotFound
from ringbus.ring import Ring, unlink
from ringbus.settings import Policy

RECORD_BYTES = 256
SIZES = (64, 256, 1024, 16384)
PERIOD = 4096  # the most payloads of one table
TABLE_BYTES = 1 << 20


@contextmanager
def fresh_ring(*, size: int | None = None, policy: Policy = "drop") -> Iterator[Ring]:
    """A ring that nobody else knows, gone at the end."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    ring = Ring.create(name, size=size, policy=policy)
    try:
        with ring:
            yield ring
    finally:
        with suppress(RingNotFound):
            unlink(name)


def period(size: int = RECORD_BYTES) -> int:
    """How many payloads a table of this size has: a table is a mebibyte, or less."""
    return min(PERIOD, TABLE_BYTES // size)


def records(size: int = RECORD_BYTES, emitter: int = 0) -> list[bytes]:
    """`period()` payloads, each different from every other in many bytes.

    The first byte of each is the number of the emitter, so a reader knows whose it is.
    """
    return [
        bytes([emitter]) + (f"{number:08d}".encode() * (size // 8))[1:]
        for number in range(period(size))
    ]
