/* Fuzz target: a living ring whose file somebody scribbles into.
 *
 * The input is a list of steps of eight bytes. Some change a word of the file, the others open,
 * read, emit, advance and close, in any order; so a change also comes between a peek and its copy.
 * It begins with a ring that was lapped, with a gate that a dead process left and with blocks that
 * two dead emitters left.
 *
 * What must hold beyond "no crash, no hang" is in truth.h.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <string.h>
#include <unistd.h>

enum { EMITTERS = 3, SUBSCRIBERS = 3, MAX_STEPS = 160, MAX_TRIES = 5000, TEMPLATE_RECORDS = 260 };

static const uint32_t LENGTHS[] = {0,    1,    31,  32,   33,    63,      64,         65,
                                   200,  959,  960, 991,  992,   993,     1024,       1056,
                                   2100, 5000, 12,  8000, 16383, LARGEST, LARGEST + 1};

struct emitting {
    rb_emitter *emitter;
    uint64_t number;
};

struct reading {
    rb_subscriber *subscriber;
    bool is_gate;
    bool has_peeked;
    rb_record record;
    uint64_t cursor;
};

struct step {
    uint8_t what;
    uint8_t who;
    uint16_t where;
    uint32_t value;
};

static struct emitting emitting[EMITTERS];
static struct reading reading[SUBSCRIBERS];
static uint8_t *template;

/* Emitters. */

static void open_emitter(struct emitting *mine, uint32_t policy) {
    char why[WHY_SIZE] = "";
    if (mine->emitter != NULL) {
        return;
    }
    truth_before_emit();
    int fd = file_open();
    int status = rb_emitter_open(fd, file_path(), policy, 0, &mine->emitter, why, sizeof why);
    close(fd);
    truth_require_opened(status);
    mine->emitter = status == RB_OK ? mine->emitter : NULL;
    mine->number = 0;
}

static void close_emitter(struct emitting *mine) {
    if (mine->emitter != NULL) {
        REQUIRE(rb_emitter_close(mine->emitter) == RB_OK);
        rb_emitter_free(mine->emitter);
        mine->emitter = NULL;
    }
}

static void emit(struct emitting *mine, uint32_t kind, uint32_t length) {
    if (mine->emitter == NULL) {
        return;
    }
    const rb_item item = {
        .payload = truth_payload(kind, mine->number), .length = length, .kind = kind};
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t first;
    uint64_t last;
    int status = RB_WAIT;
    truth_before_emit();
    for (int tries = 0; status == RB_WAIT; tries++) {
        REQUIRE(tries < MAX_TRIES && "an emit must end");
        status = rb_emitter_emit(mine->emitter, &item, 1, &published, &stall, &first, &last);
        if (status == RB_WAIT) {
            REQUIRE(rb_emitter_park(mine->emitter, &stall) >= 0);
        }
    }
    REQUIRE((published == 1) == (status == RB_OK));
    truth_require_emitted(status, length);
    if (status == RB_OK) {
        REQUIRE(first == last);
        truth_add(first, kind, mine->number++, length);
    }
}

/* Subscribers. */

static void close_subscriber(struct reading *mine, int keep) {
    if (mine->subscriber != NULL) {
        REQUIRE(rb_subscriber_close(mine->subscriber, keep) == RB_OK);
        rb_subscriber_free(mine->subscriber);
        mine->subscriber = NULL;
    }
}

static void open_subscriber(struct reading *mine, const struct step *step) {
    static const char *const names[] = {NULL, NULL, "gate", "other"};
    char why[WHY_SIZE] = "";
    if (mine->subscriber != NULL) {
        return;
    }
    const char *gate = names[step->where % 4];
    uint64_t start = step->value % 3 == 0 ? UINT64_MAX : step->value % 3 == 1 ? 0 : step->value;
    uint64_t missed;
    uint64_t tail;
    uint64_t floor;
    int fd = file_open();
    int status = rb_subscriber_open(fd, file_path(), start, gate, &mine->subscriber, &missed, why,
                                    sizeof why);
    close(fd);
    truth_require_subscribed(status, gate != NULL);
    if (status != RB_OK) {
        mine->subscriber = NULL;
        return;
    }
    mine->is_gate = gate != NULL;
    mine->has_peeked = false;
    REQUIRE(rb_subscriber_position(mine->subscriber, &mine->cursor, &tail, &floor) == RB_OK);
}

static bool peek(struct reading *mine) {
    uint64_t missed = 0;
    if (mine->subscriber == NULL) {
        return false;
    }
    int status = rb_subscriber_peek(mine->subscriber, &mine->record, &missed);
    truth_require_read(status, mine->cursor);
    REQUIRE(status != RB_OK ||
            (mine->record.seq == mine->cursor && mine->record.length <= LARGEST));
    mine->cursor += missed;
    mine->has_peeked = status == RB_OK;
    return mine->has_peeked;
}

static void copy(struct reading *mine) {
    uint64_t missed = 0;
    if (mine->subscriber == NULL || !mine->has_peeked) {
        return;
    }
    mine->has_peeked = false;
    /* Exactly as long as asked for: one byte more is a fault. */
    uint8_t *memory = malloc(1 + (size_t)mine->record.length);
    int status = rb_subscriber_copy(mine->subscriber, &mine->record, memory + 1, &missed);
    REQUIRE(status == RB_OK || status == RB_LAPPED || (status == RB_EVICTED && mine->is_gate));
    if (status == RB_OK) {
        truth_check(&mine->record, memory + 1);
    }
    free(memory);
    mine->cursor += status == RB_OK ? 1 : missed;
}

static void advance(const struct reading *mine, uint32_t back) {
    if (mine->subscriber != NULL) {
        int status = rb_subscriber_advance(mine->subscriber, mine->cursor - back % 8);
        REQUIRE(status == RB_OK || status == RB_INVALID || (status == RB_EVICTED && mine->is_gate));
    }
}

/* The ring's own handle. */

static void ask(void) {
    char why[WHY_SIZE] = "";
    rb_ring *ring;
    rb_stats stats;
    int fd = file_open();
    int status = rb_ring_attach(fd, file_path(), 1, &ring, why, sizeof why);
    close(fd);
    truth_require_attached(status);
    if (status != RB_OK) {
        return;
    }
    REQUIRE(rb_ring_stats(ring, &stats) == RB_OK);
    truth_check_stats(&stats);
    for (uint32_t i = 0; i < stats.gate_count; i++) {
        rb_gate_stats gate;
        REQUIRE(rb_ring_gate(ring, i, &gate) == RB_OK);
        REQUIRE(memchr(gate.name, '\0', sizeof gate.name) != NULL);
    }
    rb_ring_free(ring);
}

/* The template. */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    const struct step gate_from_tail = {.where = 2};
    unlink(file_path());
    REQUIRE(rb_ring_create(file_path(), CAPACITY) == RB_OK);
    truth_begin();
    open_emitter(&emitting[0], RB_POLICY_DROP);
    open_emitter(&emitting[1], RB_POLICY_DROP);
    for (uint32_t i = 0; i < TEMPLATE_RECORDS; i++) {
        emit(&emitting[i % 2], 1 + i % 2, LENGTHS[i % 18]);
        if (i == TEMPLATE_RECORDS - 20) {
            open_subscriber(&reading[0], &gate_from_tail);
        }
    }
    template = truth_keep_template();
    close_emitter(&emitting[0]);
    close_emitter(&emitting[1]);
    close_subscriber(&reading[0], 1);
    return 0;
}

static void take_step(const struct step *step) {
    struct emitting *emitter = &emitting[step->who % EMITTERS];
    struct reading *reader = &reading[step->who % SUBSCRIBERS];
    switch (step->what % 14) {
    case 0:
    case 1:
    case 2:
        truth_change(step->who, step->where, step->value);
        break;
    case 3:
        open_subscriber(reader, step);
        break;
    case 4:
        peek(reader);
        break;
    case 5:
        copy(reader);
        break;
    case 6:
        for (uint32_t i = 0; i < step->value % 64 && peek(reader); i++) {
            copy(reader);
        }
        break;
    case 7:
        open_emitter(emitter, step->where % 3);
        break;
    case 8:
    case 9:
        for (uint32_t i = 0; i <= step->value % 16; i++) {
            emit(emitter, 3 + step->who % EMITTERS,
                 LENGTHS[step->where % (sizeof LENGTHS / sizeof LENGTHS[0])]);
        }
        break;
    case 10:
        close_emitter(emitter);
        break;
    case 11:
        close_subscriber(reader, step->value % 2 == 0);
        break;
    case 12:
        advance(reader, step->value);
        break;
    default:
        ask();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct step step;
    truth_restore(template);
    for (size_t i = 0; i < MAX_STEPS && (i + 1) * sizeof step <= size; i++) {
        memcpy(&step, data + i * sizeof step, sizeof step);
        take_step(&step);
    }
    for (int i = 0; i < EMITTERS; i++) {
        close_emitter(&emitting[i]);
    }
    for (int i = 0; i < SUBSCRIBERS; i++) {
        if (peek(&reading[i])) {
            copy(&reading[i]);
        }
        close_subscriber(&reading[i], 0);
    }
    return 0;
}
