"""Emitters and subscribers through ringbus itself: the builtins are soaked with the rest.

python python_worker.py TALLY RING DESK
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import tally as shared_memory
from tally import ALL_LEAVE, EMITTER, EMITTERS_LEAVE, MEMBERS, NUMBER_SIZE, PAUSES, Tally, key_of

from ringbus import BackPressure, Lapped, LimitReached, Record, Ring, RingNotFound, RingUnlinked
from ringbus.ring.subscriber import Subscriber

POLICIES = ("block", "drop", "fail")
PATIENCE = 3600.0  # seconds; longer than a soak lasts, so that "block" gives nobody up
SLICE = 0.4


class WrongError(Exception):
    """Something that the ring promises does not hold."""


class Worker:
    def __init__(self, tally: Tally, name: str, desk: shared_memory.Desk) -> None:
        self.tally, self.name, self.desk = tally, name, desk
        self.rng = random.Random(desk.seed)
        self._conductor = os.getppid()

    def begin(self, doing: bytes) -> None:
        self.desk.doing = doing
        self.desk.beats += 1

    def is_over(self, phase: int) -> bool:
        shared = self.tally.shared
        has_failed = shared.complaint_count > 0 or os.getppid() != self._conductor
        return bool(shared.phase >= phase or has_failed)

    def pause_now_and_then(self, one_in: int) -> None:
        if self.desk.manner & PAUSES and self.rng.randrange(one_in) == 0:
            self.begin(b"pause")
            time.sleep(self.rng.randrange(self.desk.pause_us) / 1e6)

    def open(self) -> Ring | None:
        """None: there is no ring at the moment."""
        policy = POLICIES[self.desk.policy]
        self.begin(b"open")
        try:
            return Ring.open(self.name, policy=policy, limit=PATIENCE if policy == "block" else 0.0)
        except (RingNotFound, RingUnlinked):
            if not self.tally.shared.is_removed:
                raise
            time.sleep(0.001)
            return None


def emit(worker: Worker, ring: Ring, member: int) -> None:
    """As one member, until the ring is removed or it is time to leave."""
    entry = worker.tally.shared.members[member]
    epoch = int(ring.epoch, 16)
    entry.epoch = epoch
    while not worker.is_over(EMITTERS_LEAVE):
        key = key_of(member, entry.acked)
        payload = worker.tally.payload(key, entry.acked)
        worker.begin(b"emit")
        entry.begun = entry.acked + 1
        try:
            seq = ring.emit(payload, kind=member)
        except LimitReached:  # the lane of one that was just killed is free in a moment
            entry.begun = entry.acked
            continue
        except BackPressure as refused:
            if len(payload) + 32 <= worker.tally.shared.block_size:
                raise WrongError(f"{len(payload)} bytes: {refused}") from refused
            entry.begun = entry.acked
            worker.desk.pool_waits += 1
            continue
        if entry.acked and seq <= entry.last_seq:
            raise WrongError(f"member {member}: seq {seq} after {entry.last_seq}")
        if not worker.tally.bears_out(epoch, seq, key):
            raise WrongError(f"two records at seq {seq}, one of them of member {member}")
        entry.last_seq = seq
        entry.acked += 1
        worker.desk.results += 1
        worker.pause_now_and_then(12)


def run_emitter(worker: Worker) -> None:
    """One member, one ring: after its removal the conductor starts another process."""
    member = worker.desk.own_member
    while not worker.is_over(EMITTERS_LEAVE):
        ring = worker.open()
        if ring is None:
            continue
        with ring:
            try:
                emit(worker, ring, member)
            except RingUnlinked:
                if not worker.tally.shared.is_removed:
                    raise
                entry = worker.tally.shared.members[member]
                entry.begun = entry.acked
                worker.desk.removed += 1
        return


class Checks:
    """What must hold of each record; content, seq, and each member's order."""

    def __init__(self, worker: Worker, epoch: int, start: int) -> None:
        self.worker, self.epoch = worker, epoch
        self.expected, self.lost = start, start
        self._seen: dict[int, tuple[int, int]] = {}  # next number; lost when it came

    def take(self, record: Record) -> None:
        tally, member = self.worker.tally, record.kind
        next_number, lost = self._seen.get(member, (0, 0))
        if record.seq != self.expected:
            raise WrongError(f"seq {record.seq} instead of {self.expected}")
        self.expected += 1
        if len(record.payload) >= NUMBER_SIZE:
            number = int.from_bytes(record.payload[:NUMBER_SIZE], "little")
        elif lost == self.lost:
            number = next_number
        else:  # of a record so short the number cannot be told after a loss
            self._seen[member] = next_number, lost - 1
            return
        key = key_of(member, number)
        if member >= MEMBERS or tally.shared.members[member].begun <= number:
            raise WrongError(f"seq {record.seq}: member {member} never emitted number {number}")
        if record.payload != tally.payload(key, number):
            raise WrongError(f"seq {record.seq}: member {member} number {number}: torn")
        if not 0 <= number - next_number <= self.lost - lost:
            raise WrongError(f"member {member} number {number} after {next_number}")
        if not tally.bears_out(self.epoch, record.seq, key):
            raise WrongError(f"seq {record.seq}: another record for others")
        self._seen[member] = number + 1, self.lost
        self.worker.desk.checked += 1

    def lose(self, missed: int, next_seq: int) -> None:
        self.expected += missed
        self.lost += missed
        if next_seq != self.expected:
            raise WrongError(f"missed {missed}, stands at {next_seq} instead of {self.expected}")


def read(worker: Worker, subscriber: Subscriber, checks: Checks) -> None:
    """Until the ring is removed, or all was read and nobody emits any more."""
    while True:
        is_last = worker.is_over(ALL_LEAVE)
        worker.begin(b"read")
        try:
            records = subscriber.read(timeout=0 if is_last else SLICE)
        except Lapped as lapped:
            checks.lose(lapped.missed, lapped.next_seq)
            worker.desk.missed += lapped.missed
            continue
        for record in records:
            checks.take(record)
        worker.desk.results += len(records)
        if is_last and not records:
            return
        worker.pause_now_and_then(20)


def run_subscriber(worker: Worker) -> None:
    while not worker.is_over(ALL_LEAVE):
        ring = worker.open()
        if ring is None:
            continue
        try:
            with ring, ring.subscribe(worker.rng.choice(("latest", "oldest"))) as subscriber:
                checks = Checks(worker, int(ring.epoch, 16), subscriber.cursor)
                read(worker, subscriber, checks)
        except RingUnlinked:
            if not worker.tally.shared.is_removed:
                raise
            worker.desk.removed += 1


def main(path: str, name: str, index: str) -> None:
    tally = Tally(Path(path))
    desk = tally.shared.desks[int(index)]
    worker = Worker(tally, name, desk)
    if desk.core:
        os.sched_setaffinity(0, {desk.core - 1})
    os.nice(desk.niceness)
    run = run_emitter if desk.role == EMITTER else run_subscriber
    run(worker)


if __name__ == "__main__":
    main(*sys.argv[1:])
