/* What ring, emitter and subscriber handles share; the rules are in handle.h.
 *
 * The lock is a word and not a mutex, because giving back a mutex is another locked instruction, to
 * see whether anybody sleeps on it: a tenth of an emit. Whoever finds the lock taken looks again,
 * soon, then less soon; it is never held for long.
 */
#define _POSIX_C_SOURCE 200809L
#include "handle.h"

#include <time.h>

enum { LOOKS = 200, BETWEEN_LOOKS_NS = 50000 };

static bool try_lock(struct rb_handle *handle) {
    /* [lock:A] acquire; pairs with [lock:B] */
    return rb_exchange_acquire_32(&handle->lock, 1) == 0;
}

static void lock(struct rb_handle *handle) {
    const struct timespec pause = {.tv_nsec = BETWEEN_LOOKS_NS};
    /* Looked at before it is swapped, for a swap takes the word from its owner's core. */
    for (unsigned looks = 1; rb_load_relaxed_32(&handle->lock) != 0 || !try_lock(handle); looks++) {
        if (looks > LOOKS) { /* its owner may need this core */
            nanosleep(&pause, NULL);
        }
    }
}

static void unlock(struct rb_handle *handle) {
    /* [lock:B] release; pairs with [lock:A] */
    rb_store_release_32(&handle->lock, 0);
}

int rb_handle_open(struct rb_handle *handle, int fd, const char *path, char *why, size_t why_size) {
    int status = rb_segment_attach(&handle->segment, fd, path, why, why_size);
    if (status == RB_OK) {
        handle->lock = 0;
        handle->sleepers = 0;
        handle->closed = false;
    }
    return status;
}

static int entered(struct rb_handle *handle) {
    if (handle->closed) {
        unlock(handle);
        return RB_CLOSED;
    }
    return RB_OK;
}

int rb_handle_enter(struct rb_handle *handle) {
    /* A thread of the parent may have held the lock at the fork: ask before locking. */
    if (rb_segment_is_forked(&handle->segment)) {
        return RB_FORKED;
    }
    lock(handle);
    return entered(handle);
}

int rb_handle_try_enter(struct rb_handle *handle) {
    if (rb_segment_is_forked(&handle->segment)) {
        return RB_FORKED;
    }
    return try_lock(handle) ? entered(handle) : RB_BUSY;
}

static void detach_if_last(struct rb_handle *handle) {
    if (handle->closed && handle->sleepers == 0) {
        rb_segment_detach(&handle->segment);
    }
}

void rb_handle_leave(struct rb_handle *handle) {
    detach_if_last(handle);
    unlock(handle);
}

int rb_handle_sleep(struct rb_handle *handle) {
    int status = rb_handle_enter(handle);
    if (status == RB_OK) {
        handle->sleepers++;
        rb_handle_leave(handle);
    }
    return status;
}

int rb_handle_rise(struct rb_handle *handle, int status) {
    lock(handle);
    handle->sleepers--;
    int result = handle->closed ? RB_CLOSED : status;
    rb_handle_leave(handle);
    return result;
}

void rb_handle_close(struct rb_handle *handle) { handle->closed = true; }

void rb_handle_destroy(struct rb_handle *handle) { rb_segment_forget(&handle->segment); }
