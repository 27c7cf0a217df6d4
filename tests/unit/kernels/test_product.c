/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The engine's two products of every instruction set against sums in double: rows that lie
 * anywhere, chosen taps, biases, sums added to, and every tail of rows, terms and columns.
 */
#include "kernels/kernels.h"
#include "unit.h"
#include <math.h>

static const char *const isas[] = {"baseline", "avx2", "avx512"};
enum { ISAS = 3 };

/* rows, taps, run, columns */
static const int64_t shapes[][4] = {
    {1, 1, 1, 1},    {3, 9, 5, 7},     {4, 1, 200, 16}, {5, 2, 64, 17},  {12, 3, 9, 32},
    {13, 4, 7, 33},  {29, 1, 500, 50}, {7, 0, 3, 20},   {24, 9, 64, 64}, {9, 2, 30, 121},
    {37, 1, 16, 16}, {37, 1, 8, 8},    {19, 1, 4, 4}}; /* squares of one vector */
enum { SHAPES = 13 };

static const mc_kernels *kernels_of(int which)
{
    const mc_kernels *kernels = NULL;
    int32_t status = mc_kernels_select(isas[which], &kernels);
    ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_UNSUPPORTED);
    return kernels;
}

static float *values(int64_t n, uint64_t seed)
{
    float *v = malloc((size_t)(n + 1) * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (float)(2.0 * mc_random_f64(seed, 1000, (uint64_t)i, 0) - 1.0);
    }
    return v;
}

static void near(double a, double b, double terms)
{
    ck_assert_msg(fabs(a - b) <= 1e-6 * sqrt(terms + 1.0) + 4e-7 * fabs(b), "%.9g is not %.9g", a,
                  b);
}

/* Rows in reverse order with a gap between them, their terms in reverse order too; panels of one
 * term more than the product uses, except where terms are left to their own order. */
START_TEST(test_product)
{
    enum { GAP = 3 };
    const mc_kernels *k = kernels_of(_i % ISAS);
    const int64_t *s = shapes[_i / ISAS];
    int64_t rows = s[0], taps = s[1], run = s[2], n = s[3], all = (taps + 1) * run;
    if (k == NULL) {
        return;
    }
    for (int variant = 0; variant < 8; variant++) {
        bool accumulate = variant & 1, bias = variant & 2, plain = taps <= 1 && (variant & 4);
        int64_t row = (taps + 1) * run + GAP;
        float *x = values(rows * row, 1), *b = values(all * n, 2), *w = values(all * n, 2);
        float *y = values(rows * (n + GAP), 3), *before = values(rows * (n + GAP), 3);
        float *shift = values(n, 4),
              *panels = values((n + k->lanes - 1) / k->lanes * k->lanes * all, 5);
        const float **xs = malloc((size_t)rows * sizeof *xs);
        float **ys = malloc((size_t)rows * sizeof *ys);
        int64_t x_at[16], panel_at[16];
        for (int64_t i = 0; i < rows; i++) {
            xs[i] = x + (rows - 1 - i) * row;
            ys[i] = y + (rows - 1 - i) * (n + GAP);
        }
        for (int64_t t = 0; t < taps; t++) {
            x_at[t] = plain ? 0 : (taps - 1 - t) * run + 1;
            panel_at[t] = plain ? t * run : (t + 1) * run;
        }
        for (int64_t at = 0; at < all * n; at++) { /* b [taps][run][n] from w [n][run][taps] */
            int64_t k_of = at / n, tap_of = k_of / run, in = k_of % run;
            w[(at % n * run + in) * (taps + 1) + tap_of] = b[at];
        }
        k->pack_panels(w, n, run, taps + 1, 0, n, panels);
        mc_product p = {.rows = rows,
                        .taps = taps,
                        .run = run,
                        .n = n,
                        .x = xs,
                        .x_offset = 1,
                        .x_at = plain ? NULL : x_at,
                        .panel_at = plain ? NULL : panel_at,
                        .panels = panels,
                        .panel_rows = all,
                        .bias = bias ? shift : NULL,
                        .accumulate = accumulate,
                        .y = ys,
                        .y_offset = 2};
        k->product(&p);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < n; j++) {
                int64_t at = ys[i] + 2 + j - y;
                double sum = bias ? (double)shift[j] : 0.0;
                sum += accumulate ? (double)before[at] : 0.0;
                for (int64_t t = 0; t < taps; t++) {
                    for (int64_t l = 0; l < run; l++) {
                        sum +=
                            (double)xs[i][1 + x_at[t] + l] * (double)b[(panel_at[t] + l) * n + j];
                    }
                }
                near((double)y[at], sum, (double)(taps * run));
            }
            ck_assert_mem_eq(ys[i], before + (ys[i] - y), 2 * sizeof *y);
            ck_assert(ys[i][n + 2] == before[ys[i] - y + n + 2]);
        }
        free(x);
        free(b);
        free(y);
        free(before);
        free(shift);
        free(panels);
        free(w);
        free(xs);
        free(ys);
    }
}
END_TEST

/* `rows` terms, [taps * run] by [n]. */
START_TEST(test_outer)
{
    enum { GAP = 5 };
    const mc_kernels *k = kernels_of(_i % ISAS);
    const int64_t *s = shapes[_i / ISAS];
    int64_t count = s[0] * 11, rows = s[1] * s[2] / 2, n = s[3];
    if (k == NULL) {
        return;
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        float *x = values(count * (rows + GAP) + 1 + MC_ROW_SLACK, 1),
              *d = values(count * (n + GAP) + 1, 2);
        float *w = values(rows * (n + GAP), 3), *before = values(rows * (n + GAP), 3);
        const float **xs = malloc((size_t)count * sizeof *xs);
        const float **ds = malloc((size_t)count * sizeof *ds);
        for (int64_t r = 0; r < count; r++) {
            xs[r] = x + r * (rows + GAP);
            ds[r] = d + (count - 1 - r) * (n + GAP);
        }
        mc_outer p = {.count = count,
                      .k = rows,
                      .n = n,
                      .x = xs,
                      .d = ds,
                      .x_offset = 1,
                      .d_offset = 1,
                      .w = w,
                      .w_stride = n + GAP,
                      .accumulate = accumulate};
        k->outer(&p);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < n; j++) {
                double sum = accumulate ? (double)before[i * (n + GAP) + j] : 0.0;
                for (int64_t r = 0; r < count; r++) {
                    sum += (double)xs[r][1 + i] * (double)ds[r][1 + j];
                }
                near((double)w[i * (n + GAP) + j], sum, (double)count);
            }
            ck_assert(w[i * (n + GAP) + n] == before[i * (n + GAP) + n]);
        }
        free(x);
        free(d);
        free(w);
        free(before);
        free(xs);
        free(ds);
    }
}
END_TEST

/* An empty sum is zero. */
START_TEST(test_empty)
{
    const mc_kernels *k = kernels_of(_i);
    float w[6] = {1, 2, 3, 4, 5, 6};
    if (k != NULL) {
        mc_outer p = {.k = 2, .n = 3, .w = w, .w_stride = 3, .accumulate = true};
        k->outer(&p);
        ck_assert(w[0] == 1.0f && w[5] == 6.0f);
        p.accumulate = false;
        k->outer(&p);
        ck_assert(w[0] == 0.0f && w[5] == 0.0f);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_product, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_outer, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_empty, 0, ISAS);
}

int main(void)
{
    return unit_run("kernels product", add);
}
