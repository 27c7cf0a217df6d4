/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tiles of the 3x3 convolution as a bilinear algorithm (winograd.h), compiled per instruction set:
 *
 *     Y = A^T [ sum_c (G g G^T) * (B^T x B) ] A       products per frequency, summed by GEMMs
 *     dg = G^T [ (B^T x B)^T * (A dY A^T) ] G         the same algorithm's weight gradient
 *
 * Here are B^T x B and A dY A^T, from images to planes [freq][tiles][c], at stride 2 [freq][tiles]
 * [phases][c] of x; winograd_gather.c goes back. A tile is transformed along x, row by row, then
 * along y; a group of channel vectors at a time.
 */
#include "kernels/winograd_walk.h"
#include <math.h>

enum { LANES = MC_LANES };

/* ---- images to planes ------------------------------------------------------------------------ */

/* How pixels are read: as they lie; through a map; pulled back through a batch norm. */
typedef enum reading { AS_IS, THROUGH, PULLED } reading;

/* What that takes, of a vector of channels: `floor` is what a map rectifies to; of a batch norm
 * that does not rectify, scale and offset are 0 and 1, so that every number passes. */
typedef struct lens {
    mc_vec scale, offset, floor, a, p, q;
} lens;

/* What is transformed: of a run of tiles up to a group of vectors of channels, of each vector the
 * lanes `there`, read from `at` through scale and offset, to `to` in the planes; `ahead` floats
 * behind lies what is transformed next. */
typedef struct spreading {
    int64_t vectors, count, step, ahead;
    int y, x; /* outputs */
    mc_mask there;
    bool relu;
    window at;
    const float *scale, *offset;
    const float *a, *p, *q, *value; /* pulled back: of the batch norm, its input as `at` begins */
    float *to;
    mc_planes planes;
} spreading;

/* Of the group's vector g. */
static inline __attribute__((always_inline)) lens lens_at(const spreading *s, const reading how,
                                                          int64_t g)
{
    lens by = {.floor = (mc_vec){0.0f} + (s->relu ? 0.0f : -INFINITY)};
    if (how == THROUGH || (how == PULLED && s->relu)) {
        by.scale = mc_load_masked(s->scale + g * LANES, s->there);
        by.offset = mc_load_masked(s->offset + g * LANES, s->there);
    } else {
        by.offset = (mc_vec){0.0f} + 1.0f;
    }
    if (how == PULLED) {
        by.a = mc_load_masked(s->a + g * LANES, s->there);
        by.p = mc_load_masked(s->p + g * LANES, s->there);
        by.q = mc_load_masked(s->q + g * LANES, s->there);
    }
    return by;
}

/* One row of a window, `from` floats behind where it begins: a vector of channels, `columns` of it;
 * outside are zeros, whatever becomes of zero. */
static inline __attribute__((always_inline)) void read_row(const spreading *s, int64_t from,
                                                           const mc_mask *mask, const int columns,
                                                           const reading how, const lens *by,
                                                           mc_vec *x)
{
    const int64_t column = s->at.column;
    MC_UNROLL
    for (int k = 0; k < columns; k++) {
        x[k] = mc_load_masked(s->at.origin + from + k * column, mask[k]);
        if (how == THROUGH) {
            x[k] = mc_keep(mask[k], mc_max(by->floor, x[k] * by->scale + by->offset));
        } else if (how == PULLED) {
            mc_vec value = mc_load_masked(s->value + from + k * column, mask[k]);
            mc_vec g = mc_where_positive(value * by->scale + by->offset, x[k]);
            x[k] = mc_keep(mask[k], g * by->a + value * by->p + by->q);
        }
    }
}

/* A row of the next window into the first cache, `from` floats behind where it begins. A row's
 * pixels are a few lines, rows are far apart: no processor sees that coming. */
static inline __attribute__((always_inline)) void ask_for_row(const spreading *s, int64_t from,
                                                              const int64_t vectors,
                                                              const int columns, const reading how)
{
    enum { LINE = MC_LINE / sizeof(float) };
    from += s->ahead;
    MC_UNROLL
    for (int k = 0; k < columns; k++, from += s->at.column) {
        MC_ROLLED
        for (int64_t i = 0; i < vectors * LANES; i += LINE) {
            __builtin_prefetch(s->at.origin + from + i);
            if (how == PULLED) {
                __builtin_prefetch(s->value + from + i);
            }
        }
    }
}

/* Along x: `rows` of the window, to half [group][whole_in][whole_out], by n outputs; of these
 * numbers a whole tile has so many. Whether to ask for the next window's meanwhile. */
static inline __attribute__((always_inline)) void
spread_rows(const int64_t vectors, mc_tile_kind tile, const int n, const reading how,
            const bool ask, mc_transform_1d along, const mc_extents *extents, const int rows,
            const int whole_in, const spreading *s, int64_t from, mc_vec *half)
{
    const int whole_out = extents->out[tile];
    const int in = extent_of(extents->in[tile], n), out = extent_of(whole_out, n);
    mc_vec x[MC_SIDE], y[MC_SIDE];
    mc_mask mask[MC_SIDE];

    MC_UNROLL
    for (int k = 0; k < in; k++) {
        mask[k] = mc_if((k >= s->at.left) & (k < s->at.right), s->there);
    }
    /* All of the group's channels before the next row: memory in its own order, which the processor
     * fetches ahead. */
    MC_ROLLED
    for (int r = 0; r < rows; r++, from += s->at.row) {
        mc_vec *row = half + r * whole_out;
        bool inside = r >= s->at.top && r < s->at.bottom;
        if (ask) {
            ask_for_row(s, from, vectors, in, how);
        }
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, row += whole_in * whole_out) {
            if (inside) {
                lens by = lens_at(s, how, g);
                read_row(s, from + g * LANES, mask, in, how, &by, x);
                along(tile, n, x, y);
            } else {
                MC_UNROLL
                for (int k = 0; k < out; k++) {
                    y[number_of(k, whole_out, n)] = (mc_vec){0.0f};
                }
            }
            MC_UNROLL
            for (int k = 0; k < out; k++) {
                row[number_of(k, whole_out, n)] = y[number_of(k, whole_out, n)];
            }
        }
    }
}

/* Along y: the numbers of a row of n_x outputs, to `to`, by n outputs. */
static inline __attribute__((always_inline)) void
spread_columns(const int64_t vectors, mc_tile_kind tile, const int n, mc_transform_1d along,
               const mc_extents *extents, const int whole_x, const int n_x, const spreading *s,
               const mc_vec *half, float *to)
{
    const int whole_in = extents->in[tile], whole_out = extents->out[tile];
    const int in = extent_of(whole_in, n), out = extent_of(whole_out, n);
    mc_vec x[MC_SIDE], y[MC_SIDE];

    MC_ROLLED
    for (int k = 0; k < extent_of(whole_x, n_x); k++) {
        const int at = number_of(k, whole_x, n_x);
        const mc_vec *column = half + at;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, column += whole_in * whole_x) {
            MC_UNROLL
            for (int r = 0; r < in; r++) {
                x[r] = column[r * whole_x];
            }
            along(tile, n, x, y);
            MC_UNROLL
            for (int r = 0; r < out; r++) {
                const int number = number_of(r, whole_out, n);
                mc_store_masked(to + g * LANES + line_at(number, at, whole_x, &s->planes), s->there,
                                y[number]);
            }
        }
    }
}

/* A run of whole tiles. */
static inline __attribute__((always_inline)) void
spread(const int64_t vectors, mc_tile_kind tile_y, mc_tile_kind tile_x, const reading how,
       mc_transform_1d along, const mc_extents *extents, const spreading *job)
{
    MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];
    /* Code for what is called often, of wide vectors: it is a lot for a library of 2 MB. */
    const bool ask = tile_y == tile_x && __builtin_constant_p(vectors) && LANES >= 8;
    const int in_y = extents->in[tile_y];
    const spreading s = *job; /* a copy, as what is written might be any of its numbers */
    int64_t from = 0;
    float *to = s.to;

    MC_ROLLED
    for (int64_t t = 0; t < s.count; t++, from += s.step, to += s.planes.row) {
        spread_rows(vectors, tile_x, MC_TILE_OUT, how, ask, along, extents, in_y, in_y, &s, from,
                    half);
        spread_columns(vectors, tile_y, MC_TILE_OUT, along, extents, extents->out[tile_x],
                       MC_TILE_OUT, &s, half, to);
    }
}

#define SPREAD(name, tile_y, tile_x, how, along, extents)                                          \
    static __attribute__((noinline)) void name(const spreading *s)                                 \
    {                                                                                              \
        MC_BY_VECTORS((tile_y) == (tile_x), s->vectors, spread, tile_y, tile_x, how, along,        \
                      &extents, s);                                                                \
    }
/* A run of ends. */
#define SPREAD_END(name, tile, how, along, extents)                                                \
    static __attribute__((noinline)) void name(const spreading *job)                               \
    {                                                                                              \
        MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];                                      \
        const int in_y = extents.in[tile], out_x = extents.out[tile];                              \
        const spreading s = *job;                                                                  \
        int64_t from = 0;                                                                          \
        float *to = s.to;                                                                          \
        for (int64_t t = 0; t < s.count; t++, from += s.step, to += s.planes.row) {                \
            MC_BY_OUTPUTS(s.x, spread_rows, s.vectors, tile, how, false, along, &extents,          \
                          extent_of(in_y, s.y), in_y, &s, from, half);                             \
            MC_BY_OUTPUTS(s.y, spread_columns, s.vectors, tile, along, &extents, out_x, s.x, &s,   \
                          half, to);                                                               \
        }                                                                                          \
    }
#define PLAIN(name, tile_y, tile_x)                                                                \
    SPREAD(plain_##name, tile_y, tile_x, AS_IS, input_1d, input_extents)
#define MAPPED(name, tile_y, tile_x)                                                               \
    SPREAD(mapped_##name, tile_y, tile_x, THROUGH, input_1d, input_extents)
#define COTANGENT(name, tile_y, tile_x)                                                            \
    SPREAD(cotangent_##name, tile_y, tile_x, AS_IS, cotangent_1d, cotangent_extents)
#define PLAIN_END(name, tile) SPREAD_END(plain_##name, tile, AS_IS, input_1d, input_extents)
#define MAPPED_END(name, tile) SPREAD_END(mapped_##name, tile, THROUGH, input_1d, input_extents)
#define COTANGENT_END(name, tile)                                                                  \
    SPREAD_END(cotangent_##name, tile, AS_IS, cotangent_1d, cotangent_extents)
MC_TILES(PLAIN)
MC_TILES_FORWARD(MAPPED)
MC_TILES_FORWARD(COTANGENT)
MC_ENDS_OF(PLAIN_END)
MC_ENDS_FORWARD(MAPPED_END)
MC_ENDS_FORWARD(COTANGENT_END)
SPREAD(pulling_f4, MC_TILE_F4, MC_TILE_F4, PULLED, cotangent_1d, cotangent_extents)
SPREAD(pulling_down, MC_TILE_DOWN, MC_TILE_DOWN, PULLED, cotangent_1d, cotangent_extents)
SPREAD_END(pulling_f4_end, MC_TILE_F4, PULLED, cotangent_1d, cotangent_extents)
SPREAD_END(pulling_down_end, MC_TILE_DOWN, PULLED, cotangent_1d, cotangent_extents)

/* The run's part of what is said. */
static inline void enter_run(spreading *s, const run *r)
{
    s->count = r->count;
    s->step = r->step;
    s->y = r->y;
    s->x = r->x;
    s->at = r->at;
}

/* Channels from i on, of `count`, of it; returns how many. */
static inline int64_t enter_channels(spreading *s, const run *r, const mc_map *map, int64_t i,
                                     int64_t count)
{
    together n = together_at(count, i);
    s->vectors = n.vectors;
    s->there = n.there;
    /* The next tile's channels; of a single one the next ones before that. */
    s->ahead = in_runs(count) ? r->step : i + n.step < count ? n.step : r->step - i;
    s->at.origin = r->at.origin + i;
    s->to = s->planes.data + r->row * s->planes.row + i;
    if (map->scale != NULL) {
        s->scale = map->scale + i;
        s->offset = map->offset + i;
    }
    return n.step;
}

/* Tiles going up read gradients, never through a map. */
void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const mc_map *x, const mc_tiles *tiles,
                                 mc_planes v)
{
    walk q = walk_of(w, tiles, true, x->x, x->c, in_runs(x->c));
    spreading s = {.relu = x->relu, .planes = v};
    while (q.left > 0) {
        run r = next_run(&q);
        enter_run(&s, &r);
        for (int64_t i = 0; i < x->c;) {
            i += enter_channels(&s, &r, x, i, x->c);
            if (x->scale != NULL) {
                MC_BY_TILE_FORWARD(w, is_end(&r), mapped, &s);
            } else {
                MC_BY_TILE(w, is_end(&r), plain, &s);
            }
        }
    }
}

/* Tiles going up have no kernels whose gradient is wanted. */
void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, const mc_pull *pull,
                                     int64_t c, int64_t count, const mc_tiles *tiles, mc_planes d)
{
    mc_map map = pull != NULL ? pull->x : (mc_map){.x = NULL};
    walk q = walk_of(w, tiles, false, dy, c, in_runs(count));
    spreading s = {.relu = map.relu, .planes = d};
    while (q.left > 0) {
        run r = next_run(&q);
        enter_run(&s, &r);
        for (int64_t i = 0, step; i < count; i += step) {
            step = enter_channels(&s, &r, &map, i, count);
            if (pull == NULL) {
                MC_BY_TILE_FORWARD(w, is_end(&r), cotangent, &s);
                continue;
            }
            s.a = pull->a + i;
            s.p = pull->p + i;
            s.q = pull->q + i;
            s.value = map.x + (s.at.origin - dy);
            if (w->y.tile == MC_TILE_DOWN) {
                (is_end(&r) ? pulling_down_end : pulling_down)(&s);
            } else {
                (is_end(&r) ? pulling_f4_end : pulling_f4)(&s);
            }
        }
    }
}
