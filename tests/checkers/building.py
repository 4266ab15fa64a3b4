"""Builds programs over the C core: all of it but what talks to Python, every warning an error."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checkers.verdict import BrokenError, MissingError

CORE = Path(__file__).resolve().parents[2] / "csrc"
WARNINGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
LIBRARIES = ["-lpthread", "-lrt"]


def need(tool: str, package: str) -> str:
    """The tool's path."""
    found = shutil.which(tool)
    if found is None:
        raise MissingError(f"there is no {tool} (Debian: apt install {package})")
    return found


def c_compiler() -> list[str]:
    """The one that CC names, else gcc."""
    command = shlex.split(os.environ.get("CC", "gcc"))
    need(command[0], "gcc libc6-dev")
    return command


def core_sources(core: Path = CORE) -> list[Path]:
    """All of the core but what talks to Python."""
    return [path for path in sorted(core.glob("*.c")) if not path.name.startswith("fastcall")]


def run_tool(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """What a compiler, or the like, printed; the checker is broken if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokenError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(
    compiler: Sequence[str],
    flags: Sequence[str],
    sources: Sequence[Path],
    program: Path,
    core: Path = CORE,
) -> None:
    """Compiles the sources together with the core."""
    command = [*compiler, *WARNINGS, *flags, f"-I{core}", *sources, *core_sources(core)]
    run_tool([*command, "-o", program, *LIBRARIES])


def compile_sources(sources: Sequence[Path], folder: Path, core: Path = CORE) -> dict[str, Path]:
    """Their objects, by the name of the source; `folder` has to be there."""
    compiler = c_compiler()

    def compile_one(source: Path) -> tuple[str, Path]:
        target = folder / f"{source.stem}.o"
        run_tool([*compiler, *WARNINGS, "-O2", f"-I{core}", "-c", source, "-o", target])
        return source.name, target

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(pool.map(compile_one, sources))


def compile_with_core(own: Path, folder: Path) -> dict[str, Path]:
    """The objects of the sources in `own` and of the core."""
    return compile_sources([*sorted(own.glob("*.c")), *core_sources()], folder)


def link(objects: Iterable[Path], program: Path) -> Path:
    """With every symbol bound at the start: the stepper would step through binding one later."""
    run_tool([*c_compiler(), *objects, "-Wl,-z,now", "-o", program, *LIBRARIES])
    return program
