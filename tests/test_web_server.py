"""The embedded server, as a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from turns import DEADLINE_SECONDS, Agent, fresh_agent, is_alive, wait_until
from webserver import command, serving

from ringbus.events import Note

SO_ATTACH_FILTER = 26


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent of this test alone."""
    with fresh_agent(tmp_path) as fresh:
        yield fresh


def test_port_0_is_any_free_one_and_its_address_is_told(tmp_path: Path) -> None:
    """The address can be opened at once."""
    with serving(tmp_path) as server:
        assert server.port > 0
        assert server.url == f"http://127.0.0.1:{server.port}/"
        assert "ok" in server.text("/healthz")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_open_streams_cleanly(tmp_path: Path, agent: Agent, number: int) -> None:
    """The client sees the end of the response, not a torn frame; `serve` returns to its caller."""
    with serving(tmp_path) as server, agent.bus() as bus:
        bus.emit(Note("hello"))
        with server.open(f"/agents/{agent.name}/events") as response:
            while not response.readline().startswith(b"data: "):
                pass
            server.process.send_signal(number)
            rest = response.read()
        assert rest == b"\n"
        assert server.end() == (0, "stopped\n", "")


def test_a_stop_ends_every_sort_of_stream_at_once(tmp_path: Path, agent: Agent) -> None:
    """Those that sleep until something comes: to their clients it is a response that is whole."""
    own = f"/agents/{agent.name}/events"
    paths = ("/events", own, f"{own}?kind=note", f"/follow?follow=1,{agent.name},last-1")
    with serving(tmp_path) as server, agent.bus() as bus, contextlib.ExitStack() as stack:
        bus.emit(Note("hello"))
        streams = [stack.enter_context(server.open(path)) for path in paths]
        for stream in streams:
            while not stream.readline().startswith(b"data: "):
                pass
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.read()
        assert server.end() == (0, "stopped\n", "")


def test_a_client_that_reads_nothing_cannot_hold_up_the_stop(tmp_path: Path, agent: Agent) -> None:
    """Its stream waits for room that never comes."""
    with serving(tmp_path) as server, agent.bus(size=16 << 20) as bus:
        bus.emit_many([Note("x" * 100_000)] * 100)
        with server.open(f"/agents/{agent.name}/events") as response:
            response.readline()
            server.process.send_signal(signal.SIGTERM)
            assert server.end() == (0, "stopped\n", "")


def test_a_client_that_reads_nothing_is_dropped_and_resumes_exactly(
    tmp_path: Path, agent: Agent
) -> None:
    """Its thread is free again; what it had not read it gets when it comes back."""
    path, count = f"/agents/{agent.name}/events", 100
    impatient = "from ringbus.web import clients; clients.SEND_SECONDS = 1"
    with serving(tmp_path, before=impatient) as server, agent.bus(size=32 << 20) as bus:
        bus.emit_many([Note(f"{number} ".ljust(100_000, "x")) for number in range(count)])
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert client.recv(1)
            wait_until(
                lambda: "ringbus_sse_clients 0.0" in server.text("/metrics"),
                "the end of the stream",
            )
            read = b""
            with contextlib.suppress(ConnectionResetError):  # after what had arrived by then
                while piece := client.recv(1 << 16):
                    read += piece
        whole = read.rpartition(b"\n\n")[0]
        got = [int(seq) for seq in re.findall(rb"^id: [0-9a-f]{16}-(\d+)$", whole, re.MULTILINE)]
        assert got == list(range(len(got)))
        assert len(got) < count
        last = f"{bus.epoch}-{got[-1]}"
        with server.open(path, **{"Last-Event-ID": last}) as response:
            for number in range(len(got), count):
                while not (line := response.readline()).startswith(b"id: "):
                    pass
                assert line.strip().decode() == f"id: {bus.epoch}-{number}"


@pytest.mark.parametrize("path", ["/agents/nobody/events", "/events", "/follow?follow=1"])
def test_a_client_that_vanished_without_a_word_is_noticed(tmp_path: Path, path: str) -> None:
    """As a laptop that is closed: it neither answers nor hangs up. A heartbeat finds that out."""
    short = "from ringbus.web import clients, streams; clients.SEND_SECONDS = 1"
    with (
        serving(tmp_path, before=f"{short}; streams.HEARTBEAT_SECONDS = 0.5") as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert client.recv(1 << 16)
        assert "ringbus_sse_clients 1.0" in server.text("/metrics")
        _vanish(client)
        wait_until(
            lambda: "ringbus_sse_clients 0.0" in server.text("/metrics"), "the end of the stream"
        )


def _vanish(client: socket.socket) -> None:
    """Nothing that comes reaches it any more, not even what the kernel would answer."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def test_requests_are_answered_while_all_streams_are_taken(tmp_path: Path, agent: Agent) -> None:
    """One more stream is told to come back later, at once."""
    small = "from ringbus.web import server; server.DEFAULT_MAX_STREAMS = 1"
    with serving(tmp_path, before=small) as server, agent.bus() as bus:
        bus.emit(Note("hello"))
        path = f"/agents/{agent.name}"
        with server.open(f"{path}/events") as taken:
            taken.readline()
            for _ in range(30):
                assert "event: busy" in server.text(f"{path}/events")
            assert "hello" in server.text(f"{path}/history")
            assert agent.name in server.text("/")


def test_a_client_that_leaves_frees_its_stream(tmp_path: Path) -> None:
    """Long before the next heartbeat."""
    with serving(tmp_path) as server:
        with server.open("/agents/nobody/events") as response:
            response.readline()
            assert "ringbus_sse_clients 1.0" in server.text("/metrics")
        wait_until(
            lambda: "ringbus_sse_clients 0.0" in server.text("/metrics"), "the end of the stream"
        )


def test_many_open_streams_leave_room_for_other_requests(tmp_path: Path) -> None:
    """Threads are made as they are needed."""
    with serving(tmp_path) as server:
        responses = [server.open("/agents/nobody/events") for _ in range(60)]
        assert all(response.readline() == b":\n" for response in responses)
        assert "ringbus_sse_clients 60.0" in server.text("/metrics")
        for response in responses:
            response.close()


def test_a_taken_port_is_named_with_the_remedy(tmp_path: Path) -> None:
    """At once, not after retries."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(command(tmp_path, port=port))
    assert f"port {port}" in said
    assert "--port" in said


def test_an_address_for_other_machines_needs_a_token(tmp_path: Path) -> None:
    """The message says where to set it; blanks are none."""
    for token in ("", "  "):
        said = refused(command(tmp_path, host="0.0.0.0", token=token))  # noqa: S104  refused
        assert "RINGBUS_TOKEN" in said


def refused(arguments: list[str]) -> str:
    """What a server says that does not start."""
    ran = subprocess.run(
        arguments, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert ran.returncode != 0
    return ran.stderr


def test_with_a_token_the_address_is_a_login_link(tmp_path: Path) -> None:
    """Opening it lets one browser in; it stays used though the worker is started anew."""
    with serving(tmp_path, token="s3cret/+ is long") as server:  # noqa: S106
        path = server.url.removeprefix(f"http://127.0.0.1:{server.port}")
        assert "s3cret" not in path
        with server.open(path) as response:
            assert response.status == 200
            cookie = response.headers["Set-Cookie"].partition(";")[0]
        with server.open("/") as response:
            assert response.status == 401
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: server.workers() not in ([], [worker]), "another worker")
        with server.open("/", Cookie=cookie) as response:
            assert response.status == 200
        with server.open(path) as response:
            assert response.status == 401


def test_the_worker_ends_with_its_server_even_if_that_is_killed(tmp_path: Path) -> None:
    """Nothing is left that holds the port."""
    with serving(tmp_path) as server:
        wait_until(server.workers, "the worker")
        (worker,) = server.workers()
        with server.open("/agents/nobody/events") as response:
            response.readline()
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(DEADLINE_SECONDS)
            wait_until(lambda: not is_alive(worker), "the end of the worker")
