"""The shortest cases of the stepper at a few instructions, and that it finds a defect."""

from __future__ import annotations

from pathlib import Path

import pytest
from missing import go_without
from stress import verify

CASES = ["empty", "gate-close"]
STRIDE = 23


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stepper over the core as it is; where it cannot run, its tests are skipped."""
    program = tmp_path_factory.mktemp("stepper") / "step"
    try:
        verify.build(program)
        verify.step(program, CASES[0], "count")
    except verify.NotPossibleError as error:
        go_without(str(error))
    return program


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_or_stopped_at_an_instruction_nothing_breaks(program: Path, case: str) -> None:
    result = verify.run_case(program, case, STRIDE)
    assert result.failures == 0, result.complaints
    assert result.kills == result.stops > 5


@pytest.mark.slow
def test_a_defect_is_found(program: Path, tmp_path: Path) -> None:
    """Against a core that loses what dead emitters published, the stepper complains."""
    defect = next(one for one in verify.DEFECTS if one.file == "pool.c")
    verify.seed(defect, tmp_path / "core")
    broken = tmp_path / "step"
    verify.build(broken, tmp_path / "core")
    _, complaints, status = verify.step(broken, defect.case, "50")
    assert status == 1
    assert "at boundary" in complaints
