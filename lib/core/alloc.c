/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory through a context's hooks, or the C library's. Every block is aligned to 64 bytes: a
 * cache line, and the widest vector register.
 */
#define _DEFAULT_SOURCE /* madvise */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#    include <sys/mman.h>
#endif

enum { ALIGNMENT = 64, HUGE_PAGE = 2097152, LARGE = 2 * HUGE_PAGE };

bool mc_mul(int64_t a, int64_t b, int64_t *product)
{
    if (a < 0 || b < 0) {
        return false;
    }
    return !__builtin_mul_overflow(a, b, product);
}

/* From the C library. The passes stream through large blocks, and with pages of 4 KiB they wait for
 * address translations; pages of 2 MiB are asked for, where the system has them. */
static void *allocate(size_t bytes)
{
    void *pointer = NULL;
    size_t alignment = bytes < LARGE ? ALIGNMENT : HUGE_PAGE;
    if (posix_memalign(&pointer, alignment, bytes) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (bytes >= LARGE) {
        (void)madvise(pointer, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* only advice */
    }
#endif
    return pointer;
}

void *mc_alloc(const modeconn_context *context, int64_t count, size_t size)
{
    int64_t bytes;
    void *pointer;

    if (size > PTRDIFF_MAX || !mc_mul(count, (int64_t)size, &bytes) ||
        bytes > PTRDIFF_MAX - ALIGNMENT) {
        mc_fail(MODECONN_ERROR_MEMORY, "out of memory: %lld * %zu bytes", (long long)count, size);
        return NULL;
    }
    if (bytes == 0) {
        bytes = 1;
    }
    if (context != NULL && context->alloc != NULL) {
        pointer = context->alloc(context->alloc_user, (size_t)bytes, ALIGNMENT);
    } else {
        pointer = allocate((size_t)bytes);
    }
    if (pointer == NULL) {
        mc_fail(MODECONN_ERROR_MEMORY, "out of memory: %lld bytes", (long long)bytes);
    }
    return pointer;
}

void *mc_calloc(const modeconn_context *context, int64_t count, size_t size)
{
    void *pointer = mc_alloc(context, count, size);

    if (pointer != NULL) {
        memset(pointer, 0, (size_t)count * size);
    }
    return pointer;
}

void mc_free(const modeconn_context *context, void *pointer)
{
    if (pointer == NULL) {
        return;
    }
    if (context != NULL && context->alloc != NULL) {
        context->release(context->alloc_user, pointer);
    } else {
        free(pointer);
    }
}

char *mc_strdup(const modeconn_context *context, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = mc_alloc(context, (int64_t)size, 1);

    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}
