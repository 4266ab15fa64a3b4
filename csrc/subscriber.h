/* The part of the subscriber that only the builtins use. */
#ifndef RB_SUBSCRIBER_H
#define RB_SUBSCRIBER_H

#include "ring.h"

/* As rb_subscriber_peek() and _copy(), but RB_BUSY instead of waiting for another thread. */
int rb_subscriber_try_peek(rb_subscriber *subscriber, rb_record *record, uint64_t *missed);
int rb_subscriber_try_copy(rb_subscriber *subscriber, const rb_record *record, void *payload,
                           uint64_t *missed);

/* The next seq to read; for messages, hence without the lock. */
uint64_t rb_subscriber_cursor(const rb_subscriber *subscriber);

#endif
