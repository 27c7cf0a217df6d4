/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transforms of every instruction set, put together as a convolution of one channel pair and
 * its two gradients, against the definition in double; all tile shapes and channel tails, both
 * strides.
 */
#include "kernels/kernels.h"
#include "isas.h"
#include <math.h>

/* [h][w][stride][padding] */
static const int64_t shapes[][4] = {{2, 2, 1, 1},   {2, 7, 1, 1},  {9, 2, 1, 1},   {4, 4, 1, 1},
                                    {7, 5, 1, 1},   {3, 3, 1, 0},  {8, 6, 1, 0},   {5, 4, 1, 2},
                                    {2, 2, 1, 2},   {8, 8, 2, 1},  {7, 9, 2, 1},   {2, 17, 2, 1},
                                    {3, 6, 1, 1},   {6, 9, 1, 1},  {9, 7, 1, 1},   {4, 7, 1, 1},
                                    {10, 16, 2, 1}, {14, 9, 2, 1}, {11, 12, 2, 1}, {5, 6, 2, 1}};
enum { SHAPES = 20, N = 2, C = 19, PHASES = 4, MOST_FREQ = 36 };

typedef struct job {
    const mc_kernels *k;
    mc_window window;
    mc_winograd w;
    mc_tiles tiles;
    int64_t freq, phases, in, out; /* pixels of the input and the output batch */
} job;

/* Of an image, of the more of two. */
static int64_t most_tiles(const mc_winograd *a, const mc_winograd *b)
{
    int64_t of_a = a->y.tiles * a->x.tiles, of_b = b->y.tiles * b->x.tiles;
    return of_a > of_b ? of_a : of_b;
}

static bool job_of(int which, job *j)
{
    const int64_t *s = shapes[which / ISAS];
    j->k = isa_kernels(which % ISAS);
    j->window = (mc_window){.h = s[0],
                            .w = s[1],
                            .oh = (s[0] + 2 * s[3] - 3) / s[2] + 1,
                            .ow = (s[1] + 2 * s[3] - 3) / s[2] + 1,
                            .kernel = 3,
                            .stride = s[2],
                            .padding = s[3]};
    ck_assert(mc_winograd_possible(&j->window));
    j->w = mc_winograd_of(&j->window, false);
    j->freq = mc_winograd_frequencies(&j->w);
    j->phases = mc_winograd_most_phases(&j->w);
    j->tiles = mc_tiles_of(&j->w, 0, N * j->w.y.tiles * j->w.x.tiles);
    j->in = N * s[0] * s[1];
    j->out = N * j->window.oh * j->window.ow;
    return j->k != NULL;
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
static int64_t source(const mc_window *w, int64_t p, int t)
{
    int64_t image = p / (w->oh * w->ow), inside = p % (w->oh * w->ow);
    int64_t y = inside / w->ow * w->stride - w->padding + t / 3;
    int64_t x = inside % w->ow * w->stride - w->padding + t % 3;
    bool seen = y >= 0 && y < w->h && x >= 0 && x < w->w;
    return seen ? (image * w->h + y) * w->w + x : -1;
}

static void near(double a, double b)
{
    ck_assert_msg(fabs(a - b) < 2e-5, "%.9g is not %.9g", a, b);
}

/* `tiles` tiles of c channels in up to PHASES phases. */
static mc_planes planes(float *data, int64_t tiles, int64_t c)
{
    return (mc_planes){data, tiles * PHASES * c, PHASES * c, c};
}

static int64_t planes_size(const job *j, int64_t tiles, int64_t c)
{
    return j->freq * tiles * PHASES * c;
}

/* Kernels of one row and c columns: panels that hold a row of each phase lie behind each other. */
enum { FILTER_PLANE = PHASES * 32 + 3 };

static mc_planes filters(float *data)
{
    return (mc_planes){data, FILTER_PLANE, 1, 0};
}

/* Column i of phase `phase` of frequency f in them; `up`: phases are columns too. */
static int64_t filter_at(const job *j, bool up, int64_t c, int64_t f, int64_t phase, int64_t i)
{
    int64_t phases = mc_winograd_phases(&j->w, f), n = up ? phases * c : c;
    int64_t at = up ? phase * c + i : i, panel = 0, width;
    while (panel + (width = mc_panel_width(j->k, n - panel)) <= at) {
        panel += width;
    }
    return f * FILTER_PLANE + (up ? at : panel * phases + phase * width + at - panel);
}

/* Reads x as max(0, x * scale + offset). */
static mc_map through(float *x, int64_t n, const float *scale, const float *offset)
{
    mc_map map = {.x = x, .scale = scale, .offset = offset, .relu = true, .c = C};
    for (int64_t at = 0; at < n && scale != NULL; at++) {
        float value = fmaf(x[at], scale[at % C], offset[at % C]);
        x[at] = value > 0.0f ? value : 0.0f;
    }
    return map;
}

/* M = V U, channel i of V with kernel i (a depthwise convolution: one product per frequency and
 * value), of c channels: sums over the phases, or going up one a phase. */
static void multiply(const job *j, bool up, int64_t c, const float *v, const float *u, float *m)
{
    for (int64_t f = 0; f < j->freq; f++) {
        int64_t first, rows = mc_tiles_at(&j->w, &j->tiles, f, &first);
        for (int64_t at = 0; at < rows * c; at++) {
            int64_t row = (f * j->tiles.count + first + at / c) * PHASES * c + at % c;
            for (int64_t p = 0; p < mc_winograd_phases(&j->w, f); p++) {
                float product = v[row + (up ? 0 : p * c)] * u[filter_at(j, up, c, f, p, at % c)];
                m[row + (up ? p * c : 0)] = product + (up || p == 0 ? 0.0f : m[row]);
            }
        }
    }
}

START_TEST(test_convolution)
{
    job j;
    if (!job_of(_i, &j)) {
        return;
    }
    float *x = values(j.in * C, 1), *taps = values(9 * C, 2), *y = values(j.out * C, 3);
    float *before = values(j.out * C, 3), *bias = values(C, 4);
    float *v = values(planes_size(&j, j.tiles.count, C), 5),
          *m = values(planes_size(&j, j.tiles.count, C), 5);
    float *u = values(j.freq * FILTER_PLANE, 6);
    float *scale = values(C, 7), *offset = values(C, 8), *raw = values(j.in * C, 1);
    bool turned = _i % 2 == 1, accumulate = _i % 4 < 2, mapped = _i % 5 < 2;

    mc_map map = through(x, j.in * C, mapped ? scale : NULL, offset);
    map.x = raw;
    j.k->winograd_input(&j.w, &map, &j.tiles, planes(v, j.tiles.count, C));
    /* Kernels of 1 x C channels, or of C x 1 seen from behind, are one row of panels either way. */
    mc_filter filter = {taps, turned ? C : 1, turned ? MC_TURNED : MC_FORWARD, 0, 1, 0, C};
    j.k->winograd_filter(&j.w, &filter, filters(u), 0);
    multiply(&j, false, C, v, u, m);
    j.k->winograd_output(&j.w, planes(m, j.tiles.count, C), C, C, &j.tiles, bias, accumulate, false,
                         y);
    for (int64_t at = 0; at < j.out * C; at++) {
        double sum = (double)bias[at % C] + (accumulate ? (double)before[at] : 0.0);
        for (int t = 0; t < 9; t++) {
            int64_t from = source(&j.window, at / C, t);
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
    free(m);
    free(u);
    free(scale);
    free(offset);
    free(raw);
}
END_TEST

/* dx of the same, of as many channels as going up takes, from tiles of its own. */
enum { WIDE = 2 * MC_LANES_MOST };

static void turned_gradient(const job *of, int64_t c, const float *dy, const float *taps,
                            bool accumulate, float *v, float *m, float *u, float *dx)
{
    job j = *of;
    j.w = mc_winograd_of(&j.window, true);
    j.freq = mc_winograd_frequencies(&j.w);
    j.tiles = mc_tiles_of(&j.w, 0, N * j.w.y.tiles * j.w.x.tiles);
    mc_map map = {.x = dy, .c = c};
    mc_filter filter = {taps, c, MC_TURNED, 0, 1, 0, c};
    j.k->winograd_input(&j.w, &map, &j.tiles, planes(v, j.tiles.count, c));
    j.k->winograd_filter(&j.w, &filter, filters(u), 0);
    multiply(&j, j.w.y.tile == MC_TILE_UP, c, v, u, m);
    j.k->winograd_output(&j.w, planes(m, j.tiles.count, c), c, c, &j.tiles, NULL, accumulate, false,
                         dx);
}

/* The same as the transpose of what makes y of x, `step` tiles at a time. */
static void transposed_gradient(const job *j, int64_t c, const float *dy, const float *taps,
                                bool accumulate, int64_t step, float *d, float *m, float *u,
                                float *dx)
{
    mc_filter filter = {taps, c, MC_TRANSPOSED, 0, 1, 0, c};
    j->k->winograd_cotangent(&j->w, dy, NULL, c, c, &j->tiles, planes(d, j->tiles.count, c));
    j->k->winograd_filter(&j->w, &filter, filters(u), 0);
    multiply(j, true, c, d, u, m);
    for (int64_t first = 0; first < j->tiles.count; first += step) {
        int64_t left = j->tiles.count - first;
        mc_tiles tiles = mc_tiles_part(&j->w, &j->tiles, first, left < step ? left : step);
        j->k->winograd_input_back(&j->w, planes(m, j->tiles.count, c), c, &tiles, accumulate, dx);
    }
}

START_TEST(test_input_gradient)
{
    job j;
    if (!job_of(_i, &j)) {
        return;
    }
    int64_t c = j.window.stride == 2 || _i % 4 < 2 ? WIDE : C;
    mc_winograd back = mc_winograd_of(&j.window, true);
    int64_t most = N * most_tiles(&j.w, &back), size = MOST_FREQ * most * PHASES * c;
    float *dy = values(j.out * c, 1), *taps = values(9 * c, 2);
    float *before = values(j.in * c, 3);
    float *v = values(size, 4), *m = values(size, 5), *u = values(MOST_FREQ * FILTER_PLANE, 6);
    bool accumulate = _i % 2 == 0,
         has_way_back = j.w.y.tile != MC_TILE_T2 && j.w.x.tile != MC_TILE_T2;
    double *sum = calloc((size_t)(j.in * c), sizeof *sum);
    for (int64_t at = 0; at < j.out * c; at++) {
        for (int t = 0; t < 9; t++) {
            int64_t to = source(&j.window, at / c, t), i = at % c;
            if (to >= 0) {
                sum[to * c + i] += (double)dy[at] * (double)taps[i * 9 + t];
            }
        }
    }
    for (int way = 0; way < (has_way_back ? 3 : 1); way++) {
        float *dx = values(j.in * c, 3);
        if (way == 0) {
            turned_gradient(&j, c, dy, taps, accumulate, v, m, u, dx);
        } else {
            transposed_gradient(&j, c, dy, taps, accumulate, way == 1 ? j.tiles.count : 3, v, m, u,
                                dx);
        }
        for (int64_t at = 0; at < j.in * c; at++) {
            near((double)dx[at], sum[at] + (accumulate ? (double)before[at] : 0.0));
        }
        free(dx);
    }
    free(dy);
    free(taps);
    free(before);
    free(v);
    free(m);
    free(u);
    free(sum);
}
END_TEST

/* Cotangents dy as a batch norm pulls them back. */
static void pull_back(const mc_pull *pull, int64_t n, float *dy)
{
    for (int64_t at = 0; at < n; at++) {
        const mc_map *x = &pull->x;
        int64_t i = at % C;
        bool passes = !x->relu || fmaf(x->x[at], x->scale[i], x->offset[i]) > 0.0f;
        dy[at] = (passes ? dy[at] * pull->a[i] : 0.0f) + x->x[at] * pull->p[i] + pull->q[i];
    }
}

/* dW of the same, in two groups of tiles; where tiles can, cotangents are pulled back on the way.
 */
START_TEST(test_weight_gradient)
{
    job j;
    if (!job_of(_i, &j)) {
        return;
    }
    float *x = values(j.in * C, 1), *dy = values(j.out * C, 2), *taps = values(9 * C, 3);
    float *before = values(9 * C, 3), *v = values(planes_size(&j, j.tiles.count, C), 4);
    bool accumulate = _i % 2 == 0;
    float *d = values(planes_size(&j, j.tiles.count, C), 5);
    int64_t group_size = j.freq * PHASES * C;
    float *du = calloc((size_t)(2 * group_size), sizeof *du);
    float *normed = values(j.out * C, 6), *by = values(5 * C, 7);
    mc_map norm = {.x = normed, .scale = by, .offset = by + C, .relu = _i / ISAS % 3 > 0, .c = C};
    mc_pull pull = {norm, by + 2 * C, by + 3 * C, by + 4 * C};
    bool pulled = (_i + _i / ISAS) % 2 == 0 && j.w.y.tile != MC_TILE_T2 && j.w.x.tile != MC_TILE_T2;

    mc_map map = {.x = x, .c = C};
    j.k->winograd_input(&j.w, &map, &j.tiles, planes(v, j.tiles.count, C));
    j.k->winograd_cotangent(&j.w, dy, pulled ? &pull : NULL, C, C, &j.tiles,
                            planes(d, j.tiles.count, C));
    if (pulled) {
        pull_back(&pull, j.out * C, dy);
    }
    for (int64_t f = 0; f < j.freq; f++) {
        int64_t first, rows = mc_tiles_at(&j.w, &j.tiles, f, &first);
        for (int64_t at = 0; at < rows * C; at++) {
            int64_t group = at / C < rows / 2 ? 0 : 1;
            int64_t from = (f * j.tiles.count + first + at / C) * PHASES * C + at % C;
            for (int64_t p = 0; p < mc_winograd_phases(&j.w, f); p++) {
                du[group * group_size + (f * PHASES + p) * C + at % C] += v[from + p * C] * d[from];
            }
        }
    }
    mc_filter filter = {NULL, 1, MC_FORWARD, 0, 1, 0, C};
    j.k->winograd_filter_back(&j.w, &filter, (mc_planes){du, PHASES * C, C, C}, 2, group_size,
                              accumulate, taps);
    for (int at = 0; at < 9 * C; at++) {
        double sum = accumulate ? (double)before[at] : 0.0;
        for (int64_t p = 0; p < j.out; p++) {
            int64_t from = source(&j.window, p, at % 9), i = at / 9;
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
    free(normed);
    free(by);
}
END_TEST

/* Rows of tiles in planes: a frequency's are a run, which some tile leaves out, of no use to it. */
START_TEST(test_rows)
{
    job j;
    job_of(_i * ISAS, &j);
    for (int backward = 0; backward < 2; backward++) {
        j.w = mc_winograd_of(&j.window, backward != 0);
        int64_t per_image = j.w.y.tiles * j.w.x.tiles, lines = 0;
        for (int64_t first = 0; first < N * per_image; first++) {
            mc_tiles tiles = mc_tiles_of(&j.w, first, N * per_image - first);
            ck_assert_int_eq(tiles.row[0], 0);
            for (int kind = 1; kind < MC_ENDS; kind++) {
                ck_assert_int_ge(tiles.row[kind], tiles.row[kind - 1]);
            }
            ck_assert_int_le(tiles.row[MC_ENDS - 1], tiles.count);
            /* A part begins behind the tiles of each kind before it, and the last part ends there.
             */
            for (int64_t at = first; at < first + tiles.count; at++) {
                mc_tiles before = mc_tiles_of(&j.w, first, at - first);
                mc_tiles part = mc_tiles_part(&j.w, &tiles, at, 1);
                for (int kind = 0; kind < MC_ENDS; kind++) {
                    int64_t end = kind + 1 < MC_ENDS ? before.row[kind + 1] : before.count;
                    ck_assert_int_eq(part.row[kind], tiles.row[kind] + end - before.row[kind]);
                }
            }
        }
        mc_tiles image = mc_tiles_of(&j.w, 0, per_image);
        for (int64_t f = 0; f < mc_winograd_frequencies(&j.w); f++) {
            int64_t first;
            lines += mc_winograd_phases(&j.w, f) * mc_tiles_at(&j.w, &image, f, &first);
        }
        ck_assert_int_eq(lines, mc_winograd_image_lines(&j.w));
    }
}
END_TEST

/* Part of the tiles and of the kernels at a time gives what all at once gives. */
START_TEST(test_parts)
{
    enum { O = 5, PLANE = PHASES * 16 * C };
    job j;
    if (!job_of(_i, &j) || j.tiles.count < 3) {
        return;
    }
    int64_t size = planes_size(&j, j.tiles.count, C);
    float *x = values(j.in * C, 1), *taps = values(9 * C * O, 2);
    float *all = values(size, 3), *part = values(size, 3);
    float *u = values(j.freq * PLANE, 5), *u_part = values(j.freq * PLANE, 5);
    mc_map map = {.x = x, .c = C};
    j.k->winograd_input(&j.w, &map, &j.tiles, planes(all, j.tiles.count, C));
    for (int64_t first = 0; first < j.tiles.count; first += 2) {
        int64_t left = j.tiles.count - first;
        mc_tiles tiles = mc_tiles_part(&j.w, &j.tiles, first, left < 2 ? left : 2);
        j.k->winograd_input(&j.w, &map, &tiles, planes(part, j.tiles.count, C));
    }
    mc_filter whole = {taps, C, MC_FORWARD, 0, C, 0, O}, low = whole, high = whole;
    low.rows = 7;
    high.row = 7;
    high.rows = C - 7;
    j.k->winograd_filter(&j.w, &whole, (mc_planes){u, PLANE, C, 0}, 0);
    j.k->winograd_filter(&j.w, &low, (mc_planes){u_part, PLANE, C, 0}, 0);
    j.k->winograd_filter(&j.w, &high, (mc_planes){u_part, PLANE, C, 0}, 7);
    ck_assert_mem_eq(part, all, (size_t)size * sizeof *all);
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
    tcase_add_loop_test(tests, test_input_gradient, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_weight_gradient, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_rows, 0, SHAPES);
    tcase_add_loop_test(tests, test_parts, 0, SHAPES * ISAS);
}

int main(void)
{
    return unit_run("kernels winograd", add);
}
