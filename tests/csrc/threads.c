/* Threads of one process over one ring: three emitters (one of them shared by two threads), a gate
 * that must see everything, and two subscribers that may be lapped. Every payload is verified.
 *
 *     threads PATH RECORDS     ends with status 0 after so many records of each emitter
 *
 * ThreadSanitizer knows memory by its address, and each handle has a mapping of its own. With
 * ONE_MAPPING and the linker's --wrap=mmap,--wrap=munmap they all share the first one, so that it
 * sees who touches what. Their locks then live with the descriptors, which stay open to the end.
 *
 * With ONLY_GATES all three subscribers are gates. Then no byte is read while it is overwritten, and
 * plain copies are in order if the ordered accesses are.
 */
#define _GNU_SOURCE
#include "require.h"
#include "ring.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EMITTERS = 3, READERS = 3, LARGEST = 6000, CAPACITY = 1 << 16 };
static const char *const GATES[READERS] = {"gate", "second", "third"};
static const uint64_t LIMIT_NS = UINT64_C(300000000000);

static const char *path;
static uint64_t records;

#ifdef ONE_MAPPING
static pthread_mutex_t mapping_lock = PTHREAD_MUTEX_INITIALIZER;
static void *shared_mapping;

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fd < 0) {
        return __real_mmap(at, size, protection, flags, fd, offset);
    }
    pthread_mutex_lock(&mapping_lock);
    if (shared_mapping == NULL) {
        shared_mapping = __real_mmap(at, size, protection, flags, fd, offset);
    }
    pthread_mutex_unlock(&mapping_lock);
    return shared_mapping;
}

int __wrap_munmap(void *at, size_t size) {
    return at == shared_mapping ? 0 : __real_munmap(at, size);
}
#endif

static int open_ring(void) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

static void close_ring(int fd) {
#ifndef ONE_MAPPING
    close(fd);
#else
    (void)fd;
#endif
}

/* Payloads: emitter, number, then bytes that follow from both. */

static uint32_t length_of(uint32_t emitter, uint64_t number) {
    uint64_t mixed = (number * 2654435761u + emitter * 40503u) >> 3;
    return (uint32_t)(16 + (number % 16 == 0 ? mixed % LARGEST : mixed % 300));
}

static uint8_t byte_of(uint32_t emitter, uint64_t number, uint32_t at) {
    return (uint8_t)(number * 31 + emitter * 7 + at);
}

static uint32_t write_payload(uint8_t *to, uint32_t emitter, uint64_t number) {
    uint32_t length = length_of(emitter, number);
    memcpy(to, &emitter, sizeof emitter);
    memcpy(to + 4, &number, sizeof number);
    for (uint32_t i = 12; i < length; i++) {
        to[i] = byte_of(emitter, number, i);
    }
    return length;
}

static void check_payload(const uint8_t *payload, uint32_t length, uint32_t *emitter,
                          uint64_t *number) {
    memcpy(emitter, payload, sizeof *emitter);
    memcpy(number, payload + 4, sizeof *number);
    REQUIRE(*emitter < EMITTERS + 1 && *number < records);
    REQUIRE(length == length_of(*emitter, *number));
    for (uint32_t i = 12; i < length; i++) {
        REQUIRE(payload[i] == byte_of(*emitter, *number, i));
    }
}

/* Emitters. */

struct emitting {
    rb_emitter *emitter;
    uint32_t who;
    uint64_t count;
};

static void emit(rb_emitter *emitter, const rb_item *item) {
    rb_stall stall = {0};
    size_t published = 0;
    uint64_t first;
    uint64_t last;
    int status;
    while ((status = rb_emitter_emit(emitter, item, 1, &published, &stall, &first, &last)) ==
           RB_WAIT) {
        status = rb_emitter_park(emitter, &stall);
        REQUIRE(status == RB_OK || status == RB_TIMED_OUT || status == RB_INTERRUPTED);
    }
    REQUIRE(status == RB_OK && published == 1 && first == last);
}

static void *run_emitter(void *argument) {
    const struct emitting *mine = argument;
    uint8_t payload[LARGEST + 16];
    for (uint64_t number = 0; number < mine->count; number++) {
        rb_item item = {.payload = payload, .kind = mine->who};
        item.length = write_payload(payload, mine->who, number);
        emit(mine->emitter, &item);
    }
    return NULL;
}

/* Subscribers. */

struct reading {
    rb_subscriber *subscriber;
    bool is_gate;
    uint64_t total;
    uint64_t received;
    uint64_t missed;
    uint64_t next[EMITTERS + 1];
};

static void take(struct reading *mine, const rb_record *record, const uint8_t *payload) {
    uint32_t emitter;
    uint64_t number;
    REQUIRE(record->seq == mine->received + mine->missed);
    check_payload(payload, record->length, &emitter, &number);
    REQUIRE(record->kind == emitter && number >= mine->next[emitter]);
    REQUIRE(!mine->is_gate || number == mine->next[emitter]);
    mine->next[emitter] = number + 1;
    mine->received++;
    if (mine->is_gate && mine->received % 8 == 0) {
        REQUIRE(rb_subscriber_advance(mine->subscriber, record->seq + 1) == RB_OK);
    }
}

static void *run_reader(void *argument) {
    struct reading *mine = argument;
    uint8_t payload[CAPACITY / 4];
    while (mine->received + mine->missed < mine->total) {
        rb_record record;
        uint64_t missed = 0;
        int status = rb_subscriber_peek(mine->subscriber, &record, &missed);
        if (status == RB_OK) {
            status = rb_subscriber_copy(mine->subscriber, &record, payload, &missed);
        }
        mine->missed += missed;
        if (status == RB_OK) {
            take(mine, &record, payload);
        } else if (status == RB_EMPTY) {
            status = rb_subscriber_park(mine->subscriber, LIMIT_NS);
            REQUIRE(status == RB_OK || status == RB_TIMED_OUT || status == RB_INTERRUPTED);
        } else {
            REQUIRE(status == RB_LAPPED && missed > 0);
        }
    }
    return NULL;
}

static rb_subscriber *subscribe(const char *gate) {
    char why[200];
    rb_subscriber *subscriber;
    uint64_t missed;
    int fd = open_ring();
    REQUIRE(rb_subscriber_open(fd, path, 0, gate, &subscriber, &missed, why, sizeof why) == RB_OK);
    REQUIRE(missed == 0);
    close_ring(fd);
    return subscriber;
}

static rb_emitter *open_emitter(void) {
    char why[200];
    rb_emitter *emitter;
    int fd = open_ring();
    REQUIRE(rb_emitter_open(fd, path, RB_POLICY_BLOCK, LIMIT_NS, &emitter, why, sizeof why) ==
            RB_OK);
    close_ring(fd);
    return emitter;
}

static void check_ring(void) {
    char why[200];
    rb_ring *ring;
    rb_stats stats;
    int fd = open_ring();
    REQUIRE(rb_ring_attach(fd, path, 1, &ring, why, sizeof why) == RB_OK);
    REQUIRE(rb_ring_stats(ring, &stats) == RB_OK);
    REQUIRE(stats.tail == records * EMITTERS && stats.blocks_free == stats.block_count);
    rb_ring_free(ring);
    close_ring(fd);
}

int main(int argc, char **argv) {
    REQUIRE(argc == 3);
    path = argv[1];
    records = strtoull(argv[2], NULL, 10) / 2 * 2;
    REQUIRE(rb_ring_create(path, CAPACITY) == RB_OK);

    struct reading reading[READERS] = {{.is_gate = true}};
#ifdef ONLY_GATES
    reading[1].is_gate = reading[2].is_gate = true;
#endif
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++) {
        reading[i].total = records * EMITTERS;
        reading[i].subscriber = subscribe(reading[i].is_gate ? GATES[i] : NULL);
    }
    rb_emitter *handles[EMITTERS] = {open_emitter(), open_emitter(), open_emitter()};
    struct emitting emitting[EMITTERS + 1] = {
        {handles[0], 0, records},
        {handles[1], 1, records},
        {handles[2], 2, records / 2},
        {handles[2], 3, records / 2},
    };
    pthread_t emitters[EMITTERS + 1];
    for (int i = 0; i < READERS; i++) {
        REQUIRE(pthread_create(&readers[i], NULL, run_reader, &reading[i]) == 0);
    }
    for (int i = 0; i < EMITTERS + 1; i++) {
        REQUIRE(pthread_create(&emitters[i], NULL, run_emitter, &emitting[i]) == 0);
    }
    for (int i = 0; i < EMITTERS + 1; i++) {
        REQUIRE(pthread_join(emitters[i], NULL) == 0);
    }
    for (int i = 0; i < READERS; i++) {
        REQUIRE(pthread_join(readers[i], NULL) == 0);
        REQUIRE(reading[i].received + reading[i].missed == reading[i].total);
        REQUIRE(!reading[i].is_gate || reading[i].missed == 0);
        rb_subscriber_free(reading[i].subscriber);
    }
    for (int i = 0; i < EMITTERS; i++) {
        rb_emitter_free(handles[i]);
    }
    check_ring();
    printf("gate %llu, subscribers %llu and %llu of %llu\n",
           (unsigned long long)reading[0].received, (unsigned long long)reading[1].received,
           (unsigned long long)reading[2].received, (unsigned long long)reading[0].total);
    return 0;
}
