/* A subscriber and what it knows of everybody's records. */
#ifndef SOAK_READER_H
#define SOAK_READER_H

#include "worker.h"

struct seen {
    uint64_t next;  /* number */
    uint64_t lost;  /* what was lost to the subscriber when the last one came */
    uint64_t ts_ns; /* of the first record since `sleep` */
    uint32_t sleep; /* after which sleep it was last seen */
    uint32_t emitter;
};

struct reader {
    struct worker *worker;
    rb_subscriber *subscriber;
    uint64_t epoch;
    uint64_t expected; /* seq */
    uint64_t lost;     /* records not delivered, those before the start included */
    uint64_t slept_until_ns;
    uint32_t sleep; /* sleeps that nobody ended */
    bool is_first;  /* nothing read through this handle yet */
    struct seen *seen;
    uint8_t *payload;
};

/* checking.c */
void check_record(struct reader *reader, const rb_record *record);
void note_at_gate(struct reader *reader, const rb_record *record);
void finish_noting(struct tally *tally);
void note_loss(struct reader *reader, uint64_t missed);
void look_where_it_stands(const struct reader *reader, uint64_t *cursor, uint64_t *tail,
                          uint64_t *floor);

/* subscribing.c */
void make_reader(struct worker *worker, struct reader *reader);
int open_subscriber(struct reader *reader, uint64_t start, const char *gate);
/* RB_OK: one record checked. RB_EMPTY, RB_LAPPED, RB_UNLINKED otherwise. */
int read_one(struct reader *reader);

#endif
