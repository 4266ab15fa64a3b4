"""The chaos soak of the ring.

    python tests/soak/soak.py [--level ci|full|deep] [--seed N] [--scenario NAME] [--seconds S]

Real processes emit, read, gate and probe while others of them are killed, stopped, continued,
forked, starved. README.md says what is checked.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import conductor
from checkers.building import compile_with_core, link
from checkers.verdict import BrokenError, Score, new_parser, run_checker, say
from crew import House
from scenarios import SCENARIOS, Scenario, by_name
from seeded_defects import DEFECTS, catch
from tally import LENGTHS, Tally

SECONDS = {"ci": 45.0, "full": 180.0, "deep": 1800.0}
SELF_TEST_S = 25.0  # of those that have it
OVERHEAD_S = 1.2  # of a scenario: interpreters start, everybody leaves, the audit
LEAST_S = 1.0
HERE = Path(__file__).resolve().parent


def parse() -> argparse.Namespace:
    parser = new_parser("soak", "The chaos soak of the ring.")
    parser.add_argument("--seed", type=int, help="of all decisions; drawn and printed if not given")
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[scenario.name for scenario in SCENARIOS],
        help="only this one; may be given more than once",
    )
    parser.add_argument("--seconds", type=float, help="of all scenarios together")
    parser.add_argument(
        "--self-test", action="store_true", help="only the seeded defects: each must be caught"
    )
    options = parser.parse_args()
    if options.seconds is not None and options.seconds <= 0:
        parser.error("--seconds is above 0")
    return options


def check_rights(program: Path, scenarios: list[Scenario], folder: Path) -> None:
    """Before anything is played: can another PID namespace be made here?"""
    if not any(scenario.is_apart for scenario in scenarios):
        return
    path = folder / "tally"
    with Tally.create(path, random.Random(0), [0] * LENGTHS):
        House(program, path, "nobody", is_apart=True).close()


def repeat_with(options: argparse.Namespace, seed: int, outcome: conductor.Outcome) -> str:
    return (
        f"python tests/soak/soak.py --level {options.level} --seed {seed} "
        f"--scenario {outcome.scenario} --seconds {max(outcome.seconds, 1):.0f}"
    )


def play_all(
    scenarios: list[Scenario], options: argparse.Namespace, seed: int, end: float, program: Path
) -> list[conductor.Outcome]:
    """Shares out what is left of the time, so that a busy machine plays less and not longer."""
    say(conductor.Outcome.HEADING)
    outcomes = []
    for index, scenario in enumerate(scenarios):
        each = (end - time.monotonic()) / (len(scenarios) - index) - OVERHEAD_S
        outcome = conductor.play(scenario, seed, max(each, LEAST_S), program)
        outcomes.append(outcome)
        say(outcome.row())
        for failure in outcome.failures:
            say(f"  {failure}")
        if outcome.failures:
            say(f"  repeat with: {repeat_with(options, seed, outcome)}")
    return outcomes


def sum_up(outcomes: list[conductor.Outcome]) -> str:
    emits = sum(outcome.emits for outcome in outcomes)
    kills = sum(outcome.kills for outcome in outcomes)
    stops = sum(outcome.stops for outcome in outcomes)
    comers = sum(outcome.comers for outcome in outcomes)
    checked = sum(outcome.checked for outcome in outcomes)
    return (
        f"{len(outcomes)} scenarios with {emits} emits, {kills} kills, {stops} stops, "
        f"{comers} comers and goers, {checked} records checked"
    )


def check_defects(objects: dict[str, Path], folder: Path, seed: int, score: Score) -> str:
    for number, defect in enumerate(DEFECTS):
        is_caught, how = catch(defect, objects, folder / f"defect{number}", seed)
        score.add_defect(is_caught, f"{defect.name}: {how}")
    return score.defects()


def give_up(number: int, _frame: object) -> None:
    raise BrokenError(f"signal {signal.Signals(number).name}: ended before it was through")


def check(options: argparse.Namespace, score: Score) -> str:
    began = time.monotonic()
    scenarios = [by_name(name) for name in options.scenario or []] or list(SCENARIOS)
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    has_self_test = options.self_test or (options.level != "ci" and options.scenario is None)
    seconds = options.seconds or SECONDS[options.level] - (SELF_TEST_S if has_self_test else 0)
    signal.signal(signal.SIGTERM, give_up)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(3 * seconds + 10 * SELF_TEST_S))  # whatever happens, it ends
    say(f"seed {seed}")
    tried = []
    with tempfile.TemporaryDirectory(prefix="ringbus-soak-") as name:
        folder = Path(name)
        objects = compile_with_core(HERE, folder)
        program = link(objects.values(), folder / "house")
        check_rights(program, scenarios, folder)
        if not options.self_test:
            outcomes = play_all(scenarios, options, seed, began + seconds, program)
            score.count(len(outcomes), sum(bool(outcome.failures) for outcome in outcomes))
            tried.append(sum_up(outcomes))
        if has_self_test:
            tried.append(check_defects(objects, folder, seed, score))
    return ", ".join(tried)


def main() -> int:
    return run_checker("soak", check, parse())


if __name__ == "__main__":
    sys.exit(main())
