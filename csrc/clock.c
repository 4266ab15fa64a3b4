#define _POSIX_C_SOURCE 200809L
#include "clock.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t rb_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

uint64_t rb_realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

#ifdef __x86_64__
#define WINDOW_NS UINT64_C(1000000)
#define SHARP_NS UINT64_C(2000)          /* an answer that took longer says little */
#define SHORTEST_TICKS UINT64_C(1000000) /* too short a stretch tells no rate */
#define LONGEST_NS UINT64_C(1000000000)  /* in a longer one the clock may have been set */
#define TOLERANCE 1024                   /* parts of a rate by which the next may differ */
static const char SOURCE[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
static const char TRUSTED[] = "tsc\n";

void rb_clock_begin(struct rb_clock *clock) {
    char source[sizeof TRUSTED] = "";
    int fd = open(SOURCE, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, source, sizeof source);
    if (fd >= 0) {
        close(fd);
    }
    *clock = (struct rb_clock){.counts = length == sizeof TRUSTED - 1 &&
                                         memcmp(source, TRUSTED, sizeof TRUSTED - 1) == 0};
}

/* Takes over the rate of a stretch; whether it is the one there was before. */
static bool is_confirmed(struct rb_clock *clock, uint64_t ticks, uint64_t ns) {
    const uint64_t before = clock->rate;
    clock->rate = (ns << 32) / ticks;
    const uint64_t apart = clock->rate > before ? clock->rate - before : before - clock->rate;
    return clock->rate > 0 && apart <= clock->rate / TOLERANCE;
}

uint64_t rb_clock_ask(struct rb_clock *clock) {
    if (!clock->counts) {
        return rb_realtime_ns();
    }
    const uint64_t before = __rdtsc();
    const uint64_t ns = rb_realtime_ns();
    const uint64_t took = __rdtsc() - before;
    const uint64_t ticks = before + took / 2;
    const uint64_t ticks_passed = ticks - clock->ticks;
    const uint64_t ns_passed = ns - clock->ns; /* huge if the clock was set back */
    if (ticks_passed < SHORTEST_TICKS) {
        return ns; /* the stretch grows */
    }
    if (ns_passed <= LONGEST_NS) {
        const bool is_good =
            is_confirmed(clock, ticks_passed, ns_passed) && took * clock->rate >> 32 <= SHARP_NS;
        clock->window = is_good ? (WINDOW_NS << 32) / clock->rate : 0;
    } else if (took * clock->rate >> 32 > SHARP_NS) {
        clock->window = 0;
    }
    clock->ticks = ticks;
    clock->ns = ns;
    return ns;
}
#else
void rb_clock_begin(struct rb_clock *clock) { *clock = (struct rb_clock){.counts = false}; }

uint64_t rb_clock_ask(struct rb_clock *clock) {
    (void)clock;
    return rb_realtime_ns();
}
#endif
