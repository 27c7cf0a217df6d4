/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Products through BLIS against the plain twin: all strides, betas and odd sizes; tiles of the
 * parallel product.
 */
#include "kernels/kernels.h"
#include "unit.h"
#include <math.h>

static float *random_values(int64_t n, uint64_t seed)
{
    float *values = malloc((size_t)(n + 1) * sizeof *values);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (float)(2.0 * mc_random_f64(seed, 1000, (uint64_t)i, 0) - 1.0);
    }
    return values;
}

static void check_equal(const float *a, const float *b, int64_t n)
{
    double d = 0.0, s = 0.0;
    for (int64_t i = 0; i < n; i++) {
        d += pow((double)a[i] - (double)b[i], 2.0);
        s += pow((double)b[i], 2.0);
    }
    ck_assert_msg(d <= 1e-12 * s, "relative distance %g", sqrt(d / s));
}

static const int64_t sizes[][3] = {{1, 1, 1},     {6, 16, 4},   {7, 17, 5},    {3, 200, 1},
                                   {200, 3, 129}, {65, 33, 70}, {129, 10, 64}, {10, 300, 257}};
enum { SIZES = 8 };

START_TEST(test_against_plain)
{
    int64_t m = sizes[_i][0], n = sizes[_i][1], k = sizes[_i][2];
    modeconn_context *context;
    OK(modeconn_context_create(NULL, &context));
    float *a = random_values(m * k, 1), *b = random_values(k * n, 2);
    for (int layout = 0; layout < 8; layout++) {
        mc_matrix ma = {a, layout & 1 ? 1 : k, layout & 1 ? m : 1};
        mc_matrix mb = {b, layout & 2 ? 1 : n, layout & 2 ? k : 1};
        float beta = layout & 4 ? 1.0f : 0.0f;
        float *c = random_values(m * n, 3), *plain = random_values(m * n, 3);
        if (beta == 0.0f) {
            c[0] = NAN; /* beta 0 must not read C */
        }
        mc_gemm(m, n, k, ma, mb, beta, c, n);
        mc_gemm_plain(m, n, k, ma, mb, beta, plain, n);
        check_equal(c, plain, m * n);
        float *tiled = random_values(m * n, 3);
        mc_gemm_parallel(context->pool, m, n, k, ma, mb, beta, tiled, n);
        check_equal(tiled, plain, m * n);
        free(c);
        free(plain);
        free(tiled);
    }
    free(a);
    free(b);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_tiles_do_not_depend_on_threads)
{
    int64_t m = 130, n = 520, k = 300;
    float *a = random_values(m * k, 1), *b = random_values(k * n, 2), *c[3];
    for (int t = 0; t < 3; t++) {
        modeconn_options *options;
        modeconn_context *context;
        OK(modeconn_options_create(NULL, "context", &options));
        OK(modeconn_options_set_i64(options, "threads", t + 1));
        OK(modeconn_context_create(options, &context));
        c[t] = random_values(m * n, 3);
        mc_gemm_parallel(context->pool, m, n, k, (mc_matrix){a, k, 1}, (mc_matrix){b, n, 1}, 0.0f,
                         c[t], n);
        ck_assert_mem_eq(c[0], c[t], (size_t)(m * n) * sizeof(float));
        modeconn_options_destroy(options);
        modeconn_context_destroy(context);
    }
    for (int t = 0; t < 3; t++) {
        free(c[t]);
    }
    free(a);
    free(b);
}
END_TEST

/* An empty product leaves C alone, or nothing to write. */
START_TEST(test_empty)
{
    float c = 5.0f;
    mc_gemm(0, 1, 1, (mc_matrix){&c, 1, 1}, (mc_matrix){&c, 1, 1}, 0.0f, &c, 1);
    mc_gemm(1, 0, 1, (mc_matrix){&c, 1, 1}, (mc_matrix){&c, 1, 1}, 0.0f, &c, 1);
    ck_assert(c == 5.0f);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_against_plain, 0, SIZES);
    tcase_add_test(tests, test_tiles_do_not_depend_on_threads);
    tcase_add_test(tests, test_empty);
}

int main(void)
{
    return unit_run("kernels gemm", add);
}
