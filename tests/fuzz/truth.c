/* What is true of a ring whose file is scribbled into; the rules are in truth.h. */
#define _GNU_SOURCE
#include "truth.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CELLS = CAPACITY / RB_CELL, BLOCKS = 64, MAX_RECORDS = 4096 };

enum part {
    HEADER,
    HINT,
    FLOOR,
    WAIT_WORDS,
    FLAGS,
    DATABASE,
    GATES,
    LANES,
    WORDS,
    NEXT,
    ORDER,
    DATA
};
enum { PARTS = DATA + 1 };

struct fact {
    uint32_t kind;
    uint32_t length;
    uint64_t number;
};

static struct rb_geometry geometry;
static uint8_t *file; /* a mapping of our own */

/* Of the template and of the run at hand. */
static struct known {
    struct fact facts[MAX_RECORDS];
    uint64_t count; /* records; exact while no control word was changed */
    uint64_t floor; /* the true one, when the word was changed */
} known, template_known;

static struct {
    bool any;
    bool control;
    bool wild; /* somebody emitted relying on a changed control word */
    bool header;
    bool floor;
    bool flags;
    bool gates;
    bool slot[CELLS];
    bool cell[CELLS];
    bool next[BLOCKS];
} changed;

/* Payloads are pieces of one long stretch of noise, each from a place that tells whose it is. */

static uint8_t noise[LARGEST + 1 + UINT8_MAX + 1];

static void make_noise(void) {
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        state = state * 1664525 + 1013904223;
        noise[i] = (uint8_t)(state >> 24);
    }
}

const uint8_t *truth_payload(uint32_t kind, uint64_t number) {
    return noise + (uint8_t)(number * 31 + kind * 101);
}

static uint64_t *word_at(uint64_t offset) { return (uint64_t *)(void *)(file + offset); }

static struct rb_hot *hot(void) { return (struct rb_hot *)(void *)(file + RB_PAGE); }

static uint64_t true_floor(void) {
    return changed.floor ? known.floor : rb_floor_of(hot()->floor) - CELLS;
}

void truth_begin(void) {
    geometry = rb_geometry_of(CAPACITY);
    REQUIRE(geometry.block_count == BLOCKS && geometry.cell_count == CELLS);
    int fd = file_open();
    file = mmap(NULL, geometry.file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    make_noise();
}

uint8_t *truth_keep_template(void) {
    uint8_t *template = malloc(geometry.file_size);
    REQUIRE(template != NULL);
    memcpy(template, file, geometry.file_size);
    template_known = known;
    return template;
}

void truth_restore(const uint8_t *template) {
    memcpy(file, template, geometry.file_size);
    known = template_known;
    memset(&changed, 0, sizeof changed);
}

/* Changes. */

/* A word of that part; `size` bytes of it that there are. */
static uint64_t place_of(enum part part, uint16_t where) {
    switch (part) {
    case HEADER:
        return where % sizeof(struct rb_header) / 8 * 8;
    case HINT:
        return RB_PAGE;
    case FLOOR:
        return RB_PAGE + RB_LINE;
    case WAIT_WORDS:
        return RB_PAGE + (2 + where % 2u) * RB_LINE;
    case FLAGS:
        return RB_PAGE + 4 * RB_LINE;
    case DATABASE:
        return geometry.database_offset + where % sizeof(struct rb_database_area) / 8 * 8;
    case GATES:
        return geometry.gates_offset + where % (RB_GATES * sizeof(struct rb_gate)) / 8 * 8;
    case LANES:
        return geometry.lanes_offset + where % (8 * sizeof(struct rb_lane)) / 8 * 8;
    case WORDS:
        return geometry.words_offset + where % BLOCKS * 8u;
    case NEXT:
        return geometry.next_offset + where % (BLOCKS / 2) * 8u;
    case ORDER: /* every other one is the slot of a number soon to come */
        return geometry.order_offset +
               (where % 2 == 0 ? where / 2 : known.count + where / 2 % 16) % CELLS * 8u;
    case DATA:
        return geometry.data_offset + where % (CAPACITY / 8) * 8u;
    }
    abort();
}

static void mark(enum part part, uint64_t place) {
    changed.any = true;
    changed.header |= part == HEADER;
    changed.flags |= part == FLAGS;
    changed.gates |= part == GATES;
    changed.control |=
        part == HINT || part == FLOOR || part == LANES || part == WORDS || part == ORDER;
    if (part == FLOOR) {
        known.floor = true_floor();
        changed.floor = true;
    } else if (part == NEXT) {
        uint64_t pair = (place - geometry.next_offset) / 8;
        changed.next[2 * pair] = changed.next[2 * pair + 1] = true;
    } else if (part == ORDER) {
        changed.slot[(place - geometry.order_offset) / 8] = true;
    } else if (part == DATA) {
        changed.cell[(place - geometry.data_offset) / RB_CELL] = true;
    }
}

/* What a bit flip or a stray store leaves: one bit, a neighbour, an extreme, or a word from
 * elsewhere. */
static uint64_t changed_word(uint64_t word, enum part part, uint32_t how) {
    static const uint64_t extremes[] = {0,        UINT64_MAX, RB_CURSOR_MASK,  RB_CURSOR_MASK + 1,
                                        RB_OWNED, CELLS,      UINT64_MAX >> 1, CELLS - 1};
    switch (how % 8) {
    case 0:
        return word + (how >> 3) % 64;
    case 1:
        return word - (how >> 3) % 64;
    case 2:
        return extremes[(how >> 3) % 8];
    case 3:
        return *word_at(place_of(part, (uint16_t)(how >> 3)));
    case 4:
        return word + ((uint64_t)(how >> 3) << 11);
    case 5:
        return (uint64_t)how << 32 | how;
    default:
        return word ^ UINT64_C(1) << (how >> 3) % 64;
    }
}

void truth_change(uint8_t part, uint16_t where, uint32_t how) {
    uint64_t place = place_of(part % PARTS, where);
    mark(part % PARTS, place);
    *word_at(place) = changed_word(*word_at(place), part % PARTS, how);
}

/* Records. */

void truth_before_emit(void) { changed.wild |= changed.control; }

void truth_add(uint64_t seq, uint32_t kind, uint64_t number, uint32_t length) {
    REQUIRE(changed.control || seq == known.count);
    known.count = seq + 1;
    if (seq < MAX_RECORDS) {
        known.facts[seq] = (struct fact){.kind = kind, .length = length, .number = number};
    }
}

/* Whether nothing of the record's own was changed: slot, cells, links. */
static bool is_untouched(const rb_record *record, uint32_t length) {
    if (changed.slot[record->seq % CELLS]) {
        return false;
    }
    uint64_t left = sizeof(struct rb_record_header) + length;
    uint32_t cell = record->cell;
    for (;;) {
        if (changed.cell[cell]) {
            return false;
        }
        if (left <= RB_CELL) {
            return true;
        }
        left -= RB_CELL;
        uint32_t block = cell / (CELLS / BLOCKS);
        if (++cell % (CELLS / BLOCKS) == 0) {
            if (changed.next[block]) {
                return false;
            }
            const uint32_t *next = (const uint32_t *)(const void *)(file + geometry.next_offset);
            REQUIRE(next[block] < BLOCKS);
            cell = next[block] * (CELLS / BLOCKS);
        }
    }
}

void truth_check(const rb_record *record, const uint8_t *payload) {
    if (!changed.control) {
        REQUIRE(record->seq >= true_floor() && record->seq < known.count);
    }
    if (changed.wild || record->seq >= MAX_RECORDS || record->seq >= known.count ||
        record->seq < true_floor()) {
        return;
    }
    const struct fact *fact = &known.facts[record->seq];
    if (!is_untouched(record, fact->length)) {
        return;
    }
    REQUIRE(record->kind == fact->kind && record->number == fact->number);
    REQUIRE(record->length == fact->length);
    REQUIRE(memcmp(payload, truth_payload(fact->kind, fact->number), fact->length) == 0);
}

void truth_check_stats(const rb_stats *stats) {
    REQUIRE(stats->blocks_free <= BLOCKS);
    if (!changed.control) {
        REQUIRE(stats->tail == known.count && stats->floor == true_floor());
    }
}

/* Statuses. */

void truth_require_attached(int status) {
    REQUIRE(status == RB_OK || (status == RB_INCOMPATIBLE && changed.header) ||
            (status == RB_UNLINKED && changed.flags));
}

void truth_require_opened(int status) {
    REQUIRE(status == RB_OK || (status == RB_INCOMPATIBLE && changed.header) ||
            (status == RB_CORRUPT && changed.control));
}

void truth_require_subscribed(int status, bool is_gate) {
    REQUIRE(status == RB_OK || (status == RB_INCOMPATIBLE && changed.header) ||
            (is_gate && status == RB_GATE_TAKEN) ||
            (is_gate && (status == RB_NO_GATE || status == RB_EVICTED) && changed.any));
}

void truth_require_emitted(int status, uint32_t length) {
    REQUIRE(status == RB_OK || (status == RB_TOO_LARGE && length > LARGEST) ||
            status == RB_BACK_PRESSURE || status == RB_POOL_EXHAUSTED ||
            (status == RB_UNLINKED && changed.flags) ||
            ((status == RB_POISONED || status == RB_CORRUPT) && changed.control));
}

void truth_require_read(int status, uint64_t cursor) {
    REQUIRE(status == RB_OK || status == RB_LAPPED || status == RB_EMPTY ||
            (status == RB_CORRUPT && changed.any) || (status == RB_UNLINKED && changed.flags) ||
            (status == RB_EVICTED && (changed.control || changed.gates)));
    REQUIRE(status != RB_EMPTY || changed.control || cursor == known.count);
}
