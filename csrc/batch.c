#include "batch.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_ROOM = 64, IDLE_BYTES = 16 << 10 /* an empty batch keeps no more than that */ };

struct rb_batch {
    rb_batch_content content;
    rb_batch_entry *entries;
    uint8_t *payloads;
    size_t entry_room, payload_room;
    struct rb_batch *next_live;
    unsigned pins;
    bool doomed;
};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static rb_batch *live;

int rb_batch_new(rb_batch **batch) {
    rb_batch *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&registry);
    made->next_live = live;
    live = made;
    pthread_mutex_unlock(&registry);
    *batch = made;
    return RB_OK;
}

static void free_memory(rb_batch *batch) {
    free(batch->entries);
    free(batch->payloads);
    batch->entries = NULL;
    batch->payloads = NULL;
    batch->entry_room = batch->payload_room = 0;
}

/* With the registry's lock held. */
static void destroy(rb_batch *batch) {
    rb_batch **link = &live;
    while (*link != batch) {
        link = &(*link)->next_live;
    }
    *link = batch->next_live;
    free_memory(batch);
    free(batch);
}

void rb_batch_free(rb_batch *batch) {
    pthread_mutex_lock(&registry);
    batch->doomed = true;
    if (batch->pins == 0) {
        destroy(batch);
    }
    pthread_mutex_unlock(&registry);
}

rb_batch *rb_batch_pin(uint64_t address) {
    pthread_mutex_lock(&registry);
    rb_batch *found = live;
    while (found != NULL && (uint64_t)(uintptr_t)found != address) {
        found = found->next_live;
    }
    if (found != NULL) {
        found->pins++;
    }
    pthread_mutex_unlock(&registry);
    return found;
}

void rb_batch_unpin(rb_batch *batch) {
    pthread_mutex_lock(&registry);
    if (--batch->pins == 0 && batch->doomed) {
        destroy(batch);
    }
    pthread_mutex_unlock(&registry);
}

const rb_batch_content *rb_batch_look(const rb_batch *batch) { return &batch->content; }

/* What is an event. */

#define TEXT(literal)                                                                              \
    { literal, sizeof literal - 1 }
static const struct {
    rb_text kind, head;
} EVENTS[] = {
    {TEXT("turn_start"), TEXT("{\"kind\":\"turn_start\",")},
    {TEXT("stream"), TEXT("{\"kind\":\"stream\",\"data\":")},
    {TEXT("note"), TEXT("{\"kind\":\"note\",")},
    {TEXT("turn_end"), TEXT("{\"kind\":\"turn_end\",")},
};
#undef TEXT

rb_text rb_event_kind(const rb_record *record) { return EVENTS[record->kind - 1].kind; }

static bool has_outline(const rb_record *record, const uint8_t *payload) {
    if (record->kind < 1 || record->kind > sizeof EVENTS / sizeof EVENTS[0]) {
        return false;
    }
    const rb_text head = EVENTS[record->kind - 1].head;
    return record->length > head.length && memcmp(payload, head.bytes, head.length) == 0 &&
           payload[record->length - 1] == '}';
}

/* How many bytes the sequence at `at` has, 0 if it is none. Table 3-7 of the Unicode Standard. */
static size_t sequence(const uint8_t *at, size_t left) {
    const uint8_t first = at[0];
    if (first < 0x80) {
        return 1;
    }
    const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || left < length) {
        return 0;
    }
    const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (at[i] < 0x80 || at[i] > 0xBF) {
            return 0;
        }
    }
    return length;
}

static bool is_utf8(const uint8_t *text, size_t length) {
    const uint64_t beyond_ascii = 0x8080808080808080;
    for (size_t at = 0; at < length;) {
        uint64_t eight;
        if (length - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & beyond_ascii) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        size_t step = sequence(text + at, length - at);
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}

/* Filling. */

static int grow(void **memory, size_t *room, size_t needed, size_t unit) {
    size_t wanted = *room < LEAST_ROOM ? LEAST_ROOM : *room;
    while (wanted < needed) {
        wanted *= 2;
    }
    void *grown = realloc(*memory, wanted * unit);
    if (grown == NULL) {
        return -ENOMEM;
    }
    *memory = grown;
    *room = wanted;
    return RB_OK;
}

static int make_room(rb_batch *batch, size_t length) {
    const rb_batch_content *content = &batch->content;
    int status = RB_OK;
    if (content->count == batch->entry_room) {
        status = grow((void **)&batch->entries, &batch->entry_room, content->count + 1,
                      sizeof *batch->entries);
    }
    if (status == RB_OK && content->bytes + length > batch->payload_room) {
        status = grow((void **)&batch->payloads, &batch->payload_room, content->bytes + length, 1);
    }
    return status;
}

static void add(rb_batch *batch, const rb_record *record, const uint8_t *payload) {
    rb_batch_content *content = &batch->content;
    rb_batch_entry *entry = &batch->entries[content->count++];
    *entry = (rb_batch_entry){.record = *record, .start = content->bytes};
    entry->is_text = is_utf8(payload, record->length);
    entry->is_event = entry->is_text && has_outline(record, payload);
    if ((record->flags & RB_RECORD_TRANSIENT) != 0) {
        content->transient++;
    } else if (!entry->is_event) {
        content->foreign++;
    }
    content->bytes += record->length;
    content->next_seq = record->seq + 1;
}

static int add_next(rb_batch *batch, rb_subscriber *subscriber) {
    rb_record record;
    int status = rb_subscriber_peek(subscriber, &record, &batch->content.missed);
    if (status == RB_OK) {
        status = make_room(batch, record.length);
    }
    if (status == RB_OK) {
        uint8_t *payload = batch->payloads + batch->content.bytes;
        status = rb_subscriber_copy(subscriber, &record, payload, &batch->content.missed);
        if (status == RB_OK) {
            add(batch, &record, payload);
        }
    }
    return status;
}

int rb_batch_fill(rb_batch *batch, rb_subscriber *subscriber, size_t most_records,
                  size_t most_bytes) {
    uint64_t cursor, tail, floor;
    int status = rb_subscriber_position(subscriber, &cursor, &tail, &floor);
    if (status != RB_OK) {
        return status;
    }
    batch->content = (rb_batch_content){.next_seq = cursor};
    while (status == RB_OK && batch->content.count < most_records &&
           batch->content.bytes < most_bytes) {
        status = add_next(batch, subscriber);
    }
    batch->content.entries = batch->entries;
    batch->content.payloads = batch->payloads;
    if (batch->content.count > 0 || batch->content.missed > 0) {
        return RB_OK; /* whatever ended it, the next fill meets it again */
    }
    if (batch->payload_room + batch->entry_room * sizeof *batch->entries > IDLE_BYTES) {
        free_memory(batch);
    }
    return status;
}

int rb_batch_get(const rb_batch *batch, rb_batch_content *content) {
    *content = batch->content;
    return RB_OK;
}

void rb_return_large_blocks(void) {
#ifdef M_MMAP_THRESHOLD
    /* glibc's own value; but set, it no longer grows with the blocks that were freed. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}
