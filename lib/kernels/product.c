/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The two matrix products of the engine. Compiled per instruction set.
 *
 *     product:  y[i][j]  = sum_t sum_k x[t][i][k] B[t][k][j]     rows against a packed matrix
 *     outer:    w[k][j] += sum_r x[r][k] d[r][j]                 a sum of outer products
 *
 * Rows (of x, y and d) lie wherever pointers say, so a convolution needs no copy of its patches
 * and a Winograd frequency none of its tiles. Only B is packed: in panels of two vectors of
 * columns, [t][k][columns], the last panel one vector wide where that is enough. A block of
 * MC_ROWS rows by one panel stays in registers while the sum runs; each step of it broadcasts
 * MC_ROWS numbers and loads one line of the panel.
 */
#include "kernels/isa.h"
#include <string.h>

enum { LANES = MC_LANES, ROWS = MC_ROWS, SMALL = (MC_ROWS + 2) / 3, PANEL = 2 * MC_LANES };

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Columns that the panel at column j of n occupies. */
static inline int64_t panel_width(int64_t n, int64_t j)
{
    return n - j <= LANES ? LANES : PANEL;
}

/* The first n <= LANES floats at p, zeros behind. */
static inline mc_vec load_first(const float *p, int64_t n)
{
    float values[LANES] = {0.0f};
    for (int64_t i = 0; i < n; i++) {
        values[i] = p[i];
    }
    return *(const mc_vec *)values;
}

static inline void store_first(float *p, int64_t n, mc_vec v)
{
    if (n >= LANES) {
        *(mc_vec *)p = v;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        p[i] = v[i];
    }
}

static inline mc_vec load_up_to(const float *p, int64_t n)
{
    return n >= LANES ? *(const mc_vec *)p : n > 0 ? load_first(p, n) : (mc_vec){0.0f};
}

/* ---- packing ----------------------------------------------------------------------------------
 */

void MC_ISA_NAME(pack_panels)(int64_t k, int64_t n, mc_matrix b, int64_t panel_stride, float *to)
{
    for (int64_t j = 0; j < n; j += PANEL, to += panel_stride) {
        int64_t width = panel_width(n, j), used = smaller(width, n - j);
        const float *from = b.data + j * b.cols;
        for (int64_t i = 0; i < k; i++, from += b.rows) {
            float *row = to + i * width;
            for (int64_t l = 0; l < used; l++) {
                row[l] = from[l * b.cols];
            }
            for (int64_t l = used; l < width; l++) {
                row[l] = 0.0f;
            }
        }
    }
}

/* ---- rows against panels ----------------------------------------------------------------------
 */

/* Terms t .. t + taps - 1 of a product, of each the numbers k .. k + run - 1: float sums stay
 * short, and this much of a panel in the first cache. */
typedef struct part {
    const mc_product *p;
    int64_t t, taps, k, run;
    bool first; /* the others add to y */
    bool last;
} part;
enum { SUM_MOST = 192 };

/* One block of `block` rows, of which `rows` are real (the others repeat the last one), by a panel
 * of `vectors` at column j. */
static inline __attribute__((always_inline)) void product_block(const part *q, const float *panel,
                                                                int64_t row, int64_t j,
                                                                const int block, int rows,
                                                                const int vectors)
{
    const mc_product *p = q->p;
    mc_vec sum[ROWS][2];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (mc_vec){0.0f};
        }
    }
    for (int64_t t = q->t; t < q->t + q->taps; t++) {
        const float *const *at = p->x + t * p->x_stride + row;
        const float *x[ROWS];
        int64_t tap = p->tap != NULL ? p->tap[t] : t;
        const float *b = panel + (tap * p->run + q->k) * vectors * LANES;
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            x[i] = at[i < rows ? i : rows - 1] + p->x_offset + q->k;
        }
        for (int64_t k = 0; k < q->run; k++, b += vectors * LANES) {
            mc_vec line[2];
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                line[v] = *(const mc_vec *)(b + v * LANES);
            }
            MC_UNROLL
            for (int i = 0; i < block; i++) {
                float value = x[i][k];
                MC_UNROLL
                for (int v = 0; v < vectors; v++) {
                    sum[i][v] += value * line[v];
                }
            }
        }
    }
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        if (i < rows) {
            float *y = p->y[row + i] + p->y_offset + j;
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                int64_t left = p->n - j - v * LANES;
                if (q->first && p->bias != NULL) {
                    sum[i][v] += load_up_to(p->bias + j + v * LANES, left);
                }
                if (!q->first || p->accumulate) {
                    sum[i][v] += load_up_to(y + v * LANES, left);
                }
                if (q->last && p->relu) {
                    sum[i][v] = mc_max((mc_vec){0.0f}, sum[i][v]);
                }
                store_first(y + v * LANES, left, sum[i][v]);
            }
        }
    }
}

/* All rows against one panel; the last rows in the smallest block that holds them. */
static inline __attribute__((always_inline)) void product_panel(const part *q, const float *panel,
                                                                int64_t j, const int vectors)
{
    int64_t row = 0, count = q->p->rows;
    for (; row + 2 * SMALL < count; row += ROWS) {
        product_block(q, panel, row, j, ROWS, (int)smaller(ROWS, count - row), vectors);
    }
    int rows = (int)(count - row);
    if (rows > SMALL) {
        product_block(q, panel, row, j, 2 * SMALL, rows, vectors);
    } else if (rows > 0) {
        product_block(q, panel, row, j, SMALL, rows, vectors);
    }
}

/* All panels. */
static void product_part(const part *q)
{
    const float *panel = q->p->panels;
    for (int64_t j = 0; j < q->p->n; j += PANEL, panel += q->p->panel_stride) {
        if (panel_width(q->p->n, j) == PANEL) {
            product_panel(q, panel, j, 2);
        } else {
            product_panel(q, panel, j, 1);
        }
    }
}

void MC_ISA_NAME(product)(const mc_product *p)
{
    /* Equal cuts of a run, or as many whole runs as fit. */
    int64_t cuts = (p->run + SUM_MOST - 1) / SUM_MOST, run = (p->run + cuts - 1) / cuts;
    int64_t taps = cuts > 1 ? 1 : SUM_MOST / run;
    /* A product without terms is zero too. */
    for (int64_t t = 0; t == 0 || t < p->taps; t += taps) {
        for (int64_t k = 0; k < p->run; k += run) {
            part q = {.p = p,
                      .t = t,
                      .taps = smaller(taps, p->taps - t),
                      .k = k,
                      .run = smaller(run, p->run - k),
                      .first = t == 0 && k == 0,
                      .last = t + taps >= p->taps && k + run >= p->run};
            product_part(&q);
        }
    }
}

/* ---- sums of outer products -------------------------------------------------------------------
 */

/* ROWS columns of x from column k on, row after row: read once for every panel of d, and rows of x
 * may lie a power of two apart. */
enum { OUTER_MOST = 192 };

static inline void pack_columns(const mc_outer *p, int64_t first, int64_t count, int64_t k,
                                float *to)
{
    int64_t used = smaller(ROWS, p->k - k);
    for (int64_t r = 0; r < count; r++, to += ROWS) {
        const float *x = p->x[first + r] + p->x_offset + k;
        if (used == ROWS) {
            memcpy(to, x, ROWS * sizeof *to);
        } else {
            for (int64_t i = 0; i < ROWS; i++) {
                to[i] = i < used ? x[i] : 0.0f;
            }
        }
    }
}

/* A block of w, `block` by `vectors`, of which `rows` by `n` numbers are real. */
typedef struct outer_place {
    const mc_outer *p;
    const float *packed;        /* columns of x, or NULL: not packed */
    int64_t first, count, k, j; /* rows of x and d; where in w */
    int64_t rows, n;
} outer_place;

static inline __attribute__((always_inline)) void outer_block(const outer_place *q, const int block,
                                                              const int vectors, const bool packed,
                                                              const bool whole)
{
    const mc_outer *p = q->p;
    mc_vec sum[ROWS][2];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (mc_vec){0.0f};
        }
    }
    const float *const *xs = p->x + q->first, *const *ds = p->d + q->first;
    int64_t x_offset = p->x_offset + q->k, d_offset = p->d_offset + q->j, last = q->rows - 1;
    for (int64_t r = 0; r < q->count; r++) {
        const float *x = packed ? q->packed + r * ROWS : xs[r] + x_offset;
        const float *d = ds[r] + d_offset;
        mc_vec line[2];
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            line[v] = whole ? *(const mc_vec *)(d + v * LANES)
                            : load_up_to(d + v * LANES, q->n - v * LANES);
        }
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            float value = x[packed || i <= last ? i : last];
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                sum[i][v] += value * line[v];
            }
        }
    }
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        if (i <= last) {
            float *w = p->w + (q->k + i) * p->w_stride + q->j;
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                int64_t left = whole ? LANES : q->n - v * LANES;
                if (p->accumulate || q->first > 0) {
                    sum[i][v] += load_up_to(w + v * LANES, left);
                }
                store_first(w + v * LANES, left, sum[i][v]);
            }
        }
    }
}

/* One row of blocks. */
static inline __attribute__((always_inline)) void outer_row(outer_place q, const int block,
                                                            const bool packed)
{
    for (; q.j + PANEL <= q.p->n; q.j += PANEL) {
        outer_block(&q, block, 2, packed, true);
    }
    q.n = q.p->n - q.j;
    if (q.n >= LANES) {
        outer_block(&q, block, 1, packed, true);
        q.j += LANES;
        q.n -= LANES;
    }
    if (q.n > 0) {
        outer_block(&q, block, 1, packed, false);
    }
}

/* All of w from the place's rows of x and d. */
static void outer_part(outer_place q)
{
    float packed[OUTER_MOST * ROWS];
    bool pays = q.p->n > 2 * PANEL;
    q.packed = packed;
    for (; q.k + 2 * SMALL < q.p->k; q.k += ROWS) {
        q.rows = smaller(ROWS, q.p->k - q.k);
        if (pays) {
            pack_columns(q.p, q.first, q.count, q.k, packed);
            outer_row(q, ROWS, true);
        } else {
            outer_row(q, ROWS, false);
        }
    }
    q.rows = q.p->k - q.k;
    if (q.rows > SMALL) {
        outer_row(q, 2 * SMALL, false);
    } else if (q.rows > 0) {
        outer_row(q, SMALL, false);
    }
}

void MC_ISA_NAME(outer)(const mc_outer *p)
{
    /* An empty sum is zero too. */
    for (int64_t r = 0; r == 0 || r < p->count; r += OUTER_MOST) {
        outer_place all = {.p = p, .first = r, .count = smaller(OUTER_MOST, p->count - r)};
        outer_part(all);
    }
}
