/* Build, attach, check, detach.
 *
 * A ring is built as a file without a name (O_TMPFILE), with all its pages allocated, so that
 * nobody gets SIGBUS later, and then linked to its name in one step that fails if the name exists.
 * Nobody ever sees a half-built ring, and a builder killed at any instruction leaves nothing. Never
 * rename: two builders would replace each other's ring.
 *
 * A file that is there may be anything. The header is read into private memory and checked against
 * what this build would have made; every offset used later comes from that private copy.
 */
#define _GNU_SOURCE
#include "segment.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int split_folder(const char *path, char folder[RB_PATH_SIZE]) {
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    if (length == 0 || strlen(path) >= RB_PATH_SIZE) {
        return RB_INVALID;
    }
    memcpy(folder, path, length);
    folder[length] = '\0';
    return RB_OK;
}

static int write_header(int fd, const struct rb_geometry *geometry) {
    struct rb_header header = {
        .version = RB_VERSION,
        .byte_order = RB_BYTE_ORDER,
        .layout_hash = rb_layout_hash(),
        .file_size = geometry->file_size,
        .created_ns = rb_realtime_ns(),
        .capacity = geometry->capacity,
        .block_size = geometry->block_size,
        .block_count = geometry->block_count,
        .cell_count = geometry->cell_count,
        .lane_count = geometry->lane_count,
        .gate_count = geometry->gate_count,
    };
    memcpy(header.magic, RB_MAGIC, sizeof header.magic);
    /* Epoch 0 means "before ringbus" in histories. */
    while (header.epoch == 0) {
        if (getrandom(&header.epoch, sizeof header.epoch, 0) != (ssize_t)sizeof header.epoch) {
            return -errno;
        }
    }
    struct rb_hot hot = {.hint = geometry->cell_count};
    hot.floor = rb_floor_moved(0, geometry->cell_count);
    if (pwrite(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        pwrite(fd, &hot, sizeof hot, RB_PAGE) != (ssize_t)sizeof hot) {
        return errno == ENOSPC ? RB_NO_SPACE : -errno;
    }
    return RB_OK;
}

static int link_into_place(int fd, const char *path) {
    char unnamed[64];
    snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, unnamed, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0) {
        return RB_OK;
    }
    return errno == EEXIST ? RB_EXISTS : -errno;
}

/* Refused up front: trying would take the memory from everybody else until it fails. */
static bool has_room(int fd, uint64_t size) {
    struct statfs system;
    return fstatfs(fd, &system) != 0 || system.f_blocks == 0 /* without a limit */ ||
           (uint64_t)system.f_bavail * (uint64_t)system.f_bsize >= size;
}

/* Piece by piece: a signal undoes the whole of an allocation on some kernels, and a process with a
 * busy timer would never get a large one done. */
static int allocate(int fd, uint64_t size) {
    const uint64_t step = UINT64_C(1) << 20;
    if (!has_room(fd, size)) {
        return RB_NO_SPACE;
    }
    for (uint64_t at = 0; at < size; at += step) {
        uint64_t piece = size - at < step ? size - at : step;
        int status;
        do {
            status = posix_fallocate(fd, (off_t)at, (off_t)piece);
        } while (status == EINTR);
        if (status != 0) {
            return status == ENOSPC ? RB_NO_SPACE : -status;
        }
    }
    return RB_OK;
}

/* The group first: until then the file is the creator's alone. Not left to the mode of open(),
 * which the umask cuts. */
static int set_access(int fd, mode_t mode, gid_t group) {
    if (group != RB_OWN_GROUP && fchown(fd, (uid_t)-1, group) != 0) {
        return -errno;
    }
    return fchmod(fd, mode) == 0 ? RB_OK : -errno;
}

static int build(int fd, const char *path, uint64_t capacity, mode_t mode, gid_t group) {
    struct rb_geometry geometry = rb_geometry_of(capacity);
    int status = set_access(fd, mode, group);
    if (status == RB_OK) {
        status = allocate(fd, geometry.file_size);
    }
    if (status == RB_OK) {
        status = write_header(fd, &geometry);
    }
    return status == RB_OK ? link_into_place(fd, path) : status;
}

int rb_segment_create(const char *path, uint64_t capacity, mode_t mode, gid_t group) {
    char folder[RB_PATH_SIZE];
    if (!rb_is_capacity(capacity) || split_folder(path, folder) != RB_OK) {
        return RB_INVALID;
    }
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno == ENOSPC ? RB_NO_SPACE : -errno;
    }
    int status = build(fd, path, capacity, mode, group);
    close(fd);
    return status;
}

#define REFUSE(...) (snprintf(why, why_size, __VA_ARGS__), RB_INCOMPATIBLE)

static int check_file(int fd, const struct stat *file, char *why, size_t why_size) {
    struct statfs system;
    if (fstatfs(fd, &system) != 0) {
        return -errno;
    }
    if (!S_ISREG(file->st_mode)) {
        return REFUSE("it is not a regular file");
    }
    if (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC) {
        return REFUSE("it is not in memory (tmpfs or hugetlbfs)");
    }
    if ((uint64_t)file->st_size < RB_PAGE) {
        return REFUSE("it has %llu bytes, too few for a header", (unsigned long long)file->st_size);
    }
    return RB_OK;
}

static int check_header(const struct rb_header *h, const struct stat *file, char *why,
                        size_t why_size) {
    if (memcmp(h->magic, RB_MAGIC, sizeof h->magic) != 0) {
        return REFUSE("it does not begin as a ring does");
    }
    if (h->byte_order != RB_BYTE_ORDER) {
        return REFUSE("it was made on a machine of another byte order");
    }
    if (h->version != RB_VERSION) {
        return REFUSE("its format is version %u, this library's is %u", h->version,
                      (unsigned)RB_VERSION);
    }
    if (h->layout_hash != rb_layout_hash()) {
        return REFUSE("its layout is %016llx, this library's is %016llx",
                      (unsigned long long)h->layout_hash, (unsigned long long)rb_layout_hash());
    }
    if (!rb_is_capacity(h->capacity)) {
        return REFUSE("its capacity of %llu bytes is none that a ring can have",
                      (unsigned long long)h->capacity);
    }
    struct rb_geometry g = rb_geometry_of(h->capacity);
    if (h->block_size != g.block_size || h->block_count != g.block_count ||
        h->cell_count != g.cell_count || h->lane_count != g.lane_count ||
        h->gate_count != g.gate_count || h->file_size != g.file_size) {
        return REFUSE("its geometry contradicts its capacity");
    }
    if ((uint64_t)file->st_size != g.file_size) {
        return REFUSE("it has %llu bytes and should have %llu", (unsigned long long)file->st_size,
                      (unsigned long long)g.file_size);
    }
    return h->epoch == 0 ? REFUSE("it has no epoch") : RB_OK;
}

#undef REFUSE

static int map_parent_mark(struct rb_segment *segment) {
    uint32_t *mark =
        mmap(NULL, RB_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mark == MAP_FAILED) {
        return -errno;
    }
    if (madvise(mark, RB_PAGE, MADV_WIPEONFORK) != 0) {
        int status = -errno;
        munmap(mark, RB_PAGE);
        return status;
    }
    *mark = 1;
    segment->parent_mark = mark;
    return RB_OK;
}

static void place(struct rb_segment *segment) {
    const struct rb_geometry *g = &segment->geometry;
    uint8_t *base = segment->base;
    segment->hot = (struct rb_hot *)(void *)(base + RB_PAGE);
    segment->database = (struct rb_database_area *)(void *)(base + g->database_offset);
    segment->gates = (struct rb_gate *)(void *)(base + g->gates_offset);
    segment->lanes = (struct rb_lane *)(void *)(base + g->lanes_offset);
    segment->words = (uint64_t *)(void *)(base + g->words_offset);
    segment->next = (uint32_t *)(void *)(base + g->next_offset);
    segment->order = (uint64_t *)(void *)(base + g->order_offset);
    segment->data = base + g->data_offset;
    segment->cell_mask = g->cell_count - 1;
    segment->block_shift = (uint32_t)__builtin_ctz(g->block_size);
}

static int map(struct rb_segment *segment, int fd) {
    size_t size = segment->geometry.file_size;
    int access = segment->is_read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void *base = mmap(NULL, size, access, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    /* A forked child must not keep the mapping: it would keep the parent's locks alive. */
    int status = madvise(base, size, MADV_DONTFORK) == 0 ? map_parent_mark(segment) : -errno;
    if (status != RB_OK) {
        munmap(base, size);
        return status;
    }
    segment->base = base;
    place(segment);
    return RB_OK;
}

int rb_segment_attach(struct rb_segment *segment, int fd, const char *path, char *why,
                      size_t why_size) {
    struct stat file;
    struct rb_header header;
    if (strlen(path) >= RB_PATH_SIZE) {
        return RB_INVALID;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &file) != 0) {
        return -errno;
    }
    int status = check_file(fd, &file, why, why_size);
    if (status != RB_OK) {
        return status;
    }
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header) {
        return -EIO;
    }
    status = check_header(&header, &file, why, why_size);
    if (status != RB_OK) {
        return status;
    }
    *segment = (struct rb_segment){.geometry = rb_geometry_of(header.capacity),
                                   .epoch = header.epoch,
                                   .created_ns = header.created_ns,
                                   .device = file.st_dev,
                                   .inode = file.st_ino,
                                   .is_read_only = (flags & O_ACCMODE) == O_RDONLY};
    memcpy(segment->path, path, strlen(path) + 1);
    return map(segment, fd);
}

void rb_segment_detach(struct rb_segment *segment) {
    /* In a forked child the address may belong to something else by now. */
    if (segment->base != NULL && !rb_segment_is_forked(segment)) {
        munmap(segment->base, segment->geometry.file_size);
    }
    segment->base = NULL;
}

void rb_segment_forget(struct rb_segment *segment) {
    rb_segment_detach(segment);
    munmap((void *)(uintptr_t)segment->parent_mark, RB_PAGE);
}

static bool is_same_file(const struct rb_segment *segment, const struct stat *file) {
    return file->st_dev == segment->device && file->st_ino == segment->inode;
}

int rb_segment_open_probe(const struct rb_segment *segment, int *fd) {
    struct stat file;
    int opened = open(segment->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (opened < 0) {
        return errno == ENOENT ? RB_UNLINKED : -errno;
    }
    if (fstat(opened, &file) != 0 || !is_same_file(segment, &file)) {
        close(opened);
        return RB_UNLINKED;
    }
    *fd = opened;
    return RB_OK;
}

int rb_segment_check_linked(const struct rb_segment *segment) {
    struct stat file;
    if (rb_segment_is_marked_unlinked(segment)) {
        return RB_UNLINKED;
    }
    if (stat(segment->path, &file) != 0) {
        return errno == ENOENT ? RB_UNLINKED : -errno;
    }
    return is_same_file(segment, &file) ? RB_OK : RB_UNLINKED;
}
