"""What the benchmarks compare with: that it carries every record, and is told when it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.baselines.core_delivery import deliver_by_core  # noqa: E402  (no installed package)
from benchmarks.baselines.stores import STORES, Store  # noqa: E402
from benchmarks.delivery import ManyChecker, OneChecker, deliver  # noqa: E402
from benchmarks.peers import PEERS  # noqa: E402
from benchmarks.rings import records  # noqa: E402
from benchmarks.transports import Peer, Shape, needs  # noqa: E402

pytestmark = pytest.mark.slow

SHAPES = {"one to one": Shape(1, 1), "one to three": Shape(1, 3), "four to one": Shape(4, 1)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("peer", PEERS, ids=[peer.name for peer in PEERS])
def test_a_peer_delivers_every_record_in_every_topology(peer: Peer, shape: Shape) -> None:
    """Those that are installed; a wrong or short delivery raises."""
    if peer.lack():
        pytest.skip(peer.lack())
    assert deliver(peer, shape, 300).rate > 0


@pytest.mark.parametrize("size", [64, 256, 16384])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_the_core_alone_delivers_every_record(shape: Shape, size: int) -> None:
    """More than one table of them, so that batches begin and end anywhere in it."""
    assert deliver_by_core(Shape(shape.emitters, shape.readers, size), 0.02).rate > 0


@pytest.mark.parametrize("store", STORES, ids=[store.name for store in STORES])
def test_a_store_holds_what_was_put(tmp_path: Path, store: Store) -> None:
    """Half a batch, too."""
    if store.lack():
        pytest.skip(store.lack())
    with store.open(tmp_path / "events") as opened:
        for number in range(1500):
            opened.put(f'{{"n":{number}}}')
        opened.end()
        assert opened.holds() == (1500, '{"n":1499}')


def test_a_record_that_is_missing_wrong_or_twice_is_seen() -> None:
    """By both checkers, at any place of a batch."""
    shape = Shape(emitters=2)
    tables = [records(shape.size, number) for number in range(2)]
    mixed = [record for pair in zip(*tables, strict=True) for record in pair][:100]
    alone = tables[0][:100]
    assert OneChecker(shape).holds(alone)
    assert ManyChecker(shape).holds(mixed)
    for checker, right in ((OneChecker, alone), (ManyChecker, mixed)):
        for place in (0, 50, 96):
            wrong = bytearray(right[place])
            wrong[-1] ^= 1
            assert not checker(shape).holds(right[:place] + right[place + 2 :])
            assert not checker(shape).holds([*right[:place], bytes(wrong), *right[place + 1 :]])
            assert not checker(shape).holds(right[: place + 1] + right[place:])


def test_what_is_missing_is_named_with_its_remedy() -> None:
    """A package by pip, a program by apt; nothing where all is there."""
    assert needs("json")() == ""
    assert "pip install" in needs("no_such_package")()
    assert "apt install no-such-server" in needs("json", programs=("no-such-server",))()


_FAULTY = """
import sys
sys.path.insert(0, {root!r})
from dataclasses import dataclass
from benchmarks.baselines import multiprocessing_ends
from benchmarks.command import main
from benchmarks.transports import Emitter

class Faulty(multiprocessing_ends.PipeTransport):
    def open_emitter(self, number):
        emit = super().open_emitter(number).emit
        return Emitter(lambda payload: emit(payload[::-1]))

if __name__ == "__main__":
    multiprocessing_ends.PipeTransport = Faulty
    main(["--quick", "--json", "--peer", "multiprocessing.Pipe", "one_to_one_throughput"])
"""


def test_a_peer_that_delivers_wrongly_has_no_figures_and_fails_the_run(tmp_path: Path) -> None:
    """The others' figures are told all the same."""
    script = tmp_path / "faulty.py"
    script.write_text(_FAULTY.format(root=str(ROOT)))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    assert {figure["contender"] for figure in scenario["figures"]} == {"ringbus", "the core in C"}
    (failure,) = scenario["failures"]
    assert "multiprocessing.Pipe" in failure
    assert "wrong records" in failure
