/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the direct convolution's products (conv_direct.c) and its weight gradient
 * (conv_direct_weight.c) share: where a window's taps lie (conv_window.c), and the tiles in which
 * a map is worked through.
 *
 * Seen along one dimension, forward and input gradient are the same thing: pixels of one map are
 * produced from runs of pixels of another.
 *
 *     forward           y[i]  from  x[i s - padding + j],              j < kernel
 *     input gradient    dx[i s + phase]  from  dy[i + first + j],      j < taps of the phase
 *
 * Forward knows one class of pixels, the input gradient s of them, the phases: each meets the taps
 * t = phase + padding modulo s, the last of them first, so that the pixels that it reads follow
 * each other. Packed weights have their taps in the order of the classes.
 */
#ifndef MC_CONV_WINDOW_H
#define MC_CONV_WINDOW_H

#include "nn/layers/conv.h"

/* One dimension of a class: pixel i < count, at to + i * (the dimension's to_step), comes from
 * source pixels from + i * (its from_step) + j, j < taps, by the packed weight's tap place + j. */
typedef struct mc_reach {
    int64_t to, count, from, taps, place;
} mc_reach;

/* One dimension of a convolution. */
typedef struct mc_axis {
    int64_t to, from; /* extents: of what is produced, and of its source */
    int64_t kernel, stride, padding;
    bool backward;
    int64_t classes, to_step, from_step;
    int64_t count; /* the most pixels of a class */
    int64_t low,
        span; /* all classes' pixels i read within low .. low + span - 1 of i * from_step */
} mc_axis;

mc_axis mc_axis_of(int64_t extent, int64_t out_extent, const mc_window *window, bool backward);
mc_reach mc_axis_reach(const mc_axis *axis, int64_t class);
/* Produced pixel `to` alone, without what lies outside of the source. */
mc_reach mc_axis_pixel(const mc_axis *axis, int64_t to);
/* Where the input gradient's packed weight has tap t of its dimension. */
int64_t mc_tap_place(int64_t kernel, int64_t stride, int64_t t);

/* How maps are worked through: tiles of `images` images, or of y by x of a class's pixels. */
typedef struct mc_tiling {
    int64_t images, y, x;
    int64_t tiles_y, tiles_x, tiles; /* in all */
} mc_tiling;

/* A tile: images from `image` on, pixels of a class from y and x on. */
typedef struct mc_tile {
    int64_t image, images, y, rows, x, columns;
} mc_tile;

/* A convolution's two dimensions, and its source: [h][w][c] images, seen through a map. */
typedef struct mc_reading {
    mc_axis y, x;
    mc_map source;
    int64_t c;   /* channels from source.x on of the source.c that a pixel has */
    bool framed; /* zeros around the image are read, or a map: rows come from a copy */
} mc_reading;

mc_reading mc_reading_of(const mc_node *node, bool backward, mc_map source, int64_t c);

/* Rows of a product, and of a tile that has room for them. */
enum { MC_TILE_ROWS = 192, MC_TILE_TASKS = 8 };

/* n <= 0: what is the largest tile for any number of images. */
mc_tiling mc_tiling_of(const mc_reading *reading, int64_t n);
mc_tile mc_tile_at(const mc_tiling *tiling, const mc_reading *reading, int64_t n, int64_t which);

/* Pixels of a map that follow each other. */
typedef struct mc_pixels {
    int64_t first, count;
} mc_pixels;

/* Of a tile of whole rows: what all classes produce, and what they read of the source. */
mc_pixels mc_tile_produces(const mc_reading *reading, const mc_tile *tile);
mc_pixels mc_tile_reads(const mc_reading *reading, const mc_tile *tile);

/* The pixels of a tile's source: pixel (0, 0) of its first image's window at `at`; strides in
 * floats between images, produced rows, produced pixels, and rows of the kernel. */
typedef struct mc_view {
    const float *at;
    int64_t image, row, pixel, pitch;
} mc_view;

/* Floats of a tile's frame, 0: none. */
int64_t mc_frame_size(const mc_reading *reading, const mc_tiling *tiling);
/* The source of the tile, copied among zeros to `frame` where that is needed. */
mc_view mc_view_of(const mc_reading *reading, const mc_kernels *kernels, const mc_tile *tile,
                   float *frame);

/* Terms of a product: rows of the kernel (conv2d.c: at most 64). */
enum { MC_TERMS_MOST = 64 };
typedef struct mc_terms {
    int64_t x_at[MC_TERMS_MOST], panel_at[MC_TERMS_MOST];
} mc_terms;

/* Gives a product the terms of a class, which begin `at` floats behind its rows, `pitch` apart; a
 * tap of the packed weight is `per_tap` rows. */
void mc_take_terms(const mc_reading *reading, const mc_reach *y, const mc_reach *x, int64_t at,
                   int64_t pitch, int64_t per_tap, mc_terms *terms, mc_product *product);

/* ---- memory of a pass ------------------------------------------------------------------------ */

enum { MC_FLOATS_PER_POINTER = sizeof(int64_t) / sizeof(float) };

/* A tile's pixels as the rows of a product (kernels.h): `count` of them in stretches of `each`,
 * where their windows and their results begin. */
typedef struct mc_row_table {
    const float **x;
    float **y;
    int64_t count, each, x_step, y_step;
    float *frame; /* behind the pointers in a worker's memory */
} mc_row_table;

enum { MC_ROWS_SIZE = 2 * MC_TILE_ROWS * MC_FLOATS_PER_POINTER };

static inline mc_row_table mc_row_table_in(float *memory)
{
    float **pointers = (float **)(void *)memory;
    return (mc_row_table){.x = (const float **)(void *)memory,
                          .y = pointers + MC_TILE_ROWS,
                          .frame = memory + MC_ROWS_SIZE};
}

/* The tile's first height by width pixels: windows from kernel row and column 0 of the reading on,
 * results in `to` [h][w][c] of a class that begins at pixel 0. */
void mc_tile_rows(const mc_reading *reading, const mc_tile *tile, const mc_view *view,
                  int64_t height, int64_t width, float *to, int64_t c, mc_row_table *rows);

static inline mc_product mc_product_of(const mc_row_table *rows)
{
    return (mc_product){.rows = rows->count,
                        .each = rows->each,
                        .x = rows->x,
                        .x_step = rows->x_step,
                        .y = rows->y,
                        .y_step = rows->y_step};
}

/* Cotangents in the place of results. */
static inline mc_outer mc_outer_of(const mc_row_table *rows)
{
    return (mc_outer){.count = rows->count,
                      .each = rows->each,
                      .x = rows->x,
                      .x_step = rows->x_step,
                      .d = (const float *const *)rows->y,
                      .d_step = rows->y_step};
}

/* Pixels of a class below which each is a class of its own: many of their taps lie outside, unless
 * there is only one. */
enum { MC_FEW_PIXELS = 16 };

static inline bool mc_few_pixels(const mc_reading *reading)
{
    return reading->y.kernel > 1 && reading->y.count * reading->x.count < MC_FEW_PIXELS;
}

/* Likewise of the output's. */
static inline bool mc_few_outputs(const mc_node *node)
{
    const mc_window *window = &node->window;
    return window->kernel > 1 && window->oh * window->ow < MC_FEW_PIXELS;
}

/* conv_direct_weight.c: the weight's gradient, and its memory. */
void mc_conv_direct_weight(const mc_conv_job *job);
int64_t mc_conv_direct_weight_scratch(const mc_node *node);
int64_t mc_conv_direct_weight_shared(const mc_node *node);

static inline int64_t mc_smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t mc_quotient_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

#endif
