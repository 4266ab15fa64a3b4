"""The shortest cases of the stepper at a few instructions, and that it finds a defect."""

from __future__ import annotations

from pathlib import Path

import pytest
import stepper
import stepper_defects
import stepper_programs
from missing import go_without

CASES = ["empty", "gate-close", "read"]
STRIDE = 29


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stepper and the core as it is, compiled."""
    try:
        return stepper_programs.compile_all(tmp_path_factory.mktemp("stepper") / "objects")
    except stepper_programs.NotPossibleError as error:
        go_without(str(error))


@pytest.fixture(scope="module")
def walker(objects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> stepper.Stepper:
    """Walks through the core as it is; where nothing can be traced, tests do without."""
    program = stepper_programs.link(objects.values(), tmp_path_factory.mktemp("walker") / "step")
    walker = stepper.Stepper(program, jobs=1)
    try:
        walker.start(CASES[0], 0).result()
    except stepper_programs.NotPossibleError as error:
        go_without(str(error))
    return walker


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_or_stopped_at_an_instruction_nothing_breaks(
    walker: stepper.Stepper, case: str
) -> None:
    """Every check holds wherever the process was killed, or stopped and continued."""
    walk = walker.start(case, STRIDE).result()
    assert walk.failures == 0, walk.complaints
    assert walk.kills == walk.stops > 5


@pytest.mark.slow
def test_a_defect_is_found(
    walker: stepper.Stepper, objects: dict[str, Path], tmp_path: Path
) -> None:
    """Against a core that loses what dead emitters published, the stepper complains."""
    defect = next(
        one for one in stepper_defects.DEFECTS if one.name == "recovered blocks look empty"
    )
    broken = stepper_defects.build(defect, objects, tmp_path / "broken")
    walk = walker.start(defect.case, 50, broken=broken).result()
    assert walk.failures > 0
    assert "at boundary" in walk.complaints
