"""The C core without Python, under the compilers' sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from csrc.builds import MissingError
from missing import go_without

from csrc import sanitize

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


def test_race_is_reported(tmp_path: Path) -> None:
    """Where subscribers load a slot without an order, the thread sanitizer sees it."""
    defect, trial, amount = sanitize.DEFECTS[0]
    try:
        sanitize.require_sanitizer(trial.sanitizer, tmp_path)
    except MissingError as missing:
        go_without(str(missing))
    found, words = sanitize.find_defect(defect, trial, amount, tmp_path / "seeded")
    assert found
    assert "data race" in words
