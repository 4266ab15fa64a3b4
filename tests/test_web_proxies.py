"""The pages behind nginx and HAProxy, set up by the very texts of ringbus/web/README.md."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from hosting import HOST, Hosted, events, free_port, haproxy, nginx
from turns import Agent, wait_until
from webserver import Server, serving

from ringbus.events import Note

pytestmark = pytest.mark.slow

Proxy = Callable[[Path, int, int], AbstractContextManager[Hosted]]
TOKEN = "long enough and secret"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Starts one of them."""
    chosen: Proxy = request.param
    return chosen


@pytest.fixture
def server(agent: Agent) -> Iterator[Server]:
    """A server with a token that knows the proxy's name."""
    with serving(agent.state, token=TOKEN, allow_hosts=[HOST]) as server:
        yield server


def test_streams_come_at_once_and_end_with_the_client(
    proxy: Proxy, server: Server, agent: Agent, tmp_path: Path
) -> None:
    """Nothing is gathered on the way, though the browser would take it compressed."""
    path = f"/agents/{agent.name}/events"
    with agent.bus() as bus, proxy(tmp_path, free_port(), server.port) as front:
        bus.emit(Note("0"))
        with front.open(path, Accept_Encoding="gzip, br", **BEARER) as response:
            assert response.headers["Cache-Control"] == "no-cache, no-transform"
            came = events(response)
            for number in range(20):
                assert next(came) == (f"{bus.epoch}-{number}", str(number))
                bus.emit(Note(str(number + 1)))
        wait_until(lambda: "ringbus_sse_clients 0.0" in metrics(server), "the end of the stream")


def test_a_client_resumes_exactly_when_proxy_or_server_are_started_anew(
    proxy: Proxy, server: Server, agent: Agent, tmp_path: Path
) -> None:
    """By the id of its last event."""
    path, port = f"/agents/{agent.name}/events", free_port()
    with agent.bus() as bus:
        bus.emit_many([Note(str(number)) for number in range(10)])
        with proxy(tmp_path, port, server.port) as front, front.open(path, **BEARER) as response:
            came = events(response)
            ids = [next(came)[0] for _ in range(5)]
            front.stop(signal.SIGTERM if proxy is haproxy else signal.SIGINT)
            # What was on its way comes yet.
            with suppress(http.client.IncompleteRead, ConnectionResetError):
                ids += [id_ for id_, _ in came]
        bus.emit_many([Note(str(number)) for number in range(10, 20)])
        with proxy(tmp_path, port, server.port) as front:
            with front.open(path, Last_Event_ID=ids[-1], **BEARER) as response:
                came = events(response)
                ids += [next(came)[0] for _ in range(20 - len(ids))]
                server.process.send_signal(signal.SIGTERM)
                assert list(came) == []
                server.end()
            assert ids == [f"{bus.epoch}-{number}" for number in range(20)]
            with front.open(path, Last_Event_ID=ids[-1], **BEARER) as response:
                assert response.status in {502, 503}
            bus.emit(Note("20"))
            with (
                serving(agent.state, port=server.port, token=TOKEN, allow_hosts=[HOST]),
                front.open(path, Last_Event_ID=ids[-1], **BEARER) as response,
            ):
                assert next(events(response)) == (f"{bus.epoch}-20", "20")


def test_browsers_sign_in_through_the_proxy(proxy: Proxy, server: Server, tmp_path: Path) -> None:
    """Under its name and from its own pages, by link and by token; TLS is the proxy's to tell."""
    with proxy(tmp_path, free_port(), server.port) as front:
        with front.open("/", Accept="text/html") as response:
            assert response.status == 401
            assert 'action="/login"' in response.read().decode()
        link = server.url.removeprefix(f"http://127.0.0.1:{server.port}")
        cookies = []
        with front.open(link) as response:
            cookies.append(response.headers["Set-Cookie"])
        own = {"Origin": f"http://{front.host}"}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = f"token={TOKEN.replace(' ', '+')}"
        with front.open("/login", "POST", body, **own, **form) as response:
            cookies.append(response.headers["Set-Cookie"])
        for cookie in cookies:
            assert "Secure" not in cookie
            with front.open("/", Cookie=cookie.partition(";")[0]) as response:
                assert response.status == 200
        with front.open("/", Origin="http://evil.example", **BEARER) as response:
            assert response.status == 403
        with front.open("/", Host="evil.example", **BEARER) as response:
            assert response.status == 403


def test_many_readers_who_stop_reading_are_no_burden(
    proxy: Proxy, server: Server, agent: Agent, tmp_path: Path
) -> None:
    """Others are served through the same proxy."""
    path = f"/agents/{agent.name}/events"
    with agent.bus(size=16 << 20) as bus, proxy(tmp_path, free_port(), server.port) as front:
        bus.emit_many([Note("x" * 100_000)] * 100)
        stuck = [front.open(path, **BEARER) for _ in range(10)]
        with front.open(f"/agents/{agent.name}/events?last=1", **BEARER) as response:
            came = events(response)
            assert next(came)[0] == f"{bus.epoch}-99"
            bus.emit(Note("next"))
            assert next(came)[1] == "next"
        for response in stuck:
            response.close()


def metrics(server: Server) -> str:
    """What `/metrics` says."""
    with server.open("/metrics", **BEARER) as response:
        return response.read().decode()
