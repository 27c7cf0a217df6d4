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
#include <math.h>

enum { LANES = MC_LANES };

static inline int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* A tile's window of an image: `origin` is its corner, which may lie outside; rows top .. bottom -
 * 1 and columns left .. right - 1 of it are inside, the others read as zeros. */
typedef struct window {
    const float *origin;
    int64_t row, column; /* strides, floats */
    int top, bottom, left, right;
} window;

/* Where a tile is. */
typedef struct place {
    int64_t image, y, x; /* y, x: tiles from the corner */
} place;

static inline place place_of(const mc_winograd *w, int64_t number)
{
    int64_t per_image = w->y.tiles * w->x.tiles, inside = number % per_image;
    place p = {number / per_image, inside / w->x.tiles, inside % w->x.tiles};
    return p;
}

static inline void next_place(const mc_winograd *w, place *p)
{
    if (++p->x == w->x.tiles) {
        p->x = 0;
        if (++p->y == w->y.tiles) {
            p->y = 0;
            p->image++;
        }
    }
}

/* [rows][columns] at (y, x) of image [h][w][c] number `image`. */
static inline window window_at(const float *of, int64_t image, int64_t y, int64_t x, int64_t h,
                               int64_t w, int64_t c, int rows, int columns)
{
    window at = {of + ((image * h + y) * w + x) * c, w * c, c, 0, 0, 0, 0};
    at.top = (int)clamp(-y, 0, rows);
    at.bottom = (int)clamp(h - y, at.top, rows);
    at.left = (int)clamp(-x, 0, columns);
    at.right = (int)clamp(w - x, at.left, columns);
    return at;
}

/* A tile's inputs and its outputs, of images with c channels. */
static inline window input_window(const mc_winograd *w, place p, const float *x, int64_t c)
{
    return window_at(x, p.image, p.y * w->y.step - w->y.before, p.x * w->x.step - w->x.before,
                     w->y.from, w->x.from, c, w->y.in, w->x.in);
}

static inline window output_window(const mc_winograd *w, place p, const float *y, int64_t c)
{
    return window_at(y, p.image, p.y * w->y.out, p.x * w->x.out, w->y.to, w->x.to, c, w->y.out,
                     w->x.out);
}

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

/* Up to a group of vectors of a window's channels, from channel i on, to `to` in the planes; of
 * each vector the lanes `there`. */
static inline __attribute__((always_inline)) void
spread(const int64_t vectors, mc_mask there, mc_tile_kind tile_y, mc_tile_kind tile_x, bool through,
       mc_transform_1d along, mc_extents extents, const window *at, const mc_map *map, int64_t i,
       float *to, const mc_planes *planes)
{
    const int in_y = extents.in[tile_y], in_x = extents.in[tile_x];
    const int out_y = extents.out[tile_y], out_x = extents.out[tile_x];
    MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];
    mc_vec x[MC_SIDE], y[MC_SIDE], floor = (mc_vec){0.0f} + (map->relu ? 0.0f : -INFINITY);
    mc_vec scale = {0.0f}, offset = {0.0f};
    mc_mask mask[MC_SIDE];
    /* Copies, as what is written might be any of these numbers. */
    const mc_planes to_planes = *planes;
    const window from = *at;
    const float *pixel = from.origin + i, *scales = map->scale + i, *offsets = map->offset + i;

    MC_UNROLL
    for (int k = 0; k < in_x; k++) {
        mask[k] = mc_if((k >= from.left) & (k < from.right), there);
    }
    /* All of the group's channels before the next row: memory in its own order, which the processor
     * fetches ahead. */
    MC_ROLLED
    for (int r = 0; r < in_y; r++, pixel += from.row) {
        mc_vec *row = half + r * out_x;
        bool inside = r >= from.top && r < from.bottom;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, row += in_y * out_x) {
            if (inside) {
                if (through) {
                    scale = mc_load_masked(scales + g * LANES, there);
                    offset = mc_load_masked(offsets + g * LANES, there);
                }
                read_row(pixel + g * LANES, from.column, mask, in_x, through, scale, offset, floor,
                         x);
                along(tile_x, x, y);
            } else {
                MC_UNROLL
                for (int k = 0; k < out_x; k++) {
                    y[k] = (mc_vec){0.0f};
                }
            }
            MC_UNROLL
            for (int k = 0; k < out_x; k++) {
                row[k] = y[k];
            }
        }
    }
    MC_ROLLED
    for (int k = 0; k < out_x; k++) {
        const mc_vec *column = half + k;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, column += in_y * out_x) {
            MC_UNROLL
            for (int r = 0; r < in_y; r++) {
                x[r] = column[r * out_x];
            }
            along(tile_y, x, y);
            MC_UNROLL
            for (int r = 0; r < out_y; r++) {
                mc_store_masked(to + g * LANES + line_at(r, k, out_x, &to_planes), there, y[r]);
            }
        }
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

#define SPREAD(name, tile_y, tile_x, through, along, extents)                                      \
    static __attribute__((noinline)) void name(int64_t vectors, mc_mask there, const window *at,   \
                                               const mc_map *map, int64_t i, float *to,            \
                                               const mc_planes *planes)                            \
    {                                                                                              \
        BY_VECTORS(vectors, spread, there, tile_y, tile_x, through, along, extents, at, map, i,    \
                   to, planes);                                                                    \
    }
#define PLAIN(name, tile_y, tile_x)                                                                \
    SPREAD(plain_##name, tile_y, tile_x, false, input_1d, input_extents)
#define MAPPED(name, tile_y, tile_x)                                                               \
    SPREAD(mapped_##name, tile_y, tile_x, true, input_1d, input_extents)
#define COTANGENT(name, tile_y, tile_x)                                                            \
    SPREAD(cotangent_##name, tile_y, tile_x, false, cotangent_1d, cotangent_extents)
MC_TILES(PLAIN)
MC_TILES(MAPPED)
MC_TILES_FORWARD(COTANGENT)

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

void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const mc_map *x, int64_t first,
                                 int64_t tiles, mc_planes v)
{
    place p = place_of(w, first);
    for (int64_t t = 0; t < tiles; t++, next_place(w, &p)) {
        window at = input_window(w, p, x->x, x->c);
        together n;
        for (int64_t i = 0; i < x->c; i += n.step) {
            float *to = v.data + t * v.row + i;
            n = together_at(x->c, i);
            if (x->scale != NULL) {
                MC_BY_TILE(w, mapped, n.vectors, n.there, &at, x, i, to, &v);
            } else {
                MC_BY_TILE(w, plain, n.vectors, n.there, &at, x, i, to, &v);
            }
        }
    }
}

/* Tiles going up have no kernels whose gradient is wanted. */
void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c,
                                     int64_t count, int64_t first, int64_t tiles, mc_planes d)
{
    mc_map map = {.x = dy, .c = c};
    place p = place_of(w, first);
    for (int64_t t = 0; t < tiles; t++, next_place(w, &p)) {
        window at = output_window(w, p, dy, c);
        together n;
        for (int64_t i = 0; i < count; i += n.step) {
            n = together_at(count, i);
            MC_BY_TILE_FORWARD(w, cotangent, n.vectors, n.there, &at, &map, i,
                               d.data + t * d.row + i, &d);
        }
    }
}

/* ---- planes to images ------------------------------------------------------------------------ */

/* What becomes of the results. */
typedef struct result {
    const float *bias; /* or NULL */
    bool accumulate, relu;
} result;

/* Up to a group of vectors of a tile's channels from the planes to the part of y that is inside;
 * bias belongs to the first of them. */
static inline __attribute__((always_inline)) void gather(const int64_t vectors, mc_mask there,
                                                         mc_tile_kind tile_y, mc_tile_kind tile_x,
                                                         const float *from, const mc_planes *planes,
                                                         const window *at, const result *q,
                                                         const float *bias, float *to)
{
    const int in_y = output_extents.in[tile_y], in_x = output_extents.in[tile_x];
    const int out_y = output_extents.out[tile_y], out_x = output_extents.out[tile_x];
    MC_ALIGNED mc_vec half[MC_GROUP * MC_SIDE * MC_SIDE];
    mc_vec x[MC_SIDE], y[MC_SIDE], floor = (mc_vec){0.0f} + (q->relu ? 0.0f : -INFINITY);
    mc_mask mask[MC_SIDE];

    MC_UNROLL
    for (int k = 0; k < out_x; k++) {
        mask[k] = mc_if(k < at->right, there);
    }
    MC_ROLLED
    for (int k = 0; k < in_x; k++) {
        mc_vec *column = half + k;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, column += out_y * in_x) {
            MC_UNROLL
            for (int r = 0; r < in_y; r++) {
                x[r] = mc_load_masked(from + g * LANES + line_at(r, k, in_x, planes), there);
            }
            output_1d(tile_y, x, y);
            MC_UNROLL
            for (int r = 0; r < out_y; r++) {
                column[r * in_x] = y[r];
            }
        }
    }
    const int64_t pixel = at->column, line = at->row; /* not to be read after every store */
    const int rows = out_y < at->bottom ? out_y : at->bottom;
    MC_ROLLED
    for (int r = 0; r < rows; r++, to += line) {
        const mc_vec *row = half + r * in_x;
        MC_ROLLED
        for (int64_t g = 0; g < vectors; g++, row += out_y * in_x) {
            mc_vec shift = {0.0f};
            if (bias != NULL) {
                shift = mc_load_masked(bias + g * LANES, there);
            }
            MC_UNROLL
            for (int k = 0; k < in_x; k++) {
                x[k] = row[k];
            }
            output_1d(tile_x, x, y);
            MC_UNROLL
            for (int k = 0; k < out_x; k++) {
                float *there_y = to + k * pixel + g * LANES;
                mc_vec value = y[k] + shift;
                if (q->accumulate) {
                    value += mc_load_masked(there_y, mask[k]);
                }
                mc_store_masked(there_y, mask[k], mc_max(floor, value));
            }
        }
    }
}

#define GATHER(name, tile_y, tile_x)                                                               \
    static __attribute__((noinline)) void gather_##name(                                           \
        int64_t vectors, mc_mask there, const float *from, const mc_planes *planes,                \
        const window *at, const result *q, const float *bias, float *to)                           \
    {                                                                                              \
        BY_VECTORS(vectors, gather, there, tile_y, tile_x, from, planes, at, q, bias, to);         \
    }
MC_TILES(GATHER)

void MC_ISA_NAME(winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t count,
                                  int64_t first, int64_t tiles, const float *bias, bool accumulate,
                                  bool relu, float *y)
{
    result q = {bias, accumulate, relu};
    place p = place_of(w, first);
    for (int64_t t = 0; t < tiles; t++, next_place(w, &p)) {
        window at = output_window(w, p, y, c);
        float *to = y + ((p.image * w->y.to + p.y * w->y.out) * w->x.to + p.x * w->x.out) * c;
        together n;
        for (int64_t i = 0; i < count; i += n.step) {
            n = together_at(count, i);
            MC_BY_TILE(w, gather, n.vectors, n.there, m.data + t * m.row + i, &m, &at, &q,
                       bias != NULL ? bias + i : NULL, to + i);
        }
    }
}
