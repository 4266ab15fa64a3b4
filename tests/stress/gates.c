/* Cases: a gate's life. */
#include "gates.h"

#include "child.h"

#include <string.h>

#define RIVAL_NAME "rival"

uint32_t find_gate(const struct scene *scene) {
    for (uint32_t i = 0; i < RB_GATES; i++) {
        if (rb_load_acquire_64(&gate_of(scene, i)->word) != 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

static uint64_t floor_now(const struct scene *scene) {
    return rb_floor_of(rb_load_acquire_64(&hot_of(scene)->floor));
}

/* Once a gate was pushed on, `block` waits for it no more until it has moved by itself. */
static int expected_of(const struct scene *scene, uint32_t gate, uint32_t policy) {
    if (gate == UINT32_MAX) {
        return RB_OK;
    }
    if (policy == RB_POLICY_FAIL) {
        return RB_BACK_PRESSURE;
    }
    const struct rb_gate *slot = gate_of(scene, gate);
    return rb_load_acquire_64(&slot->word) == slot->pushed ? RB_OK : RB_WAIT;
}

static void press(struct scene *scene, uint32_t policy, uint64_t limit_ns) {
    const uint32_t gate = find_gate(scene);
    const int expected = expected_of(scene, gate, policy);
    const uint64_t word = gate == UINT32_MAX ? 0 : rb_load_acquire_64(&gate_of(scene, gate)->word);
    rb_emitter *pressing = scene->failed ? NULL : open_emitter(scene, policy, limit_ns);
    if (pressing == NULL) {
        return;
    }
    int status = RB_OK;
    for (uint64_t i = 0; i < CAPACITY / RB_CELL && status == RB_OK && !scene->failed; i++) {
        status = try_to_emit(scene, pressing, VISITOR, i);
    }
    rb_emitter_free(pressing);
    CHECK(scene, status == expected);
    if (gate != UINT32_MAX && expected != RB_OK) {
        CHECK(scene, rb_load_acquire_64(&gate_of(scene, gate)->word) == word);
        CHECK(scene, floor_now(scene) <= rb_gate_cursor(word));
    }
}

void check_gate(struct scene *scene) {
    const uint32_t gate = find_gate(scene);
    rb_stats stats = {0};
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    if (gate != UINT32_MAX) {
        const uint64_t cursor = rb_gate_cursor(gate_of(scene, gate)->word);
        CHECK(scene, cursor >= floor_now(scene));
        CHECK(scene, cursor <= stats.tail + CAPACITY / RB_CELL);
    }
}

void press_against_gate(struct scene *scene) {
    press(scene, RB_POLICY_FAIL, 0);
    press(scene, RB_POLICY_BLOCK, LONG_NS);
    check_gate(scene);
}

void press_against_standing(struct scene *scene) {
    CHECK(scene, find_gate(scene) != UINT32_MAX);
    press_against_gate(scene);
}

static void register_gate(struct scene *scene) {
    subscribe(scene, scene->report->start, GATE_NAME);
}

void leave_dead_gate(struct scene *scene) {
    end_bystander(scene, fork_bystander(scene, register_gate));
}

void start_earlier(struct scene *scene) { scene->report->start -= 10; }

static void start_earlier_than_dead(struct scene *scene) {
    start_earlier(scene);
    leave_dead_gate(scene);
}

static void prepare_advance(struct scene *scene) {
    register_gate(scene);
    for (int i = 0; i < 3; i++) {
        read_stepped(scene);
        judge_read(scene);
        child_check(scene, me.status == RB_OK, "reading at a gate", me.status);
    }
}

static void advance_gate(struct scene *scene) {
    int status = rb_subscriber_advance(me.subscriber, me.wanted + 3);
    child_check(scene, status == RB_OK, "advancing a gate", status);
}

static void close_gate(struct scene *scene) {
    int status = rb_subscriber_close(me.subscriber, 0);
    child_check(scene, status == RB_OK, "closing a gate", status);
}

void succeed_gate(struct scene *scene) {
    uint64_t missed;
    rb_subscriber *successor = open_gate(scene, GATE_NAME, 0, &missed);
    if (successor != NULL) {
        CHECK(scene, rb_subscriber_close(successor, 0) == RB_OK);
        rb_subscriber_free(successor);
    }
    CHECK(scene, find_gate(scene) == UINT32_MAX);
}

/* Another name's gate, which nobody serves any more, in whatever slot it found. */
static void leave_rival(struct scene *scene) {
    uint64_t missed;
    rb_subscriber *rival = open_gate(scene, RIVAL_NAME, scene->report->start, &missed);
    if (rival != NULL) {
        CHECK(scene, rb_subscriber_close(rival, 1) == RB_OK);
        rb_subscriber_free(rival);
    }
}

static bool stands(const struct scene *scene, const char *name) {
    for (uint32_t i = 0; i < RB_GATES; i++) {
        const struct rb_gate *gate = gate_of(scene, i);
        if (rb_load_acquire_64(&gate->word) != 0 && strcmp(gate->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void succeed_rival(struct scene *scene) {
    uint64_t missed;
    CHECK(scene, stands(scene, RIVAL_NAME));
    rb_subscriber *rival = open_gate(scene, RIVAL_NAME, 0, &missed);
    if (rival != NULL) {
        CHECK(scene, rb_subscriber_close(rival, 0) == RB_OK);
        rb_subscriber_free(rival);
    }
    succeed_gate(scene);
}

void push_on(struct scene *scene) { emit_as_peer(scene, CAPACITY); }

#define GATE(begin, does)                                                                          \
    .policy = RB_POLICY_DROP, .arrange = begin, .act = does, .conclude = succeed_gate
#define REGISTER(begin) GATE(begin, register_gate), .finish = read_to_the_end
#define ADVANCE                                                                                    \
    GATE(start_earlier, advance_gate), .prepare = prepare_advance, .finish = read_to_the_end

const struct step_case gate_cases[] = {
    {.name = "gate-register", REGISTER(start_earlier), .settle = press_against_gate},
    /* The slot that it looked at is another's when it goes on. */
    {.name = "gate-rival",
     .policy = RB_POLICY_DROP,
     .arrange = start_earlier,
     .act = register_gate,
     .settle = leave_rival,
     .conclude = succeed_rival,
     .is_quiet = true},
    {.name = "gate-succeed", REGISTER(start_earlier_than_dead), .settle = press_against_standing},
    {.name = "gate-advance", ADVANCE, .settle = press_against_standing},
    {.name = "gate-close",
     GATE(NULL, close_gate),
     .prepare = register_gate,
     .settle = press_against_gate},
    {.name = "gate-lapped",
     GATE(start_earlier, read_stepped),
     .prepare = register_gate,
     .meanwhile = push_on,
     .finish = judge_and_read_on},
    /* The gate word changed in between, or the floor, or again the gate word. */
    {.name = "lost-succeed", REGISTER(start_earlier_than_dead), .overtake = push_on, .loses = 1},
    {.name = "lost-register", REGISTER(start_earlier), .overtake = push_on, .loses = 2},
    {.name = "lost-close",
     GATE(NULL, close_gate),
     .prepare = register_gate,
     .overtake = push_on,
     .loses = 1},
    {.name = "lost-advance", ADVANCE, .overtake = push_on, .loses = 1},
    {.name = NULL},
};
