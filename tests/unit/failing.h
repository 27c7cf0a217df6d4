/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An allocator that fails at its k-th call and counts what is alive.
 */
#ifndef MC_TEST_FAILING_H
#define MC_TEST_FAILING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct failing {
    atomic_long calls, live;
    long fail_at; /* 0: never */
} failing;

static inline void *failing_alloc(void *user, size_t size, size_t alignment)
{
    failing *state = user;
    void *memory = NULL;
    if (atomic_fetch_add(&state->calls, 1) + 1 == state->fail_at ||
        posix_memalign(&memory, alignment, size) != 0) {
        return NULL;
    }
    atomic_fetch_add(&state->live, 1);
    return memory;
}

static inline void failing_free(void *user, void *pointer)
{
    failing *state = user;
    atomic_fetch_sub(&state->live, 1);
    free(pointer);
}

/* From now on the k-th allocation fails; 0: none does. */
static inline void failing_at(failing *state, long k)
{
    atomic_store(&state->calls, 0);
    state->fail_at = k;
}

#endif
