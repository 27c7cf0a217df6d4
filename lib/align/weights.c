/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Weight matching (Ainsworth, Hayase, Srinivasa 2023, "Git Re-Basin", algorithm 1): with all other
 * groups fixed, the assignment solver finds the permutation of one that makes the inner product of
 * both models' parameters largest (products.c). Groups are visited in a drawn order until a whole
 * round gains nothing. Groups whose bundles change places alike do so in a step of their own.
 */
#include "align/align.h"
#include <math.h>
#include <string.h>

typedef struct search {
    mc_products products;
    int64_t *order; /* [groups] */
    int64_t *best;  /* [units] */
} search;

static void free_search(search *s, const modeconn_context *context)
{
    mc_products_free(&s->products);
    mc_free(context, s->order);
    mc_free(context, s->best);
}

static int32_t init_search(search *s, mc_align_job *job)
{
    const modeconn_alignment *alignment = job->alignment;
    *s = (search){.order = NULL};
    int32_t status = mc_products_init(&s->products, job);
    s->order = mc_alloc(alignment->context, alignment->symmetry->n_groups, sizeof(int64_t));
    s->best = mc_alloc(alignment->context, alignment->units, sizeof(int64_t));
    return s->order == NULL || s->best == NULL ? MODECONN_ERROR_MEMORY : status;
}

/* The best step of n groups of a family, whose bundles move with it or stay; adds to *gain what the
 * product has grown by. */
static int32_t improve(mc_products *p, const int64_t *groups, int64_t n, bool stay, double *gain)
{
    const modeconn_alignment *alignment = p->job->alignment;
    double *score = p->score;
    for (int64_t k = 0; k < n; k++) {
        int64_t size = alignment->symmetry->groups[groups[k]].size;
        mc_products_score(p, groups[k], NULL, size, false, score);
        p->bundled[k] = (mc_bundled){
            .score = score, .size = size, .column = p->step + alignment->offset[groups[k]]};
        score += size * size;
    }
    int32_t status = mc_assign_bundles(p->context, p->bundled, n,
                                       alignment->symmetry->groups[groups[0]].bundles, stay);
    if (status == MODECONN_OK) {
        *gain += mc_products_step(p, groups, n);
    }
    return status;
}

/* Group g's best step; before it that of the bundles, where g is the first that has them. */
static int32_t improve_group(search *s, int64_t g, double *gain)
{
    mc_products *p = &s->products;
    const mc_symmetry *symmetry = p->job->alignment->symmetry;
    int32_t status = MODECONN_OK;
    *gain = 0.0;
    if (symmetry->groups[g].order == g) {
        int64_t n = mc_family_of(symmetry, g, p->family);
        status = improve(p, p->family, n, false, gain);
    }
    return status == MODECONN_OK ? improve(p, &g, 1, true, gain) : status;
}

/* From the identity, groups in the order of (seed, restart, sweep), until a round gains nothing. */
static int32_t run_restart(search *s, uint64_t seed, int64_t restart, int64_t sweeps)
{
    mc_align_job *job = s->products.job;
    int64_t groups = job->alignment->symmetry->n_groups;
    bool gained = true;
    mc_alignment_reset(job->alignment);
    int32_t status = mc_products_restart(&s->products);
    for (int64_t sweep = 0; sweep < sweeps && gained && status == MODECONN_OK; sweep++) {
        gained = false;
        mc_random_permutation(seed, MC_STREAM_ALIGN_ORDER, (uint64_t)(restart * sweeps + sweep),
                              groups, s->order);
        for (int64_t k = 0; k < groups && status == MODECONN_OK; k++) {
            double gain = 0.0;
            status = improve_group(s, s->order[k], &gain);
            gained = gained || gain > 0.0;
        }
        if (status == MODECONN_OK) {
            status = mc_progress_step(&job->progress, restart, NAN, NAN, NAN);
        }
    }
    return status;
}

static int32_t describe(modeconn_alignment *alignment, int64_t restarts, uint64_t seed,
                        double product)
{
    char text[160];
    mc_format(text, sizeof text, "restarts=%lld,seed=%llu,product=%.9g", (long long)restarts,
              (unsigned long long)seed, product);
    mc_free(alignment->context, alignment->settings);
    alignment->settings = mc_strdup(alignment->context, text);
    return alignment->settings == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

int32_t mc_align_weights(mc_align_job *job)
{
    modeconn_alignment *alignment = job->alignment;
    int64_t restarts = mc_option_i64(job->options, &mc_kind_align, "restarts");
    int64_t sweeps = mc_option_i64(job->options, &mc_kind_align, "sweeps");
    uint64_t seed =
        mc_seed(alignment->context, mc_option_i64(job->options, &mc_kind_align, "seed"));
    size_t bytes = (size_t)alignment->units * sizeof *alignment->permutation;
    double best = -HUGE_VAL;
    search s;
    int32_t status = init_search(&s, job);

    job->progress.total = restarts * sweeps;
    for (int64_t restart = 0; restart < restarts && status == MODECONN_OK; restart++) {
        status = run_restart(&s, seed, restart, sweeps);
        double product = status == MODECONN_OK ? mc_products_whole(&s.products) : best;
        if (status == MODECONN_OK && product > best) {
            best = product;
            memcpy(s.best, alignment->permutation, bytes);
        }
    }
    if (status == MODECONN_OK) {
        memcpy(alignment->permutation, s.best, bytes);
        status = describe(alignment, restarts, seed, best);
    }
    free_search(&s, alignment->context);
    return status;
}
