/* A small ring and what was emitted into it; see ledger.h. */
#define _GNU_SOURCE
#include "ledger.h"

#include "layout.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { MAX_RECORDS = 8192 };

struct fact {
    uint32_t who; /* 0: nothing known */
    uint32_t length;
    uint64_t number;
};

const char *path;
const char *now_tried = "";
uint64_t count;
static struct fact facts[MAX_RECORDS];

void forget_all(void) {
    memset(facts, 0, sizeof facts);
    count = 0;
}

/* Payloads follow from who emitted them and the count. */

static uint8_t byte_of(uint32_t who, uint64_t number, uint32_t at) {
    return (uint8_t)(number * 31 + who * 101 + at * 7 + (at >> 8));
}

void write_payload(uint8_t *payload, uint32_t who, uint64_t number, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) {
        payload[i] = byte_of(who, number, i);
    }
}

int try_emit(rb_emitter *emitter, const rb_item *item, uint64_t *seq) {
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t last;
    int status = rb_emitter_emit(emitter, item, 1, &published, &stall, seq, &last);
    REQUIRE((status == RB_OK) == (published == 1));
    return status;
}

void learn(uint64_t seq, uint32_t who, uint64_t number, uint32_t length) {
    REQUIRE(seq < MAX_RECORDS);
    facts[seq] = (struct fact){.who = who, .length = length, .number = number};
    count = seq + 1 > count ? seq + 1 : count;
}

void emit(rb_emitter *emitter, uint32_t who, uint64_t *number, uint32_t length) {
    static uint8_t payload[LARGEST];
    const rb_item item = {.payload = payload, .length = length, .kind = who};
    uint64_t seq;
    write_payload(payload, who, *number, length);
    REQUIRE(try_emit(emitter, &item, &seq) == RB_OK);
    learn(seq, who, (*number)++, length);
}

int open_path(void) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

rb_emitter *open_emitter(int *kept) {
    char why[200];
    rb_emitter *emitter;
    int fd = open_path();
    REQUIRE(rb_emitter_open(fd, path, RB_POLICY_DROP, 0, &emitter, why, sizeof why) == RB_OK);
    if (kept != NULL) {
        *kept = fd;
    } else {
        close(fd);
    }
    return emitter;
}

static bool is_right(const rb_record *record, const uint8_t *payload) {
    const struct fact *fact = &facts[record->seq];
    bool right = fact->who == record->kind && fact->length == record->length &&
                 fact->number == record->number;
    for (uint32_t i = 0; right && i < fact->length; i++) {
        right = payload[i] == byte_of(fact->who, fact->number, i);
    }
    return right;
}

rb_subscriber *subscribe(uint64_t start) {
    char why[200];
    rb_subscriber *subscriber;
    uint64_t missed;
    int fd = open_path();
    REQUIRE(rb_subscriber_open(fd, path, start, NULL, &subscriber, &missed, why, sizeof why) ==
            RB_OK);
    close(fd);
    return subscriber;
}

bool read_one(uint64_t seq, rb_record *record) {
    static uint8_t payload[LARGEST];
    uint64_t missed;
    rb_subscriber *subscriber = subscribe(seq);
    int status = rb_subscriber_peek(subscriber, record, &missed);
    record->cell = status == RB_OK ? record->cell : RB_NONE;
    REQUIRE(status == RB_CORRUPT || (status == RB_OK && record->seq == seq));
    if (status == RB_OK) {
        REQUIRE(rb_subscriber_copy(subscriber, record, payload, &missed) == RB_OK);
    }
    rb_subscriber_free(subscriber);
    return status == RB_OK && is_right(record, payload);
}

uint32_t count_owned(void) {
    char why[200];
    rb_ring *ring;
    rb_stats stats;
    int fd = open_path();
    REQUIRE(rb_ring_attach(fd, path, 1, &ring, why, sizeof why) == RB_OK);
    close(fd);
    REQUIRE(rb_ring_stats(ring, &stats) == RB_OK);
    rb_ring_free(ring);
    return stats.block_count - stats.blocks_free;
}
