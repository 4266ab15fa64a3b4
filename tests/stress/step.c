/* Every instruction of an operation of the library, killed there or stopped there.
 *
 *     step PATH CASE STRIDE [FIRST [PROCESSOR [FAILURES]]]
 *
 * At every STRIDE-th instruction boundary from the FIRST one on (stride 0: at none, they are only
 * counted), one kill and one stop, until so many have failed.
 *
 * For each boundary a ring is made anew and a child forked, which opens what it needs itself (the
 * mapping of a ring is not inherited) and stops. It is then stepped to the boundary and
 *
 *   kill   killed there;
 *   stop   left standing there while the peer laps the ring twice, and then continued to its end.
 *
 * After each stage everything that must hold of the ring is checked. The last line says how many
 * runs there were and how many failed; the status is 1 if any did.
 */
#define _GNU_SOURCE
#include "walk.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PATIENCE_S = 60,     /* for one run; more is a hang */
    USUAL_PATIENCE = 20, /* failures */
};

/* The boundaries to be tried: from before the first instruction to after the last. */
struct region {
    uint32_t begin;
    uint32_t end;
};

struct tally {
    uint32_t runs[STOP + 1];
    uint32_t failures;
    uint32_t astray;
};

static const struct step_case *find_case(const char *name) {
    const struct step_case *tables[] = {emit_cases,     shortage_cases, gate_cases,
                                        obstacle_cases, read_cases,     edge_cases};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (const struct step_case *c = tables[t]; c->name != NULL; c++) {
            if (strcmp(c->name, name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

static void run(void (*hook)(struct scene *scene), struct scene *scene) {
    if (hook != NULL && !scene->failed) {
        hook(scene);
    }
}

/* The child. */

static void mark(void) { syscall(SYS_kill, getpid(), SIGSTOP); }

static _Noreturn void be_stepped(struct scene *scene) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(NO_TRACING);
    }
    run(scene->what->prepare, scene);
    mark();
    scene->what->act(scene);
    mark();
    run(scene->what->finish, scene);
    _exit(0);
}

/* The observer. */

static void end_by_force(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* To the end of the region, and then of the child, untraced. */
static void let_finish(struct scene *scene, pid_t child, bool at_end) {
    if (!at_end && !scene->failed) {
        __atomic_store_n(&scene->report->awake_by_ns, now_ns(), __ATOMIC_SEQ_CST);
        ptrace(PTRACE_CONT, child, NULL, NULL);
        if (!is_at_mark(scene, child)) {
            complain(scene, "continued, the child did not reach its end");
        }
    }
    if (scene->failed) {
        end_by_force(child);
        return;
    }
    if (!scene->what->is_edge) {
        check_published(scene, true);
        verify(scene);
        check_found(scene);
    }
    int status = 0;
    ptrace(PTRACE_DETACH, child, NULL, NULL);
    if (waitpid(child, &status, 0) != child || status != 0) {
        complain(scene, "the child ended with wait status %#x", (unsigned)status);
    }
}

static void lap_twice(struct scene *scene) {
    enum { STAGES = 8 };
    for (int i = 0; i < STAGES && !scene->failed; i++) {
        emit_as_peer(scene, 2 * CAPACITY / STAGES);
        verify(scene);
    }
}

/* At the boundary, with the child dead or standing. */
static void go_on_without(struct scene *scene) {
    if (!scene->what->is_edge) {
        verify(scene);
        check_found(scene);
        check_in_hand(scene);
    }
    run(scene->what->settle, scene);
    if (scene->failed || (scene->what->is_quiet && scene->mode == STOP)) {
        return;
    }
    verify(scene);
    check_published(scene, false);
    visit(scene);
    verify(scene);
    if (scene->mode == KILL) {
        check_nothing_leaked(scene);
    }
    lap_twice(scene);
    if (!scene->what->is_edge) {
        check_published(scene, false);
    }
}

static void at_the_boundary(struct scene *scene, pid_t child, bool at_end) {
    if (scene->mode == KILL) {
        end_by_force(child);
        go_on_without(scene);
    } else {
        go_on_without(scene);
        let_finish(scene, child, at_end);
    }
    run(scene->what->conclude, scene);
    if (!scene->failed && scene->mode == STOP) {
        lap_twice(scene);
        visit(scene);
        check_nothing_leaked(scene);
    }
    verify(scene);
    if (!scene->failed && scene->report->complaint[0] != '\0') {
        complain(scene, "in the child: %s", scene->report->complaint);
    }
}

static void note_start(struct scene *scene) {
    rb_stats stats;
    if (scene->ring != NULL && rb_ring_stats(scene->ring, &stats) == RB_OK) {
        scene->report->start = stats.tail;
    }
}

/* The child at the begin of its region. */
static pid_t start_child(struct scene *scene) {
    pid_t child = fork();
    if (child == 0) {
        be_stepped(scene);
    }
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (is_at_mark(scene, child)) {
        ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)PTRACE_O_EXITKILL);
    }
    for (uint32_t i = 0; i < scene->report->returned; i++) {
        scene->found[i] = scene->report->seqs[i];
    }
    return child;
}

static void count_boundaries(struct scene *scene, pid_t child, struct region *region) {
    region->end = walk_first(scene, child, &region->begin);
    end_by_force(child);
    if (scene->what->when_asleep != NULL && scene->may_sleep) {
        complain(scene, "it was to sleep and did not");
    }
}

/* One run; true if the boundary was another than meant. */
static bool run_once(struct scene *scene, struct region *region) {
    bool astray = false;
    alarm(PATIENCE_S);
    begin_scene(scene);
    note_start(scene);
    run(scene->what->arrange, scene);
    pid_t child = start_child(scene);
    run(scene->what->meanwhile, scene);
    scene->may_sleep = true;
    if (scene->mode == COUNT) {
        count_boundaries(scene, child, region);
    } else if (scene->failed) {
        end_by_force(child);
    } else {
        bool at_end = walk_to(scene, child, scene->boundary, &astray);
        scene->may_sleep = false;
        at_the_boundary(scene, child, at_end);
    }
    if (scene->bystander > 0 && (scene->mode == COUNT || scene->failed)) {
        end_by_force(scene->bystander);
    }
    end_scene(scene);
    return astray;
}

static void report_hang(int number) {
    (void)number;
    static const char text[] = "a run hangs\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        _exit(4);
    }
    _exit(3);
}

/* Observer and child take turns: on one processor a step costs no wake-up of another. */
static void stay_on_one_processor(int processor) {
    int here = processor >= 0 ? processor : sched_getcpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    if (here >= 0) {
        CPU_SET((size_t)here, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
}

static struct report *shared_report(void) {
    void *report = mmap(NULL, sizeof(struct report), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return report;
}

/* Counts the boundaries of the region; false if something is wrong already. */
static bool measure(const struct scene *fresh, struct region *region) {
    /* A run that is not counted first: the child inherits the observer's heap, and from now on that
     * looks the same each time, so that the child takes the same way through malloc. */
    struct scene scene = *fresh;
    scene.mode = KILL;
    run_once(&scene, NULL);
    const bool is_broken = scene.failed;
    scene = *fresh;
    scene.mode = COUNT;
    run_once(&scene, region);
    return !is_broken && !scene.failed;
}

static struct tally walk_all(const struct scene *fresh, const struct region *region,
                             uint32_t stride, uint32_t first, uint32_t most_failures) {
    struct tally tally = {0};
    for (uint32_t at = region->begin + first;
         stride > 0 && at <= region->end && tally.failures < most_failures; at += stride) {
        for (enum run_mode mode = KILL; mode <= STOP; mode++) {
            struct scene scene = *fresh;
            scene.mode = mode;
            scene.boundary = at;
            tally.astray += run_once(&scene, NULL);
            tally.runs[mode]++;
            tally.failures += scene.failed;
        }
    }
    return tally;
}

static uint32_t argument(int argc, char **argv, int which, uint32_t usual) {
    return argc > which ? (uint32_t)strtoul(argv[which], NULL, 10) : usual;
}

int main(int argc, char **argv) {
    const struct step_case *what = argc >= 4 ? find_case(argv[2]) : NULL;
    if (what == NULL) {
        fprintf(stderr, "usage: step PATH CASE STRIDE [FIRST [PROCESSOR [FAILURES]]]\n");
        return 2;
    }
    signal(SIGALRM, report_hang);
    stay_on_one_processor(argc > 5 ? atoi(argv[5]) : -1);
    prepare_pattern();
    const struct scene fresh = {.what = what, .path = argv[1], .report = shared_report()};
    struct region region = {0};
    struct tally tally = {.failures = 1};
    if (measure(&fresh, &region)) {
        tally = walk_all(&fresh, &region, argument(argc, argv, 3, 0), argument(argc, argv, 4, 0),
                         argument(argc, argv, 6, USUAL_PATIENCE));
    }
    printf("%s %u %u %u %u %u\n", what->name, region.end + 1 - region.begin, tally.runs[KILL],
           tally.runs[STOP], tally.failures, tally.astray);
    return tally.failures > 0;
}
