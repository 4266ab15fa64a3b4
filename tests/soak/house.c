/* The house: starts and reaps workers, in its own PID namespace or in another one.
 *
 *     house TALLY RING [apart]
 *
 * A line on stdin names the desk that gets a worker. When stdin ends, everybody in the house's
 * process group is killed. With `apart` the workers live in a new PID namespace; the house itself
 * stays outside, so the pids that it notes are those that the conductor can use.
 */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_POSSIBLE = 3 };

static struct tally *open_tally(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *memory =
        fd < 0 ? MAP_FAILED
               : mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(fd);
    struct tally *tally = memory;
    if (tally->size != sizeof *tally) {
        fprintf(stderr, "the tally is %zu bytes here and %llu in tally.py\n", sizeof *tally,
                (unsigned long long)tally->size);
        exit(2);
    }
    return tally;
}

static bool is_good_end(int status) {
    return status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Workers. */

static void settle_in(const struct desk *desk) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (desk->core > 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(desk->core - 1, &cores);
        sched_setaffinity(0, sizeof cores, &cores);
    }
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + (int)desk->niceness);
}

static const struct job {
    void (*run)(struct worker *worker);
    enum phase leaves_at;
} jobs[] = {
    [EMITTER] = {run_emitter, EMITTERS_LEAVE},  [NURSERY] = {run_nursery, EMITTERS_LEAVE},
    [SUBSCRIBER] = {run_subscriber, ALL_LEAVE}, [GATE] = {run_gate, ALL_LEAVE},
    [PROBER] = {run_prober, ALL_LEAVE},         [AUDITOR] = {run_auditor, NEVER},
};

static void work(struct tally *tally, struct desk *desk, const char *path) {
    const struct job *job = &jobs[desk->role];
    struct worker worker = {.tally = tally,
                            .desk = desk,
                            .path = path,
                            .random = desk->seed,
                            .leaves_at = job->leaves_at};
    settle_in(desk);
    job->run(&worker);
}

static void start(struct tally *tally, uint32_t index, const char *path) {
    struct desk *desk = &tally->desks[index];
    pid_t pid = fork();
    if (pid == 0) {
        work(tally, desk, path);
        _exit(0);
    }
    if (pid < 0) {
        complain(tally, "no worker for desk %u: %s", index, strerror(errno));
        return;
    }
    NOTE(desk->pid, (uint32_t)pid);
}

static void reap(struct tally *tally) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct desk *desk = NULL;
        for (uint32_t i = 0; i < DESKS && desk == NULL; i++) {
            desk = tally->desks[i].pid == (uint32_t)pid ? &tally->desks[i] : NULL;
        }
        if (desk != NULL) {
            desk->status = status;
            NOTE(desk->has_ended, 1);
        } else if (!is_good_end(status)) {
            complain(tally, "an orphan ended with wait status %d", status);
        }
    }
}

/* The first process of a PID namespace: orphans come to it, and its end is everybody's. */
static void be_first(struct tally *tally) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0) {
            nap(5000);
        } else if (!is_good_end(status)) {
            complain(tally, "an orphan ended with wait status %d", status);
        }
    }
}

static void move_apart(struct tally *tally) {
    if (unshare(CLONE_NEWPID) != 0) {
        perror("unshare(CLONE_NEWPID)");
        exit(NOT_POSSIBLE);
    }
    pid_t pid = fork();
    if (pid < 0) {
        perror("the first process of a PID namespace");
        exit(NOT_POSSIBLE);
    }
    if (pid == 0) {
        be_first(tally);
    }
}

static int watch_children(void) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    return signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void serve(struct tally *tally, const char *path, int ended) {
    char line[16];
    struct signalfd_siginfo signal;
    struct pollfd sources[] = {{.fd = 0, .events = POLLIN}, {.fd = ended, .events = POLLIN}};
    for (;;) {
        poll(sources, 2, -1);
        while (read(ended, &signal, sizeof signal) > 0) {
        }
        reap(tally);
        if (sources[0].revents != 0) {
            if (fgets(line, sizeof line, stdin) == NULL) {
                return;
            }
            start(tally, (uint32_t)strtoul(line, NULL, 10) % DESKS, path);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fputs("usage: house TALLY RING [apart]\n", stderr);
        return 2;
    }
    struct tally *tally = open_tally(argv[1]);
    setvbuf(stdin, NULL, _IONBF, 0); /* poll() must know of every line */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int ended = watch_children();
    if (argc > 3) {
        move_apart(tally);
    }
    puts("ready");
    fflush(stdout);
    serve(tally, argv[2], ended);
    kill(0, SIGKILL); /* its own group: the conductor gave it one */
    return 0;
}
