/* Cases: the ring as a file. Two creators, attaching while it is removed, and its database. */
#define _GNU_SOURCE
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static rb_ring *attached;

/* Creation: the child is one creator, the observer the other. Exactly one of them makes the ring,
 * whoever is stopped or dies where, and it is whole. */

static void create_ring(struct scene *scene) {
    scene->report->status = rb_ring_create(scene->path, CAPACITY);
    scene->report->is_done = true;
}

static void create_as_well(struct scene *scene) {
    bool was_there = access(scene->path, F_OK) == 0;
    int status = rb_ring_create(scene->path, CAPACITY);
    CHECK(scene, status == (was_there ? RB_EXISTS : RB_OK));
    scene->created_epoch = was_there ? 0 : 1;
    adopt_ring(scene);
}

static void check_one_creator(struct scene *scene) {
    const struct report *report = scene->report;
    if (report->is_done) {
        CHECK(scene, report->status == (scene->created_epoch == 1 ? RB_EXISTS : RB_OK));
    }
    if (scene->ring != NULL) {
        CHECK(scene, rb_ring_check_linked(scene->ring) == RB_OK);
    }
}

/* Attaching: at the boundary the ring is marked, unlinked and made anew under its name. The child
 * ends with the new ring, with a clear error, or with the old one known to be unlinked. */

static uint64_t epoch_at(struct scene *scene, bool remove) {
    char why[200];
    rb_ring *ring;
    rb_stats stats = {0};
    int fd = open_path(scene->path);
    CHECK(scene, rb_ring_attach(fd, scene->path, 1, &ring, why, sizeof why) == RB_OK);
    close(fd);
    if (scene->failed) {
        return 0;
    }
    CHECK(scene, rb_ring_stats(ring, &stats) == RB_OK);
    if (remove) {
        CHECK(scene, rb_ring_change_flags(ring, RB_FLAG_UNLINKED, 0) == RB_OK);
        CHECK(scene, rb_ring_wake(ring) == RB_OK);
        unlink(scene->path);
    }
    rb_ring_free(ring);
    return stats.epoch;
}

static void arrange_ring(struct scene *scene) {
    CHECK(scene, rb_ring_create(scene->path, CAPACITY) == RB_OK);
}

static void attach_ring(struct scene *scene) {
    char why[200];
    int fd = open(scene->path, O_RDWR | O_CLOEXEC);
    scene->report->status =
        fd < 0 ? -errno : rb_ring_attach(fd, scene->path, 0, &attached, why, sizeof why);
    if (fd >= 0) {
        close(fd);
    }
}

static void say_where(struct scene *scene) {
    struct report *report = scene->report;
    rb_stats stats;
    if (report->status == RB_OK) {
        rb_ring_stats(attached, &stats);
        report->epoch = stats.epoch;
        report->status = rb_ring_check_linked(attached);
    }
    report->is_done = true;
}

static void replace_ring(struct scene *scene) {
    epoch_at(scene, true);
    CHECK(scene, rb_ring_create(scene->path, CAPACITY) == RB_OK);
    scene->created_epoch = epoch_at(scene, false);
    adopt_ring(scene);
}

static void check_where(struct scene *scene) {
    const struct report *report = scene->report;
    if (!report->is_done) {
        return;
    }
    bool is_new = report->epoch == scene->created_epoch;
    if (report->status == RB_OK ? !is_new : report->status != RB_UNLINKED) {
        complain(scene, "attaching ended with status %d in the %s ring", report->status,
                 is_new ? "new" : "old");
    }
}

/* The name of the database: whole at every instruction, the old one or the new one. */

static void name_database(rb_database *database, char letter) {
    *database = (rb_database){.device = (uint64_t)letter, .inode = (uint64_t)letter};
    memset(database->path, letter, sizeof database->path - 1);
}

static void set_old(struct scene *scene) {
    static rb_database old;
    name_database(&old, 'o');
    CHECK(scene, rb_ring_set_database(scene->ring, &old) == RB_OK);
}

static rb_database new_name;

static void prepare_name(struct scene *scene) {
    char why[200];
    int fd = open_path(scene->path);
    scene->report->status = rb_ring_attach(fd, scene->path, 0, &attached, why, sizeof why);
    close(fd);
    name_database(&new_name, 'n');
}

static void set_new(struct scene *scene) {
    scene->report->status = rb_ring_set_database(attached, &new_name);
    scene->report->is_done = true;
}

static void check_database(struct scene *scene) {
    static rb_database found;
    static rb_database expected;
    CHECK(scene, rb_ring_database(scene->ring, &found) == RB_OK);
    name_database(&expected, found.path[0] == 'o' && !scene->report->is_done ? 'o' : 'n');
    CHECK(scene, memcmp(&found, &expected, sizeof found) == 0);
    CHECK(scene, scene->report->status == RB_OK);
}

const struct step_case edge_cases[] = {
    {.name = "creation",
     .is_edge = true,
     .act = create_ring,
     .settle = create_as_well,
     .conclude = check_one_creator},
    {.name = "unlink",
     .is_edge = true,
     .arrange = arrange_ring,
     .act = attach_ring,
     .finish = say_where,
     .settle = replace_ring,
     .conclude = check_where},
    {.name = "database",
     .arrange = set_old,
     .prepare = prepare_name,
     .act = set_new,
     .settle = check_database,
     .conclude = check_database},
    {.name = NULL},
};
