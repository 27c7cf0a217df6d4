/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An allocator for tests: counts what is alive, and fails at the k-th call.
 */
#ifndef MC_FAILING_ALLOC_H
#define MC_FAILING_ALLOC_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct failing_alloc {
    atomic_int calls;
    atomic_int alive;
    int fail_at; /* number of the call that fails, from 1; 0: none */
} failing_alloc;

static inline void *failing_alloc_get(void *user, size_t size, size_t alignment)
{
    failing_alloc *state = user;
    void *pointer = NULL;

    if (atomic_fetch_add(&state->calls, 1) + 1 == state->fail_at)
        return NULL;
    if (posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    atomic_fetch_add(&state->alive, 1);
    return pointer;
}

static inline void failing_alloc_release(void *user, void *pointer)
{
    failing_alloc *state = user;

    atomic_fetch_sub(&state->alive, 1);
    free(pointer);
}

#endif
