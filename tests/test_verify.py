"""What gathers the long checks: a check that breaks in whatever way counts as failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkers.verdict import LEVELS, MISSING
from verify import CHECKS, MINUTES, ROOT, Check, judge, run, verify

FINE = "print('verdict: 12 cases, 0 failures; a dozen of them')"


def check(tmp_path: Path, *lines: str) -> Check:
    """A check whose program is these lines."""
    program = tmp_path / "check.py"
    program.write_text("\n".join(["import sys, time", *lines]))
    return Check("some", str(program), "something")


def test_all_checks_are_there() -> None:
    """Whatever the table of checks names is a program of this repository."""
    assert [one.program for one in CHECKS if not (ROOT / one.program).is_file()] == []


def test_every_level_has_a_limit() -> None:
    """A check that hangs is ended, whatever the level."""
    assert tuple(MINUTES) == LEVELS


def test_verdict_of_a_check_is_its_last_line(tmp_path: Path) -> None:
    """Cases, failures and words."""
    outcome = run(check(tmp_path, "print('working')", FINE), "ci", 1)
    assert (outcome.cases, outcome.failures, outcome.tried) == (12, 0, "a dozen of them")


def test_level_is_passed_on(tmp_path: Path) -> None:
    """Each check decides itself what a level means."""
    told = "print('verdict: 1 cases, 0 failures;', *sys.argv[1:])"
    assert run(check(tmp_path, told), "deep", 1).tried == "--level deep"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([FINE, "sys.exit(1)"], "BROKE with status 1"),
        (["print('verdict: 12 cases, 2 failures; bad')"], "BROKE with status 0"),
        (["print('verdict: 0 cases, 0 failures; nothing')"], "BROKE with status 0"),
        ([FINE, "print('and then some')"], "no verdict"),
        (["raise SystemExit('no')"], "no verdict"),
        ([FINE, f"sys.exit({MISSING})"], "NOT RUN"),
    ],
)
def test_check_that_breaks_has_failed(tmp_path: Path, lines: list[str], words: str) -> None:
    """Status and verdict must agree, and something must have been tried."""
    outcome = run(check(tmp_path, *lines), "ci", 1)
    assert outcome.failures > 0
    assert words in outcome.tried


def test_check_that_hangs_is_ended(tmp_path: Path) -> None:
    """With all that it started."""
    hangs = ["import subprocess", "subprocess.run(['sleep', '600'])", FINE]
    outcome = run(check(tmp_path, *hangs), "ci", 1 / 60)
    assert (outcome.failures, outcome.tried) == (1, "BROKE with status -9 and no verdict")


def test_failures_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In the table and by the number that failed."""
    bad = check(tmp_path, "print('verdict: 3 cases, 1 failures; three')", "sys.exit(1)")
    assert verify([bad], "ci") == 1
    told = capfd.readouterr().out
    assert "FAILED: some" in told
    assert judge("some", "verdict: 3 cases, 1 failures; three", 1, 0.0).row() in told
