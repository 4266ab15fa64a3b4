"""Rings for a run, and records that can be told apart."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ringbus.errors import RingNotFound
from ringbus.ring import Ring, unlink
from ringbus.settings import Policy

RECORD_BYTES = 256
PERIOD = 4096


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


def records() -> list[bytes]:
    """`PERIOD` payloads of `RECORD_BYTES`, each different from every other in many bytes."""
    return [f"{number:08d}".encode() * (RECORD_BYTES // 8) for number in range(PERIOD)]
