/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel table of every instruction set that this processor has, against double twins
 * written here from the formulas in kernels.h.
 */
#include "kernels/kernels.h"
#include "isas.h"
#include <math.h>

static double value(uint64_t seed, int64_t i)
{
    return 2.0 * mc_random_f64(seed, 1000, (uint64_t)i, 0) - 1.0;
}

static float *values(int64_t n, uint64_t seed)
{
    float *v = malloc((size_t)(n + 1) * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (float)value(seed, i);
    }
    return v;
}

static void near(double a, double b, double scale)
{
    ck_assert_msg(fabs(a - b) <= 2e-6 * (scale + fabs(b)), "%.9g is not %.9g", a, b);
}

static const int64_t shapes[][2] = {{1, 1}, {5, 3}, {33, 16}, {100, 17}, {64, 64}, {7, 100}};
enum { SHAPES = 6 };

/* Whether the map's value `at` is, which no value here is too close to zero to tell. */
static bool is_positive(const mc_map *map, int64_t at)
{
    int64_t i = at % map->c;
    return (double)map->x[at] * (double)map->scale[i] + (double)map->offset[i] > 0.0;
}

/* Bit for bit the numbers of mc_random_f64(), of any count and first index, also where the index
 * leaves 32 bits in their midst; nothing behind the last is touched. */
START_TEST(test_uniform)
{
    static const uint64_t seeds[] = {0, 7, UINT64_MAX, 0xffffffff00000001};
    static const uint64_t firsts[] = {0, 3, UINT32_MAX - 2, 0x123456789abcdef0};
    static const uint32_t stream = 0x80000005;
    enum { MOST = 37 };
    const mc_kernels *k = isa_kernels(_i);
    for (int which = 0; k != NULL && which < 16; which++) {
        uint64_t seed = seeds[which % 4], first = firsts[which / 4];
        for (int64_t n = 0; n <= MOST; n++) {
            float got[MOST + 1];
            got[n] = 9.0f;
            k->uniform(seed, stream, first, n, 0.3, got);
            ck_assert_float_eq(got[n], 9.0f);
            for (int64_t i = 0; i < n; i++) {
                double u = mc_random_f64(seed, stream, first + (uint64_t)i, 0);
                ck_assert_float_eq(got[i], (float)(0.3 * (2.0 * u - 1.0)));
            }
        }
    }
}
END_TEST

/* The first channels only, masked by another activation in place. */
START_TEST(test_mask_reduce)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    int64_t rows = shapes[_i / ISAS][0], c = shapes[_i / ISAS][1], n = rows * c;
    if (k == NULL) {
        return;
    }
    int64_t count = (c + 1) / 2;
    float *x = values(n, 1), *y = values(n, 2), *dy = values(n, 3), *before = values(n, 3);
    float *mean = values(c, 7);
    double *sum = calloc((size_t)(2 * c), sizeof *sum), *product = sum + c;
    mc_map map = {.x = x, .mean = mean, .c = c};

    k->mask_reduce(&map, y, dy, rows, count, sum, product);
    for (int64_t i = 0; i < c; i++) {
        double g = 0.0, gx = 0.0;
        for (int64_t at = i; at < n; at += c) {
            float masked = i >= count || y[at] > 0.0f ? before[at] : 0.0f;
            ck_assert_float_eq(dy[at], masked);
            g += i < count ? (double)masked : 0.0;
            gx += i < count ? (double)masked * ((double)x[at] - (double)mean[i]) : 0.0;
        }
        near(sum[i], g, (double)rows);
        near(product[i], gx, (double)rows);
    }
    free(x);
    free(y);
    free(dy);
    free(before);
    free(mean);
    free(sum);
}
END_TEST

START_TEST(test_norm)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    int64_t rows = shapes[_i / ISAS][0], c = shapes[_i / ISAS][1], n = rows * c;
    if (k == NULL) {
        return;
    }
    float *x = values(n, 1), *dy = values(n, 3), *a = values(c, 4);
    float *p = values(c, 5), *q = values(c, 6), *shift = values(c, 7), *out = values(n, 8);
    double *sum = calloc((size_t)(4 * c), sizeof *sum), *square = sum + c;
    double *gsum = sum + 2 * c, *product = sum + 3 * c;

    k->moments(x, rows, c, c, shift, sum, square);
    mc_map map = {.x = x, .scale = a, .offset = q, .mean = shift, .relu = true, .c = c};
    k->norm_reduce(&map, dy, rows, c, gsum, product);
    for (int64_t i = 0; i < c; i++) {
        double s = 0.0, s2 = 0.0, g = 0.0, gx = 0.0;
        for (int64_t r = 0; r < rows; r++) {
            double d = (double)x[r * c + i] - (double)shift[i];
            double masked = is_positive(&map, r * c + i) ? (double)dy[r * c + i] : 0.0;
            s += d;
            s2 += d * d;
            g += masked;
            gx += masked * d;
        }
        near(sum[i], s, (double)rows);
        near(square[i], s2, (double)rows);
        near(gsum[i], g, (double)rows);
        near(product[i], gx, (double)rows);
    }
    for (int relu = 0; relu < 2; relu++) {
        k->affine(x, rows, c, a, q, relu, out);
        for (int64_t i = 0; i < n; i++) {
            double e = (double)x[i] * (double)a[i % c] + (double)q[i % c];
            near((double)out[i], relu && e < 0.0 ? 0.0 : e, 1.0);
        }
    }
    for (int mode = 0; mode < 4; mode++) {
        bool masked = mode & 1, accumulate = mode & 2;
        for (int64_t i = 0; i < n; i++) {
            out[i] = accumulate ? 0.5f : dy[i];
        }
        /* Without accumulation dx is dy itself: the in-place use. */
        map.relu = masked;
        mc_pull pull = {map, a, p, q};
        k->norm_apply(&pull, accumulate ? dy : out, rows, accumulate, out);
        for (int64_t i = 0; i < n; i++) {
            double g = !masked || is_positive(&map, i) ? (double)dy[i] : 0.0;
            double e = g * (double)a[i % c] + (double)x[i] * (double)p[i % c] + (double)q[i % c];
            near((double)out[i], e + (accumulate ? 0.5 : 0.0), 1.0);
        }
    }
    free(x);
    free(dy);
    free(a);
    free(p);
    free(q);
    free(shift);
    free(out);
    free(sum);
}
END_TEST

/* Sums of what maps show: of neither, of one or the other, of both. */
START_TEST(test_add)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    int64_t rows = shapes[_i / ISAS][0], c = shapes[_i / ISAS][1], n = rows * c;
    if (k == NULL) {
        return;
    }
    float *x[2] = {values(n, 1), values(n, 2)}, *scale = values(c, 3), *offset = values(c, 4);
    float *y = values(n, 5);
    for (int mode = 0; mode < 32; mode++) {
        mc_map map[2];
        for (int m = 0; m < 2; m++) {
            map[m] = (mc_map){.x = x[m],
                              .scale = mode >> m & 1 ? scale : NULL,
                              .offset = offset,
                              .relu = mode >> (2 + m) & 1,
                              .c = c};
        }
        bool relu = mode >> 4 & 1;
        k->add(&map[0], &map[1], rows, relu, y);
        for (int64_t i = 0; i < n; i++) {
            double sum = 0.0;
            for (int m = 0; m < 2; m++) {
                double v = (double)x[m][i];
                if (map[m].scale != NULL) {
                    v = v * (double)scale[i % c] + (double)offset[i % c];
                    v = map[m].relu && v < 0.0 ? 0.0 : v;
                }
                sum += v;
            }
            near((double)y[i], relu && sum < 0.0 ? 0.0 : sum, 1.0);
        }
    }
    free(x[0]);
    free(x[1]);
    free(scale);
    free(offset);
    free(y);
}
END_TEST

START_TEST(test_elementwise)
{
    const mc_kernels *k = isa_kernels(_i);
    enum { N = 77, HW = 7, C = 11 };
    if (k == NULL) {
        return;
    }
    float *a = values(N, 1), *b = values(N, 2), y[N], dx[N];
    for (int mode = 0; mode < 4; mode++) {
        bool relu = mode & 1, two = mode & 2;
        mc_map first = {.x = a, .c = N}, second = {.x = b, .c = N};
        k->add(&first, two ? &second : NULL, 1, relu, y);
        for (int i = 0; i < N; i++) {
            float e = two ? a[i] + b[i] : a[i];
            ck_assert(y[i] == (relu && e < 0.0f ? 0.0f : e));
            dx[i] = 0.25f;
        }
        k->pass_back(relu ? y : NULL, b, N, two, dx);
        for (int i = 0; i < N; i++) {
            float g = !relu || y[i] > 0.0f ? b[i] : 0.0f;
            ck_assert(dx[i] == (two ? 0.25f + g : g));
        }
    }
    /* NaN is not rectified away: a diverging model must be seen to diverge. */
    a[3] = NAN;
    mc_map map = {.x = a, .c = N};
    k->add(&map, NULL, 1, true, y);
    ck_assert(isnan(y[3]));
    a[3] = 0.0f;

    k->mean_back(b, HW, C, false, dx);
    for (int i = 0; i < N; i++) {
        near((double)dx[i], (double)b[i % C] / HW, 1.0);
    }
    k->mean_back(b, HW, C, true, dx);
    near((double)dx[5], 2.0 * (double)b[5] / HW, 1.0);
    free(a);
    free(b);
}
END_TEST

static const int64_t windows[][2] = {{1, 1}, {2, 2}, {3, 5}, {1, 16}, {9, 7}, {5, 33}, {4, 4096}};
enum { WINDOWS = 7 };

/* Within a wider map; of one sign, so that no sum may lose much. */
START_TEST(test_window_sum)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    int64_t rows = windows[_i / ISAS][0], columns = windows[_i / ISAS][1];
    for (int shape = 0; shape < SHAPES && k != NULL; shape++) {
        int64_t c = shapes[shape][1], pitch = (columns + 2) * c;
        float *x = values(rows * pitch, 1), *y = values(c + 1, 2), behind = y[c];
        double *sum = calloc((size_t)c, sizeof *sum);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < columns * c; i++) {
                x[r * pitch + i] += 2.0f;
                sum[i % c] += (double)x[r * pitch + i];
            }
        }
        k->window_sum(x, rows, pitch, columns, c, 0.25f, y);
        for (int64_t i = 0; i < c; i++) {
            ck_assert_double_le(fabs((double)y[i] - sum[i] / 4.0), 2e-7 * sum[i] / 4.0);
        }
        ck_assert(y[c] == behind);
        free(x);
        free(y);
        free(sum);
    }
}
END_TEST

START_TEST(test_sum_rows)
{
    const mc_kernels *k = isa_kernels(_i % ISAS);
    enum { ROWS = 9, C = 7 };
    float *x = values(ROWS * C, 1);
    double sum[C] = {0.0}, twin[C] = {0.0};
    if (k != NULL) {
        k->sum_rows(x, ROWS, C, sum);
        for (int i = 0; i < ROWS * C; i++) {
            twin[i % C] += (double)x[i];
        }
        for (int i = 0; i < C; i++) {
            ck_assert(sum[i] == twin[i]);
        }
    }
    free(x);
}
END_TEST

START_TEST(test_dispatch)
{
    const mc_kernels *kernels = NULL;
    OK(mc_kernels_select("auto", &kernels));
    ck_assert_ptr_nonnull(kernels);
    FAILS(mc_kernels_select("neon9", &kernels), MODECONN_ERROR_UNSUPPORTED, "neon9");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_uniform, 0, ISAS);
    tcase_add_loop_test(tests, test_mask_reduce, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_norm, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_add, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_elementwise, 0, ISAS);
    tcase_add_loop_test(tests, test_window_sum, 0, WINDOWS * ISAS);
    tcase_add_loop_test(tests, test_sum_rows, 0, ISAS);
    tcase_add_test(tests, test_dispatch);
}

int main(void)
{
    return unit_run("kernels table", add);
}
