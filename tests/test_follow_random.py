"""Following at random: persisters stop, die and come back, rings are made again, rows are swept.

A world is played by a dice with a seed. What was emitted is counted; every reader has to account
for all of it: events once and in order, or gaps with exact numbers.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest
from flask import Flask
from following import Account
from turns import Agent, python, wait_until
from webclient import frames, listen, web_state
from worlds import LAST, World

from ringbus import follow as follow_module
from ringbus.events import Envelope, Gap, Note, Position, Reset
from ringbus.follow import Follow
from ringbus.history import History

Item = Envelope | Gap | Reset

STEPS = 60


class Reader:
    """A `Follow` from the beginning on, with a pace of its own.

    `eager` readers take all that is there at once, others a batch; some come back again and again
    where they were.
    """

    def __init__(self, world: World, *, pace: float, eager: bool, comes_back: bool = False) -> None:
        self.account = Account(world.truth)
        self._world = world
        self._pace = pace
        self._eager = eager
        self._comes_back = comes_back
        self._follow = self._open(None)

    def _open(self, after: Position | None) -> Follow:
        agent = self._world.agent
        return Follow(agent.name, database=agent.database, after=after)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._follow.close()

    def step(self) -> None:
        dice = self._world.dice
        if dice.random() > self._pace:
            return
        if self._comes_back and dice.random() < 0.3:
            self._follow.close()
            self._follow = self._open(self.account.position)
        while self._read(0.0) and self._eager:
            pass

    def _read(self, timeout: float) -> bool:
        items = self._follow.read(timeout)
        for item in items:
            self.account.take(item)
        return bool(items)

    def finish(self) -> None:
        """Reads to the last event."""

        def is_done() -> bool:
            self._read(0.05)
            return self.account.is_at_the_end()

        wait_until(is_done, "a reader's last event")
        self.account.finish()


class Browser:
    """A client of the event stream, which breaks it off now and then and resumes."""

    def __init__(self, app: Flask, agent: Agent, seed: int) -> None:
        self.found: list[Item] = []
        self._app = app
        self._path = f"/agents/{agent.name}/events?last=1000000"
        self._dice = random.Random(seed)
        self._last_id: str | None = None
        self._is_connected = False
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over:
            self._read(self._dice.choice([1, 10, 700, 5000]))

    def _read(self, most: int) -> None:
        headers = {"Last_Event_ID": self._last_id} if self._last_id else {}
        response = listen(self._app.test_client(), self._path, **headers)
        self._is_connected = True
        for number, frame in enumerate(frames(response), 1):
            self._last_id = frame.get("id", self._last_id)
            if frame.get("event") != "cursor":  # which tells the place alone
                self.found.append(item_of(frame["data"].encode(), frame.get("event")))
            self._is_over = self._is_over or f'"{LAST}"' in frame["data"]
            if number == most or self._is_over:
                break
        response.close()

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._is_connected, "the browser to be connected")
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        web_state(self._app).streams.stop()
        self._thread.join()

    def join(self) -> None:
        wait_until(lambda: not self._thread.is_alive(), "the last event in the browser")


def item_of(data: bytes, kind: str | None) -> Item:
    """What a stream or `tail --json` told as `kind`, None for an event."""
    told = json.loads(data)
    if kind == "gap":
        return Gap(told["epoch"], told["from"], told["to"], told["missed"], told["reason"])
    if kind == "reset":
        return Reset(told["position"])
    assert kind is None, data
    return Envelope(told["epoch"], told["seq"], told["ts_ns"], event=Note(told["text"]))


def printed(line: bytes) -> Item:
    """What a line of `tail --json` says."""
    for kind in ("gap", "reset"):
        head = b'{"%b":' % kind.encode()
        if line.startswith(head):
            return item_of(line.removeprefix(head)[:-1], kind)
    return item_of(line, None)


TAIL = """
import sys
from ringbus import follow
from ringbus.cli import main

follow.PATIENCE = float(sys.argv.pop(1))
main()
"""


@contextmanager
def tailing(agent: Agent, patience: float, output: Path) -> Iterator[None]:
    """`ringbus tail --from-start`, into a file."""
    arguments = [str(patience), "tail", *agent.place, "--json", "--from-start"]
    with (
        output.open("wb") as file,
        subprocess.Popen([*python(TAIL), *arguments], stdout=file) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def play(world: World, readers: list[Reader]) -> None:
    """Some steps, in which the persister gets into trouble and out of it."""
    dice = world.dice
    troubles: list[Callable[[ExitStack], object]] = [
        world.hold,
        world.lock,
        lambda _: world.end_persister(subprocess.Popen.kill),
        lambda _: world.end_persister(subprocess.Popen.terminate),
    ]
    events = [world.make_again]
    if world.may_lose:
        events += [world.sweep, world.put_aside]
    with ExitStack() as trouble:
        for _ in range(STEPS):
            world.emit()
            for reader in readers:
                reader.step()
            if not world.is_calm and dice.random() < 0.4:
                trouble.close()
                world.mend()
            elif world.is_calm and dice.random() < 0.25:
                dice.choice(troubles)(trouble)
            elif world.is_calm and dice.random() < 0.15:
                dice.choice(events)()
    world.mend()
    world.settle()


def check_all(agent: Agent, app: Flask, world: World, seed: int, output: Path) -> list[Account]:
    """Plays, and lets everybody read to the end: who came first, who came late, by any way."""
    print(f"seed {seed}")
    with ExitStack() as stack:
        patience = follow_module.PATIENCE
        browser = stack.enter_context(Browser(app, agent, seed))
        stack.enter_context(tailing(agent, patience, output))
        paces = [(1.0, True, False), (0.5, False, False), (0.1, True, False), (0.4, True, True)]
        readers = [
            stack.enter_context(Reader(world, pace=pace, eager=eager, comes_back=comes_back))
            for pace, eager, comes_back in paces
        ]
        play(world, readers)
        late = stack.enter_context(Reader(world, pace=1.0, eager=True))
        for reader in [*readers, late]:
            reader.finish()
        browser.join()
        wait_until(lambda: LAST.encode() in output.read_bytes(), "the last event of tail")
    accounts = [reader.account for reader in [*readers, late]]
    for items in (browser.found, map(printed, output.read_bytes().splitlines())):
        accounts.append(Account(world.truth))
        for item in items:
            accounts[-1].take(item)
        accounts[-1].finish()
    assert late.account.received == rows_of(agent)
    return accounts


def rows_of(agent: Agent) -> int:
    with History.open(agent.database, agent.name) as history:
        return history.count()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_everything_reaches_everybody_where_nothing_is_lost(
    agent: Agent, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Persisters held, locked out, killed and stopped, and rings made again: not one gap."""
    monkeypatch.setattr(follow_module, "PATIENCE", 60.0)
    with World(agent, random.Random(seed), may_lose=False) as world:
        accounts = check_all(agent, app, world, seed, tmp_path / "tail")
    assert [account.gaps for account in accounts] == [[]] * len(accounts)
    emitted = sum(text is not None for texts in world.truth.epochs.values() for text in texts)
    assert [account.received for account in accounts] == [emitted] * len(accounts)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_lost_is_a_gap_of_exact_numbers_for_everybody(
    agent: Agent, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Gates pushed on, rows swept, and databases put aside as well."""
    monkeypatch.setattr(follow_module, "PATIENCE", 0.1)
    with World(agent, random.Random(seed), may_lose=True) as world:
        accounts = check_all(agent, app, world, seed, tmp_path / "tail")
    assert any(account.gaps for account in accounts)
