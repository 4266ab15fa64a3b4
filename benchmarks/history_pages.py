"""How soon a page of a long history is there.

history of a million events --> [reader], a hundred rows a page
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter_ns

from benchmarks.harness import Figure, Options, Result, Scenario, require, round_robin
from benchmarks.rings import RECORD_BYTES, fresh_ring
from benchmarks.storing import KIND, disk, event, fill
from ringbus.events import KINDS, Envelope, Note, encode
from ringbus.history import History
from ringbus.ring import Ring

PAGE = 100  # rows
RARE = 1000  # one event in so many is a note
TEXT = "note 999"
NOTE = KINDS.index("note") + 1


def run(options: Options) -> Result:
    rows = options.pick(1_000_000, 20_000)
    with (
        tempfile.TemporaryDirectory(dir=disk(), prefix="ringbus-bench-") as folder,
        fresh_ring(size=32 << 20) as ring,
    ):
        path = Path(folder, f"{ring.name}.sqlite")
        fill(ring, path, rows, _emit)
        with History.open(path, ring.name) as history:
            times = round_robin(_questions(history, ring.epoch, rows), options.pick(7, 2))
    figures = [Figure(name, "time", "ms", of) for name, of in times.items()]
    return Result(figures, (), {"rows": rows, "rows_a_page": PAGE, "payload_bytes": RECORD_BYTES})


def _emit(ring: Ring, number: int) -> None:
    if number % RARE == RARE - 1:
        ring.emit(encode(Note(f"note {number}"))[1], NOTE)
    else:
        ring.emit(event(number), KIND)


def _questions(history: History, epoch: str, rows: int) -> dict[str, Callable[[], float]]:
    page, middle = partial(history.page, limit=PAGE), (epoch, rows // 2)
    newest = range(rows - PAGE, rows)
    notes = [seq for seq in range(rows) if seq % RARE == RARE - 1]
    before_middle = [seq for seq in notes if seq < middle[1]][-PAGE:]
    return {
        "newest": partial(_time, page, newest),
        "before the middle": partial(
            _time, partial(page, before=middle), range(middle[1] - PAGE, middle[1])
        ),
        "after the middle": partial(
            _time, partial(page, after=middle), range(middle[1] + 1, middle[1] + 1 + PAGE)
        ),
        "notes before the middle": partial(
            _time, partial(page, before=middle, kinds=["note"]), before_middle
        ),
        f"text {TEXT!r}, to the oldest row": partial(
            _time, partial(page, text=TEXT), [seq for seq in notes if TEXT in f"note {seq}"]
        ),
    }


def _time(ask: Callable[[], Sequence[Envelope]], wanted: Sequence[int]) -> float:
    start = perf_counter_ns()
    found = ask()
    passed = perf_counter_ns() - start
    seqs = [row.seq for row in found]
    require(seqs == list(wanted), f"the page has rows {seqs[:3]}... and not {list(wanted)[:3]}...")
    return passed / 1e6


SCENARIO = Scenario("A page of a long history", run)
