/* To an instruction boundary.
 *
 * The first walk steps through the whole region and notes where each instruction lies. Later walks
 * need not step from the begin: a hardware breakpoint on an instruction executed shortly before the
 * boundary, and seldom until then, takes the child most of the way at full speed, and single steps
 * do the rest. Where the processor or the kernel gives no breakpoint, all of it is stepped.
 *
 * The child need not take the same way each time (the clock, the C library). Where a walk ended is
 * therefore compared with the first walk's note; a boundary it is in any case.
 */
#define _GNU_SOURCE
#include "walk.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

enum {
    MAX_STEPS = 1 << 17,
    MAX_PLACES = 1 << 14, /* different instructions */
    HIT_COST = 3,         /* a breakpoint's stop, in single steps */
};

static uint64_t places[MAX_STEPS]; /* of the instruction at each boundary */
static uint32_t hits[MAX_STEPS];   /* how often it was come to until then; 0: no breakpoint there */
static uint32_t noted;

#ifdef __x86_64__
static uint64_t place_of(pid_t child) {
    return (uint64_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), NULL);
}

static bool set_breakpoint(pid_t child, uint64_t place) {
    const uint64_t control = place == 0 ? 0 : 1; /* number 0, when executed, one byte */
    return ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), place) == 0 &&
           ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), control) == 0;
}
#else
static uint64_t place_of(pid_t child) {
    (void)child;
    return 0;
}

static bool set_breakpoint(pid_t child, uint64_t place) {
    (void)child;
    (void)place;
    return false;
}
#endif

bool is_at_mark(struct scene *scene, pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_TRACING) {
        exit(NO_TRACING);
    }
    if (!WIFSTOPPED(status)) {
        complain(scene, "the child ended early, wait status %#x", (unsigned)status);
        return true;
    }
    if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP) {
        complain(scene, "the child got signal %d", WSTOPSIG(status));
        return true;
    }
    return WSTOPSIG(status) == SIGSTOP;
}

static bool one_step(struct scene *scene, pid_t child) {
    if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0) {
        complain(scene, "stepping: %s", strerror(errno));
        return true;
    }
    return is_at_mark(scene, child);
}

/* An instruction that repeats itself stops a stepper at each turn and a breakpoint but once. */
static void count_hits(void) {
    static uint64_t different[MAX_PLACES];
    static uint32_t count[MAX_PLACES];
    static bool repeats[MAX_PLACES];
    uint32_t known = 0;
    for (uint32_t i = 0; i < noted; i++) {
        uint32_t p = 0;
        while (p < known && different[p] != places[i]) {
            p++;
        }
        if (p == MAX_PLACES) {
            continue; /* too many: without a breakpoint there */
        }
        if (p == known) {
            different[known++] = places[i];
            repeats[p] = i == 0;
        }
        repeats[p] = repeats[p] || (i > 0 && places[i - 1] == places[i]);
        count[p]++;
        hits[i] = repeats[p] ? 0 : count[p];
    }
}

uint32_t walk_first(struct scene *scene, pid_t child) {
    bool at_end = false;
    for (noted = 0; !at_end && noted < MAX_STEPS; noted++) {
        places[noted] = place_of(child);
        at_end = one_step(scene, child);
    }
    if (set_breakpoint(child, places[0]) && places[0] != 0) {
        count_hits();
    }
    return noted;
}

/* The cheapest boundary to be taken to by a breakpoint; 0: none is cheaper than stepping. */
static uint32_t choose(uint32_t boundary) {
    uint32_t best = 0;
    uint64_t least = boundary;
    for (uint32_t at = boundary; at > 0 && boundary - at < least; at--) {
        uint64_t cost = (uint64_t)hits[at] * HIT_COST + (boundary - at);
        if (at < noted && hits[at] > 0 && cost < least) {
            best = at;
            least = cost;
        }
    }
    return best;
}

static bool run_to(struct scene *scene, pid_t child, uint32_t at) {
    bool at_end = false;
    if (!set_breakpoint(child, places[at])) {
        complain(scene, "a breakpoint: %s", strerror(errno));
        return true;
    }
    for (uint32_t i = 0; i < hits[at] && !at_end; i++) {
        ptrace(PTRACE_CONT, child, NULL, NULL);
        at_end = is_at_mark(scene, child);
    }
    if (!scene->failed) {
        set_breakpoint(child, 0);
    }
    return at_end;
}

bool walk_to(struct scene *scene, pid_t child, uint32_t boundary, bool *astray) {
    uint32_t at = choose(boundary);
    bool at_end = at > 0 && run_to(scene, child, at);
    for (; at < boundary && !at_end; at++) {
        at_end = one_step(scene, child);
    }
    *astray = at_end ? boundary + 1 < noted : place_of(child) != places[boundary];
    return at_end;
}
