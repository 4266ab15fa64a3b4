"""The pages inside a Flask application, under the servers that people use."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from hosting import (
    Hosted,
    events,
    flask_server,
    free_port,
    gunicorn_server,
    texts_of,
    waitress_server,
)
from turns import Agent, wait_until
from webclient import EPOCH, notes, store

from ringbus.events import Note
from ringbus.web import RingbusWeb, routes

pytestmark = pytest.mark.slow

Server = Callable[..., AbstractContextManager[Hosted]]
# Its own worker, which lets streams go on for as long as it gives requests.
gthread_server = partial(
    gunicorn_server, GUNICORN_CMD_ARGS="--worker-class=gthread --graceful-timeout=1"
)
SERVERS: dict[str, Server] = {
    "flask": flask_server,
    "gunicorn": gunicorn_server,
    "gthread": gthread_server,
    "waitress": waitress_server,
}


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A folder with the application of the ten-line example."""
    (text,) = (text for text in texts_of("python") if "RingbusWeb" in text)
    assert len(list(filter(str.strip, text.splitlines()))) <= 10
    folder = tmp_path / "application"
    folder.mkdir()
    (folder / "app.py").write_text(text)
    return folder


@pytest.mark.parametrize("name", SERVERS)
def test_the_example_works_under_each_server(name: str, application: Path, agent: Agent) -> None:
    """Events come at once and are resumed exactly; many streams leave room, and end at a stop."""
    serve = SERVERS[name]
    path = f"/live/agents/{agent.name}/events"
    with (
        agent.bus() as bus,
        serve(application, free_port(), RINGBUS_STATE=str(agent.state)) as server,
        ExitStack() as stack,
    ):
        assert "/live/" in server.text("/")
        bus.emit(Note("one"))
        assert agent.name in server.text("/live/")
        with server.open(path) as response:
            came = events(response)
            assert next(came) == (f"{bus.epoch}-0", "one")
            bus.emit(Note("two"))
            assert next(came) == (f"{bus.epoch}-1", "two")
        bus.emit_many([Note("three"), Note("four")])
        with server.open(path, Last_Event_ID=f"{bus.epoch}-1") as response:
            came = events(response)
            assert [next(came)[1], next(came)[1]] == ["three", "four"]
        # All who left are noticed, though nothing was sent to them since.
        wait_until(lambda: open_streams(server) == 0, "the end of the streams")
        opened = [stack.enter_context(server.open(path)) for _ in range(30)]
        assert all(next(events(response))[1] == "one" for response in opened)
        assert open_streams(server) == 30
        server.stop(signal.SIGTERM)
        assert all(is_over(response) for response in opened)


@pytest.mark.parametrize("name", SERVERS)
def test_a_client_that_reads_nothing_is_dropped_under_each_server(
    name: str, application: Path, agent: Agent
) -> None:
    """Its thread is free again; it resumes after what it had read."""
    serve = SERVERS[name]
    with (application / "app.py").open("a") as file:
        file.write("from ringbus.web import clients\nclients.SEND_SECONDS = 1\n")
    path, count = f"/live/agents/{agent.name}/events", 300
    with (
        agent.bus(size=64 << 20) as bus,
        serve(application, free_port(), RINGBUS_STATE=str(agent.state)) as server,
    ):
        bus.emit_many([Note(f"{number} ".ljust(100_000, "x")) for number in range(count)])
        with server.open(path) as response:
            position, _ = next(events(response))
            wait_until(lambda: open_streams(server) == 0, "the end of the stream")
        with server.open(path, Last_Event_ID=position) as response:
            came = events(response)
            ids = [position, *(next(came)[0] for _ in range(count - 1))]
        assert ids == [f"{bus.epoch}-{number}" for number in range(count)]


@pytest.mark.parametrize("name", SERVERS)
def test_the_longest_address_that_tabs_ask_for_is_taken(
    name: str, application: Path, agent: Agent
) -> None:
    """As many agents as one connection is for, with the longest names and places."""
    names = [f"{agent.name}-{number}".ljust(64, "x") for number in range(routes.MAX_SHARED)]
    asked = "&".join(f"follow={100 + tag},{one},{EPOCH}-{10**9}" for tag, one in enumerate(names))
    with (
        SERVERS[name](application, free_port(), RINGBUS_STATE=str(agent.state)) as server,
        server.open(f"/live/follow?{asked}") as response,
    ):
        assert response.status == 200
        assert response.readline() == b":\n"


def open_streams(server: Hosted) -> float:
    """As `/metrics` tells."""
    (line,) = (
        line
        for line in server.text("/live/metrics").splitlines()
        if line.startswith("ringbus_sse_clients ")
    )
    return float(line.split()[1])


def is_over(response: http.client.HTTPResponse) -> bool:
    """Whether nothing comes any more; waits for that."""
    try:
        while response.read(1 << 16):
            pass
    except (http.client.IncompleteRead, ConnectionResetError):
        return True
    return True


def test_gunicorn_lets_in_no_more_streams_than_its_threads_bear(
    application: Path, agent: Agent
) -> None:
    """Though the application would: other requests are answered all the same."""
    text = (application / "app.py").read_text()
    (application / "app.py").write_text(text.replace("200", "1000"))
    path = f"/live/agents/{agent.name}/events"
    with (
        agent.bus() as bus,
        gunicorn_server(
            application,
            free_port(),
            RINGBUS_STATE=str(agent.state),
            GUNICORN_CMD_ARGS="--threads=6",
        ) as server,
        ExitStack() as stack,
    ):
        bus.emit(Note("one"))
        for _ in range(3):
            assert next(events(stack.enter_context(server.open(path))))[1] == "one"
        assert "event: busy" in server.text(path)
        assert "/live/" in server.text("/")


def test_other_requests_have_the_time_to_end_that_gunicorn_gives(
    application: Path, agent: Agent
) -> None:
    """Only the streams end at once."""
    with (application / "app.py").open("a") as file:
        file.write(
            "@app.get('/slow')\n"
            "def slow():\n"
            "    import pathlib, time\n"
            "    pathlib.Path('begun').touch()\n"
            "    while not pathlib.Path('end').exists():\n"
            "        time.sleep(0.01)\n"
            "    return 'slow but whole'\n"
        )
    path = f"/live/agents/{agent.name}/events"
    with (
        agent.bus() as bus,
        gunicorn_server(application, free_port(), RINGBUS_STATE=str(agent.state)) as server,
        ExitStack() as stack,
    ):
        bus.emit(Note("one"))
        stream = stack.enter_context(server.open(path))
        assert next(events(stream))[1] == "one"
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/slow")
        wait_until((application / "begun").exists, "the slow request")
        server.process.send_signal(signal.SIGTERM)
        assert is_over(stream)
        (application / "end").touch()
        assert connection.getresponse().read() == b"slow but whole"
        connection.close()


TWO = """
import os
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from ringbus.web import RingbusWeb, routes

def made(name, limit):
    app = Flask(name)
    app.config.update(RINGBUS_STATE=name, RINGBUS_MAX_STREAMS=limit)
    app.config["RINGBUS_TOKEN"] = f"long token of {name}"
    RingbusWeb(app)
    return app

app = Flask("host")
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/one": made("one", 1), "/two": made("two", 2)})
"""


def test_applications_in_one_process_share_nothing(tmp_path: Path) -> None:
    """Neither histories nor tokens nor places for streams; a stop ends the streams of all."""
    (tmp_path / "app.py").write_text(TWO)
    agents = {prefix: Agent(f"t-{prefix}-stored", tmp_path / prefix) for prefix in ("one", "two")}
    for agent in agents.values():
        store(agent, notes(1))
    tokens = {
        prefix: {"Authorization": f"Bearer long token of {prefix}"} for prefix in ("one", "two")
    }
    with gunicorn_server(tmp_path, free_port()) as server, ExitStack() as stack:
        streams = []
        for prefix, other, places in (("one", "two", 1), ("two", "one", 2)):
            own, path = agents[prefix].name, f"/{prefix}/agents/{agents[prefix].name}"
            assert "row 0" in server.text(f"{path}/history", **tokens[prefix])
            assert own in server.text(f"/{prefix}/", **tokens[prefix])
            assert agents[other].name not in server.text(f"/{prefix}/", **tokens[prefix])
            with server.open(f"{path}/history", **tokens[other]) as response:
                assert response.status == 401
            for _ in range(places):
                streams.append(stack.enter_context(server.open(f"{path}/events", **tokens[prefix])))
                assert next(events(streams[-1]))[1] == "row 0"
            assert "event: busy" in server.text(f"{path}/events", **tokens[prefix])
        server.stop(signal.SIGTERM)
        assert all(is_over(stream) for stream in streams)


def test_templates_and_styles_of_ones_own_win(tmp_path: Path) -> None:
    """The application's layout is in every page, and its style sheet comes after ours."""
    (text,) = texts_of("jinja")
    (tmp_path / "ringbus").mkdir()
    (tmp_path / "ringbus/layout.html").write_text(text)
    (tmp_path / "ringbus/error.html").write_text("own error {{ status }}")
    app = Flask("host", static_folder=None, template_folder=str(tmp_path))
    app.config.update(RINGBUS_STATE=tmp_path, RINGBUS_STYLESHEET="/own.css")
    RingbusWeb(app)
    client = app.test_client()
    for path in ("/", "/agents/a", "/login"):
        page = client.get(path).text
        assert '<link rel="author" href="/about">' in page
        assert page.index("base.css") < page.index('href="/own.css"') < page.index("</head>")
        assert 'lang="en"' in page
    assert client.get("/agents/-bad", headers={"Accept": "text/html"}).text == "own error 404"


def test_the_variables_of_the_example_are_ours() -> None:
    """So that a style sheet like it has an effect."""
    (text,) = texts_of("css")
    ours = (Path(__file__).parent.parent / "ringbus/web/static/base.css").read_text()
    names = [word.rstrip(":") for word in text.split() if word.startswith("--")]
    assert len(names) == 3
    for name in names:
        assert f"  {name}: " in ours
        assert f"var({name})" in ours
