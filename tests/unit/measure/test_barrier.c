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

/* ---- random curves against the definitions, read word by word ------------------------------- */

static void random_curve(uint64_t curve, int64_t n)
{
    double slope = 4.0 * mc_random_f64(1, 2001, curve, 0) - 2.0;
    for (int64_t i = 0; i < n; i++) {
        t[i] = (double)i / (double)(n - 1);
        values[i] = 3.0 + slope * t[i] + 0.1 * mc_random_normal(1, 2002, curve, (uint32_t)i);
    }
}

/* Each definition in extended precision, by its formula in measure.h. */
static long double stated(int64_t n, int32_t definition)
{
    long double first = values[0], last = values[n - 1], height = 0.0L;
    for (int64_t i = 0; i < n; i++) {
        long double x = (long double)i / (long double)(n - 1), level = (first + last) / 2.0L;
        if (definition == MODECONN_BARRIER_HALF) {
            if (2 * i == n - 1) {
                return values[i] - level;
            }
            continue;
        }
        if (definition == MODECONN_BARRIER_LINEAR) {
            level = (1.0L - x) * first + x * last;
        } else if (definition == MODECONN_BARRIER_MAX) {
            level = fmaxl(first, last);
        }
        height = fmaxl(height, values[i] - level);
    }
    return height;
}

START_TEST(random_curves)
{
    for (uint64_t curve = 0; curve < 2000; curve++) {
        int64_t n = 2 + (int64_t)(curve % 60);
        double heights[4];
        random_curve(curve, n);
        for (int32_t d = MODECONN_BARRIER_LINEAR; d <= MODECONN_BARRIER_HALF; d++) {
            heights[d] = mc_barrier(t, values, n, d);
            if (d == MODECONN_BARRIER_HALF && n % 2 == 0) {
                ck_assert_double_nan(heights[d]);
                continue;
            }
            NEAR(heights[d], (double)stated(n, d));
        }
        ck_assert_double_ge(heights[MODECONN_BARRIER_LINEAR], heights[MODECONN_BARRIER_MAX]);
        ck_assert_double_ge(heights[MODECONN_BARRIER_MEAN], heights[MODECONN_BARRIER_MAX]);
        ck_assert_double_ge(heights[MODECONN_BARRIER_MAX], 0.0);
    }
}
END_TEST

/* Exactly none, whatever the value: no barrier of rounding. */
START_TEST(constant_curves)
{
    for (uint64_t curve = 0; curve < 500; curve++) {
        int64_t n = 2 + (int64_t)(curve % 60);
        double level = 5.0 * mc_random_f64(1, 2003, curve, 0);
        for (int64_t i = 0; i < n; i++) {
            t[i] = (double)i / (double)(n - 1);
            values[i] = level;
        }
        for (int32_t d = MODECONN_BARRIER_LINEAR; d <= MODECONN_BARRIER_MAX; d++) {
            ck_assert_double_eq(mc_barrier(t, values, n, d), 0.0);
        }
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
    tcase_add_test(tests, random_curves);
    tcase_add_test(tests, constant_curves);
}

int main(void)
{
    return unit_run("measure_barrier", add);
}
