"""The model of the protocol holds in its smallest configurations, and can fail."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import configurations
import pytest
from checkers.verdict import MissingError
from missing import go_without

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> ModuleType:
    where = Path(__file__).with_name("check.py")
    spec = importlib.util.spec_from_file_location("ringbus_model_check", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    try:
        module.need_tools()
    except MissingError as missing:
        go_without(str(missing))
    return module


@pytest.mark.parametrize("name", ["1+2 emits", "names: one slot, two names, two claimants"])
def test_small_configuration_holds(model: ModuleType, name: str) -> None:
    """What the protocol promises is true at every step of a small ring."""
    outcome = model.run_case(configurations.configuration(name))
    assert outcome.result == configurations.HOLDS, outcome


@pytest.mark.parametrize("defect", ["NO_RECHECK", "TRUST_HINT", "NO_LOOK_UNDER_LOCK", "NO_RESERVE"])
def test_seeded_defect_is_caught(model: ModuleType, defect: str) -> None:
    """A wrong end, an endless loop, a lost gate and an empty pool are each seen."""
    by = dict(configurations.DEFECTS)[defect]
    outcome = model.run_case(configurations.seeded(defect, by))
    assert outcome.result == configurations.CAUGHT, outcome


def test_search_that_was_cut_off_is_not_taken_for_one_that_holds(model: ModuleType) -> None:
    """Only a deep search may end early, and even that one does not count as holding."""
    outcome = model.judge("Warning: Search not completed\nerrors: 0\n1e+08 states, stored\n", 1.0)
    assert (outcome.result, outcome.states) == (model.CUT_OFF, 100_000_000)
    case = configurations.configuration("1+2 emits")
    assert not model.is_good(case, outcome)
    assert model.is_good(replace(case, size=configurations.FULL_SIZE + 1), outcome)


def test_every_label_of_the_models_stands_in_the_core(model: ModuleType) -> None:
    """The models speak of the code's own accesses."""
    core = "".join(path.read_text() for path in (model.HERE.parents[1] / "csrc").glob("*.[ch]"))
    models = sorted(model.HERE.glob("*.pml"))
    assert len(models) == 4
    for path in models:
        labels = set(model.re.findall(r"\[[a-z]+:[A-Z]\]", path.read_text()))
        assert labels, path.name
        assert {label for label in labels if label not in core} == set(), path.name
