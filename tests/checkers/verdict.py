"""How a checker is called, counts, and ends: its level, its verdict and its exit status."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

LEVELS = ("ci", "full", "deep")
FAILED = 1  # exit status if anything failed, or the checker broke
MISSING = 3  # exit status if a tool or a right is missing
VERDICT = re.compile(r"verdict: (\d+) cases, (\d+) failures; (.+)")


class MissingError(Exception):
    """A tool or a right is not there; the message names the Debian package, or who has it."""


class BrokenError(Exception):
    """The checker itself failed, so that there is no verdict."""


def say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Score:
    """Cases and failures so far, and how many of the seeded defects were caught."""

    cases: int = 0
    failures: int = 0
    seeded: int = 0
    caught: int = 0

    def count(self, cases: int, failures: int) -> None:
        """For a checker that has a table of its own."""
        self.cases += cases
        self.failures += failures

    def add(self, cases: int, passed: bool, row: str, complaint: str = "") -> None:
        self.count(cases, not passed)
        say(f"{'ok    ' if passed else 'FAILED'} {row}")
        if not passed and complaint:
            say(complaint)

    def add_defect(self, is_caught: bool, row: str) -> None:
        """A seeded defect that nobody notices is a failure."""
        self.count(1, not is_caught)
        self.seeded += 1
        self.caught += is_caught
        say(f"{'caught' if is_caught else 'MISSED'}: {row}")

    def defects(self) -> str:
        return f"{self.caught} of {self.seeded} seeded defects caught"


def new_parser(name: str, about: str) -> argparse.ArgumentParser:
    """The arguments that every checker takes."""
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument(
        "--level", choices=LEVELS, default="full", help="how much is tried; default: full"
    )
    return parser


def run_checker(
    name: str, check: Callable[[argparse.Namespace, Score], str], options: argparse.Namespace
) -> int:
    """Runs `check`, which returns what was tried, and prints the verdict; the exit status."""
    score = Score()
    started = time.monotonic()
    try:
        tried = check(options, score)
    except (MissingError, BrokenError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return MISSING if isinstance(error, MissingError) else FAILED
    say(f"{time.monotonic() - started:.0f} s")
    say(f"verdict: {score.cases} cases, {score.failures} failures; {tried}")
    return FAILED if score.failures else 0
