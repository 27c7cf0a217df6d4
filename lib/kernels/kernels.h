/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kernels: the arithmetic of the engine on plain arrays. Matrix products go through BLIS
 * (gemm.c); everything else is a table of functions, compiled once per instruction set from the
 * same sources and picked at run time (dispatch.c).
 *
 * Layout: an activation is [rows][channels], row = (image * H + y) * W + x, channels innermost
 * (NHWC). It is private to lib/kernels and lib/nn; everything above speaks NCHW.
 */
#ifndef MC_KERNELS_H
#define MC_KERNELS_H

#include "core/core.h"

/* ---- matrix products (gemm.c) ------------------------------------------------------------ */

/* A matrix in memory: element (i, j) at data[i * rows + j * cols]. */
typedef struct mc_matrix {
    const float *data;
    int64_t rows, cols; /* strides */
} mc_matrix;

/* C [m][n], row stride ldc = beta * C + A [m][k] * B [k][n], on the calling thread alone. beta is
 * 0 (C may be uninitialised) or 1. */
void mc_gemm(int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b, float beta, float *c,
             int64_t ldc);

/* Its plain twin: double sums in index order. */
void mc_gemm_plain(int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b, float beta, float *c,
                   int64_t ldc);

/* Likewise spread over a pool, C cut into tiles whose size depends on m and n only. */
void mc_gemm_parallel(mc_pool *pool, int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b,
                      float beta, float *c, int64_t ldc);

/* ---- patches of an image (patch.c) -------------------------------------------------------- */

/* A convolution's or pooling's window over [h][w][c] images. Patch = [kernel][kernel][c]. */
typedef struct mc_window {
    int64_t c, h, w; /* input */
    int64_t oh, ow;  /* output */
    int64_t kernel, stride, padding;
} mc_window;

/* ---- the table ----------------------------------------------------------------------------- */

struct mc_kernels {
    const char *isa;

    /* Patches of output rows first .. first+rows-1 (counted over the batch) into
     * col [rows][taps * c], only taps tap .. tap+taps-1 of kernel*kernel; zeros outside. */
    void (*patches)(const mc_window *window, const float *x, int64_t first, int64_t rows,
                    int64_t tap, int64_t taps, float *col);
    /* The transpose: adds col [rows][kernel * kernel * c] into x. */
    void (*patches_add)(const mc_window *window, const float *col, int64_t first, int64_t rows,
                        float *x);

    /* sum[c] += sum of (x - shift[c]), square[c] += sum of (x - shift[c])^2 over x [rows][c]. */
    void (*moments)(const float *x, int64_t rows, int64_t c, const float *shift, double *sum,
                    double *square);
    /* y = x * scale[c] + offset[c], then max(0, y) if relu. */
    void (*affine)(const float *x, int64_t rows, int64_t c, const float *scale, const float *offset,
                   bool relu, float *y);
    /* With g = dy, masked to y > 0 where y is not NULL:
     * sum[c] += sum g, product[c] += sum g * (x - shift[c]). */
    void (*norm_reduce)(const float *x, const float *y, const float *dy, int64_t rows, int64_t c,
                        const float *shift, double *sum, double *product);
    /* dx = (accumulate ? dx : 0) + g * a[c] + x * p[c] + q[c]; dx may be dy. */
    void (*norm_apply)(const float *x, const float *y, const float *dy, int64_t rows, int64_t c,
                       const float *a, const float *p, const float *q, bool accumulate, float *dx);

    /* Elementwise over n values; y = a + b or y = a (b NULL), rectified if relu. */
    void (*add)(const float *a, const float *b, int64_t n, bool relu, float *y);
    /* dx = (accumulate ? dx : 0) + dy, masked to y > 0 where y is not NULL. */
    void (*pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx);

    /* Images [rows = n][h * w][c] to means [n][c], and the transpose of it. */
    void (*mean_rows)(const float *x, int64_t n, int64_t hw, int64_t c, float *y);
    void (*mean_rows_back)(const float *dy, int64_t n, int64_t hw, int64_t c, bool accumulate,
                           float *dx);
    /* sum[c] += x over [rows][c], in double. */
    void (*sum_rows)(const float *x, int64_t rows, int64_t c, double *sum);
    /* y [rows][c] = bias[c]. */
    void (*fill_rows)(const float *bias, int64_t rows, int64_t c, float *y);
};

/* ---- softmax cross-entropy (softmax.c) ------------------------------------------------------ */

/* Loss of one sample in nats, and the lowest arg max; stable for any finite logits. Double
 * throughout: `loss` is NaN where a logit is. */
double mc_cross_entropy(const float *logits, int64_t classes, int32_t label, int64_t *arg_max);

/* d[j] = scale * (softmax(logits)[j] - [j == label]). */
void mc_cross_entropy_back(const float *logits, int64_t classes, int32_t label, double scale,
                           float *d);

#endif
