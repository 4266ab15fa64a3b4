/* The pool of blocks.
 *
 * A block is FREE (it may still hold kept records) or OWNED by a lane. It is taken by one
 * compare-and-swap, given up by its owner, and never taken from the living: only the kernel's proof
 * of death lets anybody else free it. A FREE block may be overwritten only when the floor is above
 * every record in it.
 *
 * Which FREE block is taken matters for retention only, never for correctness: candidates are
 * guesses from a pass over all words, oldest records first.
 *
 * Reserve: an emit that needs two blocks or more takes one only while enough FREE ones remain for
 * everybody's small emits (three for each lane). Without it, a few emitters stopped inside huge
 * emits could own the whole pool.
 */
#include "pool.h"

#include "gate.h"
#include "lane.h"
#include "order.h"

#include <unistd.h>

enum { RECOVER_EVERY = 256 /* passes */ };

static uint64_t load_word(const struct rb_segment *segment, uint32_t block) {
    /* [word:B] acquire; pairs with [give:A] */
    return rb_load_acquire_64(&segment->words[block]);
}

/* FREE blocks, counted no further than `most`. */
static uint32_t count_any(const struct rb_segment *segment, uint32_t most) {
    uint32_t count = 0;
    for (uint32_t b = 0; b < segment->geometry.block_count && count < most; b++) {
        count += !rb_word_is_owned(rb_load_relaxed_64(&segment->words[b]));
    }
    return count;
}

uint32_t rb_pool_count_free(const struct rb_segment *segment) {
    return count_any(segment, segment->geometry.block_count);
}

/* Keeps the candidates sorted, newest first, so that the oldest is taken from the end. */
static void offer(struct rb_pool_view *view, uint32_t block, uint64_t word) {
    uint32_t at = view->count;
    if (view->count == RB_CANDIDATES) {
        if (rb_word_maxseq(word) >= rb_word_maxseq(view->words[0])) {
            return;
        }
        for (at = 0;
             at + 1 < RB_CANDIDATES && rb_word_maxseq(view->words[at + 1]) > rb_word_maxseq(word);
             at++) {
            view->words[at] = view->words[at + 1];
            view->blocks[at] = view->blocks[at + 1];
        }
    } else {
        for (; at > 0 && rb_word_maxseq(view->words[at - 1]) < rb_word_maxseq(word); at--) {
            view->words[at] = view->words[at - 1];
            view->blocks[at] = view->blocks[at - 1];
        }
        view->count++;
    }
    view->words[at] = word;
    view->blocks[at] = block;
}

/* One pass; returns the number of FREE blocks. */
static uint32_t pass(struct rb_segment *segment, struct rb_pool_view *view) {
    const uint32_t count = segment->geometry.block_count, start = view->start;
    const uint64_t *words = segment->words; /* in a register, whatever is loaded meanwhile */
    uint32_t free_count = 0;
    view->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = (start + i) & (count - 1);
        /* [word:B] acquire; pairs with [give:A] */
        uint64_t word = rb_load_acquire_64(&words[block]);
        if (!rb_word_is_owned(word)) {
            free_count++;
            offer(view, block, word);
        }
    }
    return free_count;
}

/* Stopped in the midst of a pass and continued, an emitter would choose among the blocks that it had
 * not come to yet, and give up whatever is older than they are. */
static uint32_t look(struct rb_segment *segment, struct rb_pool_view *view) {
    const uint64_t floor = rb_order_floor(segment);
    uint32_t free_count = pass(segment, view);
    return rb_order_floor(segment) == floor ? free_count : pass(segment, view);
}

static bool refill(struct rb_segment *segment, struct rb_pool_view *view) {
    uint32_t free_count = look(segment, view);
    view->passes++;
    if (free_count < segment->geometry.block_count / 2 || view->passes % RECOVER_EVERY == 0) {
        rb_pool_recover(segment);
        look(segment, view);
    }
    return view->count > 0;
}

static bool take(struct rb_segment *segment, struct rb_pool_view *view, uint32_t block,
                 uint64_t word) {
    /* [take:A] acq_rel; pairs with [give:A]: the last owner is done with the block */
    if (!rb_cas_acq_rel_64(&segment->words[block], &word, view->owned)) {
        return false;
    }
    /* [take:B] release fence; pairs with [read:B]: whoever sees a byte that we are about to write
     * also sees the floor that we needed to write it */
    rb_fence_release();
    view->start = (block + 1) & (segment->geometry.block_count - 1);
    return true;
}

int rb_pool_acquire(struct rb_segment *segment, struct rb_pool_view *view, uint32_t *block,
                    uint64_t *was, struct rb_obstacle *obstacle) {
    for (;;) {
        if (view->count == 0 && !refill(segment, view)) {
            obstacle->gate = RB_NONE;
            return RB_POOL_EXHAUSTED;
        }
        uint64_t word = view->words[view->count - 1];
        uint64_t newest = rb_word_maxseq(word);
        /* [floor:B] acquire; pairs with [floor:A] and [register:B] */
        uint64_t floor = rb_load_acquire_64(&segment->hot->floor);
        if (newest >= rb_floor_of(floor)) {
            if (load_word(segment, view->blocks[view->count - 1]) != word) {
                view->count--; /* taken since: do not give up records for nothing */
                continue;
            }
            if (newest >= rb_order_tail(segment) || newest >= RB_CURSOR_MASK) {
                return RB_CORRUPT; /* no emitter gave that word: raising the floor would end all,
                                    * and nothing is above the last number */
            }
            obstacle->gate = rb_gate_smallest(segment, &obstacle->word);
            if (obstacle->gate != RB_NONE && newest >= rb_gate_cursor(obstacle->word)) {
                obstacle->needed = newest;
                view->count = 0; /* others go on meanwhile: look anew next time */
                return RB_BACK_PRESSURE;
            }
            if (!rb_order_raise_floor(segment, floor, newest + 1)) {
                continue;
            }
        }
        view->count--;
        if (take(segment, view, view->blocks[view->count], word)) {
            *block = view->blocks[view->count];
            *was = word;
            return RB_OK;
        }
    }
}

bool rb_pool_acquire_rest(struct rb_segment *segment, struct rb_pool_view *view, uint32_t need,
                          uint32_t *block, uint64_t *was) {
    const struct rb_geometry *g = &segment->geometry;
    for (uint32_t i = 0; i < g->block_count; i++) {
        uint32_t b = (view->start + i) & (g->block_count - 1);
        uint64_t word = load_word(segment, b);
        uint32_t used = rb_word_used(word);
        if (!rb_word_is_owned(word) && used > 0 && used < g->used_full &&
            g->block_size - used * g->used_unit >= need && take(segment, view, b, word)) {
            *block = b;
            *was = word;
            return true;
        }
    }
    return false;
}

bool rb_pool_give_back(struct rb_segment *segment, const struct rb_pool_view *view, uint32_t block,
                       uint64_t as) {
    uint64_t owned = view->owned;
    /* [give:A] acq_rel; pairs with [take:A]. A swap and not a store: failing means that somebody
     * took this emitter for dead. */
    return rb_cas_acq_rel_64(&segment->words[block], &owned, as);
}

/* The same of those whose word is the same in two passes: blocks in somebody's swift hands do not
 * count. */
static uint32_t count_steady(const struct rb_segment *segment, uint32_t most) {
    uint64_t seen[RB_MAX_BLOCKS];
    uint32_t count = 0;
    for (uint32_t b = 0; b < segment->geometry.block_count; b++) {
        seen[b] = load_word(segment, b);
    }
    for (uint32_t b = 0; b < segment->geometry.block_count && count < most; b++) {
        count += !rb_word_is_owned(seen[b]) && load_word(segment, b) == seen[b];
    }
    return count;
}

static bool has_free(const struct rb_segment *segment, uint32_t wanted, bool steady) {
    return (steady ? count_steady(segment, wanted) : count_any(segment, wanted)) >= wanted;
}

bool rb_pool_has_room(struct rb_segment *segment, struct rb_pool_view *view, uint32_t blocks,
                      bool steady) {
    const uint32_t wanted = blocks + 3 * segment->geometry.lane_count; /* and a reserve */
    if (has_free(segment, wanted, steady)) {
        return true;
    }
    rb_pool_recover(segment);
    view->count = 0;
    return has_free(segment, wanted, steady);
}

void rb_pool_recover(struct rb_segment *segment) {
    int probe;
    if (rb_segment_open_probe(segment, &probe) != RB_OK) {
        return; /* without proof everybody counts as alive */
    }
    for (uint32_t b = 0; b < segment->geometry.block_count; b++) {
        uint64_t word = load_word(segment, b);
        if (!rb_word_is_owned(word) ||
            !rb_lane_is_dead(segment, probe, rb_word_lane(word), rb_word_incarnation(word))) {
            continue;
        }
        /* [recover:A] The proof first, then the tail, for each block anew: the tail then is above
         * everything that the dead published, and a tail older than the proof could be below. */
        uint64_t newest = rb_order_tail(segment) - 1;
        rb_cas_acq_rel_64(&segment->words[b], &word,
                          rb_word_free(newest, segment->geometry.used_full));
    }
    close(probe);
}
