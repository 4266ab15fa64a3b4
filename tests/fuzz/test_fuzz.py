"""The fuzz targets for a few seconds, and that they catch a defect."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from checkers.seeding import seed
from checkers.verdict import MissingError
from missing import go_without

# A busy machine may need minutes for what takes some seconds.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SECONDS = 2


def build(target: str, program: Path) -> None:
    try:
        fuzz.build_target(target, program)
    except MissingError as missing:
        go_without(str(missing))


@pytest.mark.parametrize("target", ["attach", "live"])
def test_nothing_is_found(tmp_path: Path, target: str) -> None:
    """Neither by inputs that once failed nor by new ones."""
    program = tmp_path / target
    build(target, program)
    for name, data in fuzz.REGRESSIONS[target].items():
        passed, words = fuzz.replay(program, tmp_path, data)
        assert passed, f"{name}: {words}"
    run = fuzz.fuzz(target, program, tmp_path, SECONDS)
    assert run.found is None, f"{run.found.hex()}\n{run.words}"
    assert run.executions > 10


def test_seeded_defects_fit_the_core(tmp_path: Path) -> None:
    """Each is an exact text of a source, which goes stale as the core changes."""
    for number, defect in enumerate(fuzz.DEFECTS):
        seed(defect, tmp_path / str(number))


def test_defect_is_caught(tmp_path: Path) -> None:
    """A reader that follows a link without a bound."""
    defect = fuzz.DEFECTS[1]
    build(defect.target, tmp_path / "sound")
    assert fuzz.catch(defect, tmp_path / "seeded").found is not None
