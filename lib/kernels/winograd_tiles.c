/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which tiles a 3x3 convolution is made of (winograd.h).
 */
#include "kernels/kernels.h"

static mc_tile_axis at_stride_1(int64_t from, int64_t to, int64_t padding)
{
    bool whole = from == 2 && to == 2 && padding == 1;
    /* T2 sees the whole dimension, F4 a window that begins in the padding. */
    return whole ? (mc_tile_axis){.tile = MC_TILE_T2, .in = 2, .out = 2, .freq = 3}
                 : (mc_tile_axis){.tile = MC_TILE_F4,
                                  .in = 6,
                                  .out = 4,
                                  .freq = 6,
                                  .step = 4,
                                  .before = padding};
}

static mc_tile_axis at_stride_2(bool backward)
{
    return backward
               ? (mc_tile_axis){.tile = MC_TILE_UP, .in = 5, .out = 8, .freq = 5, .step = 4}
               : (mc_tile_axis){
                     .tile = MC_TILE_DOWN, .in = 9, .out = 4, .freq = 5, .step = 8, .before = 1};
}

static mc_tile_axis axis_of(int64_t extent, int64_t out_extent, const mc_window *window,
                            bool backward)
{
    int64_t from = backward ? out_extent : extent, to = backward ? extent : out_extent;
    mc_tile_axis axis =
        window->stride == 2
            ? at_stride_2(backward)
            : at_stride_1(from, to, backward ? 2 - window->padding : window->padding);
    axis.from = from;
    axis.to = to;
    axis.tiles = (to + axis.out - 1) / axis.out;
    axis.last = MC_TILE_OUT;
    return axis;
}

/* Outputs, of each phase, of the last tile. */
static int last_of(const mc_tile_axis *axis)
{
    int64_t phases = axis->tile == MC_TILE_UP ? 2 : 1, rest = axis->to % axis->out;
    return rest == 0 ? MC_TILE_OUT : (int)((rest + phases - 1) / phases);
}

bool mc_winograd_possible(const mc_window *p)
{
    return p->kernel == 3 && p->h > 1 && p->w > 1 &&
           ((p->stride == 1 && p->padding <= 2) || (p->stride == 2 && p->padding == 1));
}

mc_winograd mc_winograd_of(const mc_window *window, bool backward)
{
    mc_winograd w = {axis_of(window->h, window->oh, window, backward),
                     axis_of(window->w, window->ow, window, backward)};
    if (w.y.tile != MC_TILE_T2 && w.x.tile != MC_TILE_T2) { /* T2 and ends do not mix */
        w.y.last = last_of(&w.y);
        w.x.last = last_of(&w.x);
    }
    return w;
}

int64_t mc_winograd_frequencies(const mc_winograd *w)
{
    return w->y.freq * w->x.freq;
}

/* In every dimension two phases, but one at the last frequency, infinity. */
int64_t mc_winograd_phases(const mc_winograd *w, int64_t f)
{
    if (w->y.tile < MC_TILE_DOWN) {
        return 1;
    }
    return (f / w->x.freq == w->y.freq - 1 ? 1 : 2) * (f % w->x.freq == w->x.freq - 1 ? 1 : 2);
}

int64_t mc_winograd_most_phases(const mc_winograd *w)
{
    return mc_winograd_phases(w, 0);
}

int64_t mc_winograd_lines(const mc_winograd *w)
{
    return w->y.tile < MC_TILE_DOWN ? mc_winograd_frequencies(w)
                                    : (2 * w->y.freq - 1) * (2 * w->x.freq - 1);
}

/* Of all tiles along a dimension; a phase has one number less than frequencies. */
static int64_t axis_lines(const mc_tile_axis *axis)
{
    int64_t phases = axis->tile < MC_TILE_DOWN ? 1 : 2;
    return axis->tiles * (phases * axis->freq - (phases - 1)) - phases * (MC_TILE_OUT - axis->last);
}

int64_t mc_winograd_image_lines(const mc_winograd *w)
{
    return axis_lines(&w->y) * axis_lines(&w->x);
}

/* ---- rows in planes -------------------------------------------------------------------------- */

static bool has_ends(const mc_winograd *w)
{
    return w->y.last < MC_TILE_OUT || w->x.last < MC_TILE_OUT;
}

typedef struct counts {
    int64_t of[MC_ENDS];
} counts;

/* Tiles by kind before tile `number`. */
static counts before(const mc_winograd *w, int64_t number)
{
    bool ends_y = w->y.last < MC_TILE_OUT, ends_x = w->x.last < MC_TILE_OUT;
    int64_t rows = w->y.tiles - ends_y, columns = w->x.tiles - ends_x;
    int64_t per_image = w->y.tiles * w->x.tiles, images = number / per_image;
    int64_t y = number % per_image / w->x.tiles, x = number % w->x.tiles;
    counts n = {{images * ends_y * columns, (images * rows + y) * columns,
                 (images * rows + y) * ends_x, images * ends_y * ends_x}};
    n.of[y < rows ? MC_NO_END : MC_END_Y] += x;
    return n;
}

mc_tiles mc_tiles_of(const mc_winograd *w, int64_t first, int64_t count)
{
    mc_tiles tiles = {.first = first, .count = count, .row = {0, 0, count, count}};
    if (!has_ends(w)) {
        return tiles;
    }
    counts from = before(w, first), to = before(w, first + count);
    for (int kind = 1; kind < MC_ENDS; kind++) {
        tiles.row[kind] = tiles.row[kind - 1] + to.of[kind - 1] - from.of[kind - 1];
    }
    return tiles;
}

mc_tiles mc_tiles_part(const mc_winograd *w, const mc_tiles *all, int64_t first, int64_t count)
{
    mc_tiles tiles = *all;
    if (!has_ends(w)) {
        tiles.first = first;
        tiles.count = count;
        tiles.row[MC_NO_END] += first - all->first;
        return tiles;
    }
    counts from = before(w, all->first), to = before(w, first);
    tiles.first = first;
    tiles.count = count;
    for (int kind = 0; kind < MC_ENDS; kind++) {
        tiles.row[kind] += to.of[kind] - from.of[kind];
    }
    return tiles;
}

/* Whether an end has frequency f of its dimension: infinity, the last, or one of the first. */
static bool end_has(const mc_tile_axis *axis, int64_t f)
{
    return f == axis->freq - 1 || f < axis->freq - 1 - (MC_TILE_OUT - axis->last);
}

int64_t mc_tiles_at(const mc_winograd *w, const mc_tiles *tiles, int64_t f, int64_t *row)
{
    *row = 0;
    if (!has_ends(w)) {
        return tiles->count;
    }
    /* Ends in y have it or not, and so have ends in x: two neighbouring kinds, or one, or all. */
    bool y = end_has(&w->y, f / w->x.freq), x = end_has(&w->x, f % w->x.freq);
    int64_t end = y && x ? tiles->count : tiles->row[y ? MC_END_X : x ? MC_END_BOTH : MC_END_X];
    *row = tiles->row[y ? MC_END_Y : MC_NO_END];
    return end - *row;
}
