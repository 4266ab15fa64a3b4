"""Fuzzes the C core: attaching to arbitrary bytes, and a living ring that is scribbled into.

    python tests/fuzz/fuzz.py [--level ci|full|deep]
    python tests/fuzz/fuzz.py --replay attach|live HEX     one input again, with all that it prints

Both targets run side by side under the address and undefined-behaviour sanitizers, first on inputs
that once failed. Then copies of the core with a seeded defect are fuzzed; each must be caught.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from checkers.building import CORE, build, need
from checkers.seeding import Defect, seed
from checkers.verdict import BrokenError, MissingError, Score, new_parser, run_checker, say

HERE = Path(__file__).resolve().parent
FLAGS = ["-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", f"-I{HERE}"]
WRAPPED = "-Wl,--wrap=mmap,--wrap=munmap,--wrap=rb_monotonic_ns,--wrap=nanosleep"
SOURCES = {"attach": ["attach.c", "ring_file.c"], "live": ["live.c", "truth.c", "ring_file.c"]}
LONGEST = {"attach": 512, "live": 1280}  # bytes of an input
HANG_S = 25  # an input takes about a millisecond
DEFECT_HANG_S = 3
SURE = 4  # times as long, for an input that seemed to hang
DEFECT_S = 60  # a defect that is not caught by then is missed
SECONDS = {"ci": 12, "full": 60, "deep": 1620}  # of fuzzing the sound core, both targets at once
DEFECTS_AT_CI = 2

# Steps of the live target.
CHANGE, SUBSCRIBE, PEEK, COPY, READ, OPEN, EMIT = 0, 3, 4, 5, 6, 7, 8
CLOSE, LEAVE, ADVANCE, ASK = 10, 11, 12, 13
# A change's part of the file, and how a word is changed.
PARTS, HINT = 12, 1
FLIP, ALL_ONES = 6, 10


def step(what: int, who: int = 0, where: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBHI", what, who, where, value)


def flip(part: int, where: int, bit: int) -> bytes:
    return step(CHANGE, part, where, FLIP + 8 * bit)


OLDEST = 1  # a subscriber's value

# Inputs on which the core once failed, and what it did.
REGRESSIONS = {
    "attach": {
        "publish tried for ever: order slots and hint near 2**64": bytes.fromhex(
            "0ef7ff7effffffff0104000000000000faffffffffffffffff7effffff"
        )
    },
    "live": {
        "publish tried for ever: a hint of all ones": step(OPEN, 0)
        + step(OPEN, 1)
        + step(EMIT, 1)
        + step(CHANGE, HINT, value=ALL_ONES)
        + step(EMIT, 0, value=15),
        "a gate pushed for ever: nothing is above the last number": bytes.fromhex(
            "0001000f525252520700010000000800"
            "08000f000000080008000a000f000000"
            "0800000b0f00000008000c000f00000008000e000f000000"
        ),
    },
}


def seeds() -> dict[str, list[bytes]]:
    """Inputs to begin with, so that every kind of file and of step is there at once."""
    read = [step(SUBSCRIBE, value=OLDEST), step(READ, value=63), step(READ, value=63)]
    emit = [step(OPEN, where=1), *(step(EMIT, where=i, value=15) for i in range(23)), step(CLOSE)]
    gate = [step(SUBSCRIBE, 1, where=2), step(READ, 1, value=63), step(ADVANCE, 1), *emit]
    live = [b"".join(script) for script in (read, emit, gate, [*gate, *read, step(ASK), *emit])]
    for part in range(PARTS):
        change = [flip(part, where, 7 * where) for where in (0, 3, 20)]
        between = [step(SUBSCRIBE, value=OLDEST), step(PEEK), *change, step(COPY)]
        live.append(b"".join([*between, step(READ, value=63), *emit[:12], step(READ, value=63)]))
        live.append(b"".join([*emit[:4], *change, *emit[4:], *read, step(LEAVE)]))
    patterns = [bytes(16), b"\xff" * 16, bytes(range(64)), struct.pack("<QQ", 1500, 700 << 12)]
    attach = [bytes([mode]) + pattern for mode in range(5) for pattern in patterns]
    return {"attach": attach, "live": live}


@dataclass(frozen=True)
class FuzzDefect(Defect):
    """A defect, and the target that must catch it."""

    target: str


DEFECTS = [
    FuzzDefect(
        "lengths are not bounded",
        "subscriber.c",
        "header.length > rb_segment_max_payload(segment)",
        "mask == 1",
        "live",
        also=(("subscriber.c", "record->length > rb_segment_max_payload(segment)", "false"),),
    ),
    FuzzDefect(
        "links are not bounded",
        "record.h",
        "rb_load_relaxed_32(&segment->next[block]) & block_mask",
        "rb_load_relaxed_32(&segment->next[block]) | (block_mask & 0)",
        "live",
    ),
    FuzzDefect(
        "subscribers do not look at the floor again",
        "subscriber.c",
        "segment->hot->floor)) <= number",
        "segment->hot->floor)) <= number + UINT32_MAX",
        "live",
    ),
    FuzzDefect(
        "publish tries for ever",
        "order.c",
        "if (next <= t || next > RB_CURSOR_MASK)",
        "if (next == 1)",
        "live",
    ),
    FuzzDefect(
        "recovered blocks look empty",
        "pool.c",
        "uint64_t newest = rb_order_tail(segment) - 1;",
        "uint64_t newest = 0;",
        "live",
    ),
    FuzzDefect(
        "the size of the file is not compared",
        "segment.c",
        "(uint64_t)file->st_size != g.file_size",
        "(uint64_t)file->st_size > UINT32_MAX",
        "attach",
    ),
    FuzzDefect(
        "the version is not compared",
        "segment.c",
        "if (h->version != RB_VERSION) {",
        "if (h->version == UINT32_MAX) {",
        "attach",
    ),
    FuzzDefect(
        "names of gates are taken to end",
        "ring.c",
        "memcpy(stats->name, gate->name, sizeof stats->name - 1);",
        "strcpy(stats->name, gate->name);",
        "attach",
    ),
]


@dataclass(frozen=True)
class Run:
    """What one run of a fuzzer did."""

    executions: int
    covered: int  # edges of the core and of the target
    seconds: float
    found: bytes | None  # the input that failed
    words: str

    def said(self) -> str:
        """The line that tells what went wrong."""
        telling = re.findall(
            r"^.*(?:not so:|ERROR: \w|runtime error|timeout after).*$", self.words, re.MULTILINE
        )
        return telling[0].strip() if telling else self.words[-300:]


def build_target(target: str, program: Path, core: Path = CORE) -> None:
    compiler = need("clang", "clang")
    runtime = subprocess.run(
        [compiler, "-print-file-name=libclang_rt.fuzzer-x86_64.a"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        raise MissingError("clang has no libFuzzer (Debian: apt install libclang-rt-14-dev)")
    build([compiler], [*FLAGS, WRAPPED], [HERE / name for name in SOURCES[target]], program, core)


def execute(program: Path, folder: Path, arguments: list[str]) -> tuple[float, str, int]:
    """Runs a fuzzer with its files in `folder` and its ring in memory: time, words, status."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ringbus-fuzz-", dir="/dev/shm") as memory:
        run = subprocess.run(
            [program, *arguments],
            cwd=folder,
            env={**os.environ, "RINGBUS_FUZZ_FOLDER": memory},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
    words = run.stderr.decode(errors="replace")
    return time.monotonic() - began, words, run.returncode


def number_after(label: str, words: str) -> int:
    found = re.findall(rf"{label}:?\s+(\d+)", words)
    return int(found[-1]) if found else 0


def fuzz(target: str, program: Path, folder: Path, seconds: int, hang_s: int = HANG_S) -> Run:
    """From the seeds and what once failed, to the first input that fails, or for so long."""
    corpus = folder / f"{program.name}-corpus"
    corpus.mkdir()
    for number, data in enumerate([*seeds()[target], *REGRESSIONS[target].values()]):
        (corpus / f"seed-{number}").write_bytes(data)
    done = Run(0, 0, 0.0, None, "")
    while done.found is None and done.seconds < seconds:
        run = fuzz_once(target, program, folder, math.ceil(seconds - done.seconds), hang_s)
        if run.found is not None and "timeout after" in run.words:
            passed, _ = replay(program, folder, run.found, SURE * hang_s)
            if passed:  # the machine was busy: the fuzzer's limit is by the clock on the wall
                run = replace(run, found=None)
        executions, took = done.executions + run.executions, done.seconds + run.seconds
        done = replace(run, executions=executions, seconds=took)
    return done


def fuzz_once(target: str, program: Path, folder: Path, seconds: int, hang_s: int) -> Run:
    corpus = folder / f"{program.name}-corpus"
    marks = f"{program.name}-found-"
    arguments = [
        f"-max_total_time={seconds}",
        f"-timeout={hang_s}",
        f"-max_len={LONGEST[target]}",
        "-len_control=0",
        "-print_final_stats=1",
        "-rss_limit_mb=4096",
        f"-artifact_prefix={marks}",
        corpus.name,
    ]
    took, words, status = execute(program, folder, arguments)
    inputs = sorted(folder.glob(f"{marks}*"))
    if status != 0 and not inputs:
        raise BrokenError(words[-2000:])
    found = inputs[0].read_bytes() if inputs else None
    for path in inputs:
        path.unlink()
    return Run(
        number_after("stat::number_of_executed_units", words),
        number_after("cov", words),
        took,
        found,
        words,
    )


def replay(program: Path, folder: Path, data: bytes, hang_s: int = HANG_S) -> tuple[bool, str]:
    """One input; whether it passed, and what was printed."""
    path = folder / f"{program.name}-input"
    path.write_bytes(data)
    _, words, status = execute(program, folder, [f"-timeout={hang_s}", path.name])
    return status == 0, words


def check_sound(folder: Path, seconds: int, score: Score) -> list[Run]:
    programs = {target: folder / target for target in SOURCES}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: build_target(*one), programs.items()))
        for target, program in programs.items():
            for name, data in REGRESSIONS[target].items():
                passed, words = replay(program, folder, data)
                score.add(1, passed, f"{target:<7} once failed: {name}", words)
        runs = list(pool.map(lambda one: fuzz(*one, folder, seconds), programs.items()))
    for target, run in zip(programs, runs, strict=True):
        row = (
            f"{target:<7} {run.executions} inputs, {run.covered} edges covered, {run.seconds:.0f} s"
        )
        complaint = f"{run.words[-4000:]}\n--replay {target} {(run.found or b'').hex()}"
        score.add(run.executions, run.found is None, row, complaint)
    return runs


def catch(defect: FuzzDefect, folder: Path) -> Run:
    """Fuzzes a copy of the core that has the defect."""
    folder.mkdir()
    program = folder / "seeded"
    build_target(defect.target, program, seed(defect, folder))
    return fuzz(defect.target, program, folder, DEFECT_S, DEFECT_HANG_S)


def check_defects(folder: Path, defects: list[FuzzDefect], score: Score) -> None:
    with ThreadPoolExecutor(2) as pool:
        folders = [folder / f"defect{number}" for number in range(len(defects))]
        for defect, run in zip(defects, pool.map(catch, defects, folders), strict=True):
            how = f"by {defect.target} after {run.seconds:.1f} s: {run.said()}"
            score.add_defect(run.found is not None, f"{defect.name}: {how}")


def check(options: argparse.Namespace, score: Score) -> str:
    defects = DEFECTS[:DEFECTS_AT_CI] if options.level == "ci" else DEFECTS
    with tempfile.TemporaryDirectory(prefix="ringbus-fuzz-") as name:
        folder = Path(name)
        runs = check_sound(folder, SECONDS[options.level], score)
        check_defects(folder, defects, score)
    inputs = sum(run.executions for run in runs)
    edges = " and ".join(str(run.covered) for run in runs)
    return f"{inputs} inputs to 2 targets, {edges} edges covered, {score.defects()}"


def show(target: str, data: bytes) -> int:
    with tempfile.TemporaryDirectory(prefix="ringbus-fuzz-") as name:
        program = Path(name) / target
        build_target(target, program)
        passed, words = replay(program, Path(name), data)
    say(words)
    return 0 if passed else 1


def main() -> int:
    parser = new_parser("fuzz", "Fuzz the C core.")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "HEX"), help="one input again")
    options = parser.parse_args()
    if options.replay is not None:
        target, data = options.replay
        if target not in SOURCES:
            parser.error(f"no such target: {target}")
        return show(target, bytes.fromhex(data))
    return run_checker("fuzz", check, options)


if __name__ == "__main__":
    sys.exit(main())
