/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One dimension of the bilinear algorithms for 3x3 convolutions at stride 1 (Winograd, Toom-Cook),
 * a vector of channels at a time; winograd.c and winograd_filter.c make tiles and kernels of it.
 * A dimension of a tile is one of two:
 *
 * F4: 4 outputs from 6 inputs with 6 products, at the points 0, +-a, +-b and infinity. a = 5/8 and
 *     b = 3/2 lose the least accuracy of the points we know; their powers are exact in float. The
 *     rows of B^T are the coefficients of M(x) / (x - p), M = x (x^2 - a^2)(x^2 - b^2), and of M;
 *     those of A are (1, p, p^2, p^3), and (0, 0, 0, 1); those of G are (1, p, p^2) / N(p) with
 *     N(p) the product of p's distances to the other finite points, and (0, 0, 1).
 * T2: the whole of a 2-pixel dimension with one pixel of padding, a 2x2 Toeplitz product
 *     y0 = g1 x0 + g2 x1, y1 = g0 x0 + g1 x1, with 3 products instead of 4.
 */
#ifndef MC_WINOGRAD_H
#define MC_WINOGRAD_H

#include "kernels/isa.h"

#define A1 0.625f
#define B1 1.5f
static const float A2 = A1 * A1, A3 = A1 * A1 * A1, B2 = B1 * B1, B3 = B1 * B1 * B1;
static const float A2B2 = A1 * A1 * B1 * B1, A2_B2 = A1 * A1 + B1 * B1;
/* 1/N of 0, of +-a and of +-b. */
static const float N0 = (float)(1.0 / (0.390625 * 2.25));
static const float NA = (float)(1.0 / (2.0 * 0.390625 * (0.390625 - 2.25)));
static const float NB = (float)(1.0 / (2.0 * 2.25 * (2.25 - 0.390625)));

/* Each takes vectors x and gives vectors y; constant t2 makes one algorithm of it. */
typedef void (*mc_transform_1d)(bool t2, const mc_vec *x, mc_vec *y);

/* B^T */
static inline __attribute__((always_inline)) void input_1d(bool t2, const mc_vec *x, mc_vec *y)
{
    if (t2) {
        y[0] = x[0] + x[1];
        y[1] = x[1];
        y[2] = x[0];
        return;
    }
    mc_vec even_a = x[4] - B2 * x[2], odd_a = A1 * (x[3] - B2 * x[1]);
    mc_vec even_b = x[4] - A2 * x[2], odd_b = B1 * (x[3] - A2 * x[1]);
    y[0] = A2B2 * x[0] - A2_B2 * x[2] + x[4];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = A2B2 * x[1] - A2_B2 * x[3] + x[5];
}

/* A^T */
static inline __attribute__((always_inline)) void output_1d(bool t2, const mc_vec *x, mc_vec *y)
{
    if (t2) {
        y[0] = x[0] + x[1];
        y[1] = x[0] + x[2];
        return;
    }
    mc_vec sum_a = x[1] + x[2], diff_a = x[1] - x[2], sum_b = x[3] + x[4], diff_b = x[3] - x[4];
    y[0] = x[0] + sum_a + sum_b;
    y[1] = A1 * diff_a + B1 * diff_b;
    y[2] = A2 * sum_a + B2 * sum_b;
    y[3] = A3 * diff_a + B3 * diff_b + x[5];
}

/* A */
static inline __attribute__((always_inline)) void cotangent_1d(bool t2, const mc_vec *x, mc_vec *y)
{
    if (t2) {
        y[0] = x[0] + x[1];
        y[1] = x[0];
        y[2] = x[1];
        return;
    }
    mc_vec even_a = x[0] + A2 * x[2], odd_a = A1 * x[1] + A3 * x[3];
    mc_vec even_b = x[0] + B2 * x[2], odd_b = B1 * x[1] + B3 * x[3];
    y[0] = x[0];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = x[3];
}

/* G */
static inline __attribute__((always_inline)) void filter_1d(bool t2, const mc_vec *x, mc_vec *y)
{
    if (t2) {
        y[0] = x[1];
        y[1] = x[2] - x[1];
        y[2] = x[0] - x[1];
        return;
    }
    mc_vec even_a = NA * (x[0] + A2 * x[2]), odd_a = NA * A1 * x[1];
    mc_vec even_b = NB * (x[0] + B2 * x[2]), odd_b = NB * B1 * x[1];
    y[0] = N0 * x[0];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = x[2];
}

/* G^T */
static inline __attribute__((always_inline)) void filter_back_1d(bool t2, const mc_vec *x,
                                                                 mc_vec *y)
{
    if (t2) {
        y[0] = x[2];
        y[1] = x[0] - x[1] - x[2];
        y[2] = x[1];
        return;
    }
    mc_vec sum_a = NA * (x[1] + x[2]), diff_a = NA * A1 * (x[1] - x[2]);
    mc_vec sum_b = NB * (x[3] + x[4]), diff_b = NB * B1 * (x[3] - x[4]);
    y[0] = N0 * x[0] + sum_a + sum_b;
    y[1] = diff_a + diff_b;
    y[2] = A2 * sum_a + B2 * sum_b + x[5];
}

/* Vectors that a dimension takes and gives: by F4, by T2. */
typedef struct mc_extents {
    int in[2], out[2];
} mc_extents;
static const mc_extents input_extents = {{6, 2}, {6, 3}}, output_extents = {{6, 3}, {4, 2}};
static const mc_extents cotangent_extents = {{4, 2}, {6, 3}};
static const mc_extents filter_extents = {{3, 3}, {6, 3}}, filter_back_extents = {{6, 3}, {3, 3}};

/* Calls `fn` with constants for what kind of tile it is, so that each is compiled apart. */
#define MC_BY_TILE(w, fn, ...)                                                                     \
    do {                                                                                           \
        if (!(w)->t2_y && !(w)->t2_x) {                                                            \
            fn(false, false, __VA_ARGS__);                                                         \
        } else if ((w)->t2_y && (w)->t2_x) {                                                       \
            fn(true, true, __VA_ARGS__);                                                           \
        } else if ((w)->t2_y) {                                                                    \
            fn(true, false, __VA_ARGS__);                                                          \
        } else {                                                                                   \
            fn(false, true, __VA_ARGS__);                                                          \
        }                                                                                          \
    } while (0)

/* Vectors of channels that are transformed together. Every frequency is written to a plane of its
 * own, another page, and a processor looks up few pages at a time that are written: a page takes a
 * whole group before its turn is over. */
enum { MC_GROUP = 4 };

#endif
