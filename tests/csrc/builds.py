"""What the checkers of the C core share: building it, seeding defects into a copy, the verdict."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "csrc"
WARNINGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
LEVELS = ("ci", "full", "deep")


class MissingError(Exception):
    """A tool is not there; the message names the Debian package."""


class BrokenError(Exception):
    """The checker itself failed, so that there is no verdict."""


@dataclass(frozen=True)
class Defect:
    """Exact replacements that make a copy of the core unsound."""

    name: str
    changes: tuple[tuple[str, str, str], ...]  # file, old, new


def need(tool: str, package: str) -> str:
    """The tool's path."""
    found = shutil.which(tool)
    if found is None:
        raise MissingError(f"there is no {tool} (Debian: apt install {package})")
    return found


def core_sources(core: Path = CORE) -> list[Path]:
    """All of the core but what talks to Python."""
    return [path for path in sorted(core.glob("*.c")) if not path.name.startswith("fastcall")]


def build(
    compiler: Sequence[str],
    flags: Sequence[str],
    sources: Sequence[Path],
    program: Path,
    core: Path = CORE,
) -> None:
    """Compiles the sources together with the core, every warning an error."""
    command = [*compiler, *WARNINGS, *flags, f"-I{core}"]
    command += [str(path) for path in (*sources, *core_sources(core))]
    command += ["-o", str(program), "-lpthread"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise BrokenError(f"{' '.join(command)}\n{built.stderr}")


def seed(defect: Defect, folder: Path) -> Path:
    """A copy of the core that has the defect."""
    core = folder / "csrc"
    shutil.copytree(CORE, core)
    for file, old, new in defect.changes:
        text = (core / file).read_text()
        if text.count(old) != 1:
            raise BrokenError(f"{file} does not have {old!r} once: renew {defect.name!r}")
        (core / file).write_text(text.replace(old, new))
    return core


def say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Tally:
    """Cases and failures so far, for the verdict."""

    cases: int = 0
    failures: int = 0

    def add(self, cases: int, passed: bool, row: str, complaint: str = "") -> None:
        self.cases += cases
        self.failures += not passed
        say(f"{'ok    ' if passed else 'FAILED'} {row}")
        if not passed and complaint:
            say(complaint)


def run_checker(
    check: Callable[[argparse.Namespace, Tally], str], parser: argparse.ArgumentParser
) -> int:
    """Runs `check`, which returns what was tried, and prints the verdict; the exit status."""
    parser.add_argument("--level", choices=LEVELS, default="full")
    options = parser.parse_args()
    tally = Tally()
    started = time.monotonic()
    try:
        tried = check(options, tally)
    except MissingError as missing:
        print(f"{parser.prog}: {missing}", file=sys.stderr)
        return 3
    except BrokenError as broken:
        print(f"{parser.prog}: {broken}", file=sys.stderr)
        return 1
    say(f"{time.monotonic() - started:.0f} s")
    say(f"verdict: {tally.cases} cases, {tally.failures} failures; {tried}")
    return 0 if tally.failures == 0 else 1
