/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Kernels of the 3x3 convolution as a bilinear algorithm (winograd.h), compiled per instruction
 * set: U = G g G^T to panels for a product, and the gradient dg = G^T dU G back. At stride 2 the
 * phases of a frequency are rows of its panels, one phase's after another's, or going up columns.
 *
 * Kernels lie in PyTorch's layout, weight [o][c][3][3], vectors run over the columns of a product:
 * rows of the layout are transposed, a square of LANES by LANES numbers at a time.
 */
#include "kernels/winograd_tile.h"
#include <string.h>

enum { LANES = MC_LANES, TAPS = 9, COLUMNS = MC_GROUP * MC_LANES };

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* LANES rows, `used` of which are there, of up to LANES numbers each, `step` floats apart. */
static __attribute__((noinline)) void load_square(const float *from, int64_t step, int64_t used,
                                                  int64_t n, mc_vec *square)
{
    mc_vec rows[LANES];
    MC_UNROLL
    for (int l = 0; l < LANES; l++) {
        rows[l] = l < used ? mc_load(from + l * step, n) : (mc_vec){0.0f};
    }
    mc_transpose(rows);
    MC_UNROLL
    for (int l = 0; l < LANES; l++) {
        square[l] = rows[l];
    }
}

/* ---- kernels to panels ----------------------------------------------------------------------- */

/* kernels[g][row][tap]: up to LANES rows of the product, a group of column vectors. */
typedef mc_vec kernels_of_group[MC_GROUP][LANES][TAPS];

/* Rows are inputs: of each output their taps lie behind each other. */
static void load_forward(const mc_filter *k, int64_t row, int64_t rows, int64_t column,
                         int64_t columns, kernels_of_group kernels)
{
    for (int64_t g = 0; g * LANES < columns; g++) {
        const float *from = k->weight + ((column + g * LANES) * k->c + row) * TAPS;
        for (int64_t i = 0; i < rows * TAPS; i += LANES) {
            load_square(from + i, k->c * TAPS, columns - g * LANES, rows * TAPS - i,
                        &kernels[g][0][0] + i);
        }
    }
}

/* Rows are outputs, kernels perhaps turned by a half: the taps of a vector's columns lie behind
 * each other. */
static void load_backward(const mc_filter *k, int64_t row, int64_t rows, int64_t column,
                          int64_t columns, kernels_of_group kernels)
{
    MC_ALIGNED mc_vec square[LANES];
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t g = 0; g * LANES < columns; g++) {
            const float *from = k->weight + ((row + r) * k->c + column + g * LANES) * TAPS;
            for (int t = 0; t < TAPS; t += LANES) {
                int taps = (int)smaller(TAPS - t, LANES);
                load_square(from + t, TAPS, columns - g * LANES, taps, square);
                for (int i = 0; i < taps; i++) {
                    kernels[g][r][k->way == MC_TURNED ? TAPS - 1 - t - i : t + i] = square[i];
                }
            }
        }
    }
}

/* Where a vector of columns lies in panels: row r of it at floats `at` + r * step. */
typedef struct column_place {
    int64_t at, step;
} column_place;

/* Those of a group, by the dimensions that have phases, and by the phase. */
typedef column_place group_places[3][4][MC_GROUP];

/* Columns `column` .. of a phase, where there are `phases` of them, in panels of `rows` rows a
 * phase: whole panels, then narrower ones (mc_panel_width()). */
static column_place place_in_panels(const mc_filter *k, bool up, int64_t rows, int phases,
                                    int phase, int64_t column)
{
    const mc_kernels *kernels = &MC_ISA_NAME(kernels);
    int64_t n = up ? phases * k->columns : k->columns;
    int64_t at = up ? phase * k->columns + column : column;
    int64_t most = MC_VECTORS * LANES, panel = smaller(at / most, n / most) * most, width;
    while (panel + (width = mc_panel_width(kernels, n - panel)) <= at) {
        panel += width;
    }
    return (column_place){up ? panel * rows + at - panel
                             : panel * phases * rows + phase * rows * width + at - panel,
                          width};
}

static void find_places(const mc_winograd *w, const mc_filter *k, int64_t rows, int64_t column,
                        int64_t vectors, group_places places)
{
    int dimensions = w->y.tile >= MC_TILE_DOWN ? 2 : 0;
    bool up = w->y.tile == MC_TILE_UP || k->way == MC_TRANSPOSED;
    for (int d = 0; d <= dimensions; d++) {
        for (int phase = 0; phase < 1 << d; phase++) {
            for (int64_t g = 0; g < vectors; g++) {
                places[d][phase][g] =
                    place_in_panels(k, up, rows, 1 << d, phase, column + g * LANES);
            }
        }
    }
}

/* A group of kernels of one row to row `to` of every frequency's panels. */
static inline __attribute__((always_inline)) void
filter_line(mc_tile_kind tile_y, mc_tile_kind tile_x, kernels_of_group kernels, int64_t row,
            int64_t vectors, group_places places, int64_t to, const mc_planes *u)
{
    const int out_y = filter_extents.out[tile_y], out_x = filter_extents.out[tile_x];
    MC_ALIGNED mc_vec half[MC_GROUP][3][MC_SIDE];
    mc_vec x[MC_SIDE], y[MC_SIDE];
    for (int64_t g = 0; g < vectors; g++) {
        for (int r = 0; r < 3; r++) {
            MC_UNROLL
            for (int k = 0; k < 3; k++) {
                x[k] = kernels[g][row][3 * r + k];
            }
            filter_1d(tile_x, x, y);
            MC_UNROLL
            for (int k = 0; k < out_x; k++) {
                half[g][r][k] = y[k];
            }
        }
    }
    for (int k = 0; k < out_x; k++) {
        for (int64_t g = 0; g < vectors; g++) {
            MC_UNROLL
            for (int r = 0; r < 3; r++) {
                x[r] = half[g][r][k];
            }
            filter_1d(tile_y, x, y);
            MC_UNROLL
            for (int r = 0; r < out_y; r++) {
                mc_line line = line_of(r, k, out_x);
                const column_place *place = &places[line.dimensions][line.phase][g];
                float *there = u->data + line.freq * u->plane + place->at + to * place->step;
                *(mc_vec *)there = y[r];
            }
        }
    }
}

#define FILTER_LINE(name, tile_y, tile_x)                                                          \
    static __attribute__((noinline)) void filter_line_##name(                                      \
        kernels_of_group kernels, int64_t row, int64_t vectors, group_places places, int64_t to,   \
        const mc_planes *u)                                                                        \
    {                                                                                              \
        filter_line(tile_y, tile_x, kernels, row, vectors, places, to, u);                         \
    }
MC_TILES(FILTER_LINE)

void MC_ISA_NAME(winograd_filter)(const mc_winograd *w, const mc_filter *k, mc_planes u,
                                  int64_t u_row)
{
    MC_ALIGNED kernels_of_group kernels;
    group_places places;
    for (int64_t j = 0; j < k->columns; j += COLUMNS) {
        int64_t used = smaller(COLUMNS, k->columns - j), vectors = (used + LANES - 1) / LANES;
        find_places(w, k, u.row, j, vectors, places);
        for (int64_t i = 0; i < k->rows; i += LANES) {
            int64_t rows = smaller(LANES, k->rows - i);
            (k->way == MC_FORWARD ? load_forward : load_backward)(k, k->row + i, rows,
                                                                  k->column + j, used, kernels);
            for (int64_t r = 0; r < rows; r++) {
                MC_BY_WHOLE_TILE(w, filter_line, kernels, r, vectors, places, u_row + i + r, &u);
            }
        }
    }
}

/* ---- gradients of kernels -------------------------------------------------------------------- */

/* Adds the groups' gradients to the first one's, in order; a frequency's rows lie behind each other
 * in memory, which comes sooner so than line by line from all frequencies. */
static void add_groups(const mc_winograd *w, const mc_filter *k, const mc_planes *du,
                       int64_t groups, int64_t group_step)
{
    for (int64_t f = 0; f < mc_winograd_frequencies(w); f++) {
        for (int64_t phase = 0; phase < mc_winograd_phases(w, f); phase++) {
            float *to = du->data + f * du->plane + phase * du->phase;
            for (int64_t r = 0; r < k->rows; r++, to += du->row) {
                for (int64_t i = 0; i < k->columns; i += LANES) {
                    mc_vec sum = mc_load(to + i, k->columns - i);
                    for (int64_t g = 1; g < groups; g++) {
                        sum += mc_load(to + i + g * group_step, k->columns - i);
                    }
                    mc_store(to + i, k->columns - i, sum);
                }
            }
        }
    }
}

/* Gradients of one row of kernels and up to LANES columns. */
static inline __attribute__((always_inline)) void back(mc_tile_kind tile_y, mc_tile_kind tile_x,
                                                       const float *du, const mc_planes *planes,
                                                       int64_t left, mc_vec *kernel)
{
    const int in_y = filter_back_extents.in[tile_y], in_x = filter_back_extents.in[tile_x];
    MC_ALIGNED mc_vec half[3][MC_SIDE];
    mc_vec x[MC_SIDE], y[MC_SIDE];
    for (int k = 0; k < in_x; k++) {
        MC_UNROLL
        for (int r = 0; r < in_y; r++) {
            mc_line line = line_of(r, k, in_x);
            const float *from = du + line.freq * planes->plane + line.phase * planes->phase;
            x[r] = mc_load(from, left);
        }
        filter_back_1d(tile_y, x, y);
        MC_UNROLL
        for (int r = 0; r < 3; r++) {
            half[r][k] = y[r];
        }
    }
    for (int r = 0; r < 3; r++) {
        MC_UNROLL
        for (int k = 0; k < in_x; k++) {
            x[k] = half[r][k];
        }
        filter_back_1d(tile_x, x, y);
        MC_UNROLL
        for (int k = 0; k < 3; k++) {
            kernel[3 * r + k] = y[k];
        }
    }
}

#define BACK(name, tile_y, tile_x)                                                                 \
    static __attribute__((noinline)) void back_##name(const float *du, const mc_planes *planes,    \
                                                      int64_t left, mc_vec *kernel)                \
    {                                                                                              \
        back(tile_y, tile_x, du, planes, left, kernel);                                            \
    }
MC_TILES_FORWARD(BACK)

/* A square of numbers to rows of the gradient, `n` of each. */
static __attribute__((noinline)) void store_square(const mc_vec *square, float *to, int64_t step,
                                                   int64_t used, int64_t n, bool accumulate)
{
    mc_vec rows[LANES];
    MC_UNROLL
    for (int l = 0; l < LANES; l++) {
        rows[l] = square[l];
    }
    mc_transpose(rows);
    MC_UNROLL
    for (int l = 0; l < LANES; l++) {
        if (l < used) {
            if (accumulate) {
                rows[l] += mc_load(to + l * step, n);
            }
            mc_store(to + l * step, n, rows[l]);
        }
    }
}

void MC_ISA_NAME(winograd_filter_back)(const mc_winograd *w, const mc_filter *k, mc_planes du,
                                       int64_t groups, int64_t group_step, bool accumulate,
                                       float *grad)
{
    MC_ALIGNED mc_vec kernels[LANES][TAPS];
    if (groups > 1) {
        add_groups(w, k, &du, groups, group_step);
    }
    for (int64_t j = 0; j < k->columns; j += LANES) {
        int64_t left = k->columns - j;
        for (int64_t i = 0; i < k->rows; i += LANES) {
            int64_t rows = smaller(LANES, k->rows - i);
            for (int64_t r = 0; r < rows; r++) {
                const float *from = du.data + (i + r) * du.row + j;
                MC_BY_WHOLE_TILE_FORWARD(w, back, from, &du, left, kernels[r]);
            }
            float *to = grad + ((k->column + j) * k->c + k->row + i) * TAPS;
            for (int64_t t = 0; t < rows * TAPS; t += LANES) {
                store_square(&kernels[0][0] + t, to + t, k->c * TAPS, left, rows * TAPS - t,
                             accumulate);
            }
        }
    }
}
