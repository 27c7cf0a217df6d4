/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Schedules against their closed forms, and the milestones' text.
 */
#include "train/train.h"
#include "train/small.h"

static mc_schedule make(const char *name)
{
    mc_schedule schedule = {.rate = 0.2, .total = 100, .per_epoch = 10, .factor = 0.1};
    OK(mc_schedule_find(name, &schedule));
    return schedule;
}

START_TEST(constant)
{
    mc_schedule schedule = make("constant");
    ck_assert_double_eq(mc_schedule_rate(&schedule, 0), 0.2);
    ck_assert_double_eq(mc_schedule_rate(&schedule, 99), 0.2);
}
END_TEST

START_TEST(cosine)
{
    mc_schedule schedule = make("cosine");
    for (int64_t k = 0; k < 100; k++) {
        schedule.reference = false;
        ck_assert_double_eq_tol(mc_schedule_rate(&schedule, k),
                                0.1 * (1 + cos(acos(-1.0) * (double)k / 100)), 1e-15);
        schedule.reference = true;
        ck_assert_double_eq_tol(mc_schedule_rate(&schedule, k),
                                0.1 * (1 + cos(acos(-1.0) * (double)(k > 0 ? k - 1 : 0) / 100)),
                                1e-15);
    }
}
END_TEST

START_TEST(step_period)
{
    mc_schedule schedule = make("step");
    schedule.every = 40;
    ck_assert_double_eq(mc_schedule_rate(&schedule, 39), 0.2);
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 40), 0.02, 1e-15);
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 79), 0.02, 1e-15);
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 80), 0.002, 1e-15);
}
END_TEST

START_TEST(step_milestones)
{
    mc_schedule schedule = make("step");
    OK(mc_schedule_milestones(&schedule, "0.4,0.85"));
    ck_assert_int_eq(schedule.n_milestones, 2);
    ck_assert_int_eq(schedule.milestones[0], 40);
    ck_assert_int_eq(schedule.milestones[1], 85);
    ck_assert_double_eq(mc_schedule_rate(&schedule, 39), 0.2);
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 40), 0.02, 1e-15);
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 99), 0.002, 1e-15);
    OK(mc_schedule_milestones(&schedule, "2,5.5,1e300"));
    ck_assert_int_eq(schedule.milestones[0], 20);
    ck_assert_int_eq(schedule.milestones[1], 55);
    ck_assert_int_eq(schedule.milestones[2], INT64_MAX);
    OK(mc_schedule_milestones(&schedule, ""));
    ck_assert_int_eq(schedule.n_milestones, 0);
    ck_assert_double_eq(mc_schedule_rate(&schedule, 99), 0.2);
}
END_TEST

START_TEST(warmup)
{
    mc_schedule schedule = make("constant");
    schedule.warmup = 4;
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 0), 0.05, 1e-15);
    ck_assert_double_eq_tol(mc_schedule_rate(&schedule, 2), 0.15, 1e-15);
    ck_assert_double_eq(mc_schedule_rate(&schedule, 3), 0.2);
    ck_assert_double_eq(mc_schedule_rate(&schedule, 4), 0.2);
}
END_TEST

START_TEST(errors)
{
    mc_schedule schedule = make("step");
    FAILS(mc_schedule_find("linear", &schedule), MODECONN_ERROR_UNKNOWN, "linear");
    FAILS(mc_schedule_milestones(&schedule, "0.4,x"), MODECONN_ERROR_ARGUMENT, "value 2");
    FAILS(mc_schedule_milestones(&schedule, "0.4,"), MODECONN_ERROR_ARGUMENT, "value 1");
    FAILS(mc_schedule_milestones(&schedule, ",0.4"), MODECONN_ERROR_ARGUMENT, "value 1");
    FAILS(mc_schedule_milestones(&schedule, "-3"), MODECONN_ERROR_ARGUMENT, "value 1");
    FAILS(mc_schedule_milestones(&schedule, "nan"), MODECONN_ERROR_ARGUMENT, "value 1");
    FAILS(mc_schedule_milestones(&schedule, "40,40"), MODECONN_ERROR_ARGUMENT, "40 after 40");
    FAILS(mc_schedule_milestones(&schedule, "0.4,40"), MODECONN_ERROR_ARGUMENT, "mixed");
    FAILS(mc_schedule_milestones(&schedule, "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"),
          MODECONN_ERROR_ARGUMENT, "more than 16");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, constant);
    tcase_add_test(tests, cosine);
    tcase_add_test(tests, step_period);
    tcase_add_test(tests, step_milestones);
    tcase_add_test(tests, warmup);
    tcase_add_test(tests, errors);
}

int main(void)
{
    return unit_run("train/schedule", add);
}
