/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reductions and maps over the channels of [rows][c]: what batch norm is made of. Compiled per
 * instruction set; loops run along the channels, so vectors need no reassociation.
 *
 * Sums run in float over blocks of BLOCK rows, then in double: the float part keeps the speed,
 * the double part the accuracy over any number of rows.
 */
#include "kernels/isa.h"
#include <math.h>

enum { BLOCK = 32, LANES = MC_LANES, GROUP = 4 };

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* sum[n] += v, in double. */
static inline void add_to(double *sum, mc_vec v, int64_t n)
{
    for (int64_t i = 0; i < smaller(n, LANES); i++) {
        sum[i] += (double)v[i];
    }
}

/* One block of rows by `vectors` of channels, a row's neighbours in memory together; the last
 * vector may hold fewer channels than lanes. */
static inline __attribute__((always_inline)) void moments_block(const float *x, int64_t rows,
                                                                int64_t step, const int vectors,
                                                                int64_t width, const float *shift,
                                                                double *sum, double *square)
{
    mc_vec s[GROUP], q[GROUP], first[GROUP];
    mc_mask last = mc_first(width - (vectors - 1) * LANES), whole = mc_first(LANES);
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        s[v] = q[v] = (mc_vec){0.0f};
        first[v] = mc_load_masked(shift + v * LANES, v < vectors - 1 ? whole : last);
    }
    for (int64_t r = 0; r < rows; r++, x += step) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            mc_vec d = mc_load_masked(x + v * LANES, v < vectors - 1 ? whole : last) - first[v];
            s[v] += d;
            q[v] += d * d;
        }
    }
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        add_to(sum + v * LANES, s[v], width - v * LANES);
        add_to(square + v * LANES, q[v], width - v * LANES);
    }
}

void MC_ISA_NAME(moments)(const float *x, int64_t rows, int64_t c, int64_t step, const float *shift,
                          double *sum, double *square)
{
    for (int64_t r = 0; r < rows; r += BLOCK) {
        int64_t block = smaller(BLOCK, rows - r), i = 0;
        for (; c - i >= GROUP * LANES; i += GROUP * LANES) {
            moments_block(x + r * step + i, block, step, GROUP, GROUP * LANES, shift + i, sum + i,
                          square + i);
        }
        for (; i < c; i += LANES) {
            moments_block(x + r * step + i, block, step, 1, c - i, shift + i, sum + i, square + i);
        }
    }
}

void MC_ISA_NAME(affine)(const float *x, int64_t rows, int64_t c, const float *scale,
                         const float *offset, bool relu, float *y)
{
    /* y may be x: each element is read before it is written. */
    const mc_vec floor = (mc_vec){0.0f} - (relu ? 0.0f : INFINITY);
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        for (int64_t i = 0; i < c; i += LANES) {
            mc_mask mask = mc_first(c - i);
            mc_vec v = mc_load_masked(x + i, mask) * mc_load_masked(scale + i, mask) +
                       mc_load_masked(offset + i, mask);
            mc_store_masked(y + i, mask, mc_max(floor, v)); /* NaN stays NaN */
        }
    }
}

/* dy where the map is positive; all of it where the map does not rectify. */
static inline __attribute__((always_inline)) mc_vec masked(bool relu, mc_vec x, mc_vec scale,
                                                           mc_vec offset, mc_vec dy)
{
    return relu ? mc_where_positive(x * scale + offset, dy) : dy;
}

/* As moments_block(), of g = dy masked by the map. */
static inline __attribute__((always_inline)) void
reduce_block(const mc_map *map, int64_t at, const float *dy, int64_t rows, const int vectors,
             int64_t width, bool relu, const float *shift, double *sum, double *product)
{
    mc_vec s[GROUP], p[GROUP], first[GROUP], scale[GROUP], offset[GROUP];
    mc_mask last = mc_first(width - (vectors - 1) * LANES), whole = mc_first(LANES);
    const float *x = map->x + at;
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        mc_mask mask = v < vectors - 1 ? whole : last;
        s[v] = p[v] = scale[v] = offset[v] = (mc_vec){0.0f};
        first[v] = mc_load_masked(shift + v * LANES, mask);
        if (relu) {
            scale[v] = mc_load_masked(map->scale + at % map->c + v * LANES, mask);
            offset[v] = mc_load_masked(map->offset + at % map->c + v * LANES, mask);
        }
    }
    dy += at;
    for (int64_t r = 0; r < rows; r++, x += map->c, dy += map->c) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            mc_mask mask = v < vectors - 1 ? whole : last;
            mc_vec value = mc_load_masked(x + v * LANES, mask);
            mc_vec g =
                masked(relu, value, scale[v], offset[v], mc_load_masked(dy + v * LANES, mask));
            s[v] += g;
            p[v] += g * (value - first[v]);
        }
    }
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        add_to(sum + v * LANES, s[v], width - v * LANES);
        add_to(product + v * LANES, p[v], width - v * LANES);
    }
}

static inline __attribute__((always_inline)) void reduce(const mc_map *map, const float *dy,
                                                         int64_t rows, int64_t count, bool relu,
                                                         const float *shift, double *sum,
                                                         double *product)
{
    for (int64_t r = 0; r < rows; r += BLOCK) {
        int64_t block = smaller(BLOCK, rows - r), i = 0, at = r * map->c;
        for (; count - i >= GROUP * LANES; i += GROUP * LANES) {
            reduce_block(map, at + i, dy, block, GROUP, GROUP * LANES, relu, shift + i, sum + i,
                         product + i);
        }
        for (; i < count; i += LANES) {
            reduce_block(map, at + i, dy, block, 1, count - i, relu, shift + i, sum + i,
                         product + i);
        }
    }
}

void MC_ISA_NAME(norm_reduce)(const mc_map *x, const float *dy, int64_t rows, int64_t count,
                              const float *shift, double *sum, double *product)
{
    if (x->relu) {
        reduce(x, dy, rows, count, true, shift, sum, product);
    } else {
        reduce(x, dy, rows, count, false, shift, sum, product);
    }
}

static inline __attribute__((always_inline)) void apply(const mc_map *map, const float *dy,
                                                        int64_t rows, bool relu, const float *a,
                                                        const float *p, const float *q,
                                                        bool accumulate, float *dx)
{
    int64_t c = map->c;
    /* dx may be dy: each element is read before it is written. */
    for (int64_t at = 0; at < rows * c; at += c) {
        for (int64_t i = 0; i < c; i += LANES) {
            mc_mask mask = mc_first(c - i);
            mc_vec x = mc_load_masked(map->x + at + i, mask), scale = x, offset = x;
            if (relu) {
                scale = mc_load_masked(map->scale + i, mask);
                offset = mc_load_masked(map->offset + i, mask);
            }
            mc_vec g = masked(relu, x, scale, offset, mc_load_masked(dy + at + i, mask));
            mc_vec d = g * mc_load_masked(a + i, mask) + x * mc_load_masked(p + i, mask) +
                       mc_load_masked(q + i, mask);
            if (accumulate) {
                d += mc_load_masked(dx + at + i, mask);
            }
            mc_store_masked(dx + at + i, mask, d);
        }
    }
}

void MC_ISA_NAME(norm_apply)(const mc_map *map, const float *dy, int64_t rows, const float *a,
                             const float *p, const float *q, bool accumulate, float *dx)
{
    if (map->relu) {
        apply(map, dy, rows, true, a, p, q, accumulate, dx);
    } else {
        apply(map, dy, rows, false, a, p, q, accumulate, dx);
    }
}

void MC_ISA_NAME(sum_rows)(const float *x, int64_t rows, int64_t c, double *restrict sum)
{
    for (int64_t r = 0; r < rows; r++, x += c) {
        for (int64_t i = 0; i < c; i++) {
            sum[i] += (double)x[i];
        }
    }
}

void MC_ISA_NAME(mean_rows)(const float *x, int64_t n, int64_t hw, int64_t c, float *y)
{
    float scale = 1.0f / (float)hw;
    for (int64_t k = 0; k < n; k++, y += c) {
        for (int64_t i = 0; i < c; i++) {
            y[i] = 0.0f;
        }
        for (int64_t p = 0; p < hw; p++, x += c) {
            for (int64_t i = 0; i < c; i++) {
                y[i] += x[i];
            }
        }
        for (int64_t i = 0; i < c; i++) {
            y[i] *= scale;
        }
    }
}

void MC_ISA_NAME(mean_rows_back)(const float *dy, int64_t n, int64_t hw, int64_t c, bool accumulate,
                                 float *dx)
{
    float scale = 1.0f / (float)hw;
    for (int64_t k = 0; k < n; k++, dy += c) {
        for (int64_t p = 0; p < hw; p++, dx += c) {
            for (int64_t i = 0; i < c; i++) {
                dx[i] = (accumulate ? dx[i] : 0.0f) + dy[i] * scale;
            }
        }
    }
}
