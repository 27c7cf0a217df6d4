/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Softmax cross-entropy: closed forms, extreme logits, finite differences.
 */
#include "kernels/kernels.h"
#include "unit.h"
#include <math.h>

START_TEST(test_values)
{
    float equal[4] = {3.0f, 3.0f, 3.0f, 3.0f}, two[2] = {0.0f, 1.0f};
    int64_t best;
    ck_assert_double_eq_tol(mc_cross_entropy(equal, 4, 2, &best), log(4.0), 1e-15);
    ck_assert_int_eq(best, 0); /* ties go to the lowest class */
    ck_assert_double_eq_tol(mc_cross_entropy(two, 2, 0, &best), log1p(exp(1.0)), 1e-15);
    ck_assert_int_eq(best, 1);
}
END_TEST

START_TEST(test_extremes)
{
    float huge[3] = {3e38f, -3e38f, 0.0f}, bad[3] = {0.0f, NAN, 1.0f};
    int64_t best;
    ck_assert_double_eq_tol(mc_cross_entropy(huge, 3, 0, &best), 0.0, 1e-15);
    ck_assert_double_eq_tol(mc_cross_entropy(huge, 3, 2, &best), 3e38, 1e32);
    ck_assert(isnan(mc_cross_entropy(bad, 3, 0, &best)));
    bad[0] = INFINITY;
    bad[1] = 0.0f;
    ck_assert(!isfinite(mc_cross_entropy(bad, 3, 1, &best)));
}
END_TEST

START_TEST(test_gradient)
{
    float z[5] = {0.3f, -1.2f, 2.0f, 0.0f, 0.7f}, d[5], sum = 0.0f;
    int64_t best;
    mc_cross_entropy_back(z, 5, 3, 0.5, d);
    for (int j = 0; j < 5; j++) {
        float up[5], down[5];
        memcpy(up, z, sizeof z);
        memcpy(down, z, sizeof z);
        up[j] += 1e-3f;
        down[j] -= 1e-3f;
        double slope = (mc_cross_entropy(up, 5, 3, &best) - mc_cross_entropy(down, 5, 3, &best)) /
                       ((double)up[j] - (double)down[j]);
        ck_assert_double_eq_tol((double)d[j], 0.5 * slope, 1e-6);
        sum += d[j];
    }
    ck_assert_double_eq_tol((double)sum, 0.0, 1e-7);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_values);
    tcase_add_test(tests, test_extremes);
    tcase_add_test(tests, test_gradient);
}

int main(void)
{
    return unit_run("kernels softmax", add);
}
