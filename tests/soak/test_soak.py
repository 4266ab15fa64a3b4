"""A few seconds of the soak, that it catches a defect, and that a seed repeats its decisions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import conductor
import pytest
from checkers.building import compile_with_core, link
from checkers.seeding import seed
from checkers.verdict import MissingError
from missing import go_without
from scenarios import SCENARIOS, by_name
from seeded_defects import DEFECTS, catch

SEED = 20_260
SECONDS = 2.0


@dataclass(frozen=True)
class Built:
    folder: Path
    objects: dict[str, Path]
    program: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The workers over the core as it is; where there is no compiler, its tests are skipped."""
    folder = tmp_path_factory.mktemp("soak")
    try:
        objects = compile_with_core(Path(__file__).resolve().parent, folder)
    except MissingError as missing:
        go_without(str(missing))
    return Built(folder, objects, link(objects.values(), folder / "house"))


@pytest.mark.slow
def test_killed_and_stopped_at_random_nothing_is_lost(built: Built) -> None:
    """A gate and its successors get each record that any emitter had acknowledged."""
    outcome = conductor.play(by_name("gate"), SEED, SECONDS, built.program)
    assert outcome.failures == []
    assert outcome.kills > 0
    assert outcome.stops > 0
    assert outcome.checked > 0


def test_seeded_defects_fit_the_core(tmp_path: Path) -> None:
    """Each is an exact text of a source, which goes stale as the core changes."""
    for number, defect in enumerate(DEFECTS):
        seed(defect, tmp_path / str(number))


@pytest.mark.slow
def test_a_seeded_defect_is_caught(built: Built) -> None:
    """Against a core that frees blocks of the dead too early, the soak complains."""
    defect = next(one for one in DEFECTS if one.name.startswith("recovered"))
    is_caught, how = catch(defect, built.objects, built.folder / "seeded", SEED)
    assert is_caught, how


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_seed_repeats_the_decisions(scenario: conductor.Scenario) -> None:
    def decisions(seed: int) -> list[conductor.Decision]:
        outcome = conductor.Outcome(scenario.name, seed)
        performance = conductor.Performance(
            scenario, seed, Path("nothing"), outcome, conductor.HANGING
        )
        return [performance.decide() for _ in range(200)]

    assert decisions(SEED) == decisions(SEED)
    assert decisions(SEED) != decisions(SEED + 1)
