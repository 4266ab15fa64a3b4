"""What carries records from process to process: the ring, and what it is compared with.

A `Peer` is one way to do it, and opens a `Transport` for the shape of a run. The transport goes to
the processes as an argument, and each opens its own end there: all readers first, then all
emitters. Whatever it is, nothing may be lost between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which
from typing import NamedTuple, Protocol

from benchmarks.processes import PATIENCE
from benchmarks.rings import RECORD_BYTES, fresh_ring
from ringbus.ring import Ring

Emit = Callable[[bytes], object]
Read = Callable[[], list[bytes]]


def _nothing() -> None:
    """Nothing is held back."""


class Emitter(NamedTuple):
    """`emit` takes one record; `finish` sends what is held back when there are no more.

    `wants_fresh`: an object that it was given before would be sent as a mere reference to that.
    """

    emit: Emit
    finish: Callable[[], object] = _nothing
    wants_fresh: bool = False


@dataclass(frozen=True)
class Shape:
    """Who takes part: every reader gets the records of all emitters."""

    emitters: int = 1
    readers: int = 1
    size: int = RECORD_BYTES


class Transport(Protocol):
    """Emitters and readers are numbered from 0."""

    def open_emitter(self, number: int) -> Emitter: ...

    def open_reader(self, number: int) -> Read:
        """What it returns gives the next records, in order; none when there is nothing more.

        It waits for up to `PATIENCE` seconds.
        """
        ...


@dataclass(frozen=True)
class Peer:
    """One way to carry records. `lack` says why it cannot be had here; "" when it can."""

    name: str
    open: Callable[[Shape], AbstractContextManager[Transport]]
    rate: int  # records a second, roughly, so that runs take about as long
    lack: Callable[[], str] = str
    most_bytes: int = 1 << 30  # of a payload
    can_emit_alone: bool = False  # goes on emitting though nobody reads


def needs(*modules: str, programs: tuple[str, ...] = ()) -> Callable[[], str]:
    """What to answer for `lack`."""

    def lack() -> str:
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            return f"no Python package {', '.join(missing)} (pip install '.[bench]')"
        missing = [name for name in programs if which(name) is None]
        return (
            f"no {', '.join(missing)} (Debian: apt install {' '.join(missing)})" if missing else ""
        )

    return lack


@dataclass(frozen=True)
class RingTransport:
    """A ring whose readers have gates, and whose emitters wait for them: nothing is lost."""

    ring: str

    def open_emitter(self, number: int) -> Emitter:
        ring = Ring.open(self.ring, policy="block")
        ring._open_emitter()
        return Emitter(ring.emit)

    def open_reader(self, number: int) -> Read:
        subscriber = Ring.open(self.ring).subscribe(gate=f"reader-{number}")
        done = 0

        def read() -> list[bytes]:
            """What was given before is done with: only now may emitters pass it."""
            nonlocal done
            subscriber.advance(done)
            records = subscriber.read(1024, timeout=PATIENCE)
            if records:
                done = records[-1].seq + 1
            return [record.payload for record in records]

        return read


@contextmanager
def open_ring(shape: Shape) -> Iterator[Transport]:
    with fresh_ring() as ring:
        yield RingTransport(ring.name)


RINGBUS = Peer("ringbus", open_ring, rate=8_000_000, can_emit_alone=True)
