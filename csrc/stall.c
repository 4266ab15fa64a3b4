/* Stalls: what an emitter does about an obstacle.
 *
 * Two things can be in the way of a block. A gate that is a whole ring behind: the emitter's policy
 * says whether it is waited for, pushed on, or reported. Or no FREE block: blocks in the hands of
 * running emitters come back within microseconds, so that every policy has patience for it; blocks
 * of stopped emitters may not come back at all.
 *
 * A gate that was pushed on after a wait is not waited for again until it has moved by itself: the
 * word that emitters left there is kept beside it. The gate of a dead process stands for a grace,
 * in case a successor comes, and is then taken out.
 */
#define _GNU_SOURCE
#include "stall.h"

#include "clock.h"
#include "gate.h"
#include "lane.h"
#include "order.h"
#include "wait.h"

#include <time.h>
#include <unistd.h>

/* How long a dead gate stands, where the policy itself sets no limit. */
#define GRACE_NS UINT64_C(5000000000)
/* The least patience with the pool. */
#define POOL_PATIENCE_NS UINT64_C(100000000)
#define POOL_SLICE_NS 1000000L

static bool is_dead(const struct rb_segment *segment, uint32_t gate) {
    int probe;
    bool held = true;
    if (rb_segment_open_probe(segment, &probe) != RB_OK) {
        return false; /* without proof everybody counts as alive */
    }
    int status = rb_lock_probe(probe, rb_gate_byte(gate), &held);
    close(probe);
    return status == RB_OK && !held;
}

/* Dead, and seen so with this very word for the whole grace. */
static bool is_dead_for_good(const struct rb_segment *segment, struct rb_patience *patience,
                             const struct rb_obstacle *obstacle, uint64_t now_ns, rb_stall *stall) {
    if (!is_dead(segment, obstacle->gate)) {
        return false;
    }
    if ((stall->told & RB_NOTICE_DEAD_GATE) == 0) {
        stall->notice |= RB_NOTICE_DEAD_GATE;
        stall->told |= RB_NOTICE_DEAD_GATE;
    }
    if (patience->dead[obstacle->gate].word != obstacle->word) {
        patience->dead[obstacle->gate].word = obstacle->word;
        patience->dead[obstacle->gate].since_ns = now_ns;
    }
    uint64_t grace_ns = patience->policy == RB_POLICY_BLOCK ? patience->limit_ns : GRACE_NS;
    return now_ns - patience->dead[obstacle->gate].since_ns >= grace_ns;
}

static bool is_waited_for(const struct rb_segment *segment, const struct rb_patience *patience,
                          const struct rb_obstacle *obstacle) {
    return patience->policy == RB_POLICY_FAIL ||
           (patience->policy == RB_POLICY_BLOCK &&
            !rb_gate_is_pushed(segment, obstacle->gate, obstacle->word));
}

static int overcome_gate(struct rb_segment *segment, struct rb_patience *patience,
                         const struct rb_obstacle *obstacle, uint64_t now_ns, rb_stall *stall) {
    stall->gate_word = obstacle->word;
    stall->needed = obstacle->needed;
    stall->lag = rb_order_tail(segment) - rb_gate_cursor(obstacle->word);
    if (!is_waited_for(segment, patience, obstacle)) {
        rb_gate_push(segment, obstacle->gate, obstacle->word, obstacle->needed + 1);
        return RB_OK;
    }
    if (is_dead_for_good(segment, patience, obstacle, now_ns, stall)) {
        rb_gate_bury(segment, obstacle->gate, obstacle->word);
    } else if (now_ns - stall->since_ns < patience->limit_ns) {
        return RB_WAIT;
    } else if (patience->policy == RB_POLICY_FAIL) {
        return RB_BACK_PRESSURE;
    } else {
        rb_gate_push(segment, obstacle->gate, obstacle->word, obstacle->needed + 1);
    }
    /* Told before another gate can be in the way; parking returns at once, the gate has moved. */
    stall->notice |= RB_NOTICE_PUSHED;
    return RB_WAIT;
}

int rb_stall_overcome(struct rb_segment *segment, struct rb_patience *patience,
                      const struct rb_obstacle *obstacle, rb_stall *stall) {
    uint64_t now_ns = rb_monotonic_ns();
    if (stall->since_ns == 0) {
        stall->since_ns = now_ns;
    }
    stall->gate = obstacle->gate;
    if (obstacle->gate != RB_NONE) {
        return overcome_gate(segment, patience, obstacle, now_ns, stall);
    }
    uint64_t limit_ns =
        patience->limit_ns < POOL_PATIENCE_NS ? POOL_PATIENCE_NS : patience->limit_ns;
    return now_ns - stall->since_ns < limit_ns ? RB_WAIT : RB_POOL_EXHAUSTED;
}

static int park_at_gate(struct rb_segment *segment, const rb_stall *stall, uint64_t limit_ns) {
    uint64_t word = 0;
    uint32_t announced = rb_park_announce(&segment->hot->stall);
    /* [smallest:A], the second look */
    if (rb_gate_smallest(segment, &word) == RB_NONE || word != stall->gate_word) {
        return RB_OK;
    }
    return rb_park(&segment->hot->stall, announced, limit_ns);
}

int rb_stall_park(struct rb_segment *segment, const struct rb_patience *patience,
                  const rb_stall *stall) {
    if (stall->gate == RB_NONE) {
        /* Nobody announces that blocks are free again: stopped emitters cannot. */
        nanosleep(&(struct timespec){.tv_nsec = POOL_SLICE_NS}, NULL);
        return RB_OK;
    }
    uint64_t passed_ns = rb_monotonic_ns() - stall->since_ns;
    uint64_t left_ns = patience->limit_ns > passed_ns ? patience->limit_ns - passed_ns : 0;
    return park_at_gate(segment, stall, left_ns < RB_SLICE_NS ? left_ns : RB_SLICE_NS);
}

void rb_stall_end(rb_stall *stall) {
    stall->since_ns = 0;
    stall->told = 0;
}
