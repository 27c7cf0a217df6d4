/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Progress: counting, the estimate of the time left, cancelling.
 */
#include "train/train.h"
#include "train/small.h"

typedef struct record {
    int64_t calls, epoch, step, total;
    double loss, accuracy, rate, left;
} record;

static int32_t note(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                    double accuracy, double rate, double left)
{
    record *seen = user;
    *seen = (record){seen->calls + 1, epoch, step, total, loss, accuracy, rate, left};
    return step == 3 ? 1 : 0;
}

START_TEST(counts_and_cancels)
{
    record seen = {0};
    mc_progress progress;
    mc_progress_init(&progress, note, &seen, 4);
    progress.started -= 10; /* ten seconds ago */
    OK(mc_progress_step(&progress, 0, 1.5, 0.25, 0.1));
    ck_assert_int_eq(seen.step, 1);
    ck_assert_int_eq(seen.total, 4);
    ck_assert_double_eq(seen.loss, 1.5);
    ck_assert_double_eq(seen.accuracy, 0.25);
    ck_assert_double_eq(seen.rate, 0.1);
    ck_assert_double_eq_tol(seen.left, 30, 3);
    OK(mc_progress_step(&progress, 1, 1.5, 0.25, 0.1));
    ck_assert_int_eq(seen.epoch, 1);
    ck_assert_double_eq_tol(seen.left, 10, 1);
    OK(mc_progress_poll(&progress)); /* no step */
    ck_assert(seen.calls == 3 && seen.epoch == 1 && seen.step == 2 && isnan(seen.loss));
    FAILS(mc_progress_step(&progress, 1, 1.5, 0.25, 0.1), MODECONN_ERROR_CANCELLED, "step 3 of 4");
    FAILS(mc_progress_poll(&progress), MODECONN_ERROR_CANCELLED, "step 3 of 4");
    ck_assert_int_eq(seen.calls, 5);
}
END_TEST

START_TEST(without_callback)
{
    mc_progress progress;
    mc_progress_init(&progress, NULL, NULL, 2);
    OK(mc_progress_step(&progress, 0, 0, 0, 0));
    OK(mc_progress_step(&progress, 0, 0, 0, 0));
    OK(mc_progress_poll(&progress));
    ck_assert_int_eq(progress.step, 2);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, counts_and_cancels);
    tcase_add_test(tests, without_callback);
}

int main(void)
{
    return unit_run("train/progress", add);
}
