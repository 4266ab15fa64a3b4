"""The supervisor: what it keeps running, and how all of it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from turns import DEADLINE_SECONDS, Agent, is_alive, ringbus, started, wait_until

from ringbus.events import Note

pytestmark = pytest.mark.slow


@pytest.fixture
def supervisor(agent: Agent) -> Iterator[subprocess.Popen[bytes]]:
    """A running `ringbus up` for one agent."""
    with started("up", *agent.place, "--port", "0") as process:
        yield process
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def said_url(process: subprocess.Popen[bytes]) -> str:
    """The address that it prints when the page can be opened."""
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def child(process: subprocess.Popen[bytes], verb: str) -> int | None:
    """The number of the process that serves as `verb`."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            words = (status.parent / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == process.pid and verb.encode() in words:
            return int(status.parent.name)
    return None


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False


def test_url_is_printed_when_the_page_can_be_opened(
    supervisor: subprocess.Popen[bytes],
) -> None:
    """The first line on stdout is an address that answers."""
    url = said_url(supervisor)
    assert url.startswith("http://127.0.0.1:")
    assert answers(url)


def test_events_are_stored(agent: Agent, supervisor: subprocess.Popen[bytes]) -> None:
    """The persister stores what the agent emits."""
    said_url(supervisor)
    assert ringbus("emit", *agent.place, "kept").returncode == 0
    wait_until(lambda: stored(agent) == [Note("kept")], "the note in the history")


def stored(agent: Agent) -> list[object]:
    from ringbus.errors import HistoryError
    from ringbus.history import History

    try:
        with History.open(agent.database, agent.name) as history:
            return [envelope.event for envelope in history.page()]
    except HistoryError:
        return []


def test_killed_persister_comes_back(supervisor: subprocess.Popen[bytes]) -> None:
    """A process that dies is started again."""
    said_url(supervisor)
    killed = child(supervisor, "persist")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: child(supervisor, "persist") not in (None, killed), "a new persister")


def test_killed_web_process_comes_back_on_its_port(
    supervisor: subprocess.Popen[bytes],
) -> None:
    """The address stays good though port 0 had been asked for, and is told once."""
    url = said_url(supervisor)
    killed = child(supervisor, "serve")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: child(supervisor, "serve") not in (None, killed), "a new web process")
    wait_until(lambda: answers(url), "an answer at the old address")
    supervisor.terminate()
    out, err = supervisor.communicate(timeout=DEADLINE_SECONDS)
    assert out == b""
    assert b"RINGBUS_TOKEN" not in err


def test_pages_answer_to_this_machine_and_to_allowed_names_alone(agent: Agent) -> None:
    """Nobody else reaches the port, unless an address is named; then the names of hosts count."""
    names = ["--allow-host", "box.lan", "--allow-host", "agents.example"]
    with started("up", *agent.place, "--port", "0", *names) as process:
        url = said_url(process)
        port = int(url.rstrip("/").rpartition(":")[2])
        assert listening(port) == {"127.0.0.1"}
        for host, status in (("box.lan", 200), ("agents.example:443", 200), ("evil.lan", 403)):
            assert status_of(request(url, Host=host)) == status
        process.terminate()
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        # Through a proxy every request comes from this machine.
        assert b"--allow-host without RINGBUS_TOKEN" in err


def status_of(asked: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(asked, timeout=DEADLINE_SECONDS) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def listening(port: int) -> set[str]:
    """The addresses of this machine at which somebody takes connections for that port."""
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if int(number, 16) == port and state == "0A":
                words = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
                found.add(socket.inet_ntop(family, b"".join(word[::-1] for word in words)))
    return found


def test_a_web_process_that_comes_back_tells_a_link_that_works(agent: Agent) -> None:
    """The one before died with its process; who was let in by it stays in."""
    environment = os.environ | {"RINGBUS_TOKEN": "a token for this test"}
    with started("up", *agent.place, "--port", "0", env=environment) as process:
        link = said_url(process)
        place = link.partition("login?")[0]
        inside = cookie_of(link)
        assert inside is not None
        killed = child(process, "serve")
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        again = said_url(process)
        assert again.startswith(f"{place}login?once=")
        assert cookie_of(link) is None
        assert cookie_of(again) == inside
        assert status_of(request(place, Cookie=inside)) == 200
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0


def cookie_of(link: str) -> str | None:
    """What a browser that opens it is given; None if it is refused."""
    try:
        with urllib.request.urlopen(link, timeout=DEADLINE_SECONDS) as response:  # noqa: S310
            return str(response.headers["Set-Cookie"]).partition(";")[0]
    except urllib.error.HTTPError:
        return None


def request(url: str, **headers: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers=headers)  # noqa: S310


def test_a_token_that_can_be_guessed_ends_it_with_the_remedy(agent: Agent) -> None:
    """Rather than a web process that is started again and again."""
    environment = os.environ | {"RINGBUS_TOKEN": "abc"}
    ended = ringbus("up", *agent.place, "--port", "0", env=environment)
    assert ended.returncode == 1
    assert ended.stdout == b""
    assert b"RINGBUS_TOKEN has 3 characters" in ended.stderr
    assert b"giving up" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_everything(
    supervisor: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    """Both processes go with it, and the exit status is 0."""
    said_url(supervisor)
    children = [child(supervisor, verb) for verb in ("persist", "serve")]
    supervisor.send_signal(number)
    assert supervisor.wait(DEADLINE_SECONDS) == 0
    assert not any(is_alive(pid) for pid in children if pid)


def test_children_end_with_a_killed_supervisor(supervisor: subprocess.Popen[bytes]) -> None:
    """Nobody is left behind, whatever way it ends."""
    said_url(supervisor)
    children = [pid for verb in ("persist", "serve") if (pid := child(supervisor, verb))]
    assert len(children) == 2
    supervisor.kill()
    supervisor.wait(DEADLINE_SECONDS)
    wait_until(lambda: not any(is_alive(pid) for pid in children), "the end of both")


def test_port_in_use_is_told_and_fails(agent: Agent, supervisor: subprocess.Popen[bytes]) -> None:
    """A web process that cannot start at all ends the supervisor."""
    port = said_url(supervisor).rstrip("/").rpartition(":")[2]
    second = ringbus("up", *agent.place, "--port", port)
    assert second.returncode == 1
    assert b"giving up" in second.stderr


def test_demo_ends_promptly_and_leaves_nothing(tmp_path: Path) -> None:
    """The demo shows its page, and after Ctrl-C its ring and its temporary folder are gone."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with started("demo", "--port", "0", env=environment) as process:
        assert answers(said_url(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert list(tmp_path.iterdir()) == []
    assert b"demo" not in ringbus("ls", "--json").stdout
