/* What an emitter does about an obstacle: wait, push a gate on, or give up. */
#ifndef RB_STALL_H
#define RB_STALL_H

#include "pool.h"

/* How patient one emitter is, and what it remembers across emits. */
struct rb_patience {
    uint32_t policy;
    uint64_t limit_ns; /* of one stall, under block and fail */
    struct {
        uint64_t word;
        uint64_t since_ns;
    } dead[RB_GATES]; /* gates seen dead, and since when */
};

/* RB_OK: try again at once. RB_WAIT: tell the notices, park, try again. RB_BACK_PRESSURE and
 * RB_POOL_EXHAUSTED: give up. */
int rb_stall_overcome(struct rb_segment *segment, struct rb_patience *patience,
                      const struct rb_obstacle *obstacle, rb_stall *stall);

/* Sleeps until the obstacle may be gone; at most one slice. */
int rb_stall_park(struct rb_segment *segment, const struct rb_patience *patience,
                  const rb_stall *stall);

/* A record was published: the next obstacle begins a stall of its own. */
void rb_stall_end(rb_stall *stall);

#endif
