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

/* Similarities are true to this part of the largest (they are made of float sums), so what differs
 * by less is equal: two units that only one image excites have a correlation of 1 +- 3e-6. */
#define ROUNDING 1e-5
/* Rounds by incoming weights; what makes a residual stream's units also reads them, hence two. */
enum { INCOMING = 2 };

/* ---- finding them -------------------------------------------------------------------------- */

void mc_tied_free(mc_tied *tied, const modeconn_context *context)
{
    mc_free(context, tied->tight);
    mc_free(context, tied->places);
    *tied = (mc_tied){0};
}

static void mark_tight(const double *similarity, int64_t size, const double *u, const double *v,
                       bool *tight)
{
    double largest = 0.0;
    for (int64_t k = 0; k < size * size; k++) {
        largest = fabs(similarity[k]) > largest ? fabs(similarity[k]) : largest;
    }
    for (int64_t i = 0; i < size; i++) {
        for (int64_t j = 0; j < size; j++) {
            tight[i * size + j] = u[i] + v[j] - similarity[i * size + j] <= ROUNDING * largest;
        }
    }
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

int32_t mc_tied_find(const modeconn_context *context, const double *similarity, int64_t size,
                     const double *u, const double *v, const int64_t *permutation, mc_tied *tied)
{
    *tied = (mc_tied){.n = 0};
    tied->tight = mc_alloc(context, size * size, sizeof *tied->tight);
    tied->places = mc_alloc(context, size, sizeof *tied->places);
    moves m = {.tight = tied->tight, .permutation = permutation, .size = size};
    m.gives = mc_calloc(context, size, sizeof *m.gives);
    m.takes = mc_calloc(context, size, sizeof *m.takes);
    m.out = mc_calloc(context, size, sizeof *m.out);
    int32_t status = tied->tight == NULL || tied->places == NULL || m.gives == NULL ||
                             m.takes == NULL || m.out == NULL
                         ? MODECONN_ERROR_MEMORY
                         : MODECONN_OK;
    if (status == MODECONN_OK) {
        mark_tight(similarity, size, u, v, tied->tight);
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
    if (tied->n == 0) {
        mc_tied_free(tied, context);
    }
    return status;
}

/* ---- matching them ------------------------------------------------------------------------- */

/* Pairs that are not tight get less than any matching of tight ones can have. */
static void bar_others(mc_products *p, const mc_tied *tied, int64_t size,
                       const int64_t *permutation)
{
    double largest = 0.0;
    for (int64_t k = 0; k < tied->n * tied->n; k++) {
        largest = fabs(p->score[k]) > largest ? fabs(p->score[k]) : largest;
    }
    for (int64_t i = 0; i < tied->n; i++) {
        for (int64_t j = 0; j < tied->n; j++) {
            if (!tied->tight[tied->places[i] * size + permutation[tied->places[j]]]) {
                p->score[i * tied->n + j] = -(1.0 + 2.0 * (double)tied->n * largest);
            }
        }
    }
}

/* The best step of a group; true in *gained if it was taken. */
static int32_t improve_group(mc_products *p, int64_t g, const mc_tied *tied, bool incoming,
                             bool *gained)
{
    const modeconn_alignment *alignment = p->job->alignment;
    int64_t size = alignment->symmetry->groups[g].size;
    int64_t *chosen = mc_alloc(p->context, tied->n, sizeof *chosen);
    if (chosen == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_products_score(p, g, tied->places, tied->n, incoming);
    bar_others(p, tied, size, alignment->permutation + alignment->offset[g]);
    int32_t status =
        mc_assignment(p->context, p->score, tied->n, tied->n, true, chosen, NULL, NULL);
    if (status == MODECONN_OK) {
        for (int64_t i = 0; i < size; i++) {
            p->step[i] = i;
        }
        for (int64_t k = 0; k < tied->n; k++) {
            p->step[tied->places[k]] = tied->places[chosen[k]];
        }
        if (incoming) {
            mc_products_take(p, g);
        } else {
            *gained = mc_products_step(p, g) > 0.0 || *gained;
        }
    }
    mc_free(p->context, chosen);
    return status;
}

static int32_t improve_all(mc_products *p, const mc_tied *tied, bool incoming, bool *gained)
{
    int32_t status = MODECONN_OK;
    *gained = false;
    for (int64_t g = 0; g < p->job->alignment->symmetry->n_groups && status == MODECONN_OK; g++) {
        if (tied[g].n > 0) {
            status = improve_group(p, g, &tied[g], incoming, gained);
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
