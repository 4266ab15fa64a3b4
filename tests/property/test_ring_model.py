"""Rings used at random agree with a plain list, and the comparison can fail."""

from __future__ import annotations

import explore
import pytest
from ring_defects import DEFECTS, MissesOneLess, Repeats, Wrapped

from ringbus import Ring

pytestmark = pytest.mark.slow

HISTORIES = 40


def test_ring_agrees_with_a_plain_list() -> None:
    """The same histories every time; `explore.py` tries others."""
    outcome = explore.explore(Ring, explore.FIRST_SEED, HISTORIES, shrink=True)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.steps > 10 * HISTORIES


@pytest.mark.parametrize("defect", [MissesOneLess, Repeats])
def test_seeded_defect_is_found(defect: type[Wrapped]) -> None:
    """`explore.py` tries all that there are."""
    assert defect in DEFECTS
    assert explore.explore(defect, explore.FIRST_SEED, explore.TRIES, shrink=False).error


def test_only_the_defect_is_found() -> None:
    """A ring that is wrapped in the same way, but without a defect, agrees."""
    assert explore.explore(Wrapped, explore.FIRST_SEED, 20, shrink=False).error is None
