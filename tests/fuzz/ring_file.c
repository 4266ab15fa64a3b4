/* The file that stands for a ring, and the core's surroundings while it is fuzzed.
 *
 * The linker's --wrap puts three things round the core. A mapping of the file lies between two wide
 * stretches that nobody may touch, because the address sanitizer knows nothing of mappings. The
 * monotonic clock jumps, and a nap returns at once, so that an emit gives up after a few tries
 * instead of 100 ms.
 */
#define _GNU_SOURCE
#include "ring_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { GUARD = 1 << 24 };
static const uint64_t CLOCK_STEP_NS = 10000000;

const char *file_path(void) {
    static char path[300];
    if (path[0] == '\0') {
        const char *folder = getenv("RINGBUS_FUZZ_FOLDER");
        REQUIRE(folder != NULL && "set RINGBUS_FUZZ_FOLDER to a folder in memory");
        REQUIRE(snprintf(path, sizeof path, "%s/ring-%ld", folder, (long)getpid()) <
                (int)sizeof path);
    }
    return path;
}

int file_open(void) {
    int fd = open(file_path(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    return fd;
}

void file_write(const void *bytes, size_t size) {
    int fd = file_open();
    REQUIRE(ftruncate(fd, (off_t)size) == 0);
    REQUIRE(pwrite(fd, bytes, size, 0) == (ssize_t)size);
    close(fd);
}

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
uint64_t __wrap_rb_monotonic_ns(void);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fd < 0) {
        return __real_mmap(at, size, protection, flags, fd, offset);
    }
    uint8_t *around = __real_mmap(NULL, size + 2 * (size_t)GUARD, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(around != MAP_FAILED);
    void *mapped = __real_mmap(around + GUARD, size, protection, flags | MAP_FIXED, fd, offset);
    REQUIRE(mapped != MAP_FAILED);
    return mapped;
}

int __wrap_munmap(void *at, size_t size) {
    if (size == RB_PAGE) { /* the mark of the parent, not the ring */
        return __real_munmap(at, size);
    }
    return __real_munmap((uint8_t *)at - GUARD, size + 2 * (size_t)GUARD);
}

uint64_t __wrap_rb_monotonic_ns(void) {
    static uint64_t now_ns;
    return now_ns += CLOCK_STEP_NS;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left) {
    (void)time;
    (void)left;
    return 0;
}
