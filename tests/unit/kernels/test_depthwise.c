/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The products that keep channels apart, of every instruction set, against sums in double: rows
 * that lie anywhere, terms in any order, biases, sums added to, rectified, and every tail of rows
 * and channels.
 */
#include "kernels/kernels.h"
#include "isas.h"
#include <math.h>

enum { GAP = 3, TERMS = 3 };

/* rows, terms, taps of a term, channels */
static const int64_t shapes[][4] = {{1, 1, 1, 1},   {4, 3, 3, 16}, {5, 3, 3, 17}, {3, 2, 7, 33},
                                    {192, 3, 2, 8}, {7, 0, 1, 20}, {6, 1, 5, 64}, {31, 2, 3, 5}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static float *values(int64_t n, uint64_t seed)
{
    float *v = malloc((size_t)(n + 1) * sizeof *v);
    ck_assert_ptr_nonnull(v);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (float)(2.0 * mc_random_f64(seed, 1000, (uint64_t)i, 0) - 1.0);
    }
    return v;
}

/* `count` rows of `width` numbers in reverse order, a gap between them; a product takes them one by
 * one or in stretches of THREE, whose step is negative. */
enum { THREE = 3 };
static float **rows_of(float *memory, int64_t count, int64_t width)
{
    float **rows = malloc((size_t)count * sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (int64_t i = 0; i < count; i++) {
        rows[i] = memory + (count - 1 - i) * (width + GAP);
    }
    return rows;
}

/* The first rows of stretches, in place. */
static float **stretches_of(float **rows, int64_t count, int64_t each)
{
    float **starts = malloc((size_t)count * sizeof *starts);
    ck_assert_ptr_nonnull(starts);
    for (int64_t i = 0; i < count; i += each) {
        starts[i / each] = rows[i];
    }
    return starts;
}

static void near(double a, double b, double terms)
{
    ck_assert_msg(fabs(a - b) <= 1e-6 * sqrt(terms + 1.0) + 4e-7 * fabs(b), "%.9g is not %.9g", a,
                  b);
}

/* Terms in reverse order, of the last `taps` of all the weight's. */
START_TEST(test_depthwise)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    const int64_t *s = shapes[_i / ISAS], rows = s[0], taps = s[1], run = s[2], n = s[3];
    if (k == NULL) {
        return;
    }
    for (int variant = 0; variant < 16; variant++) {
        int64_t each = variant & 8 ? THREE : 1, width = (taps + 1) * run * n,
                out = rows * (n + GAP);
        float *x = values(rows * (width + GAP), 1), *w = values((taps + 1) * run * n, 2);
        float *y = values(out, 3), *before = values(out, 3), *bias = values(n, 4);
        float **xs = rows_of(x, rows, width), **ys = rows_of(y, rows, n);
        float **x_starts = stretches_of(xs, rows, each), **y_starts = stretches_of(ys, rows, each);
        int64_t x_at[TERMS], panel_at[TERMS];
        for (int64_t t = 0; t < taps; t++) {
            x_at[t] = (taps - 1 - t) * run * n + 1;
            panel_at[t] = (t + 1) * run;
        }
        mc_product p = {.rows = rows,
                        .taps = taps,
                        .run = run,
                        .n = n,
                        .each = each,
                        .x = (const float *const *)x_starts,
                        .x_step = -(width + GAP),
                        .x_offset = 1,
                        .x_at = x_at,
                        .panel_at = panel_at,
                        .panels = w,
                        .panel_rows = (taps + 1) * run,
                        .bias = variant & 1 ? bias : NULL,
                        .relu = variant & 2,
                        .accumulate = variant & 4,
                        .y = y_starts,
                        .y_step = -(n + GAP),
                        .y_offset = 2};
        k->depthwise(&p);
        for (int64_t i = 0; i < rows; i++) {
            const float *had = before + (ys[i] - y);
            for (int64_t j = 0; j < n; j++) {
                double sum = variant & 1 ? (double)bias[j] : 0.0;
                sum += variant & 4 ? (double)had[2 + j] : 0.0;
                for (int64_t t = 0; t < taps; t++) {
                    for (int64_t l = 0; l < run; l++) {
                        sum += (double)xs[i][1 + x_at[t] + l * n + j] *
                               (double)w[(panel_at[t] + l) * n + j];
                    }
                }
                near((double)ys[i][2 + j], variant & 2 && sum < 0.0 ? 0.0 : sum,
                     (double)(taps * run));
            }
            ck_assert_mem_eq(ys[i], had, 2 * sizeof *y);
            ck_assert(ys[i][n + 2] == had[n + 2]);
        }
        free(x);
        free(w);
        free(y);
        free(before);
        free(bias);
        free(xs);
        free(ys);
        free(x_starts);
        free(y_starts);
    }
}
END_TEST

/* Sums of no rows are zero, or what was there. */
START_TEST(test_depthwise_outer)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    const int64_t *s = shapes[_i / ISAS], count = s[1] > 0 ? s[0] : 0, taps = s[2], n = s[3];
    if (k == NULL) {
        return;
    }
    for (int variant = 0; variant < 4; variant++) {
        bool accumulate = variant & 1;
        int64_t each = variant & 2 ? THREE : 1, width = taps * n + 1;
        float *x = values(count * (width + GAP), 1), *d = values(count * (n + 1 + GAP), 2);
        float *w = values(taps * (n + GAP), 3), *before = values(taps * (n + GAP), 3);
        float **xs = rows_of(x, count, width), **ds = rows_of(d, count, n + 1);
        float **x_starts = stretches_of(xs, count, each),
              **d_starts = stretches_of(ds, count, each);
        mc_outer p = {.count = count,
                      .k = taps,
                      .n = n,
                      .each = each,
                      .x = (const float *const *)x_starts,
                      .d = (const float *const *)d_starts,
                      .x_step = -(width + GAP),
                      .d_step = -(n + 1 + GAP),
                      .x_offset = 1,
                      .d_offset = 1,
                      .w = w,
                      .w_stride = n + GAP,
                      .accumulate = accumulate};
        k->depthwise_outer(&p);
        for (int64_t i = 0; i < taps; i++) {
            for (int64_t j = 0; j < n; j++) {
                double sum = accumulate ? (double)before[i * (n + GAP) + j] : 0.0;
                for (int64_t r = 0; r < count; r++) {
                    sum += (double)xs[r][1 + i * n + j] * (double)ds[r][1 + j];
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
        free(x_starts);
        free(d_starts);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_depthwise, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_depthwise_outer, 0, SHAPES * ISAS);
}

int main(void)
{
    return unit_run("kernels depthwise", add);
}
