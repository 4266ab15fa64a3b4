/* Cases: a subscriber's read and its sleep. It stores nothing, so nobody may notice what becomes of
 * it; overtaken in the midst of a copy, it has the right record or counts an exact loss. */
#include "child.h"

/* A kept record of the peer's with a length between the two, the newest. */
static uint64_t seq_of_length(const struct scene *scene, uint32_t least, uint32_t most) {
    uint64_t seq = scene->report->start;
    uint32_t length;
    do {
        length = usual_length(scene->numbers[--seq]);
    } while (length < least || length > most);
    return seq;
}

static void prepare_short(struct scene *scene) {
    subscribe(scene, seq_of_length(scene, 200, 500), NULL);
}

static void prepare_long(struct scene *scene) {
    subscribe(scene, seq_of_length(scene, 2000, LARGEST), NULL);
}

static void prepare_at_tail(struct scene *scene) { subscribe(scene, scene->report->start, NULL); }

static void sleep_and_read(struct scene *scene) {
    read_stepped(scene);
    while (me.status == RB_EMPTY) {
        check_awake(scene, rb_subscriber_park(me.subscriber, UINT64_MAX));
        read_stepped(scene);
    }
}

static void subscribe_to_kept(struct scene *scene) {
    subscribe(scene, scene->report->start - 30, NULL);
}

/* Its slot in the order ring is still the record's. */
static void overtake_once(struct scene *scene) { emit_as_peer(scene, CAPACITY); }

/* Its slot is a newer record's. */
static void overtake_far(struct scene *scene) { emit_as_peer(scene, 5 * CAPACITY); }

#define OVERTAKEN .prepare = subscribe_to_kept, .act = read_stepped, .finish = judge_and_read_on

static void emit_one(struct scene *scene) { emit_as_peer(scene, 1); }

const struct step_case read_cases[] = {
    {.name = "read", .prepare = prepare_short, .act = read_stepped, .finish = judge_and_read_on},
    {.name = "read-several-blocks",
     .prepare = prepare_long,
     .act = read_stepped,
     .finish = judge_and_read_on},
    {.name = "read-lapped", OVERTAKEN, .meanwhile = overtake_once},
    {.name = "read-lapped-far", OVERTAKEN, .meanwhile = overtake_far},
    {.name = "subscribe", .act = subscribe_to_kept, .finish = read_to_the_end},
    {.name = "park",
     .prepare = prepare_at_tail,
     .act = sleep_and_read,
     .when_asleep = emit_one,
     .finish = judge_and_read_on},
    {.name = NULL},
};
