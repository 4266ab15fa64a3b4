/* Subscribers, and the gate, whose successor goes on where it was killed. */
#define _GNU_SOURCE
#include "reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS UINT64_C(400000000)
/* By so much two clocks may drift apart in a slice. */
#define DRIFT_NS UINT64_C(10000000)

static void *allocate(struct worker *worker, size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(worker->tally, memory != MAP_FAILED, "no memory: %s", strerror(errno));
    return memory;
}

void make_reader(struct worker *worker, struct reader *reader) {
    *reader = (struct reader){.worker = worker};
    reader->seen = allocate(worker, MEMBERS * sizeof reader->seen[0]);
    reader->payload = allocate(worker, LARGEST);
}

/* At the seq where the handle stands; what lies before it counts as lost. */
static void begin_reading(struct reader *reader, uint64_t start, uint64_t missed) {
    uint64_t cursor;
    uint64_t tail;
    uint64_t floor;
    look_where_it_stands(reader, &cursor, &tail, &floor);
    reader->expected = start == UINT64_MAX ? cursor : start;
    reader->lost += reader->expected;
    reader->slept_until_ns = 0;
    reader->is_first = true;
    if (missed > 0) {
        note_loss(reader, missed);
    }
}

int open_subscriber(struct reader *reader, uint64_t start, const char *gate) {
    struct worker *worker = reader->worker;
    char why[200] = "";
    uint64_t missed = 0;
    int fd = open_ring(worker, &reader->epoch);
    if (fd < 0) {
        return RB_CLOSED;
    }
    begin(worker, "attach ");
    int status = rb_subscriber_open(fd, worker->path, start, gate, &reader->subscriber, &missed,
                                    why, sizeof why);
    close(fd);
    if (status == RB_OK) {
        begin_reading(reader, start, missed);
    } else {
        REQUIRE(worker->tally,
                (status == RB_GATE_TAKEN && gate != NULL) ||
                    (status == RB_UNLINKED && worker->tally->is_removed),
                "a subscriber cannot be opened: %s %s", rb_status_name(status), why);
        nap(200);
    }
    return status;
}

int read_one(struct reader *reader) {
    struct tally *tally = reader->worker->tally;
    rb_record record;
    uint64_t missed;
    begin(reader->worker, "read   ");
    int status = rb_subscriber_peek(reader->subscriber, &record, &missed);
    if (status == RB_OK) {
        REQUIRE(tally, record.length <= LARGEST, "a record of %u bytes", record.length);
        status = rb_subscriber_copy(reader->subscriber, &record, reader->payload, &missed);
    }
    if (status == RB_OK) {
        check_record(reader, &record);
        if (reader->worker->desk->role == GATE) {
            note_at_gate(reader, &record);
        }
        reader->is_first = false;
    } else if (status == RB_LAPPED) {
        note_loss(reader, missed);
    } else {
        REQUIRE(tally, status == RB_EMPTY || (status == RB_UNLINKED && tally->is_removed),
                "a subscriber cannot read: %s", rb_status_name(status));
    }
    return status;
}

static void sleep_until_more(struct reader *reader) {
    struct worker *worker = reader->worker;
    uint64_t now_ns = clock_ns(CLOCK_REALTIME);
    begin(worker, "sleep  ");
    COUNT(worker->desk->parks);
    int status = rb_subscriber_park(reader->subscriber, SLICE_NS);
    begin(worker, "awake  ");
    if (status == RB_TIMED_OUT) {
        reader->sleep++;
        reader->slept_until_ns = now_ns + SLICE_NS - DRIFT_NS;
    }
    REQUIRE(worker->tally,
            status == RB_OK || status == RB_TIMED_OUT || status == RB_INTERRUPTED ||
                (status == RB_UNLINKED && worker->tally->is_removed),
            "a subscriber's park: %s", rb_status_name(status));
}

static void be_slow_now_and_then(struct worker *worker) {
    if ((worker->desk->manner & PAUSES) != 0 && draw(worker, 200) == 0) {
        begin(worker, "pause  ");
        nap(draw(worker, worker->desk->pause_us) + 1);
    }
}

/* Until the ring is removed, or all has been read and nobody emits any more. */
static void read_on(struct reader *reader) {
    for (;;) {
        bool is_last = is_over(reader->worker);
        int status = read_one(reader);
        if (status == RB_UNLINKED) {
            COUNT(reader->worker->desk->removed);
            return;
        }
        if (status == RB_EMPTY && is_last) {
            struct tally *tally = reader->worker->tally;
            REQUIRE(tally, !is_removed_ring(tally, reader->epoch),
                    "a subscriber was not told that its ring is removed");
            return;
        }
        if (status == RB_EMPTY) {
            sleep_until_more(reader);
        }
        be_slow_now_and_then(reader->worker);
    }
}

void run_subscriber(struct worker *worker) {
    struct reader reader;
    make_reader(worker, &reader);
    while (!is_over(worker)) {
        uint64_t start = draw(worker, 2) == 0 ? 0 : UINT64_MAX;
        if (open_subscriber(&reader, start, NULL) == RB_OK) {
            read_on(&reader);
            rb_subscriber_free(reader.subscriber);
        }
    }
}

static void advance(struct reader *reader) {
    int status = rb_subscriber_advance(reader->subscriber, reader->expected);
    REQUIRE(reader->worker->tally, status == RB_OK, "a gate cannot advance: %s",
            rb_status_name(status));
}

static void gate_on(struct reader *reader) {
    for (;;) {
        bool is_last = is_over(reader->worker);
        int status = read_one(reader);
        if (status == RB_EMPTY || draw(reader->worker, 8) == 0) {
            advance(reader);
        }
        if (status == RB_EMPTY && is_last) {
            return;
        }
        if (status == RB_EMPTY) {
            sleep_until_more(reader);
        }
        be_slow_now_and_then(reader->worker);
    }
}

void run_gate(struct worker *worker) {
    struct reader reader;
    int status;
    make_reader(worker, &reader);
    finish_noting(worker->tally);
    do {
        status = open_subscriber(&reader, SEE(worker->tally->gate_cursor) >> 32, "soak");
    } while (status == RB_GATE_TAKEN);
    if (status == RB_OK) {
        gate_on(&reader);
        rb_subscriber_close(reader.subscriber, 0);
    }
}
