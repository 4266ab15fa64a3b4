/* Emit: make room in owned blocks, write, publish, give back, wake.
 *
 * An emitter owns the block it writes into, so its stores disturb nobody, whenever they happen. The
 * record comes into being with one compare-and-swap (order.c). Killed or stopped at any
 * instruction, an emitter holds back its few blocks and nothing else.
 *
 * Rules: nothing is waited for with anything in hand. If a block cannot be had, those already taken
 * get their exact words back, subscribers are woken, the lock is released, and the emit begins
 * anew after the wait.
 */
#include "emitter.h"

#include "clock.h"
#include "handle.h"
#include "lane.h"
#include "order.h"
#include "record.h"
#include "stall.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHAIN = 260 /* blocks of the longest record: a quarter of 1,024, and its ends */ };
#define LINK_CHECK_NS UINT64_C(1000000000)

struct rb_emitter {
    struct rb_handle handle;
    struct rb_pool_view view;
    struct rb_patience patience;
    uint64_t t;      /* the next record's number is at least this */
    uint64_t number; /* of the next record among this emitter's own */
    uint64_t ts_ns;  /* of the last record */
    struct rb_clock clock;
    uint64_t link_checked_ns;
    uint32_t id;
    /* The current block: where the next record begins. */
    uint32_t block;  /* RB_NONE: none */
    uint32_t offset; /* bytes in use */
    uint64_t was;    /* its word when it was acquired */
    uint64_t newest; /* number of our newest record with a byte in it; 0: none */
    bool is_fresh;   /* never had a block */
    bool is_poisoned;
    uint32_t chain[MAX_CHAIN];
    uint64_t chain_was[MAX_CHAIN];
};

static uint32_t rest_of_block(const struct rb_emitter *e) {
    return e->block == RB_NONE ? 0 : e->handle.segment.geometry.block_size - e->offset;
}

static void enter_block(struct rb_emitter *e, uint32_t block, uint64_t was, uint32_t offset) {
    e->block = block;
    e->was = was;
    e->offset = offset;
    e->newest = 0;
}

/* Room: blocks enough for `need` bytes are ours, or none more than before. */

static void restore(struct rb_emitter *e, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!rb_pool_give_back(&e->handle.segment, &e->view, e->chain[i], e->chain_was[i])) {
            e->is_poisoned = true;
        }
    }
}

/* Somebody took this emitter for dead: what else is in hand goes back. */
static int poison(struct rb_emitter *e, uint32_t chained) {
    e->is_poisoned = true;
    restore(e, chained);
    return RB_POISONED;
}

static int acquire_chain(struct rb_emitter *e, uint32_t count, struct rb_obstacle *obstacle) {
    struct rb_segment *segment = &e->handle.segment;
    int status = RB_OK;
    for (uint32_t i = 0; i < count; i++) {
        /* The whole need is checked first, or a doomed emit would discard records. */
        if (count > 1 && !rb_pool_has_room(segment, &e->view, i == 0 ? count : 1, i == 0)) {
            obstacle->gate = RB_NONE;
            status = RB_POOL_EXHAUSTED;
        } else {
            status = rb_pool_acquire(segment, &e->view, &e->chain[i], &e->chain_was[i], obstacle);
        }
        if (status != RB_OK) {
            restore(e, i);
            return status;
        }
    }
    return RB_OK;
}

static bool is_ours(const struct rb_emitter *e, uint32_t block) {
    return rb_load_relaxed_64(&e->handle.segment.words[block]) == e->view.owned;
}

static bool has_lane(const struct rb_emitter *e) {
    const struct rb_lane *lane = &e->handle.segment.lanes[e->view.lane];
    return rb_load_relaxed_32(&lane->incarnation) == rb_word_incarnation(e->view.owned);
}

/* *chained: how many blocks of e->chain the record needs besides the current one. */
static int make_room(struct rb_emitter *e, uint32_t need, uint32_t *chained,
                     struct rb_obstacle *obstacle) {
    const struct rb_geometry *g = &e->handle.segment.geometry;
    uint32_t rest = rest_of_block(e);
    *chained = 0;
    if (need <= rest) {
        return RB_OK;
    }
    if (!has_lane(e) || (rest > 0 && !is_ours(e, e->block))) {
        return poison(e, 0);
    }
    if (e->is_fresh && need <= g->block_size) {
        /* Go on where an emitter that left stopped, so that brief emitters do not eat the pool. */
        uint32_t block;
        uint64_t was;
        e->is_fresh = false;
        if (rb_pool_acquire_rest(&e->handle.segment, &e->view, need, &block, &was)) {
            enter_block(e, block, was, rb_word_used(was) * g->used_unit);
            return RB_OK;
        }
    }
    *chained = (need - rest + g->block_size - 1) / g->block_size;
    int status = acquire_chain(e, *chained, obstacle);
    e->is_fresh &= status != RB_OK;
    return status;
}

/* Write. */

static uint32_t begin_block(const struct rb_emitter *e) {
    return e->block != RB_NONE ? e->block : e->chain[0];
}

static void link_chain(struct rb_emitter *e, uint32_t count) {
    uint32_t before = e->block;
    for (uint32_t i = 0; i < count; i++) {
        if (before != RB_NONE) {
            /* Relaxed: publishing orders it; garbage is caught by the reader's floor check. */
            rb_store_relaxed_32(&e->handle.segment.next[before], e->chain[i]);
        }
        before = e->chain[i];
    }
}

static void write_record(struct rb_emitter *e, const rb_item *item) {
    const bool goes_on = e->block != RB_NONE;
    const struct rb_place place = {
        .block = begin_block(e),
        .offset = goes_on ? e->offset : 0,
        .chain = goes_on ? e->chain : e->chain + 1,
    };
    const struct rb_record_header header = {
        .length = item->length,
        .emitter = e->id,
        .ts_ns = e->ts_ns,
        .number = e->number,
        .kind = item->kind,
        .flags = item->flags,
    };
    rb_record_write(&e->handle.segment, &place, &header, item->payload);
}

/* Give back every block that is full now and stay in the last one. */

static void leave_block(struct rb_emitter *e, uint64_t as) {
    if (!rb_pool_give_back(&e->handle.segment, &e->view, e->block, as)) {
        e->is_poisoned = true;
    }
    e->block = RB_NONE;
}

static void settle_blocks(struct rb_emitter *e, uint32_t need, uint32_t chained, uint64_t t) {
    const struct rb_geometry *g = &e->handle.segment.geometry;
    for (uint32_t link = 0;;) {
        if (e->block == RB_NONE) {
            enter_block(e, e->chain[link], e->chain_was[link], 0);
            link++;
        }
        uint32_t piece = need < rest_of_block(e) ? need : rest_of_block(e);
        e->offset += piece;
        e->newest = t;
        need -= piece;
        if (e->offset == g->block_size) {
            leave_block(e, rb_word_free(t, g->used_full));
        }
        if (need == 0 && link == chained) {
            return;
        }
    }
}

static int emit_one(struct rb_emitter *e, const rb_item *item, struct rb_obstacle *obstacle,
                    uint64_t *t) {
    struct rb_segment *segment = &e->handle.segment;
    uint32_t need = (uint32_t)rb_align(sizeof(struct rb_record_header) + item->length, RB_CELL);
    uint32_t chained;
    int status = make_room(e, need, &chained, obstacle);
    if (status != RB_OK) {
        return status;
    }
    uint32_t block = begin_block(e);
    uint64_t at = (uint64_t)block << segment->block_shift;
    uint64_t cell = (at + (e->block == RB_NONE ? 0 : e->offset)) / RB_CELL;
    /* Looked at before writing and before publishing: the last guard should anybody have taken us
     * for dead. */
    if (!is_ours(e, block)) {
        return poison(e, chained);
    }
    link_chain(e, chained);
    write_record(e, item);
    if (!is_ours(e, block)) {
        return poison(e, chained);
    }
    *t = rb_order_publish(segment, e->t, cell);
    if (*t == 0) {
        restore(e, chained);
        return RB_CORRUPT;
    }
    e->t = *t + 1;
    e->number++;
    settle_blocks(e, need, chained, *t);
    return RB_OK;
}

/* The clock may step back; one emitter's records never do. */
static uint64_t read_clock(struct rb_emitter *e) {
    uint64_t now_ns = rb_clock_read(&e->clock);
    if ((int64_t)now_ns > (int64_t)e->ts_ns) { /* signed: a clock before 1970 is not far ahead */
        e->ts_ns = now_ns;
    }
    return now_ns;
}

static int check_usable(struct rb_emitter *e, uint64_t now_ns) {
    if (rb_segment_is_marked_unlinked(&e->handle.segment)) {
        return RB_UNLINKED;
    }
    /* Unsigned: after a step back of the clock it is due at once. */
    if (now_ns - e->link_checked_ns < LINK_CHECK_NS) {
        return RB_OK;
    }
    int status = rb_segment_check_linked(&e->handle.segment);
    if (status == RB_OK) { /* else the next emit is told, too */
        e->link_checked_ns = now_ns;
    }
    return status;
}

static int emit_items(struct rb_emitter *e, const rb_item *items, size_t count, size_t *published,
                      rb_stall *stall, uint64_t *first, uint64_t *last) {
    const uint64_t start = e->handle.segment.geometry.cell_count;
    struct rb_obstacle obstacle;
    int status = check_usable(e, read_clock(e));
    while (status == RB_OK && *published < count) {
        const rb_item *item = &items[*published];
        uint64_t t;
        if (item->length > rb_segment_max_payload(&e->handle.segment)) {
            status = RB_TOO_LARGE;
            break;
        }
        status = e->is_poisoned ? RB_POISONED : emit_one(e, item, &obstacle, &t);
        if (status == RB_OK) {
            *last = t - start;
            if ((*published)++ == 0) {
                *first = *last;
            }
            rb_stall_end(stall);
        } else if (status == RB_BACK_PRESSURE || status == RB_POOL_EXHAUSTED) {
            status = rb_stall_overcome(&e->handle.segment, &e->patience, &obstacle, stall);
        }
    }
    rb_wake(&e->handle.segment.hot->sleep);
    return status;
}

static int emit_and_leave(struct rb_emitter *e, int entered, const rb_item *items, size_t count,
                          size_t *published, rb_stall *stall, uint64_t *first, uint64_t *last) {
    if (entered == RB_OK) {
        entered = emit_items(e, items, count, published, stall, first, last);
        rb_handle_leave(&e->handle);
    }
    return entered;
}

int rb_emitter_emit(rb_emitter *e, const rb_item *items, size_t count, size_t *published,
                    rb_stall *stall, uint64_t *first, uint64_t *last) {
    return emit_and_leave(e, rb_handle_enter(&e->handle), items, count, published, stall, first,
                          last);
}

int rb_emitter_try_emit(rb_emitter *e, const rb_item *items, size_t count, size_t *published,
                        rb_stall *stall, uint64_t *first, uint64_t *last) {
    return emit_and_leave(e, rb_handle_try_enter(&e->handle), items, count, published, stall, first,
                          last);
}

int rb_emitter_repeat(rb_emitter *e, const rb_item *item, uint64_t count) {
    int status = RB_OK;
    for (uint64_t i = 0; i < count && status == RB_OK; i++) {
        rb_stall stall = {0};
        size_t published = 0;
        uint64_t first, last;
        status = rb_emitter_emit(e, item, 1, &published, &stall, &first, &last);
    }
    return status;
}

int rb_emitter_park(rb_emitter *e, const rb_stall *stall) {
    int status = rb_handle_sleep(&e->handle);
    if (status == RB_OK) {
        status = rb_stall_park(&e->handle.segment, &e->patience, stall);
        status = rb_handle_rise(&e->handle, status);
    }
    return status;
}

int rb_emitter_gate_name(rb_emitter *e, uint32_t gate, char name[64]) {
    int status = rb_handle_enter(&e->handle);
    if (status == RB_OK) {
        name[0] = '\0';
        if (gate < e->handle.segment.geometry.gate_count) {
            memcpy(name, e->handle.segment.gates[gate].name, RB_GATE_NAME);
            name[RB_GATE_NAME - 1] = '\0';
        }
        rb_handle_leave(&e->handle);
    }
    return status;
}

/* Open and close. */

static int open_lane(struct rb_emitter *e, int fd) {
    struct rb_segment *segment = &e->handle.segment;
    uint32_t incarnation;
    int status = segment->is_read_only ? RB_READ_ONLY : rb_lock_share(fd, rb_attach_byte());
    if (status == RB_OK) {
        status = rb_lane_open(segment, fd, &e->view.lane, &incarnation);
    }
    if (status != RB_OK) {
        return status;
    }
    e->view.owned = rb_word_owned(e->view.lane, incarnation);
    e->id = e->view.lane << 20 | (incarnation & 0xfffff);
    rb_pool_recover(segment); /* what the lane's last owner left, among others */
    e->t = rb_order_tail(segment);
    return e->t <= RB_CURSOR_MASK ? RB_OK : RB_CORRUPT;
}

int rb_emitter_open(int fd, const char *path, uint32_t policy, uint64_t limit_ns,
                    rb_emitter **emitter, char *why, size_t why_size) {
    struct rb_emitter *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return -ENOMEM;
    }
    *e = (struct rb_emitter){
        .patience = {.policy = policy, .limit_ns = limit_ns}, .block = RB_NONE, .is_fresh = true};
    e->ts_ns = (uint64_t)INT64_MIN;
    rb_clock_begin(&e->clock);
    int status = rb_handle_open(&e->handle, fd, path, why, why_size);
    if (status != RB_OK) {
        free(e);
        return status;
    }
    status = open_lane(e, fd);
    if (status != RB_OK) {
        rb_emitter_free(e);
        return status;
    }
    *emitter = e;
    return RB_OK;
}

int rb_emitter_close(rb_emitter *e) {
    int status = rb_handle_enter(&e->handle);
    if (status != RB_OK) {
        return status == RB_CLOSED ? RB_OK : status;
    }
    if (e->block != RB_NONE) {
        const struct rb_geometry *g = &e->handle.segment.geometry;
        uint32_t used = (e->offset + g->used_unit - 1) / g->used_unit;
        leave_block(e, e->newest == 0 ? e->was : rb_word_free(e->newest, used));
    }
    rb_handle_close(&e->handle);
    if (e->handle.sleepers > 0) {
        rb_wake(&e->handle.segment.hot->stall);
    }
    rb_handle_leave(&e->handle);
    return RB_OK;
}

void rb_emitter_free(rb_emitter *e) {
    rb_emitter_close(e);
    rb_handle_destroy(&e->handle);
    free(e);
}
