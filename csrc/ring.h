/* The public face of the C core: opaque handles, statuses, every exported prototype.
 *
 * The part between the two markers is plain C without preprocessor lines, because it is also what
 * cffi reads: the interface is declared once and the compiler checks cffi's reading of it.
 *
 * Contracts that hold for every function:
 *  - The result is an rb_status (>= 0) or a negative errno of a system call that failed.
 *  - Outputs are untouched on failure unless the function says otherwise.
 *  - A handle may be used from several threads; each handle has a lock of its own. In a forked
 *    child every function returns RB_FORKED and touches nothing shared.
 *  - Functions named ..._park may sleep; no other function waits for another process.
 *  - Numbers of records (seq) are dense and start at 0 in each epoch.
 */
#ifndef RB_RING_H
#define RB_RING_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */
typedef enum {
    RB_OK = 0,
    RB_EMPTY = 1,          /* nothing new at the cursor */
    RB_LAPPED = 2,         /* the cursor was overtaken; it stands at the next record to read */
    RB_BACK_PRESSURE = 3,  /* a gate is a whole ring behind; nothing was published */
    RB_POOL_EXHAUSTED = 4, /* other emitters hold the blocks; nothing was published */
    RB_WAIT = 5,           /* park, then try again; nothing is in hand */
    RB_TIMED_OUT = 6,
    RB_INTERRUPTED = 7, /* a signal arrived */
    RB_TOO_LARGE = 8,
    RB_UNLINKED = 9, /* the ring was removed, or another stands under its name */
    RB_CLOSED = 10,
    RB_FORKED = 11,   /* the handle belongs to the parent process */
    RB_POISONED = 12, /* somebody took this emitter for dead; it must not emit any more */
    RB_NOT_FOUND = 13,
    RB_EXISTS = 14,
    RB_INCOMPATIBLE = 15,
    RB_NO_SPACE = 16,
    RB_NO_LANE = 17,
    RB_NO_GATE = 18,
    RB_GATE_TAKEN = 19, /* somebody alive has a gate of that name */
    RB_EVICTED = 20,    /* this gate was taken out */
    RB_INVALID = 21,
    RB_CORRUPT = 22,
    RB_BUSY = 23,     /* another thread is inside this handle */
    RB_READ_ONLY = 24 /* the handle was attached for reading and would have to store */
} rb_status;

/* What an emitter does when a gate is a whole ring behind. */
typedef enum { RB_POLICY_BLOCK = 0, RB_POLICY_DROP = 1, RB_POLICY_FAIL = 2 } rb_policy;

/* Bits of the ring's shared flag word. */
typedef enum {
    RB_FLAG_UNLINKED = 1,  /* removed: emitters stop */
    RB_FLAG_AGENT = 2,     /* an agent's ring: persisters and pages serve it */
    RB_FLAG_AUTOMATIC = 4, /* the persister at work was started by a Bus */
    RB_FLAG_LEAVING = 8,   /* that persister is about to leave */
    RB_FLAG_HANDOVER = 16  /* a successor asks that persister to leave */
} rb_flag;

typedef enum { RB_RECORD_TRANSIENT = 1 } rb_record_flag;

/* What a stall tells the caller, besides its status. */
typedef enum {
    RB_NOTICE_DEAD_GATE = 1, /* the gate in the way belongs to a dead process */
    RB_NOTICE_PUSHED = 2     /* the gate was pushed on, or taken out, after the time limit */
} rb_notice;

typedef struct rb_ring rb_ring;
typedef struct rb_emitter rb_emitter;
typedef struct rb_subscriber rb_subscriber;
typedef struct rb_batch rb_batch;

typedef struct {
    uint64_t seq;
    uint64_t ts_ns;   /* CLOCK_REALTIME when it was emitted, within 5 us (clock.h) */
    uint64_t number;  /* counts the records of one emitter, from 0 */
    uint32_t length;  /* bytes of payload */
    uint32_t emitter; /* lane and incarnation: tells emitters of one ring apart */
    uint32_t kind;
    uint32_t flags;
    uint32_t cell; /* where it lies; for rb_subscriber_copy() */
} rb_record;

/* One emit that could not go on at once. Zero it before the first try, pass it on to the next. */
typedef struct {
    uint64_t since_ns;  /* CLOCK_MONOTONIC when the stall began; 0: no stall yet */
    uint64_t gate_word; /* the word found in the way */
    uint64_t needed;    /* internal number that the gate must pass */
    uint64_t lag;       /* records between that gate and the tail */
    uint32_t gate;      /* its index; UINT32_MAX: the pool is exhausted */
    uint32_t notice;    /* rb_notice bits; the caller clears them */
    uint32_t told;      /* notices already given in this stall */
} rb_stall;

/* One record to emit. */
typedef struct {
    const void *payload;
    uint32_t length; /* bytes */
    uint32_t kind;
    uint32_t flags; /* rb_record_flag bits */
} rb_item;

typedef struct {
    uint64_t epoch;
    uint64_t created_ns;
    uint64_t capacity;    /* bytes for records */
    uint64_t max_payload; /* bytes of the longest payload */
    uint64_t floor;       /* seq of the oldest kept record */
    uint64_t tail;        /* one past the newest */
    uint32_t block_count;
    uint32_t block_size;
    uint32_t blocks_free;
    uint32_t lane_count;
    uint32_t gate_count;
    uint32_t flags;
} rb_stats;

typedef struct {
    uint64_t since_ns;
    uint32_t pid; /* as its own namespace names it: for people, never trusted */
    uint32_t incarnation;
    int32_t alive;
} rb_lane_stats;

typedef struct {
    uint64_t cursor; /* next seq that it wants */
    uint64_t since_ns;
    uint64_t moved_ns;
    uint32_t pid;
    int32_t alive;
    int32_t standing; /* 0: the slot is not in use */
    char name[64];
} rb_gate_stats;

typedef struct {
    uint64_t device;
    uint64_t inode;
    char path[4080];
} rb_database;

/* A record of a batch. To history it is an event if kind code, outline and UTF-8 are an event's:
 * emitters check what they emit. */
typedef struct {
    rb_record record;
    size_t start; /* of its payload in the batch's */
    int32_t is_text;
    int32_t is_event;
} rb_batch_entry;

/* What a batch holds, as of its last fill; its memory is good until the next one. */
typedef struct {
    const rb_batch_entry *entries;
    const uint8_t *payloads;
    size_t count;
    size_t bytes;      /* of payload */
    size_t transient;  /* records that are not stored */
    size_t foreign;    /* records that are no events and not transient */
    uint64_t next_seq; /* one past the last record here */
    uint64_t missed;   /* records from next_seq on that were lost */
} rb_batch_content;

const char *rb_status_name(int status);
int rb_install_builtins(void);

/* Builds a ring of `capacity` bytes (a power of two) and links it to `path`. RB_EXISTS if one is
 * there. The file belongs to its creator, mode 0600. */
int rb_ring_create(const char *path, uint64_t capacity);
/* The same with another mode, whatever the umask, and group; UINT32_MAX: the creator's own group.
 * The file has both before anybody can find it. */
int rb_ring_create_shared(const char *path, uint64_t capacity, uint32_t mode, uint32_t group);

/* Attaches to the ring behind `fd` (which stays the caller's), found at `path`. Unless `observer`
 * is set the handle counts as attached, which keeps the ring from being collected. `why` (of
 * `why_size` bytes) gets the reason of RB_INCOMPATIBLE.
 *
 * Where `fd` is open for reading only, here and in rb_subscriber_open(), so is the mapping: nothing
 * is ever stored through the handle, and what would have to store returns RB_READ_ONLY. */
int rb_ring_attach(int fd, const char *path, int observer, rb_ring **ring, char *why,
                   size_t why_size);
int rb_ring_close(rb_ring *ring);
void rb_ring_free(rb_ring *ring);
int rb_ring_stats(rb_ring *ring, rb_stats *stats);
int rb_ring_lane(rb_ring *ring, uint32_t index, rb_lane_stats *stats);
int rb_ring_gate(rb_ring *ring, uint32_t index, rb_gate_stats *stats);
/* Sets *held if somebody alive holds the gate name. */
int rb_ring_gate_held(rb_ring *ring, const char *name, int *held);
/* Sets *attached if any handle is attached; asked through an observer. */
int rb_ring_is_attached(rb_ring *ring, int *attached);
int rb_ring_flags(rb_ring *ring, uint32_t *flags);
int rb_ring_change_flags(rb_ring *ring, uint32_t set, uint32_t clear);
/* RB_OK while the ring's path still leads to it, else RB_UNLINKED. */
int rb_ring_check_linked(rb_ring *ring);
int rb_ring_database(rb_ring *ring, rb_database *database);
/* Only the holder of the ring's writer lock may call this: it has one writer. */
int rb_ring_set_database(rb_ring *ring, const rb_database *database);
/* Wakes every sleeper, so that it looks at the flags. */
int rb_ring_wake(rb_ring *ring);

/* `fd`: a new descriptor of the same ring, the caller's to close. `limit_ns`: how long one stall
 * may last under block and fail. */
int rb_emitter_open(int fd, const char *path, uint32_t policy, uint64_t limit_ns,
                    rb_emitter **emitter, char *why, size_t why_size);
/* Emits items[*published] to items[count - 1] and counts them in *published; other emitters may
 * come in between. *first and *last: seqs of the first and last record of this call. RB_WAIT: park,
 * then call again with the same stall. RB_BACK_PRESSURE and RB_POOL_EXHAUSTED: the policy's time
 * limit is over. */
int rb_emitter_emit(rb_emitter *emitter, const rb_item *items, size_t count, size_t *published,
                    rb_stall *stall, uint64_t *first, uint64_t *last);
/* Sleeps until the stall may be over; at most half a second. */
int rb_emitter_park(rb_emitter *emitter, const rb_stall *stall);
int rb_emitter_gate_name(rb_emitter *emitter, uint32_t gate, char name[64]);
int rb_emitter_close(rb_emitter *emitter);
void rb_emitter_free(rb_emitter *emitter);
/* Emits the same item `count` times, to measure the core without Python. */
int rb_emitter_repeat(rb_emitter *emitter, const rb_item *item, uint64_t count);

/* Cursor at `start`, clamped to what is kept; UINT64_MAX: the tail. `gate` names the gate or is
 * NULL. *missed: records between `start` and the floor. */
int rb_subscriber_open(int fd, const char *path, uint64_t start, const char *gate,
                       rb_subscriber **subscriber, uint64_t *missed, char *why, size_t why_size);
/* The record at the cursor, without its payload. RB_LAPPED: *missed is set, the cursor moved. */
int rb_subscriber_peek(rb_subscriber *subscriber, rb_record *record, uint64_t *missed);
/* Copies the payload of the record just peeked at and moves the cursor past it. */
int rb_subscriber_copy(rb_subscriber *subscriber, const rb_record *record, void *payload,
                       uint64_t *missed);
/* Sleeps until the record at the cursor is there, at most `limit_ns`; may return early. */
int rb_subscriber_park(rb_subscriber *subscriber, uint64_t limit_ns);
/* The same over as many slices as it takes, long ones after the first: for who has nothing else to
 * look at meanwhile, and is told by others of a ring that was removed. */
int rb_subscriber_wait(rb_subscriber *subscriber, uint64_t limit_ns);
/* Tells emitters that this gate still wants `seq` and all after it. */
int rb_subscriber_advance(rb_subscriber *subscriber, uint64_t seq);
int rb_subscriber_position(rb_subscriber *subscriber, uint64_t *cursor, uint64_t *tail,
                           uint64_t *floor);
/* `keep`: leave the gate standing for a successor instead of taking it out. */
int rb_subscriber_close(rb_subscriber *subscriber, int keep);
void rb_subscriber_free(rb_subscriber *subscriber);

/* A batch is filled again and again; it is used by one thread at a time. */
int rb_batch_new(rb_batch **batch);
void rb_batch_free(rb_batch *batch);
/* Empties it, then copies what is there at the subscriber's cursor, until it has so many records or
 * bytes, or something was lost. RB_OK: records or a loss; else why there are none. */
int rb_batch_fill(rb_batch *batch, rb_subscriber *subscriber, size_t most_records,
                  size_t most_bytes);
int rb_batch_get(const rb_batch *batch, rb_batch_content *content);
/* From now on large blocks of this process's memory, batches and the caches of SQLite among them,
 * go back to the kernel when they are freed. */
void rb_return_large_blocks(void);

/* Whether the module was built with the SQL table of table.c. */
int rb_has_table(void);
/* cffi: end */

#endif
