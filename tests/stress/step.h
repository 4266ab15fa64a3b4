/* The stepper's parts.
 *
 *   scene.c    a fresh ring, the other emitters on it, and what must hold of it at any time
 *   cases.c    the operations that are stepped through
 *   edges.c    operations on the ring itself: creating it, attaching while it is removed
 *   walk.c     takes the child to an instruction boundary
 *   step.c     forks, kills, stops, continues, counts
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

/* Goes into each record's `kind`, so that even one without payload tells whose it is. */
enum emitter_kind { PEER = 1, VISITOR, VICTIM, STEPPED };

enum run_mode { COUNT, KILL, STOP };

/* What the stepped child and bystanders tell the observer; in memory that they share. */
struct report {
    uint32_t planned; /* records that the child emits if nothing stops it */
    uint32_t returned;
    uint32_t lengths[MAX_STEPPED]; /* written before the emit */
    uint64_t seqs[MAX_STEPPED];    /* written after it */
    uint64_t start;                /* the tail when the child was forked */
    uint64_t awake_by_ns;          /* a sleeper must have woken soon after; 0: not yet */
    uint64_t epoch;
    int status;
    bool is_done;
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
    rb_subscriber *gate;  /* keeps up with the peer */
    const uint8_t *bytes; /* the file, read-only: block words, gate words */
    uint64_t peer_number;
    uint64_t known;           /* records of everybody but the stepped child */
    uint8_t kinds[MAX_KNOWN]; /* by seq; 0: not one of those */
    uint64_t numbers[MAX_KNOWN];
    int64_t found[MAX_STEPPED]; /* seq at which a stepped record was seen */
    uint64_t created_epoch;
    pid_t bystander;
    bool failed;
};

/* `arrange` and `meanwhile` run in the observer, before the fork and when the child stands at the
 * begin of the stepped region; `prepare`, `act` and `finish` run in the child, `act` stepped;
 * `settle` in the observer at the boundary, `conclude` when the child is gone. */
struct step_case {
    const char *name;
    uint32_t length; /* of the stepped record */
    uint32_t before; /* payload of a record that the child emits beforehand; 0: none */
    uint32_t policy; /* the peer's */
    bool is_edge;    /* the observer has no ring of its own to begin with */
    bool registers;  /* a gate may be half registered at the boundary */
    void (*arrange)(struct scene *scene);
    void (*meanwhile)(struct scene *scene);
    void (*prepare)(struct scene *scene);
    void (*act)(struct scene *scene);
    void (*finish)(struct scene *scene);
    void (*settle)(struct scene *scene);
    void (*conclude)(struct scene *scene);
};

extern const struct step_case ring_cases[];
extern const struct step_case edge_cases[];

/* scene.c */
void complain(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t now_ns(void);
int open_path(const char *path);
rb_emitter *open_emitter(struct scene *scene, uint32_t policy);
void begin_scene(struct scene *scene);
void adopt_ring(struct scene *scene);
void end_scene(struct scene *scene);
uint32_t fill_payload(uint8_t *to, uint32_t kind, uint64_t number, uint32_t length);
bool is_payload(const uint8_t *payload, uint32_t kind, uint64_t number, uint32_t length);
int try_to_emit(struct scene *scene, rb_emitter *emitter, uint32_t kind, uint64_t number);
void emit_as_peer(struct scene *scene, uint64_t bytes);
void visit(struct scene *scene);
void verify(struct scene *scene);
void check_published(struct scene *scene, bool is_over);
void check_nothing_leaked(struct scene *scene);
const struct rb_hot *hot_of(const struct scene *scene);
uint64_t gate_word(const struct scene *scene, uint32_t gate);

#define CHECK(scene, condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            complain(scene, "%s, line %d: not so: %s", __func__, __LINE__, #condition);            \
        }                                                                                          \
    } while (0)

#endif
