/* The soak's own shared memory: who does what, what was emitted, and what went wrong.
 *
 * It is a file beside the ring, so what a killed process had noted is still there. tally.py lays
 * out the same bytes; the house compares the sizes. Each word has one writer, except where it says
 * otherwise, and stores are in program order, so after a kill at most the last one is missing.
 */
#ifndef SOAK_TALLY_H
#define SOAK_TALLY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    DESKS = 40,
    MEMBERS = 1 << 19,
    COMPLAINTS = 16,
    COMPLAINT_SIZE = 240,
    WITNESSES = 1 << 20,
    LENGTHS = 256,
    OFFSETS = 1 << 16,
    LARGEST = 1 << 18,
};

enum role { EMITTER = 1, NURSERY, SUBSCRIBER, GATE, PROBER, AUDITOR };

enum manner {
    CLOSES_DESCRIPTORS = 1, /* every one, as a daemon does */
    FORKS = 2,
    BATCHES = 4,
    PAUSES = 8,
    LEAVES_UNCLOSED = 16, /* ends without closing its handle */
};

enum phase { ALL_WORK, EMITTERS_LEAVE, ALL_LEAVE, NEVER };

/* A place for one worker after another. */
struct desk {
    /* Written by the conductor before it has a worker started. */
    uint32_t role;
    uint32_t manner;
    uint32_t policy;
    uint32_t width;      /* of a nursery: brief emitters at once */
    uint32_t core;       /* 0: any, else one more than its number */
    uint32_t niceness;   /* more than the house has */
    uint32_t own_member; /* of a Python emitter: the conductor numbers those */
    uint32_t pause_us;   /* longest pause of one that pauses */
    uint64_t seed;
    /* Written by whoever starts and reaps the worker. */
    uint32_t pid; /* as the conductor's namespace names it; 0: not yet */
    uint32_t has_ended;
    int32_t status;
    uint32_t unused;
    /* Written by the worker; counted over all workers of the desk. */
    char doing[8];
    uint64_t beats;   /* anything done, waiting included */
    uint64_t results; /* records emitted or checked, probes */
    uint64_t checked; /* records compared byte by byte */
    uint64_t agreed;  /* records found in the witness table as they were */
    uint64_t missed;
    uint64_t waits; /* for a gate */
    uint64_t pool_waits;
    uint64_t parks;
    uint64_t comers;
    uint64_t forks;
    uint64_t removed; /* rings found removed */
};

/* One emitter handle. It numbers its records from 0, as the ring does. */
struct member {
    uint64_t begun; /* before an emit: how many records there will be */
    uint64_t acked; /* after it: how many emit() has acknowledged */
    uint64_t last_seq;
    uint64_t epoch;
};

struct tally {
    uint64_t size; /* sizeof(struct tally), as the conductor sees it */
    uint32_t phase;
    uint32_t member_count;    /* everybody adds */
    uint32_t complaint_count; /* everybody adds */
    uint32_t has_gate;
    uint32_t may_push;   /* emitters may push the gate on */
    uint32_t is_removed; /* the ring is removed and made anew now and then */
    uint32_t block_size;
    uint32_t unused;
    uint64_t highest;     /* seq << 24 | low bits of the epoch; everybody stores */
    uint64_t epoch;       /* of the ring of that name, from the conductor; 0: it changes just now */
    uint64_t gate_cursor; /* seq << 32 | missed: one store, so a kill cannot part them */
    uint64_t gate_record; /* member << 40 | number of the record that the gate notes */
    uint64_t gate_noting; /* its seq + 1 */
    uint32_t lengths[LENGTHS];
    char complaints[COMPLAINTS][COMPLAINT_SIZE];
    struct desk desks[DESKS];
    /* Of the gate, for each member: next number << 32 | records received. */
    uint64_t gate_seen[MEMBERS];
    struct member members[MEMBERS];
    /* By epoch and seq: whose record it is. Everybody who knows stores or compares. */
    uint64_t witness[WITNESSES];
    uint8_t bytes[OFFSETS + LARGEST]; /* random */
};

void complain(struct tally *tally, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Complains and ends the process: what follows from a failure would only hide it. */
#define REQUIRE(tally, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            complain(tally, __VA_ARGS__);                                                          \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Access by others may come at any time. */
#define SEE(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define NOTE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)
#define COUNT(word) NOTE(word, (word) + 1)

/* Whether the ring of that epoch has been removed for certain. */
static inline bool is_removed_ring(const struct tally *tally, uint64_t epoch) {
    uint64_t known = SEE(tally->epoch);
    return known != 0 && known != epoch;
}

static inline uint64_t mix(uint64_t value) {
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* What a record is follows from its member and its number. */

static inline uint64_t key_of(uint64_t member, uint64_t number) {
    return mix(mix(member) + number);
}

static inline uint32_t length_of(const struct tally *tally, uint64_t key) {
    return tally->lengths[key % LENGTHS];
}

static inline const uint8_t *bytes_of(const struct tally *tally, uint64_t key) {
    return tally->bytes + (key >> 8) % OFFSETS;
}

/* A payload begins with its number if that fits in; the rest is a piece of the random bytes. */
enum { NUMBER_SIZE = 8 };

static inline uint32_t write_payload(const struct tally *tally, uint64_t key, uint64_t number,
                                     uint8_t *to) {
    uint32_t length = length_of(tally, key);
    memcpy(to, bytes_of(tally, key), length);
    if (length >= NUMBER_SIZE) {
        memcpy(to, &number, NUMBER_SIZE);
    }
    return length;
}

static inline bool is_payload(const struct tally *tally, uint64_t key, uint64_t number,
                              const uint8_t *found, uint32_t length) {
    uint32_t head = length >= NUMBER_SIZE ? NUMBER_SIZE : 0;
    return length == length_of(tally, key) && memcmp(found, &number, head) == 0 &&
           memcmp(found + head, bytes_of(tally, key) + head, length - head) == 0;
}

/* Compares with what others know of the record at this seq, or notes it; false: it is another. */
bool bear_witness(struct tally *tally, struct desk *desk, uint64_t epoch, uint64_t seq,
                  uint64_t key);

#endif
