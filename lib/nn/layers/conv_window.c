/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where a convolution's windows lie, tiles of maps, and frames: copies of a tile's source among
 * explicit zeros, [images][rows][columns][c], in which every row of the kernel is one run of
 * numbers and all windows have the same shape.
 */
#include "nn/layers/conv_window.h"
#include <string.h>

/* Floats of a frame, which shares the second cache with panels and sums; rows below which smaller
 * tiles cost more than idle threads. */
enum { FRAME_MOST = 262144, ROWS_LEAST = 48, COLUMNS_LEAST = 8 };

/* ---- dimensions ------------------------------------------------------------------------------ */

static int64_t taps_of_class(int64_t kernel, int64_t stride, int64_t residue)
{
    return residue < kernel ? (kernel - residue - 1) / stride + 1 : 0;
}

static int64_t first_place(int64_t kernel, int64_t stride, int64_t residue)
{
    int64_t place = 0;
    for (int64_t r = 0; r < residue; r++) {
        place += taps_of_class(kernel, stride, r);
    }
    return place;
}

int64_t mc_tap_place(int64_t kernel, int64_t stride, int64_t t)
{
    int64_t residue = t % stride;
    return first_place(kernel, stride, residue) + taps_of_class(kernel, stride, residue) - 1 -
           t / stride;
}

mc_reach mc_axis_reach(const mc_axis *axis, int64_t class)
{
    if (!axis->backward) {
        return (mc_reach){0, axis->to, -axis->padding, axis->kernel, 0};
    }
    /* Pixel class + i s is met by tap t through output (class + i s + padding - t) / s. */
    int64_t moved = class + axis->padding, residue = moved % axis->stride;
    int64_t taps = taps_of_class(axis->kernel, axis->stride, residue);
    return (mc_reach){.to = class,
                      .count = class < axis->to ? (axis->to - class - 1) / axis->stride + 1 : 0,
                      .from = moved / axis->stride - taps + 1,
                      .taps = taps,
                      .place = first_place(axis->kernel, axis->stride, residue)};
}

mc_axis mc_axis_of(int64_t extent, int64_t out_extent, const mc_window *window, bool backward)
{
    mc_axis axis = {.to = backward ? extent : out_extent,
                    .from = backward ? out_extent : extent,
                    .kernel = window->kernel,
                    .stride = window->stride,
                    .padding = window->padding,
                    .backward = backward,
                    .classes = backward ? window->stride : 1,
                    .to_step = backward ? window->stride : 1,
                    .from_step = backward ? 1 : window->stride};
    int64_t end = 0;
    bool any = false;
    axis.count = mc_quotient_up(axis.to, axis.to_step);
    for (int64_t class = 0; class < axis.classes; class ++) {
        mc_reach reach = mc_axis_reach(&axis, class);
        if (reach.taps > 0) {
            axis.low = any ? mc_smaller(axis.low, reach.from) : reach.from;
            end = any ? mc_at_least(end, reach.from + reach.taps) : reach.from + reach.taps;
            any = true;
        }
    }
    axis.span = end - axis.low;
    return axis;
}

mc_reach mc_axis_pixel(const mc_axis *axis, int64_t to)
{
    mc_reach reach = mc_axis_reach(axis, to % axis->to_step);
    int64_t from = reach.from + to / axis->to_step * axis->from_step;
    int64_t skipped = from < 0 ? -from : 0;
    int64_t taps = mc_smaller(from + reach.taps, axis->from) - (from + skipped);
    return (mc_reach){to, 1, from + skipped, mc_at_least(taps, 0), reach.place + skipped};
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static bool reads_outside(const mc_axis *axis)
{
    return axis->low < 0 ||
           (axis->count - 1) * axis->from_step + axis->low + axis->span > axis->from;
}

mc_reading mc_reading_of(const mc_node *node, bool backward, mc_map source, int64_t c)
{
    const mc_window *window = &node->window;
    mc_reading reading = {.y = mc_axis_of(window->h, window->oh, window, backward),
                          .x = mc_axis_of(window->w, window->ow, window, backward),
                          .source = source,
                          .c = c};
    /* Some of a pixel's channels are no run of several taps. */
    reading.framed = source.scale != NULL || reads_outside(&reading.y) ||
                     reads_outside(&reading.x) || (c < source.c && window->kernel > 1);
    return reading;
}

/* Frame rows of a tile's rows: where the stride leaves some out, they are not copied. */
static int64_t rows_between(const mc_axis *y)
{
    return mc_smaller(y->from_step, y->span);
}

static int64_t frame_rows(const mc_axis *y, int64_t rows)
{
    return (rows - 1) * rows_between(y) + y->span;
}

static int64_t frame_columns(const mc_axis *x, int64_t columns)
{
    return (columns - 1) * x->from_step + x->span;
}

int64_t mc_frame_size(const mc_reading *reading, const mc_tiling *t)
{
    return reading->framed ? t->images * frame_rows(&reading->y, t->y) *
                                 frame_columns(&reading->x, t->x) * reading->c
                           : 0;
}

/* A smaller tile, or false: it is as small as it may be. */
static bool halve(mc_tiling *t)
{
    if (t->images > 1) {
        t->images = (t->images + 1) / 2;
    } else if (t->y > 1) {
        t->y = (t->y + 1) / 2;
    } else if (t->x > COLUMNS_LEAST) {
        t->x = (t->x + 1) / 2;
    } else {
        return false;
    }
    return true;
}

static void count_tiles(const mc_reading *reading, int64_t n, mc_tiling *t)
{
    t->tiles_y = mc_quotient_up(reading->y.count, t->y);
    t->tiles_x = mc_quotient_up(reading->x.count, t->x);
    t->tiles = mc_quotient_up(n, t->images) * t->tiles_y * t->tiles_x;
}

mc_tiling mc_tiling_of(const mc_reading *reading, int64_t n)
{
    int64_t h = reading->y.count, w = reading->x.count;
    mc_tiling t = {.x = mc_smaller(w, MC_TILE_ROWS)};
    t.y = mc_smaller(h, mc_at_least(MC_TILE_ROWS / t.x, 1));
    t.images = t.x * t.y == h * w ? mc_at_least(MC_TILE_ROWS / (h * w), 1) : 1;
    while (mc_frame_size(reading, &t) > FRAME_MOST && halve(&t)) {
    }
    if (n > 0) {
        t.images = mc_smaller(t.images, n);
        count_tiles(reading, n, &t);
        while (t.tiles < MC_TILE_TASKS && t.images * t.y * t.x >= 2 * ROWS_LEAST && halve(&t)) {
            count_tiles(reading, n, &t);
        }
    }
    /* Tiles of equal size, and of images an even number: two threads have as much to do. */
    if (n > 0 && t.images > 1) {
        int64_t tiles = mc_quotient_up(n, t.images);
        t.images = mc_quotient_up(n, tiles + tiles % 2);
    }
    count_tiles(reading, mc_at_least(n, 1), &t);
    t.y = mc_quotient_up(h, t.tiles_y);
    t.x = mc_quotient_up(w, t.tiles_x);
    count_tiles(reading, mc_at_least(n, 1), &t);
    return t;
}

mc_tile mc_tile_at(const mc_tiling *t, const mc_reading *reading, int64_t n, int64_t which)
{
    int64_t image = which / (t->tiles_y * t->tiles_x) * t->images;
    int64_t y = which / t->tiles_x % t->tiles_y * t->y, x = which % t->tiles_x * t->x;
    return (mc_tile){.image = image,
                     .images = mc_smaller(t->images, n - image),
                     .y = y,
                     .rows = mc_smaller(t->y, reading->y.count - y),
                     .x = x,
                     .columns = mc_smaller(t->x, reading->x.count - x)};
}

/* Rows begin .. end - 1 of the tile's images; of several these are all rows. */
static mc_pixels pixels_of(const mc_tile *tile, int64_t begin, int64_t end, int64_t height,
                           int64_t width)
{
    return (mc_pixels){(tile->image * height + begin) * width,
                       ((tile->images - 1) * height + end - begin) * width};
}

mc_pixels mc_tile_produces(const mc_reading *r, const mc_tile *tile)
{
    int64_t end = (tile->y + tile->rows) * r->y.to_step;
    return pixels_of(tile, tile->y * r->y.to_step, mc_smaller(end, r->y.to), r->y.to, r->x.to);
}

mc_pixels mc_tile_reads(const mc_reading *r, const mc_tile *tile)
{
    int64_t begin = tile->y * r->y.from_step + r->y.low;
    int64_t end = begin + (tile->rows - 1) * r->y.from_step + r->y.span;
    begin = mc_smaller(mc_at_least(begin, 0), r->y.from);
    end = mc_at_least(mc_smaller(end, r->y.from), begin);
    return pixels_of(tile, begin, end, r->y.from, r->x.from);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* `pixels` pixels of the source from float `at` on. */
static void copy_pixels(const mc_reading *r, const mc_kernels *kernels, int64_t at, int64_t pixels,
                        float *to)
{
    const mc_map *map = &r->source;
    int64_t step = r->c == map->c ? pixels : 1; /* pixels that follow each other */
    const float *from = map->x + at;
    for (int64_t i = 0; i < pixels; i += step, from += step * map->c, to += step * r->c) {
        if (map->scale != NULL) {
            kernels->affine(from, step, r->c, map->scale, map->offset, map->relu, to);
        } else {
            memcpy(to, from, (size_t)(step * r->c) * sizeof *to);
        }
    }
}

/* One row of a frame: columns from x on of row y of an image, where there are any. */
static void fill_row(const mc_reading *r, const mc_kernels *kernels, int64_t image, int64_t y,
                     int64_t x, int64_t columns, float *to)
{
    int64_t h = r->y.from, w = r->x.from, c = r->c;
    int64_t begin = mc_smaller(x < 0 ? -x : 0, columns);
    int64_t end = mc_at_least(mc_smaller(w - x, columns), begin);
    if (y < 0 || y >= h) {
        begin = end = columns;
    }
    memset(to, 0, (size_t)(begin * c) * sizeof *to);
    if (end > begin) {
        copy_pixels(r, kernels, ((image * h + y) * w + x + begin) * r->source.c, end - begin,
                    to + begin * c);
    }
    memset(to + end * c, 0, (size_t)((columns - end) * c) * sizeof *to);
}

mc_view mc_view_of(const mc_reading *r, const mc_kernels *kernels, const mc_tile *tile,
                   float *frame)
{
    int64_t y = tile->y * r->y.from_step + r->y.low, x = tile->x * r->x.from_step + r->x.low;
    if (!r->framed) {
        int64_t pitch = r->x.from * r->source.c, image = r->y.from * pitch;
        return (mc_view){.at = r->source.x + tile->image * image + y * pitch + x * r->source.c,
                         .image = image,
                         .row = r->y.from_step * pitch,
                         .pixel = r->x.from_step * r->source.c,
                         .pitch = pitch};
    }
    int64_t rows = frame_rows(&r->y, tile->rows), columns = frame_columns(&r->x, tile->columns);
    int64_t group = rows_between(&r->y);
    float *to = frame;
    for (int64_t i = 0; i < tile->images; i++) {
        for (int64_t row = 0; row < rows; row++, to += columns * r->c) {
            int64_t last = mc_smaller(row / group, tile->rows - 1);
            fill_row(r, kernels, tile->image + i, y + last * r->y.from_step + row - last * group, x,
                     columns, to);
        }
    }
    return (mc_view){.at = frame,
                     .image = rows * columns * r->c,
                     .row = group * columns * r->c,
                     .pixel = r->x.from_step * r->c,
                     .pitch = columns * r->c};
}

/* ---- rows ------------------------------------------------------------------------------------ */

void mc_tile_rows(const mc_reading *r, const mc_tile *tile, const mc_view *view, int64_t height,
                  int64_t width, float *to, int64_t c, mc_row_table *rows)
{
    /* Columns, rows, images; a stretch is as many dimensions as are equally spaced together. */
    const int64_t extent[] = {width, height, tile->images};
    const int64_t x_step[] = {view->pixel, view->row, view->image};
    const int64_t y_row = r->y.to_step * r->x.to * c;
    const int64_t y_step[] = {r->x.to_step * c, y_row, r->y.to * r->x.to * c};
    int together = 0;
    rows->each = 1;
    rows->x_step = rows->y_step = 0;
    for (; together < 3; together++) {
        if (rows->each == 1) {
            rows->x_step = x_step[together];
            rows->y_step = y_step[together];
        } else if (x_step[together] != rows->each * rows->x_step ||
                   y_step[together] != rows->each * rows->y_step) {
            break;
        }
        rows->each *= extent[together];
    }
    float *result = to + tile->image * y_step[2] + tile->y * y_row + tile->x * y_step[0];
    int64_t images = together < 3 ? tile->images : 1, lines = together < 2 ? height : 1, at = 0;
    for (int64_t i = 0; i < images; i++) {
        for (int64_t v = 0; v < lines; v++, at++) {
            rows->x[at] = view->at + i * view->image + v * view->row;
            rows->y[at] = result + i * y_step[2] + v * y_row;
        }
    }
    rows->count = width * height * tile->images;
}

/* ---- terms ----------------------------------------------------------------------------------- */

void mc_take_terms(const mc_reading *reading, const mc_reach *y, const mc_reach *x, int64_t at,
                   int64_t pitch, int64_t per_tap, mc_terms *terms, mc_product *product)
{
    int64_t kernel = reading->y.kernel;
    product->taps = x->taps > 0 ? y->taps : 0;
    for (int64_t t = 0; t < product->taps; t++) {
        terms->x_at[t] = at + t * pitch;
        terms->panel_at[t] = ((y->place + t) * kernel + x->place) * per_tap;
    }
    product->run = mc_at_least(x->taps * per_tap, 1);
    product->x_at = terms->x_at;
    product->panel_at = terms->panel_at;
    product->panel_rows = kernel * kernel * per_tap;
}
