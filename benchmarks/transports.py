"""What carries records from process to process: the ring, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.processes import PATIENCE
from ringbus.ring import Ring

Emit = Callable[[bytes], object]
Read = Callable[[], list[bytes]]


class Transport(Protocol):
    """Goes to the processes as an argument; each opens its own end there."""

    def open_emitter(self) -> Emit: ...

    def open_reader(self) -> Read:
        """What it returns gives the next records, in order; none when there is nothing more."""
        ...


@dataclass(frozen=True)
class RingTransport:
    """A ring whose reader has a gate, and whose emitters wait for it: nothing is lost."""

    ring: str

    def open_emitter(self) -> Emit:
        ring = Ring.open(self.ring, policy="block")
        ring._open_emitter()
        return ring.emit

    def open_reader(self) -> Read:
        subscriber = Ring.open(self.ring).subscribe(gate="reader")

        def read() -> list[bytes]:
            records = subscriber.read(timeout=PATIENCE)
            if records:
                subscriber.advance(records[-1].seq + 1)
            return [record.payload for record in records]

        return read
