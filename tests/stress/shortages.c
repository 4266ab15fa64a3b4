/* Cases: few blocks are FREE. Blocks are put into the hands of others by writing their words, as if
 * others had taken them. */
#include "child.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BLOCKS = 64,
    MANY = 40, /* more than half of them: whoever passes over the pool recovers first */
    DEAD_LANE = 5,
};

static uint64_t before[BLOCKS]; /* the word of each block that a living emitter holds; else 0 */

/* The ring's mapped for writing as long as `change` works on its block words. */
static void change_words(struct scene *scene, void (*change)(uint64_t *words)) {
    const struct rb_geometry g = rb_geometry_of(CAPACITY);
    int fd = open_path(scene->path);
    uint8_t *bytes = mmap(NULL, g.file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CHECK(scene, bytes != MAP_FAILED && g.block_count == BLOCKS);
    if (!scene->failed) {
        change((uint64_t *)(void *)(bytes + g.words_offset));
        munmap(bytes, g.file_size);
    }
}

static void leave_to_dead(uint64_t *words) {
    for (uint32_t b = 0, held = 0; held < MANY; b++) {
        if (!rb_word_is_owned(words[b])) {
            words[b] = rb_word_owned(DEAD_LANE, 1);
            held++;
        }
    }
}

/* As the peer, who is alive and has nothing to do with them. */
static void hold_all(uint64_t *words) {
    for (uint32_t b = 0; b < BLOCKS; b++) {
        before[b] = rb_word_is_owned(words[b]) ? 0 : words[b];
        words[b] = before[b] == 0 ? words[b] : rb_word_owned(0, 1);
    }
}

static void give_back(uint64_t *words) {
    for (uint32_t b = 0; b < BLOCKS; b++) {
        words[b] = before[b] == 0 ? words[b] : before[b];
        before[b] = 0;
    }
}

static void leave_blocks_to_dead(struct scene *scene) {
    change_words(scene, leave_to_dead);
    scene->dead_blocks += MANY;
}

static void hold_all_blocks(struct scene *scene) { change_words(scene, hold_all); }

static void give_back_blocks(struct scene *scene) { change_words(scene, give_back); }

const struct step_case shortage_cases[] = {
    {.name = "scarce", .length = 500, .before = 700, EMIT, .meanwhile = leave_blocks_to_dead},
    {.name = "scarce-multi-block",
     .length = 5000,
     .before = 100,
     EMIT,
     .meanwhile = leave_blocks_to_dead},
    {.name = "exhausted",
     .length = 500,
     .before = 700,
     EMIT,
     .meanwhile = hold_all_blocks,
     .overtake = give_back_blocks,
     .settle = give_back_blocks},
    {.name = NULL},
};
