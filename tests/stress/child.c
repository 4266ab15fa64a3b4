/* What the stepped child and bystanders do: emit, wait, read, and say what went wrong. */
#define _GNU_SOURCE
#include "child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS UINT64_C(300000000)

struct child me;

void child_check(struct scene *scene, bool condition, const char *what, int status) {
    struct report *report = scene->report;
    if (!condition && report->complaint[0] == '\0') {
        snprintf(report->complaint, sizeof report->complaint, "%s: status %d (%s)", what, status,
                 status < 0 ? "errno" : rb_status_name(status));
    }
}

/* Bystanders. */

pid_t fork_bystander(struct scene *scene, void (*run)(struct scene *scene)) {
    scene->report->is_done = false;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(scene);
        __atomic_store_n(&scene->report->is_done, true, __ATOMIC_SEQ_CST);
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

/* Killed when it is done, and gone. */
void end_bystander(struct scene *scene, pid_t pid) {
    while (!__atomic_load_n(&scene->report->is_done, __ATOMIC_SEQ_CST)) {
        usleep(20);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Emitting. */

/* The payload is made beforehand: only the library's own work is stepped through. */
void plan_record(struct scene *scene, uint32_t length) {
    struct report *report = scene->report;
    const uint32_t number = report->planned++;
    uint8_t *payload = me.payloads + me.used;
    me.used += fill_payload(payload, STEPPED, number, length);
    me.items[number] = (rb_item){.payload = payload, .length = length, .kind = STEPPED};
    report->lengths[number] = length;
}

void open_stepped(struct scene *scene) {
    const struct step_case *what = scene->what;
    char why[200];
    int fd = open_path(scene->path);
    int status = rb_emitter_open(fd, scene->path, what->own_policy,
                                 what->limit_ns != 0 ? what->limit_ns : LONG_NS, &me.emitter, why,
                                 sizeof why);
    close(fd);
    child_check(scene, status == RB_OK, "opening an emitter", status);
}

/* Woken after what it waited for had happened, a sleeper does not sleep to the end of its slice. */
void check_awake(struct scene *scene, int status) {
    uint64_t due_ns = __atomic_load_n(&scene->report->awake_by_ns, __ATOMIC_SEQ_CST);
    if (status == RB_TIMED_OUT && due_ns != 0 && now_ns() - due_ns > PATIENCE_NS) {
        child_check(scene, false, "a sleeper slept through what it waited for", status);
    }
}

static void wait_stepped(struct scene *scene, const rb_stall *stall) {
    __atomic_store_n(&scene->report->is_waiting, true, __ATOMIC_SEQ_CST);
    int status = rb_emitter_park(me.emitter, stall);
    __atomic_store_n(&scene->report->is_waiting, false, __ATOMIC_SEQ_CST);
    child_check(scene, status == RB_OK || status == RB_TIMED_OUT, "waiting at a gate", status);
    check_awake(scene, status);
}

/* All records planned and not yet emitted, in one call. */
void emit_stepped(struct scene *scene) {
    struct report *report = scene->report;
    const bool is_first = report->returned == 0;
    rb_stall stall = {0};
    uint64_t first = 0;
    uint64_t last = 0;
    int status;
    while ((status = rb_emitter_emit(me.emitter, me.items, report->planned, &report->returned,
                                     &stall, &first, &last)) == RB_WAIT) {
        wait_stepped(scene, &stall);
    }
    child_check(scene, status == RB_OK && report->returned == report->planned, "emit", status);
    if (status == RB_OK) {
        report->seqs[report->planned - 1] = (int64_t)last;
        report->seqs[0] = is_first ? (int64_t)first : report->seqs[0];
    }
}

void prepare_emitter(struct scene *scene) {
    open_stepped(scene);
    if (scene->what->before > 0) {
        plan_record(scene, scene->what->before);
        emit_stepped(scene);
    }
    plan_record(scene, scene->what->length);
}

void close_stepped(struct scene *scene) {
    int status = rb_emitter_close(me.emitter);
    child_check(scene, status == RB_OK, "closing the emitter", status);
}

/* Reading. */

void subscribe(struct scene *scene, uint64_t start, const char *gate) {
    char why[200];
    uint64_t missed = 0;
    int fd = open_path(scene->path);
    int status =
        rb_subscriber_open(fd, scene->path, start, gate, &me.subscriber, &missed, why, sizeof why);
    close(fd);
    child_check(scene, status == RB_OK, "opening a subscriber", status);
    me.wanted = start;
    me.got = missed;
}

void read_stepped(struct scene *scene) {
    (void)scene;
    me.missed = 0;
    me.status = rb_subscriber_peek(me.subscriber, &me.record, &me.missed);
    if (me.status == RB_OK) {
        me.status = rb_subscriber_copy(me.subscriber, &me.record, me.payloads, &me.missed);
    }
}

/* The next record and the right one, or an exact loss. */
void judge_read(struct scene *scene) {
    uint64_t cursor = 0;
    uint64_t tail;
    uint64_t floor;
    const rb_record *record = &me.record;
    child_check(scene, me.status == RB_OK || me.status == RB_LAPPED || me.status == RB_EMPTY,
                "reading", me.status);
    child_check(scene, (me.status == RB_LAPPED) == (me.missed > 0), "a loss", me.status);
    if (me.status == RB_OK) {
        const uint64_t seq = me.wanted + me.got++;
        child_check(scene, record->seq == seq, "a subscriber's count of losses", me.status);
        child_check(scene, is_payload(me.payloads, record->kind, record->number, record->length),
                    "a payload", me.status);
        /* Those emitted before this process was forked are known to it. */
        child_check(scene,
                    scene->kinds[seq] == 0 || (record->kind == scene->kinds[seq] &&
                                               record->number == scene->numbers[seq]),
                    "whose record it is", me.status);
    }
    me.got += me.missed;
    int status = rb_subscriber_position(me.subscriber, &cursor, &tail, &floor);
    child_check(scene, status == RB_OK && cursor == me.wanted + me.got, "the cursor", status);
}

/* Continued after having been overtaken: it learns its exact loss and reads on. */
void read_to_the_end(struct scene *scene) {
    uint64_t cursor;
    uint64_t tail = 0;
    uint64_t floor;
    do {
        read_stepped(scene);
        judge_read(scene);
    } while (me.status == RB_OK || me.status == RB_LAPPED);
    int status = rb_subscriber_position(me.subscriber, &cursor, &tail, &floor);
    child_check(scene, status == RB_OK && me.wanted + me.got == tail, "losses", status);
    status = rb_subscriber_close(me.subscriber, 0);
    child_check(scene, status == RB_OK, "closing the subscriber", status);
}

void judge_and_read_on(struct scene *scene) {
    judge_read(scene);
    read_to_the_end(scene);
}
