/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Both dimensions of a tile of the 3x3 convolution by few products (winograd.h): the functions made
 * for each pair of them, and where their numbers are in planes.
 */
#ifndef MC_WINOGRAD_TILE_H
#define MC_WINOGRAD_TILE_H

#include "kernels/winograd.h"

/* The pairs of dimensions, with a name: X makes of each a function of its own. In one function for
 * all of them the compiler would work out before every tile what any of them may need. */
#define MC_TILES_FORWARD(X)                                                                        \
    X(f4, MC_TILE_F4, MC_TILE_F4)                                                                  \
    X(f4_t2, MC_TILE_F4, MC_TILE_T2)                                                               \
    X(t2_f4, MC_TILE_T2, MC_TILE_F4)                                                               \
    X(t2, MC_TILE_T2, MC_TILE_T2)                                                                  \
    X(down, MC_TILE_DOWN, MC_TILE_DOWN)
#define MC_TILES(X) MC_TILES_FORWARD(X) X(up, MC_TILE_UP, MC_TILE_UP)

/* The algorithms that have ends, of any two numbers of outputs. */
#define MC_ENDS_FORWARD(X) X(f4_end, MC_TILE_F4) X(down_end, MC_TILE_DOWN)
#define MC_ENDS_OF(X) MC_ENDS_FORWARD(X) X(up_end, MC_TILE_UP)

/* Calls that one of the functions fn_<name> which is made for w; with or without one for up. */
#define MC_BY_WHOLE_TILE_FORWARD(w, fn, ...)                                                       \
    do {                                                                                           \
        bool t2_y = (w)->y.tile == MC_TILE_T2, t2_x = (w)->x.tile == MC_TILE_T2;                   \
        if ((w)->y.tile == MC_TILE_DOWN) {                                                         \
            fn##_down(__VA_ARGS__);                                                                \
        } else if (t2_y) {                                                                         \
            (t2_x ? fn##_t2 : fn##_t2_f4)(__VA_ARGS__);                                            \
        } else {                                                                                   \
            (t2_x ? fn##_f4_t2 : fn##_f4)(__VA_ARGS__);                                            \
        }                                                                                          \
    } while (0)
#define MC_BY_WHOLE_TILE(w, fn, ...)                                                               \
    do {                                                                                           \
        if ((w)->y.tile == MC_TILE_UP) {                                                           \
            fn##_up(__VA_ARGS__);                                                                  \
        } else {                                                                                   \
            MC_BY_WHOLE_TILE_FORWARD(w, fn, __VA_ARGS__);                                          \
        }                                                                                          \
    } while (0)

/* The same, where the tile may be an end. */
#define MC_BY_TILE_FORWARD(w, end, fn, ...)                                                        \
    do {                                                                                           \
        if (!(end)) {                                                                              \
            MC_BY_WHOLE_TILE_FORWARD(w, fn, __VA_ARGS__);                                          \
        } else {                                                                                   \
            ((w)->y.tile == MC_TILE_DOWN ? fn##_down_end : fn##_f4_end)(__VA_ARGS__);              \
        }                                                                                          \
    } while (0)
#define MC_BY_TILE(w, end, fn, ...)                                                                \
    do {                                                                                           \
        if ((end) && (w)->y.tile == MC_TILE_UP) {                                                  \
            fn##_up_end(__VA_ARGS__);                                                              \
        } else if ((w)->y.tile == MC_TILE_UP) {                                                    \
            fn##_up(__VA_ARGS__);                                                                  \
        } else {                                                                                   \
            MC_BY_TILE_FORWARD(w, end, fn, __VA_ARGS__);                                           \
        }                                                                                          \
    } while (0)

/* What number (row, column) of a transformed tile is, of `columns` in a row: a frequency and, where
 * frequencies have phases (a row then has all MC_SIDE), one of them; `dimensions` is in how many of
 * the two there are phases. */
typedef struct mc_line {
    int freq, phase, dimensions;
} mc_line;

static inline __attribute__((always_inline)) mc_line line_of(int row, int column, int columns)
{
    if (columns != MC_SIDE) {
        return (mc_line){row * columns + column, 0, 0};
    }
    int y = row % MC_PHASED, x = column % MC_PHASED;
    bool both_y = y < MC_PHASED - 1, both_x = x < MC_PHASED - 1;
    return (mc_line){y * MC_PHASED + x, row / MC_PHASED * (both_x ? 2 : 1) + column / MC_PHASED,
                     both_y + both_x};
}

/* Floats from a tile's place in the planes to line (row, column) of it. */
static inline __attribute__((always_inline)) int64_t line_at(int row, int column, int columns,
                                                             const mc_planes *planes)
{
    mc_line line = line_of(row, column, columns);
    return line.freq * planes->plane + line.phase * planes->phase;
}

/* Vectors of channels that are transformed together. Every frequency is written to a plane of its
 * own, another page, and a processor looks up few pages at a time that are written: a page takes a
 * whole group before its turn is over. */
enum { MC_GROUP = 4 };

/* Calls fn(vectors, ...) with a constant number of vectors, or any; only with any where that is not
 * called often: of both dimensions few are different ones. */
#define MC_BY_VECTORS(often, vectors, fn, ...)                                                     \
    do {                                                                                           \
        if (!(often)) {                                                                            \
            fn(vectors, __VA_ARGS__);                                                              \
        } else if ((vectors) == 1) {                                                               \
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
#define MC_BY_OUTPUTS(n, fn, vectors, tile, ...)                                                   \
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

#endif
