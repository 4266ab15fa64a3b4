"""What an agent does now, told from its events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ringbus.events import Envelope, Event, Gap, Note, Stream, TurnEnd, TurnStart
from ringbus.web.digest import DESERTED_NS, MOST_COUNTED, SILENT_NS, Digest, Storing, Summary

EPOCH = "9f3c2b1a00d1e2f3"
SECOND = 10**9
EMITTING = Storing(lag=0, emitters=1)


def read(*events: Event) -> Digest:
    """A digest of these events, a second apart from the first at 0."""
    digest = Digest("agent-7")
    for seq, event in enumerate(events):
        digest.feed(Envelope(EPOCH, seq, seq * SECOND, event=event))
    return digest


def after(*events: Event, now_ns: int | None = None, storing: Storing = EMITTING) -> Summary:
    """The summary after these events, at `now_ns` or when the last one came."""
    at_last = (len(events) - 1) * SECOND
    return read(*events).summary(at_last if now_ns is None else now_ns, storing)


def line(value: Any) -> Stream:
    """A line of JSON."""
    return Stream(json.dumps(value).encode())


def call(id_: str, command: str, **fields: Any) -> Stream:
    """A call of the shell."""
    block = {"type": "tool_use", "id": id_, "name": "Bash", "input": {"command": command}}
    return line({"type": "assistant", "message": {"content": [block]}} | fields)


def answer(id_: str, **fields: Any) -> Stream:
    """The result of a call."""
    block = {"type": "tool_result", "tool_use_id": id_, "content": "ok"}
    return line({"type": "user", "message": {"content": [block]}} | fields)


def limited(status: str, resets_at: float) -> Stream:
    """What the agent's program says of its limit."""
    info = {"status": status, "resetsAt": resets_at, "rateLimitType": "five_hour"}
    return line({"type": "rate_limit_event", "rate_limit_info": info})


def retry(delay_ms: float, **cause: Any) -> Stream:
    """A request that is tried again."""
    about = {"attempt": 3, "max_retries": 10, "retry_delay_ms": delay_ms}
    return line({"type": "system", "subtype": "api_retry"} | about | cause)


START = TurnStart("operator", "fix the build\nplease")
ASK = line(
    {
        "type": "control_request",
        "request": {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "rm x"}},
    }
)


def test_without_events_an_agent_is_idle() -> None:
    """Nothing is known of it; notes alone are no work either."""
    summary = after(now_ns=0)
    assert (summary.state, summary.since_ns, summary.position) == ("idle", None, None)
    assert after(Note("hello")).state == "idle"


def test_a_turn_that_runs_is_work_since_its_start() -> None:
    """Whatever came last; what it is about is the first line of its message."""
    summary = after(Note("before"), START, Note("warning", "stderr"))
    assert (summary.state, summary.since_ns) == ("working", SECOND)
    assert (summary.asked, summary.doing) == ("fix the build", "starting")
    assert (summary.position, summary.last_ns) == (f"{EPOCH}-2", 2 * SECOND)


def test_the_newest_open_call_is_what_it_does() -> None:
    """Results may come in any order."""
    assert after(START, call("a", "make"), call("b", "ls")).doing == "Bash $ ls"
    assert after(START, call("a", "make"), call("b", "ls"), answer("b")).doing == "Bash $ make"
    assert after(START, call("a", "make"), answer("a")).doing == "thinking"


def test_a_file_is_told_by_its_path_from_the_working_directory() -> None:
    """Of the session that began last, wherever it did; what lies elsewhere is told whole."""
    init = {"type": "system", "subtype": "init"}
    there, elsewhere = line(init | {"cwd": "/src/tide/"}), line(init | {"cwd": "/src"})

    def reads(path: str) -> Stream:
        block = {"type": "tool_use", "id": "r", "name": "Read", "input": {"file_path": path}}
        return line({"type": "assistant", "message": {"content": [block]}})

    def asks(path: str) -> Stream:
        wanted = {"subtype": "can_use_tool", "tool_name": "Edit", "input": {"file_path": path}}
        return line({"type": "control_request", "request": wanted})

    path = "/src/tide/a/b.py"
    for events, words in (
        ([START, reads(path)], f"Read {path}"),
        ([START, there, reads(path)], "Read a/b.py"),
        ([START, TurnEnd(ok=True), there, START, reads(path)], "Read a/b.py"),
        ([START, there, asks(path)], "for permission: Edit a/b.py"),
        ([START, there, elsewhere, reads(path)], "Read tide/a/b.py"),
        ([START, there, line(init), reads(path)], f"Read {path}"),
        ([START, there, reads("/src/tides/b.py")], "Read /src/tides/b.py"),
        ([START, there, reads("/src/tide/")], "Read /src/tide/"),
        ([START, there, call("a", f"cat {path}")], f"Bash $ cat {path}"),
        ([START, line(init | {"cwd": "/"}), reads(path)], f"Read {path}"),
        ([START, line({"type": "session", "cwd": "/src"}), reads(path)], "Read tide/a/b.py"),
    ):
        assert after(*events).doing == words


def test_the_end_of_a_turn_is_done_or_failed_with_the_reason() -> None:
    """Since then, with how long it took."""
    ended = after(START, call("a", "make"), TurnEnd(ok=True))
    assert (ended.state, ended.since_ns, ended.took_ns) == ("done", 2 * SECOND, 2 * SECOND)
    assert ended.doing == ""
    failed = after(START, TurnEnd(ok=False, note="exit status 2"))
    assert (failed.state, failed.doing) == ("failed", "exit status 2")
    assert after(START, TurnEnd(ok=False)).doing == "the turn failed"


def test_a_failed_turn_says_what_its_lines_said_of_it() -> None:
    """An exit status alone tells nobody anything; an ended turn that was fine says nothing."""
    broke = line({"type": "result", "subtype": "success", "is_error": True, "result": "Too long"})
    assert after(START, broke, TurnEnd(ok=False, note="exit status 1")).doing == (
        "exit status 1: Too long"
    )
    assert after(START, broke, TurnEnd(ok=False)).doing == "Too long"
    kind = line({"type": "result", "subtype": "error_during_execution", "is_error": True})
    assert after(START, kind, TurnEnd(ok=False)).doing == "error during execution"
    assert after(START, broke, kind, TurnEnd(ok=False)).doing == "Too long"
    assert after(START, broke, TurnEnd(ok=True)).doing == ""
    assert after(START, broke, TurnEnd(ok=True), START, TurnEnd(ok=False)).doing == (
        "the turn failed"
    )


def test_an_agent_that_asks_for_permission_waits_until_it_goes_on() -> None:
    """Lines of its subagents are no answer; however long it takes it is not stale."""
    asked = after(START, call("a", "rm x"), ASK)
    assert (asked.state, asked.doing) == ("waiting", "for permission: Bash $ rm x")
    inner = call("c", "ls", parent_tool_use_id="a")
    assert after(START, ASK, inner).state == "waiting"
    assert after(START, ASK, now_ns=2 * SILENT_NS).state == "waiting"
    assert after(START, call("a", "rm x"), ASK, answer("a")).state == "working"


def test_a_rate_limit_holds_until_its_time_or_until_it_goes_on() -> None:
    """Given in seconds or in milliseconds since 1970; one that is not met is none."""
    until = 1_785_958_200
    for resets_at in (until, until * 1000):
        summary = after(START, limited("rejected", resets_at))
        assert (summary.state, summary.until_ns) == ("limited", until * SECOND)
        assert summary.doing == "five hour limit"
    assert after(START, limited("rejected", 40), now_ns=39 * SECOND).state == "limited"
    assert after(START, limited("rejected", 40), now_ns=41 * SECOND).state == "working"
    assert after(START, limited("rejected", until), call("a", "make")).state == "working"
    assert after(START, limited("allowed", until)).state == "working"


def test_a_retry_for_a_rate_limit_is_a_limit_and_another_is_work() -> None:
    """With which one of how many it is."""
    summary = after(START, retry(4000, error_status=429, error="rate_limit"))
    assert (summary.state, summary.until_ns) == ("limited", 5 * SECOND)
    assert summary.doing == "retry 3/10 (429 rate_limit)"
    other = after(START, retry(4000, error_status=500, error="server_error"))
    assert (other.state, other.doing) == ("working", "waiting to retry 3/10 (500 server_error)")


def test_a_turn_is_stale_when_it_is_silent_or_has_no_emitter_left() -> None:
    """What it did last stays told; an ended turn is never stale."""
    events = (START, call("a", "make"))
    assert after(*events, now_ns=SILENT_NS).state == "working"
    silent = after(*events, now_ns=SILENT_NS + 2 * SECOND)
    assert (silent.state, silent.doing) == ("stale", "Bash $ make")
    deserted = Storing(emitters=0)
    assert after(*events, now_ns=DESERTED_NS, storing=deserted).state == "working"
    assert after(*events, now_ns=DESERTED_NS + 2 * SECOND, storing=deserted).state == "stale"
    unknown = Storing(emitters=None)
    assert after(*events, now_ns=DESERTED_NS + 2 * SECOND, storing=unknown).state == "working"
    assert after(START, TurnEnd(ok=True), now_ns=9 * SILENT_NS, storing=deserted).state == "done"


def test_a_turn_whose_start_is_out_of_sight_is_work_since_nobody_knows() -> None:
    """Only the newest events of an agent are read."""
    summary = after(call("a", "make"))
    assert (summary.state, summary.since_ns) == ("working", None)


def test_the_start_of_a_turn_is_recalled_without_its_other_events() -> None:
    """Then what it spent is not known before its lines tell all of it."""
    digest = Digest("agent-7")
    digest.recall(Envelope(EPOCH, 3, 3 * SECOND, event=START))
    usage = {"input_tokens": 5, "output_tokens": 7}
    digest.feed(Envelope(EPOCH, 900, 9 * SECOND, event=call("a", "make")))
    told = {"id": "m", "content": [], "usage": usage}
    digest.feed(Envelope(EPOCH, 901, 9 * SECOND, event=line({"type": "user", "message": told})))
    summary = digest.summary(9 * SECOND, EMITTING)
    assert (summary.state, summary.since_ns, summary.asked) == (
        "working", 3 * SECOND, "fix the build",
    )  # fmt: skip
    assert (summary.tokens_in, summary.tokens_out) == (None, None)
    digest.feed(Envelope(EPOCH, 902, 9 * SECOND, event=line({"type": "result", "usage": usage})))
    summary = digest.summary(9 * SECOND, EMITTING)
    assert (summary.tokens_in, summary.tokens_out) == (5, 7)


def test_gaps_are_counted_for_a_turn() -> None:
    """With how many events they cost, as far as anybody knows."""
    digest = read(START)
    digest.gap(Gap(EPOCH, 1, 3, 3, "lapped"))
    digest.gap(Gap(EPOCH, 5, 5, 1, "lapped"))
    summary = digest.summary(0, EMITTING)
    assert (summary.gaps, summary.missed) == (2, 4)
    digest.gap(Gap(EPOCH, 9, None, None, "ring-lost"))
    digest.gap(Gap(EPOCH, 9, 9, 1, "lapped"))
    assert digest.summary(0, EMITTING).missed is None
    digest.feed(Envelope(EPOCH, 20, 0, event=START))
    assert digest.summary(0, EMITTING).gaps == 0


def test_the_newest_kept_events_can_be_told_apart() -> None:
    """Partial messages are not kept; another epoch begins anew."""
    digest = read(START, Note("a"))
    digest.feed(
        Envelope(EPOCH, 2, 2 * SECOND, event=line({"type": "stream_event"}), transient=True)
    )
    digest.feed(Envelope(EPOCH, 3, 3 * SECOND, event=Note("b")))
    assert digest.summary(0, EMITTING).kept == (0, 1, 3)
    for seq in range(4, 400):
        digest.feed(Envelope(EPOCH, seq, 3 * SECOND, event=Note("b")))
    kept = digest.summary(0, EMITTING).kept
    assert (len(kept), kept[-1]) == (MOST_COUNTED, 399)
    digest.feed(Envelope("0" * 15 + "1", 0, 4 * SECOND, event=Note("c")))
    assert digest.summary(0, EMITTING).kept == (0,)


def test_events_are_counted_in_stretches_of_two_seconds() -> None:
    """The last minute; passed over events count, an older minute and a set-back clock do not."""
    digest = Digest("agent-7")
    for ts in (100, 101, 102, 107):
        digest.feed(Envelope(EPOCH, ts, ts * SECOND, event=Note("")))
    digest.leave_out(40, 108 * SECOND)
    summary = digest.summary(0, EMITTING)
    assert (summary.rate_to, summary.rate) == (54, (2, 1, 0, 1, 40))
    digest.feed(Envelope(EPOCH, 200, 200 * SECOND, event=Note("")))
    assert digest.summary(0, EMITTING).rate == (1,)
    digest.feed(Envelope(EPOCH, 201, 20 * SECOND, event=Note("")))
    summary = digest.summary(0, EMITTING)
    assert (summary.rate_to, summary.rate) == (10, (1,))
    digest.feed(Envelope(EPOCH, 202, 200 * SECOND, event=Note("")))
    assert digest.summary(0, EMITTING).rate == (1,)


def test_events_of_the_past_count_unless_they_are_too_old() -> None:
    """They are learnt of after those that came later."""
    digest = Digest("agent-7")
    digest.feed(Envelope(EPOCH, 9, 100 * SECOND, event=Note("")))
    for ts in (30, 98, 100):
        digest.pass_by(ts * SECOND)
    summary = digest.summary(0, EMITTING)
    assert (summary.rate_to, summary.rate) == (50, (1, 2))
    assert summary.last_ns == 100 * SECOND
    digest.pass_by(101 * SECOND)
    assert digest.summary(0, EMITTING).last_ns == 101 * SECOND


def test_partial_messages_tell_what_is_being_written() -> None:
    """They are work; most of them are not even decoded."""
    digest = read(START)
    for kind, doing in (("thinking", "thinking"), ("text", "answering")):
        event = {"type": "content_block_start", "content_block": {"type": kind}}
        written = line({"type": "stream_event", "event": event})
        digest.feed(Envelope(EPOCH, 1, SECOND, event=written, transient=True))
        assert digest.summary(SECOND, EMITTING).doing == doing


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        [],
        {},
        {"type": "assistant"},
        {"type": ["assistant"]},
        {"type": "user", "message": {"content": 3}},
        {"type": "assistant", "message": {"content": [None, {"type": "tool_use"}]}},
    ],
)
def test_any_line_can_be_read(value: Any) -> None:
    """Programs print what they like."""
    assert after(START, line(value)).state == "working"


HUGE = 10**18 - 1


@pytest.mark.parametrize(
    "events",
    [
        (START, TurnEnd(ok=False, note="long " * 100_000)),
        (START, call("a", "\ud83d" * 10)),
        (START, line({"type": "system", "subtype": "hook_started", "hook_name": "\ud83d" * 999})),
        (START, limited("rejected", 9e10)),
        (START, limited("rejected", HUGE)),
        (START, retry(HUGE, error_status=429)),
        (START, retry(1, error_status=10**400, error="\udc00")),
        (START, Stream(b'{"type":"system","subtype":"api_retry","attempt":%b}' % (b"9" * 5000))),
        (
            START,
            Stream(b'{"type":"error","message":"{\\"message\\":\\"\\\\ud83d\\"}"}'),
            TurnEnd(ok=False),
        ),
        (START, *[line({"type": "result", "usage": {"input_tokens": HUGE}})] * 40),
        (START, *[line({"type": "step_finish", "part": {"cost": 1e17}})] * 40),
    ],
)
def test_whatever_is_told_can_be_sent_and_is_short(events: tuple[Event, ...]) -> None:
    """One agent's line must not take the others off the page."""
    summary = after(*events)
    assert len(msgspec.json.encode(summary)) < 1500
    assert (summary.until_ns or 0) < 4 * 10**18  # what a browser has a date for


def test_open_calls_are_bounded() -> None:
    """A program may begin calls for ever and end none: the newest are known."""
    begun = [call(f"id-{number}", "ls") for number in range(600)]
    assert after(START, *begun).doing == "Bash $ ls"
    ended = [answer(f"id-{number}") for number in range(300, 600)]
    assert after(START, *begun, *ended).doing == "thinking"
