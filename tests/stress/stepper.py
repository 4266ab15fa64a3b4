"""Kills and stops a process at every instruction of what it does to a ring, and prints a table.

    python tests/stress/stepper.py [--level ci|full|deep] [--jobs N] [--self-test] [CASE ...]
    python tests/stress/stepper.py --stride N [CASE ...]

Level `deep` takes every instruction of every case; the others take so many of each case, at a
stride that the table states. `ci` and `full` end with the self-test, in which every defect seeded
into a copy of the core must be caught. Status 0 if everything came out as it must, 1 if not, 3 if
something is missing here.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from checkers.building import compile_with_core, link
from checkers.seeding import build_seeded
from checkers.verdict import MissingError, Score, new_parser, run_checker, say
from stepper_defects import DEFECTS, StepDefect

HERE = Path(__file__).resolve().parent
CASES = [
    "in-block",
    "empty",
    "exact-fill",
    "crossing",
    "first",
    "stale",
    "first-in-rest",
    "lost-rest",
    "lost-hint",
    "lost-floor",
    "lost-take",
    "lost-publish",
    "sleeper",
    "gate",
    "several",
    "multi-block",
    "multi-block-busy",
    "quarter",
    "lane",
    "recovery",
    "lost-recover",
    "scarce",
    "scarce-multi-block",
    "exhausted",
    "gate-register",
    "gate-rival",
    "gate-succeed",
    "gate-advance",
    "gate-close",
    "gate-lapped",
    "lost-succeed",
    "lost-register",
    "lost-close",
    "lost-advance",
    "wait",
    "wait-several-blocks",
    "wait-in-vain",
    "registered",
    "push",
    "push-closed",
    "lost-push",
    "bury",
    "bury-succeeded",
    "lost-bury",
    "read",
    "read-several-blocks",
    "read-lapped",
    "read-lapped-far",
    "subscribe",
    "park",
    "creation",
    "unlink",
    "database",
]
# Boundaries of each case that are tried, spread evenly; None: all.
SAMPLES = {"ci": 150, "full": 1_500, "deep": None}
PART = 1_500  # boundaries for one run of the program
NO_TRACING = 77
# The C library is to clear and copy memory without instructions that repeat themselves: each of
# thousands of turns would be a boundary, with nothing of the ring between one and the next.
ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_stosb_threshold=1000000000"
    ":glibc.cpu.x86_rep_movsb_threshold=1000000000"
}


@dataclass(frozen=True)
class Walk:
    """What one run of the program tells."""

    boundaries: int = 0
    kills: int = 0
    stops: int = 0
    failures: int = 0
    astray: int = 0  # runs that were at another instruction than meant
    seconds: float = 0.0
    complaints: str = ""

    def __add__(self, other: Walk) -> Walk:
        return Walk(
            boundaries=max(self.boundaries, other.boundaries),
            kills=self.kills + other.kills,
            stops=self.stops + other.stops,
            failures=self.failures + other.failures,
            astray=self.astray + other.astray,
            seconds=self.seconds + other.seconds,
            complaints=self.complaints + other.complaints,
        )


HEADING = "case                boundaries stride  kills  stops failures astray        time"


def row(case: str, stride: int, walk: Walk) -> str:
    return (
        f"{case:<19} {walk.boundaries:>10} {stride:>6} {walk.kills:>6} {walk.stops:>6} "
        f"{walk.failures:>8} {walk.astray:>6} {walk.seconds:>9.1f} s"
    )


class Stepper:
    """Runs of the program, each on a processor of its own."""

    def __init__(self, program: Path, jobs: int) -> None:
        self._program = program
        self._pool = ThreadPoolExecutor(jobs)
        self._processors: queue.SimpleQueue[int] = queue.SimpleQueue()
        allowed = sorted(os.sched_getaffinity(0))
        for job in range(jobs):
            self._processors.put(allowed[job % len(allowed)])

    def start(
        self,
        case: str,
        stride: int,
        first: int = 0,
        *,
        most_failures: int = 20,
        broken: Path | None = None,
    ) -> Future[Walk]:
        """Every stride-th boundary of a case from the first one on; stride 0 only counts them."""
        program = broken or self._program
        return self._pool.submit(self._walk, program, case, stride, first, most_failures)

    def start_parts(self, case: str, stride: int, boundaries: int) -> list[Future[Walk]]:
        """The same in several runs, whose boundaries alternate."""
        parts = max(1, boundaries // stride // PART)
        return [self.start(case, stride * parts, stride * part) for part in range(parts)]

    def _walk(self, program: Path, case: str, stride: int, first: int, most_failures: int) -> Walk:
        started = time.monotonic()
        processor = self._processors.get()
        path = Path(f"/dev/shm/ringbus.stepper-{os.getpid()}-{processor}-{case}-{first}")
        numbers = (stride, first, processor, most_failures)
        arguments = [str(program), str(path), case, *map(str, numbers)]
        try:
            run = subprocess.run(
                arguments,
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | ENVIRONMENT,
            )
        finally:
            path.unlink(missing_ok=True)
            self._processors.put(processor)
        if run.returncode == NO_TRACING:
            raise MissingError(
                "ptrace is not permitted here; a container needs --cap-add SYS_PTRACE"
            )
        seconds = time.monotonic() - started
        told = [int(word) for word in run.stdout.split()[1:]]
        if len(told) != 5:  # it hung or crashed: there is no last line
            complaint = f"{case}: the program ended with status {run.returncode}\n"
            return Walk(failures=1, seconds=seconds, complaints=run.stderr + complaint)
        boundaries, kills, stops, failures, astray = told
        return Walk(boundaries, kills, stops, failures, astray, seconds, run.stderr)


def stride_of(boundaries: int, samples: int | None) -> int:
    """Odd, so that it is not in step with a loop of even length."""
    stride = 1 if samples is None else boundaries // samples
    return 1 if stride <= 1 else stride | 1


def run_cases(
    stepper: Stepper, cases: Iterable[str], stride: int | None, samples: int | None
) -> Walk:
    say(HEADING)
    counted = {case: stepper.start(case, 0) for case in cases}
    started = {}
    for case, counting in counted.items():
        boundaries = counting.result().boundaries
        chosen = stride or stride_of(boundaries, samples)
        started[case] = (
            chosen,
            counting,
            stepper.start_parts(case, chosen, boundaries),
        )
    total = Walk()
    for case, (chosen, counting, parts) in started.items():
        walk = sum((part.result() for part in parts), Walk(failures=counting.result().failures))
        total += walk
        say(row(case, chosen, walk))
        print(walk.complaints, end="", file=sys.stderr, flush=True)
    return total


def check_defects(stepper: Stepper, objects: dict[str, Path], folder: Path, score: Score) -> None:
    """Each must be caught by a case that the sound core passes."""

    def start(numbered: tuple[int, StepDefect]) -> Future[Walk]:
        number, defect = numbered
        program = build_seeded(defect, objects, folder / f"defect{number}")
        return stepper.start(defect.case, defect.stride, most_failures=1, broken=program)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        walks = list(pool.map(start, enumerate(DEFECTS)))
    for defect, walking in zip(DEFECTS, walks, strict=True):
        walk = walking.result()
        first = walk.complaints.splitlines()[0] if walk.complaints else "no complaint"
        score.add_defect(walk.failures > 0, f"{defect.name}: {first} ({walk.seconds:.1f} s)")


def parse() -> argparse.Namespace:
    parser = new_parser("stepper", "Kill and stop at every instruction.")
    parser.add_argument("--stride", type=int, help="every N-th instruction of every case")
    parser.add_argument("--jobs", type=int, help="programs at a time; default: processors")
    parser.add_argument("--self-test", action="store_true", help="only the seeded defects")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    if any(number is not None and number < 1 for number in (options.stride, options.jobs)):
        parser.error("strides and jobs are at least 1")
    return options


def check_cases(
    stepper: Stepper, cases: list[str], options: argparse.Namespace, score: Score
) -> str:
    walk = run_cases(stepper, cases, options.stride, SAMPLES[options.level])
    score.count(walk.kills + walk.stops, walk.failures)
    return (
        f"{len(cases)} operations, {walk.kills} times killed and {walk.stops} times stopped and "
        "continued at an instruction"
    )


def check(options: argparse.Namespace, score: Score) -> str:
    is_named = bool(options.cases) or options.stride is not None
    tried = []
    with tempfile.TemporaryDirectory(prefix="ringbus-stepper-") as name:
        folder = Path(name)
        objects = compile_with_core(HERE, folder)
        program = link(objects.values(), folder / "step")
        stepper = Stepper(program, options.jobs or len(os.sched_getaffinity(0)))
        if not options.self_test:
            tried.append(check_cases(stepper, options.cases or CASES, options, score))
        if options.self_test or not is_named:
            check_defects(stepper, objects, folder, score)
            tried.append(score.defects())
    return ", ".join(tried)


def main() -> int:
    return run_checker("stepper", check, parse())


if __name__ == "__main__":
    sys.exit(main())
