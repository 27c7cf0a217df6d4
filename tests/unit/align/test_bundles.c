/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Assignments of units in bundles against all that there are: the sum is the largest, the pairs
 * marked tight hold those of the optimal ones, and leave open what these differ in alone; units
 * without bundles are an ordinary assignment.
 */
#include "align/align.h"
#include "unit.h"
#include <math.h>

/* Two groups, of 2 and of 3 units in each of 3 bundles. */
enum { GROUPS = 2, BUNDLES = 3, MOST = 9, CASES = 40 };
static const int64_t units[GROUPS] = {2, 3};

static const int64_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* Permutation `which` of n = 2 or 3 units: those of two are the first two that keep the third. */
static int64_t unit_at(int64_t n, int64_t which, int64_t i)
{
    static const int64_t of_two[2] = {0, 2};
    return orders[n == 2 ? of_two[which] : which][i];
}

static int64_t ways(int64_t n)
{
    return n == 2 ? 2 : 6;
}

/* What bundle q of a group is worth from bundle r, in the best way; with `best`, marks the pairs of
 * all ways worth that. */
static double value_of(const double *score, int64_t n, int64_t q, int64_t r, bool *best)
{
    int64_t size = n * BUNDLES;
    double most = -HUGE_VAL;
    for (int pass = 0; pass < (best != NULL ? 2 : 1); pass++) {
        for (int64_t w = 0; w < ways(n); w++) {
            double sum = 0.0;
            for (int64_t i = 0; i < n; i++) {
                sum += score[(q * n + i) * size + r * n + unit_at(n, w, i)];
            }
            most = sum > most ? sum : most;
            for (int64_t i = 0; i < n && pass == 1 && sum >= most; i++) {
                best[(q * n + i) * size + r * n + unit_at(n, w, i)] = true;
            }
        }
    }
    return most;
}

static double value_of_order(double (*score)[MOST * MOST], const int64_t *order)
{
    double sum = 0.0;
    for (int64_t g = 0; g < GROUPS; g++) {
        for (int64_t q = 0; q < BUNDLES; q++) {
            sum += value_of(score[g], units[g], q, order[q], NULL);
        }
    }
    return sum;
}

/* Whole numbers of few values: many ties, no rounding. */
START_TEST(against_all)
{
    for (uint64_t c = 0; c < CASES; c++) {
        double score[GROUPS][MOST * MOST], most = -HUGE_VAL, sum = 0.0;
        int64_t column[GROUPS][MOST];
        bool tight[GROUPS][MOST * MOST], expected[GROUPS][MOST * MOST] = {{false}};
        mc_bundled groups[GROUPS];
        bool stay = _i == 1;
        for (int64_t g = 0; g < GROUPS; g++) {
            int64_t size = units[g] * BUNDLES;
            for (int64_t k = 0; k < size * size; k++) {
                score[g][k] = (double)mc_random_below(5, 920, c, (uint32_t)(100 * g + k), 4);
            }
            groups[g] = (mc_bundled){
                .score = score[g], .size = size, .column = column[g], .tight = tight[g]};
        }
        OK(mc_assign_bundles(NULL, groups, GROUPS, BUNDLES, stay));
        for (int64_t o = 0; o < (stay ? 1 : 6); o++) {
            double value = value_of_order(score, orders[o]);
            most = value > most ? value : most;
        }
        for (int64_t o = 0; o < (stay ? 1 : 6); o++) {
            for (int64_t g = 0; g < GROUPS && value_of_order(score, orders[o]) >= most; g++) {
                for (int64_t q = 0; q < BUNDLES; q++) {
                    value_of(score[g], units[g], q, orders[o][q], expected[g]);
                }
            }
        }
        for (int64_t g = 0; g < GROUPS; g++) {
            int64_t size = groups[g].size;
            for (int64_t i = 0; i < size; i++) {
                int64_t bundle = column[g][i] / units[g];
                ck_assert_int_eq(bundle, column[0][i / units[g] * units[0]] / units[0]);
                ck_assert(!stay || bundle == i / units[g]);
                ck_assert(tight[g][i * size + column[g][i]]);
                sum += score[g][i * size + column[g][i]];
            }
            for (int64_t k = 0; k < size * size; k++) { /* what is optimal is tight */
                ck_assert(tight[g][k] || !expected[g][k]);
            }
        }
        ck_assert_double_eq(sum, most);
    }
}
END_TEST

/* Assigns, and asks which places the tight pairs leave open (whole: all where any is). */
static void find_open(double (*score)[MOST * MOST], bool stay, bool whole, mc_tied *tied)
{
    static const int64_t which[GROUPS] = {0, 1};
    int64_t column[GROUPS][MOST];
    mc_bundled groups[GROUPS];
    for (int64_t g = 0; g < GROUPS; g++) {
        int64_t size = units[g] * BUNDLES;
        groups[g] = (mc_bundled){.score = score[g],
                                 .size = size,
                                 .column = column[g],
                                 .tight = mc_alloc(NULL, size * size, sizeof(bool))};
        ck_assert_ptr_nonnull(groups[g].tight);
        memset(groups[g].tight, 1, (size_t)(size * size));
    }
    OK(mc_assign_bundles(NULL, groups, GROUPS, BUNDLES, stay));
    OK(mc_tied_find(NULL, groups, which, GROUPS, whole, tied));
}

/* Of scores that are all different one assignment is best, so no place is left open. */
START_TEST(nothing_open)
{
    for (uint64_t c = 0; c < CASES; c++) {
        double score[GROUPS][MOST * MOST];
        mc_tied tied[GROUPS];
        for (int64_t k = 0; k < GROUPS * MOST * MOST; k++) {
            score[k / (MOST * MOST)][k % (MOST * MOST)] = mc_random_normal(c, 922, (uint64_t)k, 0);
        }
        find_open(score, _i == 1, _i == 0, tied);
        for (int64_t g = 0; g < GROUPS; g++) {
            ck_assert(tied[g].n == 0 && tied[g].places == NULL && tied[g].tight == NULL);
        }
    }
}
END_TEST

/* Bundles 0 and 1 can change places for 4e-6 a pair, which is rounding, and units 0 and 1 of bundle
 * 2 for 3e-5, which is not. */
START_TEST(nearly_tied)
{
    double score[GROUPS][MOST * MOST] = {{0.0}};
    mc_tied tied[GROUPS];
    for (int64_t g = 0; g < GROUPS; g++) {
        int64_t n = units[g], size = n * BUNDLES;
        for (int64_t i = 0; i < size; i++) {
            score[g][i * size + i] = 1.0;
        }
        for (int64_t i = 0; i < n; i++) {
            score[g][i * size + n + i] = score[g][(n + i) * size + i] = 1.0 - 4e-6;
        }
        score[g][2 * n * size + 2 * n + 1] = score[g][(2 * n + 1) * size + 2 * n] = 1.0 - 3e-5;
    }
    find_open(score, false, false, tied);
    for (int64_t g = 0; g < GROUPS; g++) {
        ck_assert_int_eq(tied[g].n, 2 * units[g]);
        for (int64_t i = 0; i < tied[g].n; i++) {
            ck_assert_int_eq(tied[g].places[i], i);
        }
        mc_tied_free(&tied[g], NULL);
    }
}
END_TEST

/* Where all scores are equal, the units of a bundle may change places, and those of two bundles
 * only if bundles may. */
START_TEST(all_tied)
{
    double score[GROUPS][MOST * MOST] = {{0.0}};
    mc_tied tied[GROUPS];
    bool stay = _i == 1;
    find_open(score, stay, !stay, tied);
    for (int64_t g = 0; g < GROUPS; g++) {
        int64_t size = units[g] * BUNDLES;
        ck_assert_int_eq(tied[g].n, size);
        for (int64_t k = 0; k < size * size; k++) {
            bool same = k / size / units[g] == k % size / units[g];
            ck_assert(tied[g].tight[k] == (same || !stay));
        }
        mc_tied_free(&tied[g], NULL);
    }
}
END_TEST

START_TEST(one_bundle)
{
    enum { N = 17 };
    double score[N * N];
    int64_t column[N], plain[N];
    for (int64_t k = 0; k < N * N; k++) {
        score[k] = mc_random_normal(6, 921, (uint64_t)k, 0);
    }
    mc_bundled group = {.score = score, .size = N, .column = column};
    OK(mc_assign_bundles(NULL, &group, 1, 1, true));
    OK(mc_assignment(NULL, score, N, N, true, plain, NULL, NULL));
    ck_assert_mem_eq(column, plain, sizeof column);
}
END_TEST

START_TEST(not_finite)
{
    double score[4] = {1.0, NAN, 0.0, 1.0};
    int64_t column[2];
    mc_bundled group = {.score = score, .size = 2, .column = column};
    FAILS(mc_assign_bundles(NULL, &group, 1, 1, true), MODECONN_ERROR_NUMERIC, "nan");
    FAILS(mc_assign_bundles(NULL, &group, 1, 2, false), MODECONN_ERROR_NUMERIC, "nan");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, against_all, 0, 2);
    tcase_add_loop_test(tests, nothing_open, 0, 2);
    tcase_add_test(tests, nearly_tied);
    tcase_add_loop_test(tests, all_tied, 0, 2);
    tcase_add_test(tests, one_bundle);
    tcase_add_test(tests, not_finite);
}

int main(void)
{
    return unit_run("align/bundles", add);
}
