"""The same emit through a stock cffi call, which releases the interpreter lock.

Everything that can be prepared is: the record's payload is set once, and the cells for the
results are made once. A program with a new payload for every record would pay for those, too.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.core_emitter import CoreEmitter
from benchmarks.harness import require
from ringbus._native import ffi, lib


def stock_emit(core: CoreEmitter, payload: bytes) -> Callable[[], None]:
    """A function that emits the payload once; for one thread, and while `payload` lives."""
    item, handle = core.item(payload), core.handle
    published, stall = ffi.new("size_t *"), ffi.new("rb_stall *")
    first, last = ffi.new("uint64_t *"), ffi.new("uint64_t *")
    emit, ok = lib.rb_emitter_emit, lib.RB_OK

    def emit_once() -> None:
        published[0] = 0
        status = emit(handle, item, 1, published, stall, first, last)
        if status != ok:
            require(False, f"the core's emit ended with status {status}")

    return emit_once
