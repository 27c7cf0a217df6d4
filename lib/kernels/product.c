/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The two matrix products of the engine. Compiled per instruction set.
 *
 *     product:  y[i][j]  = sum_t sum_k x[i][a_t + k] B[b_t + k][j]    rows against a packed matrix
 *     outer:    w[k][j] += sum_r x[r][k] d[r][j]                      a sum of outer products
 *
 * Rows (of x, y and d) lie wherever pointers say, so a convolution needs no copy of its patches
 * and a Winograd frequency none of its tiles. Only B is packed: in panels of MC_VECTORS vectors of
 * columns, [t][k][columns], the columns left at the end in panels of half as many, and so on. A
 * block of rows by one panel stays in registers while the sum runs; each step of it broadcasts a
 * number of every row and loads one line of the panel. Few rows by four vectors beat many by two:
 * a step then loads 10 times for 24 products, not 14 times.
 */
#include "kernels/isa.h"
#include <string.h>

/* Rows of a block by two vectors, by four, and of an outer product by one: as many sums each. */
enum {
    LANES = MC_LANES,
    PANEL = MC_VECTORS * MC_LANES,
    ROWS = MC_ROWS,
    ROWS_4 = MC_ROWS / 2,
    ROWS_1 = 2 * MC_ROWS
};

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Vectors of the panel at column j of n. */
static inline int panel_vectors(int64_t n, int64_t j)
{
    int64_t vectors = (n - j + LANES - 1) / LANES;
    return vectors >= MC_VECTORS ? MC_VECTORS : vectors >= 2 ? 2 : 1;
}

/* ---- memory wanted soon ---------------------------------------------------------------------- */

/* A loop's place in it: next line, and MC_LINE or, where nothing is wanted, 0. */
typedef struct touching {
    const char *at;
    int64_t step;
} touching;

static inline touching touch_from(const mc_ahead *ahead)
{
    bool any = ahead != NULL && ahead->lines > 0;
    return (touching){any ? ahead->at : NULL, any ? MC_LINE : 0};
}

/* A line every second step: more of them at a time would keep the loop's own loads waiting. */
static inline void touch(touching *t, int64_t step)
{
    if (t->step != 0 && step % 2 == 0) {
        __builtin_prefetch(t->at);
        t->at += t->step;
    }
}

static inline void touched_to(touching t, mc_ahead *ahead)
{
    if (t.step > 0) {
        ahead->lines -= (t.at - ahead->at) / MC_LINE;
        ahead->at = t.at;
    }
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Numbers r .. r + LANES - 1 of [c][taps], a vector of outputs, to their rows of the panel. */
static void pack_square(const float *w, int64_t outputs, int64_t c, int64_t taps, int64_t r,
                        int64_t width, float *panel)
{
    int64_t size = c * taps, used = smaller(LANES, size - r), i = r / taps, t = r % taps;
    mc_vec rows[LANES];
    MC_ALIGNED mc_vec square[LANES];
    MC_UNROLL
    for (int l = 0; l < LANES; l++) {
        rows[l] = l < outputs ? mc_load(w + l * size + r, size - r) : (mc_vec){0.0f};
    }
    mc_transpose(rows);
    MC_UNROLL
    for (int l = 0; l < LANES; l++) {
        square[l] = rows[l];
    }
    for (int64_t q = 0; q < used; q++) {
        *(mc_vec *)(panel + (t * c + i) * width) = square[q];
        if (++t == taps) {
            t = 0;
            i++;
        }
    }
}

void MC_ISA_NAME(pack_panels)(const float *w, int64_t o, int64_t c, int64_t taps, int64_t first,
                              int64_t count, float *panels)
{
    int64_t size = c * taps;
    for (int64_t j = first, width; j < first + count; j += width) {
        width = panel_vectors(o, j) * LANES;
        for (int64_t r = 0; r < size; r += LANES) {
            for (int64_t v = 0; v < width; v += LANES) {
                pack_square(w + (j + v) * size, o - j - v, c, taps, r, width,
                            panels + j * size + v);
            }
        }
    }
}

/* ---- rows against panels --------------------------------------------------------------------- */

/* Terms t .. t + taps - 1 of a product, of each the numbers k .. k + run - 1: float sums stay
 * short, and this much of a panel in the first cache. */
typedef struct part {
    const mc_product *p;
    int64_t t, taps, k, run;
    bool first; /* the others add to y */
    bool last;
} part;
enum { SUM_MOST = 192 };

/* Sums [rows][vectors] of row `row` and column j on to y: with bias, what was there, rectified. */
static __attribute__((noinline)) void finish_block(const part *q, const mc_vec *sum, int64_t row,
                                                   int64_t j, int rows, int vectors)
{
    const mc_product *p = q->p;
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < vectors; v++, sum++) {
            int64_t column = j + v * LANES, left = p->n - column;
            float *y = p->y[row + i] + p->y_offset + column;
            mc_vec value = *sum;
            if (q->first && p->bias != NULL) {
                value += mc_load(p->bias + column, left);
            }
            if (!q->first || p->accumulate) {
                value += mc_load(y, left);
            }
            if (q->last && p->relu) {
                value = mc_max((mc_vec){0.0f}, value);
            }
            mc_store(y, left, value);
        }
    }
}

/* One block of `block` rows, of which `rows` are real (the others repeat the last one), by a panel
 * of `vectors` at column j. */
static inline __attribute__((always_inline)) void product_block(const part *q, const float *panel,
                                                                int64_t row, int64_t j,
                                                                const int block, int rows,
                                                                const int vectors)
{
    const mc_product *p = q->p;
    mc_vec sum[ROWS][MC_VECTORS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (mc_vec){0.0f};
        }
    }
    const float *x[ROWS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        x[i] = p->x[row + (i < rows ? i : rows - 1)];
    }
    if (p->accumulate && q->first) {
        /* What is added to is seldom in a cache, and short sums would wait for it. */
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                __builtin_prefetch(p->y[row + (i < rows ? i : rows - 1)] + p->y_offset + j +
                                   v * LANES);
            }
        }
    }
    touching soon = touch_from(p->ahead);
    for (int64_t t = q->t; t < q->t + q->taps; t++) {
        int64_t at = p->x_offset + (p->x_at != NULL ? p->x_at[t] : 0) + q->k;
        int64_t panel_row = (p->panel_at != NULL ? p->panel_at[t] : t * p->run) + q->k;
        const float *b = panel + panel_row * vectors * LANES;
        for (int64_t k = at; k < at + q->run; k++, b += vectors * LANES) {
            touch(&soon, k);
            mc_vec line[MC_VECTORS];
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
    touched_to(soon, p->ahead);
    bool plain = p->bias == NULL && !p->relu && rows == block && p->n - j >= vectors * LANES;
    if (plain) {
        bool add = !q->first || p->accumulate;
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            float *y = p->y[row + i] + p->y_offset + j;
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                mc_vec *to = (mc_vec *)(y + v * LANES);
                if (add) {
                    sum[i][v] += *to;
                }
                *to = sum[i][v];
            }
        }
        return;
    }
    /* What takes tests goes through memory, lest the loop above lose registers to it. */
    MC_ALIGNED mc_vec kept[ROWS * MC_VECTORS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            kept[i * vectors + v] = sum[i][v];
        }
    }
    finish_block(q, kept, row, j, rows, vectors);
}

/* The blocks that there are, each a function of its own: inlined together into one, the compiler
 * runs out of registers for the sums. */
typedef void (*block_fn)(const part *q, const float *panel, int64_t row, int64_t j, int rows);
#define BLOCK(name, block, vectors)                                                                \
    static __attribute__((noinline)) void name(const part *q, const float *panel, int64_t row,     \
                                               int64_t j, int rows)                                \
    {                                                                                              \
        product_block(q, panel, row, j, block, rows, vectors);                                     \
    }
BLOCK(block_4, ROWS_4, MC_VECTORS)
BLOCK(block_2, ROWS, 2)
BLOCK(block_1, ROWS, 1)
BLOCK(half_4, ROWS_4 / 2, MC_VECTORS)
BLOCK(half_2, ROWS / 2, 2)
BLOCK(half_1, ROWS / 2, 1)

/* All rows against one panel; the last rows in half a block where that holds them. */
static void product_panel(const part *q, const float *panel, int64_t j, int block, block_fn whole,
                          block_fn half)
{
    int64_t row = 0, count = q->p->rows;
    for (; row + block / 2 < count; row += block) {
        whole(q, panel, row, j, (int)smaller(block, count - row));
    }
    if (row < count) {
        half(q, panel, row, j, (int)(count - row));
    }
}

/* All panels. */
static void product_part(const part *q)
{
    for (int64_t j = 0, vectors; j < q->p->n; j += vectors * LANES) {
        const float *panel = q->p->panels + j * q->p->panel_rows;
        vectors = panel_vectors(q->p->n, j);
        if (vectors == 4) {
            product_panel(q, panel, j, ROWS_4, block_4, half_4);
        } else if (vectors == 2) {
            product_panel(q, panel, j, ROWS, block_2, half_2);
        } else {
            product_panel(q, panel, j, ROWS, block_1, half_1);
        }
    }
}

/* A square matrix of one vector stays in registers whole, and some rows of sums beside it. */
enum { SQUARE_ROWS = MC_LANES == 16 ? 8 : 6 };

static __attribute__((noinline)) void square_rows(const mc_product *p, const float *panel)
{
    mc_vec b[LANES], sum[SQUARE_ROWS];
    const float *x[SQUARE_ROWS];
    int64_t at = p->x_offset + (p->x_at != NULL ? p->x_at[0] : 0);
    MC_UNROLL
    for (int k = 0; k < LANES; k++) {
        b[k] = *(const mc_vec *)(panel + k * LANES);
    }
    touching soon = touch_from(p->ahead);
    for (int64_t row = 0; row + SQUARE_ROWS <= p->rows; row += SQUARE_ROWS) {
        MC_UNROLL
        for (int i = 0; i < SQUARE_ROWS; i++) {
            x[i] = p->x[row + i] + at;
            sum[i] = x[i][0] * b[0];
        }
        MC_UNROLL
        for (int k = 1; k < LANES; k++) {
            touch(&soon, k);
            MC_UNROLL
            for (int i = 0; i < SQUARE_ROWS; i++) {
                sum[i] += x[i][k] * b[k];
            }
        }
        MC_UNROLL
        for (int i = 0; i < SQUARE_ROWS; i++) {
            *(mc_vec *)(p->y[row + i] + p->y_offset) = sum[i];
        }
    }
    touched_to(soon, p->ahead);
}

/* Whether a product is such a one; the rows left over go the usual way. */
static bool is_square(const mc_product *p)
{
    return p->run == LANES && p->n == LANES && p->taps == 1 && p->bias == NULL && !p->relu &&
           !p->accumulate && p->rows >= 2 * SQUARE_ROWS;
}

void MC_ISA_NAME(product)(const mc_product *p)
{
    mc_product rest = *p;
    if (is_square(p)) {
        int64_t panel_row = p->panel_at != NULL ? p->panel_at[0] : 0;
        square_rows(p, p->panels + panel_row * LANES);
        rest.x += p->rows - p->rows % SQUARE_ROWS;
        rest.y += p->rows - p->rows % SQUARE_ROWS;
        rest.rows = p->rows % SQUARE_ROWS;
        p = &rest;
    }
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

/* ---- sums of outer products ------------------------------------------------------------------ */

/* ROWS columns of x from column k on, row after row: read once for every panel of d, and rows of x
 * may lie a power of two apart. */
enum { OUTER_MOST = 192, OUTER_BLOCKS = 8 };

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

/* A block of w, of which `rows` by `n` numbers are real. */
typedef struct outer_place {
    const mc_outer *p;
    const float *packed;        /* columns of x, or NULL: not packed */
    int64_t first, count, k, j; /* rows of x and d; where in w */
    int64_t rows, n;
    bool add; /* to what w holds */
} outer_place;

/* Sums [rows][vectors] to w, as product's finish_block(). */
static __attribute__((noinline)) void finish_outer(const outer_place *q, const mc_vec *sum,
                                                   int vectors)
{
    for (int64_t i = 0; i < q->rows; i++) {
        float *w = q->p->w + (q->k + i) * q->p->w_stride + q->j;
        for (int v = 0; v < vectors; v++, sum++) {
            int64_t left = q->n - v * LANES;
            mc_vec value = *sum;
            if (q->add) {
                value += mc_load(w + v * LANES, left);
            }
            mc_store(w + v * LANES, left, value);
        }
    }
}

/* What a block is: all of it real; read from packed columns; of fewer rows, whose sums alone are
 * kept; or with columns of less than a vector. */
typedef enum outer_kind { OUTER_FULL, OUTER_PACKED, OUTER_PART, OUTER_REST } outer_kind;

static inline __attribute__((always_inline)) void
outer_block(const outer_place *q, const int block, const int vectors, const outer_kind kind)
{
    const mc_outer *p = q->p;
    mc_vec sum[ROWS_1][MC_VECTORS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (mc_vec){0.0f};
        }
    }
    const float *const *xs = p->x + q->first, *const *ds = p->d + q->first;
    int64_t x_offset = p->x_offset + q->k, d_offset = p->d_offset + q->j;
    touching soon = touch_from(p->ahead);
    if (q->add) {
        /* As in product_block(). */
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                __builtin_prefetch(p->w + (q->k + i) * p->w_stride + q->j + v * LANES);
            }
        }
    }
    for (int64_t r = 0; r < q->count; r++) {
        touch(&soon, r);
        const float *x = kind == OUTER_PACKED ? q->packed + r * ROWS : xs[r] + x_offset;
        const float *d = ds[r] + d_offset;
        mc_vec line[MC_VECTORS];
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            line[v] = kind != OUTER_REST ? *(const mc_vec *)(d + v * LANES)
                                         : mc_load(d + v * LANES, q->n - v * LANES);
        }
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            float value = x[i];
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                sum[i][v] += value * line[v];
            }
        }
    }
    touched_to(soon, p->ahead);
    if (kind == OUTER_FULL || (kind == OUTER_PACKED && q->rows == block)) {
        float *w = p->w + q->k * p->w_stride + q->j;
        MC_UNROLL
        for (int i = 0; i < block; i++, w += p->w_stride) {
            MC_UNROLL
            for (int v = 0; v < vectors; v++) {
                mc_vec *to = (mc_vec *)(w + v * LANES);
                if (q->add) {
                    sum[i][v] += *to;
                }
                *to = sum[i][v];
            }
        }
        return;
    }
    MC_ALIGNED mc_vec kept[ROWS * MC_VECTORS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            kept[i * vectors + v] = sum[i][v];
        }
    }
    finish_outer(q, kept, vectors);
}

#define OUTER(name, block, vectors, kind)                                                          \
    static __attribute__((noinline)) void name(const outer_place *q)                               \
    {                                                                                              \
        outer_block(q, block, vectors, kind);                                                      \
    }
OUTER(outer_4, ROWS_4, MC_VECTORS, OUTER_FULL)
OUTER(outer_4_packed, ROWS_4, MC_VECTORS, OUTER_PACKED)
OUTER(outer_4_part, ROWS_4, MC_VECTORS, OUTER_PART)
OUTER(outer_2, ROWS, 2, OUTER_FULL)
OUTER(outer_2_packed, ROWS, 2, OUTER_PACKED)
OUTER(outer_2_part, ROWS, 2, OUTER_PART)
OUTER(outer_2_half, ROWS / 2, 2, OUTER_PART)
OUTER(outer_1_tall, ROWS_1, 1, OUTER_FULL)
OUTER(outer_1_square, LANES, 1, OUTER_FULL)
OUTER(outer_1, ROWS, 1, OUTER_FULL)
OUTER(outer_1_part, ROWS, 1, OUTER_PART)
OUTER(outer_1_half, ROWS / 2, 1, OUTER_PART)
OUTER(outer_rest, ROWS, 1, OUTER_REST)
OUTER(outer_rest_half, ROWS / 2, 1, OUTER_REST)

/* The place's rows of w by four vectors, half of them at a time. */
static void outer_wide(outer_place q)
{
    int64_t rows = q.rows;
    for (int64_t i = 0; i < rows; i += ROWS_4, q.k += ROWS_4) {
        q.rows = smaller(ROWS_4, rows - i);
        if (q.packed != NULL) {
            outer_4_packed(&q);
            q.packed += ROWS_4;
        } else {
            (q.rows == ROWS_4 ? outer_4 : outer_4_part)(&q);
        }
    }
}

/* Up to a panel of columns, ROWS rows of w or fewer: `n` says which. */
static void outer_columns(outer_place q)
{
    bool half = q.rows <= ROWS / 2, full = q.rows == ROWS;
    if (q.n == 4 * LANES) {
        outer_wide(q);
    } else if (q.n == 2 * LANES) {
        if (q.packed != NULL) {
            outer_2_packed(&q);
        } else {
            (full ? outer_2 : half ? outer_2_half : outer_2_part)(&q);
        }
    } else if (q.n == LANES) {
        (full ? outer_1 : half ? outer_1_half : outer_1_part)(&q);
    } else {
        (half ? outer_rest_half : outer_rest)(&q);
    }
}

/* Columns of the next block of `left`. */
static int64_t outer_width(int64_t left)
{
    return MC_VECTORS == 4 && left >= 4 * LANES ? 4 * LANES
           : left >= 2 * LANES                  ? 2 * LANES
           : left >= LANES                      ? LANES
                                                : left;
}

/* All of w from the place's rows of x and d: a few blocks of rows by a panel of d, which stays in
 * the first cache meanwhile. */
static void outer_part(outer_place q)
{
    MC_ALIGNED float packed[OUTER_BLOCKS * OUTER_MOST * ROWS];
    /* One vector of columns by twice the rows, all of them real. */
    for (q.rows = ROWS_1, q.n = LANES; q.p->n == LANES && q.k + ROWS_1 <= q.p->k; q.k += ROWS_1) {
        outer_1_tall(&q);
    }
    for (q.rows = LANES; q.p->n == LANES && q.k + LANES <= q.p->k; q.k += LANES) {
        outer_1_square(&q);
    }
    bool pays = q.p->n > 2 * PANEL;
    for (int64_t k = q.k, end; k < q.p->k; k = end) {
        end = smaller(k + OUTER_BLOCKS * ROWS, q.p->k);
        for (int64_t b = 0; pays && k + b * ROWS < end; b++) {
            pack_columns(q.p, q.first, q.count, k + b * ROWS, packed + b * q.count * ROWS);
        }
        for (q.j = 0; q.j < q.p->n; q.j += q.n) {
            q.n = outer_width(q.p->n - q.j);
            for (int64_t b = 0; k + b * ROWS < end; b++) {
                q.k = k + b * ROWS;
                q.rows = smaller(ROWS, end - q.k);
                q.packed = pays ? packed + b * q.count * ROWS : NULL;
                outer_columns(q);
            }
        }
    }
}

void MC_ISA_NAME(outer)(const mc_outer *p)
{
    /* An empty sum is zero too. */
    for (int64_t r = 0; r == 0 || r < p->count; r += OUTER_MOST) {
        outer_place all = {.p = p,
                           .first = r,
                           .count = smaller(OUTER_MOST, p->count - r),
                           .add = p->accumulate || r > 0};
        outer_part(all);
    }
}
