/* The workers of the soak.
 *
 *   house.c        starts and reaps workers; main()
 *   worker.c       what all workers share
 *   emitting.c     emitters: to stay, with forks, without descriptors
 *   coming.c       brief emitters, and children of a fork
 *   subscribing.c  subscribers and the gate
 *   probing.c      the prober, and the audit when everybody has gone
 */
#ifndef SOAK_WORKER_H
#define SOAK_WORKER_H

#include "ring.h"
#include "tally.h"

struct worker {
    struct tally *tally;
    struct desk *desk;
    const char *path;
    uint64_t random;
    enum phase leaves_at;
};

/* One emitter handle and its entry among the members. */
struct source {
    struct worker *worker;
    rb_emitter *emitter;
    struct member *member;
    uint32_t index;
    uint64_t epoch;
};

enum outcome { WENT_ON, RING_REMOVED };

/* worker.c */
uint64_t draw(struct worker *worker, uint64_t below);
void begin(struct worker *worker, const char doing[8]);
void nap(uint64_t us);
/* Whether it is time for this worker to leave. */
bool is_over(const struct worker *worker);
/* Opens the ring's file and reads its epoch; -1: there is none, or it is time to leave. */
int open_ring(struct worker *worker, uint64_t *epoch);
uint64_t clock_ns(int clock);

/* emitting.c */
bool open_source(struct worker *worker, struct source *source);
enum outcome emit(struct source *source, uint32_t count);
void run_emitter(struct worker *worker);

/* coming.c */
void run_nursery(struct worker *worker);
void fork_beside(struct source *source);
void be_brief(struct worker *worker, uint64_t records, bool closes);

/* subscribing.c */
void run_subscriber(struct worker *worker);
void run_gate(struct worker *worker);

/* probing.c */
void run_prober(struct worker *worker);
void run_auditor(struct worker *worker);

#endif
