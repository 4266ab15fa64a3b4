/* What is true of a ring whose file is scribbled into, and what can be required of it.
 *
 * Always: every status is one that the call may return; numbers are dense, or the jump was told;
 * an emit publishes or does not, and ends.
 *
 * As long as nobody emitted or recovered blocks relying on a changed control word (hint, floor,
 * block words, order slots, lanes): a record that is delivered is byte for byte the one that was
 * emitted at that number, unless its own slot, cells or links were changed. Gates, wait words,
 * flags and the database's name may be anything.
 *
 * As long as no control word was changed at all: every number is there, nothing below the floor is
 * delivered, an emit gets the next number.
 *
 * After an emit that relied on a changed control word a kept block may have been overwritten, and
 * no look at the ring can tell: contents are then not compared any more.
 */
#ifndef FUZZ_TRUTH_H
#define FUZZ_TRUTH_H

#include "ring_file.h"

void truth_begin(void);
uint8_t *truth_keep_template(void);
void truth_restore(const uint8_t *template);

/* One change of the file: in which part, at which word, and how. */
void truth_change(uint8_t part, uint16_t where, uint32_t how);

/* The bytes of a record, as many as it has. */
const uint8_t *truth_payload(uint32_t kind, uint64_t number);
void truth_before_emit(void);
void truth_add(uint64_t seq, uint32_t kind, uint64_t number, uint32_t length);
void truth_check(const rb_record *record, const uint8_t *payload);
void truth_check_stats(const rb_stats *stats);

void truth_require_attached(int status);
void truth_require_opened(int status);
void truth_require_subscribed(int status, bool is_gate);
void truth_require_emitted(int status, uint32_t length);
void truth_require_read(int status, uint64_t cursor);

#endif
