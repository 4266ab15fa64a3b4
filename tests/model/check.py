"""Checks the model of the protocol, and that the model can fail.

    python tests/model/check.py [--deep] [--jobs N] [--only NAME ...]

Every configuration is searched exhaustively and must hold; every seeded bug must be caught by the
configuration named beside it; the litmus tests must hold, and fail when their order is weakened.
Exit status 1 if anything comes out differently.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOLDS = "holds"
CAUGHT = "caught"
CUT_OFF = "cut off"
MINUTES = 10  # of one search; a deep one may take six hours
DEEP_MINUTES = 360


@dataclass(frozen=True)
class Case:
    """One search: which model, with which macros, and what must come out."""

    name: str
    macros: str = ""
    model: str = "ring.pml"
    deep: bool = False
    bug: bool = False

    @property
    def expected(self) -> str:
        return CAUGHT if self.bug else HOLDS


@dataclass(frozen=True)
class Outcome:
    result: str
    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    detail: str = ""


CONFIGURATIONS = [
    Case("1+2 emits", "EMITS0=1 EMITS1=2"),
    Case("2+3 emits", "EMITS0=2 EMITS1=3"),
    Case("1+2, two subscribers", "EMITS0=1 EMITS1=2 READERS=2"),
    Case("1+2, kill", "EMITS0=1 EMITS1=2 DEATHS=1"),
    Case("1+3, kill", "EMITS0=1 EMITS1=3 DEATHS=1"),
    Case("2+2, kill", "EMITS0=2 EMITS1=2 DEATHS=1"),
    Case("1+3, stop", "EMITS0=1 EMITS1=3 DEATHS=1 STOP"),
    Case("2+2, stop", "EMITS0=2 EMITS1=2 DEATHS=1 STOP"),
    Case("1+2, a recoverer killed as well", "EMITS0=1 EMITS1=2 DEATHS=2 VICTIMS=3"),
    Case("2+1, kill, lane reopened", "EMITS0=2 EMITS1=1 DEATHS=1 RESPAWNS=1"),
    Case("half-filled blocks, 2+3", "CELLS=2 EMITS0=2 EMITS1=3"),
    Case("half-filled blocks, 2+3, kill", "CELLS=2 EMITS0=2 EMITS1=3 DEATHS=1"),
    Case("rest of blocks, 1+4", "CELLS=2 REST EMITS0=1 EMITS1=4"),
    Case(
        "rest of blocks, 2+2, kill, lane reopened",
        "CELLS=2 REST EMITS0=2 EMITS1=2 DEATHS=1 RESPAWNS=1",
    ),
    Case("three blocks, 1+2, kill", "BLOCKS=3 EMITS0=1 EMITS1=2 DEATHS=1"),
    Case("records of two blocks, 1+1, kill", "BLOCKS=3 SPAN=2 DEATHS=1 EMITS0=1 EMITS1=1"),
    Case("records of two blocks, 1+2", "BLOCKS=3 SPAN=2 EMITS0=1 EMITS1=2"),
    Case("gate registers, 1+2", "GATES=1 READERS=0 EMITS0=1 EMITS1=2"),
    Case("gate registers, 1+2, kill", "GATES=1 READERS=0 EMITS0=1 EMITS1=2 DEATHS=1"),
    Case("gate pushed by drop, 1+3", "GATES=1 READERS=0 POLICY_DROP EMITS0=1 EMITS1=3"),
    Case("gate waited for, then pushed, 1+3", "GATES=1 READERS=0 POLICY_TIMEOUT EMITS0=1 EMITS1=3"),
    Case("dead gate taken out, 1+2", "GATES=1 READERS=0 GATE_DEATHS=1 EMITS0=1 EMITS1=2"),
    Case(
        "dead gate taken over or out, 1+2",
        "GATES=1 READERS=0 GATE_DEATHS=1 GATE_RESPAWNS=1 EMITS0=1 EMITS1=2",
    ),
    Case(
        "dead gate taken over or pushed, 1+2",
        "GATES=1 READERS=0 GATE_DEATHS=1 GATE_RESPAWNS=1 POLICY_TIMEOUT EMITS0=1 EMITS1=2",
    ),
    Case("two gates, 1+2", "GATES=2 READERS=0 EMITS0=1 EMITS1=2"),
    Case(
        "records of two blocks wait for a gate and start again, 1+2",
        "BLOCKS=3 SPAN=2 GATES=1 READERS=0 EMITS0=1 EMITS1=2",
    ),
    Case("sleep and wake, 1+2", "WAKE EMITS0=1 EMITS1=2"),
    Case("sleep and wake, 1+1, two sleepers", "WAKE READERS=2 EMITS0=1 EMITS1=1"),
    Case("sleep and wake, 1+2, kill", "WAKE EMITS0=1 EMITS1=2 DEATHS=1"),
    Case("sleep at a gate and wake, 1+3", "WAKE_GATE GATES=1 READERS=0 EMITS0=1 EMITS1=3"),
]

DEEP = [
    Case(name, macros, deep=True)
    for name, macros in {
        "3+3 emits": "EMITS0=3 EMITS1=3",
        "2+3, kill": "EMITS0=2 EMITS1=3 DEATHS=1",
        "2+3, stop": "EMITS0=2 EMITS1=3 DEATHS=1 STOP",
        "2+2, kill, lane reopened": "EMITS0=2 EMITS1=2 DEATHS=1 RESPAWNS=1",
        "2+2, both may be killed, a lane reopened": (
            "EMITS0=2 EMITS1=2 DEATHS=2 VICTIMS=3 RESPAWNS=1"
        ),
        "rest of blocks, 2+3, kill, lane reopened": (
            "CELLS=2 REST EMITS0=2 EMITS1=3 DEATHS=1 RESPAWNS=1"
        ),
        "rest of blocks, 3+3, kill, lane reopened": (
            "CELLS=2 REST EMITS0=3 EMITS1=3 DEATHS=1 RESPAWNS=1"
        ),
        "records of two blocks, 1+2, kill": "BLOCKS=3 SPAN=2 EMITS0=1 EMITS1=2 DEATHS=1",
        "four blocks, records of two, 1+2, kill": "BLOCKS=4 SPAN=2 EMITS0=1 EMITS1=2 DEATHS=1",
        "gate and subscriber, 1+2": "GATES=1 READERS=1 EMITS0=1 EMITS1=2",
        "dead gate taken over or out, 1+3": (
            "GATES=1 READERS=0 GATE_DEATHS=1 GATE_RESPAWNS=1 EMITS0=1 EMITS1=3"
        ),
        "dead gate taken over or pushed, 1+3": (
            "GATES=1 READERS=0 GATE_DEATHS=1 GATE_RESPAWNS=1 POLICY_TIMEOUT EMITS0=1 EMITS1=3"
        ),
        "two gates, 1+3, drop": "GATES=2 READERS=0 POLICY_DROP EMITS0=1 EMITS1=3",
        "records of two blocks, two gates, 1+2": (
            "BLOCKS=3 SPAN=2 GATES=2 READERS=0 EMITS0=1 EMITS1=2"
        ),
    }.items()
]

# Each seeded bug and the configuration that must catch it.
BUGS = [
    ("NO_FLOOR", "1+2 emits"),
    ("NO_RECHECK", "1+2 emits"),
    ("PLAIN_PUBLISH", "1+2 emits"),
    ("GIVE_EARLY", "1+2 emits"),
    ("RECOVER_LIVING", "1+2, kill"),
    ("RECOVER_ZERO", "1+2, kill"),
    ("RECOVER_TAIL", "1+2, kill"),
    ("TAIL_BEFORE_PROOF", "1+2, kill"),
    ("LANE_NOT_COUNTED", "2+1, kill, lane reopened"),
    ("CLOSE_KEEPS_OLD", "rest of blocks, 1+4"),
    ("NO_LINK", "records of two blocks, 1+2"),
    ("KEEP_IN_HAND", "records of two blocks, 1+2"),
    ("NO_COUNTER", "gate registers, 1+2"),
    ("MOVE_BEFORE_USE", "gate registers, 1+2"),
    ("BURY_ANY", "dead gate taken over or out, 1+2"),
    ("GATE_NOT_COUNTED", "dead gate taken over or out, 1+2"),
    ("TWO_STEP_WAKE", "sleep and wake, 1+2, kill"),
    ("NO_SECOND_LOOK", "sleep and wake, 1+2"),
    ("NO_SECOND_LOOK_AT_GATE", "sleep at a gate and wake, 1+3"),
]


def litmus(pair: str, *weakenings: str) -> list[Case]:
    macro = f"TEST={pair}"
    name = f"litmus {pair.lower().replace('_', '/')}"
    return [
        Case(name, macro, "litmus.pml"),
        *(Case(f"{name} {weak}", f"{macro} {weak}", "litmus.pml", bug=True) for weak in weakenings),
    ]


LITMUS = [
    *litmus("PUBLISH_READ", "WEAK_PUBLISH_RELEASE", "WEAK_READ_ACQUIRE"),
    *litmus("FLOOR_OVERWRITE", "WEAK_TAKE_FENCE", "WEAK_READ_FENCE"),
    *litmus("PUBLISH_WAIT", "WEAK_PUBLISH_SEQ_CST", "WEAK_PARK", "WEAK_WAKE", "WEAK_SECOND_LOOK"),
    *litmus("REGISTER_RAISE", "WEAK_REGISTER", "WEAK_FLOOR_ACQUIRE", "WEAK_NO_COUNTER"),
]


def configuration(name: str) -> Case:
    return next(case for case in CONFIGURATIONS if case.name == name)


def seeded(bug: str, by: str) -> Case:
    return Case(f"{bug} by: {by}", f"{configuration(by).macros} BUG_{bug}", bug=True)


SEEDED_BUGS = [seeded(bug, by) for bug, by in BUGS]


def all_cases() -> list[Case]:
    return [*CONFIGURATIONS, *LITMUS, *SEEDED_BUGS, *DEEP]


def build(case: Case, folder: Path) -> Path:
    """Has spin write the verifier and gcc compile it."""
    flags = [f"-D{macro}" for macro in case.macros.split()]
    run(["spin", "-a", *flags, str(HERE / case.model)], folder)
    verifier = folder / "verifier"
    # SAFETY: no cycles are looked for. COLLAPSE: what keeps millions of states in few GiB.
    options = ["-O1" if case.bug else "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=512"]
    memory = f"-DMEMLIM={16000 if case.deep else 3000}"
    run(["gcc", *options, memory, "-o", str(verifier), "pan.c"], folder)
    return verifier


def run(command: list[str], folder: Path, *, must_succeed: bool = True) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if must_succeed and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def judge(output: str, seconds: float) -> Outcome:
    """Reads what the verifier printed."""

    def number(pattern: str) -> int:
        found = re.search(pattern, output)
        return int(found.group(1)) if found else 0

    errors = re.search(r"errors: (\d+)", output)
    found = re.search(r"pan:1: (.*)", output)
    detail = found.group(1) if found else ""
    incomplete = "Search not completed" in output or "max search depth too small" in output
    if errors and int(errors.group(1)) > 0:
        # Anything but an assertion or a dead end would be a mistake of the model.
        result = CAUGHT if re.search("assertion violated|invalid end state", detail) else "broken"
    elif errors and not incomplete:
        result = HOLDS
    else:
        result = CUT_OFF
    return Outcome(
        result, number(r"(\d+) states, stored"), number(r"depth reached (\d+)"), seconds, detail
    )


def check(case: Case) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="ringbus-model-") as name:
        folder = Path(name)
        verifier = build(case, folder)
        began = time.monotonic()
        depth = "-m2000000" if case.deep else "-m200000"
        minutes = f"-Q{DEEP_MINUTES if case.deep else MINUTES}"
        output = run([str(verifier), depth, "-w24", minutes], folder, must_succeed=False)
        return judge(output, time.monotonic() - began)


def report(case: Case, outcome: Outcome) -> bool:
    # What is deep may be too large for the time or memory: said, but no failure.
    good = outcome.result == case.expected or (case.deep and outcome.result == CUT_OFF)
    mark = "ok" if good else f"UNEXPECTED {outcome.detail}"
    print(
        f"{case.name:<58} {outcome.states:>12,} {outcome.depth:>8,} {outcome.seconds:>8.1f}  "
        f"{outcome.result:<8} {mark}",
        flush=True,
    )
    return good


def check_all(cases: Iterable[Case], jobs: int) -> int:
    print(f"{'configuration':<58} {'states':>12} {'depth':>8} {'seconds':>8}  result")
    chosen = list(cases)
    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        good = [report(*pair) for pair in zip(chosen, pool.map(check, chosen), strict=True)]
    failures = good.count(False)
    seconds = time.monotonic() - began
    print(f"{len(chosen)} searches in {seconds:.0f} s, {failures} with an unexpected result")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the model of the protocol.")
    parser.add_argument("--deep", action="store_true", help="the large configurations as well")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="+", default=[], help="cases whose name contains this")
    options = parser.parse_args()
    cases = [case for case in all_cases() if options.deep or not case.deep]
    if options.only:
        cases = [case for case in cases if any(part in case.name for part in options.only)]
    if not cases:
        parser.error("no case has such a name")
    return 1 if check_all(cases, options.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
