"""What a ring tells about itself: `RingStats`."""

from __future__ import annotations

from dataclasses import dataclass

from ringbus import _native
from ringbus._native import CData, ffi, lib


@dataclass(frozen=True)
class LaneStats:
    """One emitter. `pid` is as its own PID namespace names it: a label, not a proof."""

    index: int
    alive: bool
    pid: int
    since_ns: int


@dataclass(frozen=True)
class GateStats:
    """One gate: `lag` records behind the tail; `moved_ns` is when it last moved by itself."""

    name: str
    alive: bool
    pid: int
    cursor: int
    lag: int
    since_ns: int
    moved_ns: int


@dataclass(frozen=True)
class RingStats:
    """A ring at one moment. Sizes are bytes; `floor` and `tail` are seqs, `kept` their distance."""

    name: str
    epoch: str
    size: int
    max_payload: int
    floor: int
    tail: int
    kept: int
    blocks: int
    blocks_free: int
    lanes: list[LaneStats]
    gates: list[GateStats]
    database: str | None
    attached: bool


def read_stats(name: str, handle: CData) -> CData:
    """The C core's own snapshot."""
    stats = ffi.new("rb_stats *")
    _native.check(lib.rb_ring_stats(handle, stats), name)
    return stats


def take_stats(name: str, handle: CData, database: str | None, attached: bool) -> RingStats:
    """The whole snapshot; whether emitters and gates are alive is asked of the kernel."""
    stats = read_stats(name, handle)
    tail, floor = int(stats.tail), int(stats.floor)
    return RingStats(
        name=name,
        epoch=f"{stats.epoch:016x}",
        size=int(stats.capacity),
        max_payload=int(stats.max_payload),
        floor=floor,
        tail=tail,
        kept=tail - floor,
        blocks=int(stats.block_count),
        blocks_free=int(stats.blocks_free),
        lanes=_lanes(name, handle, int(stats.lane_count)),
        gates=read_gates(name, handle),
        database=database,
        attached=attached,
    )


def _lanes(name: str, handle: CData, count: int) -> list[LaneStats]:
    lane, lanes = ffi.new("rb_lane_stats *"), []
    for index in range(count):
        _native.check(lib.rb_ring_lane(handle, index, lane), name)
        if lane.alive:
            lanes.append(LaneStats(index, True, int(lane.pid), int(lane.since_ns)))
    return lanes


def read_gates(name: str, handle: CData) -> list[GateStats]:
    """The gates that stand, dead ones included."""
    stats = read_stats(name, handle)
    found = (
        read_gate(name, handle, index, int(stats.tail)) for index in range(int(stats.gate_count))
    )
    return [gate for gate in found if gate is not None]


def read_gate(name: str, handle: CData, index: int, tail: int) -> GateStats | None:
    """The gate at that place of the table, None if none stands there."""
    gate = ffi.new("rb_gate_stats *")
    _native.check(lib.rb_ring_gate(handle, index, gate), name)
    if not gate.standing:
        return None
    return GateStats(
        name=ffi.string(gate.name).decode(errors="replace"),
        alive=bool(gate.alive),
        pid=int(gate.pid),
        cursor=int(gate.cursor),
        lag=max(0, tail - int(gate.cursor)),
        since_ns=int(gate.since_ns),
        moved_ns=int(gate.moved_ns),
    )
