"""What the builtin emit reports when it cannot go on: notices and exceptions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from ringbus import _native
from ringbus._native import CData, ffi, lib
from ringbus.ring.stats import read_gate


@dataclass(frozen=True)
class Stall:
    """What an emitter met: a gate that is a whole ring behind.

    `dead`: its process died, and it stands for a while in case a successor comes. Otherwise the
    time limit of the policy is over and the gate was pushed on, or taken out.
    """

    gate: str
    lag: int
    dead: bool


def warn_pushed(stall: Stall) -> None:
    if not stall.dead:
        warnings.warn(
            f"gate {stall.gate!r} was {stall.lag} records behind for too long and was pushed on; "
            "what it had not read by then is lost to it",
            RuntimeWarning,
            stacklevel=3,  # the line that emits
        )


class EmitReport:
    """Turns what the builtin emit reports into exceptions and notices."""

    def __init__(
        self,
        name: str,
        max_payload: int,
        ring: CData,
        handle: CData,
        on_stall: Callable[[Stall], None],
    ) -> None:
        self._ring = ring
        self._name = name
        self._limit = max_payload
        self._handle = handle
        self._on_stall = on_stall

    def __call__(  # noqa: PLR0917  the builtin calls it by position
        self, status: int, notice: int, gate: int, lag: int, published: int, length: int
    ) -> None:
        if status == lib.RB_OK:
            dead = bool(notice & lib.RB_NOTICE_DEAD_GATE)
            if dead:
                self._on_stall(Stall(self._gate_name(gate), lag, dead=True))
            if notice & lib.RB_NOTICE_PUSHED:
                self._on_stall(Stall(self._gate_name(gate), lag, dead=False))
        elif status == lib.RB_TOO_LARGE:
            why = (
                f"a payload of {length} bytes is longer than a record of ring {self._name!r} "
                f"can be: {self._limit} bytes, a quarter of the ring"
            )
            raise _native.error(status, self._name, why, published=published)
        elif status == lib.RB_BACK_PRESSURE:
            name = self._gate_name(gate)
            why = (
                f"gate {name!r} of ring {self._name!r} is {lag} records behind, a whole ring"
                f"{self._holder(gate)}; nothing was published: let its reader catch up or close "
                'it, or open the ring with policy="drop" or a larger size'
            )
            raise _native.error(status, self._name, why, gate=name, lag=lag, published=published)
        elif status == lib.RB_POOL_EXHAUSTED:
            why = (
                f"stopped or busy emitters hold the blocks of ring {self._name!r}; "
                f"continue or end them (`ringbus stats {self._name}` lists them), or use a "
                "larger ring"
            )
            raise _native.error(status, self._name, why, published=published)
        else:
            raise _native.error(status, self._name)

    def _holder(self, index: int) -> str:
        """Whose gate it is; a label, and for people."""
        gate = read_gate(self._name, self._ring, index, 0)
        if gate is None:
            return ""
        seconds = max(0, time.time_ns() - gate.moved_ns) / 1e9
        state = "" if gate.alive else ", which is dead"
        return f" (process {gate.pid}{state}; it last moved {seconds:.1f} s ago)"

    def _gate_name(self, gate: int) -> str:
        name = ffi.new("char[64]")
        _native.check(lib.rb_emitter_gate_name(self._handle, gate, name), self._name)
        return bytes(ffi.string(name)).decode(errors="replace")
