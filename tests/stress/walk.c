/* To an instruction boundary.
 *
 * The first walk steps through the whole region and notes where each instruction lies. Later walks
 * need not take every step: a hardware breakpoint on an instruction that does not come up before
 * takes the child there at full speed, and a few such hops and single steps lead to any boundary.
 * Where the processor or the kernel gives no breakpoint, all of it is stepped.
 *
 * The child need not take the same way each time (the clock, the C library). Where a walk ended is
 * therefore compared with the first walk's note; a boundary it is in any case.
 */
#define _GNU_SOURCE
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_STEPS = 1 << 17,
    MAX_PLACES = 1 << 14, /* different instructions */
    STEPS_OF_A_HOP = 6,   /* a hop costs about as much as so many single steps */
    LONG_REPETITION = 64,
};

/* In previous[]. */
#define NEVER INT32_MAX /* no place to hop to */
#define NOWHERE (-1)    /* it did not come up before */

static uint64_t places[MAX_STEPS];  /* of the instruction at each boundary */
static int32_t previous[MAX_STEPS]; /* the boundary before with the same instruction */
static uint32_t noted;
static uint32_t turn_at; /* the boundary at which others overtake the child */
static bool has_breakpoints;

#ifdef __x86_64__
extern const uint8_t __executable_start[];
extern const uint8_t etext[];

static uint64_t place_of(pid_t child) {
    return (uint64_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), NULL);
}

static bool set_breakpoint(pid_t child, uint64_t place) {
    const uint64_t control = place == 0 ? 0 : 1; /* number 0, when executed, one byte */
    return ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), place) == 0 &&
           ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), control) == 0;
}

/* A compare-and-swap of the library (not of the C library). The child is a fork, so that its
 * instructions can be looked at here. */
static bool is_swap(uint64_t place) {
    const uint8_t *code = (const uint8_t *)(uintptr_t)place;
    if (code < __executable_start || code >= etext || *code != 0xf0) {
        return false;
    }
    code++;
    code += (*code & 0xf0) == 0x40; /* a prefix for 64 bits */
    return code[0] == 0x0f && code[1] == 0xb1;
}

static bool is_swap_won(pid_t child) {
    enum { ZERO_FLAG = 1 << 6 };
    return ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.eflags), NULL) & ZERO_FLAG;
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

static bool is_swap(uint64_t place) {
    (void)place;
    return false;
}

static bool is_swap_won(pid_t child) {
    (void)child;
    return false;
}
#endif

/* Waiting for the child. */

static bool is_asleep(pid_t child) {
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    const char *state = got > 0 ? strrchr(text, ')') : NULL;
    return state != NULL && strncmp(state, ") S", 3) == 0;
}

/* If it falls asleep meanwhile, what it sleeps for is made to happen. */
static void rouse_if_asleep(struct scene *scene, pid_t child, int *status) {
    enum { LOOK_EVERY = 32 };
    for (uint32_t i = 1; waitpid(child, status, WNOHANG | __WALL) == 0; i++) {
        sched_yield();
        if (i % LOOK_EVERY == 0 && is_asleep(child)) {
            scene->may_sleep = false;
            scene->what->when_asleep(scene);
            waitpid(child, status, 0);
            return;
        }
    }
}

static int wait_for(struct scene *scene, pid_t child) {
    int status = 0;
    if (scene->what->when_asleep != NULL && scene->may_sleep) {
        rouse_if_asleep(scene, child, &status);
    } else if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    return status;
}

bool is_at_mark(struct scene *scene, pid_t child) {
    int status = wait_for(scene, child);
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

/* The first walk. */

static bool one_step(struct scene *scene, pid_t child) {
    if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0) {
        complain(scene, "stepping: %s", strerror(errno));
        return true;
    }
    return is_at_mark(scene, child);
}

/* Before the swap that is to be lost; else as soon as the child waits. */
static bool is_turn(const struct scene *scene, uint64_t place) {
    static uint32_t swaps;
    swaps = noted == 0 ? 0 : swaps;
    swaps += is_swap(place);
    if (scene->what->overtake == NULL || turn_at != UINT32_MAX) {
        return false;
    }
    return scene->what->loses > 0 ? swaps == scene->what->loses
                                  : __atomic_load_n(&scene->report->is_waiting, __ATOMIC_SEQ_CST);
}

static bool overtake(struct scene *scene, pid_t child) {
    const bool is_swap_next = is_swap(place_of(child));
    scene->what->overtake(scene);
    bool at_end = one_step(scene, child);
    if (scene->what->loses > 0 && is_swap_next && !at_end && is_swap_won(child)) {
        complain(scene, "the swap that was to be lost is won");
    }
    return at_end;
}

/* An instruction that repeats itself stops a stepper at each turn and a breakpoint but once. */
static void note_repetitions(void) {
    static uint64_t different[MAX_PLACES];
    static int32_t last[MAX_PLACES];
    static bool repeats[MAX_PLACES];
    static uint32_t which[MAX_STEPS];
    uint32_t known = 0;
    for (uint32_t i = 0; i < noted; i++) {
        uint32_t p = 0;
        while (p < known && different[p] != places[i]) {
            p++;
        }
        which[i] = p;
        previous[i] = NEVER;
        if (p == MAX_PLACES) {
            continue; /* too many: without a breakpoint there */
        }
        if (p == known) {
            different[known++] = places[i];
            last[p] = NOWHERE;
            repeats[p] = false;
        }
        previous[i] = last[p];
        repeats[p] = repeats[p] || last[p] == (int32_t)i - 1;
        last[p] = (int32_t)i;
    }
    for (uint32_t i = 0; i < noted; i++) {
        if (which[i] < MAX_PLACES && repeats[which[i]]) {
            previous[i] = NEVER;
        }
    }
}

uint32_t walk_first(struct scene *scene, pid_t child, uint32_t *from) {
    bool at_end = false;
    turn_at = UINT32_MAX;
    for (noted = 0; !at_end && !scene->failed && noted < MAX_STEPS; noted++) {
        places[noted] = place_of(child);
        if (is_turn(scene, places[noted])) {
            turn_at = noted;
            at_end = overtake(scene, child);
        } else {
            at_end = one_step(scene, child);
        }
    }
    if (scene->what->overtake != NULL && turn_at == UINT32_MAX) {
        complain(scene, "there was no chance to overtake it");
    }
    *from = scene->what->loses > 0 ? turn_at : 0;
    has_breakpoints = places[0] != 0 && set_breakpoint(child, places[0]);
    note_repetitions();
    return noted;
}

/* Later walks. */

/* The best last hop to a boundary from anywhere between two others: with the longest way on which
 * its instruction does not come up. */
static uint32_t best_hop(uint32_t after, uint32_t until) {
    uint32_t best = until;
    for (uint32_t at = until; at > after; at--) {
        if (previous[at] < previous[best]) {
            best = at;
        }
    }
    return best;
}

/* Hops from `at` to shortly before `boundary`, in hops[] from the last to the first; how many. */
static uint32_t plan(uint32_t at, uint32_t boundary, uint32_t *hops) {
    uint32_t count = 0;
    uint32_t until = boundary;
    uint32_t after = boundary - at > STEPS_OF_A_HOP ? boundary - STEPS_OF_A_HOP : at;
    while (after > at && previous[best_hop(after, boundary)] == NEVER) {
        after -= after - at < LONG_REPETITION ? after - at : LONG_REPETITION;
    }
    while (has_breakpoints && until - at > STEPS_OF_A_HOP) {
        const uint32_t hop = best_hop(after, until);
        if (previous[hop] == NEVER || hop <= after) {
            return 0; /* among instructions that repeat themselves: step all the way */
        }
        hops[count++] = hop;
        if (previous[hop] < (int32_t)at) {
            return count;
        }
        after = (uint32_t)previous[hop];
        until = hop - 1;
    }
    return count;
}

static bool hop_to(struct scene *scene, pid_t child, uint32_t to) {
    if (!set_breakpoint(child, places[to])) {
        complain(scene, "a breakpoint: %s", strerror(errno));
        return true;
    }
    ptrace(PTRACE_CONT, child, NULL, NULL);
    return is_at_mark(scene, child);
}

static bool go(struct scene *scene, pid_t child, uint32_t at, uint32_t boundary) {
    static uint32_t hops[MAX_STEPS];
    uint32_t count = boundary > at ? plan(at, boundary, hops) : 0;
    bool at_end = false;
    for (uint32_t i = count; i > 0 && !at_end; i--) {
        at_end = hop_to(scene, child, hops[i - 1]);
        at = hops[i - 1];
    }
    if (count > 0 && !scene->failed) {
        set_breakpoint(child, 0);
    }
    for (; at < boundary && !at_end; at++) {
        at_end = one_step(scene, child);
    }
    return at_end;
}

bool walk_to(struct scene *scene, pid_t child, uint32_t boundary, bool *astray) {
    uint32_t at = 0;
    bool at_end = false;
    if (boundary > turn_at) {
        at_end = go(scene, child, 0, turn_at) || overtake(scene, child);
        at = turn_at + 1;
    }
    at_end = at_end || go(scene, child, at, boundary);
    *astray = at_end ? boundary + 1 < noted : place_of(child) != places[boundary];
    return at_end;
}
