/* A small ring and what was emitted into it: every record that is read can be compared with the one
 * that was emitted at its number. One ring at a time, one thread. */
#ifndef LEDGER_H
#define LEDGER_H

#include "ring.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAPACITY = 1 << 16, LARGEST = CAPACITY / 4 };

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s, line %d: not so: %s\n", now_tried, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

extern const char *path;      /* of the ring */
extern const char *now_tried; /* for complaints */
extern uint64_t count;        /* one past the newest record known */

void forget_all(void);
int open_path(void);
/* Policy "drop". The descriptor goes to *kept, or is closed if that is NULL. */
rb_emitter *open_emitter(int *kept);

/* Payloads follow from who emits and how many he has emitted. */
void write_payload(uint8_t *payload, uint32_t who, uint64_t number, uint32_t length);
int try_emit(rb_emitter *emitter, const rb_item *item, uint64_t *seq);
void learn(uint64_t seq, uint32_t who, uint64_t number, uint32_t length);
/* Emits, which must succeed, learns it and counts *number. */
void emit(rb_emitter *emitter, uint32_t who, uint64_t *number, uint32_t length);

rb_subscriber *subscribe(uint64_t start);
/* Whether the record of that number is what was emitted; its cell is UINT32_MAX if it cannot be
 * read for it makes no sense. */
bool read_one(uint64_t seq, rb_record *record);
uint32_t count_owned(void); /* blocks */

#endif
