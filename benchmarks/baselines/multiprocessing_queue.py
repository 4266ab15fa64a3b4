"""`multiprocessing.Queue`: what Python itself has for sending records to another process."""

from __future__ import annotations

from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from queue import Empty

from benchmarks.processes import CONTEXT, PATIENCE
from benchmarks.transports import Emit, Read


@dataclass(frozen=True)
class QueueTransport:
    """Unbounded, as it is by default: it never makes the emitter wait."""

    queue: Queue[bytes] = field(default_factory=CONTEXT.Queue)

    def open_emitter(self) -> Emit:
        return self.queue.put

    def open_reader(self) -> Read:
        def read() -> list[bytes]:
            try:
                return [self.queue.get(timeout=PATIENCE)]
            except Empty:
                return []

        return read
