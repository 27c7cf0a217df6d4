/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transforms of every instruction set, put together as a convolution of one channel pair and
 * its two gradients, against the definition in double; all tile shapes and channel tails.
 */
#include "kernels/kernels.h"
#include "unit.h"
#include <math.h>

static const char *const isas[] = {"baseline", "avx2", "avx512"};
enum { ISAS = 3 };

/* [h][w][padding] */
static const int64_t shapes[][3] = {{2, 2, 1}, {2, 7, 1}, {9, 2, 1}, {4, 4, 1}, {7, 5, 1},
                                    {3, 3, 0}, {8, 6, 0}, {5, 4, 2}, {2, 2, 2}};
enum { SHAPES = 9, N = 2, C = 19 };

typedef struct job {
    const mc_kernels *k;
    mc_winograd w;
    int64_t freq, tiles, in, out; /* pixels of the input and the output batch */
} job;

static bool job_of(int which, job *j)
{
    const int64_t *s = shapes[which / ISAS];
    int32_t status = mc_kernels_select(isas[which % ISAS], &j->k);
    ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_UNSUPPORTED);
    j->w = mc_winograd_of(s[0], s[1], s[0] + 2 * s[2] - 2, s[1] + 2 * s[2] - 2, s[2]);
    j->freq = j->w.freq_y * j->w.freq_x;
    j->tiles = N * j->w.tiles_y * j->w.tiles_x;
    j->in = N * s[0] * s[1];
    j->out = N * j->w.oh * j->w.ow;
    return status == MODECONN_OK;
}

static float *values(int64_t n, uint64_t seed)
{
    float *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (float)(2.0 * mc_random_f64(seed, 1000, (uint64_t)i, 0) - 1.0);
    }
    return v;
}

/* Pixel of the input under tap t of output pixel p, or -1. */
static int64_t source(const mc_winograd *w, int64_t p, int t)
{
    int64_t image = p / (w->oh * w->ow), inside = p % (w->oh * w->ow);
    int64_t y = inside / w->ow - w->padding + t / 3, x = inside % w->ow - w->padding + t % 3;
    bool seen = y >= 0 && y < w->h && x >= 0 && x < w->w;
    return seen ? (image * w->h + y) * w->w + x : -1;
}

static void near(double a, double b)
{
    ck_assert_msg(fabs(a - b) < 2e-5, "%.9g is not %.9g", a, b);
}

/* Tiles of C channels, `tiles` of them. */
static mc_planes planes(float *data, int64_t tiles)
{
    return (mc_planes){data, tiles * C, C};
}

/* A row of C transformed kernels: panels of one row lie behind each other. */
enum { FILTER_PLANE = (C + 15) / 16 * 16 + 3 };

static mc_planes filters(float *data)
{
    return (mc_planes){data, FILTER_PLANE, 1};
}

static int64_t filter_at(int64_t f, int64_t i)
{
    return f * FILTER_PLANE + i;
}

/* Reads x as max(0, x * scale + offset). */
static mc_map through(float *x, int64_t n, const float *scale, const float *offset)
{
    mc_map map = {x, scale, offset, true, C};
    for (int64_t at = 0; at < n && scale != NULL; at++) {
        float value = fmaf(x[at], scale[at % C], offset[at % C]);
        x[at] = value > 0.0f ? value : 0.0f;
    }
    return map;
}

/* Channel i of x with kernel i (a depthwise convolution: one product per frequency and value). */
START_TEST(test_convolution)
{
    job j;
    if (!job_of(_i, &j)) {
        return;
    }
    float *x = values(j.in * C, 1), *taps = values(9 * C, 2), *y = values(j.out * C, 3);
    float *before = values(j.out * C, 3), *bias = values(C, 4);
    float *v = values(j.freq * j.tiles * C, 5), *u = values(j.freq * FILTER_PLANE, 6);
    float *scale = values(C, 7), *offset = values(C, 8), *raw = values(j.in * C, 1);
    bool turned = _i % 2 == 1, accumulate = _i % 4 < 2, mapped = _i % 5 < 2;

    mc_map map = through(x, j.in * C, mapped ? scale : NULL, offset);
    map.x = raw;
    j.k->winograd_input(&j.w, &map, 0, j.tiles, planes(v, j.tiles));
    /* Kernels of 1 x C channels, or of C x 1 seen from behind, are one row of panels either way. */
    mc_filter filter = {taps, turned ? C : 1, turned, 0, 1, 0, C};
    j.k->winograd_filter(&j.w, &filter, filters(u), 0);
    for (int64_t at = 0; at < j.freq * j.tiles * C; at++) {
        v[at] *= u[filter_at(at / (j.tiles * C), at % C)];
    }
    j.k->winograd_output(&j.w, planes(v, j.tiles), C, C, 0, j.tiles, bias, accumulate, false, y);
    for (int64_t at = 0; at < j.out * C; at++) {
        double sum = (double)bias[at % C] + (accumulate ? (double)before[at] : 0.0);
        for (int t = 0; t < 9; t++) {
            int64_t from = source(&j.w, at / C, t);
            int tap = turned ? 8 - t : t;
            sum += from < 0 ? 0.0 : (double)x[from * C + at % C] * (double)taps[at % C * 9 + tap];
        }
        near((double)y[at], sum);
    }
    free(x);
    free(taps);
    free(y);
    free(before);
    free(bias);
    free(v);
    free(u);
    free(scale);
    free(offset);
    free(raw);
}
END_TEST

/* dW of the same, in two groups of tiles. */
START_TEST(test_weight_gradient)
{
    job j;
    if (!job_of(_i, &j)) {
        return;
    }
    float *x = values(j.in * C, 1), *dy = values(j.out * C, 2), *taps = values(9 * C, 3);
    float *before = values(9 * C, 3), *v = values(j.freq * j.tiles * C, 4);
    bool accumulate = _i % 2 == 0;
    float *d = values(j.freq * j.tiles * C, 5);
    float *du = calloc((size_t)(2 * j.freq * C), sizeof *du);

    mc_map map = {.x = x, .c = C};
    j.k->winograd_input(&j.w, &map, 0, j.tiles, planes(v, j.tiles));
    j.k->winograd_cotangent(&j.w, dy, C, C, 0, j.tiles, planes(d, j.tiles));
    for (int64_t f = 0; f < j.freq; f++) {
        for (int64_t at = 0; at < j.tiles * C; at++) {
            int64_t group = at / C < j.tiles / 2 ? 0 : 1, from = f * j.tiles * C + at;
            du[(group * j.freq + f) * C + at % C] += v[from] * d[from];
        }
    }
    mc_filter filter = {NULL, 1, false, 0, 1, 0, C};
    j.k->winograd_filter_back(&j.w, &filter, (mc_planes){du, C, C}, 2, j.freq * C, accumulate,
                              taps);
    for (int at = 0; at < 9 * C; at++) {
        double sum = accumulate ? (double)before[at] : 0.0;
        for (int64_t p = 0; p < j.out; p++) {
            int64_t from = source(&j.w, p, at % 9), i = at / 9;
            sum += from < 0 ? 0.0 : (double)x[from * C + i] * (double)dy[p * C + i];
        }
        near((double)taps[at], sum);
    }
    free(x);
    free(dy);
    free(taps);
    free(before);
    free(v);
    free(d);
    free(du);
}
END_TEST

/* Part of the tiles and of the kernels at a time gives what all at once gives. */
START_TEST(test_parts)
{
    enum { O = 5, PLANE = 16 * C };
    job j;
    if (!job_of(_i, &j) || j.tiles < 3) {
        return;
    }
    float *x = values(j.in * C, 1), *taps = values(9 * C * O, 2);
    float *all = values(j.freq * j.tiles * C, 3), *part = values(j.freq * 2 * C, 4);
    float *u = values(j.freq * PLANE, 5), *u_part = values(j.freq * PLANE, 5);
    mc_map map = {.x = x, .c = C};
    j.k->winograd_input(&j.w, &map, 0, j.tiles, planes(all, j.tiles));
    j.k->winograd_input(&j.w, &map, 1, 2, planes(part, 2));
    mc_filter whole = {taps, C, false, 0, C, 0, O}, low = whole, high = whole;
    low.rows = 7;
    high.row = 7;
    high.rows = C - 7;
    j.k->winograd_filter(&j.w, &whole, (mc_planes){u, PLANE, C}, 0);
    j.k->winograd_filter(&j.w, &low, (mc_planes){u_part, PLANE, C}, 0);
    j.k->winograd_filter(&j.w, &high, (mc_planes){u_part, PLANE, C}, 7);
    for (int64_t f = 0; f < j.freq; f++) {
        ck_assert_mem_eq(part + f * 2 * C, all + (f * j.tiles + 1) * C, 2 * C * sizeof(float));
    }
    ck_assert_mem_eq(u_part, u, (size_t)(j.freq * PLANE) * sizeof *u);
    free(x);
    free(taps);
    free(all);
    free(part);
    free(u);
    free(u_part);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_convolution, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_weight_gradient, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_parts, 0, SHAPES * ISAS);
}

int main(void)
{
    return unit_run("kernels winograd", add);
}
