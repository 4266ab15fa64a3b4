/* Locks that prove life, and the lanes of emitters. */
#ifndef RB_LANE_H
#define RB_LANE_H

#include "segment.h"

/* Bytes far beyond the end of the file; each is owned by whoever has it locked for writing. The
 * attach byte is read-locked by everybody who counts as attached. */
uint64_t rb_attach_byte(void);
uint64_t rb_lane_byte(uint32_t lane);
uint64_t rb_gate_byte(uint32_t gate);
uint64_t rb_name_byte(const char *name);

/* Takes a lock on the open file description behind `fd` and proves it through another descriptor.
 * RB_EXISTS if somebody alive has it. */
int rb_lock_own(const struct rb_segment *segment, int fd, uint64_t byte);
int rb_lock_share(int fd, uint64_t byte);
/* Gives an owned byte back before the mapping goes. */
void rb_lock_drop(int fd, uint64_t byte);

/* `probe` never locks; *held tells whether any other description has a lock on the byte. */
int rb_lock_probe(int probe, uint64_t byte, bool *held);

/* Opens the first free lane for the mapping made through `fd`. */
int rb_lane_open(struct rb_segment *segment, int fd, uint32_t *lane, uint32_t *incarnation);

/* True only if the emitter that had `incarnation` of the lane can never store again. */
bool rb_lane_is_dead(const struct rb_segment *segment, int probe, uint32_t lane,
                     uint64_t incarnation);

#endif
