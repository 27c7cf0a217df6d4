/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Patches of NHWC images (im2col) and their transpose (col2im). Compiled per instruction set.
 *
 *     col[r][(ky * kernel + kx) * c + i] = x[image][oy * stride - padding + ky]
 *                                           [ox * stride - padding + kx][i]
 *
 * with r = (image * oh + oy) * ow + ox, zeros outside the image. The taps of one kernel row are
 * contiguous in x, so a patch is `kernel` runs.
 */
#include "kernels/isa.h"
#include <string.h>

/* Runs are often a few floats: a call of memcpy costs more than the copy. */
static inline void copy_run(const float *restrict from, int64_t n, float *restrict to)
{
    if (n >= 32) {
        memcpy(to, from, (size_t)n * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static inline void zero_run(int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] = 0.0f;
    }
}

static inline void add_run(const float *restrict from, int64_t n, float *restrict to)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] += from[i];
    }
}

/* Where an output row reads: offset of its image in x, upper left corner of its patch, and the
 * row's place in its image. Stepped from row to row: divisions would cost more than short copies.
 */
typedef struct corner {
    int64_t image, y, x, oy, ox;
} corner;

static inline corner corner_of(const mc_window *p, int64_t row)
{
    int64_t pixels = p->oh * p->ow, pixel = row % pixels;
    corner at = {
        .image = row / pixels * p->h * p->w * p->c, .oy = pixel / p->ow, .ox = pixel % p->ow};
    at.y = at.oy * p->stride - p->padding;
    at.x = at.ox * p->stride - p->padding;
    return at;
}

static inline void next_row(const mc_window *p, corner *at)
{
    at->x += p->stride;
    if (++at->ox < p->ow) {
        return;
    }
    at->ox = 0;
    at->x = -p->padding;
    at->y += p->stride;
    if (++at->oy == p->oh) {
        at->oy = 0;
        at->y = -p->padding;
        at->image += p->h * p->w * p->c;
    }
}

static inline int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

void MC_ISA_NAME(patches)(const mc_window *p, const float *x, int64_t first, int64_t rows,
                          int64_t tap, int64_t taps, float *col)
{
    int64_t first_ky = tap / p->kernel, first_kx = tap % p->kernel;
    corner at = corner_of(p, first);
    for (int64_t r = 0; r < rows; r++, next_row(p, &at)) {
        /* One run per kernel row that the taps touch. */
        for (int64_t t = 0, ky = first_ky, kx = first_kx; t < taps; ky++, kx = 0) {
            int64_t n = clamp(p->kernel - kx, 0, taps - t); /* taps of this run */
            int64_t y = at.y + ky, left = at.x + kx;
            if (y < 0 || y >= p->h) {
                zero_run(n * p->c, col);
            } else {
                int64_t begin = clamp(-left, 0, n), end = clamp(p->w - left, begin, n);
                zero_run(begin * p->c, col);
                copy_run(x + at.image + (y * p->w + left + begin) * p->c, (end - begin) * p->c,
                         col + begin * p->c);
                zero_run((n - end) * p->c, col + end * p->c);
            }
            col += n * p->c;
            t += n;
        }
    }
}

void MC_ISA_NAME(patches_add)(const mc_window *p, const float *col, int64_t first, int64_t rows,
                              float *x)
{
    int64_t run = p->kernel * p->c;
    corner at = corner_of(p, first);
    for (int64_t r = 0; r < rows; r++, next_row(p, &at)) {
        int64_t begin = clamp(-at.x, 0, p->kernel), end = clamp(p->w - at.x, begin, p->kernel);
        for (int64_t ky = 0; ky < p->kernel; ky++, col += run) {
            int64_t y = at.y + ky;
            if (y >= 0 && y < p->h) {
                add_run(col + begin * p->c, (end - begin) * p->c,
                        x + at.image + (y * p->w + at.x + begin) * p->c);
            }
        }
    }
}
