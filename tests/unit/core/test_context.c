/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Contexts: options, allocator hooks, lifetime, log, every allocation failing in turn.
 */
#include "core/core.h"
#include "failing.h"
#include "isas.h"

START_TEST(defaults)
{
    modeconn_context *context = NULL;
    int32_t threads = 0;

    OK(modeconn_context_create(NULL, &context));
    OK(modeconn_context_threads(context, &threads));
    ck_assert_int_eq(threads, mc_available_cores());
    ck_assert_uint_eq(mc_seed(context, -1), 0);
    ck_assert_uint_eq(mc_seed(context, 9), 9);
    ck_assert_ptr_nonnull(context->kernels);
    modeconn_context_destroy(context);
    modeconn_context_destroy(NULL);
}
END_TEST

START_TEST(options_are_followed)
{
    modeconn_options *options = NULL;
    modeconn_context *context = NULL;
    int32_t threads = 0;

    OK(modeconn_options_create(NULL, "context", &options));
    OK(modeconn_options_parse(options, "threads=3,seed=77,isa=baseline"));
    OK(modeconn_context_create(options, &context));
    modeconn_options_destroy(options);
    OK(modeconn_context_threads(context, &threads));
    ck_assert_int_eq(threads, 3);
    ck_assert_uint_eq(mc_seed(context, -1), 77);
    ck_assert_uint_eq(mc_seed(context, 0), 0);
    ck_assert_str_eq(mc_kernels_isa(context->kernels), "baseline");
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(arguments_are_checked)
{
    modeconn_options *train = NULL;
    modeconn_context *context = (modeconn_context *)1;
    int32_t threads;

    FAILS(modeconn_context_create(NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    OK(modeconn_options_create(NULL, "train", &train));
    FAILS(modeconn_context_create(train, &context), MODECONN_ERROR_ARGUMENT, "train");
    ck_assert_ptr_null(context);
    modeconn_options_destroy(train);
    FAILS(modeconn_context_create_with_allocator(NULL, failing_alloc, NULL, NULL, &context),
          MODECONN_ERROR_ARGUMENT, "release");
    FAILS(modeconn_context_create_with_allocator(NULL, NULL, failing_free, NULL, &context),
          MODECONN_ERROR_ARGUMENT, "alloc");
    ck_assert_ptr_null(context);
    FAILS(modeconn_context_create_with_allocator(NULL, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_context_threads(NULL, &threads), MODECONN_ERROR_ARGUMENT, "context");
    FAILS(modeconn_context_set_log(NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "context");
    OK(modeconn_context_create(NULL, &context));
    FAILS(modeconn_context_threads(context, NULL), MODECONN_ERROR_ARGUMENT, "threads");
    modeconn_context_destroy(context);
}
END_TEST

/* A set of instructions is either there or refused by name. */
START_TEST(instruction_sets_are_there_or_refused)
{
    for (int i = 0; i < ISAS; i++) {
        modeconn_options *options = options_of("context", "threads=1");
        modeconn_context *context = (modeconn_context *)1;
        OK(modeconn_options_set_str(options, "isa", isas[i]));
        const int32_t status = modeconn_context_create(options, &context);
        if (status == MODECONN_OK) {
            ck_assert_str_eq(mc_kernels_isa(context->kernels), isas[i]);
        } else {
            FAILS(status, MODECONN_ERROR_UNSUPPORTED, isas[i]);
            ck_assert_ptr_null(context);
            ck_assert_int_gt(i, 0); /* baseline is everywhere */
        }
        modeconn_context_destroy(context);
        modeconn_options_destroy(options);
    }
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    failing state = {.fail_at = 0};
    modeconn_options *options = NULL;
    modeconn_context *context = NULL;
    int failures = 0;

    OK(modeconn_options_create(NULL, "context", &options));
    OK(modeconn_options_set_i64(options, "threads", 3));
    for (int k = 1; context == NULL; k++) {
        failing_at(&state, k);
        const int32_t status = modeconn_context_create_with_allocator(
            options, failing_alloc, failing_free, &state, &context);
        if (status == MODECONN_OK) {
            break;
        }
        FAILS(status, MODECONN_ERROR_MEMORY, "out of memory");
        ck_assert_ptr_null(context);
        ck_assert_int_eq(state.live, 0);
        failures++;
    }
    ck_assert_int_eq(failures, 5); /* the context; the pool, its shares, offers and workers */
    modeconn_context_destroy(context);
    ck_assert_int_eq(state.live, 0);
    modeconn_options_destroy(options);
}
END_TEST

START_TEST(handles_keep_it_alive)
{
    failing state = {.fail_at = 0};
    modeconn_context *context = NULL;
    modeconn_options *options = NULL;
    const char *isa = NULL;

    OK(modeconn_context_create_with_allocator(NULL, failing_alloc, failing_free, &state, &context));
    OK(modeconn_options_create(context, "context", &options));
    modeconn_context_destroy(context);
    ck_assert_int_gt(state.live, 0);
    OK(modeconn_options_set_str(options, "isa", "avx2"));
    OK(modeconn_options_get_str(options, "isa", &isa));
    ck_assert_str_eq(isa, "avx2");
    modeconn_options_destroy(options);
    ck_assert_int_eq(state.live, 0);
    ck_assert_ptr_null(mc_context_take(NULL));
    mc_context_drop(NULL);
}
END_TEST

static void keep_line(void *user, const char *message)
{
    strncat(user, message, 40);
}

START_TEST(log_lines_arrive)
{
    modeconn_context *context = NULL;
    char lines[100] = "";

    OK(modeconn_context_create(NULL, &context));
    mc_log(context, "nobody listens");
    OK(modeconn_context_set_log(context, keep_line, lines));
    mc_log(context, "epoch %d of %d", 1, 2);
    ck_assert_str_eq(lines, "epoch 1 of 2");
    OK(modeconn_context_set_log(context, NULL, NULL));
    mc_log(context, "nobody listens");
    mc_log(NULL, "nobody listens");
    ck_assert_str_eq(lines, "epoch 1 of 2");
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, defaults);
    tcase_add_test(tests, options_are_followed);
    tcase_add_test(tests, arguments_are_checked);
    tcase_add_test(tests, instruction_sets_are_there_or_refused);
    tcase_add_test(tests, every_allocation_may_fail);
    tcase_add_test(tests, handles_keep_it_alive);
    tcase_add_test(tests, log_lines_arrive);
}

int main(void)
{
    return unit_run("core_context", add);
}
