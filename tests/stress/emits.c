/* Cases: an emit in its several ways through the library, opening and closing, recovering. */
#define _GNU_SOURCE
#include "child.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Others publish between the child's last look at the tail and its emit. */
static void publish_meanwhile(struct scene *scene) { emit_as_peer(scene, 8000); }

/* A gate that stands a little behind the tail. */
static void arrange_gate(struct scene *scene) {
    uint64_t missed;
    scene->gate = open_gate(scene, "standing", UINT64_MAX, &missed);
}

/* A sleeping subscriber: whoever publishes must wake it, also if another waker died half-way. */

static void sleep_for_one_record(struct scene *scene) {
    subscribe(scene, UINT64_MAX, NULL);
    do {
        check_awake(scene, rb_subscriber_park(me.subscriber, UINT64_MAX));
        read_stepped(scene);
    } while (me.status == RB_EMPTY);
    _exit(0);
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

/* The next record's publish moves the hint of the tail: that is done for every eighth number. */
static void align_to_hint(struct scene *scene) {
    rb_stats stats = {0};
    do {
        emit_as_peer(scene, 1);
        CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    } while (!scene->failed && (stats.tail + 1) % 8 != 0);
}

/* Emitters that died with a block in hand. */

static void emit_and_linger(struct scene *scene) {
    uint8_t payload[300];
    rb_item item = {.payload = payload, .length = sizeof payload, .kind = VICTIM};
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t first;
    uint64_t last = 0;
    open_stepped(scene);
    fill_payload(payload, VICTIM, 0, sizeof payload);
    int status = rb_emitter_emit(me.emitter, &item, 1, &published, &stall, &first, &last);
    child_check(scene, status == RB_OK, "emit of a victim", status);
    scene->report->victim_seq = last;
}

static void leave_dead_emitters(struct scene *scene) {
    enum { VICTIMS = 2 }; /* the first one's lane is taken over, the other's stays dead */
    pid_t pids[VICTIMS];
    for (int i = 0; i < VICTIMS; i++) {
        pids[i] = fork_bystander(scene, emit_and_linger);
        while (!__atomic_load_n(&scene->report->is_done, __ATOMIC_SEQ_CST)) {
            usleep(20);
        }
        scene->kinds[scene->report->victim_seq] = VICTIM;
        scene->known++;
        scene->dead_blocks++;
    }
    for (int i = 0; i < VICTIMS; i++) {
        end_bystander(scene, pids[i]);
    }
}

static void plan_one(struct scene *scene) { plan_record(scene, scene->what->length); }

static void open_and_emit(struct scene *scene) {
    open_stepped(scene);
    emit_stepped(scene);
}

static void live_and_close(struct scene *scene) {
    open_and_emit(scene);
    close_stepped(scene);
}

/* Several records in one call: whatever is there of them is the first ones, each once. */
static void prepare_several(struct scene *scene) {
    static const uint32_t lengths[] = {100, 0, 1200, 300};
    open_stepped(scene);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        plan_record(scene, lengths[i]);
    }
}

/* A compare-and-swap that is lost because a newcomer took the oldest blocks and published right
 * before it. */
#define CROSS_AND_LOSE(swap) .length = 500, .before = 700, EMIT, .overtake = visit, .loses = swap

#define RECOVER                                                                                    \
    .length = 256, .arrange = leave_dead_emitters, .prepare = plan_one, .act = open_and_emit,      \
    .finish = close_stepped

const struct step_case emit_cases[] = {
    {.name = "in-block", .length = 256, .before = 100, EMIT},
    {.name = "empty", .length = 0, .before = 100, EMIT},
    {.name = "exact-fill", .length = 800, .before = 100, EMIT},
    {.name = "crossing", .length = 500, .before = 700, EMIT},
    {.name = "first", .length = 256, EMIT},
    {.name = "stale", .length = 256, .before = 100, EMIT, .meanwhile = publish_meanwhile},
    {.name = "first-in-rest", .length = 256, EMIT, .arrange = visit},
    {.name = "lost-rest", .length = 256, EMIT, .arrange = visit, .overtake = visit, .loses = 1},
    {.name = "lost-hint",
     .length = 256,
     .before = 100,
     EMIT,
     .meanwhile = align_to_hint,
     .overtake = publish_meanwhile,
     .loses = 2},
    {.name = "lost-floor", CROSS_AND_LOSE(1)},
    {.name = "lost-take", CROSS_AND_LOSE(2)},
    {.name = "lost-publish", CROSS_AND_LOSE(3)},
    {.name = "sleeper",
     .length = 256,
     .before = 100,
     EMIT,
     .meanwhile = arm_sleeper,
     .settle = wake_sleeper},
    {.name = "gate", .length = 500, .before = 700, EMIT, .arrange = arrange_gate},
    {.name = "several", .prepare = prepare_several, .act = emit_stepped, .finish = close_stepped},
    {.name = "multi-block", .length = 5000, .before = 100, EMIT},
    {.name = "multi-block-busy",
     .length = 5000,
     .before = 100,
     EMIT,
     .arrange = arrange_gate,
     .meanwhile = arm_sleeper,
     .settle = wake_sleeper},
    {.name = "quarter", .length = LARGEST, .before = 100, EMIT},
    {.name = "lane", .length = 256, .prepare = plan_one, .act = live_and_close},
    {.name = "recovery", RECOVER},
    {.name = "lost-recover", RECOVER, .overtake = visit, .loses = 1},
    {.name = NULL},
};
