/* The part of the subscriber that only the builtins use. */
#ifndef RB_SUBSCRIBER_H
#define RB_SUBSCRIBER_H

#include "ring.h"

/* As rb_subscriber_advance(), _peek() and _copy(), but with RB_BUSY instead of waiting for another
 * thread, and the latter for several records at a time. */

int rb_subscriber_try_advance(rb_subscriber *subscriber, uint64_t seq);

/* *count of the next records: at most `room`, and no more once they have `most_bytes`. */
int rb_subscriber_try_peek(rb_subscriber *subscriber, rb_record *records, size_t room,
                           size_t most_bytes, size_t *count, uint64_t *missed);
/* Copies the payloads of the `wanted` records just peeked at and moves the cursor past those that it
 * got, *count of them. RB_INVALID: another thread read them. */
int rb_subscriber_try_copy(rb_subscriber *subscriber, const rb_record *records,
                           void *const *payloads, size_t wanted, size_t *count, uint64_t *missed);

/* The next seq to read; for messages, hence without the lock. */
uint64_t rb_subscriber_cursor(const rb_subscriber *subscriber);

#endif
