/* Cases: a gate in the way of the stepped emit, which waits for it, pushes it on or buries it. */
#include "child.h"
#include "gates.h"

/* At the floor: the next emit that needs a block comes up against it. */
static void stand(struct scene *scene, uint64_t above) {
    uint64_t missed = 0;
    rb_stats stats = {0};
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    scene->stands_at = stats.floor + above;
    scene->standing = open_gate(scene, GATE_NAME, scene->stands_at, &missed);
    CHECK(scene, missed == 0);
}

static void stand_at_floor(struct scene *scene) { stand(scene, 0); }

/* A few blocks can be had before the gate is in the way. */
static void stand_above_floor(struct scene *scene) { stand(scene, 6); }

/* The observer as the gate's owner: reads to the tail, each record the next one or counted as
 * lost. */
static void read_standing(struct scene *scene, bool may_lose) {
    static uint8_t payload[LARGEST];
    rb_record record;
    int status = RB_OK;
    while (!scene->failed && status != RB_EMPTY) {
        uint64_t missed = 0;
        status = rb_subscriber_peek(scene->standing, &record, &missed);
        if (status == RB_OK) {
            CHECK(scene, rb_subscriber_copy(scene->standing, &record, payload, &missed) == RB_OK);
            CHECK(scene, record.seq == scene->stands_at++);
            check_record(scene, &record, payload);
        } else if (status != RB_EMPTY) {
            CHECK(scene, status == RB_LAPPED && may_lose);
            scene->stands_at += missed;
        }
    }
    CHECK(scene, rb_subscriber_advance(scene->standing, scene->stands_at) == RB_OK);
}

static void move_on(struct scene *scene) { read_standing(scene, false); }

/* The gate holds everybody, whatever became of the stepped emitter, and has lost nothing; then it
 * moves on, and from now on keeps up. */
static void hold_and_move(struct scene *scene) {
    press_against_standing(scene);
    move_on(scene);
    scene->gate = scene->standing;
    scene->standing = NULL;
}

/* Pushed on by the stepped emitter, by others, or by both: it knows what it lost. */
static void learn_loss(struct scene *scene) {
    check_gate(scene);
    read_standing(scene, true);
}

static void check_no_gate(struct scene *scene) { CHECK(scene, find_gate(scene) == UINT32_MAX); }

/* The gate goes while somebody is about to push it on: nothing is to come back in its place. */
static void close_standing(struct scene *scene) {
    CHECK(scene, rb_subscriber_close(scene->standing, 0) == RB_OK);
    check_no_gate(scene);
}

/* A dead gate at the floor. */
static void die_at_floor(struct scene *scene) {
    rb_stats stats = {0};
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    scene->report->start = stats.floor;
    leave_dead_gate(scene);
}

/* A successor comes while somebody is about to take its predecessor's gate out: it is not to be hit.
 * From now on it keeps up; were it taken out, its next move would say so. */
static void succeed_and_follow(struct scene *scene) {
    rb_stats stats = {0};
    uint64_t missed;
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    scene->gate = open_gate(scene, GATE_NAME, stats.tail, &missed);
}

#define CROSS .length = 500, .before = 700, EMIT
#define PUSH CROSS, .own_policy = RB_POLICY_DROP
#define TO_BE_PUSHED PUSH, .policy = RB_POLICY_DROP, .conclude = learn_loss

/* So short that the first sleep at the gate ends at once, and the second try is over time. */
#define AT_ONCE_NS 1

#define WAIT(above) .meanwhile = above, .when_asleep = move_on, .settle = hold_and_move
#define BURY CROSS, .limit_ns = AT_ONCE_NS, .meanwhile = die_at_floor

const struct step_case obstacle_cases[] = {
    {.name = "wait", CROSS, WAIT(stand_at_floor)},
    {.name = "wait-several-blocks", .length = 3000, .before = 700, EMIT, WAIT(stand_above_floor)},
    {.name = "wait-in-vain",
     CROSS,
     .policy = RB_POLICY_DROP,
     .limit_ns = AT_ONCE_NS,
     .meanwhile = stand_at_floor,
     .settle = press_against_standing,
     .conclude = learn_loss},
    {.name = "registered", TO_BE_PUSHED, .is_quiet = true, .settle = stand_at_floor},
    {.name = "push", TO_BE_PUSHED, .meanwhile = stand_at_floor, .settle = press_against_standing},
    {.name = "push-closed",
     PUSH,
     .meanwhile = stand_at_floor,
     .settle = close_standing,
     .conclude = check_no_gate},
    {.name = "lost-push",
     TO_BE_PUSHED,
     .meanwhile = stand_at_floor,
     .overtake = push_on,
     .loses = 1},
    {.name = "bury",
     BURY,
     .policy = RB_POLICY_DROP,
     .settle = press_against_gate,
     .conclude = succeed_gate},
    {.name = "bury-succeeded", BURY, .settle = succeed_and_follow},
    /* The first swap is that of somebody about to sleep. */
    {.name = "lost-bury",
     BURY,
     .policy = RB_POLICY_DROP,
     .overtake = succeed_and_follow,
     .loses = 2},
    {.name = NULL},
};
