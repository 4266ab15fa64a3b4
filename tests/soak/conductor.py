"""Plays one scenario: starts the workers, kills, stops, continues and starves them, and audits.

What is done to whom and when is drawn from the seed, one decision after the other, whatever comes
of them. A moment is a number of steps that the victim has to get on first; as one that sleeps does
not get on, it is waited for no longer than PATIENCE.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from crew import House, Seat
from scenarios import Post, Scenario
from tally import (
    ALL_LEAVE,
    AUDITOR,
    EMITTER,
    EMITTERS_LEAVE,
    GATE,
    MEMBERS,
    NURSERY,
    Tally,
)

from ringbus import Ring
from ringbus.ring import unlink

AUDIT = Post(AUDITOR)
NICENESS = 5  # of workers, so that the conductor gets its turn
TICK = 0.002  # seconds between looks
PATIENCE = 0.03
LONGEST_STOP = 0.3
LEAVING = 100.0  # how long everybody may take to leave, on a busy machine
HANGING = 20.0  # and how long one may do nothing though it has a CPU


@dataclass(frozen=True)
class Decision:
    what: str
    seat: int
    moment: int  # steps of the victim before it happens
    length: int  # steps of all the others before a stopped one goes on
    value: int  # niceness


@dataclass
class Outcome:
    """A row of the table."""

    scenario: str
    seed: int
    seconds: float = 0.0
    emits: int = 0
    kills: int = 0
    stops: int = 0
    comers: int = 0
    forks: int = 0
    checked: int = 0
    agreed: int = 0
    missed: int = 0
    waits: int = 0
    pool_waits: int = 0
    removals: int = 0
    decisions: list[Decision] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    HEADING = (
        "scenario        time     emits  kills  stops comers  forks   checked    agreed"
        "    missed    waits   pool removed failures"
    )

    def row(self) -> str:
        return (
            f"{self.scenario:<12} {self.seconds:5.1f} s {self.emits:>9} {self.kills:>6} "
            f"{self.stops:>6} {self.comers:>6} {self.forks:>6} {self.checked:>9} {self.agreed:>9} "
            f"{self.missed:>9} {self.waits:>8} {self.pool_waits:>6} {self.removals:>7} "
            f"{len(self.failures):>8}"
        )


class Performance:
    """One scenario in progress."""

    def __init__(
        self, scenario: Scenario, seed: int, program: Path, outcome: Outcome, hanging: float
    ) -> None:
        self.scenario, self.outcome, self.hanging = scenario, outcome, hanging
        self.rng = random.Random(f"{seed} {scenario.name}")
        self.ring = f"soak-{os.getpid()}-{scenario.name}"
        self.program = program
        self.seats: list[Seat] = []
        self.stopped: list[tuple[Seat, int, float]] = []
        self.is_leaving = False
        self.newcomers = 0

    # Setting up

    def play(self, seconds: float) -> None:
        with ExitStack() as stack:
            stack.callback(self._remove_ring)
            path = Path(f"/dev/shm/soak-tally-{os.getpid()}")
            lengths = self.scenario.lengths(self.rng)
            self.tally = stack.enter_context(Tally.create(path, self.rng, lengths))
            self._describe()
            self._make_ring()
            self.houses = [House(self.program, path, self.ring)]
            stack.callback(self.houses[0].close)
            if self.scenario.is_apart:
                self.houses.append(House(self.program, path, self.ring, is_apart=True))
                stack.callback(self.houses[1].close)
            stack.callback(self._end_python)
            self._take_seats()
            self._make_trouble(time.monotonic() + seconds)
            self._leave()
            self._sum_up()

    def _make_ring(self) -> None:
        self.tally.shared.epoch = 0  # a newcomer may be in the new ring before we know its epoch
        with Ring.create(self.ring, size=self.scenario.size) as ring:
            self.tally.shared.epoch = int(ring.epoch, 16)

    def _remove_ring(self) -> None:
        Path(f"/dev/shm/ringbus.{self.ring}").unlink(missing_ok=True)

    def _describe(self) -> None:
        shared, scenario = self.tally.shared, self.scenario
        shared.has_gate, shared.may_push = scenario.has_gate, scenario.may_push
        shared.is_removed, shared.block_size = scenario.is_removed, scenario.block_size

    def _take_seats(self) -> None:
        core = min(os.sched_getaffinity(0)) + 1 if self.scenario.is_starved else 0
        for index, post in enumerate(self.scenario.posts):
            house = self.houses[index % len(self.houses)]
            seat = Seat(index, post, self.tally, house, self.ring, core)
            seat.niceness = 19 if self.scenario.is_starved and index % 2 else NICENESS
            self.seats.append(seat)
        # A gate comes first, or records that it never asked for would count as lost to it.
        for seat in sorted(self.seats, key=lambda seat: seat.post.role != GATE):
            self._start(seat)
            if seat.post.role == GATE:
                self._wait_until_it_slept(seat)

    def _wait_until_it_slept(self, seat: Seat) -> None:
        self._tend_until(lambda: seat.desk.parks > 0, LEAVING)

    def _start(self, seat: Seat) -> None:
        """Its seed tells the how manyth it is there; in Python it is a member from the last on."""
        self.newcomers += 1
        seat.taken += 1
        words = f"{self.outcome.seed} {self.scenario.name} {seat.index} {seat.taken}"
        seat.start(random.Random(words).getrandbits(64), MEMBERS - self.newcomers)

    # Trouble

    def decide(self) -> Decision:
        """The next decision; depends on the seed alone."""
        kinds = ["kill"] * 10 + ["stop"] * 10
        kinds += ["renice"] * 5 if self.scenario.is_starved else []
        kinds += ["remove"] if self.scenario.is_removed else []
        seat = self.rng.choices(
            range(len(self.scenario.posts)), [post.weight for post in self.scenario.posts]
        )[0]
        return Decision(
            what=self.rng.choice(kinds),
            seat=seat,
            moment=int(2 ** self.rng.uniform(0, 11)),
            length=int(2 ** self.rng.uniform(0, 15)),
            value=self.rng.randrange(20),
        )

    def _make_trouble(self, end: float) -> None:
        pending: list[tuple[Decision, int, float]] = []
        while time.monotonic() < end and not self.has_failed():
            while len(pending) < self.scenario.at_once:
                decision = self.decide()
                self.outcome.decisions.append(decision)
                wanted = self.seats[decision.seat].desk.beats + decision.moment
                pending.append((decision, wanted, time.monotonic() + PATIENCE))
            time.sleep(TICK)
            self._tend()
            now = time.monotonic()
            for entry in list(pending):
                decision, wanted, latest = entry
                seat = self.seats[decision.seat]
                if seat.desk.beats >= wanted or now >= latest:
                    self._carry_out(decision, seat)
                    pending.remove(entry)

    def _carry_out(self, decision: Decision, seat: Seat) -> None:
        if decision.what == "kill":
            self.outcome.kills += seat.kill()
        elif decision.what == "stop" and not seat.is_stopped and seat.stop():
            self.outcome.stops += 1
            due = self._steps() + decision.length
            self.stopped.append((seat, due, time.monotonic() + LONGEST_STOP))
        elif decision.what == "renice":
            seat.renice(decision.value)
        elif decision.what == "remove":
            unlink(self.ring)
            self._make_ring()
            self.outcome.removals += 1

    def _steps(self) -> int:
        return sum(seat.desk.results for seat in self.seats)

    def has_failed(self) -> bool:
        return bool(self.outcome.failures) or self.tally.shared.complaint_count > 0

    def _tend_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Looks after everybody until the condition holds; False if it does not in time."""
        end = time.monotonic() + limit
        while not condition():
            self._tend()
            if time.monotonic() > end or self.has_failed():
                return condition()
            time.sleep(TICK)
        return True

    def _tend(self) -> None:
        now = time.monotonic()
        steps = self._steps() if self.stopped else 0
        due = [entry for entry in self.stopped if steps >= entry[1] or now >= entry[2]]
        for entry in due:
            entry[0].go_on()
            self.stopped.remove(entry)
        for seat in self.seats:
            self._look_after(seat)

    def _look_after(self, seat: Seat) -> None:
        if not seat.is_taken:
            return
        if seat.has_ended():
            self._note_end(seat)
            # The gate has to read to the end, or nothing could be said about it.
            if not self.is_leaving or (seat.post.role == GATE and seat.was_killed):
                self._start(seat)
            return
        if not seat.is_stopped and not self.has_failed() and seat.is_stuck(self.hanging):
            self.outcome.failures.append(f"hangs: {seat.where()}")

    def _note_end(self, seat: Seat) -> None:
        wrong = seat.end()
        self.stopped = [entry for entry in self.stopped if entry[0] is not seat]
        if wrong and self.tally.shared.complaint_count == 0:
            self.outcome.failures.append(wrong)

    # The end

    def _leave(self) -> None:
        self.is_leaving = True
        for seat, _, _ in self.stopped:
            seat.go_on()
        self.stopped.clear()
        for seat in self.seats:
            seat.relieve()
        self.tally.shared.phase = EMITTERS_LEAVE
        self._wait_for([seat for seat in self.seats if seat.post.role in {EMITTER, NURSERY}])
        self._wait_for_orphans()
        self.tally.shared.phase = ALL_LEAVE
        self._wait_for(self.seats)
        if not self.has_failed():
            auditor = Seat(len(self.seats), AUDIT, self.tally, self.houses[0], self.ring)
            self._start(auditor)
            self.seats.append(auditor)
            self._wait_for([auditor])

    def _wait_for(self, seats: list[Seat]) -> None:
        if self._tend_until(lambda: not any(seat.is_taken for seat in seats), LEAVING):
            return
        if not self.has_failed():
            late = [seat for seat in seats if seat.is_taken]
            self.outcome.failures += [f"does not leave: {seat.where()}" for seat in late]

    def _wait_for_orphans(self) -> None:
        """Brief emitters and forked children whose parents were killed leave by themselves."""

        def none_left() -> bool:
            known = {seat.desk.pid for seat in self.seats if seat.is_taken}
            firsts = len(self.houses) - 1  # the first process of a namespace stays
            found = [pid for house in self.houses for pid in house.people()]
            return len([pid for pid in found if pid not in known]) <= firsts

        if not self._tend_until(none_left, LEAVING) and not self.has_failed():
            self.outcome.failures.append("children of killed workers do not leave")

    def _end_python(self) -> None:
        for seat in self.seats:
            if seat.python is not None:
                seat.python.kill()
                seat.python.wait()
                seat.end()

    def _sum_up(self) -> None:
        outcome = self.outcome
        outcome.failures += self.tally.complaints()
        outcome.emits = self.tally.emitted()
        desks = [seat.desk for seat in self.seats]
        for name in ("comers", "forks", "checked", "agreed", "missed", "waits", "pool_waits"):
            setattr(outcome, name, sum(getattr(desk, name) for desk in desks))


def play(
    scenario: Scenario, seed: int, seconds: float, program: Path, hanging: float = HANGING
) -> Outcome:
    outcome = Outcome(scenario.name, seed)
    began = time.monotonic()
    Performance(scenario, seed, program, outcome, hanging).play(seconds)
    outcome.seconds = time.monotonic() - began
    return outcome
