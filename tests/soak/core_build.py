"""Compiles the workers with the real core, or with a copy of it in which one file is changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "csrc"
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion"]


class NotPossibleError(Exception):
    """Something that the soak needs is missing here; the message says what."""


class BrokenError(Exception):
    """The soak itself failed."""


def compiler() -> list[str]:
    command = shlex.split(os.environ.get("CC", "gcc"))
    if shutil.which(command[0]) is None:
        raise NotPossibleError(
            f"there is no C compiler {command[0]}; on Debian: apt install gcc libc6-dev"
        )
    return command


def run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokenError(done.stderr)


def compile_one(source: Path, target: Path) -> Path:
    run([*compiler(), *FLAGS, f"-I{CORE}", f"-I{HERE}", "-c", source, "-o", target])
    return target


def compile_all(folder: Path) -> dict[str, Path]:
    """Object files by the name of their source; what talks to Python is left out."""
    core = [path for path in CORE.glob("*.c") if not path.name.startswith("fastcall")]
    sources = sorted([*core, *HERE.glob("*.c")])
    targets = [folder / f"{path.stem}.o" for path in sources]
    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(compile_one, sources, targets))
    return {source.name: target for source, target in zip(sources, objects, strict=True)}


def link(objects: Mapping[str, Path], program: Path) -> Path:
    run([*compiler(), *objects.values(), "-o", program, "-lpthread", "-lrt"])
    return program
