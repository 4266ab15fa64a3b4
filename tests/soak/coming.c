/* Emitters that come and go: brief ones by the thousand, and children of a fork.
 *
 * Both count at a desk of their own, in memory of their own: a desk has one writer.
 */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_LIFE_US = 3000, LINGERING_US = 300000 };

void be_brief(struct worker *worker, uint64_t records, bool closes) {
    struct source source;
    if (!open_source(worker, &source)) {
        return;
    }
    for (uint64_t i = 0; i < records && !is_over(worker); i++) {
        if (emit(&source, 1) == RING_REMOVED) {
            break;
        }
    }
    if (closes) {
        rb_emitter_free(source.emitter);
    }
}

/* The kernel kills this process after so long, at whatever instruction it is then. */
static void die_within(struct worker *worker, uint64_t us) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {.it_value.tv_nsec = (long)(us + 1) * 1000};
    REQUIRE(worker->tally,
            timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
                timer_settime(timer, 0, &when, NULL) == 0,
            "no timer that kills");
}

static void live_briefly(const struct worker *parent, uint64_t random) {
    struct desk own = *parent->desk;
    struct worker worker = *parent;
    worker.desk = &own;
    worker.random = random;
    if (draw(&worker, 3) == 0) {
        die_within(&worker, draw(&worker, LONGEST_LIFE_US));
    }
    be_brief(&worker, draw(&worker, 40) + 1, draw(&worker, 4) != 0);
    _exit(0);
}

static void check_end(struct worker *worker, int status) {
    REQUIRE(worker->tally, status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL),
            "a brief emitter or a forked child ended with wait status %d", status);
}

static pid_t fork_or_end(struct worker *worker) {
    pid_t pid = fork();
    REQUIRE(worker->tally, pid >= 0, "fork failed with errno %d", errno);
    return pid;
}

static void give_birth(struct worker *worker) {
    uint64_t random = draw(worker, UINT64_MAX);
    if (fork_or_end(worker) == 0) {
        live_briefly(worker, random);
    }
    COUNT(worker->desk->comers);
    COUNT(worker->desk->results);
}

void run_nursery(struct worker *worker) {
    uint32_t alive = 0;
    while (!is_over(worker) || alive > 0) {
        int status;
        bool may_come = alive < worker->desk->width && !is_over(worker);
        begin(worker, "nursery");
        if (may_come) {
            give_birth(worker);
            alive++;
            nap(draw(worker, worker->desk->pause_us) + 1);
        }
        if (alive > 0 && waitpid(-1, &status, may_come ? WNOHANG : 0) > 0) {
            check_end(worker, status);
            alive--;
        }
    }
}

/* In the child: the parent's handle refuses everything and touches nothing. */
static void touch_the_parents(const struct source *source, bool closes) {
    struct tally *tally = source->worker->tally;
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t seq;
    rb_item item = {.payload = tally->bytes, .length = 8, .kind = UINT32_MAX};
    int status = rb_emitter_emit(source->emitter, &item, 1, &published, &stall, &seq, &seq);
    REQUIRE(tally, status == RB_FORKED && published == 0, "a forked child's emit: %s",
            rb_status_name(status));
    if (closes) {
        status = rb_emitter_close(source->emitter);
        REQUIRE(tally, status == RB_FORKED, "a forked child's close: %s", rb_status_name(status));
        rb_emitter_free(source->emitter);
    }
}

static void linger(const struct worker *worker) {
    for (uint32_t us = 0; us < LINGERING_US && !is_over(worker); us += 5000) {
        nap(5000);
    }
}

static void be_a_child(const struct source *source, uint64_t random) {
    struct desk own = *source->worker->desk;
    struct worker worker = *source->worker;
    worker.desk = &own;
    worker.random = random;
    touch_the_parents(source, draw(&worker, 2) == 0);
    switch (draw(&worker, 3)) {
    case 0:
        be_brief(&worker, draw(&worker, 100) + 1, draw(&worker, 2) == 0);
        break;
    case 1:
        linger(&worker);
        break;
    default:
        break;
    }
    _exit(0);
}

void fork_beside(struct source *source) {
    struct worker *worker = source->worker;
    int status;
    pid_t ended = waitpid(-1, &status, WNOHANG);
    if (ended > 0) {
        check_end(worker, status);
    }
    if (ended == 0) {
        return; /* the last child is still there */
    }
    begin(worker, "fork   ");
    uint64_t random = draw(worker, UINT64_MAX);
    if (fork_or_end(worker) == 0) {
        be_a_child(source, random);
    }
    COUNT(worker->desk->forks);
}
