/* What the stepped child and bystanders do. */
#ifndef CHILD_H
#define CHILD_H

#include "step.h"

/* The running process's own; a forked child begins with a copy. */
struct child {
    rb_emitter *emitter;
    rb_item items[MAX_STEPPED];
    uint8_t payloads[2 * LARGEST];
    uint32_t used; /* bytes of payloads */
    rb_subscriber *subscriber;
    uint64_t wanted; /* where the subscriber began, and what it has got or missed since */
    uint64_t got;
    /* The last read, judged when it is over: only the library's own work is stepped through. */
    int status;
    uint64_t missed;
    rb_record record;
};

extern struct child me;

void child_check(struct scene *scene, bool condition, const char *what, int status);
pid_t fork_bystander(struct scene *scene, void (*run)(struct scene *scene));
void end_bystander(struct scene *scene, pid_t pid);

/* Emitting. */
void plan_record(struct scene *scene, uint32_t length);
void open_stepped(struct scene *scene);
void emit_stepped(struct scene *scene);
void prepare_emitter(struct scene *scene);
void close_stepped(struct scene *scene);
#define EMIT .prepare = prepare_emitter, .act = emit_stepped, .finish = close_stepped

/* Reading. */
void check_awake(struct scene *scene, int status);
void subscribe(struct scene *scene, uint64_t start, const char *gate);
void read_stepped(struct scene *scene);
void judge_read(struct scene *scene);
void read_to_the_end(struct scene *scene);
void judge_and_read_on(struct scene *scene);

#endif
