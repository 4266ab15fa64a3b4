"""Builds the C core for aarch64, runs its programs under qemu and looks at the instructions.

    python tests/csrc/aarch64.py [--level ci|full|deep]

Running under qemu on x86-64 shows function, not ordering: the emulated processor reorders nothing
that this one does not. What is checked of ordering is static: that each ordered access of the
source became an ordered instruction. Whether the orders suffice is the litmus models' business.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from checkers.building import CORE, WARNINGS, build, core_sources, need, run_tool
from checkers.seeding import Defect, seed
from checkers.verdict import BrokenError, Score, new_parser, run_checker, say
from csrc.sanitize import FALSE_DEATH, HERE, JOBS, PROBERS, THREADS, Program, run_program

PREFIX = "aarch64-linux-gnu-"
LIBRARIES = "/usr/aarch64-linux-gnu"
DEEP_S = 900

# With exclusive pairs, and with the atomic instructions of 8.1.
MACHINES = {
    "armv8-a": ("-march=armv8-a", "-mno-outline-atomics"),
    "armv8.1-a": ("-march=armv8.1-a", "-mno-outline-atomics"),
}


@dataclass(frozen=True)
class Run:
    """A program, and how much of it."""

    name: str
    program: Program
    amount: int


RUNS = [
    Run("threads", THREADS, 6_000),
    Run("false death", FALSE_DEATH, 0),
    Run("probers", PROBERS, 100),
]

# Of the services that the core needs; the programs above do not stand on those that qemu ignores.
MAY_BE_IGNORED = {"MADV_WIPEONFORK", "MADV_DONTFORK"}


@dataclass(frozen=True)
class Sort:
    """A sort of ordered access: how the source writes it, and the instructions that may stand for
    it, with exclusive pairs and with atomic instructions."""

    name: str
    written: str
    exclusive: str
    atomic: str


SORTS = [
    Sort("acquire load", r"\brb_load_(?:acquire|seq_cst)_", r"ldar", r"ldar|ldapr"),
    Sort("release store", r"\brb_store_release_", r"stlr", r"stlr"),
    Sort("swap", r"\brb_cas_", r"stlxr", r"casal"),
    Sort("or, and", r"\brb_fetch_", r"stlxr", r"ldsetal|ldclral"),
    Sort("fence", r"\brb_fence_", r"dmb", r"dmb"),
]
# Each swap with exclusives loads in order, too.
EXCLUSIVE_LOAD = Sort("exclusive load", r"\brb_(?:cas|fetch)_", r"ldaxr", r"")

DEFECTS = [
    Defect(
        "acquire loads are relaxed",
        "atomics.h",
        "__atomic_load_n(word, __ATOMIC_ACQUIRE)",
        "__atomic_load_n(word, 0)",
    ),
    Defect(
        "swaps of order acq_rel are relaxed",
        "atomics.h",
        "false, __ATOMIC_ACQ_REL,       \\\n"
        "                                           __ATOMIC_ACQUIRE);",
        "false, __ATOMIC_RELAXED,       \\\n"
        "                                           __ATOMIC_RELAXED);",
    ),
    Defect(
        "the fence after taking a block is left out",
        "pool.c",
        "    rb_fence_release();\n",
        "",
    ),
]


def cross(tool: str) -> str:
    packages = {"gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"}
    return need(PREFIX + tool, packages.get(tool, "binutils-aarch64-linux-gnu"))


def qemu() -> list[str]:
    return [need("qemu-aarch64", "qemu-user"), "-L", LIBRARIES]


# Instructions.


def code_of(path: Path) -> str:
    """The source without comments."""
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def instructions_of(path: Path, core: Path, machine: str, folder: Path) -> list[str]:
    compiled = folder / f"{path.stem}-{machine}.o"
    # Cross-jumping would make one instruction of two accesses that the source writes twice.
    flags = [*WARNINGS, "-O2", "-fno-crossjumping", *MACHINES[machine], f"-I{core}"]
    run_tool([cross("gcc"), *flags, "-c", path, "-o", compiled])
    listing = run_tool([cross("objdump"), "-d", "--no-show-raw-insn", compiled])
    return re.findall(r"^\s*[0-9a-f]+:\t(\S+)", listing, re.MULTILINE)


def lacking(core: Path, sources: Path, machine: str, folder: Path) -> tuple[int, list[str]]:
    """Ordered accesses written in the .c files of `sources`, and what `core` made too few of.

    Inlining makes more of them, so that there may be more instructions than accesses, never fewer.
    """
    written = 0
    missing = []
    sorts = [*SORTS, *([EXCLUSIVE_LOAD] if machine == "armv8-a" else [])]
    for path in core_sources(core):
        instructions = instructions_of(path, core, machine, folder)
        code = code_of(sources / path.name)
        for sort in sorts:
            wanted = len(re.findall(sort.written, code))
            pattern = sort.exclusive if machine == "armv8-a" else sort.atomic
            there = sum(re.fullmatch(pattern, one) is not None for one in instructions)
            written += wanted
            if there < wanted:
                missing.append(f"{path.name}: {there} of {wanted} ({sort.name})")
    return written, missing


def check_instructions(folder: Path, score: Score) -> None:
    for machine in MACHINES:
        written, missing = lacking(CORE, CORE, machine, folder)
        row = f"{machine}: {written} ordered accesses became ordered instructions"
        score.add(written, not missing, row, "\n".join(missing))
    for number, defect in enumerate(DEFECTS):
        place = folder / f"defect{number}"
        place.mkdir()
        core = seed(defect, place)
        missing = [one for machine in MACHINES for one in lacking(core, CORE, machine, place)[1]]
        words = missing[0] if missing else "every instruction is there"
        score.add_defect(bool(missing), f"{defect.name}: {words}")


# Programs.


def check_kernel(folder: Path, score: Score) -> None:
    program = folder / "kernel"
    build([cross("gcc")], ["-O2"], [HERE / "kernel.c"], program)
    with tempfile.TemporaryDirectory(prefix="ringbus-csrc-", dir="/dev/shm") as memory:
        run = subprocess.run(
            [*qemu(), str(program), memory], capture_output=True, text=True, check=False
        )
    if run.returncode != 0:
        raise BrokenError(f"qemu-aarch64: {run.stderr}")
    for service, answer in re.findall(r"^(.*): (\w+)$", run.stdout, re.MULTILINE):
        passed = answer == "yes" or (answer == "ignored" and service in MAY_BE_IGNORED)
        note = "" if answer == "yes" else ": what rests on it (use after fork) is not tested here"
        score.add(1, passed, f"qemu, {service}: {answer}{note}")


def build_runs(folder: Path) -> dict[tuple[str, str], Path]:
    programs = {
        (machine, run.name): folder / f"{machine}-{number}"
        for machine in MACHINES
        for number, run in enumerate(RUNS)
    }

    def build_one(machine: str, run: Run) -> None:
        sources = [HERE / name for name in run.program.sources]
        flags = ["-O2", *MACHINES[machine], *run.program.flags]
        build([cross("gcc")], flags, sources, programs[machine, run.name])

    with ThreadPoolExecutor(JOBS) as pool:
        futures = [pool.submit(build_one, machine, run) for machine in MACHINES for run in RUNS]
        for future in futures:
            future.result()
    return programs


def check_runs(programs: dict[tuple[str, str], Path], divisor: int, score: Score) -> None:
    for (machine, name), program in programs.items():
        run = next(run for run in RUNS if run.name == name)
        began = time.monotonic()
        done = run_program([*qemu(), str(program)], run.amount // divisor, run.program.amounts)
        lines = done.stdout.strip().splitlines()
        passed = done.returncode == 0 and bool(lines)
        last = lines[-1] if passed and run.program.amounts else f"{len(lines)} scenarios"
        row = f"{machine}: {name} under qemu: {last}, {time.monotonic() - began:.1f} s"
        score.add(max(len(lines), 1), passed, row, done.stderr[-2000:])


# What talks to Python.


def check_bindings(folder: Path, score: Score) -> None:
    """Only read by the compiler: there is no Python for aarch64 to link with."""
    include = Path(sysconfig.get_path("include"))
    # Debian keeps pyconfig.h by machine; both are of the same sizes.
    here = Path("/usr/include") / str(sysconfig.get_config_var("MULTIARCH"))
    if here.is_dir():
        (folder / "aarch64-linux-gnu").symlink_to(here)
    flags = [*WARNINGS, "-O2", "-fsyntax-only", f"-isystem{include}", f"-isystem{folder}"]
    for path in sorted(CORE.glob("fastcall*.c")):
        read = subprocess.run(
            [cross("gcc"), *flags, f"-I{CORE}", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        score.add(1, read.returncode == 0, f"read only, not run: {path.name}", read.stderr)


def check(options: argparse.Namespace, score: Score) -> str:
    divisor = 3 if options.level == "ci" else 1
    until = time.monotonic() + (DEEP_S if options.level == "deep" else 0)
    rounds = 0
    with tempfile.TemporaryDirectory(prefix="ringbus-aarch64-") as name:
        folder = Path(name)
        check_kernel(folder, score)
        check_instructions(folder, score)
        check_bindings(folder, score)
        programs = build_runs(folder)
        while rounds == 0 or time.monotonic() < until:
            rounds += 1
            check_runs(programs, divisor, score)
    say("function, not ordering: qemu reorders nothing that this processor does not")
    return (
        f"{len(programs)} programs under qemu, {rounds} rounds, instructions of "
        f"{len(MACHINES)} machines, {score.defects()}"
    )


def main() -> int:
    parser = new_parser("aarch64", "The C core on aarch64.")
    return run_checker("aarch64", check, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
