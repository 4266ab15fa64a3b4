/* Gates.
 *
 * A gate is one word: incarnation and cursor, the first number that it has not consumed. Emitters
 * look at all gates before they raise the floor. A gate that registers at that moment cannot be
 * overlooked: it first sets its word and then bumps the registration counter inside the floor word,
 * so either the emitter's scan sees the gate, or its compare-and-swap on the floor fails, or the
 * gate's own bump returns the raised floor and it starts there.
 *
 * The gate of a dead process stands where it was until its successor takes it over or an emitter
 * that has waited long enough takes it out.
 */
#include "gate.h"

#include "clock.h"
#include "lane.h"
#include "wait.h"

#include <string.h>
#include <unistd.h>

static bool has_name(const struct rb_gate *gate, const char *name) {
    return strncmp(gate->name, name, RB_GATE_NAME) == 0;
}

/* Which slots are looked for, best first. */
enum slot_wish { OF_THAT_NAME, NOT_IN_USE, PUSHED, WISHES };

static bool is_wanted(const struct rb_segment *segment, uint32_t gate, const char *name,
                      enum slot_wish wish) {
    uint64_t word = rb_load_acquire_64(&segment->gates[gate].word);
    if (wish == OF_THAT_NAME) {
        return word != 0 && has_name(&segment->gates[gate], name);
    }
    return wish == NOT_IN_USE ? word == 0 : rb_gate_is_pushed(segment, gate, word);
}

/* Looked at once more under the lock: before it somebody may have had the slot and left a gate
 * standing there. The first look spares the locks of slots that are in use. */
static bool claim(const struct rb_segment *segment, int fd, uint32_t gate, const char *name,
                  enum slot_wish wish) {
    if (!is_wanted(segment, gate, name, wish) ||
        rb_lock_own(segment, fd, rb_gate_byte(gate)) != RB_OK) {
        return false;
    }
    if (is_wanted(segment, gate, name, wish)) {
        return true;
    }
    rb_lock_drop(fd, rb_gate_byte(gate));
    return false;
}

/* The standing gate of that name, else a slot not in use, else the one of a dead gate that emitters
 * have passed already: it holds nothing any more. Locked, so nobody alive has it. */
static int claim_slot(struct rb_segment *segment, int fd, const char *name, uint32_t *gate) {
    for (enum slot_wish wish = OF_THAT_NAME; wish < WISHES; wish++) {
        for (uint32_t i = 0; i < segment->geometry.gate_count; i++) {
            if (claim(segment, fd, i, name, wish)) {
                *gate = i;
                return RB_OK;
            }
        }
    }
    return RB_NO_GATE;
}

static void write_label(struct rb_gate *gate, const char *name) {
    uint64_t now = rb_realtime_ns();
    if (!has_name(gate, name)) { /* a standing gate keeps its name at every instruction */
        memset(gate->name, 0, sizeof gate->name);
        memcpy(gate->name, name, strlen(name));
    }
    rb_store_relaxed_32(&gate->pid, (uint32_t)getpid());
    rb_store_relaxed_64(&gate->since_ns, now);
    rb_store_relaxed_64(&gate->moved_ns, now);
}

static uint64_t announce(struct rb_segment *segment, struct rb_gate *gate, uint64_t cursor) {
    /* Counted beside the word, which is 0 between gates: an emitter that still has a word of an
     * earlier gate in hand, to push or bury it, shall not hit this one. */
    uint32_t incarnation = rb_load_relaxed_32(&gate->incarnation) + 1;
    rb_store_relaxed_32(&gate->incarnation, incarnation);
    const uint64_t word = rb_gate_word(incarnation, cursor);
    uint64_t found = rb_load_acquire_64(&gate->word);
    /* [register:A] seq_cst, before the bump; emitters push a standing word, hence the loop */
    while (!rb_cas_seq_cst_64(&gate->word, &found, word)) {
    }
    uint64_t floor = rb_load_acquire_64(&segment->hot->floor);
    /* [register:B] acq_rel; pairs with [floor:A] */
    while (!rb_cas_acq_rel_64(&segment->hot->floor, &floor, rb_floor_registered(floor))) {
    }
    return word;
}

int rb_gate_register(struct rb_segment *segment, int fd, const char *name, uint32_t *gate,
                     uint64_t *word, uint64_t *cursor) {
    if (name[0] == '\0' || strlen(name) >= RB_GATE_NAME) {
        return RB_INVALID;
    }
    int status = rb_lock_own(segment, fd, rb_name_byte(name));
    if (status != RB_OK) {
        return status == RB_EXISTS ? RB_GATE_TAKEN : status;
    }
    status = claim_slot(segment, fd, name, gate);
    if (status != RB_OK) {
        return status;
    }
    write_label(&segment->gates[*gate], name);
    *word = announce(segment, &segment->gates[*gate], *cursor);
    /* From here on no emitter passes the gate unless it pushes it; what was passed before is lost. */
    uint64_t floor = rb_floor_of(rb_load_acquire_64(&segment->hot->floor));
    if (floor > *cursor) {
        *cursor = floor;
        return rb_gate_move(segment, *gate, word, floor);
    }
    rb_wake(&segment->hot->stall); /* emitters that waited for the gate that stood here */
    return RB_OK;
}

int rb_gate_move(struct rb_segment *segment, uint32_t gate, uint64_t *word, uint64_t cursor) {
    struct rb_gate *slot = &segment->gates[gate];
    uint64_t found = *word;
    uint64_t desired;
    do {
        if ((found ^ *word) >> RB_CURSOR_BITS != 0) {
            return RB_EVICTED;
        }
        if (rb_gate_cursor(found) > cursor) {
            cursor = rb_gate_cursor(found); /* pushed further than that meanwhile */
        }
        desired = rb_gate_moved(found, cursor);
        /* [move:A] seq_cst: the reads of the records come before an emitter's overwriting, pairs
         * with [smallest:A]; seq_cst against the second look of an emitter about to park */
    } while (!rb_cas_seq_cst_64(&slot->word, &found, desired));
    *word = desired;
    rb_store_relaxed_64(&slot->moved_ns, rb_realtime_ns());
    rb_wake(&segment->hot->stall);
    return RB_OK;
}

static bool replace(struct rb_segment *segment, uint32_t gate, uint64_t word, uint64_t by) {
    bool done = rb_cas_seq_cst_64(&segment->gates[gate].word, &word, by);
    if (done) {
        rb_wake(&segment->hot->stall);
    }
    return done;
}

void rb_gate_unregister(struct rb_segment *segment, uint32_t gate, uint64_t word) {
    uint64_t found = rb_load_acquire_64(&segment->gates[gate].word);
    /* An emitter may push at any time; the incarnation tells whether it is still ours. */
    while ((found ^ word) >> RB_CURSOR_BITS == 0 && !replace(segment, gate, found, 0)) {
        found = rb_load_acquire_64(&segment->gates[gate].word);
    }
}

uint32_t rb_gate_smallest(const struct rb_segment *segment, uint64_t *word) {
    uint32_t smallest = RB_NONE;
    for (uint32_t i = 0; i < segment->geometry.gate_count; i++) {
        /* [smallest:A] seq_cst: as the second look before parking it pairs with [move:A] */
        uint64_t found = rb_load_seq_cst_64(&segment->gates[i].word);
        if (found != 0 && (smallest == RB_NONE || rb_gate_cursor(found) < rb_gate_cursor(*word))) {
            smallest = i;
            *word = found;
        }
    }
    return smallest;
}

bool rb_gate_push(struct rb_segment *segment, uint32_t gate, uint64_t word, uint64_t cursor) {
    uint64_t pushed = rb_gate_moved(word, cursor);
    if (!replace(segment, gate, word, pushed)) {
        return false;
    }
    /* Killed before this store, the next emitter waits its own time once more: late, not wrong. */
    rb_store_relaxed_64(&segment->gates[gate].pushed, pushed);
    return true;
}

bool rb_gate_is_pushed(const struct rb_segment *segment, uint32_t gate, uint64_t word) {
    return rb_load_relaxed_64(&segment->gates[gate].pushed) == word;
}

void rb_gate_bury(struct rb_segment *segment, uint32_t gate, uint64_t word) {
    replace(segment, gate, word, 0);
}
