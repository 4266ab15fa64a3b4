"""Checks the model of the protocol, and that the model can fail.

    python tests/model/check.py [--level ci|full|deep] [--jobs N] [--only NAME ...]

Every configuration is searched exhaustively and must hold; every seeded bug must be caught by the
configuration named beside it; the litmus tests must hold, and fail when their order is weakened.
Exit status 1 if anything comes out differently, 3 if a tool is missing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from configurations import CAUGHT, HOLDS, LEVELS, REACHED, Case, cases

HERE = Path(__file__).resolve().parent
CUT_OFF = "cut off"
MISSING = 3
FOUND = re.compile("assertion violated|invalid end state|non-progress cycle")


@dataclass(frozen=True)
class Limits:
    """Of one search."""

    megabytes: int
    minutes: int
    table: int  # logarithm of the hash table's slots
    depth: int


SHALLOW = Limits(megabytes=4000, minutes=25, table=24, depth=200_000)


def deep_limits(jobs: int) -> Limits:
    """All together stay below 16 GiB, with what is around the states."""
    return Limits(megabytes=15_000 // jobs, minutes=40, table=26, depth=2_000_000)


@dataclass(frozen=True)
class Outcome:
    result: str
    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    detail: str = ""


def missing_tools() -> list[str]:
    return [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]


def build(case: Case, folder: Path, limits: Limits) -> Path:
    """Has spin write the verifier and gcc compile it."""
    flags = [f"-D{macro}" for macro in case.macros.split()]
    run(["spin", "-a", *flags, str(HERE / case.model)], folder)
    verifier = folder / "verifier"
    kind = ["-DNP", "-DNOFAIR"] if case.cycles else ["-DSAFETY"]
    # COLLAPSE: what keeps millions of states in few GiB.
    options = ["-O2" if case.size > 3 else "-O1", "-w", *kind, "-DCOLLAPSE", "-DVECTORSZ=512"]
    memory = f"-DMEMLIM={limits.megabytes}"
    run(["gcc", *options, memory, "-o", str(verifier), "pan.c"], folder)
    return verifier


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


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


def check(case: Case, limits: Limits = SHALLOW) -> Outcome:
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
    print(
        f"{case.name:<65} {outcome.states:>12,} {outcome.depth:>7,} {outcome.seconds:>7.1f}  "
        f"{result:<8} {'ok' if good else f'UNEXPECTED {outcome.detail}'}",
        flush=True,
    )
    return good


def check_all(chosen: Sequence[Case], jobs: int) -> int:
    """Prints the table as the searches end, then the verdict; returns how many went wrong."""
    print(f"{'configuration':<65} {'states':>12} {'depth':>7} {'seconds':>7}  result")
    deep = deep_limits(jobs)
    tried: Counter[str] = Counter()
    failures = 0
    with ThreadPoolExecutor(jobs) as pool:
        searches = {
            pool.submit(check, case, deep if case.deep else SHALLOW): case for case in chosen
        }
        for done in as_completed(searches):
            case, outcome = searches[done], done.result()
            if not report(case, outcome):
                failures += 1
            elif outcome.result == CUT_OFF:
                tried[CUT_OFF] += 1
            else:
                tried[kind_of(case)] += 1
    told = [f"{count} {kind}" for kind in KINDS if (count := tried[kind])]
    print(f"verdict: {len(chosen)} cases, {failures} failures; {', '.join(told) or 'nothing'}")
    return failures


KINDS = (
    "configurations searched whole",
    "orderings hold",
    "seeded bugs caught",
    "weakenings caught",
    "situations reached",
    CUT_OFF,
)


def kind_of(case: Case) -> str:
    if case.expected == REACHED:
        return "situations reached"
    if case.model == "litmus.pml":
        return "orderings hold" if case.expected == HOLDS else "weakenings caught"
    return "configurations searched whole" if case.expected == HOLDS else "seeded bugs caught"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the model of the protocol.")
    parser.add_argument("--level", choices=LEVELS, default="full")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="+", default=[], help="cases whose name contains this")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    missing = missing_tools()
    if missing:
        print(f"The model needs {' and '.join(missing)} (Debian: apt install spin gcc).")
        return MISSING
    chosen = cases(options.level)
    if options.only:
        chosen = [case for case in chosen if any(part in case.name for part in options.only)]
    if not chosen:
        parser.error("no case of this level has such a name")
    return 1 if check_all(chosen, options.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
