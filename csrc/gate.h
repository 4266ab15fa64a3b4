/* Gates: cursors that emitters may not lap. */
#ifndef RB_GATE_H
#define RB_GATE_H

#include "segment.h"

/* Registers `name` with its cursor at internal number *cursor through `fd`'s description. If the
 * floor is above, *cursor becomes the floor. RB_GATE_TAKEN, RB_NO_GATE. */
int rb_gate_register(struct rb_segment *segment, int fd, const char *name, uint32_t *gate,
                     uint64_t *word, uint64_t *cursor);

/* Moves the owner's gate to `cursor`, never backwards, and wakes emitters. *word is the owner's
 * last known word. RB_EVICTED if it was taken out. */
int rb_gate_move(struct rb_segment *segment, uint32_t gate, uint64_t *word, uint64_t cursor);

/* The owner takes its gate out. */
void rb_gate_unregister(struct rb_segment *segment, uint32_t gate, uint64_t word);

/* The gate with the smallest cursor: its index, or RB_NONE; *word gets its word. */
uint32_t rb_gate_smallest(const struct rb_segment *segment, uint64_t *word);

/* An emitter pushes the gate from the very word it saw to `cursor`; false if it moved meanwhile. */
bool rb_gate_push(struct rb_segment *segment, uint32_t gate, uint64_t word, uint64_t cursor);

/* True while the gate stands where emitters last pushed it. */
bool rb_gate_is_pushed(const struct rb_segment *segment, uint32_t gate, uint64_t word);

/* Takes the gate out if it still has this very word: for the dead. */
void rb_gate_bury(struct rb_segment *segment, uint32_t gate, uint64_t word);

#endif
