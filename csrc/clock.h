/* The wall clock of an emitter, at the price of the processor's counter.
 *
 * Asking the kernel takes longer than all the rest of an emit. So an emitter that emits without
 * pause asks once a millisecond, and goes on from that answer by the processor's counter at the
 * rate at which both went on before. Whoever emits now and then asks each time.
 *
 * The error is at most 5 us: 2 of an answer that took no longer to get, the rest of a rate that is
 * used only when it came out the same twice in a row, within a thousandth. A clock that is set is
 * noticed after at most a millisecond. Used only where the kernel itself trusts the counter (clock
 * source `tsc`); else, and on other processors, where the kernel's clock is cheap, it is asked each
 * time.
 */
#ifndef RB_CLOCK_H
#define RB_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

/* Of one thread at a time. */
struct rb_clock {
    uint64_t ticks;  /* of the counter when the kernel was asked last */
    uint64_t ns;     /* what it said */
    uint64_t rate;   /* ns per tick, in 2^-32; 0: unknown */
    uint64_t window; /* ticks after that answer in which the rate is good for more; 0: none */
    bool counts;     /* there is a counter to go by */
};

uint64_t rb_monotonic_ns(void);
uint64_t rb_realtime_ns(void);

void rb_clock_begin(struct rb_clock *clock);
/* Not for the fast path: asks the kernel. */
uint64_t rb_clock_ask(struct rb_clock *clock);

/* CLOCK_REALTIME in ns. */
static inline uint64_t rb_clock_read(struct rb_clock *clock) {
#ifdef __x86_64__
    if (clock->window != 0) {
        uint64_t passed = __rdtsc() - clock->ticks;
        if (passed < clock->window) {
            return clock->ns + (passed * clock->rate >> 32);
        }
    }
#endif
    return rb_clock_ask(clock);
}

#endif
