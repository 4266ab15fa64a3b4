/* The four orderings of the ring under a weak memory.
 *
 * Each thread has a store buffer: stores reach memory later, and those to different words in any
 * order, unless a release fence was set between them (stores carry the number of fences before
 * them). Loads may be reordered: a load that no acquire keeps back may have been carried out at any
 * moment before, so the thread first decides whether to load its second word early. A seq_cst access
 * drains the buffer and keeps its place among loads. That is weaker than ARMv8 for these shapes,
 * and far weaker than x86-64.
 *
 * TEST is the pair. WEAK_... takes away one order; then the test must fail.
 */
#define PUBLISH_READ 1
#define FLOOR_OVERWRITE 2
#define PUBLISH_WAIT 3
#define REGISTER_RAISE 4
#ifndef TEST
#define TEST PUBLISH_READ
#endif

#define WORDS 2
#define EMPTY 255

byte memory[WORDS];
/* At most one pending store for each thread and word is all that these tests need. */
byte pending[4]; /* thread * WORDS + word; EMPTY: none */
byte fenced[4];  /* fences of the thread before that store */
byte fences[2];
byte result[2];
byte done;

#define at(thread, word) ((thread) * WORDS + (word))

inline put(thread, word, value) {
    d_step { pending[at(thread, word)] = value; fenced[at(thread, word)] = fences[thread] }
}

/* A release fence: later stores stay behind earlier ones. */
inline release_fence(thread) { fences[thread]++ }

inline drain(thread) {
    (pending[at(thread, 0)] == EMPTY && pending[at(thread, 1)] == EMPTY)
}

/* What a thread sees: its own pending store first. */
#define seen(thread, word) \
    (pending[at(thread, word)] != EMPTY -> pending[at(thread, word)] : memory[word])

/* The memory takes any pending store that no fence keeps behind another one. */
proctype buffer(byte thread) {
end:
    do
    :: d_step {
        pending[at(thread, 0)] != EMPTY &&
        (pending[at(thread, 1)] == EMPTY || fenced[at(thread, 1)] >= fenced[at(thread, 0)]) ->
        memory[0] = pending[at(thread, 0)];
        pending[at(thread, 0)] = EMPTY
    }
    :: d_step {
        pending[at(thread, 1)] != EMPTY &&
        (pending[at(thread, 0)] == EMPTY || fenced[at(thread, 0)] >= fenced[at(thread, 1)]) ->
        memory[1] = pending[at(thread, 1)];
        pending[at(thread, 1)] = EMPTY
    }
    od
}

#if TEST == PUBLISH_READ
/* Word 0: the record's bytes. Word 1: its slot. */
proctype first() {
    put(0, 0, 1);
#ifndef WEAK_PUBLISH_RELEASE
    release_fence(0); /* [publish:A] */
#endif
    put(0, 1, 1);
    done++
}
proctype second() {
    byte slot, bytes;
    bit early = 0;
#ifdef WEAK_READ_ACQUIRE
    if :: bytes = seen(1, 0); early = 1 :: true fi;
#endif
    slot = seen(1, 1); /* [read:A] */
    if :: !early -> bytes = seen(1, 0) :: else fi;
    assert(slot == 0 || bytes == 1);
    done++
}
#endif

#if TEST == FLOOR_OVERWRITE
/* Word 0: the bytes of a kept record, overwritten by 1. Word 1: the floor, raised to 1 before. */
proctype first() {
    put(0, 1, 1); /* [floor:A] */
#ifndef WEAK_TAKE_FENCE
    release_fence(0); /* [take:B] */
#endif
    put(0, 0, 1);
    done++
}
proctype second() {
    byte bytes, floor;
    bit early = 0;
#ifdef WEAK_READ_FENCE
    if :: floor = seen(1, 1); early = 1 :: true fi;
#endif
    bytes = seen(1, 0); /* the copy */
    if :: !early -> floor = seen(1, 1) :: else fi; /* [read:B] */
    assert(bytes == 0 || floor == 1); /* else bytes of another record would be delivered */
    done++
}
#endif

#if TEST == PUBLISH_WAIT
/* Word 0: the slot. Word 1: the wait word. */
proctype first() {
    bit early = 0;
#ifdef WEAK_WAKE
    if :: result[0] = seen(0, 1); early = 1 :: true fi;
#endif
    put(0, 0, 1); /* [publish:A] */
#ifndef WEAK_PUBLISH_SEQ_CST
    drain(0);
#endif
    if :: !early -> result[0] = seen(0, 1) :: else fi; /* [wake:A] */
    done++
}
proctype second() {
    bit early = 0;
#ifdef WEAK_SECOND_LOOK
    if :: result[1] = seen(1, 0); early = 1 :: true fi;
#endif
    put(1, 1, 1); /* [park:A] */
#ifndef WEAK_PARK
    drain(1);
#endif
    if :: !early -> result[1] = seen(1, 0) :: else fi; /* [park:B] */
    done++
}
#define PROMISE (result[0] == 1 || result[1] == 1) /* woken, or did not sleep */
#endif

#if TEST == REGISTER_RAISE
/* Word 0: the gate, 1 when it is set. Word 1: the floor word, count * 2 + floor; swaps of it are
 * on the memory itself. result[0]: the emitter raised the floor without seeing the gate.
 * result[1]: the floor that the gate found when it was counted. */
proctype first() {
    byte floor, gate;
    bit early = 0;
#ifdef WEAK_FLOOR_ACQUIRE
    if :: gate = seen(0, 0); early = 1 :: true fi;
#endif
    floor = seen(0, 1); /* [floor:B] */
    if :: !early -> gate = seen(0, 0) :: else fi; /* [smallest:A] */
    if
    :: gate == 0 ->
        atomic { /* [floor:A] */
            if
            :: memory[1] == floor -> memory[1] = floor + 1; result[0] = 1
            :: else
            fi
        }
    :: else
    fi;
    done++
}
proctype second() {
    put(1, 0, 1); /* [register:A] */
#ifndef WEAK_REGISTER
    drain(1);
#endif
#ifdef WEAK_NO_COUNTER
    result[1] = memory[1] & 1;
#else
    atomic { result[1] = memory[1] & 1; memory[1] = memory[1] + 2 } /* [register:B] */
#endif
    done++
}
#define PROMISE (result[0] == 0 || result[1] == 1) /* not passed, or the gate knows it */
#endif

init {
    atomic {
        pending[0] = EMPTY; pending[1] = EMPTY; pending[2] = EMPTY; pending[3] = EMPTY;
        run buffer(0); run buffer(1);
        run first(); run second()
    }
    done == 2;
#ifdef PROMISE
    assert(PROMISE)
#endif
}
