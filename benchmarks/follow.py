"""How fast a follower gets through what it missed, out of the history and out of the ring.

    [history] --> [follow] <-- ring

A follower takes each record from wherever it is kept, and checks at each step where that is. Beside
it: the bare `SELECT`s that a program would write, with `json.loads` where events are asked for, and
the bare subscriber.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns

import apsw

from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    pinned,
    require,
    round_robin,
    without_collector,
)
from benchmarks.rings import RECORD_BYTES, fresh_ring
from benchmarks.storing import KIND, disk, event, fill, fits
from ringbus.events import Envelope
from ringbus.follow import Follow
from ringbus.ring import Ring

FOLLOWED, DECODED = "follow, from history", "follow, from history, decoded"
SELECTED, LOADED = "SELECT", "SELECT and json.loads"
LIVE, READ = "follow, from the ring", "subscriber"
SELECT = "SELECT id, payload_json FROM events WHERE id > ? ORDER BY id LIMIT 500"
RING_BYTES = 4 << 20
PATIENCE = 5.0  # seconds


def run(options: Options) -> Result:
    rows = options.pick(100_000, 20_000)
    payloads = [event(number) for number in range(rows)]
    recent = min(rows // 2, fits(RING_BYTES))
    with (
        tempfile.TemporaryDirectory(dir=disk(), prefix="ringbus-bench-") as folder,
        fresh_ring(size=RING_BYTES) as ring,
        pinned(0),
    ):
        path = Path(folder, f"{ring.name}.sqlite")
        fill(ring, path, rows, lambda ring, number: ring.emit(payloads[number], KIND))
        contenders: dict[str, Callable[[], float]] = {
            FOLLOWED: lambda: _follow(ring, path, payloads, 0),
            DECODED: lambda: _follow(ring, path, payloads, 0, is_decoded=True),
            SELECTED: lambda: _select(path, payloads, is_decoded=False),
            LOADED: lambda: _select(path, payloads, is_decoded=True),
            LIVE: lambda: _follow(ring, path, payloads, rows - recent),
            READ: lambda: _read(ring, payloads, rows - recent),
        }
        with without_collector():
            rates = round_robin(contenders, options.pick(5, 1))
    possible = {FOLLOWED: SELECTED, LIVE: READ}
    return Result(
        [
            Figure(name, "rate", "events/s", of, rates[possible[name]] if name in possible else ())
            for name, of in rates.items()
        ],
        parameters={"rows": rows, "in_the_ring": recent, "payload_bytes": RECORD_BYTES},
        notes=["Every payload was compared, and every seq where there is one."],
    )


def _follow(
    ring: Ring, path: Path, payloads: Sequence[bytes], start: int, *, is_decoded: bool = False
) -> float:
    after = (ring.epoch, start - 1) if start else None
    at, began_ns = start, perf_counter_ns()
    with Follow(ring.name, database=path, after=after) as follow:
        while at < len(payloads):
            items = [item for item in follow.read(PATIENCE) if isinstance(item, Envelope)]
            require(bool(items), f"the follower stopped at {at} of {len(payloads)}")
            if is_decoded:
                for item in items:
                    _ = item.event
            _check(items, payloads, at)
            at += len(items)
        passed_ns = perf_counter_ns() - began_ns
    return (at - start) / passed_ns * 1e9


def _check(items: Sequence[Envelope], payloads: Sequence[bytes], at: int) -> None:
    require([item.payload for item in items] == payloads[at : at + len(items)], "wrong payloads")
    require([item.seq for item in items] == list(range(at, at + len(items))), "wrong seqs")


def _select(path: Path, payloads: Sequence[bytes], *, is_decoded: bool) -> float:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    last, done, began_ns = 0, 0, perf_counter_ns()
    while done < len(payloads):
        rows = db.execute(SELECT, (last,)).fetchall()
        require(bool(rows), f"{done} of {len(payloads)} rows are there")
        found = [str(payload).encode() for _, payload in rows]
        if is_decoded:
            for payload in found:
                json.loads(payload)
        require(found == payloads[done : done + len(found)], "wrong rows")
        last, done = int(str(rows[-1][0])), done + len(rows)
    passed_ns = perf_counter_ns() - began_ns
    db.close()
    return done / passed_ns * 1e9


def _read(ring: Ring, payloads: Sequence[bytes], start: int) -> float:
    at, began_ns = start, perf_counter_ns()
    with ring.subscribe(start) as subscriber:
        while at < len(payloads):
            found = [record.payload for record in subscriber.read(timeout=PATIENCE)]
            require(found == payloads[at : at + len(found)] != [], "wrong records")
            at += len(found)
    return (at - start) / (perf_counter_ns() - began_ns) * 1e9


SCENARIO = Scenario("A follower that catches up", run)
