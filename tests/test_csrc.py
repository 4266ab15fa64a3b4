"""The C core without Python, under the compiler's sanitizers."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from missing import go_without

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "tests/csrc/threads.c"
COMPILER = shlex.split(os.environ.get("CC", "gcc"))
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
ONE_MAPPING = ["-DONE_MAPPING", "-Wl,--wrap=mmap,--wrap=munmap"]


def build(flags: list[str], sources: list[Path], program: Path) -> None:
    command = [
        *COMPILER,
        *FLAGS,
        *flags,
        f"-I{ROOT / 'csrc'}",
        *sources,
        "-o",
        program,
        "-lpthread",
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def core_sources() -> list[Path]:
    """All of the core; what talks to Python is left out."""
    return [path for path in (ROOT / "csrc").glob("*.c") if not path.name.startswith("fastcall")]


def has_sanitizer(flags: list[str], tmp_path: Path) -> bool:
    """Whether the compiler has it, and what it builds starts on this machine."""
    source, program = tmp_path / "empty.c", tmp_path / "empty"
    source.write_text("int main(void) { return 0; }\n")
    command = [*COMPILER, *flags, source, "-o", program]
    built = subprocess.run(command, capture_output=True, check=False)
    return built.returncode == 0 and subprocess.run([program], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "records"),
    [
        ([], 60_000),
        (["-fsanitize=address,undefined", "-fno-sanitize-recover=all"], 20_000),
        # The compiler says that this sanitizer knows no fences; the copies behind them are atomic.
        (["-fsanitize=thread", "-Wno-tsan", *ONE_MAPPING], 8_000),
    ],
    ids=["plain", "address,undefined", "thread"],
)
def test_threads_over_one_ring(
    tmp_path: Path, ring_name: str, flags: list[str], records: int
) -> None:
    """Emitters, a gate and lossy subscribers: contents, order and counts are right."""
    if shutil.which(COMPILER[0]) is None:
        go_without(f"there is no compiler {COMPILER[0]}")
    if flags and not has_sanitizer(flags[:1], tmp_path):
        go_without(f"nothing that is built with {flags[0]} runs here")
    program = tmp_path / "threads"
    build(flags, [PROGRAM, *core_sources()], program)
    run = subprocess.run(
        [program, f"/dev/shm/ringbus.{ring_name}", str(records)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"gate {3 * records}, "), run.stdout
