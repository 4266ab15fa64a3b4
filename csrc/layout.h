/* Every byte of the ring's file.
 *
 *   page 0        rb_header         constant once the file is linked into place
 *   page 1        rb_hot            the shared words, each alone on two cache lines
 *   then          rb_database_area  which SQLite file serves this ring
 *                 rb_gate[G]        gates
 *                 rb_lane[L]        emitters
 *                 W[B]              u64 block words
 *                 next[B]           u32 successor of a block inside one record
 *                 I[N]              u64 order ring, one slot for each cell
 *   page-aligned  data              B blocks of S bytes = N cells of 64 bytes
 *
 * Internally records are numbered from N ("t"), so that a zeroed order ring reads as "nothing
 * published"; users see seq = t - N. Words are 64 bit and never wrap (52 bits of sequence last 14
 * years at 10 million records a second).
 *
 * Order slot of t: I[t mod N] = t with its low log2(N) bits replaced by the cell of the record.
 * Block word:  FREE  = maxseq << 11 | used;  OWNED = 1 << 63 | lane << 47 | incarnation.
 * Gate word:   0 = not in use, else incarnation << 52 | cursor.
 * Floor word:  floor << 12 | count of gate registrations.
 */
#ifndef RB_LAYOUT_H
#define RB_LAYOUT_H

#include "atomics.h"

#include <stddef.h>

enum {
    RB_VERSION = 1,
    RB_PAGE = 4096,
    RB_LINE = 128, /* two cache lines: the adjacent-line prefetcher pairs them */
    RB_CELL = 64,
    RB_GATES = 16,
    RB_GATE_NAME = 64,
    RB_MIN_BLOCK = 1024,
    RB_MAX_BLOCKS = 1024,
    RB_USED_BITS = 11,
    RB_COUNTER_BITS = 12,
    RB_CURSOR_BITS = 52,
    RB_HINT_STEP = 8, /* the hint moves once in so many records */
};

#define RB_MAGIC "ringbus\1"
#define RB_BYTE_ORDER UINT32_C(0x01020304)
#define RB_MIN_CAPACITY (UINT64_C(1) << 16)
#define RB_MAX_CAPACITY (UINT64_C(1) << 30)
#define RB_NONE UINT32_MAX
#define RB_OWNED (UINT64_C(1) << 63)
#define RB_INCARNATION_MASK ((UINT64_C(1) << 47) - 1)
#define RB_CURSOR_MASK ((UINT64_C(1) << RB_CURSOR_BITS) - 1)

struct rb_header {
    char magic[8];
    uint32_t version;
    uint32_t byte_order;
    uint64_t layout_hash;
    uint64_t file_size;
    uint64_t epoch;
    uint64_t created_ns;
    uint64_t capacity;
    uint32_t block_size;
    uint32_t block_count;
    uint32_t cell_count;
    uint32_t lane_count;
    uint32_t gate_count;
    uint32_t unused; /* 0: no byte of the file is left to chance */
};

struct rb_hot {
    _Alignas(RB_LINE) uint64_t hint;  /* lower bound of the tail */
    _Alignas(RB_LINE) uint64_t floor; /* floor and registration counter */
    _Alignas(RB_LINE) uint32_t sleep; /* wait word of subscribers */
    _Alignas(RB_LINE) uint32_t stall; /* wait word of emitters that wait for a gate */
    _Alignas(RB_LINE) uint32_t flags; /* rb_flag bits; hardly ever written */
};

/* Two slots; `version` counts writings and tells which slot holds. A writer killed half-way leaves
 * the slot in force untouched. One writer at a time: the holder of the history's writer lock. */
struct rb_database_area {
    _Alignas(RB_LINE) uint64_t version;
    struct {
        _Alignas(RB_LINE) uint64_t device;
        uint64_t inode;
        char path[4080];
    } slot[2];
};

struct rb_gate {
    _Alignas(RB_LINE) uint64_t word;
    _Alignas(RB_LINE) char name[RB_GATE_NAME]; /* written before the word, by the lock's holder */
    uint64_t pushed; /* the word that emitters left here when they last pushed this gate on */
    uint64_t since_ns;
    uint64_t moved_ns;
    uint32_t pid;
    uint32_t incarnation; /* of the last word set up here; only the lock's holder counts it */
};

struct rb_lane {
    _Alignas(RB_CELL) uint32_t incarnation;
    uint32_t pid;
    uint64_t since_ns;
};

struct rb_record_header {
    uint32_t length;
    uint32_t emitter;
    uint64_t ts_ns;
    uint64_t number;
    uint32_t kind;
    uint32_t flags;
};

_Static_assert(sizeof(struct rb_header) <= RB_PAGE, "the header is one page");
_Static_assert(sizeof(struct rb_hot) == 5 * RB_LINE, "each hot word alone");
_Static_assert(offsetof(struct rb_hot, floor) == RB_LINE, "floor on its own line");
_Static_assert(offsetof(struct rb_hot, sleep) == 2 * RB_LINE, "sleep on its own line");
_Static_assert(offsetof(struct rb_hot, stall) == 3 * RB_LINE, "stall on its own line");
_Static_assert(offsetof(struct rb_hot, flags) == 4 * RB_LINE, "flags on their own line");
_Static_assert(sizeof(struct rb_gate) == 2 * RB_LINE, "the word alone, the label beside it");
_Static_assert(sizeof(struct rb_lane) == RB_CELL, "one lane a cache line");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "record.h puts two fields in a word");
_Static_assert(sizeof(struct rb_record_header) == 32, "the header never splits: blocks are cells");
_Static_assert(sizeof(struct rb_database_area) == RB_LINE + 2 * 4096, "two slots of a page");

/* Sizes and offsets, derived from the capacity alone. */
struct rb_geometry {
    uint64_t capacity;
    uint64_t file_size;
    uint64_t database_offset;
    uint64_t gates_offset;
    uint64_t lanes_offset;
    uint64_t words_offset;
    uint64_t next_offset;
    uint64_t order_offset;
    uint64_t data_offset;
    uint32_t block_size;
    uint32_t block_count;
    uint32_t cell_count;
    uint32_t lane_count;
    uint32_t gate_count;
    uint32_t used_unit; /* bytes that one step of `used` stands for */
    uint32_t used_full; /* `used` of a block without room */
};

static inline uint64_t rb_align(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

static inline bool rb_is_capacity(uint64_t capacity) {
    return capacity >= RB_MIN_CAPACITY && capacity <= RB_MAX_CAPACITY &&
           (capacity & (capacity - 1)) == 0;
}

/* 64 to 1,024 blocks: enough for an eighth as many emitters, few enough for one quick pass. */
static inline uint32_t rb_block_size(uint64_t capacity) {
    uint64_t size = capacity / 512 < 4096 ? capacity / 512 : 4096;
    if (size < capacity / 1024) {
        size = capacity / 1024;
    }
    return (uint32_t)(size < RB_MIN_BLOCK ? RB_MIN_BLOCK : size);
}

static inline struct rb_geometry rb_geometry_of(uint64_t capacity) {
    struct rb_geometry g = {.capacity = capacity, .gate_count = RB_GATES};
    g.block_size = rb_block_size(capacity);
    g.block_count = (uint32_t)(capacity / g.block_size);
    g.cell_count = (uint32_t)(capacity / RB_CELL);
    g.lane_count = g.block_count / 8;
    g.used_unit = g.block_size / 1024 < RB_CELL ? RB_CELL : g.block_size / 1024;
    g.used_full = g.block_size / g.used_unit;
    g.database_offset = 2 * RB_PAGE;
    g.gates_offset = g.database_offset + sizeof(struct rb_database_area);
    g.lanes_offset = g.gates_offset + g.gate_count * sizeof(struct rb_gate);
    g.words_offset = rb_align(g.lanes_offset + g.lane_count * sizeof(struct rb_lane), RB_LINE);
    g.next_offset = g.words_offset + g.block_count * sizeof(uint64_t);
    g.order_offset = rb_align(g.next_offset + g.block_count * sizeof(uint32_t), RB_LINE);
    g.data_offset = rb_align(g.order_offset + g.cell_count * sizeof(uint64_t), RB_PAGE);
    g.file_size = g.data_offset + capacity;
    return g;
}

/* FNV-1a over everything that two builds must agree on. */
static inline uint64_t rb_layout_hash(void) {
    const uint64_t facts[] = {
        RB_VERSION,
        RB_PAGE,
        RB_LINE,
        RB_CELL,
        RB_GATES,
        RB_MIN_BLOCK,
        RB_USED_BITS,
        RB_COUNTER_BITS,
        RB_CURSOR_BITS,
        sizeof(struct rb_header),
        sizeof(struct rb_hot),
        sizeof(struct rb_database_area),
        sizeof(struct rb_gate),
        sizeof(struct rb_lane),
        sizeof(struct rb_record_header),
        offsetof(struct rb_gate, pushed),
        offsetof(struct rb_gate, incarnation),
        offsetof(struct rb_header, capacity),
        sizeof(void *),
    };
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        hash = (hash ^ facts[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

/* Order slots. */
static inline uint64_t rb_slot_number(uint64_t word, uint64_t index, uint64_t cell_mask) {
    return (word & ~cell_mask) | index;
}

/* Block words. */
static inline bool rb_word_is_owned(uint64_t word) { return (word & RB_OWNED) != 0; }

static inline uint64_t rb_word_owned(uint32_t lane, uint64_t incarnation) {
    return RB_OWNED | (uint64_t)lane << 47 | (incarnation & RB_INCARNATION_MASK);
}

static inline uint32_t rb_word_lane(uint64_t word) { return (uint32_t)(word >> 47) & 0xffff; }

static inline uint64_t rb_word_incarnation(uint64_t word) { return word & RB_INCARNATION_MASK; }

static inline uint64_t rb_word_free(uint64_t maxseq, uint32_t used) {
    return maxseq << RB_USED_BITS | used;
}

static inline uint64_t rb_word_maxseq(uint64_t word) { return word >> RB_USED_BITS; }

static inline uint32_t rb_word_used(uint64_t word) {
    return (uint32_t)(word & ((UINT64_C(1) << RB_USED_BITS) - 1));
}

/* Floor word. */
static inline uint64_t rb_floor_of(uint64_t word) { return word >> RB_COUNTER_BITS; }

static inline uint64_t rb_floor_moved(uint64_t word, uint64_t floor) {
    return floor << RB_COUNTER_BITS | (word & ((UINT64_C(1) << RB_COUNTER_BITS) - 1));
}

static inline uint64_t rb_floor_registered(uint64_t word) {
    uint64_t mask = (UINT64_C(1) << RB_COUNTER_BITS) - 1;
    return (word & ~mask) | ((word + 1) & mask);
}

/* Gate words. */
static inline uint64_t rb_gate_cursor(uint64_t word) { return word & RB_CURSOR_MASK; }

static inline uint64_t rb_gate_moved(uint64_t word, uint64_t cursor) {
    return (word & ~RB_CURSOR_MASK) | cursor;
}

/* 12 bits of the count, never 0: a gate in use never reads as "not in use". */
static inline uint64_t rb_gate_word(uint32_t incarnation, uint64_t cursor) {
    return (uint64_t)(incarnation % 0xfff + 1) << RB_CURSOR_BITS | cursor;
}

#endif
