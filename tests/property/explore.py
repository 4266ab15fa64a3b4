"""Uses rings at random and compares every answer with a plain list.

    python tests/property/explore.py [--level ci|full|deep] [--seed N] [--histories N]

A history is up to 50 steps of open, emit, read, advance, close, unlink and so on in one process.
ci and full take the same seeds every time; deep draws new ones for a quarter of an hour. The seed
of each batch is printed; `--seed N` runs that batch again. Exit status 1 if an answer was wrong, or
if a ring with a seeded defect passes.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.append(str(Path(__file__).resolve().parents[1]))

from checkers.verdict import Score, new_parser, run_checker, say
from ring_defects import DEFECTS
from ring_machine import RingMachine

from ringbus import Ring

STEPS = 50  # of a history, at most
BATCH = 100  # histories
BATCHES = {"ci": 2, "full": 7}
DEEP_SECONDS = 15 * 60
TRIES = 150  # histories in which a defect must show
FIRST_SEED = 1


@dataclass(frozen=True)
class Outcome:
    steps: int
    error: BaseException | None


def explore(ring_class: type[Ring], seed_: int, histories: int, *, shrink: bool) -> Outcome:
    """One batch; the error of the shortest history found that failed."""
    machine: type[RingMachine] = type("Machine", (RingMachine,), {"ring_class": ring_class})
    error: BaseException | None = None
    try:
        run_state_machine_as_test(
            seed(seed_)(machine),
            settings=settings(
                max_examples=histories,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
                report_multiple_bugs=False,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except Exception as found:  # noqa: BLE001  whatever it is, it is the result
        error = found
    return Outcome(machine.steps, error)


def check_defects(score: Score) -> None:
    for defect in DEFECTS:
        outcome = explore(defect, FIRST_SEED, TRIES, shrink=False)
        what = (defect.__doc__ or "").rstrip(".")
        why = "nothing noticed" if outcome.error is None else str(outcome.error).partition("\n")[0]
        row = f"{what}: {why or 'a wrong answer'} ({outcome.steps} steps)"
        score.add_defect(outcome.error is not None, row)


def seeds(options: argparse.Namespace) -> Iterator[int]:
    if options.seed is not None:
        yield options.seed
    elif options.level in BATCHES:
        yield from range(FIRST_SEED, FIRST_SEED + BATCHES[options.level])
    else:
        end = time.monotonic() + DEEP_SECONDS
        while time.monotonic() < end:
            yield secrets.randbelow(2**32)


def explore_all(options: argparse.Namespace, score: Score) -> str:
    histories = steps = 0
    say(f"{'seed':>10} {'histories':>9} {'steps':>8} {'seconds':>8}  result")
    for seed_ in seeds(options):
        began = time.monotonic()
        print(f"{seed_:>10} {options.histories:>9} ", end="", flush=True)
        outcome = explore(Ring, seed_, options.histories, shrink=True)
        score.count(options.histories, outcome.error is not None)
        histories += options.histories
        steps += outcome.steps
        seconds = time.monotonic() - began
        result = "agrees" if outcome.error is None else "WRONG"
        say(f"{outcome.steps:>8} {seconds:>8.1f}  {result}")
        if outcome.error is not None:
            traceback.print_exception(outcome.error)
            print(f"again: python {sys.argv[0]} --seed {seed_}", file=sys.stderr, flush=True)
    return f"{histories} random histories of {steps} steps in all against a plain list"


def check(options: argparse.Namespace, score: Score) -> str:
    tried = explore_all(options, score)
    check_defects(score)
    return f"{tried}, {score.defects()}"


def main() -> int:
    parser = new_parser("explore", "Compare rings with a plain list, at random.")
    parser.add_argument("--seed", type=int, help="only the batch of this seed")
    parser.add_argument("--histories", type=int, default=BATCH, help="in a batch")
    return run_checker("explore", check, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
