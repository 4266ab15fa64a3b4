/* What ring, emitter and subscriber handles share: a mapping, a lock, an orderly end.
 *
 * Rules: the lock is held for a bounded number of instructions, never across a sleep. A sleeper
 * counts itself in, sleeps without the lock, and counts itself out; close() marks the handle and
 * the mapping goes with its last user. In a forked child nothing of it is touched.
 */
#ifndef RB_HANDLE_H
#define RB_HANDLE_H

#include "segment.h"

struct rb_handle {
    struct rb_segment segment;
    uint32_t lock; /* 1: a thread is inside */
    uint32_t sleepers;
    bool closed;
};

int rb_handle_open(struct rb_handle *handle, int fd, const char *path, char *why, size_t why_size);

/* Takes the lock: RB_OK, RB_FORKED or RB_CLOSED. */
int rb_handle_enter(struct rb_handle *handle);
/* The same without waiting: RB_BUSY if another thread is inside. */
int rb_handle_try_enter(struct rb_handle *handle);
void rb_handle_leave(struct rb_handle *handle);

/* Around a sleep; the lock is not held in between. rb_handle_rise() returns RB_CLOSED if the handle
 * was closed meanwhile, else `status`. */
int rb_handle_sleep(struct rb_handle *handle);
int rb_handle_rise(struct rb_handle *handle, int status);

/* With the lock held: marks the handle closed; it is left afterwards as usual. */
void rb_handle_close(struct rb_handle *handle);
/* No thread may be inside any more. */
void rb_handle_destroy(struct rb_handle *handle);

#endif
