/* What all workers share. */
#define _GNU_SOURCE
#include "worker.h"

#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void complain(struct tally *tally, const char *format, ...) {
    uint32_t at = __atomic_fetch_add(&tally->complaint_count, 1, __ATOMIC_SEQ_CST);
    if (at < COMPLAINTS) {
        va_list values;
        va_start(values, format);
        vsnprintf(tally->complaints[at], COMPLAINT_SIZE, format, values);
        va_end(values);
    }
}

/* An entry is 40 bits of where and 24 of what. Two members that store at once leave one of both,
 * and each entry is right. */
bool bear_witness(struct tally *tally, struct desk *desk, uint64_t epoch, uint64_t seq,
                  uint64_t key) {
    uint64_t *entry = &tally->witness[seq % WITNESSES];
    const uint64_t low = (UINT64_C(1) << 24) - 1;
    uint64_t mine = (mix(epoch + seq / WITNESSES) & ~low) | (key & low);
    uint64_t found = SEE(*entry);
    if ((found ^ mine) >> 24 != 0) {
        NOTE(*entry, mine);
        return true;
    }
    COUNT(desk->agreed);
    return found == mine;
}

uint64_t draw(struct worker *worker, uint64_t below) {
    worker->random = mix(worker->random);
    return worker->random % below;
}

void begin(struct worker *worker, const char doing[8]) {
    memcpy(worker->desk->doing, doing, sizeof worker->desk->doing);
    COUNT(worker->desk->beats);
}

void nap(uint64_t us) {
    nanosleep(&(struct timespec){.tv_nsec = (long)(us * 1000 % 1000000000)}, NULL);
}

uint64_t clock_ns(int clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

bool is_over(const struct worker *worker) {
    return SEE(worker->tally->phase) >= worker->leaves_at ||
           SEE(worker->tally->complaint_count) > 0;
}

int open_ring(struct worker *worker, uint64_t *epoch) {
    begin(worker, "open   ");
    while (!is_over(worker)) {
        int fd = open(worker->path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            off_t at = offsetof(struct rb_header, epoch);
            REQUIRE(worker->tally, pread(fd, epoch, sizeof *epoch, at) == (ssize_t)sizeof *epoch,
                    "the ring's header cannot be read: %s", strerror(errno));
            return fd;
        }
        REQUIRE(worker->tally, errno == ENOENT && worker->tally->is_removed,
                "the ring cannot be opened: %s", strerror(errno));
        begin(worker, "absent ");
        nap(500);
    }
    return -1;
}
