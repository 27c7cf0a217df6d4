/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reductions and maps over the channels of [rows][c]: what batch norm is made of. Compiled per
 * instruction set; loops run along the channels, so vectors need no reassociation.
 *
 * Sums run in float over blocks of BLOCK rows, then in double: the float part keeps the speed,
 * the double part the accuracy over any number of rows.
 */
#include "kernels/isa.h"

enum { BLOCK = 32, LANES = 16 };

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* One block of rows and up to LANES channels; the full width has a constant trip count, so that
 * the accumulators stay in registers. */
static inline void moments_block(const float *restrict x, int64_t rows, int64_t c, int64_t width,
                                 const float *restrict shift, double *restrict sum,
                                 double *restrict square)
{
    float s[LANES] = {0}, q[LANES] = {0};
    if (width == LANES) {
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < LANES; i++) {
                float d = x[r * c + i] - shift[i];
                s[i] += d;
                q[i] += d * d;
            }
        }
    } else {
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < width; i++) {
                float d = x[r * c + i] - shift[i];
                s[i] += d;
                q[i] += d * d;
            }
        }
    }
    for (int64_t i = 0; i < width; i++) {
        sum[i] += (double)s[i];
        square[i] += (double)q[i];
    }
}

void MC_ISA_NAME(moments)(const float *x, int64_t rows, int64_t c, const float *shift, double *sum,
                          double *square)
{
    for (int64_t r = 0; r < rows; r += BLOCK) {
        for (int64_t i = 0; i < c; i += LANES) {
            moments_block(x + r * c + i, smaller(BLOCK, rows - r), c, smaller(LANES, c - i),
                          shift + i, sum + i, square + i);
        }
    }
}

void MC_ISA_NAME(affine)(const float *x, int64_t rows, int64_t c, const float *restrict scale,
                         const float *restrict offset, bool relu, float *y)
{
    /* y may be x: no restrict on either, each element is read before it is written. */
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        if (relu) {
            MC_INDEPENDENT
            for (int64_t i = 0; i < c; i++) {
                float v = x[i] * scale[i] + offset[i];
                y[i] = v < 0.0f ? 0.0f : v; /* NaN stays NaN */
            }
        } else {
            MC_INDEPENDENT
            for (int64_t i = 0; i < c; i++) {
                y[i] = x[i] * scale[i] + offset[i];
            }
        }
    }
}

/* Likewise for g = dy masked to x * scale + offset > 0, unless scale is NULL. `rows`, `c`, `width`
 * as above; the two full widths have loops of their own, free of tests inside. */
static inline void reduce_block(const float *restrict x, const float *restrict dy, int64_t rows,
                                int64_t c, int64_t width, const float *restrict shift,
                                const float *restrict scale, const float *restrict offset,
                                double *restrict sum, double *restrict product)
{
    float s[LANES] = {0}, p[LANES] = {0};
    if (width == LANES && scale != NULL) {
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < LANES; i++) {
                float v = x[r * c + i];
                float g = v * scale[i] + offset[i] > 0.0f ? dy[r * c + i] : 0.0f;
                s[i] += g;
                p[i] += g * (v - shift[i]);
            }
        }
    } else if (width == LANES) {
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < LANES; i++) {
                s[i] += dy[r * c + i];
                p[i] += dy[r * c + i] * (x[r * c + i] - shift[i]);
            }
        }
    } else {
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < width; i++) {
                float v = x[r * c + i];
                bool passes = scale == NULL || v * scale[i] + offset[i] > 0.0f;
                float g = passes ? dy[r * c + i] : 0.0f;
                s[i] += g;
                p[i] += g * (v - shift[i]);
            }
        }
    }
    for (int64_t i = 0; i < width; i++) {
        sum[i] += (double)s[i];
        product[i] += (double)p[i];
    }
}

void MC_ISA_NAME(norm_reduce)(const mc_map *x, const float *dy, int64_t rows, const float *shift,
                              double *sum, double *product)
{
    int64_t c = x->c;
    const float *scale = x->relu ? x->scale : NULL;
    for (int64_t r = 0; r < rows; r += BLOCK) {
        for (int64_t i = 0; i < c; i += LANES) {
            int64_t at = r * c + i;
            reduce_block(x->x + at, dy + at, smaller(BLOCK, rows - r), c, smaller(LANES, c - i),
                         shift + i, scale != NULL ? scale + i : NULL, x->offset + i, sum + i,
                         product + i);
        }
    }
}

void MC_ISA_NAME(norm_apply)(const mc_map *map, const float *dy, int64_t rows,
                             const float *restrict a, const float *restrict p,
                             const float *restrict q, bool accumulate, float *dx)
{
    int64_t c = map->c;
    const float *restrict scale = map->scale, *restrict offset = map->offset;
    bool masked = map->relu;
    /* dx may be dy: no restrict on either, each element is read before it is written. */
    for (int64_t at = 0; at < rows * c; at += c) {
        const float *x = map->x + at;
        MC_INDEPENDENT
        for (int64_t i = 0; i < c; i++) {
            float v = x[i];
            float g = !masked || v * scale[i] + offset[i] > 0.0f ? dy[at + i] : 0.0f;
            float d = g * a[i] + v * p[i] + q[i];
            dx[at + i] = accumulate ? dx[at + i] + d : d;
        }
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
