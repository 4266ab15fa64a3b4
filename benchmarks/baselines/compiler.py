"""Compiles a baseline's one C file into a library, with the compiler that Python was built with."""

from __future__ import annotations

import shlex
import subprocess
import sysconfig
from pathlib import Path


def compile_library(source: Path, folder: Path) -> Path:
    """The library in `folder`; needs a C compiler, and the headers that the file includes."""
    library = folder / f"{source.stem}.so"
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_path("include")
    options = ["-O2", "-fPIC", "-shared", f"-I{include}"]
    subprocess.run([*compiler, *options, str(source), "-o", str(library)], check=True)
    return library
