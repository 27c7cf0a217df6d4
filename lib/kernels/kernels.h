/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kernels: the arithmetic of the engine on plain arrays. A table of functions, compiled once per
 * instruction set from the same sources and picked at run time (dispatch.c). The engine's matrix
 * products are among them (product.c, outer.c); products that nobody packs for go through BLIS
 * (gemm.c).
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

/* C [m][n] += A [m][k] * B [k][n] in double, on the calling thread alone; strides of rows and
 * columns as in mc_matrix. */
void mc_gemm_f64(int64_t m, int64_t n, int64_t k, const double *a, int64_t a_row, int64_t a_col,
                 const double *b, int64_t b_row, int64_t b_col, double *c, int64_t ldc);

/* The plain twin of mc_gemm(): double sums in index order. */
void mc_gemm_plain(int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b, float beta, float *c,
                   int64_t ldc);

/* mc_gemm() spread over a pool, C cut into tiles whose size depends on m and n only. */
void mc_gemm_parallel(mc_pool *pool, int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b,
                      float beta, float *c, int64_t ldc);

/* ---- products of the engine (product.c, outer.c) ------------------------------------------- */

/* Memory that will be wanted soon, `lines` cache lines of it from `at` on. A product that is given
 * some touches it on its way, or a little more, and says how far it came: what it computes with
 * lies in the caches, and memory would rest meanwhile. One that is given none, or no more, touches
 * the panels that it comes to next. */
typedef struct mc_ahead {
    const char *at;
    int64_t lines;
} mc_ahead;
enum { MC_LINE = 64 }; /* bytes */

/* The first of `ranges` that is not yet touched, or NULL. */
static inline mc_ahead *mc_wanted(mc_ahead *ahead, int64_t ranges)
{
    while (ranges > 0 && ahead->lines <= 0) {
        ahead++;
        ranges--;
    }
    return ranges > 0 ? ahead : NULL;
}

/* Rows against a matrix in panels, see product.c. Rows of x lie in stretches of `each`, the first
 * of stretch s at x[s], the others x_step floats apart; so do those of y. Term t of the sum takes
 * `run` numbers of every row, from x_at[t] on, and as many rows of the panels, from panel_at[t] on.
 */
typedef struct mc_product {
    int64_t rows, taps, run, n; /* y [rows][n], a sum of `taps` terms */
    int64_t each;               /* rows of a stretch, at least 1; the last may have fewer */
    const float *const *x;      /* term t of a row is x_offset + x_at[t] behind the row's place */
    int64_t x_step, x_offset;
    const int64_t *x_at, *panel_at; /* NULL: all 0; NULL: t * run */
    const float *panels;            /* as pack_panels() leaves them */
    int64_t panel_rows;             /* of a panel: column j's begins j * panel_rows floats on */
    const float *bias;              /* [n], or NULL */
    bool relu;                      /* negative results become 0 */
    bool accumulate;                /* y is added to */
    float *const *y;                /* a row y_offset behind its place */
    int64_t y_step, y_offset;
    mc_ahead *ahead; /* [ranges], in this order */
    int64_t ranges;
} mc_product;

/* w [k][n], row stride w_stride = (accumulate ? w : 0) + sum over `count` rows of x^T d, see
 * outer.c. Rows lie in stretches as a product's do. The k numbers of a row of x are `terms` runs of
 * equal length, run t from x_at[t] on; behind a run as many as MC_ROW_SLACK more numbers are read,
 * in vain: a whole block of them. */
enum { MC_ROW_SLACK = 16 };
typedef struct mc_outer {
    int64_t count, k, n;
    int64_t each;
    const float *const *x, *const *d;
    int64_t x_step, d_step, x_offset, d_offset;
    int64_t terms;
    const int64_t *x_at; /* NULL: one run */
    float *w;
    int64_t w_stride;
    bool accumulate;
    mc_ahead *ahead; /* [ranges], in this order */
    int64_t ranges;
} mc_outer;

/* An activation [rows][c] that is read through the batch norm behind it:
 * max(0, x * scale[c] + offset[c]), without max unless relu; scale NULL: x itself. Sums of
 * gradients are taken about the mean of x. */
typedef struct mc_map {
    const float *x, *scale, *offset, *mean;
    bool relu;
    int64_t c;
} mc_map;

/* How a batch norm pulls a gradient g of what the map x shows back to x itself: g * a[c] + x->x *
 * p[c] + q[c], with g masked to where the map is positive if it rectifies. */
typedef struct mc_pull {
    mc_map x;
    const float *a, *p, *q;
} mc_pull;

/* ---- windows ------------------------------------------------------------------------------- */

/* A convolution's or pooling's window over [h][w][c] images. */
typedef struct mc_window {
    int64_t c, h, w; /* input */
    int64_t oh, ow;  /* output */
    int64_t kernel, stride, padding;
} mc_window;

/* ---- 3x3 convolutions by few products (winograd.h) ------------------------------------------- */

/* What a dimension of a tile is: two ways at stride 1, and at stride 2 (then both dimensions) the
 * convolution and its input's gradient. */
typedef enum mc_tile_kind { MC_TILE_F4, MC_TILE_T2, MC_TILE_DOWN, MC_TILE_UP } mc_tile_kind;

/* A dimension: tile t makes outputs t * out .. + out - 1 from inputs t * step - before .. + in - 1,
 * as far as they are in the image, by products at `freq` frequencies; MC_TILE_OUT outputs, of each
 * phase, or 2. The last tile may have fewer inside: where this saves frequencies it is an end, made
 * of `last` outputs. */
enum { MC_TILE_OUT = 4 };
typedef struct mc_tile_axis {
    mc_tile_kind tile;
    int64_t from, to, tiles; /* extents of the input and the output; tiles of it */
    int in, out, freq, last; /* last: MC_TILE_OUT if it is no end */
    int64_t step, before;
} mc_tile_axis;

/* Tiles are numbered row by row, image after image. */
typedef struct mc_winograd {
    mc_tile_axis y, x;
} mc_winograd;

/* Tiles first .. first + count - 1, and their rows in planes: those that have the same frequencies
 * lie together, so that every frequency has its tiles in one run of rows. `row` is where each kind
 * begins: ends in y, tiles that are no ends, ends in x, ends in both. */
enum { MC_END_Y, MC_NO_END, MC_END_X, MC_END_BOTH, MC_ENDS };
typedef struct mc_tiles {
    int64_t first, count, row[MC_ENDS];
} mc_tiles;

/* Whether there are tiles for the window: 3x3, at stride 1, or at stride 2 and padding 1. */
bool mc_winograd_possible(const mc_window *window);
/* Those of its convolution, or of the gradient of its input. */
mc_winograd mc_winograd_of(const mc_window *window, bool backward);
/* Frequencies of a tile, most phases of one, all phases of all: products a channel pair. */
int64_t mc_winograd_frequencies(const mc_winograd *w);
int64_t mc_winograd_most_phases(const mc_winograd *w);
int64_t mc_winograd_lines(const mc_winograd *w);
/* Phases of frequency f: of V at tiles down, of M at tiles up. */
int64_t mc_winograd_phases(const mc_winograd *w, int64_t f);
/* Products that an image takes a channel pair. */
int64_t mc_winograd_image_lines(const mc_winograd *w);

/* Tiles in planes of their own, or as part of `all` in the planes of these. */
mc_tiles mc_tiles_of(const mc_winograd *w, int64_t first, int64_t count);
mc_tiles mc_tiles_part(const mc_winograd *w, const mc_tiles *all, int64_t first, int64_t count);
/* How many of them, in planes of their own, have frequency f, and the first one's row. */
int64_t mc_tiles_at(const mc_winograd *w, const mc_tiles *tiles, int64_t f, int64_t *row);

/* Transformed tiles [freq][tiles][phases][c]: frequency f at data + f * plane, its rows `row`
 * floats apart, phases of a row `phase`. Or transformed kernels: frequency f's panels, of `row`
 * rows a phase at tiles down, else of `row` rows with the phases' columns one after another. Or
 * their gradients [freq][phases][rows][columns]. */
typedef struct mc_planes {
    float *data;
    int64_t plane, row, phase;
} mc_planes;

/* How kernels are taken: for the convolution; for the same one backward, turned by a half; or for
 * the transpose of what the first makes, whose phases are columns as at tiles up. */
typedef enum mc_filter_way { MC_FORWARD, MC_TURNED, MC_TRANSPOSED } mc_filter_way;

/* Kernels (row, column) of a product: inputs row .. row + rows - 1 by outputs column .. column +
 * columns - 1 of weight [o][c][3][3] or, not forward, the other way round. Where phases are columns
 * these are a multiple of MC_LANES_MOST. */
typedef struct mc_filter {
    const float *weight;
    int64_t c; /* inputs */
    mc_filter_way way;
    int64_t row, rows, column, columns;
} mc_filter;

/* ---- the table ----------------------------------------------------------------------------- */

struct mc_kernels {
    const char *isa;

    int lanes;   /* floats of a vector */
    int vectors; /* of a panel's columns, fewer at the end: mc_panel_width() */
    /* Weights [o][c][taps], outputs first .. first + count - 1 (from a panel's first on, whole
     * panels), to their panels of rows [taps][c]. */
    void (*pack_panels)(const float *w, int64_t o, int64_t c, int64_t taps, int64_t first,
                        int64_t count, float *panels);
    void (*product)(const mc_product *p);
    void (*outer)(const mc_outer *p);
    /* The same two channel by channel, see depthwise.c: a term of the first is `run` taps of n
     * numbers by as many rows of p->panels [panel_rows][n], k of the second are taps. */
    void (*depthwise)(const mc_product *p);
    void (*depthwise_outer)(const mc_outer *p);

    /* Transforms of tiles: inputs x [images][h][w][c], the first `count` channels of cotangents dy
     * [images][oh][ow][c] (not of tiles T2: pulled back first, unless `pull` is NULL), and products
     * m to those of y [images][oh][ow][c] (plus bias unless NULL; added to y if accumulate; then
     * rectified if relu). */
    void (*winograd_input)(const mc_winograd *w, const mc_map *x, const mc_tiles *tiles,
                           mc_planes v);
    void (*winograd_cotangent)(const mc_winograd *w, const float *dy, const mc_pull *pull,
                               int64_t c, int64_t count, const mc_tiles *tiles, mc_planes d);
    void (*winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t count,
                            const mc_tiles *tiles, const float *bias, bool accumulate, bool relu,
                            float *y);
    /* The transpose of winograd_input, not of tiles T2 or up: m to the inputs' images dx
     * [images][h][w][c], of whole images, in one call or in several one after another (added to dx
     * if accumulate). */
    void (*winograd_input_back)(const mc_winograd *w, mc_planes m, int64_t c, const mc_tiles *tiles,
                                bool accumulate, float *dx);
    /* Kernels to panels u of k->columns columns, from row u_row of each phase on. */
    void (*winograd_filter)(const mc_winograd *w, const mc_filter *k, mc_planes u, int64_t u_row);
    /* Gradients du of k->rows by k->columns kernels, `group_step` floats from group to group and
     * summed over them in order, in the first group's place, to theirs in grad [o][c][3][3] (added
     * if accumulate). */
    void (*winograd_filter_back)(const mc_winograd *w, const mc_filter *k, mc_planes du,
                                 int64_t groups, int64_t group_step, bool accumulate, float *grad);

    /* sum[c] += sum of (x - shift[c]), square[c] += sum of (x - shift[c])^2 over x [rows][c], rows
     * `step` floats apart. */
    void (*moments)(const float *x, int64_t rows, int64_t c, int64_t step, const float *shift,
                    double *sum, double *square);
    /* y = x * scale[c] + offset[c], then max(0, y) if relu; y may be x. */
    void (*affine)(const float *x, int64_t rows, int64_t c, const float *scale, const float *offset,
                   bool relu, float *y);
    /* With g = dy, masked to where the map x is positive if it rectifies, over the first `count`
     * channels: sum[c] += sum g, product[c] += sum g * (x->x - x->mean[c]). */
    void (*norm_reduce)(const mc_map *x, const float *dy, int64_t rows, int64_t count, double *sum,
                        double *product);
    /* First dy = dy masked to y > 0, then likewise; of a map that does not rectify. */
    void (*mask_reduce)(const mc_map *x, const float *y, float *dy, int64_t rows, int64_t count,
                        double *sum, double *product);
    /* dx = (accumulate ? dx : 0) + dy pulled back; dx may be dy. */
    void (*norm_apply)(const mc_pull *pull, const float *dy, int64_t rows, bool accumulate,
                       float *dx);

    /* y [rows][c] = a + b as the maps show them, or y = a (b NULL), rectified if relu. */
    void (*add)(const mc_map *a, const mc_map *b, int64_t rows, bool relu, float *y);
    /* dx = (accumulate ? dx : 0) + dy, masked to y > 0 where y is not NULL. */
    void (*pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx);

    /* y[c] = scale * the sum of a window, `rows` rows `pitch` floats apart of [columns][c]. */
    void (*window_sum)(const float *x, int64_t rows, int64_t pitch, int64_t columns, int64_t c,
                       float scale, float *y);
    /* The gradient of a mean: dx [hw][c] = (accumulate ? dx : 0) + dy[c] / hw. */
    void (*mean_back)(const float *dy, int64_t hw, int64_t c, bool accumulate, float *dx);
    /* sum[c] += x over [rows][c], in double. */
    void (*sum_rows)(const float *x, int64_t rows, int64_t c, double *sum);

    /* y = x Phi(x), Phi the normal distribution function or, if `tanh_form`, its approximation;
     * dx = (accumulate ? dx : 0) + dy * d(x Phi(x))/dx; dx may be dy. */
    void (*gelu)(const float *x, int64_t n, bool tanh_form, float *y);
    void (*gelu_back)(const float *x, const float *dy, int64_t n, bool tanh_form, bool accumulate,
                      float *dx);

    /* Each of `rows` rows of d values on its own, with m its mean, r = 1/sqrt(biased variance +
     * eps) (left in moments [rows][2]) and xhat = (x - m) r: y = xhat * gamma + beta. */
    void (*layer_norm)(const float *x, int64_t rows, int64_t d, const float *gamma,
                       const float *beta, double eps, double *moments, float *y);
    /* Its transpose: sum[d] += dy, product[d] += dy * xhat, dx = (accumulate ? dx : 0) +
     * r (g - mean g - xhat mean(g xhat)) with g = dy * gamma; dx may be dy, or NULL. gamma and beta
     * NULL stand for ones and zeros; sum and product are then not touched. */
    void (*layer_norm_back)(const float *x, const float *dy, const double *moments, int64_t rows,
                            int64_t d, const float *gamma, bool accumulate, float *dx, double *sum,
                            double *product);

    /* values[i] = bound * (2 u - 1), u = mc_random_f64(seed, stream, first + i, 0), for i < n. */
    void (*uniform)(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, double bound,
                    float *values);
};

/* Vectors of every instruction set divide this. */
enum { MC_LANES_MOST = 16 };

/* Columns of the panel that begins `left` columns before the end: as many vectors as a panel has,
 * or half, or a quarter, so that at most part of one vector is empty. */
static inline int64_t mc_panel_width(const mc_kernels *kernels, int64_t left)
{
    int64_t lanes = kernels->lanes, vectors = kernels->vectors;
    while (vectors > 1 && vectors > (left + lanes - 1) / lanes) {
        vectors /= 2;
    }
    return vectors * lanes;
}

/* ---- softmax cross-entropy (softmax.c) ------------------------------------------------------ */

/* Loss of one sample in nats, and the lowest arg max; stable for any finite logits. Double
 * throughout: `loss` is NaN where a logit is. */
double mc_cross_entropy(const float *logits, int64_t classes, int32_t label, int64_t *arg_max);

/* d[j] = scale * (softmax(logits)[j] - [j == label]). */
void mc_cross_entropy_back(const float *logits, int64_t classes, int32_t label, double scale,
                           float *d);

#endif
