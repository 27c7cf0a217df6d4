/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Transforms of the 3x3, stride-1 convolution as a bilinear algorithm (Winograd, Toom-Cook), one
 * tile and up to LANES channels at a time. Compiled per instruction set.
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

enum { LANES = 16, MOST = MC_WINOGRAD_MOST };
typedef float lanes[LANES];

#define A1 0.625f
#define B1 1.5f
static const float A2 = A1 * A1, A3 = A1 * A1 * A1, B2 = B1 * B1, B3 = B1 * B1 * B1;
static const float A2B2 = A1 * A1 * B1 * B1, A2_B2 = A1 * A1 + B1 * B1;
/* 1/N of 0, of +-a and of +-b. */
static const float N0 = (float)(1.0 / (0.390625 * 2.25));
static const float NA = (float)(1.0 / (2.0 * 0.390625 * (0.390625 - 2.25)));
static const float NB = (float)(1.0 / (2.0 * 2.25 * (2.25 - 0.390625)));

/* ---- one dimension: in[k * from], out[k * to], n lanes -----------------------------------------
 */

/* B^T */
static inline void input_1d(bool t2, int64_t n, lanes *in, int from, lanes *out, int to)
{
    if (t2) {
        for (int64_t l = 0; l < n; l++) {
            float x0 = in[0][l], x1 = in[from][l];
            out[0][l] = x0 + x1;
            out[to][l] = x1;
            out[2 * to][l] = x0;
        }
        return;
    }
    for (int64_t l = 0; l < n; l++) {
        float x0 = in[0][l], x1 = in[from][l], x2 = in[2 * from][l];
        float x3 = in[3 * from][l], x4 = in[4 * from][l], x5 = in[5 * from][l];
        float even_a = x4 - B2 * x2, odd_a = A1 * (x3 - B2 * x1);
        float even_b = x4 - A2 * x2, odd_b = B1 * (x3 - A2 * x1);
        out[0][l] = A2B2 * x0 - A2_B2 * x2 + x4;
        out[to][l] = even_a + odd_a;
        out[2 * to][l] = even_a - odd_a;
        out[3 * to][l] = even_b + odd_b;
        out[4 * to][l] = even_b - odd_b;
        out[5 * to][l] = A2B2 * x1 - A2_B2 * x3 + x5;
    }
}

/* A^T */
static inline void output_1d(bool t2, int64_t n, lanes *in, int from, lanes *out, int to)
{
    if (t2) {
        for (int64_t l = 0; l < n; l++) {
            float m0 = in[0][l], m1 = in[from][l], m2 = in[2 * from][l];
            out[0][l] = m0 + m1;
            out[to][l] = m0 + m2;
        }
        return;
    }
    for (int64_t l = 0; l < n; l++) {
        float sum_a = in[from][l] + in[2 * from][l], diff_a = in[from][l] - in[2 * from][l];
        float sum_b = in[3 * from][l] + in[4 * from][l];
        float diff_b = in[3 * from][l] - in[4 * from][l];
        float m0 = in[0][l], m5 = in[5 * from][l];
        out[0][l] = m0 + sum_a + sum_b;
        out[to][l] = A1 * diff_a + B1 * diff_b;
        out[2 * to][l] = A2 * sum_a + B2 * sum_b;
        out[3 * to][l] = A3 * diff_a + B3 * diff_b + m5;
    }
}

/* A */
static inline void cotangent_1d(bool t2, int64_t n, lanes *in, int from, lanes *out, int to)
{
    if (t2) {
        for (int64_t l = 0; l < n; l++) {
            float y0 = in[0][l], y1 = in[from][l];
            out[0][l] = y0 + y1;
            out[to][l] = y0;
            out[2 * to][l] = y1;
        }
        return;
    }
    for (int64_t l = 0; l < n; l++) {
        float y0 = in[0][l], y1 = in[from][l], y2 = in[2 * from][l], y3 = in[3 * from][l];
        float even_a = y0 + A2 * y2, odd_a = A1 * y1 + A3 * y3;
        float even_b = y0 + B2 * y2, odd_b = B1 * y1 + B3 * y3;
        out[0][l] = y0;
        out[to][l] = even_a + odd_a;
        out[2 * to][l] = even_a - odd_a;
        out[3 * to][l] = even_b + odd_b;
        out[4 * to][l] = even_b - odd_b;
        out[5 * to][l] = y3;
    }
}

/* G */
static inline void filter_1d(bool t2, int64_t n, lanes *in, int from, lanes *out, int to)
{
    for (int64_t l = 0; l < n; l++) {
        float g0 = in[0][l], g1 = in[from][l], g2 = in[2 * from][l];
        if (t2) {
            out[0][l] = g1;
            out[to][l] = g2 - g1;
            out[2 * to][l] = g0 - g1;
        } else {
            float even_a = NA * (g0 + A2 * g2), odd_a = NA * A1 * g1;
            float even_b = NB * (g0 + B2 * g2), odd_b = NB * B1 * g1;
            out[0][l] = N0 * g0;
            out[to][l] = even_a + odd_a;
            out[2 * to][l] = even_a - odd_a;
            out[3 * to][l] = even_b + odd_b;
            out[4 * to][l] = even_b - odd_b;
            out[5 * to][l] = g2;
        }
    }
}

/* G^T */
static inline void filter_back_1d(bool t2, int64_t n, lanes *in, int from, lanes *out, int to)
{
    for (int64_t l = 0; l < n; l++) {
        float u0 = in[0][l], u1 = in[from][l], u2 = in[2 * from][l];
        if (t2) {
            out[0][l] = u2;
            out[to][l] = u0 - u1 - u2;
            out[2 * to][l] = u1;
        } else {
            float sum_a = NA * (u1 + u2), diff_a = NA * A1 * (u1 - u2);
            float sum_b = NB * (in[3 * from][l] + in[4 * from][l]);
            float diff_b = NB * B1 * (in[3 * from][l] - in[4 * from][l]);
            out[0][l] = N0 * u0 + sum_a + sum_b;
            out[to][l] = diff_a + diff_b;
            out[2 * to][l] = A2 * sum_a + B2 * sum_b + in[5 * from][l];
        }
    }
}

/* ---- both dimensions ----------------------------------------------------------------------------
 */

typedef void (*transform_1d)(bool t2, int64_t n, lanes *in, int from, lanes *out, int to);

/* in [in_y][in_x] to out [out_y][out_x]: first along x, then along y. */
static inline void transform(transform_1d along, const mc_winograd *w, int64_t n, lanes *in,
                             int in_y, int in_x, int out_x, lanes *out)
{
    lanes half[MOST];
    for (int y = 0; y < in_y; y++) {
        along(w->t2_x, n, in + y * in_x, 1, half + y * out_x, 1);
    }
    for (int x = 0; x < out_x; x++) {
        along(w->t2_y, n, half + x, out_x, out + x, out_x);
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

/* Loads a window [rows][columns] of n channels at (y, x) of an image, zeros outside. */
static inline void load(const float *image, int64_t h, int64_t w, int64_t c, int64_t y, int64_t x,
                        int rows, int columns, int64_t n, lanes *out)
{
    for (int r = 0; r < rows; r++) {
        for (int k = 0; k < columns; k++, out++) {
            bool inside = y + r >= 0 && y + r < h && x + k >= 0 && x + k < w;
            if (inside) {
                const float *from = image + ((y + r) * w + x + k) * c;
                for (int64_t l = 0; l < n; l++) {
                    (*out)[l] = from[l];
                }
            } else {
                for (int64_t l = 0; l < LANES; l++) {
                    (*out)[l] = 0.0f;
                }
            }
        }
    }
}

static inline void input_lanes(const mc_winograd *w, const float *x, tile t, int64_t c, int64_t n,
                               int64_t plane, float *v)
{
    lanes in[MOST], out[MOST];
    /* T2 sees the whole dimension, F4 a window that begins in the padding. */
    int64_t y0 = w->t2_y ? 0 : t.y - w->padding, x0 = w->t2_x ? 0 : t.x - w->padding;
    load(x + t.image * w->h * w->w * c, w->h, w->w, c, y0, x0, w->in_y, w->in_x, n, in);
    transform(input_1d, w, n, in, w->in_y, w->in_x, w->freq_x, out);
    for (int f = 0; f < w->freq_y * w->freq_x; f++) {
        for (int64_t l = 0; l < n; l++) {
            v[f * plane + l] = out[f][l];
        }
    }
}

static inline void cotangent_lanes(const mc_winograd *w, const float *dy, tile t, int64_t c,
                                   int64_t n, int64_t plane, float *d)
{
    lanes in[MOST], out[MOST];
    load(dy + t.image * w->oh * w->ow * c, w->oh, w->ow, c, t.y, t.x, w->out_y, w->out_x, n, in);
    transform(cotangent_1d, w, n, in, w->out_y, w->out_x, w->freq_x, out);
    for (int f = 0; f < w->freq_y * w->freq_x; f++) {
        for (int64_t l = 0; l < n; l++) {
            d[f * plane + l] = out[f][l];
        }
    }
}

static inline void output_lanes(const mc_winograd *w, const float *m, int64_t plane, tile t,
                                int64_t c, int64_t n, const float *bias, bool accumulate, float *y)
{
    lanes in[MOST], out[MOST];
    for (int f = 0; f < w->freq_y * w->freq_x; f++) {
        for (int64_t l = 0; l < n; l++) {
            in[f][l] = m[f * plane + l];
        }
    }
    transform(output_1d, w, n, in, w->freq_y, w->freq_x, w->out_x, out);
    for (int r = 0; r < w->out_y && t.y + r < w->oh; r++) {
        for (int k = 0; k < w->out_x && t.x + k < w->ow; k++) {
            float *to = y + ((t.image * w->oh + t.y + r) * w->ow + t.x + k) * c;
            const float *from = out[r * w->out_x + k];
            for (int64_t l = 0; l < n; l++) {
                float value = from[l] + (bias != NULL ? bias[l] : 0.0f);
                to[l] = accumulate ? to[l] + value : value;
            }
        }
    }
}

/* ---- tiles first .. first+tiles-1, all channels
 * -------------------------------------------------- */

void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const float *x, int64_t c, int64_t first,
                                 int64_t tiles, float *v)
{
    for (int64_t t = 0; t < tiles; t++) {
        tile at = tile_at(w, first + t);
        int64_t i = 0;
        for (; i + LANES <= c; i += LANES) {
            input_lanes(w, x + i, at, c, LANES, tiles * c, v + t * c + i);
        }
        if (i < c) {
            input_lanes(w, x + i, at, c, c - i, tiles * c, v + t * c + i);
        }
    }
}

void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c,
                                     int64_t first, int64_t tiles, float *d)
{
    for (int64_t t = 0; t < tiles; t++) {
        tile at = tile_at(w, first + t);
        int64_t i = 0;
        for (; i + LANES <= c; i += LANES) {
            cotangent_lanes(w, dy + i, at, c, LANES, tiles * c, d + t * c + i);
        }
        if (i < c) {
            cotangent_lanes(w, dy + i, at, c, c - i, tiles * c, d + t * c + i);
        }
    }
}

void MC_ISA_NAME(winograd_output)(const mc_winograd *w, const float *m, int64_t c, int64_t first,
                                  int64_t tiles, const float *bias, bool accumulate, float *y)
{
    for (int64_t t = 0; t < tiles; t++) {
        tile at = tile_at(w, first + t);
        int64_t i = 0;
        for (; i + LANES <= c; i += LANES) {
            output_lanes(w, m + t * c + i, tiles * c, at, c, LANES, bias != NULL ? bias + i : NULL,
                         accumulate, y + i);
        }
        if (i < c) {
            output_lanes(w, m + t * c + i, tiles * c, at, c, c - i, bias != NULL ? bias + i : NULL,
                         accumulate, y + i);
        }
    }
}

/* ---- filters: count independent 3x3 kernels, tap [9][total]
 * -------------------------------------- */

static inline void filter_lanes(const mc_winograd *w, const float *taps, int64_t total,
                                bool flipped, int64_t n, float *u)
{
    lanes in[9], out[MOST];
    for (int t = 0; t < 9; t++) {
        const float *from = taps + (flipped ? 8 - t : t) * total;
        for (int64_t l = 0; l < n; l++) {
            in[t][l] = from[l];
        }
    }
    transform(filter_1d, w, n, in, 3, 3, w->freq_x, out);
    for (int f = 0; f < w->freq_y * w->freq_x; f++) {
        for (int64_t l = 0; l < n; l++) {
            u[f * total + l] = out[f][l];
        }
    }
}

void MC_ISA_NAME(winograd_filter)(const mc_winograd *w, const float *taps, int64_t total,
                                  int64_t first, int64_t count, bool flipped, float *u)
{
    int64_t i = first, end = first + count;
    for (; i + LANES <= end; i += LANES) {
        filter_lanes(w, taps + i, total, flipped, LANES, u + i);
    }
    if (i < end) {
        filter_lanes(w, taps + i, total, flipped, end - i, u + i);
    }
}

static inline void filter_back_lanes(const mc_winograd *w, const float *du, int64_t total,
                                     int64_t groups, int64_t n, float *taps)
{
    int freq = w->freq_y * w->freq_x;
    lanes in[MOST], out[9];
    for (int f = 0; f < freq; f++) {
        for (int64_t l = 0; l < n; l++) {
            in[f][l] = du[f * total + l];
        }
        for (int64_t g = 1; g < groups; g++) {
            for (int64_t l = 0; l < n; l++) {
                in[f][l] += du[(g * freq + f) * total + l];
            }
        }
    }
    transform(filter_back_1d, w, n, in, w->freq_y, w->freq_x, 3, out);
    for (int t = 0; t < 9; t++) {
        for (int64_t l = 0; l < n; l++) {
            taps[t * total + l] += out[t][l];
        }
    }
}

void MC_ISA_NAME(winograd_filter_back)(const mc_winograd *w, const float *du, int64_t total,
                                       int64_t first, int64_t count, int64_t groups, float *taps)
{
    int64_t i = first, end = first + count;
    for (; i + LANES <= end; i += LANES) {
        filter_back_lanes(w, du + i, total, groups, LANES, taps + i);
    }
    if (i < end) {
        filter_back_lanes(w, du + i, total, groups, end - i, taps + i);
    }
}
