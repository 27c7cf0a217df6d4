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

/* ---- 3x3 convolutions at stride 1 by few products (winograd.c) ------------------------------- */

/* A tile of [out_y][out_x] outputs comes from [in_y][in_x] inputs by freq_y * freq_x products a
 * channel pair; tiles are numbered row by row, image after image. */
enum { MC_WINOGRAD_MOST = 36 };
typedef struct mc_winograd {
    int64_t h, w, oh, ow, padding;
    int64_t tiles_y, tiles_x; /* of an image */
    bool t2_y, t2_x;          /* a dimension of 2 pixels, padding 1: one tile, 3 products */
    int in_y, in_x, out_y, out_x, freq_y, freq_x;
} mc_winograd;

/* Fills in everything from the extents; `h` to `oh` by a 3x3 kernel at stride 1. */
mc_winograd mc_winograd_of(int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t padding);

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

    /* Transforms of tiles first .. first+tiles-1: inputs x [images][h][w][c] to v [freq][tiles][c],
     * cotangents dy [images][oh][ow][c] to d [freq][tiles][c], products m [freq][tiles][c] to
     * y [images][oh][ow][c] (plus bias [c] unless NULL; added to y if accumulate). */
    void (*winograd_input)(const mc_winograd *w, const float *x, int64_t c, int64_t first,
                           int64_t tiles, float *v);
    void (*winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c, int64_t first,
                               int64_t tiles, float *d);
    void (*winograd_output)(const mc_winograd *w, const float *m, int64_t c, int64_t first,
                            int64_t tiles, const float *bias, bool accumulate, float *y);
    /* Of kernels first .. first+count-1 of `total`: taps [9][total] (rotated by a half turn if
     * flipped) to u [freq][total]; gradients du [groups][freq][total], summed over the groups in
     * order, added to taps [9][total]. */
    void (*winograd_filter)(const mc_winograd *w, const float *taps, int64_t total, int64_t first,
                            int64_t count, bool flipped, float *u);
    void (*winograd_filter_back)(const mc_winograd *w, const float *du, int64_t total,
                                 int64_t first, int64_t count, int64_t groups, float *taps);

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
