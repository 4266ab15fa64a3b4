"""Builds the compiled module `ringbus._core` with cffi (API mode).

The interface is declared once, between the markers in `csrc/ring.h`; the compiler checks cffi's
reading of it. `setup.py` names `ffibuilder` in `cffi_modules`.

RINGBUS_SANITIZE=address, undefined or thread builds with that sanitizer.
"""

import os
import re
import sysconfig
from pathlib import Path
from typing import Any

from cffi import FFI

SOURCES = Path("csrc")
MARKED = re.compile(r"/\* cffi: begin \*/(.*)/\* cffi: end \*/", re.DOTALL)


def declarations(header: str) -> str:
    """The part of `ring.h` that cffi reads."""
    found = MARKED.search(header)
    if found is None:
        raise RuntimeError("csrc/ring.h has lost its cffi markers")
    return found.group(1)


def flags() -> list[str]:
    """Flags for compiler and linker; the level of optimisation is the interpreter's own."""
    sanitizer = os.environ.get("RINGBUS_SANITIZE")
    if sanitizer:
        return [f"-fsanitize={sanitizer}", "-fno-omit-frame-pointer", "-g"]
    # The hot path crosses files: gcc inlines it at the link. Other compilers may lack the plugin.
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or ""
    return ["-flto=auto", "-fno-plt"] if "gcc" in compiler else []


def abi() -> dict[str, Any]:
    """cffi would use the stable ABI of free-threaded builds from 3.15 on; ours does not."""
    return {"py_limited_api": False} if sysconfig.get_config_var("Py_GIL_DISABLED") else {}


# SQLite programs without Python load the module, too (csrc/table.c): there these stay unresolved.
WEAK = [
    "-DPyAPI_FUNC(type)=__attribute__((weak)) type",
    "-DPyAPI_DATA(type)=extern __attribute__((weak)) type",
]

ROOT = Path(__file__).resolve().parent.parent
ffibuilder = FFI()
ffibuilder.cdef(declarations((ROOT / SOURCES / "ring.h").read_text()))
ffibuilder.set_source(
    "ringbus._core",
    '#include "ring.h"',
    sources=sorted(str(SOURCES / path.name) for path in (ROOT / SOURCES).glob("*.c")),
    include_dirs=[str(SOURCES)],
    depends=sorted(str(SOURCES / path.name) for path in (ROOT / SOURCES).glob("*.h")),
    extra_compile_args=["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra", *WEAK, *flags()],
    extra_link_args=flags(),
    libraries=["pthread"],
    **abi(),
)
