/* One mapping of the ring's file: build, attach, check, detach. */
#ifndef RB_SEGMENT_H
#define RB_SEGMENT_H

#include "layout.h"
#include "ring.h"

#include <sys/types.h>

enum { RB_PATH_SIZE = 320 };
#define RB_OWN_GROUP ((gid_t)-1)

struct rb_segment {
    uint8_t *base; /* NULL: detached */
    struct rb_geometry geometry;
    struct rb_hot *hot;
    struct rb_database_area *database;
    struct rb_gate *gates;
    struct rb_lane *lanes;
    uint64_t *words;
    uint32_t *next;
    uint64_t *order;
    uint8_t *data;
    uint64_t cell_mask;
    uint32_t block_shift;
    uint64_t epoch;
    uint64_t created_ns;
    dev_t device;
    ino_t inode;
    const uint32_t *parent_mark; /* reads 0 in a forked child */
    bool is_read_only;           /* mapped without the right to store */
    char path[RB_PATH_SIZE];
};

int rb_segment_create(const char *path, uint64_t capacity, mode_t mode, gid_t group);

/* Checks everything before it trusts anything, then maps through `fd`, so that locks taken on that
 * descriptor's description live as long as the mapping. `fd` stays the caller's; opened for reading
 * only it makes a mapping into which nothing can be stored. */
int rb_segment_attach(struct rb_segment *segment, int fd, const char *path, char *why,
                      size_t why_size);

/* Unmaps the ring; its locks go with it. In a forked child there is nothing to unmap. */
void rb_segment_detach(struct rb_segment *segment);

/* After that not even rb_segment_is_forked() may be asked. */
void rb_segment_forget(struct rb_segment *segment);

/* A new read-only descriptor of this very file, for probing locks, or RB_UNLINKED. */
int rb_segment_open_probe(const struct rb_segment *segment, int *fd);

int rb_segment_check_linked(const struct rb_segment *segment);

static inline bool rb_segment_is_forked(const struct rb_segment *segment) {
    return *(const volatile uint32_t *)segment->parent_mark == 0;
}

static inline bool rb_segment_is_marked_unlinked(const struct rb_segment *segment) {
    /* [flags:C] acquire; pairs with [flags:B]: what was published before the mark is seen */
    return (rb_load_acquire_32(&segment->hot->flags) & RB_FLAG_UNLINKED) != 0;
}

static inline uint64_t rb_segment_max_payload(const struct rb_segment *segment) {
    return segment->geometry.capacity / 4;
}

#endif
