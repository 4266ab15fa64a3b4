/* What must hold of each record that anybody reads.
 *
 * A wake-up is lost if a sleep ends by itself although an emit came and went meanwhile. The ring
 * itself tells: when the sleep began the slot at the cursor was empty, so every record from there
 * on was published later; a member that began another emit before the sleep was over had ended the
 * one before, its waking included. No time that anything takes is judged.
 */
#define _GNU_SOURCE
#include "reader.h"

#include <string.h>
#include <unistd.h>

enum { NUMBER_BITS = 40 };

void look_where_it_stands(const struct reader *reader, uint64_t *cursor, uint64_t *tail,
                          uint64_t *floor) {
    struct tally *tally = reader->worker->tally;
    int status = rb_subscriber_position(reader->subscriber, cursor, tail, floor);
    REQUIRE(tally, status == RB_OK, "a subscriber's position: %s", rb_status_name(status));
    REQUIRE(tally, *floor <= *tail, "floor %llu is above tail %llu", (unsigned long long)*floor,
            (unsigned long long)*tail);
}

static void check_content(struct reader *reader, const rb_record *record, uint64_t key) {
    struct tally *tally = reader->worker->tally;
    const struct member *member = &tally->members[record->kind];
    const unsigned long long number = record->number;
    REQUIRE(tally, SEE(member->begun) > record->number && member->epoch == reader->epoch,
            "seq %llu: member %u never emitted number %llu here", (unsigned long long)record->seq,
            record->kind, number);
    REQUIRE(tally, is_payload(tally, key, record->number, reader->payload, record->length),
            "seq %llu: member %u number %llu, %u bytes: torn", (unsigned long long)record->seq,
            record->kind, number, record->length);
}

static void check_order(struct reader *reader, const rb_record *record, struct seen *seen) {
    struct tally *tally = reader->worker->tally;
    uint64_t may_skip = reader->lost - seen->lost;
    REQUIRE(tally, record->number >= seen->next && record->number - seen->next <= may_skip,
            "seq %llu: member %u number %llu after %llu with %llu reported as missed",
            (unsigned long long)record->seq, record->kind, (unsigned long long)record->number,
            (unsigned long long)seen->next, (unsigned long long)may_skip);
    REQUIRE(tally, seen->next == 0 || seen->emitter == record->emitter,
            "seq %llu: member %u is emitter %u and was %u", (unsigned long long)record->seq,
            record->kind, record->emitter, seen->emitter);
    seen->next = record->number + 1;
    seen->lost = reader->lost;
    seen->emitter = record->emitter;
}

static void check_sleep(struct reader *reader, const rb_record *record, struct seen *seen) {
    if (seen->sleep != reader->sleep) {
        seen->sleep = reader->sleep;
        seen->ts_ns = record->ts_ns;
    }
    REQUIRE(reader->worker->tally,
            record->ts_ns == seen->ts_ns || record->ts_ns >= reader->slept_until_ns,
            "seq %llu: a subscriber was not woken by member %u, which emitted meanwhile",
            (unsigned long long)record->seq, record->kind);
}

void check_record(struct reader *reader, const rb_record *record) {
    struct worker *worker = reader->worker;
    struct tally *tally = worker->tally;
    REQUIRE(tally, record->seq == reader->expected, "seq %llu instead of %llu",
            (unsigned long long)record->seq, (unsigned long long)reader->expected);
    REQUIRE(tally, record->kind < MEMBERS, "seq %llu: no member %u",
            (unsigned long long)record->seq, record->kind);
    uint64_t key = key_of(record->kind, record->number);
    struct seen *seen = &reader->seen[record->kind];
    check_content(reader, record, key);
    check_order(reader, record, seen);
    check_sleep(reader, record, seen);
    REQUIRE(tally, bear_witness(tally, worker->desk, reader->epoch, record->seq, key),
            "seq %llu: member %u number %llu for one, another record for others",
            (unsigned long long)record->seq, record->kind, (unsigned long long)record->number);
    reader->expected++;
    COUNT(worker->desk->checked);
    COUNT(worker->desk->results);
}

/* What is about to be noted first, then that it was seen, then the cursor: killed anywhere between,
 * finish_noting() knows how far it came. */
void note_at_gate(struct reader *reader, const rb_record *record) {
    struct tally *tally = reader->worker->tally;
    uint64_t *seen = &tally->gate_seen[record->kind];
    uint64_t next = *seen >> 32;
    REQUIRE(tally, record->number == next || (tally->may_push && record->number > next),
            "the gate got member %u number %llu after %llu", record->kind,
            (unsigned long long)record->number, (unsigned long long)next);
    NOTE(tally->gate_record, (uint64_t)record->kind << NUMBER_BITS | record->number);
    NOTE(tally->gate_noting, record->seq + 1);
    NOTE(*seen, (record->number + 1) << 32 | ((*seen & UINT32_MAX) + 1));
    NOTE(tally->gate_cursor, (record->seq + 1) << 32 | (tally->gate_cursor & UINT32_MAX));
}

/* The predecessor may have been killed when a record was seen and the cursor not yet moved. */
void finish_noting(struct tally *tally) {
    uint64_t cursor = tally->gate_cursor >> 32;
    uint64_t member = tally->gate_record >> NUMBER_BITS;
    uint64_t number = tally->gate_record & ((UINT64_C(1) << NUMBER_BITS) - 1);
    if (tally->gate_noting == cursor + 1 && tally->gate_seen[member] >> 32 == number + 1) {
        NOTE(tally->gate_cursor, tally->gate_cursor + (UINT64_C(1) << 32));
    }
}

void note_loss(struct reader *reader, uint64_t missed) {
    struct worker *worker = reader->worker;
    struct tally *tally = worker->tally;
    uint64_t cursor;
    uint64_t tail;
    uint64_t floor;
    reader->expected += missed;
    reader->lost += missed;
    look_where_it_stands(reader, &cursor, &tail, &floor);
    REQUIRE(tally, cursor == reader->expected, "missed %llu and stands at %llu instead of %llu",
            (unsigned long long)missed, (unsigned long long)cursor,
            (unsigned long long)reader->expected);
    /* What a newcomer finds gone was never promised to it. */
    if (!reader->is_first || worker->desk->role == GATE) {
        NOTE(worker->desk->missed, worker->desk->missed + missed);
    }
    if (worker->desk->role == GATE) {
        REQUIRE(tally, tally->may_push, "a gate that nobody may push on missed %llu records",
                (unsigned long long)missed);
        NOTE(tally->gate_cursor, (tally->gate_cursor & ~(uint64_t)UINT32_MAX) + (missed << 32) +
                                     (tally->gate_cursor & UINT32_MAX) + missed);
    }
}
