/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Assignments of units that stand in bundles, one a group of a convolution in groups. Units change
 * places within their bundle, and bundles as a whole, those of all groups of a family alike. With
 * the bundles' places given, every bundle of every group is an assignment of its own, so
 *
 *     C(q, r)  =  sum over the groups of the best assignment of bundle q's units to bundle r's
 *
 * and the best order of the bundles is the assignment of C. Units without bundles are one bundle.
 */
#include "align/align.h"
#include <math.h>
#include <string.h>

/* Scores are true to this part of the largest (similarities are made of float sums), so what
 * differs by less is equal: two units that only one image excites have a correlation of 1 +- 3e-6.
 */
#define ROUNDING 1e-5

int64_t mc_family_of(const mc_symmetry *symmetry, int64_t g, int64_t *groups)
{
    int64_t n = 0, order = symmetry->groups[g].order;
    if (order < 0) {
        groups[0] = g;
        return 1;
    }
    for (int64_t k = g; order == g && k < symmetry->n_groups; k++) {
        if (symmetry->groups[k].order == order) {
            groups[n++] = k;
        }
    }
    return n;
}

int64_t mc_family_scores(const mc_symmetry *symmetry, int64_t *groups)
{
    int64_t most = 0;
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        int64_t n = mc_family_of(symmetry, g, groups), scores = 0;
        for (int64_t k = 0; k < n; k++) {
            scores += symmetry->groups[groups[k]].size * symmetry->groups[groups[k]].size;
        }
        most = scores > most ? scores : most;
    }
    return most;
}

typedef struct search {
    const modeconn_context *context;
    mc_bundled *groups;
    int64_t n, bundles;
    double *value, *u, *v; /* C [bundles][bundles] and its duals */
    int64_t *order;        /* [bundles] */
    /* Of a pair of bundles of the largest group. */
    double *pair, *pair_u, *pair_v;
    int64_t *column;
} search;

static int32_t open_search(search *s)
{
    int64_t size = 0, bundles = s->bundles;
    for (int64_t k = 0; k < s->n; k++) {
        int64_t units = s->groups[k].size / bundles;
        size = units > size ? units : size;
    }
    s->value = mc_alloc(s->context, bundles * bundles, sizeof *s->value);
    s->u = mc_alloc(s->context, bundles, sizeof *s->u);
    s->v = mc_alloc(s->context, bundles, sizeof *s->v);
    s->order = mc_alloc(s->context, bundles, sizeof *s->order);
    s->pair = mc_alloc(s->context, size * size, sizeof *s->pair);
    s->pair_u = mc_alloc(s->context, size, sizeof *s->pair_u);
    s->pair_v = mc_alloc(s->context, size, sizeof *s->pair_v);
    s->column = mc_alloc(s->context, size, sizeof *s->column);
    bool failed = s->value == NULL || s->u == NULL || s->v == NULL || s->order == NULL ||
                  s->pair == NULL || s->pair_u == NULL || s->pair_v == NULL || s->column == NULL;
    return failed ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

static void close_search(search *s)
{
    mc_free(s->context, s->value);
    mc_free(s->context, s->u);
    mc_free(s->context, s->v);
    mc_free(s->context, s->order);
    mc_free(s->context, s->pair);
    mc_free(s->context, s->pair_u);
    mc_free(s->context, s->pair_v);
    mc_free(s->context, s->column);
}

/* Bundle q of the target to bundle r of the model, of one group. */
static int32_t assign_pair(search *s, const mc_bundled *g, int64_t q, int64_t r)
{
    int64_t units = g->size / s->bundles;
    for (int64_t i = 0; i < units; i++) {
        memcpy(s->pair + i * units, g->score + (q * units + i) * g->size + r * units,
               (size_t)units * sizeof *s->pair);
    }
    return mc_assignment(s->context, s->pair, units, units, true, s->column, s->pair_u, s->pair_v);
}

static int32_t value_pairs(search *s)
{
    int32_t status = MODECONN_OK;
    for (int64_t at = 0; at < s->bundles * s->bundles && status == MODECONN_OK; at++) {
        s->value[at] = 0.0;
        for (int64_t k = 0; k < s->n && status == MODECONN_OK; k++) {
            int64_t units = s->groups[k].size / s->bundles;
            status = assign_pair(s, &s->groups[k], at / s->bundles, at % s->bundles);
            for (int64_t i = 0; i < units && status == MODECONN_OK; i++) {
                s->value[at] += s->pair[i * units + s->column[i]];
            }
        }
    }
    return status;
}

/* Prepares the tight pairs of all groups; returns what rounding can make of a sum over a bundle. */
static double find_rounding(search *s)
{
    double sum = 0.0;
    for (int64_t k = 0; k < s->n; k++) {
        mc_bundled *g = &s->groups[k];
        double largest = 0.0;
        for (int64_t i = 0; i < g->size * g->size && g->tight != NULL; i++) {
            largest = fabs(g->score[i]) > largest ? fabs(g->score[i]) : largest;
            g->tight[i] = false;
        }
        g->rounding = ROUNDING * largest;
        sum += g->rounding * (double)(g->size / s->bundles);
    }
    return sum;
}

static void mark_tight(const search *s, mc_bundled *g, int64_t q, int64_t r)
{
    int64_t units = g->size / s->bundles;
    for (int64_t i = 0; i < units; i++) {
        bool *tight = g->tight + (q * units + i) * g->size + r * units;
        for (int64_t j = 0; j < units; j++) {
            tight[j] = s->pair_u[i] + s->pair_v[j] - s->pair[i * units + j] <= g->rounding;
        }
    }
}

/* Units of bundle q from bundle r, all groups; `taken`: r is the one chosen. */
static int32_t take_pair(search *s, int64_t q, int64_t r, bool taken)
{
    int32_t status = MODECONN_OK;
    for (int64_t k = 0; k < s->n && status == MODECONN_OK; k++) {
        mc_bundled *g = &s->groups[k];
        int64_t units = g->size / s->bundles;
        status = assign_pair(s, g, q, r);
        for (int64_t i = 0; i < units && taken && status == MODECONN_OK; i++) {
            g->column[q * units + i] = r * units + s->column[i];
        }
        if (status == MODECONN_OK && g->tight != NULL) {
            mark_tight(s, g, q, r);
        }
    }
    return status;
}

static int32_t take_all(search *s, bool stay)
{
    double rounding = find_rounding(s);
    bool marks = s->groups[0].tight != NULL && !stay;
    int32_t status = MODECONN_OK;
    for (int64_t q = 0; q < s->bundles && status == MODECONN_OK; q++) {
        status = take_pair(s, q, s->order[q], true);
        for (int64_t r = 0; r < s->bundles && marks && status == MODECONN_OK; r++) {
            double reduced = s->u[q] + s->v[r] - s->value[q * s->bundles + r];
            if (r != s->order[q] && reduced <= rounding) {
                status = take_pair(s, q, r, false);
            }
        }
    }
    return status;
}

int32_t mc_assign_bundles(const modeconn_context *context, mc_bundled *groups, int64_t n,
                          int64_t bundles, bool stay)
{
    search s = {.context = context, .groups = groups, .n = n, .bundles = bundles};
    int32_t status = open_search(&s);
    if (status == MODECONN_OK && stay) {
        for (int64_t q = 0; q < bundles; q++) {
            s.order[q] = q;
        }
    } else if (status == MODECONN_OK) {
        status = value_pairs(&s);
        if (status == MODECONN_OK) {
            status = mc_assignment(context, s.value, bundles, bundles, true, s.order, s.u, s.v);
        }
    }
    if (status == MODECONN_OK) {
        status = take_all(&s, stay);
    }
    close_search(&s);
    return status;
}
