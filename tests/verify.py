"""Runs every check of the ring that is too long for a test, and prints one table of them all.

    python tests/verify.py [--level ci|full|deep] [--only NAME ...]

`full` is `make verify` and ends within half an hour on two processors, `ci` is the part that is run
on every change, about five minutes, and `deep` is `make verify DEEP=1`, some hours. Each check is a
program of its own, whose README says what it shows and what not. It takes the same `--level`; the
last line that it prints is its verdict: so many cases, so many failures, and what was tried.
Exit status 1 if anything failed, or could not be run.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from checkers.verdict import LEVELS, MISSING, VERDICT

ROOT = Path(__file__).resolve().parent.parent
MINUTES = {"ci": 10, "full": 25, "deep": 300}  # that one check may take before it is ended


@dataclass(frozen=True)
class Check:
    """One program, and what it is about."""

    name: str
    program: str
    about: str


CHECKS = [
    Check("model", "tests/model/check.py", "the protocol, searched exhaustively"),
    Check("step", "tests/stress/stepper.py", "killed and stopped at every instruction"),
    Check("soak", "tests/soak/soak.py", "killed, stopped and starved at random"),
    Check("sanitize", "tests/csrc/sanitize.py", "threads under sanitizers"),
    Check("aarch64", "tests/csrc/aarch64.py", "the core under an emulated ARM processor"),
    Check("fuzz", "tests/fuzz/fuzz.py", "arbitrary bytes and flipped bits"),
    Check("explore", "tests/property/explore.py", "the Python interface against a list"),
]


@dataclass(frozen=True)
class Outcome:
    """What became of one check."""

    name: str
    tried: str
    cases: int
    failures: int
    seconds: float

    def row(self) -> str:
        minutes = f"{self.seconds / 60:.1f} min"
        return f"{self.name:<10} {self.cases:>12,} {self.failures:>8} {minutes:>10}  {self.tried}"


HEADING = f"{'check':<10} {'cases':>12} {'failures':>8} {'time':>10}  what was tried"


def run(check: Check, level: str, minutes: float) -> Outcome:
    """Lets the check talk to the terminal as it goes, and reads its verdict."""
    print(f"\n=== {check.name}: {check.about}", flush=True)
    began = time.monotonic()
    last = ""
    command = [sys.executable, ROOT / check.program, "--level", level]
    # In a group of its own, so that all that it started can be ended with it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as process:
        limit = threading.Timer(minutes * 60, end, [process])
        limit.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
        except BaseException:
            end(process)
            raise
        finally:
            limit.cancel()
    return judge(check.name, last, process.returncode, time.monotonic() - began)


def end(process: subprocess.Popen[str]) -> None:
    """Ends a check, and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def judge(name: str, last: str, status: int, seconds: float) -> Outcome:
    """A check that breaks, lacks a tool or contradicts itself has failed, whatever it printed."""
    verdict = VERDICT.fullmatch(last)
    if status == MISSING:
        return Outcome(name, "NOT RUN: a tool is missing, see above", 0, 1, seconds)
    if verdict is None:
        return Outcome(name, f"BROKE with status {status} and no verdict", 0, 1, seconds)
    cases, failures, tried = int(verdict[1]), int(verdict[2]), verdict[3]
    if cases == 0 or (status == 0) != (failures == 0):
        return Outcome(name, f"BROKE with status {status}: {last}", cases, failures or 1, seconds)
    return Outcome(name, tried, cases, failures, seconds)


def verify(checks: list[Check], level: str) -> int:
    """Runs them one after another; returns how many failed."""
    outcomes = [run(check, level, MINUTES[level]) for check in checks]
    print(f"\n=== level {level}\n{HEADING}")
    for outcome in outcomes:
        print(outcome.row())
    failed = [outcome.name for outcome in outcomes if outcome.failures]
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    print(f"{minutes:.1f} minutes; " + (f"FAILED: {', '.join(failed)}" if failed else "all hold"))
    return len(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify the ring.")
    parser.add_argument("--level", choices=LEVELS, default="full")
    parser.add_argument("--only", nargs="+", choices=[check.name for check in CHECKS])
    options = parser.parse_args()
    chosen = [check for check in CHECKS if options.only is None or check.name in options.only]
    return 1 if verify(chosen, options.level) else 0


if __name__ == "__main__":
    sys.exit(main())
