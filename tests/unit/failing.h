/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The allocator of tests: fails at its k-th call and counts what is alive.
 */
#ifndef MC_TEST_FAILING_H
#define MC_TEST_FAILING_H

#include "unit.h"
#include <stdatomic.h>

typedef struct failing {
    atomic_long calls, live, fail_at; /* fail_at 0: never */
    atomic_size_t largest;            /* request, in bytes; approximate where several threads ask */
} failing;

static inline void *failing_alloc(void *user, size_t size, size_t alignment)
{
    failing *state = user;
    void *memory = NULL;
    if (size > atomic_load(&state->largest)) {
        atomic_store(&state->largest, size);
    }
    if (atomic_fetch_add(&state->calls, 1) + 1 == atomic_load(&state->fail_at) ||
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
    atomic_store(&state->fail_at, k);
}

/* A context of one thread over the allocator; nothing fails yet. */
static inline modeconn_context *failing_context(failing *state)
{
    modeconn_options *options = options_of("context", "threads=1,seed=7");
    modeconn_context *context = NULL;
    memset(state, 0, sizeof(*state));
    OK(modeconn_context_create_with_allocator(options, failing_alloc, failing_free, state,
                                              &context));
    modeconn_options_destroy(options);
    return context;
}

/* Fails every allocation of `call` in turn: each failure is MODECONN_ERROR_MEMORY, leaves `handle`
 * NULL and nothing allocated; then the call succeeds and gives the handle. */
#define EVERY_ALLOCATION(state, call, handle)                                                      \
    do {                                                                                           \
        int32_t every_status = MODECONN_ERROR_MEMORY;                                              \
        long every_k = 1;                                                                          \
        for (; every_status != MODECONN_OK; every_k++) {                                           \
            long every_live = atomic_load(&(state)->live);                                         \
            failing_at(state, every_k);                                                            \
            every_status = (call);                                                                 \
            failing_at(state, 0);                                                                  \
            if (every_status == MODECONN_OK) {                                                     \
                break;                                                                             \
            }                                                                                      \
            ck_assert_msg(every_status == MODECONN_ERROR_MEMORY, "allocation %ld: %s (%s)",        \
                          every_k, modeconn_status_name(every_status), modeconn_last_error());     \
            ck_assert_ptr_null(handle);                                                            \
            ck_assert_msg(atomic_load(&(state)->live) == every_live, "allocation %ld: a leak",     \
                          every_k);                                                                \
        }                                                                                          \
        ck_assert_int_gt(every_k, 1);                                                              \
    } while (0)

#endif
