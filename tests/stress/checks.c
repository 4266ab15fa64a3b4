/* What must hold of the ring, whatever became of the stepped child.
 *
 * Every kept record is read and compared. As numbers are dense, the tail alone tells how many
 * records the stepped child has published.
 */
#include "step.h"

#include <stdio.h>
#include <unistd.h>

static void check_stepped(struct scene *scene, const rb_record *record) {
    const struct report *report = scene->report;
    const uint64_t number = record->number;
    if (number >= MAX_STEPPED || record->length != report->lengths[number]) {
        complain(scene, "seq %llu has a wrong number or length", (unsigned long long)record->seq);
        return;
    }
    if (scene->found[number] != NO_SEQ && scene->found[number] != (int64_t)record->seq) {
        complain(scene, "the record was published twice: %lld and %llu",
                 (long long)scene->found[number], (unsigned long long)record->seq);
    }
    if (report->seqs[number] != NO_SEQ && report->seqs[number] != (int64_t)record->seq) {
        complain(scene, "the emit returned %lld and its record is %llu",
                 (long long)report->seqs[number], (unsigned long long)record->seq);
    }
    scene->found[number] = (int64_t)record->seq;
}

void check_record(struct scene *scene, const rb_record *record, const uint8_t *payload) {
    const uint64_t seq = record->seq;
    if (!is_payload(payload, record->kind, record->number, record->length)) {
        complain(scene, "the payload of seq %llu is wrong", (unsigned long long)seq);
    } else if (seq < MAX_KNOWN && scene->kinds[seq] != 0) {
        CHECK(scene, record->kind == scene->kinds[seq]);
        CHECK(scene, record->number == scene->numbers[seq]);
        CHECK(scene, record->kind == VICTIM || record->length == usual_length(record->number));
    } else if (record->kind != STEPPED) {
        complain(scene, "nobody emitted seq %llu", (unsigned long long)seq);
    } else {
        check_stepped(scene, record);
    }
}

/* Returns the bytes that the kept records take. */
static uint64_t read_all(struct scene *scene, rb_subscriber *subscriber, uint64_t from) {
    static uint8_t payload[LARGEST];
    rb_record record;
    uint64_t missed = 0;
    uint64_t next = from;
    uint64_t kept = 0;
    rb_stats stats;
    int status;
    while (!scene->failed &&
           (status = rb_subscriber_peek(subscriber, &record, &missed)) != RB_EMPTY) {
        if (status == RB_OK) {
            status = rb_subscriber_copy(subscriber, &record, payload, &missed);
        }
        if (status != RB_OK || record.seq != next++) {
            complain(scene, "reading seq %llu: status %d", (unsigned long long)next, status);
            return kept;
        }
        check_record(scene, &record, payload);
        kept += rb_align(sizeof(struct rb_record_header) + record.length, RB_CELL);
    }
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    CHECK(scene, stats.floor == from && stats.tail == next);
    return kept;
}

/* Bytes. The rest are the ends of blocks, those of emitters at work or dead, and the stepped
 * records. */
static uint64_t least_kept(const struct scene *scene) {
    uint64_t least = CAPACITY - CAPACITY / 8;
    least -= (uint64_t)scene->dead_blocks * rb_block_size(CAPACITY);
    for (uint32_t i = 0; i < scene->report->planned; i++) {
        least -= scene->report->lengths[i];
    }
    return least;
}

/* All kept records, from the floor to the tail, with nobody emitting meanwhile. */
void verify(struct scene *scene) {
    char why[200];
    rb_subscriber *subscriber;
    uint64_t missed;
    if (scene->failed) {
        return;
    }
    int fd = open_path(scene->path);
    int status =
        rb_subscriber_open(fd, scene->path, 0, NULL, &subscriber, &missed, why, sizeof why);
    close(fd);
    if (status != RB_OK) {
        complain(scene, "nobody can subscribe: status %d", status);
        return;
    }
    const uint64_t kept = read_all(scene, subscriber, missed);
    rb_subscriber_free(subscriber);
    if (!scene->what->is_edge) {
        CHECK(scene, kept >= least_kept(scene));
    }
}

/* What is in the order and not the others' is the stepped child's. */
static uint64_t count_published(struct scene *scene) {
    rb_stats stats = {0};
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    return stats.tail - scene->known;
}

void check_published(struct scene *scene, bool is_over) {
    const struct report *report = scene->report;
    if (scene->failed) {
        return;
    }
    const uint64_t published = count_published(scene);
    if (published < report->returned || published > report->planned ||
        published > report->returned + 1 || (is_over && published != report->planned)) {
        complain(scene, "%llu of %u records published, %zu emits returned",
                 (unsigned long long)published, report->planned, report->returned);
    }
    for (uint32_t i = 0; is_over && i < report->planned; i++) {
        /* A number that another emitter was given as well would make the tail come out right. */
        if (report->seqs[i] != NO_SEQ && scene->kinds[report->seqs[i]] != 0) {
            complain(scene, "seq %lld was given to two", (long long)report->seqs[i]);
        }
    }
}

/* Just verified, before any of it can be overwritten: the stepped records are the first ones of
 * those planned, in their order. */
void check_found(struct scene *scene) {
    if (scene->failed) {
        return;
    }
    const uint64_t published = count_published(scene);
    for (uint32_t i = 0; i < MAX_STEPPED; i++) {
        CHECK(scene, (scene->found[i] != NO_SEQ) == (i < published));
        CHECK(scene, i == 0 || i >= published || scene->found[i - 1] < scene->found[i]);
    }
}

/* The peer is the only emitter left; it is lane 0 and has at most the block it writes into. */
void check_nothing_leaked(struct scene *scene) {
    rb_stats stats;
    uint32_t peers = 0;
    if (scene->failed) {
        return;
    }
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    for (uint32_t b = 0; b < stats.block_count; b++) {
        uint64_t word = block_word(scene, b);
        if (rb_word_is_owned(word) && rb_word_lane(word) != 0) {
            complain(scene, "block %u is lost to lane %u", b, rb_word_lane(word));
        }
        peers += rb_word_is_owned(word);
    }
    CHECK(scene, peers <= 1 && stats.blocks_free == stats.block_count - peers);
}

static uint32_t longest(const struct scene *scene) {
    uint32_t length = 0;
    for (uint32_t i = 0; i < scene->report->planned; i++) {
        length = scene->report->lengths[i] > length ? scene->report->lengths[i] : length;
    }
    return length;
}

/* The stepped emitter has blocks for one record and the one that it goes on in; while it waits at a
 * gate, no more than the latter. */
void check_in_hand(struct scene *scene) {
    const uint32_t size = rb_block_size(CAPACITY);
    uint32_t held = 0;
    uint32_t most = 1 + scene->dead_blocks;
    for (uint32_t b = 0; b < CAPACITY / size; b++) {
        uint64_t word = block_word(scene, b);
        held += rb_word_is_owned(word) && rb_word_lane(word) != 0;
    }
    if (!__atomic_load_n(&scene->report->is_waiting, __ATOMIC_SEQ_CST)) {
        most += (uint32_t)rb_align(sizeof(struct rb_record_header) + longest(scene), size) / size;
    }
    CHECK(scene, held <= most);
}
