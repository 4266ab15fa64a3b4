"""Runs the C programs of this folder plain and under the compilers' sanitizers.

    python tests/csrc/sanitize.py [--level ci|full|deep]

Copies of the core with a seeded defect are built as well; each must be caught.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from checkers.building import CORE, build, c_compiler, need
from checkers.seeding import Defect, seed
from checkers.verdict import MissingError, Score, new_parser, run_checker

HERE = Path(__file__).resolve().parent
DEADLINE_S = 1200
DEEP_S = 1100
JOBS = 2


@dataclass(frozen=True)
class Program:
    """A program of this folder; it takes a ring's path and, if it has an amount, that."""

    sources: tuple[str, ...]
    flags: tuple[str, ...] = ()
    amounts: bool = True


@dataclass(frozen=True)
class Sanitizer:
    """How to build, and what is written when something is found."""

    compiler: str
    flags: tuple[str, ...]


THREADS = Program(("threads.c",))
FALSE_DEATH = Program(
    ("false_death.c", "ledger.c"),
    ("-Wl,--wrap=rb_lane_is_dead,--wrap=rb_pool_acquire,--wrap=rb_order_publish",),
    amounts=False,
)
PROBERS = Program(("probers.c",))

PLAIN = Sanitizer("gcc", ("-O2",))
ADDRESS = Sanitizer("gcc", ("-O2", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"))
MEMORY = Sanitizer("clang", ("-O1", "-fsanitize=memory", "-fno-sanitize-recover=all"))
# The compiler says that this sanitizer knows no fences.
ONE_MAPPING = ("-Wno-tsan", "-DONE_MAPPING", "-Wl,--wrap=mmap,--wrap=munmap")
THREAD = Sanitizer("gcc", ("-O2", "-fsanitize=thread", *ONE_MAPPING))
# As in production the copies are plain; legitimate where all subscribers are gates.
THREAD_GATES = Sanitizer("gcc", (*THREAD.flags, "-U__SANITIZE_THREAD__", "-DONLY_GATES"))


@dataclass(frozen=True)
class Trial:
    """One program under one sanitizer; `amount` is for level full."""

    name: str
    program: Program
    sanitizer: Sanitizer
    amount: int = 0


TRIALS = [
    Trial("threads, plain", THREADS, PLAIN, 60_000),
    Trial("threads, address and undefined behaviour", THREADS, ADDRESS, 20_000),
    Trial("threads, memory", THREADS, MEMORY, 10_000),
    Trial("threads, races", THREADS, THREAD, 8_000),
    Trial("threads, races, plain copies behind gates", THREADS, THREAD_GATES, 8_000),
    Trial("false death, plain", FALSE_DEATH, PLAIN),
    Trial("false death, address and undefined behaviour", FALSE_DEATH, ADDRESS),
    Trial("probers, plain", PROBERS, PLAIN, 1_000),
    Trial("probers, address and undefined behaviour", PROBERS, ADDRESS, 250),
]
AT_CI = 4  # the part of the amount that ci does: one in so many

READ_A = (
    "    /* [read:A] acquire; pairs with [publish:A]: the record's bytes are there */\n"
    "    uint64_t found = "
)
PUBLISH_A = "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)"
MOVE_A = "rb_cas_seq_cst_64(&slot->word, &found, desired)"


def relaxed_swap(place: str, desired: str) -> str:
    return (
        f"__atomic_compare_exchange_n({place}, &found, {desired}, false, "
        "__ATOMIC_RELAXED, __ATOMIC_RELAXED)"
    )


@dataclass(frozen=True)
class TrialDefect(Defect):
    """A defect, the trial that must catch it, and how much that takes."""

    trial: Trial
    amount: int


DEFECTS = [
    TrialDefect(
        "[read:A] relaxed",
        "subscriber.c",
        f"{READ_A}rb_load_acquire_64(",
        f"{READ_A}rb_load_relaxed_64(",
        TRIALS[4],
        4_000,
    ),
    TrialDefect(
        "publish with a plain store",
        "order.c",
        PUBLISH_A,
        "(*slot = (t & ~mask) | cell, true)",
        TRIALS[3],
        4_000,
    ),
    TrialDefect(
        "[publish:A] relaxed",
        "order.c",
        PUBLISH_A,
        relaxed_swap("slot", "(t & ~mask) | cell"),
        TRIALS[4],
        4_000,
    ),
    TrialDefect(
        "[move:A] relaxed",
        "gate.c",
        MOVE_A,
        relaxed_swap("&slot->word", "desired"),
        TRIALS[4],
        4_000,
    ),
    TrialDefect(
        "[smallest:A] relaxed",
        "gate.c",
        "rb_load_seq_cst_64(&segment->gates[i].word)",
        "rb_load_relaxed_64(&segment->gates[i].word)",
        TRIALS[4],
        4_000,
    ),
    TrialDefect(
        "a chain is one block too short",
        "emitter.c",
        "chain[MAX_CHAIN]",
        "chain[4]",
        TRIALS[1],
        2_000,
    ),
    TrialDefect(
        "links are stored before the last look at the block",
        "emitter.c",
        "    link_chain(e, chained);\n",
        "",
        TRIALS[5],
        0,
        also=(
            (
                "emitter.c",
                "    uint32_t block = begin_block(e);\n",
                "    link_chain(e, chained);\n    uint32_t block = begin_block(e);\n",
            ),
            ("emitter.c", "!has_lane(e) || (rest > 0 && !is_ours(e, e->block))", "!has_lane(e)"),
        ),
    ),
    TrialDefect(
        "an emitter does not look before it publishes",
        "emitter.c",
        "    write_record(e, item);\n    if (!is_ours(e, block)) {",
        "    write_record(e, item);\n    if (e->is_poisoned) {",
        TRIALS[5],
        0,
    ),
    TrialDefect(
        "probing takes the lock",
        "lane.c",
        "byte_lock(F_WRLCK, byte);\n"
        "    if (fcntl(probe, F_OFD_GETLK, &lock) != 0) {\n"
        "        return -errno;\n    }\n",
        "byte_lock(F_RDLCK, byte);\n",
        TRIALS[7],
        8000,  # ends when one of many stops has met a prober that holds the lock
        also=(
            (
                "lane.c",
                "*held = lock.l_type != F_UNLCK;",
                "*held = fcntl(probe, F_OFD_SETLK, &lock) != 0;",
            ),
        ),
    ),
]
DEFECTS_AT_CI = 2


def compiler_of(sanitizer: Sanitizer) -> list[str]:
    if sanitizer.compiler == "clang":
        return [need("clang", "clang")]
    return c_compiler()


def require_sanitizer(sanitizer: Sanitizer, folder: Path) -> None:
    """The compiler has it, and what it builds starts on this machine."""
    flags = [flag for flag in sanitizer.flags if flag.startswith("-fsanitize")]
    source, program = folder / "empty.c", folder / "empty"
    source.write_text("int main(void) { return 0; }\n")
    command = [*compiler_of(sanitizer), *flags, source, "-o", program]
    built = subprocess.run(command, capture_output=True, check=False)
    if built.returncode != 0 or subprocess.run([program], check=False).returncode != 0:
        packages = "gcc libasan8 libtsan2" if sanitizer.compiler == "gcc" else "libclang-rt-14-dev"
        raise MissingError(
            f"nothing that {sanitizer.compiler} builds with {' '.join(flags)} runs here "
            f"(Debian: apt install {packages})"
        )


def build_trial(trial: Trial, program: Path, core: Path = CORE) -> None:
    sources = [HERE / name for name in trial.program.sources]
    flags = [*trial.sanitizer.flags, *trial.program.flags]
    build(compiler_of(trial.sanitizer), flags, sources, program, core)


def run_program(command: list[str], amount: int, amounts: bool) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="ringbus-csrc-", dir="/dev/shm") as memory:
        arguments = [f"{memory}/ring", *([str(amount)] if amounts else [])]
        try:
            return subprocess.run(
                [*command, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE_S,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, -1, "", f"no end after {DEADLINE_S} s")


def telling_line(words: str) -> str:
    found = re.findall(r"^.*(?:not so:|WARNING: |ERROR: |runtime error).*$", words, re.MULTILINE)
    return found[0].strip() if found else words.strip()[-200:]


def run_trial(trial: Trial, program: Path, amount: int) -> tuple[int, bool, str, str]:
    """Cases, whether all is well, the row and the complaint."""
    began = time.monotonic()
    run = run_program([str(program)], amount, trial.program.amounts)
    lines = run.stdout.strip().splitlines()
    cases = len(lines) if run.returncode == 0 else 1
    last = lines[-1] if lines and trial.program.amounts else f"{cases} scenarios"
    row = f"{trial.name}: {last}, {time.monotonic() - began:.1f} s"
    return max(cases, 1), run.returncode == 0 and cases > 0, row, run.stderr[-4000:]


def catch(defect: TrialDefect, folder: Path) -> tuple[bool, str]:
    """Whether the defect's trial notices it, and what that says."""
    folder.mkdir()
    program = folder / "seeded"
    build_trial(defect.trial, program, seed(defect, folder))
    run = run_program([str(program)], defect.amount, defect.trial.program.amounts)
    return run.returncode != 0, telling_line(run.stderr)


def build_all(folder: Path, trials: Iterable[Trial]) -> dict[str, Path]:
    programs = {trial.name: folder / f"program{i}" for i, trial in enumerate(trials)}
    for sanitizer in {trial.sanitizer for trial in trials}:
        require_sanitizer(sanitizer, folder)
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lambda trial: build_trial(trial, programs[trial.name]), trials))
    return programs


def check_defects(folder: Path, defects: list[TrialDefect], score: Score) -> None:
    with ThreadPoolExecutor(JOBS) as pool:
        folders = [folder / f"defect{number}" for number in range(len(defects))]
        for defect, (is_caught, words) in zip(
            defects, pool.map(catch, defects, folders), strict=True
        ):
            score.add_defect(is_caught, f"{defect.name}: by {defect.trial.name}: {words}")


def check(options: argparse.Namespace, score: Score) -> str:
    divisor = AT_CI if options.level == "ci" else 1
    defects = DEFECTS[:DEFECTS_AT_CI] if options.level == "ci" else DEFECTS
    until = time.monotonic() + (DEEP_S if options.level == "deep" else 0)
    rounds = 0
    with tempfile.TemporaryDirectory(prefix="ringbus-sanitize-") as name:
        folder = Path(name)
        programs = build_all(folder, TRIALS)
        while rounds == 0 or time.monotonic() < until:
            rounds += 1
            for trial in TRIALS:
                score.add(*run_trial(trial, programs[trial.name], trial.amount // divisor))
        check_defects(folder, defects, score)
    return f"{len(TRIALS)} programs, {rounds} rounds, {score.defects()}"


def main() -> int:
    parser = new_parser("sanitize", "C programs under sanitizers.")
    return run_checker("sanitize", check, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
