/* Which of the kernel's services that the core stands on are there, one line for each: emulators
 * lack some. "no" means that it is refused, "ignored" that it is accepted and not done.
 *
 *     kernel FOLDER      a folder in memory
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void tell(const char *service, int accepted, int done) {
    printf("%s: %s\n", service, !accepted ? "no" : done ? "yes" : "ignored");
}

static int open_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, PAGE) != 0) {
        perror(path);
        exit(2);
    }
    return fd;
}

/* The lock outlives its descriptor as long as there is a mapping through it. */
static void try_locks(const char *path) {
    struct flock lock = {.l_type = F_WRLCK, .l_start = (off_t)1 << 60, .l_len = 1};
    int owner = open_file(path);
    int probe = open_file(path);
    void *mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, owner, 0);
    int accepted = fcntl(owner, F_OFD_SETLK, &lock) == 0;
    close(owner);
    accepted = accepted && fcntl(probe, F_OFD_GETLK, &lock) == 0;
    int held = lock.l_type != F_UNLCK;
    munmap(mapped, PAGE);
    lock = (struct flock){.l_type = F_WRLCK, .l_start = (off_t)1 << 60, .l_len = 1};
    accepted = accepted && fcntl(probe, F_OFD_GETLK, &lock) == 0;
    tell("F_OFD_SETLK, F_OFD_GETLK", accepted, held && lock.l_type == F_UNLCK);
    close(probe);
}

static void try_futex(void) {
    uint32_t word = 1;
    long woken = syscall(SYS_futex, &word, FUTEX_WAKE_OP, INT_MAX, 0L, &word,
                         FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
    tell("FUTEX_WAKE_OP", woken >= 0, word == 2);
}

static void try_wipe(void) {
    volatile int *mark =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status = 0;
    *mark = 1;
    int accepted = madvise((void *)(uintptr_t)mark, PAGE, MADV_WIPEONFORK) == 0;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(*mark);
    }
    waitpid(pid, &status, 0);
    tell("MADV_WIPEONFORK", accepted, WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A child without the mapping dies of looking at it. */
static void try_dont_fork(const char *path) {
    int fd = open_file(path);
    volatile int *mark = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int status = 0;
    int accepted = madvise((void *)(uintptr_t)mark, PAGE, MADV_DONTFORK) == 0;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(*mark);
    }
    waitpid(pid, &status, 0);
    tell("MADV_DONTFORK", accepted, WIFSIGNALED(status));
    close(fd);
}

int main(int argc, char **argv) {
    char path[400];
    if (argc != 2) {
        return 2;
    }
    snprintf(path, sizeof path, "%s/file", argv[1]);
    try_locks(path);
    try_futex();
    try_wipe();
    try_dont_fork(path);
    unlink(path);
    int fd = open(argv[1], O_TMPFILE | O_RDWR, 0600);
    tell("O_TMPFILE", fd >= 0, posix_fallocate(fd, 0, PAGE) == 0);
    return 0;
}
