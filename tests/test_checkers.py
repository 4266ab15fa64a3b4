"""What the checkers of `make verify` share: a verdict that can fail, and defects that go stale."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkers.building import CORE
from checkers.seeding import Defect, seed
from checkers.verdict import FAILED, MISSING, VERDICT, BrokenError, MissingError, Score, run_checker
from verify import judge

DEFECT = Defect("there is no version", "layout.h", "RB_VERSION = 1,", "RB_OTHER = 1,")


def run(check: Callable[[Score], str]) -> int:
    return run_checker("some", lambda _, score: check(score), argparse.Namespace())


def test_verdict_is_what_the_table_reads(capfd: pytest.CaptureFixture[str]) -> None:
    """A line, its numbers and the exit status agree."""

    def check(score: Score) -> str:
        score.add(3, True, "three cases")
        score.add_defect(True, "a defect")
        return score.defects()

    status = run(check)
    last = capfd.readouterr().out.splitlines()[-1]
    assert VERDICT.fullmatch(last)
    outcome = judge("some", last, status, 0.0)
    assert (outcome.cases, outcome.failures) == (4, 0)
    assert outcome.tried == "1 of 1 seeded defects caught"


@pytest.mark.parametrize(
    "fail", [lambda score: score.add(1, False, "row"), lambda score: score.add_defect(False, "row")]
)
def test_failure_and_missed_defect_fail_the_checker(fail: Callable[[Score], None]) -> None:
    """Each is a failure in the verdict and in the exit status."""

    def check(score: Score) -> str:
        fail(score)
        assert (score.cases, score.failures) == (1, 1)
        return "one"

    assert run(check) == FAILED


@pytest.mark.parametrize(("error", "status"), [(MissingError, MISSING), (BrokenError, FAILED)])
def test_checker_that_cannot_end_has_no_verdict(
    error: type[Exception], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says why."""

    def check(score: Score) -> str:
        raise error("no compiler")

    assert run(check) == status
    out, err = capfd.readouterr()
    assert "verdict" not in out
    assert err == "some: no compiler\n"


def test_defect_is_in_the_copy_only(tmp_path: Path) -> None:
    """The core itself stays as it is."""
    before = (CORE / "layout.h").read_text()
    core = seed(DEFECT, tmp_path)
    assert (core / "layout.h").read_text() == before.replace(DEFECT.old, DEFECT.new) != before
    assert (CORE / "layout.h").read_text() == before


@pytest.mark.parametrize("old", ["no such text", "uint64_t"])
def test_stale_defect_is_refused(old: str, tmp_path: Path) -> None:
    """Its text has to stand in the source exactly once."""
    with pytest.raises(BrokenError, match="renew 'there is no version'"):
        seed(replace(DEFECT, old=old), tmp_path)
