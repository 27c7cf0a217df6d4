/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The allocator: alignment, overflow, zero bytes, hooks and their failure.
 */
#include "unit.h"
#include "core/core.h"
#include "failing.h"

START_TEST(products_are_checked)
{
    int64_t product = -5;

    ck_assert(mc_mul(3, 5, &product));
    ck_assert_int_eq(product, 15);
    ck_assert(mc_mul(0, INT64_MAX, &product));
    ck_assert(mc_mul(INT64_MAX, 1, &product));
    ck_assert(!mc_mul(INT64_MAX, 2, &product));
    ck_assert(!mc_mul(INT64_C(1) << 32, INT64_C(1) << 31, &product));
    ck_assert(!mc_mul(-1, 5, &product));
    ck_assert(!mc_mul(5, -1, &product));
}
END_TEST

START_TEST(blocks_are_aligned_and_cleared)
{
    static const char zeros[1000];

    for (int64_t n = 0; n < 1000; n += 37) {
        unsigned char *block = mc_calloc(NULL, n, 1);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq((uintptr_t)block % 64, 0);
        ck_assert_mem_eq(block, zeros, (size_t)n);
        mc_free(NULL, block);
    }
    mc_free(NULL, NULL);
}
END_TEST

START_TEST(impossible_sizes_fail)
{
    ck_assert_ptr_null(mc_alloc(NULL, INT64_MAX, 8));
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), "9223372036854775807 * 8 bytes"));
    ck_assert_ptr_null(mc_alloc(NULL, INT64_MAX, 1));
    ck_assert_ptr_null(mc_alloc(NULL, -1, 4));
    ck_assert_ptr_null(mc_alloc(NULL, 1, SIZE_MAX));
    ck_assert_ptr_null(mc_calloc(NULL, INT64_MAX / 2, 4));
}
END_TEST

START_TEST(hooks_are_used)
{
    failing state = {.fail_at = 3};
    const modeconn_context hooks = {
        .alloc = failing_alloc, .release = failing_free, .alloc_user = &state};
    char *copy = mc_strdup(&hooks, "text");
    void *block = mc_alloc(&hooks, 10, 4);

    ck_assert_str_eq(copy, "text");
    ck_assert_ptr_nonnull(block);
    ck_assert_int_eq(state.live, 2);
    ck_assert_ptr_null(mc_strdup(&hooks, "more"));
    ck_assert_str_eq(modeconn_last_error(), "out of memory: 5 bytes");
    mc_free(&hooks, copy);
    mc_free(&hooks, block);
    mc_free(&hooks, NULL);
    ck_assert_int_eq(state.live, 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, products_are_checked);
    tcase_add_test(tests, blocks_are_aligned_and_cleared);
    tcase_add_test(tests, impossible_sizes_fail);
    tcase_add_test(tests, hooks_are_used);
}

int main(void)
{
    return unit_run("core_alloc", add);
}
