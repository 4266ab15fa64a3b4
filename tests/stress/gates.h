/* What the cases of gates and of gates in the way share. */
#ifndef GATES_H
#define GATES_H

#include "step.h"

/* The gate that stands, if any; in these cases there is one at most. */
uint32_t find_gate(const struct scene *scene);

/* It is never below the floor, as whoever raises that pushes the gate on first, nor above the
 * tail. */
void check_gate(struct scene *scene);

/* The others, who push gates on, lap it. */
void push_on(struct scene *scene);

/* Emitters that may not push a gate (`fail`) or wait for it (`block`) come up against it: they do
 * as their policy says, and nothing that it wants goes. */
void press_against_gate(struct scene *scene);

/* The same where a gate stands at every instruction. */
void press_against_standing(struct scene *scene);

/* A dead process left a gate at the child's start. */
void leave_dead_gate(struct scene *scene);
void start_earlier(struct scene *scene);

/* A successor of that name takes over what stands and leaves nothing behind. */
void succeed_gate(struct scene *scene);

#endif
