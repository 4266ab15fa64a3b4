/* Locks that prove life.
 *
 * The lock of a lane or gate is an open-file-description lock on a byte of its own, taken on the
 * description through which the ring is mapped. The descriptor is closed afterwards; the mapping
 * keeps the description, and so the lock, until the mapping goes: at munmap, exec or death, that is
 * when no instruction of the process can store into the ring any more, and not a moment earlier. No
 * process ids are involved, so it works across PID namespaces.
 *
 * Probing asks the kernel who is in the way of a lock (F_OFD_GETLK) and takes none itself: probers
 * that lock would make each other's lanes look alive.
 */
#define _GNU_SOURCE
#include "lane.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

uint64_t rb_attach_byte(void) { return UINT64_C(1) << 60; }

uint64_t rb_lane_byte(uint32_t lane) { return (UINT64_C(1) << 60) + (UINT64_C(1) << 20) + lane; }

uint64_t rb_gate_byte(uint32_t gate) { return (UINT64_C(1) << 60) + (UINT64_C(1) << 21) + gate; }

uint64_t rb_name_byte(const char *name) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(1099511628211);
    }
    return (UINT64_C(1) << 61) + (hash & ((UINT64_C(1) << 60) - 1));
}

static struct flock byte_lock(short type, uint64_t byte) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
}

static int take(int fd, short type, uint64_t byte) {
    struct flock lock = byte_lock(type, byte);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        return RB_OK;
    }
    return errno == EAGAIN || errno == EACCES ? RB_EXISTS : -errno;
}

int rb_lock_share(int fd, uint64_t byte) { return take(fd, F_RDLCK, byte); }

void rb_lock_drop(int fd, uint64_t byte) { take(fd, F_UNLCK, byte); }

int rb_lock_probe(int probe, uint64_t byte, bool *held) {
    struct flock lock = byte_lock(F_WRLCK, byte);
    if (fcntl(probe, F_OFD_GETLK, &lock) != 0) {
        return -errno;
    }
    *held = lock.l_type != F_UNLCK;
    return RB_OK;
}

int rb_lock_own(const struct rb_segment *segment, int fd, uint64_t byte) {
    int status = take(fd, F_WRLCK, byte);
    if (status != RB_OK) {
        return status;
    }
    int probe;
    bool held = false;
    status = rb_segment_open_probe(segment, &probe);
    if (status == RB_OK) {
        status = rb_lock_probe(probe, byte, &held);
        close(probe);
    }
    /* A file system on which others do not see the lock would make the living look dead. */
    return status != RB_OK ? status : held ? RB_OK : -ENOLCK;
}

int rb_lane_open(struct rb_segment *segment, int fd, uint32_t *lane, uint32_t *incarnation) {
    for (uint32_t i = 0; i < segment->geometry.lane_count; i++) {
        int status = rb_lock_own(segment, fd, rb_lane_byte(i));
        if (status == RB_EXISTS) {
            continue;
        }
        if (status != RB_OK) {
            return status;
        }
        /* Only the lock's holder writes here: a plain increment cannot race. */
        struct rb_lane *label = &segment->lanes[i];
        *lane = i;
        *incarnation = rb_load_relaxed_32(&label->incarnation) + 1;
        /* [lane:A] release; pairs with [lane:B]: blocks of older incarnations are left over */
        rb_store_release_32(&label->incarnation, *incarnation);
        rb_store_relaxed_32(&label->pid, (uint32_t)getpid());
        rb_store_relaxed_64(&label->since_ns, rb_realtime_ns());
        return RB_OK;
    }
    return RB_NO_LANE;
}

bool rb_lane_is_dead(const struct rb_segment *segment, int probe, uint32_t lane,
                     uint64_t incarnation) {
    bool held = true;
    if (lane >= segment->geometry.lane_count) {
        return true; /* a word that no emitter wrote */
    }
    /* [lane:B] acquire; pairs with [lane:A] */
    if (rb_load_acquire_32(&segment->lanes[lane].incarnation) > incarnation) {
        return true;
    }
    return rb_lock_probe(probe, rb_lane_byte(lane), &held) == RB_OK && !held;
}
