/* What no emit can be cheaper than: the copy of the payload alone, into memory as large as a ring. */
#define _POSIX_C_SOURCE 199309L
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AREA = 4 << 20 };

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* ns for each copy of `size` bytes; negative if there is no memory. */
double copy_ns(size_t size, size_t count);

double copy_ns(size_t size, size_t count) {
    static char *area;
    static char payload[1 << 16];
    if (area == NULL) {
        area = malloc(AREA);
        if (area == NULL) {
            return -1;
        }
        memset(area, 1, AREA); /* no page is met for the first time while the clock runs */
    }
    const size_t places = AREA / size;
    const double start = now_ns();
    for (size_t i = 0; i < count; i++) {
        memcpy(area + i % places * size, payload, size);
        __asm__ volatile("" : : "r"(area) : "memory"); /* the copy is not optimised away */
    }
    return (now_ns() - start) / (double)count;
}
