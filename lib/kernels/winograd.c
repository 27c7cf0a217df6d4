/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tiles of the 3x3 convolution as a bilinear algorithm (winograd.h), compiled per instruction set:
 *
 *     Y = A^T [ sum_c (G g G^T) * (B^T x B) ] A       products per frequency, summed by GEMMs
 *     dg = G^T [ (B^T x B)^T * (A dY A^T) ] G         the same algorithm's weight gradient
 *
 * Here are B^T x B and A dY A^T, from images to planes [freq][tiles][c], and A^T M A back; at
 * stride 2 planes [freq][tiles][phases][c] of x, or of the M that becomes its gradient. A tile is
 * transformed along x, row by row, then along y; a group of channel vectors at a time.
 */
#include "kernels/winograd.h"
#include "kernels/winograd_walk.h"
#include <math.h>

enum { LANES = MC_LANES };

/* ---- images to planes ------------------------------------------------------------------------ */

/* One row of a window, a vector of channels, `columns` of it; outside are zeros, whatever the map
 * makes of zero. */
static inline __attribute__((always_inline)) void read_row(const float *from, int64_t column,
                                                           const mc_mask *mask, const int columns,
                                                           bool through, mc_vec scale,
                                                           mc_vec offset, mc_vec floor, mc_vec *x)
{
    MC_UNROLL
    for (int k = 0; k < columns; k++) {
        x[k] = mc_load_masked(from + k * column, mask[k]);
        if (through) {
            x[k] = mc_keep(mask[k], mc_max(floor, x[k] * scale + offset));
        }
    }
}

/* Floats from a tile's place in the planes to line (row, column) of it. */
static inline __attribute__((always_inline)) int64_t line_at(int row, int column, int columns,
                                                             const mc_planes *planes)
{
    mc_line line = line_of(row, column, columns);
    return line.freq * planes->plane + line.phase * planes->phase;
}

/* What is transformed: of a run of tiles up to a group of vectors of channels, of each vector the
 * lanes `there`, read from `at` through scale and offset, to `to` in the planes. */
typedef struct spreading {
    int64_t vectors, count, step;
    int y, x; /* outputs */
    mc_mask there;
    bool relu;
    window at;
    const float *scale, *offset;
    float *to;
    mc_planes planes;
} spreading;

/* Along x: `rows` of the window, to half [group][whole_in][whole_out], by n outputs; of these
 * numbers a whole tile has so many. */
static inline __attribute__((always_inline)) void
spread_rows(const int64_t vectors, mc_tile_kind tile, const int n, bool through,
            mc_transform_1d along, const mc_extents *extents, const int rows, const int whole_in,
            const spreading *s, const float *pixel, mc_vec *half)
{
    const int whole_out = extents->out[tile];
    const int in = extent_of(extents->in[tile], n), out = extent_of(whole_out, n);
    mc_vec x[MC_SIDE], y[MC_SIDE], floor = (mc_vec){0.0f} + (s->relu ? 0.0f : -INFINITY);
    mc_vec scale = {0.0f}, offset = {0.0f};
    mc_mask mask[MC_SIDE];

    MC_UNROLL
    for (int k = 0; k < in; k++) {
        mask[k] = mc_if((k >= s->at.left) & (k < s->at.right), s->there);
    }
    /* All of the group's channels before the next row: memory in its own order, which the processor
     * fetches ahead. */
    MC_ROLLED
    for (int r = 0; r < rows; r++, pixel += s->at.row) {
        mc_vec *row = half + r * whole_out;
        bool inside = r >= s->at.top && r < s->at.bottom;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, row += whole_in * whole_out) {
            if (inside) {
                if (through) {
                    scale = mc_load_masked(s->scale + g * LANES, s->there);
                    offset = mc_load_masked(s->offset + g * LANES, s->there);
                }
                read_row(pixel + g * LANES, s->at.column, mask, in, through, scale, offset, floor,
                         x);
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
spread(const int64_t vectors, mc_tile_kind tile_y, mc_tile_kind tile_x, bool through,
       mc_transform_1d along, const mc_extents *extents, const spreading *job)
{
    MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];
    const int in_y = extents->in[tile_y];
    const spreading s = *job; /* a copy, as what is written might be any of its numbers */
    const float *pixel = s.at.origin;
    float *to = s.to;

    MC_ROLLED
    for (int64_t t = 0; t < s.count; t++, pixel += s.step, to += s.planes.row) {
        spread_rows(vectors, tile_x, MC_TILE_OUT, through, along, extents, in_y, in_y, &s, pixel,
                    half);
        spread_columns(vectors, tile_y, MC_TILE_OUT, along, extents, extents->out[tile_x],
                       MC_TILE_OUT, &s, half, to);
    }
}

/* Calls fn(vectors, ...) with a constant number of vectors, or any. */
#define BY_VECTORS(vectors, fn, ...)                                                               \
    do {                                                                                           \
        if ((vectors) == 1) {                                                                      \
            fn(1, __VA_ARGS__);                                                                    \
        } else if ((vectors) == 2) {                                                               \
            fn(2, __VA_ARGS__);                                                                    \
        } else if ((vectors) == MC_GROUP) {                                                        \
            fn(MC_GROUP, __VA_ARGS__);                                                             \
        } else {                                                                                   \
            fn(vectors, __VA_ARGS__);                                                              \
        }                                                                                          \
    } while (0)

/* Calls fn(vectors, tile, n, ...) with a constant number of outputs. */
#define BY_OUTPUTS(n, fn, vectors, tile, ...)                                                      \
    do {                                                                                           \
        if ((n) == 1) {                                                                            \
            fn(vectors, tile, 1, __VA_ARGS__);                                                     \
        } else if ((n) == 2) {                                                                     \
            fn(vectors, tile, 2, __VA_ARGS__);                                                     \
        } else if ((n) == 3) {                                                                     \
            fn(vectors, tile, 3, __VA_ARGS__);                                                     \
        } else {                                                                                   \
            fn(vectors, tile, MC_TILE_OUT, __VA_ARGS__);                                           \
        }                                                                                          \
    } while (0)

#define SPREAD(name, tile_y, tile_x, through, along, extents)                                      \
    static __attribute__((noinline)) void name(const spreading *s)                                 \
    {                                                                                              \
        BY_VECTORS(s->vectors, spread, tile_y, tile_x, through, along, &extents, s);               \
    }
/* A run of ends. */
#define SPREAD_END(name, tile, through, along, extents)                                            \
    static __attribute__((noinline)) void name(const spreading *job)                               \
    {                                                                                              \
        MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];                                      \
        const int in_y = extents.in[tile], out_x = extents.out[tile];                              \
        const spreading s = *job;                                                                  \
        const float *pixel = s.at.origin;                                                          \
        float *to = s.to;                                                                          \
        for (int64_t t = 0; t < s.count; t++, pixel += s.step, to += s.planes.row) {               \
            BY_OUTPUTS(s.x, spread_rows, s.vectors, tile, through, along, &extents,                \
                       extent_of(in_y, s.y), in_y, &s, pixel, half);                               \
            BY_OUTPUTS(s.y, spread_columns, s.vectors, tile, along, &extents, out_x, s.x, &s,      \
                       half, to);                                                                  \
        }                                                                                          \
    }
#define PLAIN(name, tile_y, tile_x)                                                                \
    SPREAD(plain_##name, tile_y, tile_x, false, input_1d, input_extents)
#define MAPPED(name, tile_y, tile_x)                                                               \
    SPREAD(mapped_##name, tile_y, tile_x, true, input_1d, input_extents)
#define COTANGENT(name, tile_y, tile_x)                                                            \
    SPREAD(cotangent_##name, tile_y, tile_x, false, cotangent_1d, cotangent_extents)
#define PLAIN_END(name, tile) SPREAD_END(plain_##name, tile, false, input_1d, input_extents)
#define MAPPED_END(name, tile) SPREAD_END(mapped_##name, tile, true, input_1d, input_extents)
#define COTANGENT_END(name, tile)                                                                  \
    SPREAD_END(cotangent_##name, tile, false, cotangent_1d, cotangent_extents)
MC_TILES(PLAIN)
MC_TILES(MAPPED)
MC_TILES_FORWARD(COTANGENT)
MC_ENDS_OF(PLAIN_END)
MC_ENDS_OF(MAPPED_END)
MC_ENDS_FORWARD(COTANGENT_END)

/* Channels from i on that are transformed together: a group of whole vectors, or fewer, or what is
 * left of one. */
typedef struct together {
    int64_t vectors, step;
    mc_mask there;
} together;

static inline together together_at(int64_t c, int64_t i)
{
    int64_t whole = (c - i) / LANES;
    if (whole == 0) {
        return (together){1, LANES, mc_first(c - i)};
    }
    int64_t vectors = whole < MC_GROUP ? whole : MC_GROUP;
    return (together){vectors, vectors * LANES, mc_first(LANES)};
}

/* Where one group has all channels, tiles come in runs; otherwise each tile's pixels would leave
 * the cache between its groups. */
static inline bool in_runs(int64_t c)
{
    return c <= MC_GROUP * LANES;
}

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
    s->at.origin = r->at.origin + i;
    s->to = s->planes.data + r->row * s->planes.row + i;
    if (map->scale != NULL) {
        s->scale = map->scale + i;
        s->offset = map->offset + i;
    }
    return n.step;
}

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
                MC_BY_TILE(w, is_end(&r), mapped, &s);
            } else {
                MC_BY_TILE(w, is_end(&r), plain, &s);
            }
        }
    }
}

/* Tiles going up have no kernels whose gradient is wanted. */
void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c,
                                     int64_t count, const mc_tiles *tiles, mc_planes d)
{
    mc_map map = {.x = dy, .c = c};
    walk q = walk_of(w, tiles, false, dy, c, in_runs(count));
    spreading s = {.planes = d};
    while (q.left > 0) {
        run r = next_run(&q);
        enter_run(&s, &r);
        for (int64_t i = 0; i < count;) {
            i += enter_channels(&s, &r, &map, i, count);
            MC_BY_TILE_FORWARD(w, is_end(&r), cotangent, &s);
        }
    }
}

/* ---- planes to images ------------------------------------------------------------------------ */

/* What is gathered: of a run of tiles up to a group of vectors of channels, of each vector the
 * lanes `there`, from `from` in the planes to the part of y, at `at`, that is inside. */
typedef struct gathering {
    int64_t vectors, count, step;
    int y, x; /* outputs */
    mc_mask there;
    bool accumulate, relu;
    const float *from;
    mc_planes planes;
    window at;
    float *to;
    const float *bias; /* or NULL */
} gathering;

/* Along y: the numbers of n_x outputs, to half [group][whole_out][whole_x], by n outputs. */
static inline __attribute__((always_inline)) void
gather_columns(const int64_t vectors, mc_tile_kind tile, const int n, const int whole_x,
               const int n_x, const gathering *q, const float *from, mc_vec *half)
{
    const int whole_in = output_extents.in[tile], whole_out = output_extents.out[tile];
    const int in = extent_of(whole_in, n), out = extent_of(whole_out, n);
    mc_vec x[MC_SIDE], y[MC_SIDE];

    MC_ROLLED
    for (int k = 0; k < extent_of(whole_x, n_x); k++) {
        const int at = number_of(k, whole_x, n_x);
        mc_vec *column = half + at;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, column += whole_out * whole_x) {
            MC_UNROLL
            for (int r = 0; r < in; r++) {
                const int number = number_of(r, whole_in, n);
                x[number] = mc_load_masked(
                    from + g * LANES + line_at(number, at, whole_x, &q->planes), q->there);
            }
            output_1d(tile, n, x, y);
            MC_UNROLL
            for (int r = 0; r < out; r++) {
                column[r * whole_x] = y[r];
            }
        }
    }
}

/* Along x: up to `most` rows of outputs, to the image, by n outputs. */
static inline __attribute__((always_inline)) void
gather_rows(const int64_t vectors, mc_tile_kind tile, const int n, const int most,
            const int whole_y, const gathering *q, const mc_vec *half, float *to)
{
    const int whole_in = output_extents.in[tile];
    const int in = extent_of(whole_in, n), out = extent_of(output_extents.out[tile], n);
    mc_vec x[MC_SIDE], y[MC_SIDE], floor = (mc_vec){0.0f} + (q->relu ? 0.0f : -INFINITY);
    mc_mask mask[MC_SIDE];

    MC_UNROLL
    for (int k = 0; k < out; k++) {
        mask[k] = mc_if(k < q->at.right, q->there);
    }
    const int rows = most < q->at.bottom ? most : q->at.bottom;
    MC_ROLLED
    for (int r = 0; r < rows; r++, to += q->at.row) {
        const mc_vec *row = half + r * whole_in;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, row += whole_y * whole_in) {
            mc_vec shift = {0.0f};
            if (q->bias != NULL) {
                shift = mc_load_masked(q->bias + g * LANES, q->there);
            }
            MC_UNROLL
            for (int k = 0; k < in; k++) {
                x[number_of(k, whole_in, n)] = row[number_of(k, whole_in, n)];
            }
            output_1d(tile, n, x, y);
            MC_UNROLL
            for (int k = 0; k < out; k++) {
                float *there_y = to + k * q->at.column + g * LANES;
                mc_vec value = y[k] + shift;
                if (q->accumulate) {
                    value += mc_load_masked(there_y, mask[k]);
                }
                mc_store_masked(there_y, mask[k], mc_max(floor, value));
            }
        }
    }
}

/* A run of whole tiles. */
static inline __attribute__((always_inline)) void gather(const int64_t vectors, mc_tile_kind tile_y,
                                                         mc_tile_kind tile_x, const gathering *job)
{
    MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];
    const int out_y = output_extents.out[tile_y];
    const gathering q = *job; /* a copy, as what is written might be any of its numbers */
    const float *from = q.from;
    float *to = q.to;

    MC_ROLLED
    for (int64_t t = 0; t < q.count; t++, from += q.planes.row, to += q.step) {
        gather_columns(vectors, tile_y, MC_TILE_OUT, output_extents.in[tile_x], MC_TILE_OUT, &q,
                       from, half);
        gather_rows(vectors, tile_x, MC_TILE_OUT, out_y, out_y, &q, half, to);
    }
}

#define GATHER(name, tile_y, tile_x)                                                               \
    static __attribute__((noinline)) void gather_##name(const gathering *q)                        \
    {                                                                                              \
        BY_VECTORS(q->vectors, gather, tile_y, tile_x, q);                                         \
    }
/* A run of ends. */
#define GATHER_END(name, tile)                                                                     \
    static __attribute__((noinline)) void gather_##name(const gathering *job)                      \
    {                                                                                              \
        MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];                                      \
        const int in_x = output_extents.in[tile], out_y = output_extents.out[tile];                \
        const gathering q = *job;                                                                  \
        const float *from = q.from;                                                                \
        float *to = q.to;                                                                          \
        for (int64_t t = 0; t < q.count; t++, from += q.planes.row, to += q.step) {                \
            BY_OUTPUTS(q.y, gather_columns, q.vectors, tile, in_x, q.x, &q, from, half);           \
            BY_OUTPUTS(q.x, gather_rows, q.vectors, tile, extent_of(out_y, q.y), out_y, &q, half,  \
                       to);                                                                        \
        }                                                                                          \
    }
MC_TILES(GATHER)
MC_ENDS_OF(GATHER_END)

void MC_ISA_NAME(winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t count,
                                  const mc_tiles *tiles, const float *bias, bool accumulate,
                                  bool relu, float *y)
{
    walk q = walk_of(w, tiles, false, y, c, in_runs(count));
    gathering part = {.accumulate = accumulate, .relu = relu, .planes = m};
    while (q.left > 0) {
        run r = next_run(&q);
        part.count = r.count;
        part.step = r.step;
        part.y = r.y;
        part.x = r.x;
        part.at = r.at;
        together n;
        for (int64_t i = 0; i < count; i += n.step) {
            n = together_at(count, i);
            part.vectors = n.vectors;
            part.there = n.there;
            part.from = m.data + r.row * m.row + i;
            part.to = y + (r.at.origin - y) + i;
            part.bias = bias != NULL ? bias + i : NULL;
            MC_BY_TILE(w, is_end(&r), gather, &part);
        }
    }
}
