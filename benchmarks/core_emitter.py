"""An emitter of the C core, without the builtins that Python calls."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from benchmarks.harness import require
from ringbus import _native
from ringbus._native import CData, ffi, lib

LANES = 8  # only for the text of an error


class CoreEmitter:
    """For measuring: `repeat` is a loop in C, `handle` is for calls through stock cffi."""

    def __init__(self, name: str) -> None:
        self.handle = _native.open_emitter(name, lib.RB_POLICY_DROP, 0, LANES)

    def item(self, payload: bytes) -> CData:
        """The record to emit; `payload` must outlive it."""
        item = ffi.new("rb_item *")
        item.payload, item.length = ffi.from_buffer(payload), len(payload)
        return item

    def repeat(self, payload: bytes, count: int) -> None:
        """Emits the payload `count` times without coming back to Python."""
        status = lib.rb_emitter_repeat(self.handle, self.item(payload), count)
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
