/* What ring, emitter and subscriber handles share; the rules are in handle.h. */
#include "handle.h"

int rb_handle_open(struct rb_handle *handle, int fd, const char *path, char *why, size_t why_size) {
    int status = rb_segment_attach(&handle->segment, fd, path, why, why_size);
    if (status == RB_OK) {
        pthread_mutex_init(&handle->lock, NULL);
        handle->sleepers = 0;
        handle->closed = false;
    }
    return status;
}

static int entered(struct rb_handle *handle) {
    if (handle->closed) {
        pthread_mutex_unlock(&handle->lock);
        return RB_CLOSED;
    }
    return RB_OK;
}

int rb_handle_enter(struct rb_handle *handle) {
    /* A thread of the parent may have held the lock at the fork: ask before locking. */
    if (rb_segment_is_forked(&handle->segment)) {
        return RB_FORKED;
    }
    pthread_mutex_lock(&handle->lock);
    return entered(handle);
}

int rb_handle_try_enter(struct rb_handle *handle) {
    if (rb_segment_is_forked(&handle->segment)) {
        return RB_FORKED;
    }
    return pthread_mutex_trylock(&handle->lock) == 0 ? entered(handle) : RB_BUSY;
}

static void detach_if_last(struct rb_handle *handle) {
    if (handle->closed && handle->sleepers == 0) {
        rb_segment_detach(&handle->segment);
    }
}

void rb_handle_leave(struct rb_handle *handle) {
    detach_if_last(handle);
    pthread_mutex_unlock(&handle->lock);
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
    pthread_mutex_lock(&handle->lock);
    handle->sleepers--;
    int result = handle->closed ? RB_CLOSED : status;
    rb_handle_leave(handle);
    return result;
}

void rb_handle_close(struct rb_handle *handle) { handle->closed = true; }

void rb_handle_destroy(struct rb_handle *handle) {
    bool is_forked = rb_segment_is_forked(&handle->segment);
    rb_segment_forget(&handle->segment);
    if (!is_forked) {
        pthread_mutex_destroy(&handle->lock);
    }
}
