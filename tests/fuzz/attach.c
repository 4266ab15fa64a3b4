/* Fuzz target: a file that may be anything is attached to, asked, read and emitted into.
 *
 * The first byte says how the rest becomes the file; without help no input would ever get past the
 * layout hash:
 *
 *     0   the rest, as it is
 *     1   a right header, then the rest over and over, to the right size
 *     2   the same, and 12 bytes of the rest are xored into the header at a place that they name
 *     3   the same as 1, but the size is wrong
 *     4   the same as 1, with a capacity from the rest
 *
 * Beyond "no crash, no hang": a ring is taken only if its header and its size are right, every
 * status is one that the call may return, and a subscriber's numbers are dense.
 */
#define _GNU_SOURCE
#include "ring_file.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODES = 5, MAX_READS = 200, MAX_TRIES = 5000, HEADER_CHANGE = 12, LARGE = 1 << 20 };

static uint8_t *bytes;
static size_t bytes_size;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    bytes = malloc(2 * LARGE);
    REQUIRE(bytes != NULL);
    return 0;
}

static void write_right_header(uint64_t capacity) {
    struct rb_geometry g = rb_geometry_of(capacity);
    struct rb_header header = {
        .version = RB_VERSION,
        .byte_order = RB_BYTE_ORDER,
        .layout_hash = rb_layout_hash(),
        .file_size = g.file_size,
        .epoch = 1,
        .capacity = capacity,
        .block_size = g.block_size,
        .block_count = g.block_count,
        .cell_count = g.cell_count,
        .lane_count = g.lane_count,
        .gate_count = g.gate_count,
    };
    memcpy(header.magic, RB_MAGIC, sizeof header.magic);
    memcpy(bytes, &header, sizeof header);
    bytes_size = g.file_size;
}

static void fill_after_header(const uint8_t *data, size_t size) {
    for (size_t at = RB_PAGE; at < bytes_size; at += size) {
        memcpy(bytes + at, data, bytes_size - at < size ? bytes_size - at : size);
    }
}

static void change_header(const uint8_t *data) {
    for (size_t i = 0; i < HEADER_CHANGE; i++) {
        bytes[(data[0] + i) % sizeof(struct rb_header)] ^= data[1 + i];
    }
}

/* False: the input is too short to mean anything. */
static bool make_file(const uint8_t *data, size_t size) {
    if (size < 2 + HEADER_CHANGE) {
        return false;
    }
    unsigned mode = *data++ % MODES;
    size--;
    if (mode == 0) {
        bytes_size = size;
        memcpy(bytes, data, size);
    } else {
        bool is_large = mode == 4 && data[0] % 16 == 0;
        uint32_t shift = mode == 4 ? data[0] % 3 : 0;
        write_right_header(is_large ? LARGE : (uint64_t)CAPACITY << shift);
        fill_after_header(data, size);
    }
    if (mode == 2) {
        change_header(data);
    } else if (mode == 3) {
        bytes_size -= data[0] % 2 == 0 ? RB_PAGE : 1;
    }
    file_write(bytes, bytes_size);
    return true;
}

/* What every file must be that a ring handle accepts, said once more and independently. */
static void require_right_file(void) {
    struct rb_header h;
    REQUIRE(bytes_size >= sizeof h);
    memcpy(&h, bytes, sizeof h);
    REQUIRE(memcmp(h.magic, "ringbus\1", 8) == 0 && h.version == 1 && h.epoch != 0);
    REQUIRE(h.capacity >= 1 << 16 && h.capacity <= 1 << 30);
    REQUIRE((h.capacity & (h.capacity - 1)) == 0);
    REQUIRE((uint64_t)h.block_size * h.block_count == h.capacity);
    REQUIRE(h.file_size == bytes_size && h.cell_count == h.capacity / 64);
    REQUIRE(h.lane_count == h.block_count / 8 && h.gate_count == 16);
}

static bool ask(void) {
    char why[WHY_SIZE] = "";
    rb_ring *ring;
    int fd = file_open();
    int status = rb_ring_attach(fd, file_path(), 0, &ring, why, sizeof why);
    close(fd);
    if (status == RB_INCOMPATIBLE) {
        REQUIRE(why[0] != '\0');
        return false;
    }
    require_right_file();
    if (status == RB_UNLINKED) { /* so the flags say; subscribers may read on */
        return true;
    }
    REQUIRE(status == RB_OK);
    rb_stats stats;
    uint32_t flags;
    int yes;
    static rb_database database;
    REQUIRE(rb_ring_stats(ring, &stats) == RB_OK && stats.blocks_free <= stats.block_count);
    for (uint32_t i = 0; i < stats.lane_count; i++) {
        rb_lane_stats lane;
        REQUIRE(rb_ring_lane(ring, i, &lane) == RB_OK && !lane.alive);
    }
    for (uint32_t i = 0; i < stats.gate_count; i++) {
        rb_gate_stats gate;
        REQUIRE(rb_ring_gate(ring, i, &gate) == RB_OK && !gate.alive);
        REQUIRE(memchr(gate.name, '\0', sizeof gate.name) != NULL);
    }
    REQUIRE(rb_ring_flags(ring, &flags) == RB_OK && flags == stats.flags);
    REQUIRE(rb_ring_gate_held(ring, "gate", &yes) == RB_OK && !yes);
    int named = rb_ring_database(ring, &database);
    REQUIRE(named == RB_OK || named == RB_EMPTY);
    REQUIRE(named == RB_EMPTY || memchr(database.path, '\0', sizeof database.path) != NULL);
    REQUIRE(rb_ring_set_database(ring, &database) == RB_OK);
    rb_ring_free(ring);
    return true;
}

/* Dense numbers: each record is the next one, or the jump was told. */
static void read_all(rb_subscriber *subscriber) {
    uint64_t cursor;
    uint64_t tail;
    uint64_t floor;
    REQUIRE(rb_subscriber_position(subscriber, &cursor, &tail, &floor) == RB_OK);
    for (int i = 0; i < MAX_READS; i++) {
        rb_record record;
        uint64_t missed = 0;
        int status = rb_subscriber_peek(subscriber, &record, &missed);
        if (status == RB_OK) {
            REQUIRE(record.seq == cursor && record.length <= LARGE / 4);
            uint8_t *payload = malloc(record.length + 1); /* exact: one byte more is a fault */
            status = rb_subscriber_copy(subscriber, &record, payload + 1, &missed);
            free(payload);
        }
        if (status != RB_OK && status != RB_LAPPED) {
            REQUIRE(status == RB_EMPTY || status == RB_CORRUPT || status == RB_UNLINKED ||
                    status == RB_EVICTED);
            return;
        }
        cursor += status == RB_OK ? 1 : missed;
    }
}

static void subscribe(uint64_t start, const char *gate) {
    char why[WHY_SIZE];
    rb_subscriber *subscriber;
    uint64_t missed;
    int fd = file_open();
    int status =
        rb_subscriber_open(fd, file_path(), start, gate, &subscriber, &missed, why, sizeof why);
    close(fd);
    if (status != RB_OK) {
        REQUIRE(gate != NULL && (status == RB_NO_GATE || status == RB_EVICTED));
        return;
    }
    read_all(subscriber);
    if (gate != NULL) {
        status = rb_subscriber_advance(subscriber, start + 1);
        REQUIRE(status == RB_OK || status == RB_INVALID || status == RB_EVICTED);
    }
    REQUIRE(rb_subscriber_park(subscriber, 1) >= 0);
    REQUIRE(rb_subscriber_close(subscriber, start % 2 == 0) == RB_OK);
    rb_subscriber_free(subscriber);
}

static void emit(rb_emitter *emitter, const rb_item *items, size_t count) {
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t first;
    uint64_t last;
    int status = RB_WAIT;
    for (int tries = 0; status == RB_WAIT; tries++) {
        REQUIRE(tries < MAX_TRIES && "an emit must end");
        status = rb_emitter_emit(emitter, items, count, &published, &stall, &first, &last);
        if (status == RB_WAIT) {
            REQUIRE(rb_emitter_park(emitter, &stall) >= 0);
        }
    }
    REQUIRE(published <= count && (status != RB_OK || published == count));
    REQUIRE(status == RB_OK || status == RB_BACK_PRESSURE || status == RB_POOL_EXHAUSTED ||
            status == RB_UNLINKED || status == RB_POISONED || status == RB_CORRUPT);
}

static void emit_all(uint32_t policy) {
    char why[WHY_SIZE];
    static const uint8_t payload[LARGEST];
    const rb_item items[] = {{payload, 0, 1, 0},
                             {payload, 1, 2, 0},
                             {payload, 991, 3, 0},
                             {payload, 993, 4, 0},
                             {payload, 5000, 5, 0}};
    const rb_item huge = {payload, LARGEST, 6, RB_RECORD_TRANSIENT};
    rb_emitter *emitter;
    int fd = file_open();
    int status = rb_emitter_open(fd, file_path(), policy, 0, &emitter, why, sizeof why);
    close(fd);
    REQUIRE(status == RB_OK || status == RB_CORRUPT);
    if (status != RB_OK) {
        return;
    }
    emit(emitter, items, sizeof items / sizeof items[0]);
    emit(emitter, &huge, 1);
    emit(emitter, items, 1);
    REQUIRE(rb_emitter_close(emitter) == RB_OK);
    rb_emitter_free(emitter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!make_file(data, size) || !ask()) {
        return 0;
    }
    subscribe(0, NULL);
    subscribe(UINT64_MAX, NULL);
    subscribe(data[size - 1], "gate");
    emit_all(data[size - 1] % 3);
    subscribe(0, "gate");
    emit_all(RB_POLICY_DROP);
    subscribe(data[size - 1], NULL);
    return 0;
}
