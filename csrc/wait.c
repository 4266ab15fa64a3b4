/* Park and wake.
 *
 * The obvious way, "clear the sleep bit, then FUTEX_WAKE", loses a wake-up for good when the waker
 * is killed between the two: the bit says that nobody sleeps while somebody does. FUTEX_WAKE_OP
 * with both addresses on the same word clears the bit (adds 1 to an odd value) and wakes in one
 * operation of the kernel, which a kill cannot split.
 *
 * There is no count of sleepers, so a sleeper that died costs one superfluous system call, once.
 * Two wakers that both saw the bit add 2: the word is then odd without a sleeper, which costs the
 * next waker one superfluous call.
 *
 * A sleeper that may not store sleeps on the word as it is. While another sleeper's bit is set it is
 * woken like that one; else it must look again by itself, after a short slice.
 */
#define _GNU_SOURCE
#include "wait.h"

#include "atomics.h"
#include "ring.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint32_t rb_park_announce(uint32_t *word) {
    /* [park:A] seq_cst, both the load of a bit that is set already and the swap that sets it,
     * before the caller's second look; pairs with [wake:A] */
    uint32_t value = rb_load_seq_cst_32(word);
    while ((value & 1) == 0) {
        if (rb_cas_seq_cst_32(word, &value, value | 1)) {
            return value | 1;
        }
    }
    return value;
}

uint32_t rb_park_unannounced(const uint32_t *word) {
    /* [park:A] seq_cst: an odd value is the bit that is set already */
    return rb_load_seq_cst_32(word);
}

int rb_park(const uint32_t *word, uint32_t announced, uint64_t limit_ns) {
    struct timespec limit = {.tv_sec = (time_t)(limit_ns / 1000000000),
                             .tv_nsec = (long)(limit_ns % 1000000000)};
    if (syscall(SYS_futex, word, FUTEX_WAIT, announced, &limit, NULL, 0) == 0 || errno == EAGAIN) {
        return RB_OK;
    }
    return errno == EINTR ? RB_INTERRUPTED : errno == ETIMEDOUT ? RB_TIMED_OUT : -errno;
}

void rb_wake(uint32_t *word) {
    /* [wake:A] seq_cst, after the change that sleepers wait for; pairs with [park:A]: either the
     * sleeper's second look sees the change or this load sees the sleeper */
    if ((rb_load_seq_cst_32(word) & 1) == 0) {
        return;
    }
    /* The comparison decides only about waking on the second address as well: nobody more. */
    syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, 0L, word,
            FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
}

void rb_wake_unmarked(const uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
