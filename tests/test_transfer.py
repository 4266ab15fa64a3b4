"""Histories to and from files: `ringbus export` and `ringbus import`."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from missing import go_without
from recordings import MISSING, recorded_files
from storing import emit_notes, serving, stored
from turns import Agent, fresh_agent, ringbus

from ringbus.bus import Bus
from ringbus.errors import HistoryError
from ringbus.events import (
    Envelope,
    Event,
    Gap,
    Note,
    Stream,
    TurnEnd,
    TurnStart,
    encode,
    line_event,
)
from ringbus.history import History
from ringbus.history.schema import ORIGINAL_EPOCH
from ringbus.persister.writer_lock import WriterLock
from ringbus.transfer import import_file

A, B = "00000000000000aa", "00000000000000bb"
NOW = time.time_ns()
REASONS = ["lapped", "retention", "store-unavailable"]


def rows_of(path: Path, agent: str) -> list[Envelope | Gap]:
    """All there is in a history."""
    with History.open(path, agent) as history:
        page = history.read(None, limit=100_000)
        assert page.at_end
        return page.items


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A history of two epochs with a gap, and a transient record's hole."""
    path = tmp_path / "origin.sqlite"
    with History.open(path, "origin", write=True) as history:
        history.begin_epoch(A)
        rows = [(seq, NOW + seq, *encode(Note(f"é {seq}\n"))) for seq in (0, 1, 3, 8)]
        history.append(A, rows, 9, [Gap(A, 4, 7, 4, "lapped")])
        history.end_epoch(A)
        history.begin_epoch(B)
        stream = encode(Stream(b'{"a" : [1,2],\r"k":"\\ud800"}'))
        history.append(B, [(0, NOW, *stream), (1, NOW, *encode(TurnEnd(ok=False, note="x")))], 2)
        history.end_epoch(B)
    return path


def test_exported_and_imported_is_the_same(filled: Path, agent: Agent, tmp_path: Path) -> None:
    """Events, places, times, gaps, byte for byte; but for a raw CR between tokens."""
    lines = tmp_path / "origin.jsonl"
    run = ringbus("export", "origin", "--state", str(tmp_path))
    assert (run.returncode, run.stderr) == (0, b"")
    lines.write_bytes(run.stdout)
    done = import_file(lines, agent.name, agent.database)
    assert (done.events, done.gaps, done.epochs) == (6, 1, 2)
    expected = rows_of(filled, "origin")
    found = rows_of(agent.database, agent.name)
    assert [str(item).replace("\\r", " ") for item in expected] == [str(item) for item in found]


def test_database_is_imported_as_it_is(filled: Path, agent: Agent) -> None:
    """Whatever its agent; the file itself stays unchanged."""
    before = filled.read_bytes()
    import_file(filled, agent.name, agent.database)
    assert rows_of(agent.database, agent.name) == rows_of(filled, "origin")
    assert filled.read_bytes() == before


def test_database_of_the_original_program_is_imported(agent: Agent, tmp_path: Path) -> None:
    """Its rows get an epoch of their own, and what it had trimmed a gap."""
    source = tmp_path / "original.sqlite"
    db = sqlite3.connect(source)
    db.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER NOT NULL, "
        "kind TEXT NOT NULL, payload_json TEXT NOT NULL)"
    )
    kept = [(3, 100, "note", '{"kind":"note","text":"a"}'), (4, 101, "note", '{"text":"b"}')]
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", kept)
    db.commit()
    db.close()
    before = source.read_bytes()
    import_file(source, agent.name, agent.database)
    assert source.read_bytes() == before
    gap, *events = rows_of(agent.database, agent.name)
    assert isinstance(gap, Gap)
    assert (gap.from_, gap.to, gap.reason) == (1, 2, "retention")
    assert [event.ts_ns // 10**9 for event in events if isinstance(event, Envelope)][:1] == [100]
    assert gap.epoch == events[0].epoch != "0" * 16


def test_recording_becomes_an_event_a_line(agent: Agent, tmp_path: Path) -> None:
    """As a harness would take the lines: JSON as it was printed, anything else as a note."""
    recording = tmp_path / "recording.jsonl"
    recording.write_bytes(b'{"type": "system"}\nnot json\n\n\xff\n{"type":"result"}')
    run = ringbus("import", str(recording), *agent.place)
    assert run.returncode == 0, run.stderr
    assert b"5 events, 0 gaps, 1 epochs" in run.stderr
    events = [item.event for item in rows_of(agent.database, agent.name)]
    assert events[0] == Stream(b'{"type": "system"}')
    assert [type(event) for event in events] == [Stream, Note, Note, Note, Stream]
    assert events[1].text == "not json"


def test_agent_with_a_ring_takes_no_import(agent: Agent, bus: Bus, filled: Path) -> None:
    """Its next events would collide; the remedy is told."""
    bus.emit(TurnStart("operator", "go"))
    with pytest.raises(HistoryError, match=f"ringbus rm {agent.name}"):
        import_file(filled, agent.name, agent.database)


def test_history_at_work_takes_no_import(agent: Agent, filled: Path) -> None:
    """One writer at a time."""
    agent.database.parent.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(agent.database)
    assert lock.acquire()
    with pytest.raises(HistoryError, match="a persister is at work"):
        import_file(filled, agent.name, agent.database)
    lock.release()
    assert import_file(filled, agent.name, agent.database).events == 6


def test_epoch_is_imported_once(agent: Agent, filled: Path) -> None:
    """A second time is refused, and changes nothing."""
    import_file(filled, agent.name, agent.database)
    before = rows_of(agent.database, agent.name)
    with pytest.raises(HistoryError, match=f"epoch {A} is in it already"):
        import_file(filled, agent.name, agent.database)
    assert rows_of(agent.database, agent.name) == before


@pytest.mark.parametrize(
    "line", [b"oops", b'{"epoch":"00000000000000aa","seq":9,"ts_ns":1,"kind":"nonsense"}']
)
def test_bad_line_is_named(agent: Agent, tmp_path: Path, line: bytes) -> None:
    """In a file that began as an export."""
    source = tmp_path / "bad.jsonl"
    good = {"epoch": A, "seq": 0, "ts_ns": 1, "kind": "note", "text": "x"}
    source.write_bytes(json.dumps(good, separators=(",", ":")).encode() + b"\n" + line + b"\n")
    with pytest.raises(HistoryError, match=r"bad\.jsonl, line 2: "):
        import_file(source, agent.name, agent.database)


def test_export_holds_what_only_the_ring_has(agent: Agent, bus: Bus) -> None:
    """Stored or not, each event once."""
    emit_notes(bus, 20)
    with serving(agent):
        assert bus.wait_stored(60)
    emit_notes(bus, 10, first=20)
    run = ringbus("export", agent.name, "--state", str(agent.state))
    texts = [json.loads(line)["text"] for line in run.stdout.splitlines()]
    assert len(texts) == len(set(texts)) == 30
    assert len(stored(agent)) == 20


def test_imported_history_goes_on_with_a_new_ring(tmp_path: Path, filled: Path) -> None:
    """Its ids and epochs come before those of what is emitted afterwards."""
    with fresh_agent(tmp_path / "state") as agent:
        import_file(filled, agent.name, agent.database)
        with agent.bus() as bus, serving(agent):
            bus.emit(Note("new"))
            assert bus.wait_stored(60)
        *old, new = rows_of(agent.database, agent.name)
        assert len(old) == 7
        assert isinstance(new, Envelope)
        assert new.event == Note("new")


# --- round trips --------------------------------------------------------------------------


def exported(path: Path, agent: str, folder: Path) -> bytes:
    """What `ringbus export` prints of a history, whatever its agent."""
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / f"{agent}.sqlite")
    run = ringbus("export", agent, "--state", str(folder))
    assert (run.returncode, run.stderr) == (0, b"")
    return run.stdout


def an_event(dice: random.Random) -> Event:
    text = "".join(dice.choices('ab"\\\n\t\x00é\u2028\U0001f600', k=dice.randrange(12)))
    return dice.choice(
        [
            TurnStart(text, text, dice.randrange(3)),
            Stream(encode_json({"kind": text, "gap": {"epoch": A}, "n": 10**40})),
            Note(text, source="stderr", reason=text),
            line_event(dice.randbytes(9) + b"\xff"),
            TurnEnd(ok=dice.random() < 0.5, note=text),
        ]
    )


def encode_json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_histories_survive_export_and_import(
    agent: Agent, tmp_path: Path, seed: int
) -> None:
    """All kinds, bytes that are no UTF-8, holes, gaps at every place; and a second time around."""
    dice = random.Random(seed)
    origin = tmp_path / "origin.sqlite"
    epochs = [f"{number:016x}" for number in dice.sample(range(1, 10**9), 5)]
    with History.open(origin, "origin", write=True) as history:
        for epoch in epochs:
            fill_at_random(history, epoch, dice)
    lines = tmp_path / "lines"
    lines.write_bytes(exported(origin, "origin", tmp_path / "first"))
    done = import_file(lines, agent.name, agent.database)
    whole = rows_of(origin, "origin")
    assert rows_of(agent.database, agent.name) == whole
    assert (done.events, done.gaps) == (
        sum(isinstance(item, Envelope) for item in whole),
        sum(isinstance(item, Gap) for item in whole),
    )
    assert exported(agent.database, agent.name, tmp_path / "second") == lines.read_bytes()


def fill_at_random(history: History, epoch: str, dice: random.Random) -> None:
    """Rows, holes of transient records, and gaps; the last may have no end."""
    history.begin_epoch(epoch)
    seq = 0
    for _ in range(dice.randrange(1, 8)):
        size = dice.randrange(1, 20)
        rows = [
            (number, NOW + dice.randrange(-9, 9), *encode(an_event(dice)))
            for number in range(seq, seq + size)
            if dice.random() < 0.8
        ]
        lost = dice.randrange(1, 9)
        gap = Gap(epoch, seq + size, seq + size + lost - 1, lost, dice.choice(REASONS))
        history.append(epoch, rows, seq + size + lost, [gap] if dice.random() < 0.7 else [])
        seq += size + lost
    if dice.random() < 0.5:
        history.append(epoch, [], seq, [Gap(epoch, seq, None, None, "ring-lost")])
    history.end_epoch(epoch)


def test_exported_rows_of_the_original_program_are_imported(agent: Agent, tmp_path: Path) -> None:
    """With an epoch of their own, as from its database: the one for them is never begun anew."""
    source = tmp_path / "lines"
    source.write_text(
        f'{{"gap":{{"epoch":"{ORIGINAL_EPOCH}","from":1,"to":2,"missed":2,"reason":"retention"}}}}\n'
        f'{{"epoch":"{ORIGINAL_EPOCH}","seq":3,"ts_ns":1,"kind":"note","text":"old"}}\n'
        f'{{"epoch":"{A}","seq":0,"ts_ns":2,"kind":"note","text":"new"}}\n'
    )
    done = import_file(source, agent.name, agent.database)
    assert (done.events, done.gaps, done.epochs) == (2, 1, 2)
    gap, old, new = rows_of(agent.database, agent.name)
    assert gap.epoch == old.epoch not in (ORIGINAL_EPOCH, A)
    assert isinstance(old, Envelope)
    assert (old.seq, old.event) == (3, Note("old"))
    assert new.epoch == A


def test_recordings_are_imported_line_by_line(agent: Agent, tmp_path: Path) -> None:
    """What agents really printed: each line as a harness takes it, and out again unchanged."""
    recordings = recorded_files()
    if not recordings:
        go_without(MISSING)
    number = 0
    for recording in recordings:
        lines = recording.read_bytes().removesuffix(b"\n").split(b"\n")
        done = import_file(recording, agent.name, agent.database)
        assert (done.events, done.epochs) == (len(lines), 1)
        found = rows_of(agent.database, agent.name)[number:]
        assert [item.payload for item in found if isinstance(item, Envelope)] == [
            encode(line_event(line))[1] for line in lines
        ]
        number += len(lines)
