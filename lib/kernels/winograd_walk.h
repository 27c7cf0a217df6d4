/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Goes through the tiles of images (winograd.c, winograd_gather.c): where each one's window and its
 * row in planes are. Tiles of one row of an image that lie inside of it have the same window but
 * for its place, so they come as a run.
 */
#ifndef MC_WINOGRAD_WALK_H
#define MC_WINOGRAD_WALK_H

#include "kernels/winograd_tile.h"
#include <string.h>

static inline int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* A tile's window of an image: `origin` is its corner, which may lie outside; rows top .. bottom -
 * 1 and columns left .. right - 1 of it are inside, the others read as zeros. Of the inputs'
 * windows tiles before have the first `rows` rows and `columns` columns too. */
typedef struct window {
    const float *origin;
    int64_t row, column; /* strides, floats */
    int top, bottom, left, right, rows, columns;
} window;

/* A run of tiles: its outputs, by dimension, the first one's row and window; from tile to tile of
 * it the window moves by `step` floats, the row by one. */
typedef struct run {
    int64_t count, row, step;
    int y, x;
    window at;
} run;

static inline bool is_end(const run *r)
{
    return r->y < MC_TILE_OUT || r->x < MC_TILE_OUT;
}

/* What tiles have of a dimension of images: inputs or outputs. */
typedef struct side {
    int64_t step, before, extent, tiles;
    int size, last;
} side;

static inline side side_of(const mc_tile_axis *axis, bool inputs)
{
    return (side){inputs ? axis->step : axis->out, inputs ? axis->before : 0,
                  inputs ? axis->from : axis->to,  axis->tiles,
                  inputs ? axis->in : axis->out,   axis->last};
}

/* Where tile t of a dimension begins and ends to be inside. */
static inline int begin_of(const side *s, int64_t t)
{
    return (int)clamp(s->before - t * s->step, 0, s->size);
}

static inline int end_of(const side *s, int64_t t, int begin)
{
    return (int)clamp(s->extent + s->before - t * s->step, begin, s->size);
}

/* How much of it tile t - 1 has too. */
static inline int shared_with_last(const side *s, int64_t t)
{
    return t > 0 ? s->size - (int)s->step : 0;
}

/* Outputs of tile t. */
static inline int outputs_of(const side *s, int64_t t)
{
    return t + 1 == s->tiles ? s->last : MC_TILE_OUT;
}

typedef struct walk {
    side y, x;
    const float *images;
    int64_t c, image, tile_y, tile_x; /* of the next tile */
    int64_t left, most;               /* tiles to come, and of a run */
    int64_t inside;                   /* tiles of a row that end inside, none of them an end */
    int64_t row[MC_ENDS];             /* of each kind's next tile */
} walk;

/* Through images with c channels, by their inputs or their outputs; runs of single tiles unless
 * `runs`. */
static inline walk walk_of(const mc_winograd *w, const mc_tiles *tiles, bool inputs,
                           const float *images, int64_t c, bool runs)
{
    int64_t rows = tiles->first / w->x.tiles;
    walk q = {.y = side_of(&w->y, inputs),
              .x = side_of(&w->x, inputs),
              .images = images,
              .c = c,
              .image = rows / w->y.tiles,
              .tile_y = rows % w->y.tiles,
              .tile_x = tiles->first % w->x.tiles,
              .left = tiles->count,
              .most = runs ? tiles->count : 1};
    int64_t reach = q.x.extent + q.x.before - q.x.size;
    if (q.x.step > 0 && reach >= 0) {
        q.inside = clamp(reach / q.x.step + 1, 0, q.x.tiles);
    }
    memcpy(q.row, tiles->row, sizeof q.row);
    return q;
}

/* The next run, while tiles are left. */
static inline run next_run(walk *q)
{
    int64_t y = q->tile_y * q->y.step - q->y.before, x = q->tile_x * q->x.step - q->x.before;
    run r = {.count = 1, .step = q->x.step * q->c};
    r.y = outputs_of(&q->y, q->tile_y);
    r.x = outputs_of(&q->x, q->tile_x);
    r.at.origin = q->images + ((q->image * q->y.extent + y) * q->x.extent + x) * q->c;
    r.at.row = q->x.extent * q->c;
    r.at.column = q->c;
    r.at.top = begin_of(&q->y, q->tile_y);
    r.at.bottom = end_of(&q->y, q->tile_y, r.at.top);
    r.at.left = begin_of(&q->x, q->tile_x);
    r.at.right = end_of(&q->x, q->tile_x, r.at.left);
    r.at.rows = shared_with_last(&q->y, q->tile_y);
    r.at.columns = shared_with_last(&q->x, q->tile_x);
    /* The first tile shares no columns, unlike those behind it. */
    bool alike = q->tile_x > 0 || q->x.step == q->x.size;
    if (alike && x >= 0 && q->tile_x < q->inside) {
        r.count = clamp(q->inside - q->tile_x, 1, q->most < q->left ? q->most : q->left);
    }
    int64_t *row = &q->row[r.x < MC_TILE_OUT ? (r.y < MC_TILE_OUT ? MC_END_BOTH : MC_END_X)
                                             : (r.y < MC_TILE_OUT ? MC_END_Y : MC_NO_END)];
    r.row = *row;
    *row += r.count;
    q->left -= r.count;
    q->tile_x += r.count;
    if (q->tile_x == q->x.tiles) {
        q->tile_x = 0;
        q->tile_y = q->tile_y + 1 == q->y.tiles ? 0 : q->tile_y + 1;
        q->image += q->tile_y == 0;
    }
    return r;
}

/* ---- channels ------------------------------------------------------------------------------ */

/* Channels from i on that are transformed together: a group of whole vectors, or fewer, or what is
 * left of one. */
typedef struct together {
    int64_t vectors, step;
    mc_mask there;
} together;

static inline together together_at(int64_t c, int64_t i)
{
    int64_t whole = (c - i) / MC_LANES;
    if (whole == 0) {
        return (together){1, MC_LANES, mc_first(c - i)};
    }
    int64_t vectors = whole < MC_GROUP ? whole : MC_GROUP;
    return (together){vectors, vectors * MC_LANES, mc_first(MC_LANES)};
}

/* Where one group has all channels, tiles come in runs; otherwise each tile's pixels would leave
 * the cache between its groups. */
static inline bool in_runs(int64_t c)
{
    return c <= MC_GROUP * MC_LANES;
}

#endif
