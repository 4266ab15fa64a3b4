/* Emitters.
 *
 * A member notes how many records there will be before each emit and how many are acknowledged
 * after it, so that a kill leaves only the emit in flight uncertain. Without a gate in the ring no
 * emit may wait: only one that needs several blocks may, for the pool.
 */
#define _GNU_SOURCE
#include "worker.h"

#include "layout.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 8, SAMPLED = 16 /* emits in one look at the highest acknowledged seq */ };

/* Longer than a soak lasts: under `block` nobody may be pushed on. */
#define PATIENCE_NS UINT64_C(3600000000000)

static uint32_t claim_member(struct worker *worker) {
    struct tally *tally = worker->tally;
    uint32_t index = __atomic_fetch_add(&tally->member_count, 1, __ATOMIC_SEQ_CST);
    REQUIRE(tally, index < MEMBERS, "more than %d emitters: the soak is too long", MEMBERS);
    return index;
}

bool open_source(struct worker *worker, struct source *source) {
    const struct desk *desk = worker->desk;
    const uint64_t limit_ns = desk->policy == RB_POLICY_BLOCK ? PATIENCE_NS : 0;
    char why[200] = "";
    *source = (struct source){.worker = worker};
    for (;;) {
        int fd = open_ring(worker, &source->epoch);
        if (fd < 0) {
            return false;
        }
        begin(worker, "attach ");
        int status = rb_emitter_open(fd, worker->path, desk->policy, limit_ns, &source->emitter,
                                     why, sizeof why);
        close(fd);
        if (status == RB_OK) {
            break;
        }
        /* The lock of one that was just killed goes with its mapping, a moment after its death. */
        REQUIRE(worker->tally,
                status == RB_NO_LANE || (status == RB_UNLINKED && worker->tally->is_removed),
                "an emitter cannot be opened: %s %s", rb_status_name(status), why);
        nap(200);
    }
    source->index = claim_member(worker);
    source->member = &worker->tally->members[source->index];
    source->member->epoch = source->epoch;
    return true;
}

/* Whether an emit of this record may have to wait for blocks. */
static bool is_large(const struct source *source, const rb_item *item) {
    return item->length + sizeof(struct rb_record_header) > source->worker->tally->block_size;
}

static bool is_gate_in_the_way(const rb_stall *stall) { return stall->gate != UINT32_MAX; }

/* Whether that may be at all; complains if not. */
static void judge_stall(struct source *source, int status, const rb_item *item,
                        const rb_stall *stall) {
    struct worker *worker = source->worker;
    struct tally *tally = worker->tally;
    const char *name = rb_status_name(status);
    if (is_gate_in_the_way(stall)) {
        REQUIRE(tally, tally->has_gate, "%s for a gate, and there is none", name);
        REQUIRE(tally, worker->desk->policy != RB_POLICY_DROP, "%s under drop", name);
        REQUIRE(tally, stall->lag > 0, "%s for a gate that is at the tail", name);
        COUNT(worker->desk->waits);
    } else {
        REQUIRE(tally, is_large(source, item), "%s for the pool with a record of %u bytes", name,
                item->length);
        COUNT(worker->desk->pool_waits);
    }
    REQUIRE(tally, (stall->notice & RB_NOTICE_PUSHED) == 0, "a gate was given up under block");
}

static void park(struct source *source, const rb_stall *stall) {
    struct worker *worker = source->worker;
    begin(worker, is_gate_in_the_way(stall) ? "at gate" : "at pool");
    int status = rb_emitter_park(source->emitter, stall);
    begin(worker, "emit   ");
    REQUIRE(worker->tally,
            status == RB_OK || status == RB_TIMED_OUT || status == RB_INTERRUPTED ||
                status == RB_UNLINKED,
            "an emitter's park: %s", rb_status_name(status));
}

/* Emits until all is out or the emitter gives up; *last: of the last record that is out. */
static int emit_items(struct source *source, const rb_item *items, size_t count, size_t *published,
                      uint64_t *last) {
    rb_stall stall = {0};
    uint64_t first;
    for (;;) {
        int status =
            rb_emitter_emit(source->emitter, items, count, published, &stall, &first, last);
        if (status != RB_WAIT && status != RB_BACK_PRESSURE && status != RB_POOL_EXHAUSTED) {
            return status;
        }
        judge_stall(source, status, &items[*published], &stall);
        if (status != RB_WAIT || is_over(source->worker)) {
            return status;
        }
        park(source, &stall);
    }
}

/* Who emits after another's emit has returned gets a later number. */
static uint64_t look_at_highest(const struct source *source) {
    uint64_t word = SEE(source->worker->tally->highest);
    return ((word ^ source->epoch) & 0xffffff) == 0 ? word >> 24 : 0;
}

static void acknowledge(struct source *source, size_t published, uint64_t last, uint64_t highest) {
    struct worker *worker = source->worker;
    struct tally *tally = worker->tally;
    struct member *member = source->member;
    uint64_t number = member->acked + published - 1;
    REQUIRE(tally, member->acked == 0 || last >= member->last_seq + published,
            "member %u: seq %llu after %llu", source->index, (unsigned long long)last,
            (unsigned long long)member->last_seq);
    REQUIRE(tally, highest == 0 || last > highest,
            "seq %llu was given after %llu had been acknowledged", (unsigned long long)last,
            (unsigned long long)highest);
    REQUIRE(tally,
            bear_witness(tally, worker->desk, source->epoch, last, key_of(source->index, number)),
            "two records at seq %llu, one of them member %u number %llu", (unsigned long long)last,
            source->index, (unsigned long long)number);
    member->last_seq = last;
    NOTE(member->acked, number + 1);
    if (number % SAMPLED == 0) {
        NOTE(tally->highest, last << 24 | (source->epoch & 0xffffff));
    }
}

enum outcome emit(struct source *source, uint32_t count) {
    static uint8_t payloads[BATCH][LARGEST];
    struct worker *worker = source->worker;
    struct member *member = source->member;
    rb_item items[BATCH];
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = key_of(source->index, member->acked + i);
        items[i] = (rb_item){.payload = payloads[i], .kind = source->index};
        items[i].length = write_payload(worker->tally, key, member->acked + i, payloads[i]);
    }
    uint64_t highest = member->acked % SAMPLED == 0 ? look_at_highest(source) : 0;
    uint64_t last = 0;
    size_t published = 0;
    bool is_old = is_removed_ring(worker->tally, source->epoch);
    begin(worker, "emit   ");
    NOTE(member->begun, member->acked + count);
    int status = emit_items(source, items, count, &published, &last);
    if (published > 0) {
        acknowledge(source, published, last, highest);
        NOTE(worker->desk->results, worker->desk->results + published);
    }
    NOTE(member->begun, member->acked); /* an emit that gave up published no more */
    REQUIRE(worker->tally, status != RB_UNLINKED || worker->tally->is_removed,
            "an emitter was told that the ring is removed");
    REQUIRE(worker->tally, status == RB_UNLINKED || !is_old,
            "member %u was not told that its ring is removed", source->index);
    if (status == RB_UNLINKED) {
        COUNT(worker->desk->removed);
        return RING_REMOVED;
    }
    REQUIRE(worker->tally,
            status == RB_OK || status == RB_WAIT || status == RB_POOL_EXHAUSTED ||
                (status == RB_BACK_PRESSURE && worker->desk->policy == RB_POLICY_FAIL),
            "member %u cannot emit: %s", source->index, rb_status_name(status));
    return WENT_ON;
}

static void pause_now_and_then(struct worker *worker) {
    if ((worker->desk->manner & PAUSES) != 0 && draw(worker, 12) == 0) {
        begin(worker, "pause  ");
        nap(draw(worker, worker->desk->pause_us) + 1);
    }
}

static void emit_for_long(struct source *source) {
    struct worker *worker = source->worker;
    const uint32_t manner = worker->desk->manner;
    while (!is_over(worker)) {
        uint32_t count = (manner & BATCHES) != 0 ? (uint32_t)draw(worker, BATCH) + 1 : 1;
        if (emit(source, count) == RING_REMOVED) {
            return;
        }
        pause_now_and_then(worker);
        if ((manner & FORKS) != 0 && draw(worker, 500) == 0) {
            fork_beside(source);
        }
    }
}

void run_emitter(struct worker *worker) {
    struct source source;
    while (!is_over(worker) && open_source(worker, &source)) {
        if ((worker->desk->manner & CLOSES_DESCRIPTORS) != 0) {
            close_range(0, ~0U, 0);
        }
        emit_for_long(&source);
        if ((worker->desk->manner & LEAVES_UNCLOSED) == 0) {
            rb_emitter_free(source.emitter);
        }
    }
}
