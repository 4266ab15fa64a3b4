/* Atomic access by name.
 *
 * Every shared word is a plain uint64_t or uint32_t in the mapping and is touched through these
 * functions only, so that each access says its memory order where it stands. Process-shared
 * atomics must not hide a lock (a lock would live in one process only), hence the assertions.
 */
#ifndef RB_ATOMICS_H
#define RB_ATOMICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__atomic_always_lock_free(8, 0), "64-bit atomics must be lock-free");
_Static_assert(__atomic_always_lock_free(4, 0), "32-bit atomics must be lock-free");

#define RB_DEFINE_ATOMICS(bits)                                                                    \
    static inline uint##bits##_t rb_load_relaxed_##bits(const uint##bits##_t *word) {              \
        return __atomic_load_n(word, __ATOMIC_RELAXED);                                            \
    }                                                                                              \
    static inline uint##bits##_t rb_load_acquire_##bits(const uint##bits##_t *word) {              \
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);                                            \
    }                                                                                              \
    static inline uint##bits##_t rb_load_seq_cst_##bits(const uint##bits##_t *word) {              \
        return __atomic_load_n(word, __ATOMIC_SEQ_CST);                                            \
    }                                                                                              \
    static inline void rb_store_relaxed_##bits(uint##bits##_t *word, uint##bits##_t value) {       \
        __atomic_store_n(word, value, __ATOMIC_RELAXED);                                           \
    }                                                                                              \
    static inline void rb_store_release_##bits(uint##bits##_t *word, uint##bits##_t value) {       \
        __atomic_store_n(word, value, __ATOMIC_RELEASE);                                           \
    }                                                                                              \
    /* On failure *expected holds the value found. */                                              \
    static inline bool rb_cas_acq_rel_##bits(uint##bits##_t *word, uint##bits##_t *expected,       \
                                             uint##bits##_t desired) {                             \
        return __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_ACQ_REL,       \
                                           __ATOMIC_ACQUIRE);                                      \
    }                                                                                              \
    static inline bool rb_cas_seq_cst_##bits(uint##bits##_t *word, uint##bits##_t *expected,       \
                                             uint##bits##_t desired) {                             \
        return __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_SEQ_CST,       \
                                           __ATOMIC_SEQ_CST);                                      \
    }

RB_DEFINE_ATOMICS(64)
RB_DEFINE_ATOMICS(32)
#undef RB_DEFINE_ATOMICS

static inline uint32_t rb_fetch_or_32(uint32_t *word, uint32_t bits) {
    return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}

static inline uint32_t rb_fetch_and_32(uint32_t *word, uint32_t bits) {
    return __atomic_fetch_and(word, bits, __ATOMIC_SEQ_CST);
}

static inline uint64_t rb_fetch_add_64(uint64_t *word, uint64_t by) {
    return __atomic_fetch_add(word, by, __ATOMIC_RELAXED);
}

static inline uint32_t rb_exchange_acquire_32(uint32_t *word, uint32_t by) {
    return __atomic_exchange_n(word, by, __ATOMIC_ACQUIRE);
}

static inline uint64_t rb_exchange_64(uint64_t *word, uint64_t by) {
    return __atomic_exchange_n(word, by, __ATOMIC_RELAXED);
}

static inline void rb_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }

static inline void rb_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }

/* Copies into or out of a record's bytes. It may race by design: what a subscriber copied while an
 * emitter wrote is thrown away (subscriber.c). ThreadSanitizer cannot know that and gets a copy
 * that it does not object to. */
static inline void rb_copy_racing(void *to, const void *from, size_t size) {
#ifdef __SANITIZE_THREAD__
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = __atomic_load_n((const uint8_t *)from + i, __ATOMIC_RELAXED);
        __atomic_store_n((uint8_t *)to + i, byte, __ATOMIC_RELAXED);
    }
#else
    memcpy(to, from, size);
#endif
}

#endif
