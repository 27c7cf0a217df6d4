/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rows against a packed matrix, the product of the engine. Compiled per instruction set.
 *
 *     y[i][j] = sum_t sum_k x[i][a_t + k] B[b_t + k][j]
 *
 * Rows of x and y lie in stretches of equally spaced ones (mc_product), so a convolution needs no
 * copy of its patches and a Winograd frequency none of its tiles. Only B is packed: in panels of
 * MC_VECTORS vectors of columns, [t][k][columns], the columns left at the end in panels of half as
 * many, and so on. A block of rows by one panel stays in registers while the sum runs; each step of
 * it broadcasts a number of every row and loads one line of the panel.
 *
 * A processor has few registers for addresses: those of spaced rows are three to a pointer, and
 * blocks of rows from several stretches are small enough to have a pointer each.
 */
#include "kernels/isa.h"
#include "kernels/touch.h"
#include <string.h>

enum {
    LANES = MC_LANES,
    PANEL = MC_VECTORS * MC_LANES,
    ROWS_MOST = MC_ROWS_1,                                 /* of a block */
    FEW_2 = MC_ROWS_2 == MC_ROWS ? MC_FEW : MC_ROWS_2 / 2, /* of one of few by two vectors */
    FEW_1 = MC_ROWS_1 / 2,                                 /* and by one */
    GATHERED_MOST = MC_ROWS_2                              /* rows of one that is not spaced */
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
    bool first, last; /* the others add to y */
    mc_ahead *ahead;  /* the product's, or else what comes next of the panels */
} part;
enum { SUM_MOST = 192 };

/* Where term t of the part begins behind a row's offset, and in a panel. */
static inline int64_t term_at(const part *q, int64_t t)
{
    return (q->p->x_at != NULL ? q->p->x_at[t] : 0) + q->k;
}

static inline int64_t term_row(const part *q, int64_t t)
{
    return (q->p->panel_at != NULL ? q->p->panel_at[t] : t * q->p->run) + q->k;
}

/* Sums of spaced rows, from column j on, to y: with bias, what was there, rectified. */
static MC_ONCE void finish_rows(const part *q, const mc_vec *sum, int64_t rows, float *y, int64_t j,
                                int vectors)
{
    const mc_product *p = q->p;
    const float *bias = q->first ? p->bias : NULL;
    const bool add = !q->first || p->accumulate, relu = q->last && p->relu;
    for (int v = 0; v < vectors; v++, j += LANES, y += LANES) {
        const int64_t left = p->n - j;
        const mc_vec shift = bias != NULL ? mc_load(bias + j, left) : (mc_vec){0.0f};
        for (int64_t i = 0; i < rows; i++) {
            float *to = y + i * p->y_step;
            mc_vec value = sum[i * vectors + v];
            if (bias != NULL) { /* -0 stays what it is */
                value += shift;
            }
            if (add) {
                value += mc_load(to, left);
            }
            if (relu) {
                value = mc_max((mc_vec){0.0f}, value);
            }
            mc_store(to, left, value);
        }
    }
}

/* Whether a block's sums can be stored as they are, or added. */
static inline bool is_plain(const part *q, int64_t j, int vectors)
{
    const mc_product *p = q->p;
    return p->bias == NULL && !p->relu && p->n - j >= vectors * LANES;
}

static inline __attribute__((always_inline)) void store_row(mc_vec *sum, float *y, bool add,
                                                            const int vectors)
{
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        mc_vec *to = (mc_vec *)(y + v * LANES);
        if (add) {
            sum[v] += *to;
        }
        *to = sum[v];
    }
}

/* What takes tests goes through memory, lest the sums' loop lose registers to it. */
static inline __attribute__((always_inline)) void
keep_block(mc_vec (*sum)[MC_VECTORS], mc_vec *kept, const int block, const int vectors)
{
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            kept[i * vectors + v] = sum[i][v];
        }
    }
}

/* What is added to is seldom in a cache, and short sums would wait for it. */
static inline __attribute__((always_inline)) void ask_for(const float *y, const int vectors)
{
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        __builtin_prefetch(y + v * LANES);
    }
}

/* One step of the sums, or the first, which they begin with: a number of every row i, before which
 * something may be done, by a line of the panel, at b. */
#define STEP(block, vectors, before_row, number_of_row, is_first)                                  \
    do {                                                                                           \
        mc_vec line[MC_VECTORS];                                                                   \
        MC_UNROLL                                                                                  \
        for (int v = 0; v < (vectors); v++, b += LANES) {                                          \
            line[v] = *(const mc_vec *)b;                                                          \
        }                                                                                          \
        MC_UNROLL                                                                                  \
        for (int i = 0; i < (block); i++) {                                                        \
            before_row;                                                                            \
            float number = (number_of_row);                                                        \
            MC_UNROLL                                                                              \
            for (int v = 0; v < (vectors); v++) {                                                  \
                if (is_first) {                                                                    \
                    sum[i][v] = number * line[v];                                                  \
                } else if ((vectors) == 1) {                                                       \
                    mc_add_single(&sum[i][v], number, line[v]);                                    \
                } else {                                                                           \
                    mc_add_product(&sum[i][v], mc_all(number), line[v]);                           \
                }                                                                                  \
            }                                                                                      \
            MC_ROW_DONE;                                                                           \
        }                                                                                          \
    } while (0)

/* The k-th number behind where rows are, which are spaced, three to a pointer. An opaque step has
 * the processor add up addresses as it loads: the compiler would keep one for every number. */
#define SPACED_STEP(block, vectors, k, is_first)                                                   \
    STEP(block, vectors, MC_OPAQUE(step), at[i / 3][i % 3 * step + (k)], is_first)

#define SPACED_MOVE(block, by)                                                                     \
    MC_UNROLL                                                                                      \
    for (int g = 0; 3 * g < (block); g++) {                                                        \
        at[g] += (by);                                                                             \
        MC_OPAQUE(at[g]); /* or the compiler makes an address of every row */                      \
    }

/* Four steps, which share counting and addresses: a core that has another thread to serve decodes
 * half as many instructions, and they, not the multiplications, are what a sum then waits for. */
enum { STEPS = 4 };
#define SPACED_STEPS(block, vectors, is_first)                                                     \
    do {                                                                                           \
        touch(&soon);                                                                              \
        touch(&soon);                                                                              \
        if ((vectors) == 1) {                                                                      \
            touch(&soon);                                                                          \
            touch(&soon);                                                                          \
        }                                                                                          \
        SPACED_STEP(block, vectors, 0, is_first);                                                  \
        SPACED_STEP(block, vectors, 1, false);                                                     \
        SPACED_STEP(block, vectors, 2, false);                                                     \
        SPACED_STEP(block, vectors, 3, false);                                                     \
        SPACED_MOVE(block, STEPS)                                                                  \
    } while (0)

#define ZERO(block, vectors)                                                                       \
    MC_UNROLL                                                                                      \
    for (int i = 0; i < (block); i++) {                                                            \
        MC_UNROLL                                                                                  \
        for (int v = 0; v < (vectors); v++) {                                                      \
            sum[i][v] = (mc_vec){0.0f};                                                            \
        }                                                                                          \
    }

/* Rows that are better two blocks of few than a whole one and a rest; 0 if there are none. */
static inline int64_t rows_by_few(int64_t block, int64_t few)
{
    return few < block && 2 * few > block ? 2 * few : 0;
}

/* As many blocks as there are of `rows` spaced rows, from x and y on, by a panel at column j, or
 * one less where the rest then is two blocks of few; how many rows that was. */
static inline __attribute__((always_inline)) int64_t
spaced_blocks(const part *q, const float *panel, int64_t j, int64_t rows, const float *x, float *y,
              const int block, const int few, const int vectors)
{
    const mc_product *p = q->p;
    const int64_t y_step = p->y_step;
    int64_t step = p->x_step;
    const bool plain = is_plain(q, j, vectors), add = !q->first || p->accumulate;
    touching soon = touch_from(q->ahead, panel);
    int64_t left = rows;
    for (; left >= block && left != rows_by_few(block, few);
         left -= block, x += block * step, y += block * y_step) {
        mc_vec sum[ROWS_MOST][MC_VECTORS];
        if (q->first && add) {
            MC_UNROLL
            for (int i = 0; i < block; i++) {
                ask_for(y + i * y_step, vectors);
            }
        }
        ZERO(block, vectors)
        for (int64_t t = q->t; t < q->t + q->taps; t++) {
            const float *b = panel + term_row(q, t) * vectors * LANES;
            const float *at[(ROWS_MOST + 2) / 3];
            MC_UNROLL
            for (int g = 0; 3 * g < block; g++) {
                at[g] = x + term_at(q, t) + 3 * g * step;
            }
            int64_t run = q->run;
            for (; run >= STEPS; run -= STEPS) {
                SPACED_STEPS(block, vectors, false);
            }
            MC_ROLLED
            for (; run > 0; run--) {
                SPACED_STEP(block, vectors, 0, false);
                SPACED_MOVE(block, 1)
            }
        }
        if (plain) {
            float *to = y;
            MC_UNROLL
            for (int i = 0; i < block; i++, to += y_step) {
                store_row(sum[i], to, add, vectors);
            }
        } else {
            MC_ALIGNED mc_vec kept[ROWS_MOST * MC_VECTORS];
            keep_block(sum, kept, block, vectors);
            finish_rows(q, kept, block, y, j, vectors);
        }
    }
    touched_to(soon, q->ahead);
    return rows - left;
}

/* The same for one term of whole STEPS whose sums are stored as they are, or added: most products
 * of a Winograd frequency. Without tests between the blocks, and begun with a product instead of
 * zeros, sums of 16 to 64 steps take a tenth to a thirtieth less (AVX2). */
static inline bool is_straight(const part *q, int64_t j, int vectors)
{
    return q->taps == 1 && q->run > 0 && q->run % STEPS == 0 && is_plain(q, j, vectors);
}

static inline __attribute__((always_inline)) int64_t
straight_blocks(const part *q, const float *panel, int64_t rows, const float *x, float *y,
                const int block, const int few, const int vectors)
{
    const int64_t y_step = q->p->y_step, run = q->run;
    const float *begin = panel + term_row(q, q->t) * vectors * LANES;
    const bool add = !q->first || q->p->accumulate, ask = q->first && add;
    touching soon = touch_from(q->ahead, panel);
    int64_t left = rows, step = q->p->x_step;
    x += term_at(q, q->t);
    for (; left >= block && left != rows_by_few(block, few); left -= block, x += block * step) {
        mc_vec sum[ROWS_MOST][MC_VECTORS];
        const float *b = begin, *at[(ROWS_MOST + 2) / 3];
        if (ask) {
            MC_UNROLL
            for (int i = 0; i < block; i++) {
                ask_for(y + i * y_step, vectors);
            }
        }
        MC_UNROLL
        for (int g = 0; 3 * g < block; g++) {
            at[g] = x + 3 * g * step;
            MC_OPAQUE(at[g]);
        }
        SPACED_STEPS(block, vectors, true);
        for (int64_t k = run - STEPS; k > 0; k -= STEPS) {
            SPACED_STEPS(block, vectors, false);
        }
        MC_UNROLL
        for (int i = 0; i < block; i++, y += y_step) {
            store_row(sum[i], y, add, vectors);
        }
    }
    touched_to(soon, q->ahead);
    return rows - left;
}

/* The same for a square panel of one vector: it stays in registers whole, and sums of fewer rows
 * beside it. */
enum { SQUARE_ROWS = MC_LANES == 16 ? 8 : 6 };

static inline bool is_square(const part *q, int64_t j)
{
    return q->taps == 1 && q->run == LANES && q->first && !q->p->accumulate && is_plain(q, j, 1);
}

static int64_t square_1(const part *q, const float *panel, int64_t j, int64_t rows, const float *x,
                        float *y)
{
    (void)j;
    const mc_product *p = q->p;
    const int64_t step = p->x_step;
    const mc_vec *b = (const mc_vec *)(panel + term_row(q, q->t) * LANES);
    touching soon = touch_from(q->ahead, panel);
    mc_vec line[LANES], sum[SQUARE_ROWS];
    MC_UNROLL
    for (int k = 0; k < LANES; k++) {
        line[k] = b[k];
    }
    x += term_at(q, q->t);
    int64_t left = rows;
    for (; left >= SQUARE_ROWS; left -= SQUARE_ROWS, x += SQUARE_ROWS * step) {
        const float *at[SQUARE_ROWS];
        MC_UNROLL
        for (int i = 0; i < SQUARE_ROWS; i++) {
            at[i] = x + i * step;
            MC_OPAQUE(at[i]); /* or the compiler keeps a distance for every number */
            sum[i] = at[i][0] * line[0];
        }
        MC_UNROLL
        for (int k = 1; k < LANES; k++) {
            if (k % 2 != 0) {
                touch(&soon);
            }
            MC_UNROLL
            for (int i = 0; i < SQUARE_ROWS; i++) {
                sum[i] += at[i][k] * line[k];
            }
        }
        MC_UNROLL
        for (int i = 0; i < SQUARE_ROWS; i++, y += p->y_step) {
            *(mc_vec *)y = sum[i];
        }
    }
    touched_to(soon, q->ahead);
    return rows - left;
}

/* 3x3 windows of images of `c` channels, one or three, pixel after pixel, by a panel of one vector:
 * three runs of 3 c numbers, from row to row c on. A number is loaded once for all windows that it
 * is in. */
enum { THIN = 3, THIN_ROWS = 8, THIN_CHANNELS = 3 };

static inline bool is_thin(const part *q, int64_t j)
{
    const mc_product *p = q->p;
    return q->taps == THIN && (q->run == THIN || q->run == THIN * THIN_CHANNELS) && q->first &&
           q->last && p->x_step == q->run / THIN && !p->accumulate && is_plain(q, j, 1);
}

static inline __attribute__((always_inline)) void thin_block(const part *q, const float *panel,
                                                             const float *x, float *y, const int c,
                                                             const int block)
{
    const int64_t y_step = q->p->y_step;
    mc_vec sum[THIN_ROWS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        sum[i] = (mc_vec){0.0f};
    }
    for (int64_t t = q->t; t < q->t + THIN; t++) {
        const mc_vec *line = (const mc_vec *)(panel + term_row(q, t) * LANES);
        const float *at = x + term_at(q, t);
        MC_UNROLL
        for (int k = 0; k < (block - 1 + THIN) * c; k++) {
            float number = at[k];
            MC_UNROLL
            for (int i = 0; i < block; i++) {
                if (k >= i * c && k < (i + THIN) * c) {
                    sum[i] += number * line[k - i * c];
                }
            }
        }
    }
    MC_UNROLL
    for (int i = 0; i < block; i++, y += y_step) {
        *(mc_vec *)y = sum[i];
    }
}

static inline __attribute__((always_inline)) void
thin_rows(const part *q, const float *panel, int64_t rows, const float *x, float *y, const int c)
{
    for (int64_t left = rows, done; left > 0; left -= done, x += done * c) {
        if (left >= THIN_ROWS) {
            done = THIN_ROWS;
            thin_block(q, panel, x, y, c, THIN_ROWS);
        } else if (left >= THIN_ROWS / 2) {
            done = THIN_ROWS / 2;
            thin_block(q, panel, x, y, c, THIN_ROWS / 2);
        } else {
            done = 1;
            thin_block(q, panel, x, y, c, 1);
        }
        y += done * q->p->y_step;
    }
}

static int64_t thin_1(const part *q, const float *panel, int64_t j, int64_t rows, const float *x,
                      float *y)
{
    (void)j;
    if (q->run == THIN) {
        thin_rows(q, panel, rows, x, y, 1);
    } else {
        thin_rows(q, panel, rows, x, y, THIN_CHANNELS);
    }
    return rows;
}

/* One block of rows x and y, of which `rows` are real; the others repeat the last. */
static inline __attribute__((always_inline)) void
gathered_block(const part *q, const float *panel, int64_t j, int rows, const float *const *x,
               float *const *y, const int block, const int vectors)
{
    const mc_product *p = q->p;
    mc_vec sum[ROWS_MOST][MC_VECTORS];
    const float *from[GATHERED_MOST];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        from[i] = x[i];
    }
    const bool plain = is_plain(q, j, vectors) && rows == block;
    const bool add = !q->first || p->accumulate;
    touching soon = touch_from(q->ahead, panel);
    if (q->first && add) {
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            ask_for(y[i], vectors);
        }
    }
    ZERO(block, vectors)
    for (int64_t t = q->t; t < q->t + q->taps; t++) {
        const float *b = panel + term_row(q, t) * vectors * LANES;
        int64_t k = term_at(q, t), end = k + q->run;
        for (; k + 1 < end; k += 2) {
            touch(&soon);
            STEP(block, vectors, (void)0, from[i][k], false);
            STEP(block, vectors, (void)0, from[i][k + 1], false);
        }
        if (k < end) {
            STEP(block, vectors, (void)0, from[i][k], false);
        }
    }
    touched_to(soon, q->ahead);
    if (plain) {
        MC_UNROLL
        for (int i = 0; i < block; i++) {
            store_row(sum[i], y[i], add, vectors);
        }
    } else {
        MC_ALIGNED mc_vec kept[GATHERED_MOST * MC_VECTORS];
        keep_block(sum, kept, block, vectors);
        for (int i = 0; i < rows; i++) {
            finish_rows(q, kept + i * vectors, 1, y[i], j, vectors);
        }
    }
}

/* The blocks that there are, each a function of its own: inlined together into one, the compiler
 * runs out of registers for the sums. */
typedef int64_t (*spaced_fn)(const part *q, const float *panel, int64_t j, int64_t rows,
                             const float *x, float *y);
typedef void (*gathered_fn)(const part *q, const float *panel, int64_t j, int rows,
                            const float *const *x, float *const *y);
#define SPACED(name, block, few, vectors)                                                          \
    static __attribute__((noinline)) int64_t name(const part *q, const float *panel, int64_t j,    \
                                                  int64_t rows, const float *x, float *y)          \
    {                                                                                              \
        return spaced_blocks(q, panel, j, rows, x, y, block, few, vectors);                        \
    }
#define STRAIGHT(name, block, few, vectors)                                                        \
    static __attribute__((noinline)) int64_t name(const part *q, const float *panel, int64_t j,    \
                                                  int64_t rows, const float *x, float *y)          \
    {                                                                                              \
        (void)j;                                                                                   \
        return straight_blocks(q, panel, rows, x, y, block, few, vectors);                         \
    }
#define GATHERED(name, block, vectors)                                                             \
    static __attribute__((noinline)) void name(const part *q, const float *panel, int64_t j,       \
                                               int rows, const float *const *x, float *const *y)   \
    {                                                                                              \
        gathered_block(q, panel, j, rows, x, y, block, vectors);                                   \
    }
SPACED(spaced_4, MC_ROWS, MC_FEW, MC_VECTORS)
SPACED(spaced_2, MC_ROWS_2, FEW_2, 2)
SPACED(spaced_1, MC_ROWS_1, FEW_1, 1)
SPACED(few_4, MC_FEW, 0, MC_VECTORS)
SPACED(few_2, FEW_2, 0, 2)
SPACED(few_1, FEW_1, 0, 1)
STRAIGHT(straight_4, MC_ROWS, MC_FEW, MC_VECTORS)
STRAIGHT(straight_2, MC_ROWS_2, FEW_2, 2)
STRAIGHT(straight_few_4, MC_FEW, 0, MC_VECTORS)
STRAIGHT(straight_few_2, FEW_2, 0, 2)
GATHERED(block_4, MC_ROWS, MC_VECTORS)
GATHERED(block_2, MC_ROWS_2, 2)
GATHERED(block_1, MC_ROWS_2, 1)
GATHERED(half_4, MC_ROWS / 2, MC_VECTORS)
GATHERED(half_2, MC_ROWS_2 / 2, 2)
GATHERED(half_1, MC_ROWS_2 / 2, 1)

/* Blocks by a number of vectors: rows of a spaced one, of a spaced one of few, and of a gathered
 * one, which can be half one. */
typedef struct blocks {
    int64_t spaced, few, gathered;
    spaced_fn run_spaced, run_few;
    gathered_fn run_gathered, run_half;
} blocks;

static const blocks by_most = {MC_ROWS, MC_FEW, MC_ROWS, spaced_4, few_4, block_4, half_4};
static const blocks by_two = {MC_ROWS_2, FEW_2, MC_ROWS_2, spaced_2, few_2, block_2, half_2};
static const blocks straight_by_most = {MC_ROWS,        MC_FEW,  MC_ROWS, straight_4,
                                        straight_few_4, block_4, half_4};
static const blocks straight_by_two = {MC_ROWS_2,      FEW_2,   MC_ROWS_2, straight_2,
                                       straight_few_2, block_2, half_2};
static const blocks by_one = {MC_ROWS_1, FEW_1, MC_ROWS_2, spaced_1, few_1, block_1, half_1};
static const blocks by_square = {SQUARE_ROWS, FEW_1, MC_ROWS_2, square_1, few_1, block_1, half_1};
static const blocks by_thin = {1, 1, MC_ROWS_2, thin_1, thin_1, block_1, half_1};

/* A place among the rows: stretch, and row of it. */
typedef struct place {
    int64_t stretch, row;
} place;

static inline place place_after(place at, int64_t rows, int64_t each)
{
    at.row += rows;
    while (at.row >= each) {
        at.row -= each;
        at.stretch++;
    }
    return at;
}

/* Up to a block of rows from a place on, wherever they lie. */
static void gather(const part *q, const blocks *by, const float *panel, int64_t j, place at,
                   int64_t rows)
{
    const mc_product *p = q->p;
    const float *x[GATHERED_MOST];
    float *y[GATHERED_MOST];
    for (int64_t i = 0; i < by->gathered; i++) {
        x[i] = p->x[at.stretch] + at.row * p->x_step + p->x_offset;
        y[i] = p->y[at.stretch] + at.row * p->y_step + p->y_offset + j;
        if (i + 1 < rows) {
            at = place_after(at, 1, p->each);
        }
    }
    (rows <= by->gathered / 2 ? by->run_half : by->run_gathered)(q, panel, j, (int)rows, x, y);
}

/* All rows against one panel. */
static void product_panel(const part *q, const blocks *by, const float *panel, int64_t j)
{
    const mc_product *p = q->p;
    place at = {0, 0};
    for (int64_t left = p->rows, rows; left > 0; left -= rows) {
        int64_t spaced = smaller(p->each - at.row, left);
        /* A few that others follow are better gathered with them: panels are read for more rows. */
        if (spaced >= by->spaced || (spaced >= by->few && spaced == left)) {
            bool whole = spaced >= by->spaced && spaced != rows_by_few(by->spaced, by->few);
            rows = (whole ? by->run_spaced : by->run_few)(
                q, panel, j, spaced, p->x[at.stretch] + at.row * p->x_step + p->x_offset,
                p->y[at.stretch] + at.row * p->y_step + p->y_offset + j);
        } else {
            rows = smaller(by->gathered, left);
            gather(q, by, panel, j, at, rows);
        }
        at = place_after(at, rows, p->each);
    }
}

/* What the part takes of the panel behind column j's, or, behind the last one, the next part of the
 * first. */
static mc_ahead panel_after(const part *q, int64_t j)
{
    const mc_product *p = q->p;
    int64_t rows = q->taps * q->run, next = j + panel_vectors(p->n, j) * LANES;
    if (rows == 0 || (next >= p->n && q->last)) {
        return (mc_ahead){NULL, 0};
    }
    int64_t row = term_row(q, q->t);
    if (next >= p->n) {
        next = 0;
        row += rows;
    }
    int64_t width = panel_vectors(p->n, next) * LANES;
    return (mc_ahead){(const char *)(p->panels + next * p->panel_rows + row * width),
                      rows * width * (int64_t)sizeof *p->panels / MC_LINE};
}

/* All panels. */
static void product_part(part *q)
{
    const mc_product *p = q->p;
    for (int64_t j = 0, vectors; j < p->n; j += vectors * LANES) {
        mc_ahead next = panel_after(q, j);
        mc_ahead *wanted = mc_wanted(p->ahead, p->ranges);
        q->ahead = wanted != NULL ? wanted : &next;
        vectors = panel_vectors(p->n, j);
        bool straight = is_straight(q, j, (int)vectors);
        const blocks *by = vectors == MC_VECTORS ? straight ? &straight_by_most : &by_most
                           : vectors == 2        ? straight ? &straight_by_two : &by_two
                           : is_square(q, j)     ? &by_square
                           : is_thin(q, j)       ? &by_thin
                                                 : &by_one;
        product_panel(q, by, p->panels + j * p->panel_rows, j);
    }
}

void MC_ISA_NAME(product)(const mc_product *p)
{
    /* Equal cuts of a run, of whole STEPS, or as many whole runs as fit. */
    int64_t run = p->run, taps = 1;
    if (run > SUM_MOST) {
        int64_t cuts = (run + SUM_MOST - 1) / SUM_MOST;
        run = (run + cuts - 1) / cuts;
        run += (STEPS - run % STEPS) % STEPS;
    } else if (p->taps > 1) {
        taps = SUM_MOST / run;
    }
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
