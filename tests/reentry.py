"""What the tests of re-entry share: a signal at any instruction, and what to do there."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from helpers import read_all

from ringbus import Ring, RingClosed, Subscriber

LONG = 300.0  # seconds; nothing here takes that long unless something is wrong


def payloads(subscriber: Subscriber) -> list[bytes]:
    """All that can be read now; nothing may be missing."""
    records, missed = read_all(subscriber)
    assert missed == 0
    return [record.payload for record in records]


def raise_signal_at(step: int, act: Callable[[], object], handler: Callable[[], object]) -> bool:
    """Runs `act`; before its instruction number `step` a real signal runs `handler`.

    False if it has fewer instructions.
    """
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        frame.f_trace_opcodes = True
        seen += event == "opcode"
        if event == "opcode" and seen == step:
            signal.raise_signal(signal.SIGUSR1)
        return trace

    signal.signal(signal.SIGUSR1, lambda *_: handler())
    sys.settrace(trace)
    try:
        act()
    except RingClosed:
        pass
    finally:
        sys.settrace(None)
    return seen >= step


class Scene:
    """A fresh handle, and what may be done with it in the midst of something else."""

    def __init__(self, name: str) -> None:
        self.ring = Ring.open(name)
        self.emitted: list[bytes] = []
        self.subscribers: list[Subscriber] = []

    def emit(self, what: bytes = b"handler") -> None:
        try:
            self.ring.emit(what)
        except RingClosed:
            return
        self.emitted.append(what)

    def emit_many(self) -> None:
        self.ring.emit_many(iter([b"one", b"two"]))
        self.emitted += [b"one", b"two"]

    def close(self) -> None:
        self.ring.close()

    def subscribe(self) -> None:
        self.subscribers.append(self.ring.subscribe(gate="g"))

    def end(self) -> None:
        for subscriber in self.subscribers:
            subscriber.close()
        self.ring.close()
