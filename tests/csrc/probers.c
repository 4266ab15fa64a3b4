/* Many processes ask at once who is alive, and are stopped while they ask.
 *
 *     probers PATH ROUNDS      ends with status 0 after so many rounds of each prober
 *
 * Three processes hold a lane and a gate each: one lives, one is stopped, one is dead. Twenty
 * probers ask about all lanes and gates, over and over; each answer must be right. Meanwhile half
 * of the probers are stopped at random moments, again and again; while they stand, a newcomer must
 * get the lane and the gate that are free, at once, and the answers must still be right.
 */
#define _GNU_SOURCE
#include "require.h"
#include "ring.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 1 << 16, PROBERS = 20, WHY_SIZE = 200 };
/* Lanes, and gates but the last, in the order in which they were taken. */
enum { LIVING, STOPPED, FREE_LANE, DEAD_LANE, DEAD_GATE = 2, FREE_GATE = 3 };

static const char *path;

static int open_path(void) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

static rb_emitter *open_emitter(void) {
    char why[WHY_SIZE];
    rb_emitter *emitter;
    int fd = open_path();
    REQUIRE(rb_emitter_open(fd, path, RB_POLICY_DROP, 0, &emitter, why, sizeof why) == RB_OK);
    close(fd);
    return emitter;
}

static rb_subscriber *open_gate(const char *name) {
    char why[WHY_SIZE];
    rb_subscriber *gate;
    uint64_t missed;
    int fd = open_path();
    REQUIRE(rb_subscriber_open(fd, path, 0, name, &gate, &missed, why, sizeof why) == RB_OK);
    close(fd);
    return gate;
}

static rb_ring *attach(void) {
    char why[WHY_SIZE];
    rb_ring *ring;
    int fd = open_path();
    REQUIRE(rb_ring_attach(fd, path, 1, &ring, why, sizeof why) == RB_OK);
    close(fd);
    return ring;
}

/* A process that holds a lane and a gate; returns when it does. */
static pid_t fork_holder(const char *gate) {
    int ready[2];
    char byte;
    REQUIRE(pipe(ready) == 0);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        open_emitter();
        open_gate(gate);
        REQUIRE(write(ready[1], "", 1) == 1);
        for (;;) {
            pause();
        }
    }
    REQUIRE(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void require_right_answers(rb_ring *ring) {
    static const char *const names[] = {"living", "stopped", "dead"};
    for (uint32_t i = 0; i <= DEAD_LANE; i++) {
        rb_lane_stats lane;
        REQUIRE(rb_ring_lane(ring, i, &lane) == RB_OK);
        REQUIRE(i == FREE_LANE || lane.alive == (i != DEAD_LANE));
    }
    for (uint32_t i = 0; i <= DEAD_GATE; i++) {
        rb_gate_stats gate;
        int held;
        REQUIRE(rb_ring_gate(ring, i, &gate) == RB_OK && gate.standing);
        REQUIRE(gate.alive == (i != DEAD_GATE));
        REQUIRE(rb_ring_gate_held(ring, names[i], &held) == RB_OK);
        REQUIRE(held == (i != DEAD_GATE));
    }
    rb_gate_stats gate;
    REQUIRE(rb_ring_gate(ring, FREE_GATE, &gate) == RB_OK);
}

static pid_t fork_prober(uint64_t rounds) {
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        rb_ring *ring = attach();
        for (uint64_t i = 0; i < rounds; i++) {
            require_right_answers(ring);
        }
        rb_ring_free(ring);
        _exit(0);
    }
    return pid;
}

/* Comes and goes while a prober stands; what it gets is what was free. */
static void require_newcomer_served(rb_ring *ring) {
    rb_lane_stats lane;
    rb_gate_stats gate;
    rb_emitter *emitter = open_emitter();
    rb_subscriber *newcomer = open_gate("new");
    REQUIRE(rb_ring_lane(ring, FREE_LANE, &lane) == RB_OK && lane.alive);
    REQUIRE(rb_ring_gate(ring, FREE_GATE, &gate) == RB_OK && gate.alive && gate.standing);
    rb_subscriber_close(newcomer, 0);
    rb_subscriber_free(newcomer);
    rb_emitter_free(emitter);
    REQUIRE(rb_ring_lane(ring, FREE_LANE, &lane) == RB_OK && !lane.alive);
}

/* Whether the process has ended, and ended well; the caller may have stopped it. */
static bool has_ended(pid_t pid, int flags) {
    int status;
    pid_t changed = waitpid(pid, &status, flags);
    REQUIRE(changed >= 0);
    bool ended = changed == pid && !WIFSTOPPED(status);
    REQUIRE(!ended || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return ended;
}

static void nap_at_random(void) {
    nanosleep(&(struct timespec){.tv_nsec = random() % 300000}, NULL);
}

struct prober {
    pid_t pid; /* 0: it has ended */
    bool is_stopped;
};

static void stop(struct prober *prober) {
    REQUIRE(kill(prober->pid, SIGSTOP) == 0);
    if (has_ended(prober->pid, WUNTRACED)) {
        prober->pid = 0;
    } else {
        prober->is_stopped = true;
    }
}

/* Stops some of them at random moments until all have ended; returns how often one stood. */
static unsigned disturb(rb_ring *ring, struct prober *probers) {
    unsigned stops = 0;
    unsigned left;
    do {
        left = 0;
        nap_at_random();
        for (int i = 0; i < PROBERS; i++) {
            if (probers[i].pid != 0 && random() % 2 == 0) {
                stop(&probers[i]);
                stops += probers[i].is_stopped;
            }
            left += probers[i].pid != 0;
        }
        require_newcomer_served(ring);
        require_right_answers(ring);
        for (int i = 0; i < PROBERS; i++) {
            if (probers[i].is_stopped) {
                REQUIRE(kill(probers[i].pid, SIGCONT) == 0);
                probers[i].is_stopped = false;
            }
        }
    } while (left > 0);
    return stops;
}

int main(int argc, char **argv) {
    REQUIRE(argc == 3);
    path = argv[1];
    uint64_t rounds = strtoull(argv[2], NULL, 10);
    struct prober probers[PROBERS] = {{0}};
    REQUIRE(rb_ring_create(path, CAPACITY) == RB_OK);
    pid_t living = fork_holder("living");
    pid_t stopped = fork_holder("stopped");
    rb_emitter *placeholder = open_emitter();
    pid_t dead = fork_holder("dead");
    rb_emitter_free(placeholder);
    REQUIRE(kill(stopped, SIGSTOP) == 0 && kill(dead, SIGKILL) == 0);
    REQUIRE(waitpid(stopped, NULL, WUNTRACED) == stopped && waitpid(dead, NULL, 0) == dead);

    rb_ring *ring = attach();
    require_right_answers(ring);
    for (int i = 0; i < PROBERS; i++) {
        probers[i].pid = fork_prober(rounds);
    }
    unsigned stops = disturb(ring, probers);
    require_right_answers(ring);
    rb_ring_free(ring);
    REQUIRE(kill(living, SIGKILL) == 0 && kill(stopped, SIGKILL) == 0);
    printf("%llu probes by %d processes, stopped %u times\n",
           (unsigned long long)rounds * PROBERS * (DEAD_LANE + 2 + 2 * (DEAD_GATE + 1)), PROBERS,
           stops);
    return 0;
}
