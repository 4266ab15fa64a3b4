/* The part of the emitter that only the builtins use. */
#ifndef RB_EMITTER_H
#define RB_EMITTER_H

#include "ring.h"

/* rb_emitter_emit(), but RB_BUSY instead of waiting for another thread. */
int rb_emitter_try_emit(rb_emitter *emitter, const rb_item *items, size_t count, size_t *published,
                        rb_stall *stall, uint64_t *first, uint64_t *last);

#endif
