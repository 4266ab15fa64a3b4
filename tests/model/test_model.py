"""The model of the protocol holds in its smallest configurations, and can fail."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from missing import go_without

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> ModuleType:
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing:
        go_without(f"the model needs {' and '.join(missing)} (Debian: apt install spin gcc)")
    where = Path(__file__).with_name("check.py")
    spec = importlib.util.spec_from_file_location("ringbus_model_check", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["1+2 emits", "gate registers, 1+2"])
def test_small_configuration_holds(model: ModuleType, name: str) -> None:
    outcome = model.check(model.configuration(name))
    assert outcome.result == model.HOLDS, outcome


@pytest.mark.parametrize(
    ("bug", "by"), [("NO_RECHECK", "1+2 emits"), ("NO_COUNTER", "gate registers, 1+2")]
)
def test_seeded_bug_is_caught(model: ModuleType, bug: str, by: str) -> None:
    outcome = model.check(model.seeded(bug, by))
    assert outcome.result == model.CAUGHT, outcome


def test_every_label_of_the_model_stands_in_the_core(model: ModuleType) -> None:
    core = "".join(path.read_text() for path in (model.HERE.parents[1] / "csrc").glob("*.[ch]"))
    for name in ("ring.pml", "litmus.pml"):
        labels = set(model.re.findall(r"\[[a-z]+:[A-Z]\]", (model.HERE / name).read_text()))
        assert labels
        assert {label for label in labels if label not in core} == set()
