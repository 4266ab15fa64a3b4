/* A ring, the other emitters on it, and what must hold of it whatever became of the stepped child.
 *
 * Payloads follow from emitter and number, and the seq that each emit of the others returned is
 * kept, so that every kept record can be checked byte by byte and place by place. As numbers are
 * dense, the tail alone tells how many records the stepped child has published.
 */
#define _GNU_SOURCE
#include "step.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char *const MODES[] = {"count", "kill", "stop"};

/* The first complaint of a run says what happened; what follows from it would only hide it. */
void complain(struct scene *scene, const char *format, ...) {
    if (scene->failed) {
        return;
    }
    scene->failed = true;
    char text[400];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fprintf(stderr, "%s, %s at boundary %u: %s\n", scene->what->name, MODES[scene->mode],
            scene->boundary, text);
}

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void need(bool condition, const char *what) {
    if (!condition) {
        perror(what);
        exit(2);
    }
}

int open_path(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    need(fd >= 0, path);
    return fd;
}

rb_emitter *open_emitter(struct scene *scene, uint32_t policy) {
    char why[200] = "";
    rb_emitter *emitter = NULL;
    int fd = open_path(scene->path);
    int status = rb_emitter_open(fd, scene->path, policy, 0, &emitter, why, sizeof why);
    close(fd);
    if (status != RB_OK) {
        complain(scene, "an emitter cannot be opened: status %d %s", status, why);
    }
    return emitter;
}

/* Payloads. */

static uint8_t byte_of(uint32_t kind, uint64_t number, uint32_t at) {
    return (uint8_t)(number * 31 + kind * 101 + at * 7 + (at >> 8));
}

uint32_t fill_payload(uint8_t *to, uint32_t kind, uint64_t number, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) {
        to[i] = byte_of(kind, number, i);
    }
    return length;
}

bool is_payload(const uint8_t *payload, uint32_t kind, uint64_t number, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) {
        if (payload[i] != byte_of(kind, number, i)) {
            return false;
        }
    }
    return true;
}

/* Mostly small, now and then several blocks. */
static uint32_t usual_length(uint64_t number) {
    uint32_t mixed = (uint32_t)(number * 2654435761u) >> 7;
    return number % 41 == 40 ? 1500 + mixed % 1200 : mixed % 500;
}

/* The ring. */

static struct rb_geometry geometry(void) { return rb_geometry_of(CAPACITY); }

const struct rb_hot *hot_of(const struct scene *scene) {
    return (const struct rb_hot *)(const void *)(scene->bytes + RB_PAGE);
}

uint64_t gate_word(const struct scene *scene, uint32_t gate) {
    const void *gates = scene->bytes + geometry().gates_offset;
    return rb_load_acquire_64(&((const struct rb_gate *)gates)[gate].word);
}

static uint64_t block_word(const struct scene *scene, uint32_t block) {
    const void *words = scene->bytes + geometry().words_offset;
    return rb_load_acquire_64(&((const uint64_t *)words)[block]);
}

/* Everything that the observer has of the ring now at the path. */
void adopt_ring(struct scene *scene) {
    char why[200] = "";
    int fd = open_path(scene->path);
    void *bytes = mmap(NULL, geometry().file_size, PROT_READ, MAP_SHARED, fd, 0);
    need(bytes != MAP_FAILED, "mmap");
    scene->bytes = bytes;
    close(fd);
    /* A description of its own: what the inspecting mapping keeps must not keep a lock. */
    fd = open_path(scene->path);
    int status = rb_ring_attach(fd, scene->path, 1, &scene->ring, why, sizeof why);
    close(fd);
    if (status != RB_OK) {
        complain(scene, "the ring cannot be attached to: status %d %s", status, why);
        return;
    }
    scene->peer = open_emitter(scene, scene->what->policy);
}

void begin_scene(struct scene *scene) {
    for (int i = 0; i < MAX_STEPPED; i++) {
        scene->found[i] = NO_SEQ;
    }
    memset(scene->report, 0, sizeof *scene->report);
    unlink(scene->path);
    if (scene->what->is_edge) {
        return;
    }
    CHECK(scene, rb_ring_create(scene->path, CAPACITY) == RB_OK);
    adopt_ring(scene);
    /* More than full, so that every block taken later costs a raised floor. */
    emit_as_peer(scene, CAPACITY + CAPACITY / 4);
}

void end_scene(struct scene *scene) {
    if (scene->gate != NULL) {
        rb_subscriber_free(scene->gate);
    }
    if (scene->peer != NULL) {
        rb_emitter_free(scene->peer);
    }
    if (scene->ring != NULL) {
        rb_ring_free(scene->ring);
    }
    if (scene->bytes != NULL) {
        munmap((void *)(uintptr_t)scene->bytes, geometry().file_size);
    }
    unlink(scene->path);
}

/* The others. They never wait: RB_WAIT, or anything but RB_OK, is a failure. */

int try_to_emit(struct scene *scene, rb_emitter *emitter, uint32_t kind, uint64_t number) {
    static uint8_t payload[LARGEST];
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t first = 0;
    uint64_t last = 0;
    rb_item item = {.payload = payload, .kind = kind};
    item.length = fill_payload(payload, kind, number, usual_length(number));
    int status = rb_emitter_emit(emitter, &item, 1, &published, &stall, &first, &last);
    if (status != RB_OK) {
        return status;
    }
    if (published != 1 || first != last || last >= MAX_KNOWN || scene->kinds[last] != 0) {
        complain(scene, "seq %llu was given twice, or is too large", (unsigned long long)last);
        return status;
    }
    scene->kinds[last] = (uint8_t)kind;
    scene->numbers[last] = number;
    scene->known++;
    return status;
}

static void emit_known(struct scene *scene, rb_emitter *emitter, uint32_t kind, uint64_t number) {
    int status = try_to_emit(scene, emitter, kind, number);
    if (status != RB_OK) {
        complain(scene, "another emitter's emit returned status %d (%s)", status,
                 rb_status_name(status));
    }
}

static void follow_with_gate(struct scene *scene) {
    enum { BEHIND = 20 };
    uint64_t cursor;
    uint64_t tail;
    uint64_t floor;
    if (scene->gate != NULL) {
        CHECK(scene, rb_subscriber_position(scene->gate, &cursor, &tail, &floor) == RB_OK);
        if (tail > BEHIND) {
            CHECK(scene, rb_subscriber_advance(scene->gate, tail - BEHIND) == RB_OK);
        }
    }
}

void emit_as_peer(struct scene *scene, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes && !scene->failed;) {
        uint32_t length = usual_length(scene->peer_number);
        emit_known(scene, scene->peer, PEER, scene->peer_number++);
        done += rb_align(sizeof(struct rb_record_header) + length, RB_CELL);
        follow_with_gate(scene);
    }
}

/* A newcomer: it frees what the dead left and, having no candidates of old, takes the blocks that
 * now look oldest at once. */
void visit(struct scene *scene) {
    rb_emitter *visitor = open_emitter(scene, scene->what->policy);
    if (visitor == NULL) {
        return;
    }
    for (uint64_t i = 0; i < 12 && !scene->failed; i++) {
        emit_known(scene, visitor, VISITOR, i);
        follow_with_gate(scene);
    }
    rb_emitter_free(visitor);
}

/* What must hold. */

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
    if (number < report->returned && report->seqs[number] != record->seq) {
        complain(scene, "the emit returned %llu and its record is %llu",
                 (unsigned long long)report->seqs[number], (unsigned long long)record->seq);
    }
    scene->found[number] = (int64_t)record->seq;
}

static void check_record(struct scene *scene, const rb_record *record, const uint8_t *payload) {
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

static void read_all(struct scene *scene, rb_subscriber *subscriber, uint64_t from) {
    static uint8_t payload[LARGEST];
    rb_record record;
    uint64_t missed = 0;
    uint64_t next = from;
    rb_stats stats;
    int status;
    while (!scene->failed &&
           (status = rb_subscriber_peek(subscriber, &record, &missed)) != RB_EMPTY) {
        if (status == RB_OK) {
            status = rb_subscriber_copy(subscriber, &record, payload, &missed);
        }
        if (status != RB_OK || record.seq != next++) {
            complain(scene, "reading seq %llu: status %d", (unsigned long long)next, status);
            return;
        }
        check_record(scene, &record, payload);
    }
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    CHECK(scene, stats.floor == from && stats.tail == next);
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
    read_all(scene, subscriber, missed);
    rb_subscriber_free(subscriber);
}

/* Dense numbers: what is in the order and not the others' is the stepped child's. */
void check_published(struct scene *scene, bool is_over) {
    const struct report *report = scene->report;
    rb_stats stats;
    if (scene->failed) {
        return;
    }
    CHECK(scene, rb_ring_stats(scene->ring, &stats) == RB_OK);
    uint64_t published = stats.tail - scene->known;
    if (published < report->returned || published > report->planned ||
        (is_over && published != report->planned)) {
        complain(scene, "%llu of %u records published, %u emits returned",
                 (unsigned long long)published, report->planned, report->returned);
    }
    for (uint32_t i = 0; is_over && i < report->returned; i++) {
        /* A number that another emitter was given as well would make the tail come out right. */
        if (scene->kinds[report->seqs[i]] != 0) {
            complain(scene, "seq %llu was given to two", (unsigned long long)report->seqs[i]);
        }
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
