/* The prober, who asks about everything all the time, and the audit when everybody has gone. */
#define _GNU_SOURCE
#include "reader.h"

#include <time.h>
#include <unistd.h>

static rb_ring *attach(struct worker *worker) {
    char why[200] = "";
    uint64_t epoch;
    for (;;) {
        rb_ring *ring = NULL;
        int fd = open_ring(worker, &epoch);
        if (fd < 0) {
            return NULL;
        }
        int status = rb_ring_attach(fd, worker->path, 1, &ring, why, sizeof why);
        close(fd);
        if (status == RB_OK) {
            return ring;
        }
        REQUIRE(worker->tally, status == RB_UNLINKED && worker->tally->is_removed,
                "the ring cannot be attached to: %s %s", rb_status_name(status), why);
        nap(200);
    }
}

/* False: the ring is gone, which is only sometimes right. */
static bool is_answer(struct worker *worker, int status) {
    begin(worker, "probe  ");
    COUNT(worker->desk->results);
    REQUIRE(worker->tally, status == RB_OK || (status == RB_UNLINKED && worker->tally->is_removed),
            "a probe: %s", rb_status_name(status));
    return status == RB_OK;
}

static bool probe_all(struct worker *worker, rb_ring *ring, rb_stats *stats) {
    rb_lane_stats lane;
    rb_gate_stats gate;
    int held;
    for (uint32_t i = 0; i < stats->lane_count; i++) {
        if (!is_answer(worker, rb_ring_lane(ring, i, &lane))) {
            return false;
        }
    }
    for (uint32_t i = 0; i < stats->gate_count; i++) {
        if (!is_answer(worker, rb_ring_gate(ring, i, &gate))) {
            return false;
        }
    }
    return is_answer(worker, rb_ring_gate_held(ring, "soak", &held)) &&
           is_answer(worker, rb_ring_is_attached(ring, &held));
}

static void probe_ring(struct worker *worker, rb_ring *ring) {
    rb_stats before = {0};
    rb_stats now;
    do {
        REQUIRE(worker->tally, rb_ring_stats(ring, &now) == RB_OK, "no statistics");
        REQUIRE(worker->tally,
                now.floor >= before.floor && now.tail >= before.tail && before.floor <= now.tail &&
                    now.blocks_free <= now.block_count,
                "the ring went backwards: floor %llu after %llu, tail %llu after %llu",
                (unsigned long long)now.floor, (unsigned long long)before.floor,
                (unsigned long long)now.tail, (unsigned long long)before.tail);
        before = now;
    } while (!is_over(worker) && probe_all(worker, ring, &now));
}

void run_prober(struct worker *worker) {
    while (!is_over(worker)) {
        rb_ring *ring = attach(worker);
        if (ring != NULL) {
            probe_ring(worker, ring);
            rb_ring_free(ring);
        }
    }
}

/* The audit. */

static rb_stats look(struct worker *worker, rb_ring *ring) {
    rb_stats stats;
    REQUIRE(worker->tally, rb_ring_stats(ring, &stats) == RB_OK, "no statistics");
    return stats;
}

static void audit_leaks(struct worker *worker, rb_ring *ring, const rb_stats *stats) {
    struct tally *tally = worker->tally;
    REQUIRE(tally, stats->blocks_free == stats->block_count, "%u of %u blocks are never freed",
            stats->block_count - stats->blocks_free, stats->block_count);
    for (uint32_t i = 0; i < stats->lane_count; i++) {
        rb_lane_stats lane;
        REQUIRE(tally, rb_ring_lane(ring, i, &lane) == RB_OK && !lane.alive,
                "lane %u of pid %u looks alive, and nobody is left", i, lane.pid);
    }
    for (uint32_t i = 0; i < stats->gate_count; i++) {
        rb_gate_stats gate;
        REQUIRE(tally, rb_ring_gate(ring, i, &gate) == RB_OK && !gate.standing,
                "gate %u still stands", i);
    }
}

static void audit_records(struct worker *worker, const rb_stats *stats) {
    struct reader reader;
    make_reader(worker, &reader);
    REQUIRE(worker->tally,
            open_subscriber(&reader, stats->floor, NULL) == RB_OK &&
                reader.expected == stats->floor,
            "the ring cannot be read from its floor");
    while (read_one(&reader) == RB_OK) {
    }
    REQUIRE(worker->tally, reader.expected == stats->tail,
            "reading ended at seq %llu instead of %llu", (unsigned long long)reader.expected,
            (unsigned long long)stats->tail);
    rb_subscriber_free(reader.subscriber);
}

/* Numbers are dense: the tail tells how many records were published in all. */
static void audit_sums(struct worker *worker, const rb_stats *stats) {
    struct tally *tally = worker->tally;
    uint64_t acked = 0;
    uint64_t begun = 0;
    uint64_t received = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        const struct member *member = &tally->members[i];
        uint64_t next = tally->gate_seen[i] >> 32;
        acked += member->epoch == stats->epoch ? member->acked : 0;
        begun += member->epoch == stats->epoch ? member->begun : 0;
        received += tally->gate_seen[i] & UINT32_MAX;
        REQUIRE(tally,
                !tally->has_gate || tally->may_push ||
                    (next >= member->acked && next <= member->begun),
                "member %u had %llu records acknowledged, the gate got %llu", i,
                (unsigned long long)member->acked, (unsigned long long)next);
    }
    REQUIRE(tally, acked <= stats->tail && stats->tail <= begun,
            "%llu records acknowledged, %llu begun, tail %llu", (unsigned long long)acked,
            (unsigned long long)begun, (unsigned long long)stats->tail);
    uint64_t cursor = tally->gate_cursor >> 32;
    uint64_t missed = tally->gate_cursor & UINT32_MAX;
    REQUIRE(tally, !tally->has_gate || (cursor == stats->tail && received + missed == cursor),
            "the gate received %llu, missed %llu, stands at %llu of %llu",
            (unsigned long long)received, (unsigned long long)missed, (unsigned long long)cursor,
            (unsigned long long)stats->tail);
}

void run_auditor(struct worker *worker) {
    be_brief(worker, 0, true); /* a newcomer: whoever opens frees what the dead have left */
    rb_ring *ring = attach(worker);
    REQUIRE(worker->tally, ring != NULL, "the audit could not begin");
    rb_stats stats = look(worker, ring);
    audit_leaks(worker, ring, &stats);
    audit_records(worker, &stats);
    audit_sums(worker, &stats);
    be_brief(worker, 2000, true);
    stats = look(worker, ring);
    audit_leaks(worker, ring, &stats);
    audit_records(worker, &stats);
    rb_ring_free(ring);
}
