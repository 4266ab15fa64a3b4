"""Seeded defects: what the stepper must catch in a core that is broken on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from checkers.seeding import Defect


@dataclass(frozen=True)
class StepDefect(Defect):
    """A defect, and the case that must catch it at every stride-th boundary."""

    case: str
    stride: int


DEFECTS = [
    StepDefect(
        "publish with a plain store",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)",
        "(__atomic_store_n(slot, (t & ~mask) | cell, __ATOMIC_SEQ_CST), true)",
        "in-block",
        1,
    ),
    StepDefect(
        "a lost publish counts as won",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)) {",
        "(rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell), true)) {",
        "lost-publish",
        50,
    ),
    StepDefect(
        "a block lost to another counts as taken",
        "pool.c",
        "if (!rb_cas_acq_rel_64(&segment->words[block], &word, view->owned)) {",
        "if (!rb_cas_acq_rel_64(&segment->words[block], &word, view->owned) && word == 0) {",
        "lost-take",
        50,
    ),
    StepDefect(
        "blocks given back before the record is published",
        "emitter.c",
        "    *t = rb_order_publish(segment, e->t, cell);\n",
        "    settle_blocks(e, need, chained, e->t);\n"
        "    *t = rb_order_publish(segment, e->t, cell);\n"
        "    e->t = *t + 1;\n    e->number++;\n    return RB_OK;\n",
        "exact-fill",
        3,
    ),
    StepDefect(
        "records count as published before they are",
        "emitter.c",
        "emit_one(e, item, &obstacle, &t);\n",
        "(++*published, emit_one(e, item, &obstacle, &t));\n        --*published;\n",
        "several",
        50,
    ),
    StepDefect(
        "recovered blocks look empty",
        "pool.c",
        "uint64_t newest = rb_order_tail(segment) - 1;",
        "uint64_t newest = 0;",
        "in-block",
        5,
    ),
    StepDefect(
        "blocks of the living are recovered",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe < 0",
        "in-block",
        5,
    ),
    StepDefect(
        "the floor is not raised",
        "pool.c",
        "if (newest >= rb_floor_of(floor)) {",
        "if (newest == UINT64_MAX && newest >= rb_floor_of(floor)) {",
        "in-block",
        50,
    ),
    StepDefect(
        "the floor is raised to the tail",
        "pool.c",
        "rb_order_raise_floor(segment, floor, newest + 1)",
        "rb_order_raise_floor(segment, floor, rb_order_tail(segment) - 1)",
        "in-block",
        50,
    ),
    StepDefect(
        "blocks are chosen by what was seen before a stop",
        "pool.c",
        "return rb_order_floor(segment) == floor ? free_count : pass(segment, view);",
        "return floor == 0 ? 0 : free_count;",
        "exhausted",
        41,
    ),
    StepDefect(
        "blocks are kept in hand during a wait",
        "emitter.c",
        "            restore(e, i);\n",
        "",
        "wait-several-blocks",
        50,
    ),
    StepDefect(
        "a gate in the way is overlooked",
        "pool.c",
        "newest >= rb_gate_cursor(obstacle->word)",
        "newest >= rb_gate_cursor(obstacle->word) + 100",
        "wait",
        50,
    ),
    StepDefect(
        "a gate's move wakes nobody",
        "gate.c",
        "    rb_store_relaxed_64(&slot->moved_ns, rb_realtime_ns());\n"
        "    rb_wake(&segment->hot->stall);\n",
        "    rb_store_relaxed_64(&slot->moved_ns, rb_realtime_ns());\n",
        "wait",
        7,
    ),
    StepDefect(
        "a push stores whatever the gate's word is now",
        "gate.c",
        "    if (!replace(segment, gate, word, pushed)) {\n        return false;\n    }\n",
        "    __atomic_store_n(&segment->gates[gate].word, pushed, __ATOMIC_SEQ_CST);\n",
        "push-closed",
        11,
    ),
    StepDefect(
        "a burial does not look whose gate it is now",
        "gate.c",
        "    replace(segment, gate, word, 0);\n}",
        "    __atomic_store_n(&segment->gates[gate].word, 0 * word, __ATOMIC_SEQ_CST);\n}",
        "bury-succeeded",
        21,
    ),
    StepDefect(
        "a successor takes the gate down before it sets it up",
        "gate.c",
        "    uint64_t found = rb_load_acquire_64(&gate->word);\n    /* [register:A]",
        "    __atomic_store_n(&gate->word, 0, __ATOMIC_SEQ_CST);\n"
        "    uint64_t found = rb_load_acquire_64(&gate->word);\n    /* [register:A]",
        "gate-succeed",
        2,
    ),
    StepDefect(
        "a gate's slot is not looked at under its lock",
        "gate.c",
        "    if (is_wanted(segment, gate, name, wish)) {\n        return true;",
        "    if (fd >= 0) {\n        return true;",
        "gate-rival",
        7,
    ),
    StepDefect(
        "a gate's registration is not counted",
        "gate.c",
        "rb_floor_registered(floor))) {",
        "floor)) {",
        "registered",
        3,
    ),
    StepDefect(
        "a copy is not looked at again",
        "subscriber.c",
        "    if (!is_still_kept(segment, s->cursor)) {",
        "    if (s->cursor == 0 && !is_still_kept(segment, s->cursor)) {",
        "read",
        1,
    ),
    StepDefect(
        "no second look before going to sleep",
        "subscriber.c",
        "    if ((found & ~mask) < (t & ~mask)) {\n        status = rb_segment_is_marked",
        "    if (found != 0 || t != 0) {\n        status = rb_segment_is_marked",
        "park",
        1,
    ),
    StepDefect(
        "the sleep bit is cleared first, then sleepers are woken",
        "wait.c",
        "    syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, 0L, word,\n"
        "            FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));",
        "    __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);\n"
        "    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);",
        "sleeper",
        1,
    ),
    StepDefect(
        "a creator replaces the ring that is there",
        "segment.c",
        "    if (linkat(AT_FDCWD, unnamed",
        "    unlink(path);\n    if (linkat(AT_FDCWD, unnamed",
        "creation",
        7,
    ),
]
