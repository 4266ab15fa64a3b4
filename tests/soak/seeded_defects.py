"""Broken copies of the core: the soak has to find each defect within seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import conductor
import core_build
from core_build import BrokenError
from scenarios import by_name

LONGEST_S = 15.0
HANGING_S = 3.0  # impatient: these do fail


@dataclass(frozen=True)
class Defect:
    name: str
    file: str
    old: str
    new: str
    scenario: str
    says: str = ""  # what the failure has to contain


DEFECTS = [
    Defect(
        "subscribers do not look at the floor again",
        "subscriber.c",
        "return rb_floor_of(rb_load_relaxed_64(&segment->hot->floor)) <= number;",
        "return number > 0 || segment == NULL;",
        "overwriting",
    ),
    Defect(
        "the floor is not raised",
        "pool.c",
        "if (newest >= rb_floor_of(floor)) {",
        "if (newest == UINT64_MAX && newest >= rb_floor_of(floor)) {",
        "overwriting",
    ),
    Defect(
        "blocks of the living are recovered",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe < 0",
        "overwriting",
    ),
    Defect(
        "recovered blocks look empty",
        "pool.c",
        "uint64_t newest = rb_order_tail(segment) - 1;",
        "uint64_t newest = 0;",
        "crowd",
    ),
    Defect(
        "nobody recovers the blocks of the dead",
        "pool.c",
        "!rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))",
        "probe >= 0",
        "overwriting",
    ),
    Defect(
        "publish with a plain store",
        "order.c",
        "rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)",
        "(__atomic_store_n(slot, (t & ~mask) | cell, __ATOMIC_SEQ_CST), true)",
        "overwriting",
    ),
    Defect(
        "sleepers are not woken",
        "wait.c",
        "if ((rb_load_seq_cst_32(word) & 1) == 0) {",
        "if ((rb_load_seq_cst_32(word) & 1) == 0 || *word > 0) {",
        "calm",
    ),
    Defect(
        "emitters overlook a gate",
        "pool.c",
        "newest >= rb_gate_cursor(obstacle->word)) {",
        "newest >= rb_gate_cursor(obstacle->word) + 64) {",
        "gate",
    ),
    Defect(
        "a lapped subscriber is told one record too few",
        "subscriber.c",
        "*missed = to - s->cursor;",
        "*missed = to - s->cursor - 1;",
        "overwriting",
    ),
    Defect(
        "a forked child may use the handle",
        "handle.c",
        "    if (rb_segment_is_forked(&handle->segment)) {\n        return RB_FORKED;\n    }\n"
        "    pthread_mutex_lock",
        "    pthread_mutex_lock",
        "overwriting",
    ),
    Defect(
        "emitters in a removed ring are not told",
        "emitter.c",
        "    if (rb_segment_is_marked_unlinked(&e->handle.segment)) {\n"
        "        return RB_UNLINKED;\n    }\n",
        "    if (now_ns > 0) {\n        return RB_OK;\n    }\n",
        "removed",
        says="was not told that its ring is removed",
    ),
    Defect(
        "a lock is not given back, so that its owner hangs",
        "handle.c",
        "    detach_if_last(handle);\n    pthread_mutex_unlock(&handle->lock);",
        "    detach_if_last(handle);",
        "calm",
        says="hangs: ",
    ),
]


def build(defect: Defect, objects: dict[str, Path], folder: Path) -> Path:
    """The workers with this defect; only the file that has it is compiled anew."""
    text = (core_build.CORE / defect.file).read_text()
    if text.count(defect.old) != 1:
        raise BrokenError(f"{defect.file} does not have {defect.old!r} once: renew the defect")
    source = folder / defect.file
    source.write_text(text.replace(defect.old, defect.new))
    compiled = core_build.compile_one(source, folder / "defect.o")
    return core_build.link({**objects, defect.file: compiled}, folder / "broken-house")


def find(defect: Defect, objects: dict[str, Path], folder: Path, seed: int) -> bool:
    began = time.monotonic()
    program = build(defect, objects, folder)
    outcome = conductor.play(by_name(defect.scenario), seed, LONGEST_S, program, HANGING_S)
    is_found = any(defect.says in failure for failure in outcome.failures)
    took = time.monotonic() - began
    how = outcome.failures[0] if is_found else f"nothing noticed; repeat with --seed {seed}"
    print(f"{'found' if is_found else 'MISSED'} in {took:4.1f} s: {defect.name}: {how}", flush=True)
    return is_found


def find_all(objects: dict[str, Path], folder: Path, seed: int) -> list[bool]:
    return [find(defect, objects, folder, seed) for defect in DEFECTS]
