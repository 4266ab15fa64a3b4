/* To an instruction boundary of the stepped child. */
#ifndef WALK_H
#define WALK_H

#include "step.h"

enum { NO_TRACING = 77 /* exit status of child and observer */ };

/* Waits for the child to stop; false if it did for nothing but a step or a breakpoint. */
bool is_at_mark(struct scene *scene, pid_t child);

/* Steps through the whole region. Its boundaries are 0 to the number returned; where a swap is to
 * be lost, *from is the one before that swap, else 0. */
uint32_t walk_first(struct scene *scene, pid_t child, uint32_t *from);

/* From the begin of the region to the boundary; true if the region ended before. *astray: not at
 * the instruction that the first walk had there. */
bool walk_to(struct scene *scene, pid_t child, uint32_t boundary, bool *astray);

#endif
