"""Seeded defects: what the stepper must find in a core that is broken on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepper_programs import CORE, BrokenError, compile_source, link


@dataclass(frozen=True)
class Defect:
    """One source with one text exchanged, and the case that finds it at every stride-th step."""

    name: str
    file: str
    old: str
    new: str
    case: str
    stride: int


DEFECTS = [
    Defect(
        "publish with a plain store",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)",
        "(__atomic_store_n(slot, (t & ~mask) | cell, __ATOMIC_SEQ_CST), true)",
        "in-block",
        1,
    ),
    Defect(
        "a lost publish counts as won",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)) {",
        "(rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell), true)) {",
        "lost-publish",
        50,
    ),
    Defect(
        "a block lost to another counts as taken",
        "pool.c",
        "if (!rb_cas_acq_rel_64(&segment->words[block], &word, view->owned)) {",
        "if (!rb_cas_acq_rel_64(&segment->words[block], &word, view->owned) && word == 0) {",
        "lost-take",
        50,
    ),
    Defect(
        "blocks given back before the record is published",
        "emitter.c",
        "    *t = rb_order_publish(segment, e->t, cell);\n",
        "    settle_blocks(e, need, chained, e->t);\n"
        "    *t = rb_order_publish(segment, e->t, cell);\n"
        "    e->t = *t + 1;\n    e->number++;\n    return RB_OK;\n",
        "exact-fill",
        3,
    ),
    Defect(
        "records count as published before they are",
        "emitter.c",
        "emit_one(e, item, &obstacle, &t);\n",
        "(++*published, emit_one(e, item, &obstacle, &t));\n        --*published;\n",
        "several",
        50,
    ),
    Defect(
        "recovered blocks look empty",
        "pool.c",
        "uint64_t newest = rb_order_tail(segment) - 1;",
        "uint64_t newest = 0;",
        "in-block",
        5,
    ),
    Defect(
        "blocks of the living are recovered",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe < 0",
        "in-block",
        5,
    ),
    Defect(
        "the floor is not raised",
        "pool.c",
        "if (newest >= rb_floor_of(floor)) {",
        "if (newest == UINT64_MAX && newest >= rb_floor_of(floor)) {",
        "in-block",
        50,
    ),
    Defect(
        "the floor is raised to the tail",
        "pool.c",
        "rb_order_raise_floor(segment, floor, newest + 1)",
        "rb_order_raise_floor(segment, floor, rb_order_tail(segment) - 1)",
        "in-block",
        50,
    ),
    Defect(
        "blocks are chosen by what was seen before a stop",
        "pool.c",
        "return rb_order_floor(segment) == floor ? free_count : pass(segment, view);",
        "return floor == 0 ? 0 : free_count;",
        "exhausted",
        41,
    ),
    Defect(
        "blocks are kept in hand during a wait",
        "emitter.c",
        "            restore(e, i);\n",
        "",
        "wait-several-blocks",
        50,
    ),
    Defect(
        "a gate in the way is overlooked",
        "pool.c",
        "newest >= rb_gate_cursor(obstacle->word)",
        "newest >= rb_gate_cursor(obstacle->word) + 100",
        "wait",
        50,
    ),
    Defect(
        "a gate's move wakes nobody",
        "gate.c",
        "    rb_store_relaxed_64(&slot->moved_ns, rb_realtime_ns());\n"
        "    rb_wake(&segment->hot->stall);\n",
        "    rb_store_relaxed_64(&slot->moved_ns, rb_realtime_ns());\n",
        "wait",
        7,
    ),
    Defect(
        "a push stores whatever the gate's word is now",
        "gate.c",
        "    if (!replace(segment, gate, word, pushed)) {\n        return false;\n    }\n",
        "    __atomic_store_n(&segment->gates[gate].word, pushed, __ATOMIC_SEQ_CST);\n",
        "push-closed",
        11,
    ),
    Defect(
        "a burial does not look whose gate it is now",
        "gate.c",
        "    replace(segment, gate, word, 0);\n}",
        "    __atomic_store_n(&segment->gates[gate].word, 0 * word, __ATOMIC_SEQ_CST);\n}",
        "bury-succeeded",
        21,
    ),
    Defect(
        "a successor takes the gate down before it sets it up",
        "gate.c",
        "    uint64_t found = rb_load_acquire_64(&gate->word);\n    /* [register:A]",
        "    __atomic_store_n(&gate->word, 0, __ATOMIC_SEQ_CST);\n"
        "    uint64_t found = rb_load_acquire_64(&gate->word);\n    /* [register:A]",
        "gate-succeed",
        2,
    ),
    Defect(
        "a gate's slot is not looked at under its lock",
        "gate.c",
        "    if (is_wanted(segment, gate, name, wish)) {\n        return true;",
        "    if (fd >= 0) {\n        return true;",
        "gate-rival",
        7,
    ),
    Defect(
        "a gate's registration is not counted",
        "gate.c",
        "rb_floor_registered(floor))) {",
        "floor)) {",
        "registered",
        3,
    ),
    Defect(
        "a copy is not looked at again",
        "subscriber.c",
        "    if (!is_still_kept(segment, s->cursor)) {",
        "    if (s->cursor == 0 && !is_still_kept(segment, s->cursor)) {",
        "read",
        1,
    ),
    Defect(
        "no second look before going to sleep",
        "subscriber.c",
        "    if ((found & ~mask) < (t & ~mask)) {\n        status = rb_segment_is_marked",
        "    if (found != 0 || t != 0) {\n        status = rb_segment_is_marked",
        "park",
        1,
    ),
    Defect(
        "the sleep bit is cleared first, then sleepers are woken",
        "wait.c",
        "    syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, 0L, word,\n"
        "            FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));",
        "    __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);\n"
        "    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);",
        "sleeper",
        1,
    ),
    Defect(
        "a creator replaces the ring that is there",
        "segment.c",
        "    if (linkat(AT_FDCWD, unnamed",
        "    unlink(path);\n    if (linkat(AT_FDCWD, unnamed",
        "creation",
        7,
    ),
]


def build(defect: Defect, objects: dict[str, Path], folder: Path) -> Path:
    """The stepper's program over the core with this defect."""
    folder.mkdir()
    text = (CORE / defect.file).read_text()
    if text.count(defect.old) != 1:
        raise BrokenError(f"{defect.file} does not have {defect.old!r} once: renew the defect")
    source = folder / defect.file
    source.write_text(text.replace(defect.old, defect.new))
    broken = objects | {defect.file: compile_source(source, folder)}
    return link(broken.values(), folder / "step")
