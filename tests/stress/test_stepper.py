"""The shortest cases of the stepper at a few instructions, and that it catches a defect."""

from __future__ import annotations

from pathlib import Path

import pytest
import stepper
from checkers.building import compile_with_core, link
from checkers.seeding import build_seeded, seed
from checkers.verdict import MissingError
from missing import go_without
from stepper_defects import DEFECTS

CASES = ["empty", "gate-close", "read"]
STRIDE = 29


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stepper and the core as it is, compiled."""
    try:
        return compile_with_core(stepper.HERE, tmp_path_factory.mktemp("stepper"))
    except MissingError as missing:
        go_without(str(missing))


@pytest.fixture(scope="module")
def walker(objects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> stepper.Stepper:
    """Walks through the core as it is; where nothing can be traced, tests do without."""
    program = link(objects.values(), tmp_path_factory.mktemp("walker") / "step")
    walker = stepper.Stepper(program, jobs=1)
    try:
        walker.start(CASES[0], 0).result()
    except MissingError as missing:
        go_without(str(missing))
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


def test_seeded_defects_fit_the_core(tmp_path: Path) -> None:
    """Each is an exact text of a source, which goes stale as the core changes."""
    for number, defect in enumerate(DEFECTS):
        seed(defect, tmp_path / str(number))


@pytest.mark.slow
def test_a_defect_is_caught(
    walker: stepper.Stepper, objects: dict[str, Path], tmp_path: Path
) -> None:
    """Against a core that loses what dead emitters published, the stepper complains."""
    defect = next(one for one in DEFECTS if one.name == "recovered blocks look empty")
    broken = build_seeded(defect, objects, tmp_path / "broken")
    walk = walker.start(defect.case, 50, broken=broken).result()
    assert walk.failures > 0
    assert "at boundary" in walk.complaints
