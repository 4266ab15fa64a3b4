"""An emitter of the C core, without the builtins that Python calls."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from benchmarks.harness import require
from ringbus import _native
from ringbus._native import CData, ffi, lib

LANES = 8  # only for the text of an error


class CoreEmitter:
    """For measuring: `repeat` and `emit_all` loop in C, `handle` is for stock cffi calls."""

    def __init__(self, name: str, *, limit_ns: int | None = None) -> None:
        """With `limit_ns` it waits so long for a gate; else it pushes it on."""
        policy = lib.RB_POLICY_DROP if limit_ns is None else lib.RB_POLICY_BLOCK
        self.handle = _native.open_emitter(name, policy, limit_ns or 0, LANES)

    def item(self, payload: bytes) -> CData:
        """The record to emit; `payload` must outlive it."""
        item = ffi.new("rb_item *")
        item.payload, item.length = ffi.from_buffer(payload), len(payload)
        return item

    def repeat(self, payload: bytes, count: int) -> None:
        """Emits the payload `count` times without coming back to Python."""
        status = lib.rb_emitter_repeat(self.handle, self.item(payload), count)
        require(status == lib.RB_OK, f"the core's emit ended with status {status}")

    def items(self, payloads: Sequence[bytes]) -> CData:
        """The records to emit; `payloads` must outlive them."""
        items = ffi.new("rb_item[]", len(payloads))
        for item, payload in zip(items, payloads, strict=True):
            item.payload, item.length = ffi.from_buffer(payload), len(payload)
        return items

    def emit_all(self, items: CData, count: int) -> None:
        """Emits the first `count`, and waits for gates that are in the way."""
        published, stall = ffi.new("size_t *"), ffi.new("rb_stall *")
        seqs = ffi.new("uint64_t[2]")
        status = lib.RB_WAIT
        while status == lib.RB_WAIT:
            status = lib.rb_emitter_emit(
                self.handle, items, count, published, stall, seqs, seqs + 1
            )
            if status == lib.RB_WAIT:
                lib.rb_emitter_park(self.handle, stall)
        require(status == lib.RB_OK, f"the core's emit ended with status {status}")

    def repeat_all(self, items: CData, count: int, turns: int) -> None:
        """Emits the first `count` again and again, with one call of Python's for each turn."""
        published, stall = ffi.new("size_t *"), ffi.new("rb_stall *")
        seqs = ffi.new("uint64_t[2]")
        emit, handle, status = lib.rb_emitter_emit, self.handle, lib.RB_OK
        for _ in range(turns):
            published[0] = 0
            status |= emit(handle, items, count, published, stall, seqs, seqs + 1)
        require(status == lib.RB_OK, f"the core's emit ended with status {status}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lib.rb_emitter_free(self.handle)
