/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Stores: shapes, overflow, ownership and the reference count.
 */
#include "data_test.h"

static int released;

static void release(void *user)
{
    *(int *)user += 1;
}

START_TEST(test_create)
{
    modeconn_context *context = context_of("threads=1");
    for (int u8 = 0; u8 < 2; u8++) {
        mc_store *store = NULL;
        OK(mc_store_create(context, "here", "train", 3, 2, 5, 7, 4, u8, &store));
        ck_assert_str_eq(store->source, "here");
        ck_assert_str_eq(store->split, "train");
        ck_assert(store->n == 3 && store->channels == 2 && store->height == 5);
        ck_assert(store->width == 7 && store->classes == 4);
        ck_assert((store->u8 != NULL) == (u8 == 1) && (store->f32 != NULL) == (u8 == 0));
        for (int i = 0; i < 3 * 2 * 5 * 7; i++) {
            ck_assert(u8 ? store->u8[i] == 0 : store->f32[i] == 0.0F);
        }
        ck_assert_int_eq(store->labels[2], 0);
        mc_store_drop(store);
    }
    mc_store_drop(NULL);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_too_large)
{
    modeconn_context *context = context_of("threads=1");
    mc_store *store = NULL;
    FAILS(mc_store_create(context, "", "", INT64_MAX, 2, 1, 1, 2, true, &store),
          MODECONN_ERROR_MEMORY, "memory");
    FAILS(mc_store_create(context, "", "", 1LL << 31, 1LL << 31, 1LL << 31, 8, 2, true, &store),
          MODECONN_ERROR_MEMORY, "memory");
    FAILS(mc_store_create(context, "", "", 1LL << 61, 1, 1, 1, 2, false, &store),
          MODECONN_ERROR_MEMORY, "memory");
    ck_assert_ptr_null(store);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_references)
{
    modeconn_context *context = context_of("threads=1");
    const float pixel = 0.5F;
    const int32_t label = 1;
    mc_store *store = NULL;
    OK(mc_store_wrap(context, "lent", "", 1, 1, 1, 1, 2, NULL, &pixel, &label, &store));
    store->release = release;
    store->release_user = &released;
    modeconn_context_destroy(context); /* the store keeps it */
    ck_assert_ptr_eq(mc_store_take(store), store);
    mc_store_drop(store);
    ck_assert_int_eq(released, 0);
    ck_assert(store->f32 == &pixel && store->labels == &label);
    mc_store_drop(store);
    ck_assert_int_eq(released, 1);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    long live = atomic_load(&state.live);
    for (long k = 1;; k++) {
        mc_store *store = NULL;
        atomic_store(&state.calls, 0);
        state.fail_at = k;
        int32_t status = mc_store_create(context, "a", "b", 2, 1, 5, 5, 2, true, &store);
        state.fail_at = 0;
        if (status == MODECONN_OK) {
            mc_store_drop(store);
            ck_assert_int_eq(k, 6); /* store, source, split, pixels, labels */
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
        ck_assert_ptr_null(store);
        ck_assert_int_eq(atomic_load(&state.live), live);
    }
    ck_assert_int_eq(atomic_load(&state.live), live);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_create);
    tcase_add_test(tests, test_too_large);
    tcase_add_test(tests, test_references);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_store", add);
}
