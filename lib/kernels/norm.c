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

/* The channels of some rows: up to a group of vectors, `width` channels from the pointers' on. */
static inline __attribute__((always_inline)) void
affine_block(const float *x, int64_t rows, int64_t c, const int vectors, int64_t width,
             const float *scale, const float *offset, mc_vec floor, float *y)
{
    mc_vec factor[GROUP], shift[GROUP];
    mc_mask last = mc_first(width - (vectors - 1) * LANES), whole = mc_first(LANES);
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        mc_mask mask = v < vectors - 1 ? whole : last;
        factor[v] = mc_load_masked(scale + v * LANES, mask);
        shift[v] = mc_load_masked(offset + v * LANES, mask);
    }
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            mc_mask mask = v < vectors - 1 ? whole : last;
            mc_vec value = mc_load_masked(x + v * LANES, mask) * factor[v] + shift[v];
            mc_store_masked(y + v * LANES, mask, mc_max(floor, value)); /* NaN stays NaN */
        }
    }
}

void MC_ISA_NAME(affine)(const float *x, int64_t rows, int64_t c, const float *scale,
                         const float *offset, bool relu, float *y)
{
    /* y may be x: each element is read before it is written. */
    const mc_vec floor = (mc_vec){0.0f} - (relu ? 0.0f : INFINITY);
    int64_t i = 0;
    for (; c - i >= GROUP * LANES; i += GROUP * LANES) {
        affine_block(x + i, rows, c, GROUP, GROUP * LANES, scale + i, offset + i, floor, y + i);
    }
    for (; i < c; i += LANES) {
        affine_block(x + i, rows, c, 1, c - i, scale + i, offset + i, floor, y + i);
    }
}

/* dy where the map is positive; all of it where the map does not rectify. */
static inline __attribute__((always_inline)) mc_vec masked(bool relu, mc_vec x, mc_vec scale,
                                                           mc_vec offset, mc_vec dy)
{
    return relu ? mc_where_positive(x * scale + offset, dy) : dy;
}

/* Where gradients are masked: nowhere, where the map is positive, where y is, in place. */
typedef enum mask_by { BY_NOTHING, BY_MAP, BY_OUTPUT } mask_by;

/* As moments_block(), of g = dy masked; y is read and dy written by BY_OUTPUT only. */
static inline __attribute__((always_inline)) void
reduce_block(const mc_map *map, int64_t at, const float *y, float *dy, int64_t rows,
             const int vectors, int64_t width, mask_by by, double *sum, double *product)
{
    mc_vec s[GROUP], p[GROUP], mean[GROUP], scale[GROUP], offset[GROUP];
    mc_mask last = mc_first(width - (vectors - 1) * LANES), whole = mc_first(LANES);
    const float *x = map->x + at;
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        mc_mask mask = v < vectors - 1 ? whole : last;
        s[v] = p[v] = scale[v] = offset[v] = (mc_vec){0.0f};
        mean[v] = mc_load_masked(map->mean + at % map->c + v * LANES, mask);
        if (by == BY_MAP) {
            scale[v] = mc_load_masked(map->scale + at % map->c + v * LANES, mask);
            offset[v] = mc_load_masked(map->offset + at % map->c + v * LANES, mask);
        }
    }
    for (int64_t r = 0; r < rows; r++, x += map->c, at += map->c) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            mc_mask mask = v < vectors - 1 ? whole : last;
            mc_vec value = mc_load_masked(x + v * LANES, mask);
            mc_vec g = mc_load_masked(dy + at + v * LANES, mask);
            g = masked(by == BY_MAP, value, scale[v], offset[v], g);
            if (by == BY_OUTPUT) {
                g = mc_where_positive(mc_load_masked(y + at + v * LANES, mask), g);
                mc_store_masked(dy + at + v * LANES, mask, g);
            }
            s[v] += g;
            p[v] += g * (value - mean[v]);
        }
    }
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        add_to(sum + v * LANES, s[v], width - v * LANES);
        add_to(product + v * LANES, p[v], width - v * LANES);
    }
}

static inline __attribute__((always_inline)) void reduce(const mc_map *map, const float *y,
                                                         float *dy, int64_t rows, int64_t count,
                                                         mask_by by, double *sum, double *product)
{
    for (int64_t r = 0; r < rows; r += BLOCK) {
        int64_t block = smaller(BLOCK, rows - r), i = 0, at = r * map->c;
        for (; count - i >= GROUP * LANES; i += GROUP * LANES) {
            reduce_block(map, at + i, y, dy, block, GROUP, GROUP * LANES, by, sum + i, product + i);
        }
        for (; i < count; i += LANES) {
            reduce_block(map, at + i, y, dy, block, 1, count - i, by, sum + i, product + i);
        }
    }
}

void MC_ISA_NAME(norm_reduce)(const mc_map *x, const float *dy, int64_t rows, int64_t count,
                              double *sum, double *product)
{
    float *read_only = (float *)(uintptr_t)dy; /* BY_OUTPUT alone writes it */
    if (x->relu) {
        reduce(x, NULL, read_only, rows, count, BY_MAP, sum, product);
    } else {
        reduce(x, NULL, read_only, rows, count, BY_NOTHING, sum, product);
    }
}

void MC_ISA_NAME(mask_reduce)(const mc_map *x, const float *y, float *dy, int64_t rows,
                              int64_t count, double *sum, double *product)
{
    reduce(x, y, dy, rows, count, BY_OUTPUT, sum, product);
}

/* As affine_block(), of channels i on. */
static inline __attribute__((always_inline)) void apply_block(const mc_pull *pull, const float *dy,
                                                              int64_t rows, int64_t i,
                                                              const int vectors, int64_t width,
                                                              bool relu, bool accumulate, float *dx)
{
    const mc_map *map = &pull->x;
    mc_vec scale[GROUP], offset[GROUP], a[GROUP], p[GROUP], q[GROUP];
    mc_mask last = mc_first(width - (vectors - 1) * LANES), whole = mc_first(LANES);
    const float *x = map->x;
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        mc_mask mask = v < vectors - 1 ? whole : last;
        int64_t at = i + v * LANES;
        scale[v] = offset[v] = (mc_vec){0.0f};
        if (relu) {
            scale[v] = mc_load_masked(map->scale + at, mask);
            offset[v] = mc_load_masked(map->offset + at, mask);
        }
        a[v] = mc_load_masked(pull->a + at, mask);
        p[v] = mc_load_masked(pull->p + at, mask);
        q[v] = mc_load_masked(pull->q + at, mask);
    }
    for (int64_t at = i; at < rows * map->c; at += map->c) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            mc_mask mask = v < vectors - 1 ? whole : last;
            int64_t here = at + v * LANES;
            mc_vec value = mc_load_masked(x + here, mask);
            mc_vec g = masked(relu, value, scale[v], offset[v], mc_load_masked(dy + here, mask));
            mc_vec d = g * a[v] + value * p[v] + q[v];
            if (accumulate) {
                d += mc_load_masked(dx + here, mask);
            }
            mc_store_masked(dx + here, mask, d);
        }
    }
}

static inline __attribute__((always_inline)) void
apply(const mc_pull *pull, const float *dy, int64_t rows, bool relu, bool accumulate, float *dx)
{
    int64_t c = pull->x.c, i = 0;
    /* dx may be dy: each element is read before it is written. */
    for (; c - i >= GROUP * LANES; i += GROUP * LANES) {
        apply_block(pull, dy, rows, i, GROUP, GROUP * LANES, relu, accumulate, dx);
    }
    for (; i < c; i += LANES) {
        apply_block(pull, dy, rows, i, 1, c - i, relu, accumulate, dx);
    }
}

void MC_ISA_NAME(norm_apply)(const mc_pull *pull, const float *dy, int64_t rows, bool accumulate,
                             float *dx)
{
    if (pull->x.relu) {
        apply(pull, dy, rows, true, accumulate, dx);
    } else {
        apply(pull, dy, rows, false, accumulate, dx);
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

/* Sums over rows and columns of a window, of some channels; the last vector perhaps not whole. */
static inline __attribute__((always_inline)) void window_block(const float *x, int64_t rows,
                                                               int64_t pitch, int64_t columns,
                                                               int64_t c, const int vectors,
                                                               mc_mask last, mc_vec *sum)
{
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        sum[v] = (mc_vec){0.0f};
    }
    for (int64_t r = 0; r < rows; r++) {
        const float *from = x + r * pitch;
        for (int64_t k = 0; k < columns; k++, from += c) {
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                sum[v] +=
                    mc_load_masked(from + v * LANES, v < vectors - 1 ? mc_first(LANES) : last);
            }
        }
    }
}

/* The window's pixels in blocks, of several rows or of part of one, whose sums are added in double.
 */
static inline __attribute__((always_inline)) void
window_blocks(const float *x, int64_t rows, int64_t pitch, int64_t columns, int64_t c,
              const int vectors, int64_t width, float scale, float *y)
{
    mc_vec sum[GROUP];
    double total[GROUP * LANES] = {0.0};
    const int64_t together = columns < BLOCK ? BLOCK / columns : 1;
    for (int64_t r = 0; r < rows; r += together) {
        for (int64_t k = 0; k < columns; k += BLOCK) {
            window_block(x + r * pitch + k * c, smaller(together, rows - r), pitch,
                         smaller(BLOCK, columns - k), c, vectors,
                         mc_first(width - (vectors - 1) * LANES), sum);
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                add_to(total + v * LANES, sum[v], width - v * LANES);
            }
        }
    }
    for (int64_t i = 0; i < width; i++) {
        y[i] = (float)total[i] * scale;
    }
}

static __attribute__((noinline)) void large_window(const float *x, int64_t rows, int64_t pitch,
                                                   int64_t columns, int64_t c, float scale,
                                                   float *y)
{
    int64_t i = 0;
    for (; c - i >= GROUP * LANES; i += GROUP * LANES) {
        window_blocks(x + i, rows, pitch, columns, c, GROUP, GROUP * LANES, scale, y + i);
    }
    for (; i < c; i += LANES) {
        window_blocks(x + i, rows, pitch, columns, c, 1, smaller(LANES, c - i), scale, y + i);
    }
}

void MC_ISA_NAME(window_sum)(const float *x, int64_t rows, int64_t pitch, int64_t columns,
                             int64_t c, float scale, float *y)
{
    if (rows * columns > BLOCK) {
        large_window(x, rows, pitch, columns, c, scale, y);
        return;
    }
    for (int64_t i = 0; i < c; i += LANES) {
        mc_mask there = mc_first(c - i);
        mc_vec sum;
        window_block(x + i, rows, pitch, columns, c, 1, there, &sum);
        mc_store_masked(y + i, there, sum * scale);
    }
}

void MC_ISA_NAME(mean_back)(const float *dy, int64_t hw, int64_t c, bool accumulate, float *dx)
{
    float scale = 1.0f / (float)hw;
    for (int64_t p = 0; p < hw; p++, dx += c) {
        for (int64_t i = 0; i < c; i++) {
            dx[i] = (accumulate ? dx[i] : 0.0f) + dy[i] * scale;
        }
    }
}
