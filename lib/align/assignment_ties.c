/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which of several optimal assignments is given: the first in the order of the columns of row 0,
 * then row 1 and so on. Every optimal assignment consists of tight pairs, those that the duals
 * leave no reduced cost, so a row may change to a tight column below its own if the rows after it
 * can give that column up among themselves along tight pairs.
 *
 * A matrix that is not square is made so by rows, or columns, that may have whatever costs nothing:
 * a column of price 0, or a row of price 0. They come last.
 */
#include "align/align.h"
#include <math.h>
#include <string.h>

enum { LANES = 8, LOOK = 64 };

typedef struct ties {
    const modeconn_context *context;
    const double *cost, *u, *v;
    int64_t rows, cols, size; /* size: the longer side */
    double tolerance;
    int32_t *tight; /* columns of row 0 that are tight, of row 1, ..., each ascending */
    int64_t *begin; /* [rows + 1] of each row in them */
    int64_t room;
    int64_t *column, *row;  /* [size] of each row; of each column */
    int64_t *asks, *queue;  /* [size] of a search: who wants a row's column; rows reached */
    int64_t *seen, *filler; /* [size] number of the last search that reached a row; columns (or
                             * rows) of price 0 */
    int64_t n_filler, searches;
} ties;

/* ---- pairs that are tight ------------------------------------------------------------------ */

static bool is_tight(const ties *t, int64_t i, int64_t j)
{
    double u = i < t->rows ? t->u[i] : 0.0, v = j < t->cols ? t->v[j] : 0.0;
    double cost = i < t->rows && j < t->cols ? t->cost[i * t->cols + j] : 0.0;
    return fabs(cost - u - v) <= t->tolerance;
}

/* Room for `more` columns behind the `used` ones. */
static int32_t reserve(ties *t, int64_t used, int64_t more)
{
    if (used + more <= t->room) {
        return MODECONN_OK;
    }
    int64_t room = 2 * (used + more);
    int32_t *tight = mc_alloc(t->context, room, sizeof *tight);
    if (tight == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    if (used > 0) {
        memcpy(tight, t->tight, (size_t)used * sizeof *tight);
    }
    mc_free(t->context, t->tight);
    t->tight = tight;
    t->room = room;
    return MODECONN_OK;
}

/* Most rows have one or two: look at many pairs at once. */
static int64_t list_row(ties *t, int64_t i, int64_t used)
{
    const double *cost = t->cost + i * t->cols, *v = t->v;
    double u = t->u[i];
    for (int64_t from = 0, end; from < t->cols; from = end) {
        double least[LANES];
        end = from + LOOK < t->cols ? from + LOOK : t->cols;
        for (int k = 0; k < LANES; k++) {
            least[k] = INFINITY;
        }
        for (int64_t j = from; j + LANES <= end; j += LANES) {
            for (int k = 0; k < LANES; k++) {
                double x = fabs(cost[j + k] - u - v[j + k]);
                least[k] = x < least[k] ? x : least[k];
            }
        }
        for (int k = 1; k < LANES; k++) {
            least[0] = least[k] < least[0] ? least[k] : least[0];
        }
        bool tail = end - from < LOOK; /* its last columns are in no lane */
        for (int64_t j = from; (tail || least[0] <= t->tolerance) && j < end; j++) {
            if (is_tight(t, i, j)) {
                t->tight[used++] = (int32_t)j;
            }
        }
    }
    return used;
}

static int32_t list_tight(ties *t)
{
    int32_t status = MODECONN_OK;
    t->begin[0] = 0;
    for (int64_t i = 0; i < t->rows && status == MODECONN_OK; i++) {
        status = reserve(t, t->begin[i], t->cols);
        if (status == MODECONN_OK) {
            t->begin[i + 1] = list_row(t, i, t->begin[i]);
        }
    }
    for (int64_t k = 0; k < t->size; k++) {
        bool free = t->rows < t->cols ? is_tight(t, t->rows, k) : is_tight(t, k, t->cols);
        if (t->rows != t->cols && free) {
            t->filler[t->n_filler++] = k;
        }
    }
    return status;
}

/* ---- changing places ----------------------------------------------------------------------- */

/* Row i, which is reached, could take column j from its row. */
static void reach(ties *t, int64_t i, int64_t j, int64_t fixed, int64_t *reached)
{
    int64_t other = t->row[j];
    if (other > fixed && t->seen[other] != t->searches) {
        t->seen[other] = t->searches;
        t->asks[other] = i;
        t->queue[(*reached)++] = other;
    }
}

/* Everyone who would have to go if row i took another column than its own. */
static void reach_from(ties *t, int64_t i, int64_t fixed, int64_t *reached)
{
    if (i >= t->rows) {
        for (int64_t k = 0; k < t->n_filler; k++) {
            reach(t, i, t->filler[k], fixed, reached);
        }
        return;
    }
    for (int64_t k = t->begin[i]; k < t->begin[i + 1]; k++) {
        reach(t, i, t->tight[k], fixed, reached);
    }
    for (int64_t j = t->cols; j < t->size && is_tight(t, i, j); j++) {
        reach(t, i, j, fixed, reached);
    }
}

/* Whether row i can have column j and the rows behind it arrange themselves; then they do. A row
 * that an earlier try for the same i has reached leads nowhere. */
static bool exchange(ties *t, int64_t i, int64_t j)
{
    int64_t goal = t->column[i], reached = 0;
    reach(t, i, j, i, &reached);
    for (int64_t at = 0; at < reached; at++) {
        int64_t last = t->queue[at];
        if (!is_tight(t, last, goal)) {
            reach_from(t, last, i, &reached);
            continue;
        }
        for (int64_t column = goal; last != i; last = t->asks[last]) {
            int64_t left = t->column[last];
            t->column[last] = column;
            t->row[column] = last;
            column = left;
        }
        t->column[i] = j;
        t->row[j] = i;
        return true;
    }
    return false;
}

static void order(ties *t)
{
    for (int64_t i = 0; i < t->rows; i++) {
        t->searches++;
        for (int64_t k = t->begin[i]; k < t->begin[i + 1] && t->tight[k] < t->column[i]; k++) {
            if (exchange(t, i, t->tight[k])) {
                break;
            }
        }
    }
}

/* ---- around it ----------------------------------------------------------------------------- */

/* The assignment with the filling rows or columns. */
static void complete(ties *t, const int64_t *column)
{
    int64_t filler = t->rows < t->cols ? t->rows : t->cols;
    for (int64_t k = 0; k < t->size; k++) {
        t->row[k] = -1;
        t->seen[k] = 0;
    }
    for (int64_t i = 0; i < t->rows; i++) {
        t->column[i] = column[i] >= 0 ? column[i] : filler++;
        t->row[t->column[i]] = i;
    }
    for (int64_t j = 0; j < t->cols; j++) {
        if (t->row[j] < 0) {
            t->row[j] = filler;
            t->column[filler++] = j;
        }
    }
}

static int32_t allocate(ties *t)
{
    t->begin = mc_alloc(t->context, t->rows + 1, sizeof *t->begin);
    t->column = mc_alloc(t->context, t->size, sizeof *t->column);
    t->row = mc_alloc(t->context, t->size, sizeof *t->row);
    t->asks = mc_alloc(t->context, t->size, sizeof *t->asks);
    t->queue = mc_alloc(t->context, t->size, sizeof *t->queue);
    t->seen = mc_alloc(t->context, t->size, sizeof *t->seen);
    t->filler = mc_alloc(t->context, t->size, sizeof *t->filler);
    return t->begin == NULL || t->column == NULL || t->row == NULL || t->asks == NULL ||
                   t->queue == NULL || t->seen == NULL || t->filler == NULL
               ? MODECONN_ERROR_MEMORY
               : MODECONN_OK;
}

int32_t mc_assignment_first(const modeconn_context *context, const double *cost, int64_t rows,
                            int64_t cols, const double *u, const double *v, double tolerance,
                            int64_t *column)
{
    ties t = {.context = context, .cost = cost, .u = u, .v = v, .rows = rows, .cols = cols};
    t.size = rows > cols ? rows : cols;
    t.tolerance = tolerance;
    int32_t status = allocate(&t);
    if (status == MODECONN_OK) {
        status = list_tight(&t);
    }
    if (status == MODECONN_OK) {
        complete(&t, column);
        order(&t);
        for (int64_t i = 0; i < rows; i++) {
            column[i] = t.column[i] < cols ? t.column[i] : -1;
        }
    }
    mc_free(context, t.tight);
    mc_free(context, t.begin);
    mc_free(context, t.column);
    mc_free(context, t.row);
    mc_free(context, t.asks);
    mc_free(context, t.queue);
    mc_free(context, t.seen);
    mc_free(context, t.filler);
    return status;
}
