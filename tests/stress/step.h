/* The stepper's parts.
 *
 *   scene.c      a fresh ring, the other emitters on it
 *   checks.c     what must hold of the ring at any time
 *   child.c      what the stepped child and bystanders do, and the gates of the dead
 *   emits.c      cases: emitting, opening, recovering
 *   shortages.c  cases: few blocks are FREE
 *   gates.c      cases: a gate's life
 *   obstacles.c  cases: a gate in the way of an emit
 *   reads.c      cases: a subscriber's read and its sleep
 *   edges.c      cases: creating the ring, attaching while it is removed, naming its database
 *   walk.c       takes the child to an instruction boundary
 *   step.c       forks, kills, stops, continues, counts
 *
 * Three sorts of processes: the observer (this program; it also emits, as the peer), the stepped
 * child, and in some cases a bystander that sleeps or has died beforehand.
 */
#ifndef STEP_H
#define STEP_H

#include "layout.h"
#include "ring.h"

#include <stdbool.h>
#include <sys/types.h>

enum {
    CAPACITY = 1 << 16,
    LARGEST = CAPACITY / 4,
    MAX_KNOWN = 8192, /* records of one run */
    MAX_STEPPED = 8,
    NO_SEQ = -1,
};

#define GATE_NAME "stepped"
#define LONG_NS UINT64_C(3600000000000)

/* Goes into each record's `kind`, so that even one without payload tells whose it is. */
enum emitter_kind { PEER = 1, VISITOR, VICTIM, STEPPED };

enum run_mode { COUNT, KILL, STOP };

/* What the stepped child and bystanders tell the observer; in memory that they share. */
struct report {
    uint32_t planned; /* records that the child emits if nothing stops it */
    size_t returned;  /* as the library counts them, in the midst of an emit of several, too */
    uint32_t lengths[MAX_STEPPED]; /* written before the emit */
    int64_t seqs[MAX_STEPPED];     /* written after it; NO_SEQ: not told */
    uint64_t start;                /* the tail when the child was forked */
    uint64_t awake_by_ns;          /* a sleeper must have woken soon after; 0: not yet */
    uint64_t victim_seq;
    uint64_t epoch;
    int status;
    bool is_done;
    bool is_waiting; /* between an emit that could not go on and the next try */
    char complaint[200];
};

struct step_case;

/* One run: a ring of its own. */
struct scene {
    const struct step_case *what;
    enum run_mode mode;
    uint32_t boundary;
    const char *path;
    struct report *report;
    rb_ring *ring;
    rb_emitter *peer;
    rb_subscriber *gate;     /* keeps up with the peer */
    rb_subscriber *standing; /* a gate of the observer that stays where it is */
    uint64_t stands_at;      /* the next record that it has to get */
    const uint8_t *bytes;    /* the file, read-only: block words, gate words */
    uint64_t peer_number;
    uint64_t known;           /* records of everybody but the stepped child */
    uint8_t kinds[MAX_KNOWN]; /* by seq; 0: not one of those */
    uint64_t numbers[MAX_KNOWN];
    int64_t found[MAX_STEPPED]; /* seq at which a stepped record was seen */
    uint64_t created_epoch;
    pid_t bystander;
    uint32_t dead_blocks; /* that the dead left */
    bool may_sleep;       /* then `when_asleep` is due, once */
    bool failed;
};

/* `arrange` and `meanwhile` run in the observer, before the fork and when the child stands at the
 * begin of the stepped region; `prepare`, `act` and `finish` run in the child, `act` stepped;
 * `settle` in the observer at the boundary, `conclude` when the child is gone; `overtake` in the
 * observer right before the swap that is to be lost or, without one, as soon as the child waits;
 * `when_asleep` in the observer when the child sleeps. */
struct step_case {
    const char *name;
    uint32_t length;     /* of the stepped record */
    uint32_t before;     /* payload of a record that the child emits beforehand; 0: none */
    uint32_t policy;     /* the others' */
    uint32_t own_policy; /* the child's */
    uint64_t limit_ns;   /* how long the child's emit waits at a gate */
    uint32_t loses;      /* the library's compare-and-swap, counted from 1, that is to be lost */
    bool is_quiet;       /* others do nothing but `settle` while it stands */
    bool is_edge;        /* the observer has no ring of its own to begin with */
    void (*arrange)(struct scene *scene);
    void (*meanwhile)(struct scene *scene);
    void (*prepare)(struct scene *scene);
    void (*act)(struct scene *scene);
    void (*finish)(struct scene *scene);
    void (*settle)(struct scene *scene);
    void (*conclude)(struct scene *scene);
    void (*overtake)(struct scene *scene);
    void (*when_asleep)(struct scene *scene);
};

extern const struct step_case emit_cases[];
extern const struct step_case shortage_cases[];
extern const struct step_case gate_cases[];
extern const struct step_case obstacle_cases[];
extern const struct step_case read_cases[];
extern const struct step_case edge_cases[];

/* scene.c */
void complain(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t now_ns(void);
int open_path(const char *path);
rb_emitter *open_emitter(struct scene *scene, uint32_t policy, uint64_t limit_ns);
rb_subscriber *open_gate(struct scene *scene, const char *name, uint64_t start, uint64_t *missed);
void prepare_pattern(void);
void begin_scene(struct scene *scene);
void adopt_ring(struct scene *scene);
void end_scene(struct scene *scene);
uint32_t usual_length(uint64_t number);
uint32_t fill_payload(uint8_t *to, uint32_t kind, uint64_t number, uint32_t length);
bool is_payload(const uint8_t *payload, uint32_t kind, uint64_t number, uint32_t length);
int try_to_emit(struct scene *scene, rb_emitter *emitter, uint32_t kind, uint64_t number);
void emit_as_peer(struct scene *scene, uint64_t bytes);
void visit(struct scene *scene);
const struct rb_hot *hot_of(const struct scene *scene);
const struct rb_gate *gate_of(const struct scene *scene, uint32_t gate);
uint64_t block_word(const struct scene *scene, uint32_t block);

/* checks.c */
void check_record(struct scene *scene, const rb_record *record, const uint8_t *payload);
void verify(struct scene *scene);
void check_published(struct scene *scene, bool is_over);
void check_found(struct scene *scene);
void check_nothing_leaked(struct scene *scene);
void check_in_hand(struct scene *scene);

#define CHECK(scene, condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            complain(scene, "%s, line %d: not so: %s", __func__, __LINE__, #condition);            \
        }                                                                                          \
    } while (0)

#endif
