"""What the compiled module offers; the C declarations are in csrc/ring.h."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

class _FFI:
    CData: type[Any]
    NULL: Any
    def new(self, cdecl: str, init: object = ...) -> Any: ...
    def gc(self, cdata: Any, destructor: Callable[[Any], None]) -> Any: ...
    def cast(self, cdecl: str, source: object) -> Any: ...
    def string(self, cdata: Any) -> bytes: ...
    def from_buffer(self, buffer: bytes) -> Any: ...

ffi: _FFI
lib: Any

class Record(NamedTuple):
    seq: int
    ts_ns: int
    payload: bytes
    kind: int
    transient: bool
    emitter: int

class Emitter:
    report: Any
    def __new__(cls, address: int, report: Callable[..., None], /) -> Self: ...
    def emit(
        self, payload: bytes | bytearray | memoryview, kind: int = 0, transient: bool = False
    ) -> int: ...
    def emit_many(self, entries: Iterable[object], /) -> tuple[int, int]: ...

class Subscriber:
    report: Any
    def __new__(cls, address: int, report: Callable[..., Any], /) -> Self: ...
    def read(self, max_records: int = 256, timeout: float | None = None) -> list[Record]: ...
    def wait(self, timeout: float | None = None) -> bool: ...
