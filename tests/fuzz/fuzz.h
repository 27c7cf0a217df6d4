/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the fuzz targets share: a context of one thread whose allocator refuses large requests (so
 * that a file announcing terabytes is an error and not a finding), and input bytes as files.
 */
#ifndef MC_FUZZ_H
#define MC_FUZZ_H

#include <modeconn/modeconn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FUZZ_LARGEST = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void *fuzz_alloc(void *user, size_t size, size_t alignment)
{
    void *memory = NULL;
    (void)user;
    if (size > FUZZ_LARGEST || posix_memalign(&memory, alignment, size) != 0) {
        return NULL;
    }
    return memory;
}

static inline void fuzz_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static inline void fuzz_require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* Made once, kept for every input. */
static inline modeconn_context *fuzz_context(void)
{
    static modeconn_context *context;
    if (context == NULL) {
        modeconn_options *options = NULL;
        modeconn_options_create(NULL, "context", &options);
        modeconn_options_set_i64(options, "threads", 1);
        modeconn_context_create_with_allocator(options, fuzz_alloc, fuzz_free, NULL, &context);
        modeconn_options_destroy(options);
        fuzz_require(context != NULL, "no context");
    }
    return context;
}

/* A file in memory of these bytes; fuzz_path() names it while it is open. */
static inline int fuzz_file(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "no file in memory");
    return fd;
}

static inline void fuzz_path(int fd, char path[32])
{
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* What the library promises of every failure: a status, no handle, and a text. */
static inline void fuzz_check(int32_t status, const void *handle)
{
    fuzz_require((status == MODECONN_OK) == (handle != NULL), "status and handle disagree");
    fuzz_require(status <= 0, "a status above 0");
    fuzz_require(status == MODECONN_OK || modeconn_last_error()[0] != '\0', "no error text");
}

/* Reads every sample of a dataset that was accepted, and takes it apart again. */
static inline void fuzz_dataset(int32_t status, modeconn_dataset *dataset)
{
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    fuzz_check(status, dataset);
    if (dataset == NULL) {
        return;
    }
    modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes);
    float *image = malloc((size_t)(channels * height * width) * sizeof(*image));
    fuzz_require(image != NULL, "no memory for an image");
    for (int64_t i = 0; i < n; i++) {
        int32_t label = -1;
        status = modeconn_dataset_read(dataset, &i, 1, image, &label);
        fuzz_require(status == MODECONN_OK && label >= 0 && label < classes, "a bad sample");
    }
    free(image);
    modeconn_dataset_destroy(dataset);
}

#endif
