"""The C core without Python, under the compilers' sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkers.seeding import seed
from checkers.verdict import MissingError
from missing import go_without

from csrc import aarch64, sanitize

# A busy machine may need minutes for what takes a second.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PART = 10  # of what the checker does at level full: one in so many


@pytest.mark.parametrize("trial", sanitize.TRIALS, ids=lambda trial: trial.name)
def test_program_under_sanitizer(tmp_path: Path, trial: sanitize.Trial) -> None:
    """Contents, order and counts are right, answers too, and the sanitizer finds nothing."""
    program = tmp_path / "program"
    try:
        sanitize.require_sanitizer(trial.sanitizer, tmp_path)
    except MissingError as missing:
        go_without(str(missing))
    sanitize.build_trial(trial, program)
    _, passed, row, complaint = sanitize.run_trial(trial, program, trial.amount // PART)
    assert passed, f"{row}\n{complaint}"


def test_seeded_defects_fit_the_core(tmp_path: Path) -> None:
    """Each is an exact text of a source, which goes stale as the core changes."""
    for number, defect in enumerate([*sanitize.DEFECTS, *aarch64.DEFECTS]):
        seed(defect, tmp_path / str(number))


def test_race_is_caught(tmp_path: Path) -> None:
    """Where subscribers load a slot without an order, the thread sanitizer sees it."""
    defect = sanitize.DEFECTS[0]
    try:
        sanitize.require_sanitizer(defect.trial.sanitizer, tmp_path)
    except MissingError as missing:
        go_without(str(missing))
    is_caught, words = sanitize.catch(defect, tmp_path / "seeded")
    assert is_caught
    assert "data race" in words
