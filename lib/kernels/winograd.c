/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Transforms of the 3x3, stride-1 convolution as a bilinear algorithm (Winograd, Toom-Cook), one
 * tile and one vector of channels at a time. Compiled per instruction set.
 *
 *     Y = A^T [ sum_c (G g G^T) * (B^T x B) ] A       products per frequency, summed by GEMMs
 *     dg = G^T [ (B^T x B)^T * (A dY A^T) ] G         the same algorithm's weight gradient
 *
 * One dimension of a tile is one of two algorithms:
 *
 * F4: 4 outputs from 6 inputs with 6 products, at the points 0, +-a, +-b and infinity. a = 5/8 and
 *     b = 3/2 lose the least accuracy of the points we know; their powers are exact in float. The
 *     rows of B^T are the coefficients of M(x) / (x - p), M = x (x^2 - a^2)(x^2 - b^2), and of M;
 *     those of A are (1, p, p^2, p^3), and (0, 0, 0, 1); those of G are (1, p, p^2) / N(p) with
 *     N(p) the product of p's distances to the other finite points, and (0, 0, 1).
 * T2: the whole of a 2-pixel dimension with one pixel of padding, a 2x2 Toeplitz product
 *     y0 = g1 x0 + g2 x1, y1 = g0 x0 + g1 x1, with 3 products instead of 4.
 */
#include "kernels/isa.h"
#include <string.h>

enum { LANES = MC_LANES, MOST = MC_WINOGRAD_MOST };

#define A1 0.625f
#define B1 1.5f
static const float A2 = A1 * A1, A3 = A1 * A1 * A1, B2 = B1 * B1, B3 = B1 * B1 * B1;
static const float A2B2 = A1 * A1 * B1 * B1, A2_B2 = A1 * A1 + B1 * B1;
/* 1/N of 0, of +-a and of +-b. */
static const float N0 = (float)(1.0 / (0.390625 * 2.25));
static const float NA = (float)(1.0 / (2.0 * 0.390625 * (0.390625 - 2.25)));
static const float NB = (float)(1.0 / (2.0 * 2.25 * (2.25 - 0.390625)));

/* ---- one dimension: vectors in[k * from] to out[k * to], strides in floats ---------------------
 */

static inline mc_vec get(const float *p)
{
    return *(const mc_vec *)p;
}

static inline void put(float *p, mc_vec v)
{
    *(mc_vec *)p = v;
}

/* B^T */
static inline void input_1d(bool t2, const float *in, int64_t from, float *out, int64_t to)
{
    mc_vec x0 = get(in), x1 = get(in + from);
    if (t2) {
        put(out, x0 + x1);
        put(out + to, x1);
        put(out + 2 * to, x0);
        return;
    }
    mc_vec x2 = get(in + 2 * from), x3 = get(in + 3 * from);
    mc_vec x4 = get(in + 4 * from), x5 = get(in + 5 * from);
    mc_vec even_a = x4 - B2 * x2, odd_a = A1 * (x3 - B2 * x1);
    mc_vec even_b = x4 - A2 * x2, odd_b = B1 * (x3 - A2 * x1);
    put(out, A2B2 * x0 - A2_B2 * x2 + x4);
    put(out + to, even_a + odd_a);
    put(out + 2 * to, even_a - odd_a);
    put(out + 3 * to, even_b + odd_b);
    put(out + 4 * to, even_b - odd_b);
    put(out + 5 * to, A2B2 * x1 - A2_B2 * x3 + x5);
}

/* A^T */
static inline void output_1d(bool t2, const float *in, int64_t from, float *out, int64_t to)
{
    mc_vec m0 = get(in), m1 = get(in + from), m2 = get(in + 2 * from);
    if (t2) {
        put(out, m0 + m1);
        put(out + to, m0 + m2);
        return;
    }
    mc_vec m3 = get(in + 3 * from), m4 = get(in + 4 * from), m5 = get(in + 5 * from);
    mc_vec sum_a = m1 + m2, diff_a = m1 - m2, sum_b = m3 + m4, diff_b = m3 - m4;
    put(out, m0 + sum_a + sum_b);
    put(out + to, A1 * diff_a + B1 * diff_b);
    put(out + 2 * to, A2 * sum_a + B2 * sum_b);
    put(out + 3 * to, A3 * diff_a + B3 * diff_b + m5);
}

/* A */
static inline void cotangent_1d(bool t2, const float *in, int64_t from, float *out, int64_t to)
{
    mc_vec y0 = get(in), y1 = get(in + from);
    if (t2) {
        put(out, y0 + y1);
        put(out + to, y0);
        put(out + 2 * to, y1);
        return;
    }
    mc_vec y2 = get(in + 2 * from), y3 = get(in + 3 * from);
    mc_vec even_a = y0 + A2 * y2, odd_a = A1 * y1 + A3 * y3;
    mc_vec even_b = y0 + B2 * y2, odd_b = B1 * y1 + B3 * y3;
    put(out, y0);
    put(out + to, even_a + odd_a);
    put(out + 2 * to, even_a - odd_a);
    put(out + 3 * to, even_b + odd_b);
    put(out + 4 * to, even_b - odd_b);
    put(out + 5 * to, y3);
}

/* G */
static inline void filter_1d(bool t2, const float *in, int64_t from, float *out, int64_t to)
{
    mc_vec g0 = get(in), g1 = get(in + from), g2 = get(in + 2 * from);
    if (t2) {
        put(out, g1);
        put(out + to, g2 - g1);
        put(out + 2 * to, g0 - g1);
        return;
    }
    mc_vec even_a = NA * (g0 + A2 * g2), odd_a = NA * A1 * g1;
    mc_vec even_b = NB * (g0 + B2 * g2), odd_b = NB * B1 * g1;
    put(out, N0 * g0);
    put(out + to, even_a + odd_a);
    put(out + 2 * to, even_a - odd_a);
    put(out + 3 * to, even_b + odd_b);
    put(out + 4 * to, even_b - odd_b);
    put(out + 5 * to, g2);
}

/* G^T */
static inline void filter_back_1d(bool t2, const float *in, int64_t from, float *out, int64_t to)
{
    mc_vec u0 = get(in), u1 = get(in + from), u2 = get(in + 2 * from);
    if (t2) {
        put(out, u2);
        put(out + to, u0 - u1 - u2);
        put(out + 2 * to, u1);
        return;
    }
    mc_vec u3 = get(in + 3 * from), u4 = get(in + 4 * from), u5 = get(in + 5 * from);
    mc_vec sum_a = NA * (u1 + u2), diff_a = NA * A1 * (u1 - u2);
    mc_vec sum_b = NB * (u3 + u4), diff_b = NB * B1 * (u3 - u4);
    put(out, N0 * u0 + sum_a + sum_b);
    put(out + to, diff_a + diff_b);
    put(out + 2 * to, A2 * sum_a + B2 * sum_b + u5);
}

/* ---- both dimensions ----------------------------------------------------------------------------
 */

typedef void (*transform_1d)(bool t2, const float *in, int64_t from, float *out, int64_t to);

/* Vectors that a dimension takes and gives: by F4, by T2. */
typedef struct extents {
    int in[2], out[2];
} extents;
static const extents input_extents = {{6, 2}, {6, 3}}, output_extents = {{6, 3}, {4, 2}};
static const extents cotangent_extents = {{4, 2}, {6, 3}};
static const extents filter_extents = {{3, 3}, {6, 3}}, filter_back_extents = {{6, 3}, {3, 3}};

/* in [y][x] vectors to out [y][x] vectors `to` floats apart: along x, then along y. */
static inline __attribute__((always_inline)) void transform_2d(transform_1d along, extents n,
                                                               bool t2_y, bool t2_x,
                                                               const float *in, float *out,
                                                               int64_t to)
{
    float half[MOST * LANES];
    int in_y = n.in[t2_y], in_x = n.in[t2_x], out_x = n.out[t2_x];
    for (int y = 0; y < in_y; y++) {
        along(t2_x, in + y * in_x * LANES, LANES, half + y * out_x * LANES, LANES);
    }
    for (int x = 0; x < out_x; x++) {
        along(t2_y, half + x * LANES, out_x * LANES, out + x * to, out_x * to);
    }
}

/* The same, compiled apart for each kind of tile. */
static inline __attribute__((always_inline)) void transform(transform_1d along, extents n,
                                                            const mc_winograd *w, const float *in,
                                                            float *out, int64_t to)
{
    if (!w->t2_y && !w->t2_x) {
        transform_2d(along, n, false, false, in, out, to);
    } else if (w->t2_y && w->t2_x) {
        transform_2d(along, n, true, true, in, out, to);
    } else if (w->t2_y) {
        transform_2d(along, n, true, false, in, out, to);
    } else {
        transform_2d(along, n, false, true, in, out, to);
    }
}

/* Up to a vector of floats from or to memory, zeros where there are none. */
static inline mc_vec get_first(const float *p, int64_t n)
{
    float values[LANES] = {0.0f};
    for (int64_t i = 0; i < n; i++) {
        values[i] = p[i];
    }
    return get(values);
}

static inline void put_first(float *p, int64_t n, const float *values)
{
    for (int64_t i = 0; i < n; i++) {
        p[i] = values[i];
    }
}

/* Where a tile begins in an image [h][w], which may be outside. */
typedef struct tile {
    int64_t image, y, x;
} tile;

static inline tile tile_at(const mc_winograd *w, int64_t number)
{
    int64_t per_image = w->tiles_y * w->tiles_x, inside = number % per_image;
    tile t = {number / per_image, inside / w->tiles_x * w->out_y, inside % w->tiles_x * w->out_x};
    return t;
}

static inline int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* A window [rows][columns] at (y, x) of an image [h][w] as vectors of n channels from channel i
 * on, read through its map; zeros outside. */
static inline __attribute__((always_inline)) void load(const mc_map *map, int64_t i, int64_t image,
                                                       int64_t h, int64_t w, int64_t y, int64_t x,
                                                       int rows, int columns, int64_t n, float *out)
{
    const float *from = map->x + (image * h * w + y * w + x) * map->c + i;
    int64_t top = clamp(-y, 0, rows), bottom = clamp(h - y, top, rows);
    int64_t left = clamp(-x, 0, columns), right = clamp(w - x, left, columns);
    bool through = map->scale != NULL;
    mc_vec scale = {0.0f}, offset = {0.0f};
    if (through) {
        scale = n == LANES ? get(map->scale + i) : get_first(map->scale + i, n);
        offset = n == LANES ? get(map->offset + i) : get_first(map->offset + i, n);
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < columns; k++, out += LANES) {
            mc_vec value = {0.0f};
            if (r >= top && r < bottom && k >= left && k < right) {
                const float *p = from + (r * w + k) * map->c;
                value = n == LANES ? get(p) : get_first(p, n);
                if (through) {
                    value = value * scale + offset;
                    if (map->relu) {
                        value = mc_max((mc_vec){0.0f}, value);
                    }
                }
            }
            put(out, value);
        }
    }
}

/* ---- tiles first .. first+tiles-1, all channels ------------------------------------------------
 */

void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const mc_map *x, int64_t first,
                                 int64_t tiles, mc_planes v)
{
    float in[MOST * LANES], out[MOST * LANES];
    for (int64_t t = 0; t < tiles; t++) {
        tile at = tile_at(w, first + t);
        /* T2 sees the whole dimension, F4 a window that begins in the padding. */
        int64_t y0 = w->t2_y ? 0 : at.y - w->padding, x0 = w->t2_x ? 0 : at.x - w->padding;
        for (int64_t i = 0; i < x->c; i += LANES) {
            float *to = v.data + t * v.row + i;
            if (i + LANES <= x->c) {
                load(x, i, at.image, w->h, w->w, y0, x0, w->in_y, w->in_x, LANES, in);
                transform(input_1d, input_extents, w, in, to, v.plane);
                continue;
            }
            load(x, i, at.image, w->h, w->w, y0, x0, w->in_y, w->in_x, x->c - i, in);
            transform(input_1d, input_extents, w, in, out, LANES);
            for (int f = 0; f < w->freq_y * w->freq_x; f++) {
                put_first(to + f * v.plane, x->c - i, out + f * LANES);
            }
        }
    }
}

void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c,
                                     int64_t count, int64_t first, int64_t tiles, mc_planes d)
{
    float in[MOST * LANES], out[MOST * LANES];
    mc_map map = {.x = dy, .c = c};
    for (int64_t t = 0; t < tiles; t++) {
        tile at = tile_at(w, first + t);
        for (int64_t i = 0; i < count; i += LANES) {
            float *to = d.data + t * d.row + i;
            if (i + LANES <= count) {
                load(&map, i, at.image, w->oh, w->ow, at.y, at.x, w->out_y, w->out_x, LANES, in);
                transform(cotangent_1d, cotangent_extents, w, in, to, d.plane);
                continue;
            }
            load(&map, i, at.image, w->oh, w->ow, at.y, at.x, w->out_y, w->out_x, count - i, in);
            transform(cotangent_1d, cotangent_extents, w, in, out, LANES);
            for (int f = 0; f < w->freq_y * w->freq_x; f++) {
                put_first(to + f * d.plane, count - i, out + f * LANES);
            }
        }
    }
}

void MC_ISA_NAME(winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t first,
                                  int64_t tiles, const float *bias, bool accumulate, bool relu,
                                  float *y)
{
    float in[MOST * LANES], out[MOST * LANES];
    for (int64_t t = 0; t < tiles; t++) {
        tile at = tile_at(w, first + t);
        float *corner = y + ((at.image * w->oh + at.y) * w->ow + at.x) * c;
        for (int64_t i = 0; i < c; i += LANES) {
            int64_t n = c - i < LANES ? c - i : LANES;
            const float *from = m.data + t * m.row + i;
            for (int f = 0; f < w->freq_y * w->freq_x; f++, from += m.plane) {
                put(in + f * LANES, n == LANES ? get(from) : get_first(from, n));
            }
            transform(output_1d, output_extents, w, in, out, LANES);
            mc_vec shift = {0.0f};
            if (bias != NULL) {
                shift = n == LANES ? get(bias + i) : get_first(bias + i, n);
            }
            for (int r = 0; r < w->out_y && at.y + r < w->oh; r++) {
                for (int k = 0; k < w->out_x && at.x + k < w->ow; k++) {
                    float *to = corner + (r * w->ow + k) * c + i;
                    mc_vec value = get(out + (r * w->out_x + k) * LANES) + shift;
                    if (accumulate) {
                        value += n == LANES ? get(to) : get_first(to, n);
                    }
                    if (relu) {
                        value = mc_max((mc_vec){0.0f}, value);
                    }
                    if (n == LANES) {
                        put(to, value);
                    } else {
                        put_first(to, n, (const float *)&value);
                    }
                }
            }
        }
    }
}

/* ---- filters -----------------------------------------------------------------------------------
 */

/* Row k of the panels: kernels (output j, input k) or, backward, (k, j) turned by a half. */
void MC_ISA_NAME(winograd_filter)(const mc_winograd *w, const float *weight, int64_t c, int64_t o,
                                  bool backward, int64_t first, int64_t count, mc_planes u)
{
    float in[9 * LANES], out[MOST * LANES];
    int64_t columns = backward ? c : o;
    int64_t row_step = backward ? 9 * c : 9, column_step = backward ? 9 : 9 * c;
    int64_t begin = 0, width = 0; /* of the panel of columns j .. */
    for (int64_t j = 0; j < columns; j += LANES) {
        if (j == begin + width) {
            begin = j;
            width = mc_panel_width(&MC_ISA_NAME(kernels), columns - j);
        }
        int64_t n = columns - j < LANES ? columns - j : LANES;
        memset(in, 0, sizeof in);
        for (int64_t k = first; k < first + count; k++) {
            const float *from = weight + k * row_step + j * column_step;
            float *to = u.data + begin * u.row + k * width + j - begin;
            for (int64_t l = 0; l < n; l++, from += column_step) {
                for (int t = 0; t < 9; t++) {
                    in[t * LANES + l] = from[backward ? 8 - t : t];
                }
            }
            transform(filter_1d, filter_extents, w, in, out, LANES);
            for (int f = 0; f < w->freq_y * w->freq_x; f++) {
                put(to + f * u.plane, get(out + f * LANES));
            }
        }
    }
}

/* Kernels (outputs j .. j + n - 1, input k). */
static inline __attribute__((always_inline)) void filter_back(const mc_winograd *w, const float *du,
                                                              int64_t total, int64_t groups,
                                                              int64_t n, bool accumulate,
                                                              float *grad, int64_t step)
{
    float in[MOST * LANES], out[9 * LANES];
    int freq = w->freq_y * w->freq_x;
    for (int f = 0; f < freq; f++) {
        mc_vec sum = {0.0f};
        for (int64_t g = 0; g < groups; g++) {
            const float *from = du + (g * freq + f) * total;
            sum += n == LANES ? get(from) : get_first(from, n);
        }
        put(in + f * LANES, sum);
    }
    transform(filter_back_1d, filter_back_extents, w, in, out, LANES);
    for (int64_t l = 0; l < n; l++, grad += step) {
        for (int t = 0; t < 9; t++) {
            grad[t] = accumulate ? grad[t] + out[t * LANES + l] : out[t * LANES + l];
        }
    }
}

void MC_ISA_NAME(winograd_filter_back)(const mc_winograd *w, const float *du, int64_t c, int64_t o,
                                       int64_t first, int64_t count, int64_t groups,
                                       bool accumulate, float *grad)
{
    for (int64_t j = 0; j < o; j += LANES) {
        for (int64_t k = first; k < first + count; k++) {
            const float *from = du + k * o + j;
            float *to = grad + (j * c + k) * 9;
            if (j + LANES <= o) {
                filter_back(w, from, c * o, groups, LANES, accumulate, to, 9 * c);
            } else {
                filter_back(w, from, c * o, groups, o - j, accumulate, to, 9 * c);
            }
        }
    }
}
