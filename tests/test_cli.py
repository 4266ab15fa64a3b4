"""The command line: what each verb prints, and the exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from turns import DEADLINE_SECONDS, Agent, command, ringbus, started, wait_until

from ringbus.cli import cli
from ringbus.events import Event, Note, TurnEnd, TurnStart

EPOCH = "00000000000000ab"


@pytest.fixture
def busy(agent: Agent) -> Iterator[Agent]:
    """An agent that has emitted ten notes."""
    with agent.bus() as bus:
        for number in range(10):
            bus.emit(Note(f"note {number}"))
        yield agent


each_verb = pytest.mark.parametrize(
    ("name", "verb"), sorted(cli.commands.items()), ids=sorted(cli.commands)
)


def objects(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# --- help ---------------------------------------------------------------------------------


@each_verb
def test_every_verb_has_help_and_an_example(name: str, verb: click.Command) -> None:
    """Help says what the verb does and shows one way to use it."""
    assert verb.help
    assert f"ringbus {name}" in verb.help.partition("Example:")[2]


@each_verb
def test_every_option_has_help(name: str, verb: click.Command) -> None:
    """No option is a riddle, save those that only we use."""
    for parameter in verb.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{name} {parameter.opts}"


def test_verbs_are_those_of_the_contract() -> None:
    """The command has these verbs."""
    expected = [
        "demo",
        "emit",
        "export",
        "gc",
        "history",
        "import",
        "ls",
        "persist",
        "pipe",
        "rm",
        "run",
        "serve",
        "sql",
        "stats",
        "tail",
        "up",
    ]
    assert sorted(cli.commands) == expected


def test_help_lists_exit_statuses_and_variables() -> None:
    """What a script needs to know is in the help."""
    said = ringbus("--help").stdout.decode()
    assert "Exit status: 0 fine, 1 failed, 2 wrong usage" in said
    assert "RINGBUS_STATE" in said
    assert "HYPERHIVE_EVENTS_DB" in said


# --- exit statuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["emit", "--agent", "no/slash", "x"],
        ["emit", "x"],
        ["run", "--agent", "a"],
        ["history", "--agent", "a", "--before", "nonsense"],
        ["no-such-verb"],
        ["stats"],
        ["up", "--port", "70000"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    """The complaint is on stderr and stdout stays empty."""
    result = ringbus(*arguments)
    assert result.returncode == 2
    assert result.stdout == b""
    assert result.stderr


@pytest.mark.parametrize("setting", ["RINGBUS_SIZE", "RINGBUS_POLICY"])
def test_bad_setting_is_wrong_usage(agent: Agent, setting: str) -> None:
    """A variable that makes no sense is named."""
    result = ringbus("emit", *agent.place, "x", env=os.environ | {setting: "nonsense"})
    assert result.returncode == 2
    assert setting.encode() in result.stderr


@pytest.mark.parametrize("verb", ["stats", "rm"])
def test_ring_that_is_not_there_is_status_1(agent: Agent, verb: str) -> None:
    """One line says which."""
    result = ringbus(verb, agent.name)
    assert result.returncode == 1
    assert agent.name.encode() in result.stderr
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("verb", [["history"], ["tail", "--no-follow"]])
def test_agent_that_is_not_there_is_status_1(agent: Agent, verb: list[str]) -> None:
    """Reading does not make an agent."""
    result = ringbus(*verb, *agent.place)
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
    assert agent.name.encode() not in ringbus("ls", "--json").stdout


# --- run, pipe, emit ----------------------------------------------------------------------


def test_run_ends_with_the_status_of_its_program(agent: Agent) -> None:
    """Options after the program's name are the program's."""
    result = ringbus("run", *agent.place, "sh", "-c", "exit 9")
    assert (result.returncode, result.stdout) == (9, b"")


def test_run_stores_its_turn_before_it_ends(agent: Agent) -> None:
    """What it has published is in SQLite when it returns."""
    from ringbus.history import History

    options = ["--from", "alice", "--body", "hi", "--unread", "3"]
    assert ringbus("run", *agent.place, *options, "--", "cat").returncode == 0
    with History.open(agent.database, agent.name) as history:
        events: list[Event] = [envelope.event for envelope in history.page()]
    assert events[0] == TurnStart("alice", "hi", 3)
    assert events[-1] == TurnEnd(ok=True)
    assert len(events) == 4


def test_run_says_what_it_could_not_start(agent: Agent) -> None:
    """As a shell: status 127 and a line on stderr."""
    result = ringbus("run", *agent.place, "--", "no-such-program-here")
    assert result.returncode == 127
    assert b"no-such-program-here" in result.stderr


def test_closed_standard_files_are_no_trouble(agent: Agent) -> None:
    """Without any of the three the turn is recorded all the same."""
    words = " ".join([*command("run", *agent.place), "sh", "-c", "'exit 9'"])
    result = subprocess.run(["sh", "-c", f"{words} <&- >&- 2>&-"], check=False, timeout=60)
    assert result.returncode == 9
    assert agent.events()[-1] == TurnEnd(ok=False, note="exit status 9")


def test_pipe_with_tee_is_transparent(agent: Agent) -> None:
    """What goes in comes out."""
    result = ringbus("pipe", *agent.place, "--tee", input=b"a\nb")
    assert (result.returncode, result.stdout) == (0, b"a\nb")
    notes = [event.text for event in agent.events() if isinstance(event, Note)]
    assert notes == ["a", "b"]


def test_emit_is_one_note(agent: Agent) -> None:
    """TEXT is emitted as it is."""
    assert ringbus("emit", *agent.place, "grüße").returncode == 0
    assert agent.events() == [Note("grüße")]


def test_events_db_names_the_history_of_one_agent(agent: Agent, tmp_path: Path) -> None:
    """The variable names the file that is written and read, for one agent."""
    path = tmp_path / "elsewhere" / "events.sqlite"
    environment = os.environ | {"RINGBUS_EVENTS_DB": str(path)}
    assert ringbus("run", "--agent", agent.name, "true", env=environment).returncode == 0
    assert path.exists()
    shown = ringbus("history", "--agent", agent.name, "--json", env=environment).stdout
    assert objects(shown)[-1]["kind"] == "turn_end"


# --- tail, history ------------------------------------------------------------------------


def test_history_prints_envelopes(busy: Agent) -> None:
    """One JSON object a line, oldest first, each with its place."""
    found = objects(ringbus("history", *busy.place, "--json").stdout)
    assert [envelope["text"] for envelope in found] == [f"note {n}" for n in range(10)]
    assert [envelope["seq"] for envelope in found] == list(range(10))
    assert {len(envelope["epoch"]) for envelope in found} == {16}


def test_history_is_cut_at_both_ends(busy: Agent) -> None:
    """--limit takes the newest, --before those before a position."""
    found = objects(ringbus("history", *busy.place, "--json", "--limit", "3").stdout)
    assert [envelope["seq"] for envelope in found] == [7, 8, 9]
    position = f"{found[0]['epoch']}-{found[0]['seq']}"
    options = ["--json", "--limit", "2", "--before", position]
    found = objects(ringbus("history", *busy.place, *options).stdout)
    assert [envelope["seq"] for envelope in found] == [5, 6]


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        ([], range(10)),
        (["-n", "3"], range(7, 10)),
        (["-n", "0"], []),
        (["--from-start"], range(10)),
    ],
)
def test_tail_begins_where_it_is_told(busy: Agent, options: list[str], seqs: list[int]) -> None:
    """The last N, none, or all; --no-follow ends it there."""
    found = ringbus("tail", *busy.place, "--json", "--no-follow", *options)
    assert found.returncode == 0
    assert [envelope["seq"] for envelope in objects(found.stdout)] == list(seqs)


def test_tail_goes_on_with_what_is_emitted_later(busy: Agent) -> None:
    """Until Ctrl-C, which is its normal end."""
    with started("tail", *busy.place, "--json", "-n", "1") as process, busy.bus() as bus:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["text"] == "note 9"
        bus.emit(Note("later"))
        assert json.loads(process.stdout.readline())["text"] == "later"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_tail_waits_for_an_agent_to_come(agent: Agent) -> None:
    """An agent's first event is not missed by who waited for it."""
    with started("tail", *agent.place, "--json", "--from-start") as process:
        with agent.bus() as bus:
            bus.emit(Note("first"))
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["text"] == "first"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize("verb", [["history"], ["tail", "--from-start"]])
def test_closed_pipe_is_quiet(agent: Agent, verb: list[str]) -> None:
    """A reader that has seen enough is no error."""
    with agent.bus() as bus:
        for _ in range(300):
            bus.emit(Note("x" * 2000))
        with started(*verb, *agent.place, "--json") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(DEADLINE_SECONDS) == 0
            assert process.stderr.read() == b""


def test_idle_tail_notices_that_its_reader_has_gone(busy: Agent) -> None:
    """It need not emit anything to find out."""
    with started("tail", *busy.place, "-n", "1") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE_SECONDS) == 0


# --- ls, stats, rm, gc --------------------------------------------------------------------


def test_ls_names_the_rings(busy: Agent) -> None:
    """As a table with tabs, and as JSON."""
    rows = [line.split("\t") for line in ringbus("ls").stdout.decode().splitlines()]
    assert rows[0][0] == "RING"
    assert any(row[:3] == [busy.name, "10", "10"] for row in rows)
    assert busy.name in [ring["name"] for ring in objects(ringbus("ls", "--json").stdout)]


def test_stats_tell_of_gates(busy: Agent) -> None:
    """Who gates, and who lags."""
    from ringbus.ring import Ring

    with Ring.open(busy.name) as ring, ring.subscribe(gate="auditor"):
        ring.emit(b"{}")
        (stats,) = objects(ringbus("stats", busy.name, "--json").stdout)
        text = ringbus("stats", busy.name).stdout.decode()
    assert (stats["name"], stats["tail"], stats["gates"][0]["lag"]) == (busy.name, 11, 1)
    assert "auditor\t" in text


def test_watched_stats_come_again(busy: Agent) -> None:
    """A JSON object each time, until Ctrl-C."""
    with started("stats", busy.name, "--json", "--watch") as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["tail"] for _ in range(2)] == [10, 10]
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0


def test_rm_removes_the_ring_and_keeps_the_history(agent: Agent) -> None:
    """The history can be read afterwards; --purge removes it."""
    assert ringbus("run", *agent.place, "true").returncode == 0
    state = ["--state", str(agent.state)]
    assert ringbus("rm", agent.name, *state).returncode == 0
    assert agent.name.encode() not in ringbus("ls", "--json").stdout
    assert len(objects(ringbus("history", *agent.place, "--json").stdout)) == 3
    assert ringbus("rm", agent.name, *state, "--purge").returncode == 0
    assert not agent.database.exists()


def test_rm_tells_whoever_still_emits(agent: Agent) -> None:
    """`pipe` on a removed ring fails and says so."""
    with started("pipe", *agent.place, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        wait_until(lambda: len(agent.events()) > 1, "the first line")
        assert ringbus("rm", agent.name, "--state", str(agent.state)).returncode == 0
        process.stdin.write(b"two\n")
        process.stdin.close()
        assert process.wait(DEADLINE_SECONDS) == 1
        assert b"ringbus:" in process.stderr.read()


@pytest.mark.parametrize("force", [False, True])
def test_gc_prints_what_it_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """One name a line. The rings of this machine are not ours to collect, so none is."""
    asked: list[tuple[Path, bool]] = []

    def collect(state: Path, *, force: bool) -> list[str]:
        asked.append((state, force))
        return ["idle", "old"]

    monkeypatch.setattr("ringbus.removal.collect", collect)
    arguments = ["gc", "--state", str(tmp_path), *(["--force"] if force else [])]
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.output) == (0, "idle\nold\n")
    assert asked == [(tmp_path, force)]
