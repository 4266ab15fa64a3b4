/* Subscribers: copy, then validate.
 *
 * A subscriber stores nothing into the ring (a gate moves its one word), so it can neither slow nor
 * break anybody. The price is that what it copies may be overwritten under its hands: after each
 * copy it looks at the floor, and only if the floor is still at or below the record's number was
 * every byte of the copy the record's. This is the seqlock pattern with the floor as its sequence:
 * the emitter's release fence after taking a block [take:B] pairs with the acquire fence after the
 * copy [read:B], so whoever copied a byte of the new owner also sees the floor that it needed.
 */
#include "subscriber.h"

#include "clock.h"
#include "gate.h"
#include "handle.h"
#include "lane.h"
#include "order.h"
#include "record.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct rb_subscriber {
    struct rb_handle handle;
    uint64_t cursor; /* internal number; written with the lock held, read without it as well */
    uint64_t link_checked_ns;
    bool is_gate;
    uint32_t gate;
    uint64_t gate_word;
};

enum { LAPPED_SLACK = 16 /* a lapped subscriber leaves one part in so many of what is kept */ };

static uint64_t first_number(const struct rb_segment *segment) {
    return segment->geometry.cell_count;
}

/* The cursor was overtaken; `newer` is a number known to be published, or 0. */
static int lapped(struct rb_subscriber *s, uint64_t newer, uint64_t *missed) {
    struct rb_segment *segment = &s->handle.segment;
    uint64_t to = rb_order_floor(segment);
    if (newer >= segment->geometry.cell_count && newer - segment->geometry.cell_count + 1 > to) {
        to = newer - segment->geometry.cell_count + 1;
    }
    if (s->is_gate) {
        int status = rb_gate_move(segment, s->gate, &s->gate_word, to);
        if (status != RB_OK) {
            return status;
        }
    } else {
        /* At the very floor it would be lapped again at once. */
        to += (rb_order_tail(segment) - to) / LAPPED_SLACK;
    }
    *missed = to - s->cursor;
    rb_store_relaxed_64(&s->cursor, to);
    return RB_LAPPED;
}

/* [read:B] acquire fence, then the floor; pairs with [take:B] */
static bool is_still_kept(const struct rb_segment *segment, uint64_t number) {
    rb_fence_acquire();
    return rb_floor_of(rb_load_relaxed_64(&segment->hot->floor)) <= number;
}

/* A file removed by hand has no mark, and who polls never comes to the end of a sleep. */
static int check_linked_now_and_then(struct rb_subscriber *s) {
    uint64_t now_ns = rb_monotonic_ns();
    if (now_ns - s->link_checked_ns < RB_SLICE_NS) {
        return RB_OK;
    }
    int status = rb_segment_check_linked(&s->handle.segment);
    if (status == RB_OK) { /* else the next call is told, too */
        s->link_checked_ns = now_ns;
    }
    return status;
}

/* The second look at a ring that is gone: a record may have come in before we saw that. */
static bool is_published(const struct rb_segment *segment, uint64_t t) {
    const uint64_t mask = segment->cell_mask;
    /* [publish:B] acquire; pairs with [publish:A] */
    return (rb_load_acquire_64(&segment->order[t & mask]) & ~mask) >= (t & ~mask);
}

/* Nothing at the cursor: nothing yet, or nothing ever again. */
static int no_record(struct rb_subscriber *s, uint64_t t) {
    const struct rb_segment *segment = &s->handle.segment;
    if (!rb_segment_is_marked_unlinked(segment) && check_linked_now_and_then(s) != RB_UNLINKED) {
        return RB_EMPTY;
    }
    return is_published(segment, t) ? RB_EMPTY : RB_UNLINKED;
}

/* What is at number t. RB_LAPPED: *newer as lapped() wants it. */
static int look_at(const struct rb_subscriber *s, uint64_t t, rb_record *record, uint64_t *newer) {
    const struct rb_segment *segment = &s->handle.segment;
    const uint64_t mask = segment->cell_mask;
    /* [read:A] acquire; pairs with [publish:A]: the record's bytes are there */
    uint64_t found = rb_load_acquire_64(&segment->order[t & mask]);
    *newer = 0;
    if ((found & ~mask) < (t & ~mask)) {
        return RB_EMPTY;
    }
    if ((found & ~mask) > (t & ~mask)) {
        *newer = rb_slot_number(found, t & mask, mask);
        return RB_LAPPED;
    }
    struct rb_record_header header;
    rb_record_load_header(segment, found & mask, &header);
    if (!is_still_kept(segment, t)) {
        return RB_LAPPED;
    }
    if (header.length > rb_segment_max_payload(segment)) {
        return RB_CORRUPT;
    }
    *record = (rb_record){
        .seq = t - first_number(segment),
        .ts_ns = header.ts_ns,
        .number = header.number,
        .length = header.length,
        .emitter = header.emitter,
        .kind = header.kind,
        .flags = header.flags,
        .cell = (uint32_t)(found & mask),
    };
    return RB_OK;
}

static int peek(struct rb_subscriber *s, rb_record *record, uint64_t *missed) {
    uint64_t newer;
    int status = look_at(s, s->cursor, record, &newer);
    return status == RB_LAPPED  ? lapped(s, newer, missed)
           : status == RB_EMPTY ? no_record(s, s->cursor)
                                : status;
}

static int peek_many(struct rb_subscriber *s, rb_record *records, size_t room, size_t most_bytes,
                     size_t *count, uint64_t *missed) {
    int status = peek(s, &records[0], missed);
    if (status != RB_OK) {
        return status;
    }
    size_t found = 1, bytes = records[0].length;
    uint64_t newer;
    while (found < room && bytes < most_bytes &&
           look_at(s, s->cursor + found, &records[found], &newer) == RB_OK) {
        bytes += records[found++].length;
    }
    *count = found;
    return RB_OK;
}

static int copy(struct rb_subscriber *s, const rb_record *record, void *payload, uint64_t *missed) {
    const struct rb_segment *segment = &s->handle.segment;
    if (record->seq + first_number(segment) != s->cursor || record->cell > segment->cell_mask ||
        record->length > rb_segment_max_payload(segment)) {
        return RB_INVALID;
    }
    rb_record_copy_payload(segment, record->cell, record->length, payload);
    if (!is_still_kept(segment, s->cursor)) {
        return lapped(s, 0, missed);
    }
    rb_store_relaxed_64(&s->cursor, s->cursor + 1);
    return RB_OK;
}

static int copy_many(struct rb_subscriber *s, const rb_record *records, void *const *payloads,
                     size_t wanted, size_t *count, uint64_t *missed) {
    int status = RB_OK;
    size_t done = 0;
    while (done < wanted && status == RB_OK) {
        status = copy(s, &records[done], payloads[done], missed);
        done += status == RB_OK;
    }
    *count = done;
    return status;
}

int rb_subscriber_peek(rb_subscriber *s, rb_record *record, uint64_t *missed) {
    int status = rb_handle_enter(&s->handle);
    if (status == RB_OK) {
        status = peek(s, record, missed);
        rb_handle_leave(&s->handle);
    }
    return status;
}

int rb_subscriber_copy(rb_subscriber *s, const rb_record *record, void *payload, uint64_t *missed) {
    int status = rb_handle_enter(&s->handle);
    if (status == RB_OK) {
        status = copy(s, record, payload, missed);
        rb_handle_leave(&s->handle);
    }
    return status;
}

int rb_subscriber_try_peek(rb_subscriber *s, rb_record *records, size_t room, size_t most_bytes,
                           size_t *count, uint64_t *missed) {
    int status = rb_handle_try_enter(&s->handle);
    if (status == RB_OK) {
        status = peek_many(s, records, room, most_bytes, count, missed);
        rb_handle_leave(&s->handle);
    }
    return status;
}

int rb_subscriber_try_copy(rb_subscriber *s, const rb_record *records, void *const *payloads,
                           size_t wanted, size_t *count, uint64_t *missed) {
    int status = rb_handle_try_enter(&s->handle);
    if (status == RB_OK) {
        status = copy_many(s, records, payloads, wanted, count, missed);
        rb_handle_leave(&s->handle);
    }
    return status;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint32_t announce(struct rb_segment *segment, uint64_t *limit_ns) {
    uint32_t *word = &segment->hot->sleep;
    uint32_t value = segment->is_read_only ? rb_park_unannounced(word) : rb_park_announce(word);
    if ((value & 1) == 0) {
        *limit_ns = min_u64(*limit_ns, RB_UNANNOUNCED_SLICE_NS);
    }
    return value;
}

static int park(rb_subscriber *s, uint64_t limit_ns) {
    struct rb_segment *segment = &s->handle.segment;
    int status = rb_handle_sleep(&s->handle);
    if (status != RB_OK) {
        return status;
    }
    const uint64_t mask = segment->cell_mask;
    const uint64_t t = rb_load_relaxed_64(&s->cursor);
    uint32_t announced = announce(segment, &limit_ns);
    /* [park:B] seq_cst, the second look; pairs with [publish:A] and [wake:A] */
    uint64_t found = rb_load_seq_cst_64(&segment->order[t & mask]);
    if ((found & ~mask) < (t & ~mask)) {
        status = rb_segment_is_marked_unlinked(segment)
                     ? RB_UNLINKED
                     : rb_park(&segment->hot->sleep, announced, limit_ns);
        if (status == RB_TIMED_OUT && rb_segment_check_linked(segment) == RB_UNLINKED) {
            status = is_published(segment, t) ? RB_OK : RB_UNLINKED;
        }
    }
    return rb_handle_rise(&s->handle, status);
}

int rb_subscriber_park(rb_subscriber *s, uint64_t limit_ns) {
    return park(s, min_u64(limit_ns, RB_SLICE_NS));
}

int rb_subscriber_wait(rb_subscriber *s, uint64_t limit_ns) {
    const uint64_t since_ns = rb_monotonic_ns();
    uint64_t passed_ns = 0, slice_ns = RB_SLICE_NS;
    int status;
    do {
        status = park(s, min_u64(limit_ns - passed_ns, slice_ns));
        passed_ns = rb_monotonic_ns() - since_ns;
        slice_ns = RB_LONG_SLICE_NS;
    } while (status == RB_TIMED_OUT && passed_ns < limit_ns);
    return status;
}

static int advance(struct rb_subscriber *s, uint64_t seq) {
    struct rb_segment *segment = &s->handle.segment;
    if (!s->is_gate || seq > rb_order_tail(segment) - first_number(segment)) {
        return RB_INVALID;
    }
    return rb_gate_move(segment, s->gate, &s->gate_word, seq + first_number(segment));
}

int rb_subscriber_advance(rb_subscriber *s, uint64_t seq) {
    int status = rb_handle_enter(&s->handle);
    if (status == RB_OK) {
        status = advance(s, seq);
        rb_handle_leave(&s->handle);
    }
    return status;
}

int rb_subscriber_try_advance(rb_subscriber *s, uint64_t seq) {
    int status = rb_handle_try_enter(&s->handle);
    if (status == RB_OK) {
        status = advance(s, seq);
        rb_handle_leave(&s->handle);
    }
    return status;
}

int rb_subscriber_position(rb_subscriber *s, uint64_t *cursor, uint64_t *tail, uint64_t *floor) {
    int status = rb_handle_enter(&s->handle);
    if (status == RB_OK) {
        const struct rb_segment *segment = &s->handle.segment;
        /* The floor first: it never passes a tail read later. */
        *cursor = s->cursor - first_number(segment);
        *floor = rb_order_floor(segment) - first_number(segment);
        *tail = rb_order_tail(segment) - first_number(segment);
        rb_handle_leave(&s->handle);
    }
    return status;
}

/* Open and close. */

static int place_cursor(struct rb_subscriber *s, int fd, uint64_t start, const char *gate,
                        uint64_t *missed) {
    struct rb_segment *segment = &s->handle.segment;
    uint64_t tail = rb_order_tail(segment);
    uint64_t wanted = start > tail - first_number(segment) ? tail : start + first_number(segment);
    s->cursor = wanted;
    if (gate != NULL) {
        if (segment->is_read_only) {
            return RB_READ_ONLY;
        }
        int status = rb_gate_register(segment, fd, gate, &s->gate, &s->gate_word, &s->cursor);
        if (status != RB_OK) {
            return status;
        }
        s->is_gate = true;
    } else {
        uint64_t floor = rb_order_floor(segment);
        s->cursor = wanted < floor ? floor : wanted;
    }
    *missed = s->cursor - wanted;
    /* A gate serves the ring and does not count as one of its users. */
    return gate != NULL ? RB_OK : rb_lock_share(fd, rb_attach_byte());
}

uint64_t rb_subscriber_cursor(const rb_subscriber *s) {
    return rb_load_relaxed_64(&s->cursor) - s->handle.segment.geometry.cell_count;
}

int rb_subscriber_open(int fd, const char *path, uint64_t start, const char *gate,
                       rb_subscriber **subscriber, uint64_t *missed, char *why, size_t why_size) {
    struct rb_subscriber *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    int status = rb_handle_open(&s->handle, fd, path, why, why_size);
    if (status != RB_OK) {
        free(s);
        return status;
    }
    status = place_cursor(s, fd, start, gate, missed);
    if (status != RB_OK) {
        rb_subscriber_free(s);
        return status;
    }
    *subscriber = s;
    return RB_OK;
}

static void wake_sleepers(const struct rb_segment *segment) {
    if (segment->is_read_only) {
        rb_wake_unmarked(&segment->hot->sleep); /* who is about to sleep sleeps a slice */
    } else {
        rb_wake(&segment->hot->sleep);
    }
}

int rb_subscriber_close(rb_subscriber *s, int keep) {
    int status = rb_handle_enter(&s->handle);
    if (status != RB_OK) {
        return status == RB_CLOSED ? RB_OK : status;
    }
    if (s->is_gate && !keep) {
        rb_gate_unregister(&s->handle.segment, s->gate, s->gate_word);
    }
    rb_handle_close(&s->handle);
    if (s->handle.sleepers > 0) {
        wake_sleepers(&s->handle.segment);
    }
    rb_handle_leave(&s->handle);
    return RB_OK;
}

void rb_subscriber_free(rb_subscriber *s) {
    rb_subscriber_close(s, 1);
    rb_handle_destroy(&s->handle);
    free(s);
}
