"""Checks the model of the protocol, and that the model can fail.

    python tests/model/check.py [--level ci|full|deep] [--jobs N] [--only NAME ...]

Every configuration is searched exhaustively and must hold; every seeded defect must be caught by
the configuration named beside it; the litmus tests must hold, and fail when their order is
weakened.
Exit status 1 if anything comes out differently, 3 if a tool is missing.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from checkers.building import need, run_tool
from checkers.verdict import Score, new_parser, run_checker, say
from configurations import CAUGHT, HOLDS, REACHED, Case, cases

HERE = Path(__file__).resolve().parent
CUT_OFF = "cut off"
FOUND = re.compile("assertion violated|invalid end state|non-progress cycle")


@dataclass(frozen=True)
class Limits:
    """Of one search."""

    megabytes: int
    minutes: int
    table: int  # logarithm of the hash table's slots
    depth: int


SHALLOW = Limits(megabytes=4000, minutes=25, table=24, depth=200_000)


# One at a time: with what is around the states it stays below 16 GiB.
DEEP = Limits(megabytes=15_000, minutes=40, table=26, depth=2_000_000)


@dataclass(frozen=True)
class Outcome:
    result: str
    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    detail: str = ""


def need_tools() -> None:
    for tool in ("spin", "gcc"):
        need(tool, tool)


def build(case: Case, folder: Path, limits: Limits) -> Path:
    """Has spin write the verifier and gcc compile it."""
    flags = [f"-D{macro}" for macro in case.macros.split()]
    run_tool(["spin", "-a", *flags, HERE / case.model], folder)
    verifier = folder / "verifier"
    kind = ["-DNP", "-DNOFAIR"] if case.cycles else ["-DSAFETY"]
    # COLLAPSE: what keeps millions of states in few GiB.
    options = ["-O2" if case.size > 3 else "-O1", "-w", *kind, "-DCOLLAPSE", "-DVECTORSZ=512"]
    memory = f"-DMEMLIM={limits.megabytes}"
    run_tool(["gcc", *options, memory, "-o", verifier, "pan.c"], folder)
    return verifier


def search(command: list[str], folder: Path) -> tuple[str, float]:
    """What the verifier printed, and its processor time: other work on the machine adds nothing."""
    printed = folder / "printed"
    with printed.open("w") as output:
        verifier = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(verifier.pid, 0)
        verifier.returncode = os.waitstatus_to_exitcode(status)
    return printed.read_text(errors="replace"), usage.ru_utime + usage.ru_stime


def judge(output: str, seconds: float) -> Outcome:
    """Reads what the verifier printed."""

    def number(pattern: str) -> int:
        found = re.search(pattern, output)
        return int(float(found.group(1))) if found else 0

    errors = re.search(r"errors: (\d+)", output)
    found = re.search(r"pan:1: (.*)", output)
    detail = found.group(1) if found else ""
    incomplete = "Search not completed" in output or "max search depth too small" in output
    if errors and int(errors.group(1)) > 0:
        # Anything else would be a mistake of the model.
        result = CAUGHT if FOUND.search(detail) else "broken"
    elif errors and not incomplete:
        result = HOLDS
    else:
        result = CUT_OFF
    states = number(r"([\d.]+(?:e\+\d+)?) states, stored")
    return Outcome(result, states, number(r"depth reached (\d+)"), seconds, detail)


def run_case(case: Case, limits: Limits = SHALLOW) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="ringbus-model-") as name:
        folder = Path(name)
        verifier = build(case, folder, limits)
        options = [f"-m{limits.depth}", f"-w{limits.table}", f"-Q{limits.minutes}"]
        loops = ["-l"] if case.cycles else []
        return judge(*search([str(verifier), *options, *loops], folder))


def is_good(case: Case, outcome: Outcome) -> bool:
    """What is deep may be too large for the time or memory: said, but no failure."""
    must_fail = case.expected in (CAUGHT, REACHED)
    return outcome.result == (CAUGHT if must_fail else HOLDS) or (
        case.deep and outcome.result == CUT_OFF
    )


def report(case: Case, outcome: Outcome) -> bool:
    good = is_good(case, outcome)
    result = REACHED if good and case.expected == REACHED else outcome.result
    say(
        f"{case.name:<65} {outcome.states:>12,} {outcome.depth:>7,} {outcome.seconds:>7.1f}  "
        f"{result:<8} {'ok' if good else f'UNEXPECTED {outcome.detail}'}"
    )
    return good


def run_cases(every: Sequence[Case], jobs: int, score: Score) -> str:
    """Prints the table as the searches end; returns what was tried."""
    say(f"{'configuration':<65} {'states':>12} {'depth':>7} {'seconds':>7}  result")
    tried: Counter[str] = Counter()
    for case, outcome in outcomes(every, jobs):
        is_right = report(case, outcome)
        score.count(1, not is_right)
        if is_right and outcome.result == CUT_OFF:
            tried[CUT_OFF] += 1
        elif is_right:
            tried[kind_of(case)] += 1
    told = [f"{count} {kind}" for kind in KINDS if (count := tried[kind])]
    return ", ".join(told) or "nothing"


def outcomes(every: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Outcome]]:
    """As the searches end; those that need all the memory come last."""
    with ThreadPoolExecutor(jobs) as pool:
        searches = {pool.submit(run_case, case): case for case in every if not case.deep}
        for done in as_completed(searches):
            yield searches[done], done.result()
    for case in every:
        if case.deep:
            yield case, run_case(case, DEEP)


KINDS = (
    "configurations searched whole",
    "orderings hold",
    "seeded defects caught",
    "weakenings caught",
    "situations reached",
    CUT_OFF,
)


def kind_of(case: Case) -> str:
    if case.expected == REACHED:
        return "situations reached"
    if case.model == "litmus.pml":
        return "orderings hold" if case.expected == HOLDS else "weakenings caught"
    return "configurations searched whole" if case.expected == HOLDS else "seeded defects caught"


def check(options: argparse.Namespace, score: Score) -> str:
    need_tools()
    return run_cases(chosen(options), options.jobs, score)


def chosen(options: argparse.Namespace) -> list[Case]:
    """Of the level, those that are asked for."""
    every = cases(options.level)
    if not options.only:
        return every
    return [case for case in every if any(part in case.name for part in options.only)]


def main() -> int:
    parser = new_parser("model", "Check the model of the protocol.")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="+", default=[], help="cases whose name contains this")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if not chosen(options):
        parser.error("no case of this level has such a name")
    return run_checker("model", check, options)


if __name__ == "__main__":
    sys.exit(main())
