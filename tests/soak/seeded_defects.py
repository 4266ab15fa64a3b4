"""Seeded defects: what the soak must catch, within seconds, in a core broken on purpose."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import conductor
from checkers.seeding import Defect, build_seeded
from scenarios import by_name

LONGEST_S = 15.0
HANGING_S = 3.0  # impatient: these do fail


@dataclass(frozen=True)
class SoakDefect(Defect):
    """A defect, and the scenario that must catch it."""

    scenario: str
    says: str = ""  # what the failure has to contain


DEFECTS = [
    SoakDefect(
        "subscribers do not look at the floor again",
        "subscriber.c",
        "return rb_floor_of(rb_load_relaxed_64(&segment->hot->floor)) <= number;",
        "return number > 0 || segment == NULL;",
        "overwriting",
    ),
    SoakDefect(
        "the floor is not raised",
        "pool.c",
        "if (newest >= rb_floor_of(floor)) {",
        "if (newest == UINT64_MAX && newest >= rb_floor_of(floor)) {",
        "overwriting",
    ),
    SoakDefect(
        "blocks of the living are recovered",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe < 0",
        "overwriting",
    ),
    SoakDefect(
        "recovered blocks look empty",
        "pool.c",
        "uint64_t newest = rb_order_tail(segment) - 1;",
        "uint64_t newest = 0;",
        "crowd",
    ),
    SoakDefect(
        "nobody recovers the blocks of the dead",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe >= 0",
        "overwriting",
    ),
    SoakDefect(
        "publish with a plain store",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)",
        "(__atomic_store_n(slot, (t & ~mask) | cell, __ATOMIC_SEQ_CST), true)",
        "overwriting",
    ),
    SoakDefect(
        "sleepers are not woken",
        "wait.c",
        "if ((rb_load_seq_cst_32(word) & 1) == 0) {",
        "if ((rb_load_seq_cst_32(word) & 1) == 0 || *word > 0) {",
        "calm",
    ),
    SoakDefect(
        "emitters overlook a gate",
        "pool.c",
        "newest >= rb_gate_cursor(obstacle->word)) {",
        "newest >= rb_gate_cursor(obstacle->word) + 64) {",
        "gate",
    ),
    SoakDefect(
        "a lapped subscriber is told one record too few",
        "subscriber.c",
        "*missed = to - s->cursor;",
        "*missed = to - s->cursor - 1;",
        "overwriting",
    ),
    SoakDefect(
        "a forked child may use the handle",
        "handle.c",
        "    if (rb_segment_is_forked(&handle->segment)) {\n        return RB_FORKED;\n    }\n"
        "    lock(handle)",
        "    lock(handle)",
        "overwriting",
    ),
    SoakDefect(
        "emitters in a removed ring are not told",
        "emitter.c",
        "    if (rb_segment_is_marked_unlinked(&e->handle.segment)) {\n"
        "        return RB_UNLINKED;\n    }\n",
        "    if (now_ns > 0) {\n        return RB_OK;\n    }\n",
        "removed",
        says="was not told that its ring is removed",
    ),
    SoakDefect(
        "a lock is not given back, so that its owner hangs",
        "handle.c",
        "    detach_if_last(handle);\n    unlock(handle);",
        "    detach_if_last(handle);",
        "calm",
        says="hangs: ",
    ),
]


def catch(
    defect: SoakDefect, objects: Mapping[str, Path], folder: Path, seed: int
) -> tuple[bool, str]:
    """Whether the soak notices it, and how; the workers are built anew into `folder`."""
    began = time.monotonic()
    program = build_seeded(defect, objects, folder)
    outcome = conductor.play(by_name(defect.scenario), seed, LONGEST_S, program, HANGING_S)
    is_caught = any(defect.says in failure for failure in outcome.failures)
    how = outcome.failures[0] if is_caught else f"nothing noticed; repeat with --seed {seed}"
    return is_caught, f"{how} ({time.monotonic() - began:.1f} s)"
