/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Barriers of curves whose heights are known in closed form, on t = i / n.
 */
#include "measure/measure.h"
#include "unit.h"
#include <math.h>

enum { MAX_POINTS = 128 };

static double t[MAX_POINTS], values[MAX_POINTS];

typedef double (*curve_fn)(double);

static double straight(double x)
{
    return 0.25 + 0.5 * x;
}

static double falling(double x)
{
    return 2.0 - 1.5 * x;
}

/* A parabola over unequal ends: 4 x (1-x) above the straight line. */
static double bump(double x)
{
    return straight(x) + 4.0 * x * (1.0 - x);
}

static double valley(double x)
{
    return straight(x) - 4.0 * x * (1.0 - x);
}

static double constant(double x)
{
    (void)x;
    return 2.302585092994046;
}

static double measured(curve_fn f, int64_t intervals, int32_t definition)
{
    for (int64_t i = 0; i <= intervals; i++) {
        t[i] = (double)i / (double)intervals;
        values[i] = f(t[i]);
    }
    return mc_barrier(t, values, intervals + 1, definition);
}

#define NEAR(got, expected) ck_assert_double_eq_tol(got, expected, 1e-12)

/* The trap of the paper's formula: a monotone path with unequal ends has no barrier, but stands
 * half the difference above the mean of its ends. */
START_TEST(monotone_line)
{
    NEAR(measured(straight, 10, MODECONN_BARRIER_LINEAR), 0.0);
    NEAR(measured(straight, 10, MODECONN_BARRIER_MEAN), 0.25);
    NEAR(measured(straight, 10, MODECONN_BARRIER_MAX), 0.0);
    NEAR(measured(straight, 10, MODECONN_BARRIER_HALF), 0.0);
    NEAR(measured(falling, 10, MODECONN_BARRIER_LINEAR), 0.0);
    NEAR(measured(falling, 10, MODECONN_BARRIER_MEAN), 0.75);
    NEAR(measured(falling, 10, MODECONN_BARRIER_MAX), 0.0);
    NEAR(measured(falling, 10, MODECONN_BARRIER_HALF), 0.0);
}
END_TEST

/* 1/4 + x/2 + 4x(1-x) is largest at x = 9/16: 1/4 + 81/64. */
START_TEST(bump_on_a_slope)
{
    NEAR(measured(bump, 16, MODECONN_BARRIER_LINEAR), 1.0);
    NEAR(measured(bump, 16, MODECONN_BARRIER_MEAN), 0.25 + 81.0 / 64.0 - 0.5);
    NEAR(measured(bump, 16, MODECONN_BARRIER_MAX), 0.25 + 81.0 / 64.0 - 0.75);
    NEAR(measured(bump, 16, MODECONN_BARRIER_HALF), 1.0);
}
END_TEST

/* The supremum runs over the points that were measured, here 0, 1/3, 2/3, 1. */
START_TEST(supremum_over_the_points)
{
    NEAR(measured(bump, 3, MODECONN_BARRIER_LINEAR), 8.0 / 9.0);
    NEAR(measured(bump, 3, MODECONN_BARRIER_MAX), 0.25 + 1.0 / 3.0 + 8.0 / 9.0 - 0.75);
}
END_TEST

/* Only HALF tells that a path dips; the others stop at the ends. */
START_TEST(valley_is_no_barrier)
{
    NEAR(measured(valley, 16, MODECONN_BARRIER_LINEAR), 0.0);
    NEAR(measured(valley, 16, MODECONN_BARRIER_MEAN), 0.25);
    NEAR(measured(valley, 16, MODECONN_BARRIER_MAX), 0.0);
    NEAR(measured(valley, 16, MODECONN_BARRIER_HALF), -1.0);
}
END_TEST

START_TEST(half_needs_its_point)
{
    for (int64_t intervals = 1; intervals < MAX_POINTS; intervals++) {
        double height = measured(bump, intervals, MODECONN_BARRIER_HALF);
        if (intervals % 2 == 0) {
            NEAR(height, 1.0);
        } else {
            ck_assert_double_nan(height);
        }
    }
}
END_TEST

START_TEST(never_negative)
{
    static const curve_fn curves[] = {straight, falling, bump, valley, constant};
    for (size_t c = 0; c < sizeof(curves) / sizeof(curves[0]); c++) {
        for (int64_t intervals = 1; intervals < 40; intervals++) {
            for (int32_t d = MODECONN_BARRIER_LINEAR; d <= MODECONN_BARRIER_MAX; d++) {
                ck_assert_double_ge(measured(curves[c], intervals, d), 0.0);
            }
        }
    }
}
END_TEST

/* LINEAR >= MAX always: the linear baseline lies under the larger end. */
START_TEST(linear_is_above_max)
{
    static const curve_fn curves[] = {straight, falling, bump, valley, constant};
    for (size_t c = 0; c < sizeof(curves) / sizeof(curves[0]); c++) {
        double linear = measured(curves[c], 24, MODECONN_BARRIER_LINEAR);
        double max = measured(curves[c], 24, MODECONN_BARRIER_MAX);
        double mean = measured(curves[c], 24, MODECONN_BARRIER_MEAN);
        ck_assert_double_ge(linear, max);
        ck_assert_double_ge(mean, max);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, monotone_line);
    tcase_add_test(tests, bump_on_a_slope);
    tcase_add_test(tests, supremum_over_the_points);
    tcase_add_test(tests, valley_is_no_barrier);
    tcase_add_test(tests, half_needs_its_point);
    tcase_add_test(tests, never_negative);
    tcase_add_test(tests, linear_is_above_max);
}

int main(void)
{
    return unit_run("measure_barrier", add);
}
