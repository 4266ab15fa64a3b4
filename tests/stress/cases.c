/* The operations on a living ring that are stepped through. */
#define _GNU_SOURCE
#include "step.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GATE_NAME "stepped"

/* In the child; each process has its own copies. */
static rb_emitter *emitter;
static rb_subscriber *subscriber;
static uint64_t wanted; /* where the child's own subscriber began, and what it has got since */
static uint64_t got;
static uint8_t payload[LARGEST];

static void child_check(struct scene *scene, bool condition, const char *what, int status) {
    struct report *report = scene->report;
    if (!condition && report->complaint[0] == '\0') {
        snprintf(report->complaint, sizeof report->complaint, "%s: status %d (%s)", what, status,
                 status < 0 ? "errno" : rb_status_name(status));
    }
}

/* The payload is made beforehand: only the library's own work is stepped through. */
static void ready_payload(struct scene *scene, uint64_t number, uint32_t length) {
    fill_payload(payload, STEPPED, number, length);
    scene->report->lengths[number] = length;
    scene->report->planned = (uint32_t)number + 1;
}

static void emit_stepped(struct scene *scene) {
    struct report *report = scene->report;
    const uint32_t number = report->returned;
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t first = 0;
    rb_item item = {.payload = payload, .length = report->lengths[number], .kind = STEPPED};
    int status =
        rb_emitter_emit(emitter, &item, 1, &published, &stall, &first, &report->seqs[number]);
    child_check(scene, status == RB_OK && published == 1, "emit", status);
    if (status == RB_OK) {
        __atomic_store_n(&report->returned, number + 1, __ATOMIC_SEQ_CST);
    }
}

static void open_stepped(struct scene *scene) {
    char why[200];
    int fd = open_path(scene->path);
    int status = rb_emitter_open(fd, scene->path, RB_POLICY_BLOCK, UINT64_C(1000000000), &emitter,
                                 why, sizeof why);
    close(fd);
    child_check(scene, status == RB_OK, "opening an emitter", status);
}

static void prepare_emitter(struct scene *scene) {
    uint32_t number = 0;
    open_stepped(scene);
    if (scene->what->before > 0) {
        ready_payload(scene, 0, scene->what->before);
        emit_stepped(scene);
        number = 1;
    }
    ready_payload(scene, number, scene->what->length);
}

static void close_stepped(struct scene *scene) {
    int status = rb_emitter_close(emitter);
    child_check(scene, status == RB_OK, "closing the emitter", status);
}

/* Others publish between the child's last look at the tail and its emit. */
static void publish_meanwhile(struct scene *scene) { emit_as_peer(scene, 8000); }

/* A gate that stands a little behind the tail. */
static void arrange_gate(struct scene *scene) {
    char why[200];
    uint64_t missed;
    int fd = open_path(scene->path);
    CHECK(scene, rb_subscriber_open(fd, scene->path, UINT64_MAX, "standing", &scene->gate, &missed,
                                    why, sizeof why) == RB_OK);
    close(fd);
}

/* A sleeping subscriber: whoever publishes must wake it, also if another waker died half-way. */

static void sleep_for_one_record(struct scene *scene) {
    const uint64_t patience_ns = UINT64_C(300000000);
    struct report *report = scene->report;
    rb_record record;
    uint64_t missed;
    char why[200];
    int fd = open_path(scene->path);
    int status = rb_subscriber_open(fd, scene->path, UINT64_MAX, NULL, &subscriber, &missed, why,
                                    sizeof why);
    close(fd);
    do {
        status = rb_subscriber_park(subscriber, UINT64_MAX);
        uint64_t due_ns = __atomic_load_n(&report->awake_by_ns, __ATOMIC_SEQ_CST);
        if (status == RB_TIMED_OUT && due_ns != 0 && now_ns() - due_ns > patience_ns) {
            child_check(scene, false, "a sleeper slept through an emit", status);
        }
        status = rb_subscriber_peek(subscriber, &record, &missed);
    } while (status == RB_EMPTY);
    _exit(0);
}

static pid_t fork_bystander(struct scene *scene, void (*run)(struct scene *scene)) {
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(scene);
        for (;;) {
            pause();
        }
    }
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    return pid;
}

static void arm_sleeper(struct scene *scene) {
    scene->bystander = fork_bystander(scene, sleep_for_one_record);
    while ((rb_load_seq_cst_32(&hot_of(scene)->sleep) & 1) == 0) {
        usleep(50);
    }
}

static void wake_sleeper(struct scene *scene) {
    emit_as_peer(scene, 1);
    __atomic_store_n(&scene->report->awake_by_ns, now_ns(), __ATOMIC_SEQ_CST);
    int status = 0;
    CHECK(scene, waitpid(scene->bystander, &status, 0) == scene->bystander && status == 0);
}

/* Emitters that died with a block in hand. */

static void emit_and_linger(struct scene *scene) {
    open_stepped(scene);
    fill_payload(payload, VICTIM, 0, 300);
    rb_item item = {.payload = payload, .length = 300, .kind = VICTIM};
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t seq;
    int status = rb_emitter_emit(emitter, &item, 1, &published, &stall, &seq, &seq);
    child_check(scene, status == RB_OK, "emit of a victim", status);
    scene->report->seqs[0] = seq;
    __atomic_store_n(&scene->report->is_done, true, __ATOMIC_SEQ_CST);
}

static void leave_dead_emitters(struct scene *scene) {
    enum { VICTIMS = 2 }; /* the first one's lane is taken over, the other's stays dead */
    pid_t pids[VICTIMS];
    for (int i = 0; i < VICTIMS; i++) {
        pids[i] = fork_bystander(scene, emit_and_linger);
        while (!__atomic_load_n(&scene->report->is_done, __ATOMIC_SEQ_CST)) {
            usleep(20);
        }
        scene->report->is_done = false;
        scene->kinds[scene->report->seqs[0]] = VICTIM;
        scene->known++;
    }
    for (int i = 0; i < VICTIMS; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}

static void prepare_payload(struct scene *scene) { ready_payload(scene, 0, scene->what->length); }

static void open_and_emit(struct scene *scene) {
    open_stepped(scene);
    emit_stepped(scene);
}

static void live_and_close(struct scene *scene) {
    open_and_emit(scene);
    close_stepped(scene);
}

/* Gates. */

static void open_gate(struct scene *scene) {
    char why[200];
    uint64_t missed = 0;
    int fd = open_path(scene->path);
    int status = rb_subscriber_open(fd, scene->path, scene->report->start, GATE_NAME, &subscriber,
                                    &missed, why, sizeof why);
    close(fd);
    child_check(scene, status == RB_OK, "opening a gate", status);
    wanted = scene->report->start;
    got = missed;
}

static int read_one(struct scene *scene) {
    rb_record record;
    uint64_t missed = 0;
    int status = rb_subscriber_peek(subscriber, &record, &missed);
    if (status == RB_OK) {
        status = rb_subscriber_copy(subscriber, &record, payload, &missed);
    }
    if (status == RB_OK) {
        got++;
        child_check(scene, record.seq + 1 == wanted + got, "a gate's count of losses", status);
        child_check(scene, is_payload(payload, record.kind, record.number, record.length),
                    "a payload at a gate", status);
    }
    got += missed;
    return status;
}

static void prepare_gate(struct scene *scene) { open_gate(scene); }

static void read_three(struct scene *scene) {
    for (int i = 0; i < 3; i++) {
        child_check(scene, read_one(scene) == RB_OK, "reading at a gate", 0);
    }
}

static void start_earlier(struct scene *scene) { scene->report->start -= 10; }

static void advance_gate(struct scene *scene) {
    int status = rb_subscriber_advance(subscriber, wanted + 3);
    child_check(scene, status == RB_OK, "advancing a gate", status);
}

static void prepare_advance(struct scene *scene) {
    open_gate(scene);
    read_three(scene);
}

static void close_gate(struct scene *scene) {
    int status = rb_subscriber_close(subscriber, 0);
    child_check(scene, status == RB_OK, "closing a gate", status);
}

/* Continued after having been pushed on: it learns its exact loss and reads on. */
static void read_to_the_end(struct scene *scene) {
    uint64_t cursor;
    uint64_t tail = 0;
    uint64_t floor;
    int status;
    do {
        status = read_one(scene);
    } while (status == RB_OK || status == RB_LAPPED);
    child_check(scene, status == RB_EMPTY, "reading on at a gate", status);
    status = rb_subscriber_position(subscriber, &cursor, &tail, &floor);
    child_check(scene, status == RB_OK && wanted + got == tail, "losses at a gate", status);
    close_gate(scene);
}

static void check_gates(struct scene *scene) {
    uint64_t floor = rb_floor_of(rb_load_acquire_64(&hot_of(scene)->floor));
    for (uint32_t i = 0; i < RB_GATES && !scene->what->registers; i++) {
        uint64_t word = gate_word(scene, i);
        CHECK(scene, word == 0 || rb_gate_cursor(word) >= floor);
    }
}

/* An emitter that does not push gates: one dead or standing still holds it within a lap, and nothing
 * that the gate wants goes. */
static void press_against_gate(struct scene *scene) {
    int status = RB_OK;
    rb_emitter *pressing = open_emitter(scene, RB_POLICY_FAIL);
    if (pressing == NULL) {
        return;
    }
    for (uint64_t i = 0; i < CAPACITY / RB_CELL && status == RB_OK && !scene->failed; i++) {
        status = try_to_emit(scene, pressing, VISITOR, i);
    }
    rb_emitter_free(pressing);
    CHECK(scene, status == RB_BACK_PRESSURE);
    check_gates(scene);
    CHECK(scene, rb_floor_of(rb_load_acquire_64(&hot_of(scene)->floor)) <=
                     scene->report->start + 3 + CAPACITY / RB_CELL);
}

/* A successor of that name takes over what stands and leaves nothing behind. */
static void succeed_gate(struct scene *scene) {
    char why[200];
    uint64_t missed;
    int fd = open_path(scene->path);
    int status =
        rb_subscriber_open(fd, scene->path, 0, GATE_NAME, &subscriber, &missed, why, sizeof why);
    close(fd);
    CHECK(scene, status == RB_OK);
    if (status == RB_OK) {
        CHECK(scene, rb_subscriber_close(subscriber, 0) == RB_OK);
        rb_subscriber_free(subscriber);
    }
    for (uint32_t i = 0; i < RB_GATES; i++) {
        CHECK(scene, gate_word(scene, i) == 0);
    }
}

#define EMIT .prepare = prepare_emitter, .act = emit_stepped, .finish = close_stepped

const struct step_case ring_cases[] = {
    {.name = "in-block", .length = 256, .before = 100, EMIT},
    {.name = "empty", .length = 0, .before = 100, EMIT},
    {.name = "exact-fill", .length = 800, .before = 100, EMIT},
    {.name = "crossing", .length = 500, .before = 700, EMIT},
    {.name = "first", .length = 256, EMIT},
    {.name = "stale", .length = 256, .before = 100, EMIT, .meanwhile = publish_meanwhile},
    {.name = "sleeper",
     .length = 256,
     .before = 100,
     EMIT,
     .meanwhile = arm_sleeper,
     .settle = wake_sleeper},
    {.name = "gate", .length = 500, .before = 700, EMIT, .arrange = arrange_gate},
    {.name = "multi-block", .length = 5000, .before = 100, EMIT},
    {.name = "lane", .length = 256, .prepare = prepare_payload, .act = live_and_close},
    {.name = "gate-register",
     .policy = RB_POLICY_DROP,
     .registers = true,
     .arrange = start_earlier,
     .act = open_gate,
     .finish = read_to_the_end,
     .conclude = succeed_gate},
    {.name = "gate-advance",
     .policy = RB_POLICY_DROP,
     .arrange = start_earlier,
     .prepare = prepare_advance,
     .act = advance_gate,
     .finish = read_to_the_end,
     .settle = press_against_gate,
     .conclude = succeed_gate},
    {.name = "gate-close",
     .policy = RB_POLICY_DROP,
     .prepare = prepare_gate,
     .act = close_gate,
     .settle = check_gates,
     .conclude = succeed_gate},
    {.name = "recovery",
     .length = 256,
     .arrange = leave_dead_emitters,
     .prepare = prepare_payload,
     .act = open_and_emit,
     .finish = close_stepped},
    {.name = "quarter", .length = LARGEST, .before = 100, EMIT},
    {.name = NULL},
};
