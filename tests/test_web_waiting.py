"""How idle streams sleep, and that nothing is slept through."""

from __future__ import annotations

import math
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from flask.testing import FlaskClient
from storing import SMALL, put
from turns import DEADLINE_SECONDS, Agent, wait_until
from webclient import frames, listen

from ringbus.errors import RingbusError
from ringbus.events import Note
from ringbus.ring import Ring, unlink
from ringbus.web import clients, streams, waiting
from ringbus.web.clients import Client
from ringbus.web.streams import Streams
from ringbus.web.waiting import Bell, Bells, Waker


@pytest.fixture
def bells() -> Bells:
    """Those of one application."""
    return Bells()


def bell_threads(name: str) -> int:
    """How many wait for that agent."""
    return sum(thread.name == f"ringbus-bell-{name}" for thread in threading.enumerate())


@contextmanager
def sleeper(waker: Waker, seconds: float = 10 * DEADLINE_SECONDS) -> Iterator[threading.Thread]:
    """A thread that sleeps until it is woken."""
    thread = threading.Thread(target=waker.wait, args=(seconds,), daemon=True)
    thread.start()
    yield thread
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive(), "it was not woken"


def test_one_who_is_awake_is_woken_from_his_next_sleep_once() -> None:
    """However often he was woken before."""
    waker = Waker()
    waker.wake()
    waker.wake()
    with sleeper(waker):
        pass
    begun = time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - begun >= 0.05


def test_a_bell_wakes_all_who_wait_for_its_ring(ring: Ring, bells: Bells) -> None:
    """With one thread, which ends with the last of them."""
    with ExitStack() as stack:
        wakers = [Waker() for _ in range(20)]
        rung = [stack.enter_context(bells.of(ring.name)) for _ in wakers]
        assert len(set(rung)) == bell_threads(ring.name) == 1
        for bell, waker in zip(rung, wakers, strict=True):
            bell.arm(waker)
            stack.enter_context(sleeper(waker))
        put(ring, "hello")
    wait_until(lambda: bell_threads(ring.name) == 0, "the end of the bell")


def test_there_are_only_so_many_bells(bells: Bells, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may ask for agents that there are not, many at a time."""
    monkeypatch.setattr(waiting, "MOST_BELLS", 1)
    with bells.of("t-none-1"), bells.of("t-none-1"):
        another = bells.of("t-none-2")
        with pytest.raises(RingbusError, match="1 agents"):
            another.__enter__()
    with bells.of("t-none-2"):
        pass


def test_who_ended_is_not_held(ring: Ring, bells: Bells) -> None:
    """Thousands of pages may come and go before anything happens."""
    with bells.of(ring.name) as bell:
        for _ in range(100):
            bell.arm(Waker())
        assert len(bell._armed) <= 1


def test_a_bell_tells_of_a_ring_that_appears_goes_and_comes_back(
    ring_name: str, bells: Bells
) -> None:
    """Each is something to look at."""
    waker = Waker()
    with bells.of(ring_name) as bell:
        bell.arm(waker)
        with sleeper(waker):
            first = Ring.create(ring_name, size=SMALL)
        for _ in range(3):
            bell.arm(waker)
            with sleeper(waker):
                put(first, "hello")
        bell.arm(waker)
        with sleeper(waker):
            unlink(ring_name)
        first.close()
        bell.arm(waker)
        with sleeper(waker), Ring.create(ring_name, size=SMALL) as second:
            put(second, "hello")


def test_nothing_is_slept_through(ring: Ring, bells: Bells) -> None:
    """Whoever arms, looks, and then sleeps sees every record, whatever the moment."""
    count, seed = 3_000, random.randrange(2**32)
    chance = random.Random(seed)
    seen = [0] * 4
    print(f"seed {seed}")

    def read(number: int, bell: Bell) -> None:
        waker, armed = Waker(), False
        with ring.subscribe("oldest") as subscriber:
            while seen[number] < count:
                if records := subscriber.read(100, 0):
                    seen[number] = records[-1].seq + 1
                    armed = False
                elif not armed:
                    bell.arm(waker)
                    armed = True
                else:
                    waker.wait(10 * DEADLINE_SECONDS)
                    armed = False

    with ExitStack() as stack:
        rung = [stack.enter_context(bells.of(ring.name)) for _ in seen]
        readers = [
            threading.Thread(target=read, args=(number, bell), daemon=True)
            for number, bell in enumerate(rung)
        ]
        for reader in readers:
            reader.start()
        for number in range(count):
            put(ring, str(number))
            if chance.random() < 0.5:
                # Mostly all have gone to sleep by then.
                time.sleep(chance.choice([0, 0.0001, 0.001]))
            if chance.random() < 0.1:
                wait_until(lambda: min(seen) == number + 1, f"record {number}")  # noqa: B023
        wait_until(lambda: min(seen) == count, "the last record")
        for reader in readers:
            reader.join(DEADLINE_SECONDS)


def test_a_stream_sleeps_through_nothing(
    client: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However closely an event follows on the moment it goes to sleep; no heartbeat helps."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 10 * DEADLINE_SECONDS)
    monkeypatch.setattr(streams, "_SHORTEST_GATHER", 0.0)
    count, chance = 500, random.Random(7)
    came = [0, 0]

    def read(number: int, path: str) -> None:
        response = listen(client.application.test_client(), path)
        for frame in frames(response):
            came[number] += "data" in frame
            if came[number] == count:
                response.close()
                return

    with agent.bus() as bus:
        bus.emit(Note("0"))
        paths = f"/agents/{agent.name}/events", f"/follow?follow=1,{agent.name},last-1"
        readers = [
            threading.Thread(target=read, args=(number, path), daemon=True)
            for number, path in enumerate(paths)
        ]
        for reader in readers:
            reader.start()
        for number in range(1, count):
            wait_until(lambda: min(came) >= number, f"event {number}")  # noqa: B023
            time.sleep(chance.choice([0, 0, 0.00005, 0.0002]))
            bus.emit(Note(str(number)))
        for reader in readers:
            reader.join(DEADLINE_SECONDS)
    assert came == [count, count]


class Late:
    """A source to which something comes while the stream goes to sleep, and wakes nobody."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def read(self) -> list[bytes]:
        return self._pieces

    def arm(self, _: Waker) -> float:
        self._pieces = [b"late"]
        return math.inf


def test_a_stream_looks_once_more_before_it_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before it was armed wakes nobody any more."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 10 * DEADLINE_SECONDS)
    pieces = Streams(1).pump(Late(), Client({}))
    assert next(pieces) == b"late"
    pieces.close()


# --- clients ------------------------------------------------------------------------------


def test_who_waits_is_woken_when_his_client_goes() -> None:
    """And by nothing that it says."""
    one, other = socket.socketpair()
    waker = Waker()
    client = Client({"gunicorn.socket": one})
    with one, other, client.watched(waker):
        other.sendall(b"more")
        assert one.recv(10) == b"more"
        assert not client.is_gone()
        with sleeper(waker):
            other.close()
        assert client.is_gone()


def test_a_connection_that_took_the_number_of_another_is_not_taken_for_it() -> None:
    """Numbers of files are used again at once."""
    for _ in range(20):
        one, other = socket.socketpair()
        with one, Client({"gunicorn.socket": one}).watched(Waker()):
            other.close()
        one, other = socket.socketpair()
        client = Client({"gunicorn.socket": one})
        with one, other, client.watched(Waker()):
            assert not client.is_gone()


def test_a_client_that_only_its_server_knows_is_asked_for() -> None:
    """As waitress has it; elsewhere nobody can be asked."""
    gone = False
    client = Client({"waitress.client_disconnected": lambda: gone})
    assert client.rest < 1
    with client.watched(Waker()):
        assert not client.is_gone()
        gone = True
        assert client.is_gone()
    assert not Client({}).is_gone()


def test_a_peer_that_vanished_is_given_up() -> None:
    """Which says nothing: neither reads nor acknowledges. A writer waits no longer than that."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert not Client({"gunicorn.socket": connection}).is_gone()
        limit = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert limit == 1_000 * clients.SEND_SECONDS
