/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The engine's two products of every instruction set against sums in double: rows that lie
 * anywhere, chosen taps, biases, sums added to, and every tail of rows, terms and columns.
 */
#include "kernels/kernels.h"
#include "isas.h"
#include <math.h>
#include <string.h>

/* rows, taps, run, columns */
static const int64_t shapes[][4] = {
    {1, 1, 1, 1},    {3, 9, 5, 7},     {4, 1, 200, 16}, {5, 2, 64, 17},  {12, 3, 9, 32},
    {13, 4, 7, 33},  {29, 1, 500, 50}, {7, 0, 3, 20},   {24, 9, 64, 64}, {9, 2, 30, 121},
    {37, 1, 16, 16}, {37, 1, 8, 8},    {19, 1, 4, 4}, /* squares of one vector */
    {53, 2, 21, 32}, {41, 1, 33, 16},  {5, 2, 27, 16},  {5, 2, 9, 32},   {5, 2, 9, 8},
    {26, 1, 40, 64}, {10, 1, 32, 140}, /* blocks of few rows, alone and beside whole ones */
};
enum { SHAPES = 20 };

/* Rows of a stretch: each apart, some, all. */
static int64_t each_of(int which, int64_t rows)
{
    return which == 0 ? 1 : which == 1 ? 20 : rows;
}
enum { STRETCHES = 3 };

/* Where row i lies, in rows: stretches in reverse order. */
static int64_t place_of(int64_t i, int64_t rows, int64_t each)
{
    return ((rows - 1) / each - i / each) * each + i % each;
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

/* Rows with a gap between them, in stretches in reverse order, their terms in reverse order too;
 * panels of one term more than the product uses, except where terms are left to their own order. */
START_TEST(test_product)
{
    enum { GAP = 3 };
    const mc_kernels *k = isa_kernels(_i % ISAS);
    const int64_t *s = shapes[_i / ISAS];
    int64_t rows = s[0], taps = s[1], run = s[2], n = s[3], all = (taps + 1) * run;
    if (k == NULL) {
        return;
    }
    for (int variant = 0; variant < 8 * STRETCHES; variant++) {
        bool accumulate = variant & 1, bias = variant & 2, plain = taps <= 1 && (variant & 4);
        int64_t each = each_of(variant / 8, rows), stretches = (rows + each - 1) / each;
        int64_t row = (taps + 1) * run + GAP, places = stretches * each;
        float *x = values(places * row, 1), *b = values(all * n, 2), *w = values(all * n, 2);
        float *y = values(places * (n + GAP), 3), *before = values(places * (n + GAP), 3);
        float *shift = values(n, 4),
              *panels = values((n + k->lanes - 1) / k->lanes * k->lanes * all, 5);
        const float **xs = malloc((size_t)stretches * sizeof *xs);
        float **ys = malloc((size_t)stretches * sizeof *ys);
        int64_t x_at[16], panel_at[16];
        for (int64_t s_of = 0; s_of < stretches; s_of++) {
            xs[s_of] = x + place_of(s_of * each, rows, each) * row;
            ys[s_of] = y + place_of(s_of * each, rows, each) * (n + GAP);
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
                        .each = each,
                        .x = xs,
                        .x_step = row,
                        .x_offset = 1,
                        .x_at = plain ? NULL : x_at,
                        .panel_at = plain ? NULL : panel_at,
                        .panels = panels,
                        .panel_rows = all,
                        .bias = bias ? shift : NULL,
                        .accumulate = accumulate,
                        .y = ys,
                        .y_step = n + GAP,
                        .y_offset = 2};
        k->product(&p);
        for (int64_t i = 0; i < rows; i++) {
            int64_t place = place_of(i, rows, each);
            const float *x_row = x + place * row + 1, *y_row = y + place * (n + GAP);
            for (int64_t j = 0; j < n; j++) {
                int64_t at = y_row + 2 + j - y;
                double sum = bias ? (double)shift[j] : 0.0;
                sum += accumulate ? (double)before[at] : 0.0;
                for (int64_t t = 0; t < taps; t++) {
                    for (int64_t l = 0; l < run; l++) {
                        sum += (double)x_row[x_at[t] + l] * (double)b[(panel_at[t] + l) * n + j];
                    }
                }
                near((double)y[at], sum, (double)(taps * run));
            }
            ck_assert_mem_eq(y_row, before + (y_row - y), 2 * sizeof *y);
            ck_assert(y_row[n + 2] == before[y_row - y + n + 2]);
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

/* 3x3 windows of an image of one channel or three, whose rows overlap: pixels of two of its rows.
 */
START_TEST(test_windows)
{
    enum { WIDTH = 23, TAPS = 9 };
    static const int64_t columns[] = {4, 8, 16, 20};
    const mc_kernels *k = isa_kernels(_i % ISAS);
    int64_t n = columns[_i / ISAS % 4], c = _i / ISAS < 4 ? 1 : 3, pitch = (WIDTH + 2) * c;
    if (k == NULL) {
        return;
    }
    float *x = values(4 * pitch, 1), *w = values(n * c * TAPS, 2), *bias = values(n, 3);
    float *panels = values((n + k->lanes - 1) / k->lanes * k->lanes * c * TAPS, 4);
    float *y = values(2 * WIDTH * n, 5), *before = values(2 * WIDTH * n, 5);
    const float *xs[] = {x, x + pitch};
    float *ys[] = {y, y + WIDTH * n};
    const int64_t x_at[] = {0, pitch, 2 * pitch};
    k->pack_panels(w, n, c, TAPS, 0, n, panels);
    for (int variant = 0; variant < 4; variant++) {
        bool accumulate = variant == 1, biased = variant == 2, relu = variant == 3;
        memcpy(y, before, (size_t)(2 * WIDTH * n) * sizeof *y);
        mc_product p = {.rows = 2 * WIDTH,
                        .taps = 3,
                        .run = 3 * c,
                        .n = n,
                        .each = WIDTH,
                        .x = xs,
                        .x_step = c,
                        .x_at = x_at,
                        .panels = panels,
                        .panel_rows = TAPS * c,
                        .bias = biased ? bias : NULL,
                        .relu = relu,
                        .accumulate = accumulate,
                        .y = ys,
                        .y_step = n};
        k->product(&p);
        for (int64_t at = 0; at < 2 * WIDTH * n; at++) {
            int64_t pixel = at / n, j = at % n;
            const float *window = x + pixel / WIDTH * pitch + pixel % WIDTH * c;
            double sum = (biased ? (double)bias[j] : 0.0) + (accumulate ? (double)before[at] : 0.0);
            for (int64_t l = 0; l < c * TAPS; l++) {
                int64_t t = l / c, tap = t / 3 * pitch + t % 3 * c + l % c;
                sum += (double)window[tap] * (double)w[(j * c + l % c) * TAPS + t];
            }
            near((double)y[at], relu && sum < 0.0 ? 0.0 : sum, (double)(c * TAPS));
        }
    }
    free(x);
    free(w);
    free(bias);
    free(panels);
    free(y);
    free(before);
}
END_TEST

/* [rows] by [n], the rows one run of x or three in reverse order. */
START_TEST(test_outer)
{
    enum { GAP = 5 };
    const mc_kernels *k = isa_kernels(_i % ISAS);
    const int64_t *s = shapes[_i / ISAS];
    int64_t count = s[0] * 11, rows = s[1] * s[2] / 2, n = s[3];
    if (k == NULL) {
        return;
    }
    for (int variant = 0; variant < 4 * STRETCHES; variant++) {
        bool accumulate = variant & 1, apart = (variant & 2) && rows % 3 == 0;
        int64_t each = each_of(variant / 4, count), run = apart ? rows / 3 : rows,
                x_at[] = {2 * run, run, 0};
        int64_t stretches = (count + each - 1) / each;
        float *x = values(stretches * each * (rows + GAP) + 1 + MC_ROW_SLACK, 1),
              *d = values(count * (n + GAP) + 1, 2);
        float *w = values(rows * (n + GAP), 3), *before = values(rows * (n + GAP), 3);
        const float **xs = malloc((size_t)stretches * sizeof *xs);
        const float **ds = malloc((size_t)stretches * sizeof *ds);
        for (int64_t s_of = 0; s_of < stretches; s_of++) {
            xs[s_of] = x + place_of(s_of * each, count, each) * (rows + GAP);
            ds[s_of] = d + s_of * each * (n + GAP);
        }
        mc_outer p = {.count = count,
                      .k = rows,
                      .n = n,
                      .each = each,
                      .x_step = rows + GAP,
                      .d_step = n + GAP,
                      .x = xs,
                      .d = ds,
                      .x_offset = 1,
                      .d_offset = 1,
                      .terms = 3,
                      .x_at = apart ? x_at : NULL,
                      .w = w,
                      .w_stride = n + GAP,
                      .accumulate = accumulate};
        k->outer(&p);
        for (int64_t i = 0; i < rows; i++) {
            int64_t at = apart ? x_at[i / run] + i % run : i;
            for (int64_t j = 0; j < n; j++) {
                double sum = accumulate ? (double)before[i * (n + GAP) + j] : 0.0;
                for (int64_t r = 0; r < count; r++) {
                    sum += (double)x[place_of(r, count, each) * (rows + GAP) + 1 + at] *
                           (double)d[r * (n + GAP) + 1 + j];
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
    const mc_kernels *k = isa_kernels(_i);
    float w[6] = {1, 2, 3, 4, 5, 6};
    if (k != NULL) {
        mc_outer p = {.k = 2, .n = 3, .each = 1, .w = w, .w_stride = 3, .accumulate = true};
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
    tcase_add_loop_test(tests, test_windows, 0, 8 * ISAS);
    tcase_add_loop_test(tests, test_outer, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_empty, 0, ISAS);
}

int main(void)
{
    return unit_run("kernels product", add);
}
