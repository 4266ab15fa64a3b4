"""Several processes and threads at one history."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rows import A, Open, fill, places, sql, sweep_all

import ringbus
from ringbus.errors import HistoryError
from ringbus.events import Gap
from ringbus.history import History
from ringbus.settings import Retention

PROJECT = Path(ringbus.__file__).parents[1]

WRITER = """
import sys
from ringbus.events import Note, encode
from ringbus.history import History
path, epoch, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
with History.open(path, "agent-7", write=True) as history:
    seq = history.begin_epoch(epoch)
    print("begun", flush=True)
    while True:
        rows = [(n, n, *encode(Note(str(n)))) for n in range(seq, seq + batch)]
        seq += batch
        history.append(epoch, rows, seq)
"""


def start_writer(path: Path, epoch: str, batch: int) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), epoch, str(batch)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    assert child.wait(10) == -signal.SIGKILL
    assert child.stdout is not None
    child.stdout.close()


def test_a_reader_follows_while_another_process_writes(opened: Open, path: Path) -> None:
    """Neither waits for the other, and the reader sees whole batches in order."""
    child = start_writer(path, A, 100)
    try:
        reader = opened()
        position, seen = None, 0
        deadline = time.monotonic() + 30
        while seen < 5000:
            assert time.monotonic() < deadline
            page = reader.read(position, 1000)
            assert places(page.items) == [(A, seen + n) for n in range(len(page.items))]
            seen += len(page.items)
            position = page.next
            assert not page.at_end or seen % 100 == 0
    finally:
        kill(child)


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_prefix(opened: Open, path: Path) -> None:
    """The file opens clean and holds all rows below the next one to store, in each epoch."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    moment = random.Random(seed)
    for round_ in range(8):
        epoch = f"{1 + round_ // 2:016x}"  # each epoch is killed twice
        child = start_writer(path, epoch, moment.choice((1, 7, 250)))
        threading.Event().wait(moment.uniform(0, 0.15))
        kill(child)
        reader = opened()
        following = reader.next_seq(epoch)
        assert following is not None
        last = reader.page(limit=1)
        assert not last or last[0].epoch != epoch or last[0].seq == following - 1
        reader.close()
        assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    broken = """
        SELECT epoch FROM epochs WHERE next != (
            SELECT count(*) FROM events
            WHERE id >= base AND id < base + next AND payload_json = printf(
                '{"kind":"note","text":"%d"}', id - base))
    """
    assert sql(path, broken) == []
    assert sql(path, "SELECT count(*) FROM events") == sql(path, "SELECT sum(next) FROM epochs")
    assert sql(path, "SELECT count(*) FROM gaps WHERE reason = 'ring-lost'") == [(3,)]


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """One of them makes it; the others find it made. Tried often: it is a matter of luck."""
    failures: list[HistoryError] = []

    def open_one(path: Path, start: threading.Barrier) -> None:
        start.wait()
        try:
            History.open(path, "agent-7", write=True).close()
        except HistoryError as error:
            failures.append(error)

    for attempt in range(30):
        arguments = (tmp_path / f"{attempt}.sqlite", threading.Barrier(8))
        threads = [threading.Thread(target=open_one, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert sql(arguments[0], "SELECT value FROM about") == [("agent-7",)]


def test_a_page_is_of_one_moment(writer: History, opened: Open) -> None:
    """Rows and gaps of one page fit together, whatever is swept meanwhile."""
    fill(writer, A, 100)
    reader = opened()
    swept = threading.Event()

    def sweep(_: object, query: str, __: object) -> bool:
        if "FROM events" in query and not swept.is_set():
            swept.set()
            sweep_all(writer, Retention(rows=10, days=10**4, bytes=10**12))
        return True

    reader._db.exec_trace = sweep
    assert places(reader.read().items) == [(A, seq) for seq in range(100)]
    assert swept.is_set()
    reader._db.exec_trace = None
    assert reader.read().items[0] == Gap(A, 0, 89, 90, "retention")
