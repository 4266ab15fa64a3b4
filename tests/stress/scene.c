/* A ring and the others on it.
 *
 * Payloads follow from emitter and number, and the seq that each emit of the others returned is
 * kept, so that every kept record can be checked byte by byte and place by place (checks.c).
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

rb_emitter *open_emitter(struct scene *scene, uint32_t policy, uint64_t limit_ns) {
    char why[200] = "";
    rb_emitter *emitter = NULL;
    int fd = open_path(scene->path);
    int status = rb_emitter_open(fd, scene->path, policy, limit_ns, &emitter, why, sizeof why);
    close(fd);
    if (status != RB_OK) {
        complain(scene, "an emitter cannot be opened: status %d %s", status, why);
    }
    return emitter;
}

rb_subscriber *open_gate(struct scene *scene, const char *name, uint64_t start, uint64_t *missed) {
    char why[200] = "";
    rb_subscriber *subscriber = NULL;
    int fd = open_path(scene->path);
    int status =
        rb_subscriber_open(fd, scene->path, start, name, &subscriber, missed, why, sizeof why);
    close(fd);
    if (status != RB_OK) {
        complain(scene, "the gate %s cannot be opened: status %d %s", name, status, why);
    }
    return subscriber;
}

/* Payloads. */

/* A part of one random pattern, so that comparing is quick and a shifted copy is found as well. */
enum { SHIFTS = 4096 };
static uint8_t pattern[SHIFTS + LARGEST];

void prepare_pattern(void) {
    uint64_t state = UINT64_C(88172645463325252);
    for (size_t i = 0; i < sizeof pattern; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        pattern[i] = (uint8_t)(state >> 32);
    }
}

static const uint8_t *payload_of(uint32_t kind, uint64_t number) {
    return &pattern[(number * 31 + kind * 1009) % SHIFTS];
}

uint32_t fill_payload(uint8_t *to, uint32_t kind, uint64_t number, uint32_t length) {
    memcpy(to, payload_of(kind, number), length);
    return length;
}

bool is_payload(const uint8_t *payload, uint32_t kind, uint64_t number, uint32_t length) {
    return memcmp(payload, payload_of(kind, number), length) == 0;
}

/* Mostly small, now and then several blocks. */
uint32_t usual_length(uint64_t number) {
    uint32_t mixed = (uint32_t)(number * 2654435761u) >> 7;
    return number % 41 == 40 ? 1500 + mixed % 1200 : mixed % 500;
}

/* The ring. */

static struct rb_geometry geometry(void) { return rb_geometry_of(CAPACITY); }

const struct rb_hot *hot_of(const struct scene *scene) {
    return (const struct rb_hot *)(const void *)(scene->bytes + RB_PAGE);
}

const struct rb_gate *gate_of(const struct scene *scene, uint32_t gate) {
    const void *gates = scene->bytes + geometry().gates_offset;
    return &((const struct rb_gate *)gates)[gate];
}

uint64_t block_word(const struct scene *scene, uint32_t block) {
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
    scene->peer = open_emitter(scene, scene->what->policy, 0);
}

void begin_scene(struct scene *scene) {
    for (int i = 0; i < MAX_STEPPED; i++) {
        scene->found[i] = NO_SEQ;
    }
    memset(scene->report, 0, sizeof *scene->report);
    memset(scene->report->seqs, 0xff, sizeof scene->report->seqs); /* NO_SEQ */
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
    if (scene->standing != NULL) {
        rb_subscriber_free(scene->standing);
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
        CHECK(scene, published == 0);
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
    rb_emitter *visitor = open_emitter(scene, scene->what->policy, 0);
    if (visitor == NULL) {
        return;
    }
    for (uint64_t i = 0; i < 12 && !scene->failed; i++) {
        emit_known(scene, visitor, VISITOR, i);
        follow_with_gate(scene);
    }
    rb_emitter_free(visitor);
}
