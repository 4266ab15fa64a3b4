/* The order ring.
 *
 * Slot t mod N holds t (its high bits) and the cell of record t (its low bits). Publishing is one
 * compare-and-swap on that slot from an older lap to this one; before it the record does not exist,
 * after it every subscriber finds it at number t. A slot's value only ever grows, so a stale
 * expectation can never match again.
 *
 * The hint is a lower bound of the tail that spares newcomers the walk. Every eighth publish moves
 * it; a publisher killed before it did leaves the next one a few slots more to walk.
 */
#include "order.h"

static void advance_hint(struct rb_segment *segment, uint64_t to) {
    uint64_t hint = rb_load_relaxed_64(&segment->hot->hint);
    while (hint < to) {
        /* [hint:A] acq_rel; pairs with [hint:B]: publish(t-1) happens before publish(t) also when t
         * was learnt from the hint */
        if (rb_cas_acq_rel_64(&segment->hot->hint, &hint, to)) {
            return;
        }
    }
}

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

uint64_t rb_order_publish(struct rb_segment *segment, uint64_t t, uint64_t cell) {
    const uint64_t mask = segment->cell_mask;
    for (;;) {
        uint64_t *slot = &segment->order[t & mask];
        /* [publish:B] acquire; pairs with [publish:A] of the record that has this number */
        uint64_t found = rb_load_acquire_64(slot);
        /* [publish:A] seq_cst: release for the record's bytes, pairs with [read:A]; seq_cst against
         * [park:B], so that a sleeper is either seen by [wake:A] or sees this record */
        if ((found & ~mask) < (t & ~mask) && rb_cas_seq_cst_64(slot, &found, (t & ~mask) | cell)) {
            break;
        }
        /* Somebody else has t. [hint:B] acquire; pairs with [hint:A] */
        if ((found & ~mask) >= (t & ~mask)) {
            uint64_t next = later(rb_slot_number(found, t & mask, mask) + 1,
                                  rb_load_acquire_64(&segment->hot->hint));
            if (next <= t || next > RB_CURSOR_MASK) {
                return 0; /* no number that a ring reaches: end, or we would try for ever */
            }
            t = next;
        }
    }
    if ((t + 1) % RB_HINT_STEP == 0) {
        advance_hint(segment, t + 1);
    }
    return t;
}

uint64_t rb_order_tail(const struct rb_segment *segment) {
    const uint64_t mask = segment->cell_mask;
    /* [hint:B] acquire; pairs with [hint:A] */
    uint64_t t = rb_load_acquire_64(&segment->hot->hint);
    for (;;) {
        /* [publish:B] acquire; pairs with [publish:A] */
        uint64_t found = rb_load_acquire_64(&segment->order[t & mask]);
        if ((found & ~mask) < (t & ~mask)) {
            return t;
        }
        uint64_t next = rb_slot_number(found, t & mask, mask) + 1;
        if (next <= t) {
            return t; /* no number that a ring reaches: the file is damaged; end anyway */
        }
        t = next;
    }
}

uint64_t rb_order_floor(const struct rb_segment *segment) {
    /* [floor:B] acquire; pairs with [floor:A] */
    return rb_floor_of(rb_load_acquire_64(&segment->hot->floor));
}

bool rb_order_raise_floor(struct rb_segment *segment, uint64_t seen, uint64_t floor) {
    /* [floor:A] acq_rel; pairs with [floor:B], and through the chain of read-modify-writes with
     * [register:B]: a gate that registered since `seen` makes this fail */
    return rb_cas_acq_rel_64(&segment->hot->floor, &seen, rb_floor_moved(seen, floor));
}
