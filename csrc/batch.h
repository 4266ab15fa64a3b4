/* Copies of records in a row, in memory of one process: what is stored in one transaction.
 *
 * A batch belongs to one thread at a time. The SQL table of table.c reads it while it is live: the
 * registry of live batches is what makes an address that came through SQL safe to use.
 */
#ifndef RB_BATCH_H
#define RB_BATCH_H

#include "ring.h"

/* The batch at that address if it is live; it stays so until rb_batch_unpin(). Else NULL. */
rb_batch *rb_batch_pin(uint64_t address);
void rb_batch_unpin(rb_batch *batch);

const rb_batch_content *rb_batch_look(const rb_batch *batch);

typedef struct {
    const char *bytes;
    size_t length;
} rb_text;
/* The kind of an event. */
rb_text rb_event_kind(const rb_record *record);

#endif
