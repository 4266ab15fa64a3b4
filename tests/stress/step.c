/* Every instruction of an operation of the library, killed there or stopped there.
 *
 *     step PATH CASE count            prints the number of instruction boundaries
 *     step PATH CASE STRIDE [FIRST]   at every STRIDE-th boundary, one kill and one stop
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
    PATIENCE_S = 60, /* for one run; more is a hang */
    MAX_COMPLAINTS = 20,
};

static const struct step_case *find_case(const char *name) {
    const struct step_case *tables[] = {ring_cases, edge_cases};
    for (int t = 0; t < 2; t++) {
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
    run(scene->what->settle, scene);
    if (scene->failed) {
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

/* One run; returns the number of instructions of the region if they are to be counted, and
 * otherwise whether the boundary was another than meant. */
static uint32_t run_once(struct scene *scene) {
    uint32_t result = 0;
    alarm(PATIENCE_S);
    begin_scene(scene);
    note_start(scene);
    run(scene->what->arrange, scene);
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
        scene->found[i] = (int64_t)scene->report->seqs[i];
    }
    run(scene->what->meanwhile, scene);
    if (scene->mode == COUNT) {
        result = walk_first(scene, child);
        end_by_force(child);
    } else if (scene->failed) {
        end_by_force(child);
    } else {
        bool astray = false;
        bool at_end = walk_to(scene, child, scene->boundary, &astray);
        at_the_boundary(scene, child, at_end);
        result = astray;
    }
    if (scene->bystander > 0 && (scene->mode == COUNT || scene->failed)) {
        end_by_force(scene->bystander);
    }
    end_scene(scene);
    return result;
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
static void stay_on_one_processor(void) {
    int here = sched_getcpu();
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

int main(int argc, char **argv) {
    const struct step_case *what = argc >= 4 ? find_case(argv[2]) : NULL;
    if (what == NULL) {
        fprintf(stderr, "usage: step PATH CASE count|STRIDE [FIRST]\n");
        return 2;
    }
    signal(SIGALRM, report_hang);
    stay_on_one_processor();
    struct report *report = shared_report();
    /* A run that is not counted first: the child inherits the observer's heap, and from now on that
     * looks the same each time, so that the child takes the same way through malloc. */
    struct scene scene = {.what = what, .path = argv[1], .report = report, .mode = KILL};
    run_once(&scene);
    const bool is_broken = scene.failed;
    scene = (struct scene){.what = what, .path = argv[1], .report = report, .mode = COUNT};
    const uint32_t boundaries = run_once(&scene) + 1;
    if (strcmp(argv[3], "count") == 0 || scene.failed || is_broken) {
        printf("%s %u 0 0 %d 0\n", what->name, boundaries, scene.failed || is_broken);
        return scene.failed || is_broken;
    }
    const uint32_t stride = (uint32_t)strtoul(argv[3], NULL, 10);
    const uint32_t first = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
    uint32_t runs[] = {[KILL] = 0, [STOP] = 0};
    uint32_t failures = 0;
    uint32_t astray = 0;
    for (uint32_t at = first; stride > 0 && at < boundaries && failures < MAX_COMPLAINTS;
         at += stride) {
        for (enum run_mode mode = KILL; mode <= STOP; mode++) {
            scene = (struct scene){
                .what = what, .path = argv[1], .report = report, .boundary = at, .mode = mode};
            astray += run_once(&scene);
            runs[mode]++;
            failures += scene.failed;
        }
    }
    printf("%s %u %u %u %u %u\n", what->name, boundaries, runs[KILL], runs[STOP], failures, astray);
    return failures > 0;
}
