"""Builds the stepper, runs its cases and prints a table.

    python tests/stress/verify.py [--deep] [--stride N] [--self-test] [CASE ...]

Without options short cases are stepped at every instruction and long ones at a stride that the
table states; --deep takes every instruction of every case. --self-test builds against
broken copies of the core and fails unless each defect is found.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "csrc"
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wl,-z,now"]
CASES = [
    "in-block",
    "empty",
    "exact-fill",
    "crossing",
    "first",
    "stale",
    "sleeper",
    "gate",
    "multi-block",
    "lane",
    "gate-register",
    "gate-advance",
    "gate-close",
    "recovery",
    "quarter",
    "creation",
    "unlink",
]
# Unless told otherwise, so many boundaries of a case are tried, spread evenly.
SAMPLES = 1_000
NO_TRACING = 77
LONGEST_S = 24 * 3600


class NotPossibleError(Exception):
    """Something that the stepper needs is missing here; the message says what."""


class BrokenError(Exception):
    """The stepper itself failed."""


@dataclass(frozen=True)
class Result:
    case: str
    boundaries: int
    stride: int
    kills: int
    stops: int
    failures: int
    astray: int  # runs that were at another instruction than meant
    seconds: float
    complaints: str

    def row(self) -> str:
        return (
            f"{self.case:<14} {self.boundaries:>10} {self.stride:>6} {self.kills:>6} "
            f"{self.stops:>6} {self.failures:>8} {self.astray:>6} {self.seconds:>7.1f} s"
        )


HEADING = "case           boundaries stride  kills  stops failures astray      time"


def build(program: Path, core: Path = CORE) -> None:
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    if shutil.which(compiler[0]) is None:
        raise NotPossibleError(f"there is no compiler {compiler[0]}")
    # What talks to Python is left out.
    sources = [path for path in sorted(core.glob("*.c")) if not path.name.startswith("fastcall")]
    command = [*compiler, *FLAGS, f"-I{core}", *sorted(HERE.glob("*.c")), *sources]
    built = subprocess.run(
        [*command, "-o", program, "-lpthread"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise BrokenError(built.stderr)


def step(
    program: Path, case: str, what: str, limit_s: float = LONGEST_S
) -> tuple[list[int], str, int]:
    """The numbers of the last line, the complaints, and the status."""
    path = f"/dev/shm/ringbus.stepper-{os.getpid()}"
    try:
        run = subprocess.run(
            [program, path, case, what],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    finally:
        Path(path).unlink(missing_ok=True)
    if run.returncode == NO_TRACING:
        raise NotPossibleError("ptrace is not permitted here")
    return [int(word) for word in run.stdout.split()[1:]], run.stderr, run.returncode


def sampling_stride(boundaries: int) -> int:
    """Odd, so that it is not in step with a loop of even length."""
    stride = boundaries // SAMPLES
    return 1 if stride <= 1 else stride | 1


def run_case(program: Path, case: str, stride: int | None) -> Result:
    started = time.monotonic()
    if stride is None:
        counted, complaints, status = step(program, case, "count")
        if status != 0:
            raise BrokenError(complaints or f"{case}: counting ended with status {status}")
        stride = sampling_stride(counted[0])
    numbers, complaints, status = step(program, case, str(stride))
    if len(numbers) != 5:
        # It hung or crashed: there is no last line.
        numbers = [0, 0, 0, 1, 0]
        complaints += f"{case}: the stepper ended with status {status}\n"
    boundaries, kills, stops, failures, astray = numbers
    return Result(
        case=case,
        boundaries=boundaries,
        stride=stride,
        kills=kills,
        stops=stops,
        failures=failures,
        astray=astray,
        seconds=time.monotonic() - started,
        complaints=complaints,
    )


def run_cases(program: Path, cases: list[str], stride: int | None) -> bool:
    print(HEADING)
    results = []
    for case in cases:
        result = run_case(program, case, stride)
        results.append(result)
        print(result.row(), flush=True)
        print(result.complaints, end="", file=sys.stderr)
    kills = sum(result.kills for result in results)
    stops = sum(result.stops for result in results)
    failures = sum(result.failures for result in results)
    print(f"{kills} runs with a kill, {stops} with a stop, {failures} failures")
    return failures == 0


@dataclass(frozen=True)
class Defect:
    name: str
    file: str
    old: str
    new: str
    case: str
    stride: int


DEFECTS = [
    Defect(
        "publish with a plain store",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)",
        "(__atomic_store_n(slot, (t & ~mask) | cell, __ATOMIC_SEQ_CST), true)",
        "in-block",
        1,
    ),
    Defect(
        "blocks given back before the record is published",
        "emitter.c",
        "    *t = rb_order_publish(segment, e->t, cell);\n",
        "    settle_blocks(e, need, chained, e->t);\n"
        "    *t = rb_order_publish(segment, e->t, cell);\n"
        "    e->t = *t + 1;\n    e->number++;\n    return RB_OK;\n",
        "exact-fill",
        3,
    ),
    Defect(
        "recovered blocks look empty",
        "pool.c",
        "uint64_t newest = rb_order_tail(segment) - 1;",
        "uint64_t newest = 0;",
        "in-block",
        5,
    ),
    Defect(
        "blocks of the living are recovered",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe < 0",
        "in-block",
        5,
    ),
    Defect(
        "the floor is not raised",
        "pool.c",
        "if (newest >= rb_floor_of(floor)) {",
        "if (newest == UINT64_MAX && newest >= rb_floor_of(floor)) {",
        "in-block",
        50,
    ),
    Defect(
        "the sleep bit is cleared first, then sleepers are woken",
        "wait.c",
        "    syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, 0L, word,\n"
        "            FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));",
        "    __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);\n"
        "    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);",
        "sleeper",
        1,
    ),
    Defect(
        "a creator replaces the ring that is there",
        "segment.c",
        "    if (linkat(AT_FDCWD, unnamed",
        "    unlink(path);\n    if (linkat(AT_FDCWD, unnamed",
        "creation",
        7,
    ),
]


def seed(defect: Defect, folder: Path) -> None:
    shutil.copytree(CORE, folder)
    path = folder / defect.file
    text = path.read_text()
    if text.count(defect.old) != 1:
        raise BrokenError(f"{defect.file} does not have {defect.old!r} once: renew the defect")
    path.write_text(text.replace(defect.old, defect.new))


def self_test(folder: Path) -> bool:
    """Whether each seeded defect is found where the sound core passes."""
    caught = 0
    for number, defect in enumerate(DEFECTS):
        core, program = folder / f"core{number}", folder / f"step{number}"
        seed(defect, core)
        build(program, core)
        _, complaints, status = step(program, defect.case, str(defect.stride))
        caught += status != 0
        first = complaints.splitlines()[0] if complaints else f"status {status}"
        print(f"{'caught' if status != 0 else 'MISSED'}: {defect.name}: {first}", flush=True)
    print(f"{caught} of {len(DEFECTS)} seeded defects caught")
    return caught == len(DEFECTS)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill and stop at every instruction.")
    parser.add_argument("--deep", action="store_true", help="every instruction of every case")
    parser.add_argument("--stride", type=int, help="every N-th instruction of every case")
    parser.add_argument("--self-test", action="store_true", help="run against seeded defects")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    options = parser.parse_args(arguments)
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    if options.stride is not None and options.stride < 1:
        parser.error("a stride is at least 1")
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="ringbus-stepper-") as name:
        folder = Path(name)
        if options.self_test:
            return 0 if self_test(folder) else 1
        program = folder / "step"
        build(program)
        stride = 1 if options.deep else options.stride
        return 0 if run_cases(program, options.cases or CASES, stride) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (NotPossibleError, BrokenError) as error:
        sys.exit(f"verify: {error}")
