/* Park and wake on a shared 32-bit word: bit 0 = somebody may sleep, the rest counts wakings. */
#ifndef RB_WAIT_H
#define RB_WAIT_H

#include <stdint.h>

/* Longest sleep in one go. Only a kill between a publish and its wake, two instructions, can leave
 * a sleeper to the end of its slice, and an idle subscriber shall cost nothing. */
#define RB_SLICE_NS UINT64_C(500000000)

/* The same for who serves many rings at once, of which most are calm for minutes. */
#define RB_LONG_SLICE_NS UINT64_C(8000000000)

/* Longest sleep of one that nobody will wake, because it may not announce itself. */
#define RB_UNANNOUNCED_SLICE_NS UINT64_C(20000000)

/* Announces a sleeper and returns the value to sleep on. The caller must look once more, with a
 * seq_cst load, whether what it waits for is there, before it calls rb_park(). */
uint32_t rb_park_announce(uint32_t *word);

/* For whoever may not store: announces nothing. If the value is odd, somebody else has announced
 * itself, and the next waker wakes all sleepers; else nobody wakes us. The second look is the same. */
uint32_t rb_park_unannounced(const uint32_t *word);

/* Sleeps while *word == announced, at most limit_ns. RB_OK, RB_TIMED_OUT or RB_INTERRUPTED. */
int rb_park(const uint32_t *word, uint32_t announced, uint64_t limit_ns);

/* Wakes all sleepers, if any; one system call then, one load otherwise. */
void rb_wake(uint32_t *word);

/* Wakes all sleepers without storing: those that still find nothing sleep again. */
void rb_wake_unmarked(const uint32_t *word);

#endif
