/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Linear sum assignment by shortest augmenting paths (Jonker and Volgenant 1987): column reduction
 * and reduction transfer (square matrices), two rounds of augmenting row reduction, then one
 * Dijkstra search per row that is still free. Internally a minimum over sign * c [n][m], n <= m;
 * with column prices v, the reduced cost of (i, j) is sign * c_ij - v_j - u_i. Rows are scanned
 * whole, without lists of open columns, in lanes that the compiler turns into vectors. Which of
 * several optimal assignments is handed out is settled afterwards, in assignment_ties.c.
 */
#include "align/align.h"
#include <math.h>
#include <string.h>

enum { LANES = 8 };
/* Reduced costs below this part of the largest value are rounding. */
#define ROUNDING 1e-13

typedef struct solver {
    const modeconn_context *context;
    int64_t n, m;
    const double *c;   /* [n][m] */
    double sign;       /* -1 for a maximum */
    double *v;         /* [m] */
    int64_t *column;   /* [n], -1: free */
    int64_t *row;      /* [m], -1: free */
    int64_t *open;     /* [n]: rows that are free */
    double *distance;  /* [m]: of a search; -infinity once scanned */
    double *settled;   /* [m]: distance of a scanned column */
    int64_t *previous; /* [m]: row before a column on its path */
    int64_t *scanned;  /* [m]: columns in the order of scanning */
    int64_t n_open;
} solver;

/* ---- scans of a row ------------------------------------------------------------------------ */

/* The two least values of sign c_ij - v_j. */
static void two_least(const solver *s, int64_t i, double *least, double *second)
{
    const double *c = s->c + i * s->m, *v = s->v, sign = s->sign;
    int64_t m = s->m;
    double a[LANES], b[LANES];
    int64_t j = 0;
    for (int k = 0; k < LANES; k++) {
        a[k] = INFINITY;
        b[k] = INFINITY;
    }
    for (; j + LANES <= m; j += LANES) {
        for (int k = 0; k < LANES; k++) {
            double x = sign * c[j + k] - v[j + k], larger = x > a[k] ? x : a[k];
            b[k] = larger < b[k] ? larger : b[k];
            a[k] = x < a[k] ? x : a[k];
        }
    }
    for (; j < m; j++) {
        double x = sign * c[j] - v[j], larger = x > a[0] ? x : a[0];
        b[0] = larger < b[0] ? larger : b[0];
        a[0] = x < a[0] ? x : a[0];
    }
    *least = a[0];
    *second = b[0];
    for (int k = 1; k < LANES; k++) {
        double larger = a[k] > *least ? a[k] : *least;
        *least = a[k] < *least ? a[k] : *least;
        *second = larger < *second ? larger : *second;
        *second = b[k] < *second ? b[k] : *second;
    }
}

/* Lowest column but `skip` where sign c_ij - v_j is `value`. */
static int64_t find_value(const solver *s, int64_t i, double value, int64_t skip)
{
    const double *c = s->c + i * s->m, *v = s->v;
    int64_t j = 0;
    while (j < s->m && (j == skip || s->sign * c[j] - v[j] > value)) {
        j++;
    }
    return j;
}

/* Shortens the distances over row i, whose way costs -h more, and gives the least of the columns
 * not scanned yet. */
static double relax(const solver *s, int64_t i, double h)
{
    const double *c = s->c + i * s->m, *v = s->v, sign = s->sign;
    double *d = s->distance, best[LANES];
    int64_t *previous = s->previous, j = 0;
    for (int k = 0; k < LANES; k++) {
        best[k] = INFINITY;
    }
    for (; j + LANES <= s->m; j += LANES) {
        for (int k = 0; k < LANES; k++) {
            double x = sign * c[j + k] - v[j + k] - h, old = d[j + k];
            bool shorter = x < old;
            double now = shorter ? x : old, key = now == -INFINITY ? INFINITY : now;
            previous[j + k] = shorter ? i : previous[j + k];
            d[j + k] = now;
            best[k] = key < best[k] ? key : best[k];
        }
    }
    for (; j < s->m; j++) {
        double x = sign * c[j] - v[j] - h;
        if (x < d[j]) {
            d[j] = x;
            previous[j] = i;
        }
        best[0] = d[j] != -INFINITY && d[j] < best[0] ? d[j] : best[0];
    }
    for (int k = 1; k < LANES; k++) {
        best[0] = best[k] < best[0] ? best[k] : best[0];
    }
    return best[0];
}

/* ---- the phases ------------------------------------------------------------------------------ */

static void assign(solver *s, int64_t i, int64_t j)
{
    s->column[i] = j;
    s->row[j] = i;
}

/* v_j = min_i c_ij, each column to its row where that is free. `previous` holds those rows. */
static void reduce_columns(solver *s)
{
    int64_t *least = s->previous;
    double sign = s->sign;
    for (int64_t j = 0; j < s->m; j++) {
        s->v[j] = INFINITY;
    }
    for (int64_t i = 0; i < s->n; i++) {
        const double *c = s->c + i * s->m;
        for (int64_t j = 0; j < s->m; j++) {
            double x = sign * c[j];
            bool less = x < s->v[j];
            s->v[j] = less ? x : s->v[j];
            least[j] = less ? i : least[j];
        }
    }
    int64_t *taken = s->open; /* columns that wanted row i */
    memset(taken, 0, (size_t)s->n * sizeof *taken);
    for (int64_t j = 0; j < s->m; j++) {
        if (taken[least[j]]++ == 0) {
            assign(s, least[j], j);
        }
    }
    for (int64_t i = 0; i < s->n && s->m > 1; i++) {
        if (taken[i] == 1) { /* transfer what the row could lose to its column's price */
            int64_t j = s->column[i];
            double mine = s->v[j], least_value, second;
            s->v[j] = INFINITY;
            two_least(s, i, &least_value, &second);
            (void)least_value; /* -infinity, its own column's */
            s->v[j] = mine - second;
        }
    }
}

/* One round of augmenting row reduction: a free row takes its best column, whose price falls until
 * the second best is as good; who is driven out tries again, at once if the price fell. */
static void reduce_rows(solver *s)
{
    int64_t waiting = s->n_open, at = 0, budget = 8 * s->n;
    s->n_open = 0;
    while (at < waiting) {
        int64_t i = s->open[at++];
        double least, second;
        two_least(s, i, &least, &second);
        int64_t j = find_value(s, i, least, -1);
        double price = s->v[j] - (second - least);
        bool falls = price < s->v[j];
        if (falls) {
            s->v[j] = price;
        } else if (s->row[j] >= 0) {
            j = find_value(s, i, second, j);
        }
        int64_t out = s->row[j];
        assign(s, i, j);
        if (out >= 0) {
            s->column[out] = -1;
            if (falls && budget-- > 0) {
                s->open[--at] = out;
            } else {
                s->open[s->n_open++] = out;
            }
        }
    }
}

/* Shortest path from free row f to a free column; prices keep every reduced cost at least 0. */
static void augment(solver *s, int64_t f)
{
    int64_t n_scanned = 0, j = 0, i = f;
    double least = 0;
    for (int64_t k = 0; k < s->m; k++) {
        s->distance[k] = INFINITY;
    }
    for (double h = 0;;) {
        least = relax(s, i, h);
        for (j = 0; s->distance[j] != least;) {
            j++;
        }
        if (s->row[j] < 0) {
            break;
        }
        i = s->row[j];
        s->settled[j] = least;
        s->distance[j] = -INFINITY;
        s->scanned[n_scanned++] = j;
        h = s->sign * s->c[i * s->m + j] - s->v[j] - least;
    }
    for (int64_t k = 0; k < n_scanned; k++) {
        s->v[s->scanned[k]] += s->settled[s->scanned[k]] - least;
    }
    do {
        int64_t next;
        i = s->previous[j];
        next = s->column[i];
        assign(s, i, j);
        j = next;
    } while (i != f);
}

static void list_open(solver *s)
{
    s->n_open = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->column[i] < 0) {
            s->open[s->n_open++] = i;
        }
    }
}

static void solve(solver *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        s->column[i] = -1;
    }
    for (int64_t j = 0; j < s->m; j++) {
        s->row[j] = -1;
        s->v[j] = 0;
    }
    if (s->n == s->m) { /* a column that stays free must keep the price 0 */
        reduce_columns(s);
    }
    list_open(s);
    for (int round = 0; round < 2 && s->m > 1; round++) {
        reduce_rows(s);
    }
    list_open(s);
    for (int64_t k = 0; k < s->n_open; k++) {
        augment(s, s->open[k]);
    }
}

/* ---- around it ------------------------------------------------------------------------------- */

/* The largest size of a value; MODECONN_ERROR_NUMERIC naming the first that is not finite. */
static int32_t check_matrix(const double *cost, int64_t rows, int64_t cols, double *largest)
{
    double most[LANES] = {0.0}, none[LANES] = {0.0}; /* none: NaN once a value is not finite */
    int64_t k = 0;
    for (; k + LANES <= rows * cols; k += LANES) {
        for (int l = 0; l < LANES; l++) {
            double size = fabs(cost[k + l]);
            most[l] = size > most[l] ? size : most[l];
            none[l] += cost[k + l] * 0.0;
        }
    }
    for (; k < rows * cols; k++) {
        most[0] = fabs(cost[k]) > most[0] ? fabs(cost[k]) : most[0];
        none[0] += cost[k] * 0.0;
    }
    for (int l = 1; l < LANES; l++) {
        most[0] = most[l] > most[0] ? most[l] : most[0];
        none[0] += none[l];
    }
    *largest = most[0];
    for (k = 0; none[0] != 0.0 && k < rows * cols; k++) {
        if (!isfinite(cost[k])) {
            return mc_fail(MODECONN_ERROR_NUMERIC, "row %lld, column %lld of the matrix is %s",
                           (long long)(k / cols), (long long)(k % cols), mc_not_finite(cost[k]));
        }
    }
    return MODECONN_OK;
}

/* The solver wants rows <= cols: the caller's matrix, or it turned. */
static int32_t take_matrix(const modeconn_context *context, const double *cost, int64_t rows,
                           int64_t cols, double **copy)
{
    *copy = NULL;
    if (rows <= cols) {
        return MODECONN_OK;
    }
    *copy = mc_alloc(context, rows * cols, sizeof **copy);
    if (*copy == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            (*copy)[j * rows + i] = cost[i * cols + j];
        }
    }
    return MODECONN_OK;
}

static int32_t allocate(solver *s)
{
    s->v = mc_alloc(s->context, s->m, sizeof *s->v);
    s->column = mc_alloc(s->context, s->n, sizeof *s->column);
    s->row = mc_alloc(s->context, s->m, sizeof *s->row);
    s->open = mc_alloc(s->context, s->n, sizeof *s->open);
    s->distance = mc_alloc(s->context, s->m, sizeof *s->distance);
    s->settled = mc_alloc(s->context, s->m, sizeof *s->settled);
    s->previous = mc_alloc(s->context, s->m, sizeof *s->previous);
    s->scanned = mc_alloc(s->context, s->m, sizeof *s->scanned);
    return s->v == NULL || s->column == NULL || s->row == NULL || s->open == NULL ||
                   s->distance == NULL || s->settled == NULL || s->previous == NULL ||
                   s->scanned == NULL
               ? MODECONN_ERROR_MEMORY
               : MODECONN_OK;
}

/* Prices of the solver's rows follow from equality where assigned. */
static void give_duals(const solver *s, bool turned, double *u, double *v)
{
    double *of_rows = turned ? v : u, *of_columns = turned ? u : v;
    for (int64_t j = 0; j < s->m; j++) {
        of_columns[j] = s->sign * s->v[j];
    }
    for (int64_t i = 0; i < s->n; i++) {
        of_rows[i] = s->c[i * s->m + s->column[i]] - s->sign * s->v[s->column[i]];
    }
}

static void free_solver(const solver *s)
{
    mc_free(s->context, s->v);
    mc_free(s->context, s->column);
    mc_free(s->context, s->row);
    mc_free(s->context, s->open);
    mc_free(s->context, s->distance);
    mc_free(s->context, s->settled);
    mc_free(s->context, s->previous);
    mc_free(s->context, s->scanned);
}

int32_t mc_assignment(const modeconn_context *context, const double *cost, int64_t rows,
                      int64_t cols, bool maximise, int64_t *column, double *u, double *v)
{
    bool turned = rows > cols;
    double *copy = NULL, *duals = NULL;
    solver s = {.context = context,
                .sign = maximise ? -1.0 : 1.0,
                .n = turned ? cols : rows,
                .m = turned ? rows : cols};
    double largest = 0.0;
    int32_t status = check_matrix(cost, rows, cols, &largest);
    if (status == MODECONN_OK) {
        status = take_matrix(context, cost, rows, cols, &copy);
    }
    s.c = copy != NULL ? copy : cost;
    if (status == MODECONN_OK) {
        status = allocate(&s);
    }
    if (status == MODECONN_OK && u == NULL) {
        duals = mc_alloc(context, rows + cols, sizeof *duals);
        status = duals == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    }
    if (status == MODECONN_OK) {
        u = duals == NULL ? u : duals;
        v = duals == NULL ? v : duals + rows;
        solve(&s);
        memcpy(column, turned ? s.row : s.column, (size_t)rows * sizeof *column);
        give_duals(&s, turned, u, v);
        status = mc_assignment_first(context, cost, rows, cols, u, v, ROUNDING * largest, column);
    }
    free_solver(&s);
    mc_free(context, duals);
    mc_free(context, copy);
    return status;
}
