/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tiles of the 3x3 convolution by few products (winograd.h) from planes back to images, compiled
 * per instruction set: outputs
 *
 *     y = A^T M A                      of tiles that lie beside each other
 *
 * and the transpose of what winograd.c does with inputs,
 *
 *     dx = sum over tiles B M B^T      of windows that overlap by two rows and columns, or one
 *
 * A tile is transformed along y, column by column, then along x. What overlaps is added in the
 * order of the tiles: windows of an image come from its first tile to its last, of one call or
 * several.
 */
#include "kernels/winograd_walk.h"
#include <math.h>

enum { LANES = MC_LANES };

/* What is gathered: of a run of tiles up to a group of vectors of channels, of each vector the
 * lanes `there`, from `from` in the planes to the part of y, at `at`, that is inside. */
typedef struct gathering {
    int64_t vectors, count, step;
    int y, x; /* outputs */
    mc_mask there;
    bool accumulate, relu, whole; /* whole: all lanes are there */
    const float *from;
    mc_planes planes;
    window at;
    float *to;
    const float *bias; /* or NULL */
} gathering;

/* Along y: the numbers of n_x outputs, to half [group][whole_out][whole_x], by n outputs. */
static inline __attribute__((always_inline)) void
gather_columns(const int64_t vectors, mc_tile_kind tile, const int n, mc_transform_1d along,
               const mc_extents *extents, const int whole_x, const int n_x, const gathering *q,
               const float *from, mc_vec *half)
{
    const int whole_in = extents->in[tile], whole_out = extents->out[tile];
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
            along(tile, n, x, y);
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
        gather_columns(vectors, tile_y, MC_TILE_OUT, output_1d, &output_extents,
                       output_extents.in[tile_x], MC_TILE_OUT, &q, from, half);
        gather_rows(vectors, tile_x, MC_TILE_OUT, out_y, out_y, &q, half, to);
    }
}

#define GATHER(name, tile_y, tile_x)                                                               \
    static __attribute__((noinline)) void gather_##name(const gathering *q)                        \
    {                                                                                              \
        MC_BY_VECTORS((tile_y) == (tile_x), q->vectors, gather, tile_y, tile_x, q);                \
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
            MC_BY_OUTPUTS(q.y, gather_columns, q.vectors, tile, output_1d, &output_extents, in_x,  \
                          q.x, &q, from, half);                                                    \
            MC_BY_OUTPUTS(q.x, gather_rows, q.vectors, tile, extent_of(out_y, q.y), out_y, &q,     \
                          half, to);                                                               \
        }                                                                                          \
    }
MC_TILES(GATHER)
MC_ENDS_OF(GATHER_END)

/* The run's part of what is said. */
static inline void enter_run(gathering *q, const run *r)
{
    q->count = r->count;
    q->step = r->step;
    q->y = r->y;
    q->x = r->x;
    q->at = r->at;
}

/* Channels from i on, of `count`, of it, to those of images; returns how many. */
static inline int64_t enter_channels(gathering *q, const run *r, float *images, const walk *at,
                                     int64_t i, int64_t count)
{
    together n = together_at(count, i);
    q->vectors = n.vectors;
    q->there = n.there;
    q->from = q->planes.data + r->row * q->planes.row + i;
    q->to = images + (r->at.origin - at->images) + i;
    return n.step;
}

void MC_ISA_NAME(winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t count,
                                  const mc_tiles *tiles, const float *bias, bool accumulate,
                                  bool relu, float *y)
{
    walk q = walk_of(w, tiles, false, y, c, in_runs(count));
    gathering part = {.accumulate = accumulate, .relu = relu, .planes = m};
    while (q.left > 0) {
        run r = next_run(&q);
        enter_run(&part, &r);
        for (int64_t i = 0, step; i < count; i += step) {
            step = enter_channels(&part, &r, y, &q, i, count);
            part.bias = bias != NULL ? bias + i : NULL;
            MC_BY_TILE(w, is_end(&r), gather, &part);
        }
    }
}

/* ---- windows that overlap -------------------------------------------------------------------- */

/* Of a row of `count` numbers those that are inside, the first `added` to what is there. A
 * processor that has just stored by a mask waits before it reads there again, so this one has no
 * masks. */
static inline __attribute__((always_inline)) void return_row(const mc_vec *y, const int count,
                                                             int added, const window *at, float *to)
{
    MC_UNROLL
    for (int k = 0; k < count; k++) {
        mc_vec *there = (mc_vec *)(to + k * at->column), sum = y[k];
        if (k >= at->left && k < at->right) {
            if (k < added) {
                sum += *there;
            }
            *there = sum;
        }
    }
}

/* Along x: the rows of a window that are inside, to the image, by n outputs. What tiles before have
 * of it is added to. */
static inline __attribute__((always_inline)) void return_rows(const int64_t vectors,
                                                              mc_tile_kind tile, const int n,
                                                              const int whole_y, const gathering *q,
                                                              const mc_vec *half, float *to)
{
    const int whole_in = input_back_extents.in[tile];
    const int in = extent_of(whole_in, n), out = extent_of(input_back_extents.out[tile], n);
    mc_vec x[MC_SIDE], y[MC_SIDE];
    mc_mask inside[MC_SIDE], again[MC_SIDE];

    MC_UNROLL
    for (int k = 0; k < out; k++) {
        inside[k] = mc_if((k >= q->at.left) & (k < q->at.right), q->there);
        again[k] = mc_if(k < q->at.columns, inside[k]);
    }
    to += q->at.top * q->at.row;
    MC_ROLLED
    for (int r = q->at.top; r < q->at.bottom; r++, to += q->at.row) {
        const mc_vec *row = half + r * whole_in;
        const bool all = q->accumulate | (r < q->at.rows);
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, row += whole_y * whole_in) {
            float *there = to + g * LANES;
            MC_UNROLL
            for (int k = 0; k < in; k++) {
                x[number_of(k, whole_in, n)] = row[number_of(k, whole_in, n)];
            }
            input_back_1d(tile, n, x, y);
            if (q->whole) {
                return_row(y, out, all ? out : q->at.columns, &q->at, there);
                continue;
            }
            MC_UNROLL
            for (int k = 0; k < out; k++, there += q->at.column) {
                mc_vec before = mc_load_masked(there, all ? inside[k] : again[k]);
                mc_store_masked(there, inside[k], before + y[k]);
            }
        }
    }
}

/* A run of whole tiles. */
static inline __attribute__((always_inline)) void
bring_back(const int64_t vectors, mc_tile_kind tile, const gathering *job)
{
    MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];
    const int in = input_back_extents.in[tile], out = input_back_extents.out[tile];
    const gathering q = *job; /* a copy, as what is written might be any of its numbers */
    const float *from = q.from;
    float *to = q.to;

    MC_ROLLED
    for (int64_t t = 0; t < q.count; t++, from += q.planes.row, to += q.step) {
        gather_columns(vectors, tile, MC_TILE_OUT, input_back_1d, &input_back_extents, in,
                       MC_TILE_OUT, &q, from, half);
        return_rows(vectors, tile, MC_TILE_OUT, out, &q, half, to);
    }
}

#define RETURN(name, tile)                                                                         \
    static __attribute__((noinline)) void return_##name(const gathering *q)                        \
    {                                                                                              \
        MC_BY_VECTORS(true, q->vectors, bring_back, tile, q);                                      \
    }
/* A run of ends. */
#define RETURN_END(name, tile)                                                                     \
    static __attribute__((noinline)) void return_##name(const gathering *job)                      \
    {                                                                                              \
        MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];                                      \
        const int in = input_back_extents.in[tile], out = input_back_extents.out[tile];            \
        const gathering q = *job;                                                                  \
        const float *from = q.from;                                                                \
        float *to = q.to;                                                                          \
        for (int64_t t = 0; t < q.count; t++, from += q.planes.row, to += q.step) {                \
            MC_BY_OUTPUTS(q.y, gather_columns, q.vectors, tile, input_back_1d,                     \
                          &input_back_extents, in, q.x, &q, from, half);                           \
            MC_BY_OUTPUTS(q.x, return_rows, q.vectors, tile, out, &q, half, to);                   \
        }                                                                                          \
    }
RETURN(f4, MC_TILE_F4)
RETURN(down, MC_TILE_DOWN)
MC_ENDS_FORWARD(RETURN_END)

void MC_ISA_NAME(winograd_input_back)(const mc_winograd *w, mc_planes m, int64_t c,
                                      const mc_tiles *tiles, bool accumulate, float *dx)
{
    walk q = walk_of(w, tiles, true, dx, c, in_runs(c));
    gathering part = {.accumulate = accumulate, .planes = m};
    bool down = w->y.tile == MC_TILE_DOWN;
    while (q.left > 0) {
        run r = next_run(&q);
        enter_run(&part, &r);
        for (int64_t i = 0, step; i < c; i += step) {
            step = enter_channels(&part, &r, dx, &q, i, c);
            part.whole = c - i >= LANES;
            if (is_end(&r)) {
                (down ? return_down_end : return_f4_end)(&part);
            } else {
                (down ? return_down : return_f4)(&part);
            }
        }
    }
}
