/* The ring's own handle: attaching, and what people and supervisors ask about a ring. */
#define _GNU_SOURCE
#include "handle.h"
#include "lane.h"
#include "order.h"
#include "pool.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rb_ring {
    struct rb_handle handle;
};

int rb_ring_create(const char *path, uint64_t capacity) {
    return rb_segment_create(path, capacity, 0600, RB_OWN_GROUP);
}

int rb_ring_create_shared(const char *path, uint64_t capacity, uint32_t mode, uint32_t group) {
    return rb_segment_create(path, capacity, mode, group);
}

int rb_ring_attach(int fd, const char *path, int observer, rb_ring **ring, char *why,
                   size_t why_size) {
    rb_ring *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return -ENOMEM;
    }
    int status = rb_handle_open(&r->handle, fd, path, why, why_size);
    if (status != RB_OK) {
        free(r);
        return status;
    }
    if (!observer) {
        status = rb_lock_share(fd, rb_attach_byte());
    }
    if (status == RB_OK) {
        /* A collector may have removed it before our lock stood. */
        status = rb_segment_check_linked(&r->handle.segment);
    }
    if (status != RB_OK) {
        rb_ring_free(r);
        return status;
    }
    *ring = r;
    return RB_OK;
}

int rb_ring_close(rb_ring *ring) {
    int status = rb_handle_enter(&ring->handle);
    if (status != RB_OK) {
        return status == RB_CLOSED ? RB_OK : status;
    }
    rb_handle_close(&ring->handle);
    rb_handle_leave(&ring->handle);
    return RB_OK;
}

void rb_ring_free(rb_ring *ring) {
    rb_ring_close(ring);
    rb_handle_destroy(&ring->handle);
    free(ring);
}

int rb_ring_stats(rb_ring *ring, rb_stats *stats) {
    int status = rb_handle_enter(&ring->handle);
    if (status != RB_OK) {
        return status;
    }
    const struct rb_segment *segment = &ring->handle.segment;
    const struct rb_geometry *g = &segment->geometry;
    *stats = (rb_stats){
        .epoch = segment->epoch,
        .created_ns = segment->created_ns,
        .capacity = g->capacity,
        .max_payload = rb_segment_max_payload(segment),
        /* The floor first: it never passes a tail read later. */
        .floor = rb_order_floor(segment) - g->cell_count,
        .block_count = g->block_count,
        .block_size = g->block_size,
        .blocks_free = rb_pool_count_free(segment),
        .lane_count = g->lane_count,
        .gate_count = g->gate_count,
        .flags = rb_load_acquire_32(&segment->hot->flags),
    };
    stats->tail = rb_order_tail(segment) - g->cell_count;
    rb_handle_leave(&ring->handle);
    return RB_OK;
}

/* Whether a byte is held, asked by a fresh descriptor; the ring's lock is held. */
static int probe_byte(rb_ring *ring, uint64_t byte, int *held) {
    int probe;
    bool is_held = false;
    int status = rb_segment_open_probe(&ring->handle.segment, &probe);
    if (status == RB_OK) {
        status = rb_lock_probe(probe, byte, &is_held);
        close(probe);
    }
    if (status == RB_OK) {
        *held = is_held;
    }
    return status;
}

static int ask(rb_ring *ring, uint64_t byte, int *held) {
    int status = rb_handle_enter(&ring->handle);
    if (status == RB_OK) {
        status = probe_byte(ring, byte, held);
        rb_handle_leave(&ring->handle);
    }
    return status;
}

int rb_ring_gate_held(rb_ring *ring, const char *name, int *held) {
    return ask(ring, rb_name_byte(name), held);
}

int rb_ring_is_attached(rb_ring *ring, int *attached) {
    return ask(ring, rb_attach_byte(), attached);
}

int rb_ring_lane(rb_ring *ring, uint32_t index, rb_lane_stats *stats) {
    int status = rb_handle_enter(&ring->handle);
    if (status != RB_OK) {
        return status;
    }
    const struct rb_segment *segment = &ring->handle.segment;
    status = index < segment->geometry.lane_count ? RB_OK : RB_INVALID;
    int alive = 0;
    if (status == RB_OK) {
        status = probe_byte(ring, rb_lane_byte(index), &alive);
    }
    if (status == RB_OK) {
        const struct rb_lane *lane = &segment->lanes[index];
        *stats = (rb_lane_stats){
            .since_ns = rb_load_relaxed_64(&lane->since_ns),
            .pid = rb_load_relaxed_32(&lane->pid),
            .incarnation = rb_load_relaxed_32(&lane->incarnation),
            .alive = alive,
        };
    }
    rb_handle_leave(&ring->handle);
    return status;
}

int rb_ring_gate(rb_ring *ring, uint32_t index, rb_gate_stats *stats) {
    int status = rb_handle_enter(&ring->handle);
    if (status != RB_OK) {
        return status;
    }
    const struct rb_segment *segment = &ring->handle.segment;
    status = index < segment->geometry.gate_count ? RB_OK : RB_INVALID;
    int alive = 0;
    if (status == RB_OK) {
        status = probe_byte(ring, rb_gate_byte(index), &alive);
    }
    if (status == RB_OK) {
        const struct rb_gate *gate = &segment->gates[index];
        uint64_t word = rb_load_acquire_64(&gate->word);
        *stats = (rb_gate_stats){
            .cursor = word == 0 ? 0 : (word & RB_CURSOR_MASK) - segment->geometry.cell_count,
            .since_ns = rb_load_relaxed_64(&gate->since_ns),
            .moved_ns = rb_load_relaxed_64(&gate->moved_ns),
            .pid = rb_load_relaxed_32(&gate->pid),
            .alive = alive,
            .standing = word != 0,
        };
        memcpy(stats->name, gate->name, sizeof stats->name - 1);
    }
    rb_handle_leave(&ring->handle);
    return status;
}

int rb_ring_flags(rb_ring *ring, uint32_t *flags) {
    int status = rb_handle_enter(&ring->handle);
    if (status == RB_OK) {
        /* [flags:A] seq_cst: an attacher takes its lock, then looks for the leaving mark; the
         * persister sets the mark, then looks for locks. One of them sees the other. */
        *flags = rb_load_seq_cst_32(&ring->handle.segment.hot->flags);
        rb_handle_leave(&ring->handle);
    }
    return status;
}

static int enter_to_store(rb_ring *ring) {
    int status = rb_handle_enter(&ring->handle);
    if (status == RB_OK && ring->handle.segment.is_read_only) {
        rb_handle_leave(&ring->handle);
        return RB_READ_ONLY;
    }
    return status;
}

int rb_ring_change_flags(rb_ring *ring, uint32_t set, uint32_t clear) {
    int status = enter_to_store(ring);
    if (status == RB_OK) {
        /* [flags:B] seq_cst; pairs with [flags:A] */
        rb_fetch_or_32(&ring->handle.segment.hot->flags, set);
        rb_fetch_and_32(&ring->handle.segment.hot->flags, ~clear);
        rb_handle_leave(&ring->handle);
    }
    return status;
}

int rb_ring_check_linked(rb_ring *ring) {
    int status = rb_handle_enter(&ring->handle);
    if (status == RB_OK) {
        status = rb_segment_check_linked(&ring->handle.segment);
        rb_handle_leave(&ring->handle);
    }
    return status;
}

int rb_ring_database(rb_ring *ring, rb_database *database) {
    enum { TRIES = 8 };
    int status = rb_handle_enter(&ring->handle);
    if (status != RB_OK) {
        return status;
    }
    const struct rb_database_area *area = ring->handle.segment.database;
    status = RB_EMPTY;
    for (int i = 0; i < TRIES && status == RB_EMPTY; i++) {
        /* [database:A] acquire; pairs with [database:B] */
        uint64_t version = rb_load_acquire_64(&area->version);
        if (version == 0) {
            break;
        }
        database->device = area->slot[version % 2].device;
        database->inode = area->slot[version % 2].inode;
        memcpy(database->path, area->slot[version % 2].path, sizeof database->path);
        database->path[sizeof database->path - 1] = '\0';
        /* [database:D] acquire fence; pairs with [database:C]: once a newer version is in force
         * this slot may be written again */
        rb_fence_acquire();
        if (rb_load_relaxed_64(&area->version) == version) {
            status = RB_OK;
        }
    }
    rb_handle_leave(&ring->handle);
    return status;
}

int rb_ring_set_database(rb_ring *ring, const rb_database *database) {
    int status = enter_to_store(ring);
    if (status != RB_OK) {
        return status;
    }
    struct rb_database_area *area = ring->handle.segment.database;
    uint64_t version = rb_load_relaxed_64(&area->version) + 1;
    /* [database:C] release fence; pairs with [database:D]: whoever sees a byte written below also
     * sees that the version before this one is in force, and not this slot */
    rb_fence_release();
    area->slot[version % 2].device = database->device;
    area->slot[version % 2].inode = database->inode;
    memcpy(area->slot[version % 2].path, database->path, sizeof database->path);
    /* [database:B] release; pairs with [database:A] */
    rb_store_release_64(&area->version, version);
    rb_handle_leave(&ring->handle);
    return RB_OK;
}

int rb_ring_wake(rb_ring *ring) {
    int status = enter_to_store(ring);
    if (status == RB_OK) {
        rb_wake(&ring->handle.segment.hot->sleep);
        rb_wake(&ring->handle.segment.hot->stall);
        rb_handle_leave(&ring->handle);
    }
    return status;
}
