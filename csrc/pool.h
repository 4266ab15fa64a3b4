/* The pool of blocks: acquire, give back, recover. */
#ifndef RB_POOL_H
#define RB_POOL_H

#include "segment.h"

enum { RB_CANDIDATES = 32 };

/* An emitter's private view of the pool. */
struct rb_pool_view {
    uint64_t owned; /* the word of blocks that this emitter owns */
    uint32_t lane;
    uint32_t start;                 /* where the next pass begins */
    uint32_t passes;                /* made so far */
    uint32_t count;                 /* candidates left */
    uint32_t blocks[RB_CANDIDATES]; /* FREE when seen; oldest last */
    uint64_t words[RB_CANDIDATES];
};

/* What is in the way of acquiring a block. */
struct rb_obstacle {
    uint32_t gate; /* RB_NONE: no FREE block */
    uint64_t word;
    uint64_t needed; /* the gate must pass this number */
};

/* Acquires one whole block; its FREE word before goes to *was. RB_OK, RB_CORRUPT, or
 * with *obstacle RB_BACK_PRESSURE or RB_POOL_EXHAUSTED. */
int rb_pool_acquire(struct rb_segment *segment, struct rb_pool_view *view, uint32_t *block,
                    uint64_t *was, struct rb_obstacle *obstacle);

/* Acquires a part-filled block with room for `need` bytes: nothing is overwritten. False if the
 * pool has none. */
bool rb_pool_acquire_rest(struct rb_segment *segment, struct rb_pool_view *view, uint32_t need,
                          uint32_t *block, uint64_t *was);

/* Gives an owned block back as the word `as`; false if it is no longer this emitter's. */
bool rb_pool_give_back(struct rb_segment *segment, const struct rb_pool_view *view, uint32_t block,
                       uint64_t as);

/* True if `blocks` more may be taken and the reserve for small emits stays; see pool.c. `steady`:
 * counted over two passes. */
bool rb_pool_has_room(struct rb_segment *segment, struct rb_pool_view *view, uint32_t blocks,
                      bool steady);

/* Frees the blocks of dead emitters. */
void rb_pool_recover(struct rb_segment *segment);

uint32_t rb_pool_count_free(const struct rb_segment *segment);

#endif
