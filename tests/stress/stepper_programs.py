"""Builds the stepper's program, over the core as it is or with one source exchanged."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parent.parent / "csrc"
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion"]


class NotPossibleError(Exception):
    """Something that the stepper needs is missing here; the message says what."""


class BrokenError(Exception):
    """The stepper itself failed."""


def _run_compiler(*arguments: str | Path) -> None:
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    if shutil.which(compiler[0]) is None:
        raise NotPossibleError(
            f"there is no compiler {compiler[0]}; on Debian: apt install gcc libc6-dev"
        )
    built = subprocess.run([*compiler, *arguments], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise BrokenError(built.stderr)


def compile_source(source: Path, to: Path) -> Path:
    """The object of one source, in the folder `to`."""
    built = to / f"{source.stem}.o"
    _run_compiler(*FLAGS, f"-I{CORE}", "-c", source, "-o", built)
    return built


def link(objects: Iterable[Path], program: Path) -> Path:
    """With every symbol bound at the start: binding one later would be stepped through as well."""
    _run_compiler(*objects, "-Wl,-z,now", "-lpthread", "-o", program)
    return program


def compile_all(folder: Path) -> dict[str, Path]:
    """The objects of the stepper and of the core, without what talks to Python, by source name."""
    folder.mkdir()
    core = [source for source in CORE.glob("*.c") if not source.name.startswith("fastcall")]
    sources = [*HERE.glob("*.c"), *core]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        built = pool.map(lambda source: compile_source(source, folder), sources)
        return {source.name: one for source, one in zip(sources, built, strict=True)}
