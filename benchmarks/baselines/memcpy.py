"""memcpy() of a payload: the floor under every emit (memcpy.c)."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.baselines.compiler import compile_library

SOURCE = Path(__file__).with_suffix(".c")


def build_copy() -> Callable[[int, int], float]:
    """`copy(size, count)`: ns for each of so many copies; needs a C compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(compile_library(SOURCE, Path(folder))))
    library.copy_ns.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    library.copy_ns.restype = ctypes.c_double
    copy: Callable[[int, int], float] = library.copy_ns
    return copy
