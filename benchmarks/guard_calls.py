"""The calls whose instructions `guard.py` counts; run under callgrind, as `guard_calls.py NAME`.

Every run does the same: a ring of the least size, so that it is lapped many times and the work of
a full ring is in the count; nobody else on it, so that no exchange fails and nobody sleeps.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable

import ringbus

CALLS = 4_000
BATCH = 100
PAYLOAD = bytes(range(256))
RECORDS = {"emit": CALLS, "emit_many": CALLS // BATCH * BATCH, "read": CALLS // BATCH * BATCH}


def emit(ring: ringbus.Ring) -> None:
    for _ in range(CALLS):
        ring.emit(PAYLOAD)


def emit_many(ring: ringbus.Ring) -> None:
    batch = [PAYLOAD] * BATCH
    for _ in range(CALLS // BATCH):
        ring.emit_many(batch)


def read(ring: ringbus.Ring) -> None:
    """Only `read()` is counted, not the emits that it needs."""
    batch = [PAYLOAD] * BATCH
    with ring.subscribe() as subscriber:
        for _ in range(CALLS // BATCH):
            ring.emit_many(batch)
            if [record.payload for record in subscriber.read(BATCH, 0)] != batch:
                raise SystemExit("read() gave something else than was emitted")


WORK: dict[str, Callable[[ringbus.Ring], None]] = {
    "emit": emit,
    "emit_many": emit_many,
    "read": read,
}


def main(name: str) -> None:
    ring_name = f"guard-{uuid.uuid4().hex[:12]}"
    with ringbus.Ring.create(ring_name, size=1 << 16) as ring:
        try:
            WORK[name](ring)
        finally:
            ringbus.unlink(ring_name)


if __name__ == "__main__":
    main(sys.argv[1])
