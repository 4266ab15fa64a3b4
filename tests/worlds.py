"""A world for readers: emitters and a persister that gets into trouble, played by a dice."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from following import Truth
from storing import SMALL, has_gate, locked, paused, persister_pid
from turns import Agent, python, wait_until

from ringbus.errors import BackPressure, HistoryError
from ringbus.events import Note, encode
from ringbus.history import History
from ringbus.history.aside import put_aside
from ringbus.ring import HISTORY_GATE, Ring, unlink
from ringbus.settings import Retention

BURST = 1500  # records at most; the ring keeps about a thousand
KEPT = 2500  # rows, after a sweep
LAST = "the end"

PERSISTER = """
import signal, sys
from pathlib import Path
from ringbus.history import schema
from ringbus.persister import Persister

agent, state, lock_seconds = sys.argv[1:]
schema.LOCK_SECONDS = int(lock_seconds)
persister = Persister([agent], Path(state))
signal.signal(signal.SIGTERM, lambda *_: persister.stop())
persister.run()
"""


class World:
    """A ring that is emitted into, and the persister that may or may not be at work on it.

    Where nothing may be lost emitters never push a gate on, and what takes away what was stored
    or emitted is left out.
    """

    def __init__(self, agent: Agent, dice: random.Random, *, may_lose: bool) -> None:
        self.agent = agent
        self.dice = dice
        self.may_lose = may_lose
        self.truth = Truth()
        self.is_calm = True  # the persister is alive, moves, and can store
        self._rings = ExitStack()
        self._persisters: list[subprocess.Popen[bytes]] = []
        self._is_full = False
        self._made = 0

    def __enter__(self) -> Self:
        self.agent.state.mkdir(parents=True, exist_ok=True)
        self._make_ring()
        self.start_persister()
        self._wait_if_careful()
        return self

    def __exit__(self, *_: object) -> None:
        self._rings.close()
        for process in self._persisters:
            process.kill()
            process.wait()

    # The ring

    def _make_ring(self) -> None:
        self._rings.close()
        name = self.agent.name
        self._patient = self._rings.enter_context(
            Ring.open_or_create(name, size=SMALL, policy="fail")
        )
        self._reckless = self._rings.enter_context(Ring.open(name, policy="drop"))
        self.truth.epochs.setdefault(self._patient.epoch, [])

    def emit(self, most: int = BURST) -> None:
        """Records until a gate is in the way; or over it, where something may be lost."""
        is_reckless = self.may_lose and self.dice.random() < 0.25
        ring = self._reckless if is_reckless else self._patient
        for _ in range(self.dice.randint(1, most)):
            if not self._put(ring, f"{self._made} ".ljust(self.dice.randint(8, 60), "x")):
                return

    def _put(self, ring: Ring, text: str, *, always: bool = False) -> bool:
        if self._is_full and not has_gate(self.agent.name):
            return False  # a second try would take a dead gate out after a while
        transient = not always and self.dice.random() < 0.1
        kind, payload = encode(Note(text))
        try:
            seq = ring.emit(payload, kind, transient)
        except BackPressure:
            self._is_full = True
            return False
        self._is_full = False
        self._made += 1
        self.truth.add(ring.epoch, seq, text, transient=transient)
        return True

    def make_again(self) -> None:
        """The ring is removed, and another comes under its name at once."""
        self.wait_for_gate()
        if not self._is_known():  # its records were in a file that was put aside since
            self.truth.forgotten.add(self._patient.epoch)
        unlink(self.agent.name)
        self._make_ring()
        self._wait_if_careful()

    def _wait_if_careful(self) -> None:
        """Without a gate emitters lap, and what is left of a removed ring dies with a persister."""
        if not self.may_lose:
            self.wait_for_gate()

    # The persister

    def start_persister(self) -> None:
        seconds = "0" if self.may_lose else "60"
        arguments = [*python(PERSISTER), self.agent.name, str(self.agent.state), seconds]
        self._persisters.append(subprocess.Popen(arguments, stderr=subprocess.DEVNULL))

    def wait_for_gate(self) -> None:
        wait_until(lambda: has_gate(self.agent.name), "the gate of the persister")

    def end_persister(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        """In this way; the next one comes after some steps without."""
        how(self._persisters[-1])
        self._persisters[-1].wait()
        self.is_calm = False

    def hold(self, stack: ExitStack) -> None:
        """It stands still until the stack is closed: nothing that is published is stored."""
        self.wait_for_gate()
        stack.enter_context(paused(persister_pid(self.agent.name)))
        self.is_calm = False

    def lock(self, stack: ExitStack) -> None:
        """Somebody has a transaction open until the stack is closed."""
        self.wait_for_gate()
        stack.enter_context(locked(self.agent.database))
        self.is_calm = False

    def mend(self) -> None:
        """After what held it has let go of it."""
        if self._persisters[-1].poll() is not None:
            self.start_persister()
        self.is_calm = True

    # The history

    def sweep(self) -> None:
        with History.open(self.agent.database, self.agent.name, write=True) as history:
            history.sweep(
                Retention(rows=KEPT), time.time_ns(), budget_rows=self.dice.randint(1, 3000)
            )

    def put_aside(self) -> None:
        """The files go away under the persister, which begins fresh ones."""
        self.wait_for_gate()
        put_aside(self.agent.database)
        self.truth.forgotten |= set(self.truth.epochs) - {self._patient.epoch}

    def _is_known(self) -> bool:
        try:
            with History.open(self.agent.database, self.agent.name) as history:
                return history.next_seq(self._patient.epoch) is not None
        except HistoryError:
            return False

    def settle(self) -> None:
        """All that was emitted is stored, and the last event of all is out."""
        self.wait_for_gate()
        while not self._put(self._patient, LAST, always=True):
            self.wait_for_gate()
        tail = self._patient.tail
        wait_until(lambda: self._stored_to(tail), "everything to be stored")

    def _stored_to(self, tail: int) -> bool:
        gates = [gate for gate in self._patient.gates() if gate.name == HISTORY_GATE]
        return any(gate.cursor >= tail for gate in gates)
