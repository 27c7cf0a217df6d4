/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Units that activations cannot tell apart: dead ones, which are like nothing, and such as always
 * say the same. Any way to match them is as good by the similarities, but their weights differ, and
 * on other data or half-way to another model so do they. Every optimal matching consists of pairs
 * that the duals leave no reduced cost; within these, where there is a choice, the inner product of
 * the weights decides, all groups in turn (products.c). At first only the weights that make a unit
 * count: those that read it stand in an order that may still be wrong, and of many dead units it
 * can outweigh the rest. Of a permuted copy the first layer comes out right so, then the next.
 */
#include "align/align.h"
#include <math.h>
#include <string.h>

/* Rounds by incoming weights; what makes a residual stream's units also reads them, hence two. */
enum { INCOMING = 2 };

/* ---- finding them -------------------------------------------------------------------------- */

void mc_tied_free(mc_tied *tied, const modeconn_context *context)
{
    mc_free(context, tied->tight);
    mc_free(context, tied->places);
    *tied = (mc_tied){0};
}

/* Places among which units can move: k may take the unit of i. */
typedef struct moves {
    const bool *tight;
    const int64_t *permutation;
    int64_t size;
    int64_t *gives, *takes; /* [size] ways to pass the place's unit on; to get another */
    bool *out;              /* [size] left the list */
} moves;

static bool can_take(const moves *m, int64_t k, int64_t i)
{
    return k != i && m->tight[k * m->size + m->permutation[i]];
}

static void remove_place(moves *m, int64_t i)
{
    m->out[i] = true;
    for (int64_t k = 0; k < m->size; k++) {
        m->gives[k] -= can_take(m, i, k);
        m->takes[k] -= can_take(m, k, i);
    }
}

/* Who changes place does so in a ring, where everyone gives and takes. So a place that can do one
 * of them only is in none and leaves, which may leave others with one only. */
static void keep_rings(moves *m)
{
    for (int64_t i = 0; i < m->size; i++) {
        for (int64_t k = 0; k < m->size; k++) {
            m->takes[i] += can_take(m, i, k);
            m->gives[k] += can_take(m, i, k);
        }
    }
    for (bool left = true; left;) {
        left = false;
        for (int64_t i = 0; i < m->size; i++) {
            if (!m->out[i] && (m->gives[i] == 0 || m->takes[i] == 0)) {
                remove_place(m, i);
                left = true;
            }
        }
    }
}

static int32_t find_places(const modeconn_context *context, mc_bundled *group, mc_tied *tied)
{
    int64_t size = group->size;
    *tied = (mc_tied){.tight = group->tight};
    group->tight = NULL;
    tied->places = mc_alloc(context, size, sizeof *tied->places);
    moves m = {.tight = tied->tight, .permutation = group->column, .size = size};
    m.gives = mc_calloc(context, size, sizeof *m.gives);
    m.takes = mc_calloc(context, size, sizeof *m.takes);
    m.out = mc_calloc(context, size, sizeof *m.out);
    int32_t status = tied->places == NULL || m.gives == NULL || m.takes == NULL || m.out == NULL
                         ? MODECONN_ERROR_MEMORY
                         : MODECONN_OK;
    if (status == MODECONN_OK) {
        keep_rings(&m);
        for (int64_t i = 0; i < size; i++) {
            if (!m.out[i]) {
                tied->places[tied->n++] = i;
            }
        }
    }
    mc_free(context, m.gives);
    mc_free(context, m.takes);
    mc_free(context, m.out);
    return status;
}

static void take_all_places(mc_tied *tied, int64_t size)
{
    for (tied->n = 0; tied->n < size; tied->n++) {
        tied->places[tied->n] = tied->n;
    }
}

int32_t mc_tied_find(const modeconn_context *context, mc_bundled *groups, const int64_t *which,
                     int64_t n, bool whole, mc_tied *tied)
{
    int64_t open = 0;
    int32_t status = MODECONN_OK;
    for (int64_t k = 0; k < n && status == MODECONN_OK; k++) {
        status = find_places(context, &groups[k], &tied[which[k]]);
        open += tied[which[k]].n;
    }
    for (int64_t k = 0; k < n && status == MODECONN_OK; k++) {
        mc_tied *of = &tied[which[k]];
        if (whole && open > 0) {
            take_all_places(of, groups[k].size);
        } else if (of->n == 0) {
            mc_tied_free(of, context);
        }
    }
    return status;
}

/* ---- matching them ------------------------------------------------------------------------- */

/* Sum of the largest weights' products over n places: no matching of tight pairs is worth more. */
static double most_of(const double *score, int64_t n)
{
    double largest = 0.0;
    for (int64_t k = 0; k < n * n; k++) {
        largest = fabs(score[k]) > largest ? fabs(score[k]) : largest;
    }
    return (double)n * largest;
}

/* Pairs that are not tight get less than any matching of tight ones can have, of all groups. */
static void bar_others(double *score, const mc_tied *tied, int64_t size, const int64_t *permutation,
                       double most)
{
    for (int64_t i = 0; i < tied->n; i++) {
        for (int64_t j = 0; j < tied->n; j++) {
            if (!tied->tight[tied->places[i] * size + permutation[tied->places[j]]]) {
                score[i * tied->n + j] = -(1.0 + 2.0 * most);
            }
        }
    }
}

/* Scores of n groups among their tied places, in p->bundled. */
static void score_groups(mc_products *p, const int64_t *groups, int64_t n, const mc_tied *tied,
                         bool incoming, int64_t *chosen)
{
    const modeconn_alignment *alignment = p->job->alignment;
    double most = 0.0, *score = p->score;
    for (int64_t k = 0; k < n; k++) {
        const mc_tied *of = &tied[groups[k]];
        mc_products_score(p, groups[k], of->places, of->n, incoming, score);
        p->bundled[k] = (mc_bundled){.score = score, .size = of->n, .column = chosen};
        most += most_of(score, of->n);
        score += of->n * of->n;
        chosen += of->n;
    }
    score = p->score;
    for (int64_t k = 0; k < n; k++) {
        const mc_tied *of = &tied[groups[k]];
        bar_others(score, of, alignment->symmetry->groups[groups[k]].size,
                   alignment->permutation + alignment->offset[groups[k]], most);
        score += of->n * of->n;
    }
}

static void set_step(mc_products *p, int64_t g, const mc_tied *tied, const int64_t *chosen)
{
    const modeconn_alignment *alignment = p->job->alignment;
    int64_t *step = p->step + alignment->offset[g];
    for (int64_t i = 0; i < alignment->symmetry->groups[g].size; i++) {
        step[i] = i;
    }
    for (int64_t k = 0; k < tied->n; k++) {
        step[tied->places[k]] = tied->places[chosen[k]];
    }
}

/* The best step of n groups, in as many bundles of tied places; true in *gained if it was taken. */
static int32_t improve(mc_products *p, const int64_t *groups, int64_t n, const mc_tied *tied,
                       int64_t bundles, bool stay, bool incoming, bool *gained)
{
    int64_t places = 0;
    for (int64_t k = 0; k < n; k++) {
        places += tied[groups[k]].n;
    }
    int64_t *chosen = mc_alloc(p->context, places, sizeof *chosen);
    if (chosen == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    score_groups(p, groups, n, tied, incoming, chosen);
    int32_t status = mc_assign_bundles(p->context, p->bundled, n, bundles, stay);
    if (status == MODECONN_OK) {
        for (int64_t k = 0; k < n; k++) {
            set_step(p, groups[k], &tied[groups[k]], p->bundled[k].column);
        }
        if (incoming) {
            mc_products_take(p, groups, n);
        } else {
            *gained = mc_products_step(p, groups, n) > 0.0 || *gained;
        }
    }
    mc_free(p->context, chosen);
    return status;
}

/* A group's best step; before it that of its bundles, where it is the first that has them. */
static int32_t improve_group(mc_products *p, int64_t g, const mc_tied *tied, bool incoming,
                             bool *gained)
{
    const mc_symmetry *symmetry = p->job->alignment->symmetry;
    const mc_symmetry_group *group = &symmetry->groups[g];
    int32_t status = MODECONN_OK;
    if (group->order == g) {
        int64_t n = mc_family_of(symmetry, g, p->family);
        status = improve(p, p->family, n, tied, group->bundles, false, incoming, gained);
    }
    /* Without moving bundles, those that stay are known from the tight pairs. */
    int64_t bundles = group->order < 0 ? 1 : group->bundles;
    return status == MODECONN_OK ? improve(p, &g, 1, tied, bundles, true, incoming, gained)
                                 : status;
}

static int32_t improve_all(mc_products *p, const mc_tied *tied, bool incoming, bool *gained)
{
    int32_t status = MODECONN_OK;
    *gained = false;
    for (int64_t g = 0; g < p->job->alignment->symmetry->n_groups && status == MODECONN_OK; g++) {
        if (tied[g].n > 0) {
            status = improve_group(p, g, tied, incoming, gained);
        }
    }
    return status;
}

int32_t mc_tied_match(mc_align_job *job, const mc_tied *tied)
{
    int64_t open = 0, sweeps = mc_option_i64(job->options, &mc_kind_align, "sweeps");
    bool gained = true;
    mc_products products;
    for (int64_t g = 0; g < job->alignment->symmetry->n_groups; g++) {
        open += tied[g].n;
    }
    if (open == 0) {
        return MODECONN_OK;
    }
    int32_t status = mc_products_init(&products, job);
    for (int round = 0; round < INCOMING && status == MODECONN_OK; round++) {
        status = improve_all(&products, tied, true, &gained);
    }
    gained = true;
    for (int64_t sweep = 0; sweep < sweeps && gained && status == MODECONN_OK; sweep++) {
        status = improve_all(&products, tied, false, &gained);
    }
    mc_products_free(&products);
    return status;
}
