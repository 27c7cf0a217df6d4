/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sums of outer products, the other product of the engine (product.c). Compiled per instruction
 * set.
 *
 *     w[k][j] += sum_r x[r][k] d[r][j]
 *
 * Rows of x and d lie in stretches of equally spaced ones (mc_outer). A block of w stays in
 * registers while the sum runs; each step of it broadcasts numbers of a row of x and loads vectors
 * of d's.
 */
#include "kernels/isa.h"
#include "kernels/touch.h"
#include <string.h>

/* Rows of a sum; blocks of columns of x that are packed together. */
enum { LANES = MC_LANES, PANEL = MC_VECTORS * MC_LANES, SUM_MOST = 192, BLOCKS = 16 };

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A block of w, of which `rows` by `n` numbers are real, and what it is the sum of. */
typedef struct place {
    const mc_outer *p;
    const float *packed;         /* columns of x, or NULL: not packed */
    int64_t stretch, row, count; /* rows of x and d: the first one's place, how many, */
    int64_t together;            /* and how many of them are in that stretch */
    int64_t k, j, rows, n;       /* where in w */
    bool add;                    /* to what w holds */
} place;

/* MC_ROWS columns of x from column k on, or of a block of few, row after row: read once for every
 * panel of d, and rows of x may lie a power of two apart. */
static void pack_columns(const place *q, int64_t k, float *to)
{
    const mc_outer *p = q->p;
    int64_t used = smaller(MC_ROWS, p->k - k), stretch = q->stretch, row = q->row;
    for (int64_t r = 0; r < q->count; r++, to += MC_ROWS) {
        const float *x = p->x[stretch] + row * p->x_step + p->x_offset + k;
        if (used == MC_ROWS) {
            memcpy(to, x, MC_ROWS * sizeof *to);
        } else {
            for (int64_t i = 0; i < MC_ROWS; i++) {
                to[i] = i < used ? x[i] : 0.0f;
            }
        }
        if (++row == p->each) {
            row = 0;
            stretch++;
        }
    }
}

/* Sums [rows][vectors] to w: tests for what is real of them. */
static MC_ONCE void finish_block(const place *q, const mc_vec *sum, int vectors)
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

/* Whether columns of a block are whole vectors, or less than one. */
typedef enum columns { WHOLE, REST } columns;

/* One step of the sums: numbers of row x by vectors of row d, of n columns if they are less than
 * one. */
static inline __attribute__((always_inline)) void step(const float *x, const float *d, int64_t n,
                                                       mc_vec (*sum)[MC_VECTORS], const int block,
                                                       const int vectors, const columns kind)
{
    mc_vec line[MC_VECTORS];
    MC_UNROLL
    for (int v = 0; v < vectors; v++) {
        line[v] = kind == WHOLE ? *(const mc_vec *)(d + v * LANES) : mc_load(d, n);
    }
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        float number = x[i];
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            if (vectors == 1) {
                mc_add_single(&sum[i][v], number, line[v]);
            } else {
                mc_add_product(&sum[i][v], mc_all(number), line[v]);
            }
        }
        MC_ROW_DONE;
    }
}

/* Rows of one stretch. */
static inline __attribute__((always_inline)) void
sum_stretch(const place *q, int64_t rows, const float *x, int64_t x_step, const float *d,
            touching *soon, mc_vec (*sum)[MC_VECTORS], const int block, const int vectors,
            const columns kind)
{
    const int64_t d_step = q->p->d_step;
    for (int64_t r = 1; r < rows; r += 2, x += x_step, d += d_step) {
        touch(soon);
        step(x, d, q->n, sum, block, vectors, kind);
        x += x_step;
        d += d_step;
        MC_OPAQUE(x); /* or the compiler keeps an offset for every number */
        if (vectors == 1) {
            touch(soon);
        }
        step(x, d, q->n, sum, block, vectors, kind);
    }
    if (rows % 2 != 0) {
        step(x, d, q->n, sum, block, vectors, kind);
    }
}

/* What is added to is seldom in a cache, and short sums would wait for it. */
static inline __attribute__((always_inline)) void ask_for(const float *w, int64_t stride,
                                                          const int block, const int vectors)
{
    MC_UNROLL
    for (int i = 0; i < block; i++, w += stride) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(w + v * LANES);
        }
    }
}

static inline __attribute__((always_inline)) void store_block(mc_vec (*sum)[MC_VECTORS], float *w,
                                                              int64_t stride, bool add,
                                                              const int block, const int vectors)
{
    MC_UNROLL
    for (int i = 0; i < block; i++, w += stride) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            mc_vec *to = (mc_vec *)(w + v * LANES);
            if (add) {
                sum[i][v] += *to;
            }
            *to = sum[i][v];
        }
    }
}

/* `single`: all rows are in one stretch. Short sums then do not wait for what several would need
 * worked out. */
static inline __attribute__((always_inline)) void outer_block(const place *q, const int block,
                                                              const int vectors, const columns kind,
                                                              const bool single)
{
    const mc_outer *p = q->p;
    const int64_t w_stride = p->w_stride;
    const bool add = q->add;
    mc_vec sum[MC_ROWS_1][MC_VECTORS];
    float *w = p->w + q->k * w_stride + q->j;
    if (add) {
        ask_for(w, w_stride, block, vectors);
    }
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (mc_vec){0.0f};
        }
    }
    const float *packed = q->packed;
    const int64_t x_step = packed != NULL ? MC_ROWS : p->x_step;
    int64_t stretch = q->stretch, row = q->row, rows = q->together;
    mc_ahead *ahead = mc_wanted(p->ahead, p->ranges);
    touching soon = touch_from(ahead, w);
    for (int64_t left = q->count; left > 0; row = 0, stretch++) {
        const float *d = p->d[stretch] + row * p->d_step + p->d_offset + q->j;
        const float *x = packed;
        if (packed != NULL) {
            packed += rows * x_step;
        } else {
            x = p->x[stretch] + row * x_step + p->x_offset + q->k;
        }
        sum_stretch(q, rows, x, x_step, d, &soon, sum, block, vectors, kind);
        if (single) {
            break;
        }
        left -= rows;
        rows = smaller(p->each, left);
    }
    touched_to(soon, ahead);
    if (kind == WHOLE && q->rows == block) {
        store_block(sum, w, w_stride, add, block, vectors);
        return;
    }
    MC_ALIGNED mc_vec kept[MC_ROWS_1 * MC_VECTORS];
    MC_UNROLL
    for (int i = 0; i < block; i++) {
        MC_UNROLL
        for (int v = 0; v < vectors; v++) {
            kept[i * vectors + v] = sum[i][v];
        }
    }
    finish_block(q, kept, vectors);
}

/* Whether of `left` rows a block of few is the next. */
static bool is_few(int64_t left)
{
    return left <= MC_FEW || (left == 2 * MC_FEW && left > MC_ROWS);
}

/* Blocks by the widest panel, one below the other, of at least STEPS rows of x and d in a stretch:
 * most sums of a Winograd frequency. Short ones do not wait for what a call of each would need
 * worked out: 6 to 15 % of sums of 24 to 64 rows (AVX2). */
typedef struct column {
    const float *x, *d; /* of the next block */
    int64_t x_step, d_step;
    int64_t rows; /* of x and d */
    float *w;
    int64_t w_stride, left; /* rows of w */
    bool add;
} column;

/* A step of their sums, or the first, which they begin with: row `row` of x and d. */
#define STRAIGHT_STEP(block, row, is_first)                                                        \
    do {                                                                                           \
        mc_vec line[MC_VECTORS];                                                                   \
        MC_UNROLL                                                                                  \
        for (int v = 0; v < MC_VECTORS; v++) {                                                     \
            MC_OPAQUE(d_step); /* as in product.c, which also says why four steps */               \
            line[v] = *(const mc_vec *)(d + (row)*d_step + v * LANES);                             \
        }                                                                                          \
        MC_UNROLL                                                                                  \
        for (int i = 0; i < (block); i++) {                                                        \
            MC_OPAQUE(x_step);                                                                     \
            mc_vec number = mc_all(x[(row)*x_step + i]);                                           \
            MC_UNROLL                                                                              \
            for (int v = 0; v < MC_VECTORS; v++) {                                                 \
                if (is_first) {                                                                    \
                    sum[i][v] = number * line[v];                                                  \
                } else {                                                                           \
                    mc_add_product(&sum[i][v], number, line[v]);                                   \
                }                                                                                  \
            }                                                                                      \
            MC_ROW_DONE;                                                                           \
        }                                                                                          \
    } while (0)

#define STRAIGHT_MOVE(by)                                                                          \
    do {                                                                                           \
        x += (by)*x_step;                                                                          \
        d += (by)*d_step;                                                                          \
        MC_OPAQUE(x);                                                                              \
        MC_OPAQUE(d);                                                                              \
    } while (0)

enum { STEPS = 4 };
#define STRAIGHT_STEPS(block, is_first)                                                            \
    do {                                                                                           \
        touch(&soon);                                                                              \
        STRAIGHT_STEP(block, 0, is_first);                                                         \
        STRAIGHT_STEP(block, 1, false);                                                            \
        STRAIGHT_MOVE(2);                                                                          \
        touch(&soon);                                                                              \
        STRAIGHT_STEP(block, 0, false);                                                            \
        STRAIGHT_STEP(block, 1, false);                                                            \
        STRAIGHT_MOVE(2);                                                                          \
    } while (0)

/* All whole ones, or those of few, that come next; x of the next one is x_next numbers on. */
static inline __attribute__((always_inline)) void straight_blocks(column *c, int64_t x_next,
                                                                  touching *ahead, const int block)
{
    const int64_t rows = c->rows;
    int64_t x_step = c->x_step, d_step = c->d_step;
    touching soon = *ahead;
    for (; c->left >= block && is_few(c->left) == (block == MC_FEW); c->left -= block) {
        mc_vec sum[MC_ROWS][MC_VECTORS];
        const float *x = c->x, *d = c->d;
        STRAIGHT_STEPS(block, true);
        int64_t r = rows - STEPS;
        for (; r >= STEPS; r -= STEPS) {
            STRAIGHT_STEPS(block, false);
        }
        MC_ROLLED
        for (; r > 0; r--) {
            STRAIGHT_STEP(block, 0, false);
            STRAIGHT_MOVE(1);
        }
        store_block(sum, c->w, c->w_stride, c->add, block, MC_VECTORS);
        c->w += block * c->w_stride;
        c->x += x_next;
    }
    *ahead = soon;
}

/* Of the place's rows of w those that blocks of this kind take; how many. */
static int64_t sum_straight(const place *q)
{
    const mc_outer *p = q->p;
    if (q->n != PANEL || q->together != q->count || q->count < STEPS) {
        return 0;
    }
    const bool packed = q->packed != NULL;
    const float *x = p->x[q->stretch] + q->row * p->x_step + p->x_offset + q->k;
    column c = {.x = packed ? q->packed : x,
                .d = p->d[q->stretch] + q->row * p->d_step + p->d_offset + q->j,
                .x_step = packed ? MC_ROWS : p->x_step,
                .d_step = p->d_step,
                .rows = q->count,
                .w = p->w + q->k * p->w_stride + q->j,
                .w_stride = p->w_stride,
                .left = q->rows,
                .add = q->add};
    mc_ahead *ahead = mc_wanted(p->ahead, p->ranges);
    touching soon = touch_from(ahead, c.w);
    straight_blocks(&c, packed ? c.rows * MC_ROWS : MC_ROWS, &soon, MC_ROWS);
    straight_blocks(&c, packed ? c.rows * MC_ROWS : MC_FEW, &soon, MC_FEW);
    touched_to(soon, ahead);
    return q->rows - c.left;
}

/* The blocks that there are: rows of w by the widest panel, by two vectors, one and less. */
typedef struct block_fns {
    void (*single)(const place *q);
    void (*any)(const place *q);
} block_fns;
#define ANY(name, block, vectors, kind)                                                            \
    static __attribute__((noinline)) void name##_any(const place *q)                               \
    {                                                                                              \
        outer_block(q, block, vectors, kind, false);                                               \
    }
#define OUTER(name, block, vectors, kind)                                                          \
    ANY(name, block, vectors, kind)                                                                \
    static __attribute__((noinline)) void name##_single(const place *q)                            \
    {                                                                                              \
        outer_block(q, block, vectors, kind, true);                                                \
    }                                                                                              \
    static const block_fns name = {name##_single, name##_any};
/* For what sum_straight() leaves. */
#define LEFT(name, block, vectors, kind)                                                           \
    ANY(name, block, vectors, kind)                                                                \
    static const block_fns name = {name##_any, name##_any};
enum { QUARTER = MC_ROWS_1 / 4 };
LEFT(outer_4, MC_ROWS, MC_VECTORS, WHOLE)
LEFT(outer_4_few, MC_FEW, MC_VECTORS, WHOLE)
OUTER(outer_2, MC_ROWS_2, 2, WHOLE)
OUTER(outer_2_half, MC_ROWS_2 / 2, 2, WHOLE)
OUTER(packed_2, MC_ROWS, 2, WHOLE)
OUTER(packed_1, MC_ROWS, 1, WHOLE)
OUTER(packed_rest, MC_ROWS, 1, REST)
OUTER(outer_1, MC_ROWS_1, 1, WHOLE)
OUTER(outer_1_most, 3 * QUARTER, 1, WHOLE)
OUTER(outer_1_half, 2 * QUARTER, 1, WHOLE)
OUTER(outer_1_less, QUARTER, 1, WHOLE)
OUTER(outer_rest, MC_ROWS_2, 1, REST)

static inline void run_block(const block_fns *fns, const place *q)
{
    (q->together == q->count ? fns->single : fns->any)(q);
}

/* The smallest block by some vectors that has `left` rows, or the largest, and its rows. */
static const block_fns *block_of(int64_t left, int64_t n, int64_t *rows)
{
    if (n < LANES) {
        *rows = MC_ROWS_2;
        return &outer_rest;
    }
    if (n == LANES) {
        static const block_fns *const quarters[] = {&outer_1_less, &outer_1_half, &outer_1_most,
                                                    &outer_1};
        int64_t count = smaller((left + QUARTER - 1) / QUARTER, 4);
        *rows = count * QUARTER;
        return quarters[count - 1];
    }
    if (n == PANEL) {
        bool few = is_few(left);
        *rows = few ? MC_FEW : MC_ROWS;
        return few ? &outer_4_few : &outer_4;
    }
    bool half = left <= MC_ROWS_2 / 2;
    *rows = half ? MC_ROWS_2 / 2 : MC_ROWS_2;
    return half ? &outer_2_half : &outer_2;
}

/* Columns of the next block of `left`. */
static int64_t width_of(int64_t left)
{
    return left >= PANEL ? PANEL : left >= 2 * LANES ? 2 * LANES : left >= LANES ? LANES : left;
}

/* All of w from the place's rows of x and d, read as they lie. */
static void sum_rows(place *q)
{
    for (q->j = 0; q->j < q->p->n; q->j += q->n) {
        q->n = width_of(q->p->n - q->j);
        q->k = 0;
        q->rows = q->p->k;
        q->k = sum_straight(q);
        for (int64_t rows; q->k < q->p->k; q->k += rows) {
            const block_fns *fns = block_of(q->p->k - q->k, q->n, &rows);
            q->rows = smaller(rows, q->p->k - q->k);
            run_block(fns, q);
        }
    }
}

/* The same where there are many columns of d: some blocks of x are packed for all of them. */
static void sum_packed(place *q)
{
    MC_ALIGNED float packed[BLOCKS * SUM_MOST * MC_ROWS];
    int64_t at[BLOCKS + 1] = {0}; /* where blocks begin */
    for (int64_t count; at[0] < q->p->k; at[0] = at[count]) {
        for (count = 0; count < BLOCKS && at[count] < q->p->k; count++) {
            int64_t left = q->p->k - at[count];
            pack_columns(q, at[count], packed + count * q->count * MC_ROWS);
            at[count + 1] = at[count] + smaller(is_few(left) ? MC_FEW : MC_ROWS, left);
        }
        for (q->j = 0; q->j < q->p->n; q->j += q->n) {
            q->n = width_of(q->p->n - q->j);
            q->k = at[0];
            q->rows = at[count] - at[0];
            q->packed = packed;
            int64_t done = sum_straight(q);
            for (int64_t b = 0; b < count; b++) {
                if (at[b] - at[0] < done) {
                    continue;
                }
                q->k = at[b];
                q->rows = at[b + 1] - q->k;
                q->packed = packed + b * q->count * MC_ROWS;
                run_block(q->n == PANEL       ? (q->rows <= MC_FEW ? &outer_4_few : &outer_4)
                          : q->n == 2 * LANES ? &packed_2
                          : q->n == LANES     ? &packed_1
                                              : &packed_rest,
                          q);
            }
        }
    }
}

/* Three runs of few numbers, the windows of images of one channel or of three: all their sums in
 * registers at a time, so that d is read once. */
enum { THIN_TERMS = 3, THIN_RUN = MC_ROWS_1 >= 16 ? 9 : 3 };

static inline __attribute__((always_inline)) void thin_block(const place *q, const int run)
{
    const mc_outer *p = q->p;
    mc_vec sum[THIN_TERMS][THIN_RUN];
    MC_UNROLL
    for (int i = 0; i < THIN_TERMS * run; i++) {
        sum[i / run][i % run] = (mc_vec){0.0f};
    }
    int64_t stretch = q->stretch, row = q->row;
    for (int64_t left = q->count, rows; left > 0; left -= rows, row = 0, stretch++) {
        rows = smaller(p->each - row, left);
        const float *d = p->d[stretch] + row * p->d_step + p->d_offset + q->j;
        const float *x[THIN_TERMS];
        for (int t = 0; t < THIN_TERMS; t++) {
            x[t] = p->x[stretch] + row * p->x_step + p->x_offset + p->x_at[t];
        }
        for (int64_t r = 0; r < rows; r++, d += p->d_step) {
            mc_vec line = *(const mc_vec *)d;
            MC_UNROLL
            for (int t = 0; t < THIN_TERMS; t++) {
                MC_UNROLL
                for (int i = 0; i < run; i++) {
                    sum[t][i] += x[t][i] * line;
                }
                x[t] += p->x_step;
            }
        }
    }
    float *w = p->w + q->j;
    MC_UNROLL
    for (int i = 0; i < THIN_TERMS * run; i++, w += p->w_stride) {
        mc_vec *to = (mc_vec *)w, *value = &sum[i / run][i % run];
        if (q->add) {
            *value += *to;
        }
        *to = *value;
    }
}

#define THIN(run)                                                                                  \
    static __attribute__((noinline)) void thin_##run(const place *q)                               \
    {                                                                                              \
        thin_block(q, run);                                                                        \
    }
THIN(3)
#if MC_ROWS_1 >= 16
THIN(9)
#endif

typedef void (*thin_fn)(const place *q);

/* The function for such runs, or NULL: p is nothing of the kind. */
static thin_fn thin_of(const mc_outer *p)
{
    if (p->x_at == NULL || p->terms != THIN_TERMS || p->n % LANES != 0 || p->n > 2 * LANES) {
        return NULL;
    }
#if MC_ROWS_1 >= 16
    if (p->k == THIN_TERMS * 9) {
        return thin_9;
    }
#endif
    return p->k == THIN_TERMS * 3 ? thin_3 : NULL;
}

static void sum_thin(place *q, thin_fn thin)
{
    for (q->j = 0; q->j < q->p->n; q->j += LANES) {
        thin(q);
    }
}

/* Whether columns of x are packed: where many panels of d read them, or several and rows of x lie a
 * power of two apart, which a first cache does not hold together. */
enum { MANY_COLUMNS = 128, APART = 64 };

static bool is_packed(const mc_outer *p)
{
    return p->n > MANY_COLUMNS || (p->n > 2 * PANEL && p->x_step % APART == 0);
}

/* One run, or several by a function for them. */
static void sum_all(const mc_outer *p, thin_fn thin)
{
    /* An empty sum is zero too. */
    for (int64_t r = 0; r == 0 || r < p->count; r += SUM_MOST) {
        int64_t stretch = r < p->each ? 0 : r / p->each, row = r - stretch * p->each;
        int64_t count = smaller(SUM_MOST, p->count - r);
        place all = {.p = p,
                     .stretch = stretch,
                     .row = row,
                     .count = count,
                     .together = smaller(p->each - row, count),
                     .add = p->accumulate || r > 0};
        if (thin != NULL) {
            sum_thin(&all, thin);
        } else if (is_packed(p)) {
            sum_packed(&all);
        } else {
            sum_rows(&all);
        }
    }
}

void MC_ISA_NAME(outer)(const mc_outer *p)
{
    thin_fn thin = thin_of(p);
    if (p->x_at == NULL || thin != NULL) {
        sum_all(p, thin);
        return;
    }
    mc_outer term = *p;
    term.k = p->k / p->terms;
    for (int64_t t = 0; t < p->terms; t++, term.w += term.k * p->w_stride) {
        term.x_offset = p->x_offset + p->x_at[t];
        sum_all(&term, NULL);
    }
}
