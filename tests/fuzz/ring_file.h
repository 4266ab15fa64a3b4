/* What both fuzz targets share: the file that stands for a ring, and a look at it from outside. */
#ifndef FUZZ_RING_FILE_H
#define FUZZ_RING_FILE_H

#include "../csrc/require.h"
#include "layout.h"
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>

enum { CAPACITY = 1 << 16, LARGEST = CAPACITY / 4, WHY_SIZE = 200 };

/* A file in the folder that RINGBUS_FUZZ_FOLDER names, which must be in memory. */
const char *file_path(void);
int file_open(void);
/* Makes it these bytes and no more. */
void file_write(const void *bytes, size_t size);

/* Clocks of the core run so fast that every patience ends soon. */
uint64_t file_clock_ns(void);

/* Bytes of the shortest live input and of the longest. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
