"""The cheapest call from Python into C: empty_call.c, compiled when it is needed.

No builtin of the interpreter will do: none takes its arguments as `emit()` does (METH_FASTCALL
with keywords) and does nothing with them.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

from benchmarks.baselines.compiler import compile_library

SOURCE = Path(__file__).with_suffix(".c")


def build_empty_call() -> Callable[[bytes], None]:
    """Compiles the builtin into a temporary folder and loads it; needs a C compiler."""
    with tempfile.TemporaryDirectory() as folder:
        return _load(compile_library(SOURCE, Path(folder)))


def _load(library: Path) -> Callable[[bytes], None]:
    loader = ExtensionFileLoader("empty_call", str(library))
    spec = importlib.util.spec_from_loader("empty_call", loader)
    if spec is None:
        raise ImportError(f"{library} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    empty: Callable[[bytes], None] = module.empty
    return empty
