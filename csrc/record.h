/* A record's bytes: a header at a cell, then the payload along a chain of blocks.
 *
 * The header is never split, because blocks consist of cells; the payload runs on at the start of
 * the block that next[] names. Whoever reads may be overtaken while he does. So lengths are checked
 * by the caller, block numbers are masked, and each block of the chain takes off what it holds:
 * whatever the bytes are, nothing outside the ring is touched and every loop ends. What was read
 * counts only after another look at the floor.
 *
 * Here and not in a file of its own because a call would cost an emit a tenth.
 */
#ifndef RB_RECORD_H
#define RB_RECORD_H

#include "segment.h"

/* Where a record of an emitter goes: `offset` bytes into the first block, then block by block. */
struct rb_place {
    uint32_t block;
    uint32_t offset;
    const uint32_t *chain; /* the blocks after the first */
};

/* Word by word: gathered in wider registers first, as a copy of the struct would be, the fields just
 * computed would be waited for until they have come to memory, 10 ns a record. */
static inline void rb_record_store_header(uint8_t *to, const struct rb_record_header *header) {
    uint64_t *words = (uint64_t *)(void *)to;
    rb_store_relaxed_64(&words[0], header->length | (uint64_t)header->emitter << 32);
    rb_store_relaxed_64(&words[1], header->ts_ns);
    rb_store_relaxed_64(&words[2], header->number);
    rb_store_relaxed_64(&words[3], header->kind | (uint64_t)header->flags << 32);
}

/* Writes into blocks that the caller owns. */
static inline void rb_record_write(const struct rb_segment *segment, const struct rb_place *place,
                                   const struct rb_record_header *header, const void *payload) {
    const uint32_t size = segment->geometry.block_size;
    const uint32_t *next = place->chain;
    uint8_t *to = segment->data + (uint64_t)place->block * size + place->offset;
    rb_record_store_header(to, header);
    to += sizeof *header;
    uint32_t room = size - place->offset - (uint32_t)sizeof *header;
    const uint8_t *from = payload;
    for (uint32_t left = header->length; left > 0;) {
        if (room == 0) {
            to = segment->data + (uint64_t)*next++ * size;
            room = size;
        }
        uint32_t piece = left < room ? left : room;
        rb_copy_racing(to, from, piece);
        to += piece;
        from += piece;
        left -= piece;
        room -= piece;
    }
}

static inline void rb_record_load_header(const struct rb_segment *segment, uint64_t cell,
                                         struct rb_record_header *header) {
    /* Once each: the compiler must not load a field again after its check. */
    const uint64_t *from = (const uint64_t *)(const void *)(segment->data + cell * RB_CELL);
    uint64_t words[sizeof *header / sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        words[i] = rb_load_relaxed_64(&from[i]);
    }
    memcpy(header, words, sizeof words);
}

static inline void rb_record_copy_payload(const struct rb_segment *segment, uint64_t cell,
                                          uint32_t length, void *payload) {
    const uint32_t size = segment->geometry.block_size;
    const uint32_t block_mask = segment->geometry.block_count - 1;
    uint8_t *to = payload;
    uint64_t at = cell * RB_CELL + sizeof(struct rb_record_header);
    uint32_t block = (uint32_t)((at - 1) >> segment->block_shift);
    uint32_t room = (uint32_t)(((uint64_t)block + 1) * size - at);
    for (uint32_t left = length; left > 0;) {
        if (room == 0) {
            /* Relaxed: publishing orders it; of a chain under overwriting it may be anything. */
            block = rb_load_relaxed_32(&segment->next[block]) & block_mask;
            at = (uint64_t)block * size;
            room = size;
        }
        uint32_t piece = left < room ? left : room;
        rb_copy_racing(to, segment->data + at, piece);
        to += piece;
        at += piece;
        left -= piece;
        room -= piece;
    }
}

#endif
