"""Builds without an interpreter lock: what can be known where there is no such interpreter.

The headers here may be of an ordinary build. What is shown is that the sources that Python sees
compile without the stable ABI, which free-threaded builds lack, and count on nothing of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from missing import go_without

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path.name for path in (ROOT / "csrc").glob("fastcall*.c"))


@pytest.mark.parametrize("source", SOURCES)
def test_builtins_compile_without_the_stable_abi(source: str) -> None:
    """With every warning an error."""
    compiler = shutil.which("gcc")
    if compiler is None:
        go_without("there is no gcc")
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        go_without(f"there is no Python.h in {include}: install python3-dev")
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wconversion"]
    options = ["-std=c11", "-fsyntax-only", "-DPy_GIL_DISABLED=1", "-isystem", include]
    run = subprocess.run(
        [compiler, *options, *warnings, ROOT / "csrc" / source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_stable_abi_is_asked_for_where_there_is_an_interpreter_lock_only() -> None:
    """The one place that says so: a forgotten one would be a wheel that does not load."""
    header = (ROOT / "csrc" / "fastcall.h").read_text()
    assert "#ifndef Py_GIL_DISABLED\n#define Py_LIMITED_API 0x030B0000\n#endif" in header
    users = [
        path.name for path in (ROOT / "csrc").glob("*.[ch]") if "Py_LIMITED_API" in path.read_text()
    ]
    assert users == ["fastcall.h"]
