/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The assignment solver against all permutations up to n = 7, and against its own duals beyond; the
 * first of several optimal assignments.
 */
#include "align/align.h"
#include "unit.h"
#include <math.h>

enum { MOST = 260 };
static double cost[MOST * MOST], u[MOST], v[MOST];
static int64_t column[MOST];

/* kind 0: real, 1: few whole numbers, so that many are equal, 2: one value */
static void fill(int64_t rows, int64_t cols, int kind, uint64_t seed)
{
    for (int64_t i = 0; i < rows * cols; i++) {
        double x = mc_random_f64(seed, 999, (uint64_t)i, 0);
        cost[i] = kind == 0 ? x - 0.5 : kind == 1 ? floor(4 * x) : 3.0;
    }
}

static double total(int64_t rows, int64_t cols)
{
    double sum = 0;
    bool seen[MOST] = {false};
    int64_t given = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (column[i] < 0) {
            continue;
        }
        ck_assert_int_lt(column[i], cols);
        ck_assert(!seen[column[i]]);
        seen[column[i]] = true;
        sum += cost[i * cols + column[i]];
        given++;
    }
    ck_assert_int_eq(given, rows < cols ? rows : cols);
    return sum;
}

/* Least sum over every way to give rows 0 .. to columns not used; skips rows where there are more
 * of them. */
static double brute(int64_t rows, int64_t cols, int64_t i, unsigned used, int64_t skips)
{
    double best = i == rows ? 0 : INFINITY;
    for (int64_t j = 0; i < rows && j < cols; j++) {
        if ((used >> j & 1) == 0) {
            best = fmin(best, cost[i * cols + j] + brute(rows, cols, i + 1, used | 1U << j, skips));
        }
    }
    return i < rows && skips > 0 ? fmin(best, brute(rows, cols, i + 1, used, skips - 1)) : best;
}

static void check_duals(int64_t rows, int64_t cols, double sign)
{
    double dual = 0;
    bool used[MOST] = {false};
    for (int64_t i = 0; i < rows; i++) {
        dual += u[i];
        for (int64_t j = 0; j < cols; j++) {
            ck_assert_double_ge(sign * (cost[i * cols + j] - u[i] - v[j]), -1e-12);
        }
        if (column[i] < 0) {
            ck_assert_double_eq(u[i], 0);
        } else {
            used[column[i]] = true;
        }
        ck_assert(rows <= cols || sign * u[i] <= 0);
    }
    for (int64_t j = 0; j < cols; j++) {
        dual += v[j];
        ck_assert(used[j] || v[j] == 0);
        ck_assert(rows >= cols || sign * v[j] <= 0);
    }
    ck_assert_double_eq_tol(dual, total(rows, cols), 1e-9);
}

/* The first optimal assignment by trying columns in order: a column is kept if the rest can still
 * reach the optimum. */
static void first_of(int64_t rows, int64_t cols, double least, int64_t *expected)
{
    int64_t skips = rows > cols ? rows - cols : 0;
    unsigned used = 0;
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) {
        expected[i] = -1;
        for (int64_t j = 0; j < cols && expected[i] < 0; j++) {
            double with = sum + cost[i * cols + j];
            if ((used >> j & 1) == 0 &&
                with + brute(rows, cols, i + 1, used | 1U << j, skips) == least) {
                expected[i] = j;
                used |= 1U << j;
                sum = with;
            }
        }
        skips -= expected[i] < 0;
    }
}

/* Few whole numbers, so most matrices have several optimal assignments. */
START_TEST(first)
{
    int64_t expected[6], several = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        int64_t rows = 1 + (int64_t)(seed % 6), cols = 1 + (int64_t)(seed / 6 % 6);
        fill(rows, cols, seed % 7 == 6 ? 2 : 1, seed);
        double least = brute(rows, cols, 0, 0, rows > cols ? rows - cols : 0);
        first_of(rows, cols, least, expected);
        OK(mc_assignment(NULL, cost, rows, cols, false, column, u, v));
        ck_assert_mem_eq(column, expected, (size_t)rows * sizeof(*expected));
        check_duals(rows, cols, 1);
        /* The same with the columns' order turned: a solver that did not care would answer alike.
         */
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < cols / 2; j++) {
                double left = cost[i * cols + j];
                cost[i * cols + j] = cost[i * cols + cols - 1 - j];
                cost[i * cols + cols - 1 - j] = left;
            }
        }
        first_of(rows, cols, least, expected);
        for (int64_t i = 0; i < rows; i++) {
            several += column[i] >= 0 && expected[i] != cols - 1 - column[i];
        }
        OK(mc_assignment(NULL, cost, rows, cols, false, column, NULL, NULL));
        ck_assert_mem_eq(column, expected, (size_t)rows * sizeof(*expected));
    }
    ck_assert_int_gt(several, 100);
}
END_TEST

/* One value throughout: the first columns, in order. */
START_TEST(all_equal)
{
    static const int64_t shapes[][2] = {{MOST, MOST}, {90, MOST}, {MOST, 90}};
    for (int k = 0; k < 3; k++) {
        fill(shapes[k][0], shapes[k][1], 2, 0);
        OK(mc_assignment(NULL, cost, shapes[k][0], shapes[k][1], k != 0, column, NULL, NULL));
        for (int64_t i = 0; i < shapes[k][0]; i++) {
            ck_assert_int_eq(column[i], i < shapes[k][1] ? i : -1);
        }
    }
}
END_TEST

START_TEST(small)
{
    for (int64_t rows = 1; rows <= 7; rows++) {
        for (int64_t cols = 1; cols <= 7; cols++) {
            for (int kind = 0; kind < 3; kind++) {
                fill(rows, cols, kind, (uint64_t)(rows * 8 + cols));
                double least = brute(rows, cols, 0, 0, rows > cols ? rows - cols : 0);
                OK(mc_assignment(NULL, cost, rows, cols, false, column, u, v));
                ck_assert_double_eq_tol(total(rows, cols), least, 1e-12);
                check_duals(rows, cols, 1);
                for (int64_t i = 0; i < rows * cols; i++) {
                    cost[i] = -cost[i];
                }
                OK(mc_assignment(NULL, cost, rows, cols, true, column, u, v));
                ck_assert_double_eq_tol(-total(rows, cols), least, 1e-12);
                check_duals(rows, cols, -1);
            }
        }
    }
}
END_TEST

START_TEST(large)
{
    static const int64_t shapes[][2] = {{256, 256}, {100, 257}, {255, 90}, {259, 259}};
    int64_t again[MOST];
    for (int k = 0; k < 4; k++) {
        for (int kind = 0; kind < 3; kind++) {
            fill(shapes[k][0], shapes[k][1], kind, (uint64_t)k);
            OK(mc_assignment(NULL, cost, shapes[k][0], shapes[k][1], true, column, u, v));
            check_duals(shapes[k][0], shapes[k][1], -1);
            memcpy(again, column, sizeof(again));
            OK(mc_assignment(NULL, cost, shapes[k][0], shapes[k][1], true, column, NULL, NULL));
            ck_assert_mem_eq(again, column, (size_t)shapes[k][0] * sizeof(*again));
        }
    }
}
END_TEST

START_TEST(planted)
{
    int64_t order[MOST];
    mc_random_permutation(5, 998, 0, MOST, order);
    fill(MOST, MOST, 0, 1);
    for (int64_t i = 0; i < MOST; i++) {
        cost[i * MOST + order[i]] = 1;
    }
    OK(mc_assignment(NULL, cost, MOST, MOST, true, column, NULL, NULL));
    ck_assert_mem_eq(column, order, sizeof(order));
}
END_TEST

START_TEST(errors)
{
    fill(3, 3, 0, 1);
    cost[5] = NAN;
    FAILS(mc_assignment(NULL, cost, 3, 3, true, column, u, v), MODECONN_ERROR_NUMERIC,
          "row 1, column 2");
    cost[5] = INFINITY;
    FAILS(mc_assignment(NULL, cost, 3, 3, false, column, u, v), MODECONN_ERROR_NUMERIC, "inf");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, small);
    tcase_add_test(tests, large);
    tcase_add_test(tests, first);
    tcase_add_test(tests, all_equal);
    tcase_add_test(tests, planted);
    tcase_add_test(tests, errors);
}

int main(void)
{
    return unit_run("align/assignment", add);
}
