/* The order ring: publish, the true tail, the floor. */
#ifndef RB_ORDER_H
#define RB_ORDER_H

#include "segment.h"

/* Gives the record at `cell` the next number, at least `t`, and returns it. The one moment at which
 * a record comes into being. 0: there is no next number, because the file is damaged. */
uint64_t rb_order_publish(struct rb_segment *segment, uint64_t t, uint64_t cell);

/* One past the newest record. */
uint64_t rb_order_tail(const struct rb_segment *segment);

uint64_t rb_order_floor(const struct rb_segment *segment);

/* Moves the floor from the word `seen` to `floor`; false if the word changed meanwhile. */
bool rb_order_raise_floor(struct rb_segment *segment, uint64_t seen, uint64_t floor);

#endif
