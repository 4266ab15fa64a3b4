"""Reading: `Subscriber`, at its own cursor, with or without a gate.

`read`, `wait`, `advance` and iterating are inherited builtins (csrc/fastcall_subscriber.c): they
hold the interpreter lock except while they sleep, and Ctrl-C ends a sleep at once. Usable from
several threads, not in a forked child.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn, Self

from ringbus import _native, errors
from ringbus._closing import Closing
from ringbus._native import CData, Record, ffi, lib
from ringbus.ring.batch import Batch

AWAIT_SLICE = 0.5  # seconds; an abandoned `async for` leaves its thread that soon


class Subscriber(_native.Subscriber, Closing):
    """A reading end at its own cursor. Iterating yields records and waits for more.

    A subscriber that was overtaken gets `Lapped` once, with the exact number `missed`, and goes on:
    a gate at the oldest kept record, any other a sixteenth of what is kept above it.
    """

    def __init__(
        self,
        name: str,
        ring: CData,
        start: int,
        gate: str | None,
        *,
        from_oldest: bool,
        read_only: bool,
    ) -> None:
        handle, missed = _native.open_subscriber(name, start, gate, read_only=read_only, of=ring)
        self.name = name
        self.gate = gate
        #: Records lost to this subscriber so far.
        self.missed = 0 if from_oldest else missed
        self._handle = handle
        self._own(_native.address(handle), self._report)

    def fill(self, batch: Batch, timeout: float = 0.0) -> bool:
        """Fill the batch with what is there; sleep up to `timeout` seconds for something.

        False: it is empty. The sleep ends early where somebody wakes all sleepers of the ring. A
        loss ends a batch, and raises nothing. Raises `RingUnlinked` when everything of a removed
        ring was read. Of one subscriber use either this or `read()`.
        """
        if self._fill_at_once(batch) or timeout <= 0:
            return bool(batch)
        status = lib.rb_subscriber_wait(self._handle, int(timeout * 1e9))
        if status not in _native.RESULTS:
            self._check(status)
        return self._fill_at_once(batch)

    def _fill_at_once(self, batch: Batch) -> bool:
        status = lib.rb_batch_fill(batch.handle, self._handle, batch.most_records, batch.most_bytes)
        batch.refresh()
        self.missed += batch.missed
        if status != lib.RB_EMPTY:
            self._check(status)
        return bool(batch)

    @property
    def cursor(self) -> int:
        """The seq of the next record."""
        return self._position()[0]

    @property
    def lag(self) -> int:
        """Records between the cursor and the tail."""
        cursor, tail = self._position()
        return max(0, tail - cursor)

    def _position(self) -> tuple[int, int]:
        cursor, tail, floor = (ffi.new("uint64_t *") for _ in range(3))
        self._check(lib.rb_subscriber_position(self._handle, cursor, tail, floor))
        return int(cursor[0]), int(tail[0])

    def close(self, *, keep: bool = False) -> None:
        """Ends it; again is fine. `keep` leaves a gate standing for a successor of its name."""
        lib.rb_subscriber_close(self._handle, keep)

    def _check(self, status: int) -> None:
        _native.check(status, self.name, self.gate or "")

    def _report(self, status: int, *details: int) -> NoReturn:
        _notice, _gate, missed, _published, next_seq = details
        if status == lib.RB_LAPPED:
            self.missed += missed
            raise errors.Lapped(missed=missed, next_seq=next_seq)
        raise _native.error(status, self.name, self.gate or "")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while True:
            records = self.read(1, 0)
            if records:
                return records[0]
            # The thread waits and reads nothing: a record cannot be lost to a cancelled task.
            await asyncio.to_thread(self.wait, AWAIT_SLICE)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process; pass on the name and open the ring there"
        )

    def __repr__(self) -> str:
        kind = f"gate {self.gate!r}" if self.gate else "subscriber"
        return f"<Subscriber {kind} of ring {self.name!r}>"
