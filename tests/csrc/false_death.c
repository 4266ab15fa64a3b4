/* An emitter that is taken for dead while it lives.
 *
 * The kernel's locks exclude it: a lock lives as long as the mapping. Here it is forced, in two
 * ways. DECLARED: whoever asks is told that the victim is dead (--wrap=rb_lane_is_dead). LOST: the
 * victim's lock is really given up, as a broken kernel would, and a newcomer takes the victim's
 * lane. Control between the steps of its emit comes from --wrap=rb_pool_acquire and
 * --wrap=rb_order_publish, and, in the middle of its writing, from a payload on a page that may not
 * be read yet.
 *
 *     false_death PATH      ends with status 0 and one line for each case
 *
 * At the moment of the case the others recover the victim's blocks, and then, with LAPS, go round
 * the ring twice. After it:
 *
 *   - the victim's emit was refused, or published exactly one record;
 *   - every later emit of it is refused, and closing it does no harm;
 *   - each kept record is byte for byte what was emitted at that number. Two cases are excepted,
 *     and say so: see `harm` below.
 */
#define _GNU_SOURCE
#include "lane.h"
#include "ledger.h"
#include "order.h"
#include "pool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 1024 };
enum { OTHER = 1, VICTIM = 2, NEWCOMER = 3 };

/* When the victim is taken for dead. */
enum moment { BETWEEN_EMITS, OWNING_NOTHING, AFTER_TAKE, IN_WRITE, BEFORE_PUBLISH, AFTER_PUBLISH };

/* What the protocol cannot prevent, because nobody can take back another's stores. */
enum harm {
    NONE,
    /* The victim writes on where somebody else has begun to write: their records in one block may
     * be torn. Lasts from the look at the block word to the end of one record's copy. */
    TORN_IN_ITS_BLOCK,
    /* The victim publishes what others have overwritten, or may overwrite: its own last number may
     * deliver other bytes. Lasts from the second look to the swap, a few instructions. */
    ITS_OWN_NUMBER,
};

struct scenario {
    const char *name;
    enum moment moment;
    bool lost;       /* else declared */
    bool laps;       /* the others go round the ring */
    uint32_t length; /* of the record that the victim emits then */
    bool publishes;
    enum harm harm;
};

static const struct scenario SCENARIOS[] = {
    {"between emits, declared", BETWEEN_EMITS, false, false, 100, false, NONE},
    {"between emits, declared, lapped", BETWEEN_EMITS, false, true, 100, false, NONE},
    {"between emits, declared, lapped, needs a block", BETWEEN_EMITS, false, true, 1000, false,
     NONE},
    {"between emits, declared, lapped, long record", BETWEEN_EMITS, false, true, 5000, false, NONE},
    {"between emits, lock lost, lapped", BETWEEN_EMITS, true, true, 100, false, NONE},
    {"between emits, lock lost, lapped, long record", BETWEEN_EMITS, true, true, 5000, false, NONE},
    {"owning nothing, lock lost, lapped", OWNING_NOTHING, true, true, 100, false, NONE},
    {"after taking a block, declared", AFTER_TAKE, false, false, 1000, false, NONE},
    {"after taking a block, declared, lapped", AFTER_TAKE, false, true, 1000, false, NONE},
    {"after taking a block, lock lost, lapped", AFTER_TAKE, true, true, 1000, false, NONE},
    {"after taking a block of several, lapped", AFTER_TAKE, false, true, 5000, false, NONE},
    {"while writing, declared", IN_WRITE, false, false, 600, false, NONE},
    {"while writing, lock lost", IN_WRITE, true, false, 600, false, NONE},
    {"while writing, declared, lapped", IN_WRITE, false, true, 600, false, TORN_IN_ITS_BLOCK},
    {"before publishing, declared", BEFORE_PUBLISH, false, false, 100, true, ITS_OWN_NUMBER},
    {"before publishing, declared, lapped", BEFORE_PUBLISH, false, true, 100, true, ITS_OWN_NUMBER},
    {"after publishing, declared", AFTER_PUBLISH, false, false, 100, true, NONE},
    {"after publishing, declared, lapped", AFTER_PUBLISH, false, true, 100, true, NONE},
    {"after publishing, lock lost, lapped", AFTER_PUBLISH, true, true, 100, true, NONE},
    {"after publishing several blocks, lapped", AFTER_PUBLISH, false, true, 5000, true, NONE},
};

static struct {
    const struct scenario *scenario;
    bool is_armed;
    bool is_declared;
    bool is_victims_turn; /* the victim is inside an emit */
    int fd;               /* the victim's lock lives with it, too */
    uint32_t lane;
    uint64_t number;
    uint32_t block; /* that the victim was writing into */
    rb_emitter *emitter;
    rb_emitter *other;
    rb_emitter *newcomer;
} play;

/* What the others do at the moment. */

static uint64_t other_number;
static uint64_t newcomer_number;

static void lose_lock(void) {
    struct flock lock = {.l_type = F_UNLCK,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)rb_lane_byte(play.lane),
                         .l_len = 1};
    REQUIRE(fcntl(play.fd, F_OFD_SETLK, &lock) == 0);
}

/* Blocks of the dead are recovered by whoever opens an emitter. */
static void take_victim_for_dead(void) {
    play.is_armed = false;
    play.is_victims_turn = false;
    play.is_declared = !play.scenario->lost;
    if (play.scenario->lost) {
        lose_lock();
    }
    play.newcomer = open_emitter(NULL);
    emit(play.newcomer, NEWCOMER, &newcomer_number, 300);
    for (uint32_t i = 0; play.scenario->laps && i < 2 * CAPACITY / 300; i++) {
        emit(play.other, OTHER, &other_number, 100 + i % 400);
        emit(play.newcomer, NEWCOMER, &newcomer_number, 100 + i % 400);
    }
    play.is_victims_turn = true;
}

static bool is_moment(enum moment moment) {
    return play.is_armed && play.is_victims_turn && play.scenario->moment == moment;
}

bool __wrap_rb_lane_is_dead(const struct rb_segment *segment, int probe, uint32_t lane,
                            uint64_t incarnation);
bool __real_rb_lane_is_dead(const struct rb_segment *segment, int probe, uint32_t lane,
                            uint64_t incarnation);
int __wrap_rb_pool_acquire(struct rb_segment *segment, struct rb_pool_view *view, uint32_t *block,
                           uint64_t *was, struct rb_obstacle *obstacle);
int __real_rb_pool_acquire(struct rb_segment *segment, struct rb_pool_view *view, uint32_t *block,
                           uint64_t *was, struct rb_obstacle *obstacle);
uint64_t __wrap_rb_order_publish(struct rb_segment *segment, uint64_t t, uint64_t cell);
uint64_t __real_rb_order_publish(struct rb_segment *segment, uint64_t t, uint64_t cell);

bool __wrap_rb_lane_is_dead(const struct rb_segment *segment, int probe, uint32_t lane,
                            uint64_t incarnation) {
    return (play.is_declared && lane == play.lane) ||
           __real_rb_lane_is_dead(segment, probe, lane, incarnation);
}

int __wrap_rb_pool_acquire(struct rb_segment *segment, struct rb_pool_view *view, uint32_t *block,
                           uint64_t *was, struct rb_obstacle *obstacle) {
    int status = __real_rb_pool_acquire(segment, view, block, was, obstacle);
    if (is_moment(AFTER_TAKE)) {
        take_victim_for_dead();
    }
    return status;
}

uint64_t __wrap_rb_order_publish(struct rb_segment *segment, uint64_t t, uint64_t cell) {
    if (is_moment(BEFORE_PUBLISH)) {
        take_victim_for_dead();
    }
    t = __real_rb_order_publish(segment, t, cell);
    if (is_moment(AFTER_PUBLISH)) {
        learn(t - segment->geometry.cell_count, VICTIM, play.number, play.scenario->length);
        take_victim_for_dead();
    }
    return t;
}

/* The victim's payload: two pages, of which the second may not be read at first. */

static uint8_t *pages;

static void on_fault(int number) {
    if (!is_moment(IN_WRITE)) {
        signal(number, SIG_DFL); /* not ours: it will come again */
        return;
    }
    REQUIRE(mprotect(pages, 2 * RB_PAGE, PROT_READ | PROT_WRITE) == 0);
    take_victim_for_dead();
}

static void arm_pages(void) {
    pages = mmap(NULL, 2 * RB_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    REQUIRE(sigaction(SIGSEGV, &action, NULL) == 0);
}

/* Half of the payload before the fault, half after it. */
static const uint8_t *victims_payload(uint32_t length) {
    if (play.scenario->moment != IN_WRITE) {
        static uint8_t payload[LARGEST];
        write_payload(payload, VICTIM, play.number, length);
        return payload;
    }
    uint8_t *payload = pages + RB_PAGE - length / 2;
    write_payload(payload, VICTIM, play.number, length);
    REQUIRE(mprotect(pages + RB_PAGE, RB_PAGE, PROT_NONE) == 0);
    return payload;
}

/* Checks. */

static uint32_t block_after(uint32_t block) {
    uint32_t next;
    int fd = open_path();
    off_t at = (off_t)rb_geometry_of(CAPACITY).next_offset + (off_t)block * 4;
    REQUIRE(pread(fd, &next, sizeof next, at) == (ssize_t)sizeof next);
    close(fd);
    return next;
}

/* `block`: where it begins; RB_NONE if its header makes no sense. It ends there or in the next. */
static bool is_excused(uint64_t seq, uint32_t block, uint64_t victims_seq) {
    enum harm harm = play.scenario->harm;
    return (harm == ITS_OWN_NUMBER && seq == victims_seq) ||
           (harm == TORN_IN_ITS_BLOCK &&
            (block == play.block || block == RB_NONE || block_after(block) == play.block));
}

/* Reads all that is kept; returns how many records are not what was emitted. */
static uint64_t count_wrong(uint64_t victims_seq) {
    uint64_t wrong = 0;
    uint64_t cursor;
    uint64_t tail;
    uint64_t floor;
    rb_subscriber *subscriber = subscribe(0);
    REQUIRE(rb_subscriber_position(subscriber, &cursor, &tail, &floor) == RB_OK);
    rb_subscriber_free(subscriber);
    REQUIRE(tail == count && cursor == floor && floor < tail);
    for (; cursor < tail; cursor++) {
        rb_record record;
        if (!read_one(cursor, &record)) {
            uint32_t block = record.cell == RB_NONE ? RB_NONE : record.cell / (BLOCK / RB_CELL);
            REQUIRE(is_excused(cursor, block, victims_seq));
            wrong++;
        }
    }
    return wrong;
}

/* One scenario. */

static void emit_as_victim(uint32_t length) { emit(play.emitter, VICTIM, &play.number, length); }

/* A lapped ring; the victim has just begun a block and has the lane that a newcomer would get. */
static void set_the_scene(void) {
    rb_record record;
    unlink(path);
    REQUIRE(rb_ring_create(path, CAPACITY) == RB_OK);
    forget_all();
    other_number = newcomer_number = play.number = 0;
    play.emitter = open_emitter(&play.fd);
    play.other = open_emitter(NULL);
    for (uint32_t i = 0; i < 300; i++) {
        emit_as_victim(100);
        emit(play.other, OTHER, &other_number, 200 + i % 300);
    }
    do {
        emit_as_victim(100);
        REQUIRE(read_one(count - 1, &record));
    } while (record.cell % (BLOCK / RB_CELL) != 0);
    play.lane = record.emitter >> 20;
    play.block = record.cell / (BLOCK / RB_CELL);
    if (play.scenario->moment == OWNING_NOTHING) {
        emit_as_victim(800); /* fills the block */
    }
    play.is_armed = true;
}

/* The victim's emit, with the moment in it; returns the seq that it got, if any. */
static uint64_t play_moment(void) {
    const struct scenario *scenario = play.scenario;
    const rb_item item = {
        .payload = victims_payload(scenario->length), .length = scenario->length, .kind = VICTIM};
    uint64_t seq = UINT64_MAX;
    if (scenario->moment == BETWEEN_EMITS || scenario->moment == OWNING_NOTHING) {
        take_victim_for_dead();
    }
    play.is_victims_turn = true;
    int status = try_emit(play.emitter, &item, &seq);
    play.is_victims_turn = false;
    REQUIRE(!play.is_armed);
    REQUIRE(status == (scenario->publishes ? RB_OK : RB_POISONED));
    if (status == RB_OK) {
        learn(seq, VICTIM, play.number, scenario->length);
    }
    return seq;
}

static void require_refused(void) {
    uint8_t payload[LARGEST] = {0};
    uint64_t seq;
    for (uint32_t length = 0; length <= LARGEST; length += 800) {
        const rb_item item = {.payload = payload, .length = length};
        REQUIRE(try_emit(play.emitter, &item, &seq) == RB_POISONED);
    }
}

static void end_scene(void) {
    rb_emitter_free(play.emitter);
    play.is_declared = false;
    close(play.fd);
    rb_emitter_free(open_emitter(NULL)); /* recovers what is left */
    REQUIRE(count_owned() <= 2);
    rb_emitter_free(play.other);
    rb_emitter_free(play.newcomer);
    REQUIRE(count_owned() == 0);
    unlink(path);
}

static void run(const struct scenario *scenario) {
    now_tried = scenario->name;
    play.scenario = scenario;
    set_the_scene();
    uint64_t seq = play_moment();
    uint64_t wrong = count_wrong(seq);
    require_refused();
    REQUIRE(count_owned() <= 2); /* it pins nothing */
    for (uint32_t i = 0; i < 100; i++) {
        emit(play.other, OTHER, &other_number, 300);
    }
    uint64_t later = count_wrong(seq);
    rb_emitter_close(play.emitter);
    for (uint32_t i = 0; i < 2 * CAPACITY / 300; i++) {
        emit(play.other, OTHER, &other_number, 300);
    }
    REQUIRE(count_wrong(UINT64_MAX) == 0); /* a lap later the harm is gone */
    end_scene();
    printf("%s: %s, %llu wrong records\n", scenario->name,
           scenario->publishes ? "published once" : "refused",
           (unsigned long long)(later > wrong ? later : wrong));
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 2) {
        return 2;
    }
    path = argv[1];
    arm_pages();
    for (size_t i = 0; i < sizeof SCENARIOS / sizeof SCENARIOS[0]; i++) {
        run(&SCENARIOS[i]);
    }
    return 0;
}
