/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inner products of a target's parameters and a permuted model's. With all other groups fixed, a
 * group's part of it is
 *
 *     sum_i S(i, p(i)),   S(i, j) = sum over the group's places of  target_i . model_j
 *
 * Where a group lies on both axes of a block, or two groups change at a time, the product is not
 * linear in p, so a step is kept only if the product itself has grown. Everything is summed in
 * double.
 */
#include "align/align.h"
#include "kernels/kernels.h"
#include <math.h>
#include <string.h>

enum { COLUMNS = 2048, TILE = 64 };
/* A gain below this part of the product is rounding. */
#define GAIN 1e-12

void mc_products_free(mc_products *p)
{
    mc_free(p->context, p->theta);
    mc_free(p->context, p->undo);
    mc_free(p->context, p->old);
    mc_free(p->context, p->touched);
    mc_free(p->context, p->score);
    mc_free(p->context, p->slices[0]);
    mc_free(p->context, p->slices[1]);
    mc_free(p->context, p->step);
    mc_free(p->context, p->composed);
    mc_free(p->context, p->family);
    mc_free(p->context, p->bundled);
    *p = (mc_products){0};
}

int32_t mc_products_init(mc_products *p, mc_align_job *job)
{
    *p = (mc_products){.job = job, .context = job->alignment->context};
    const modeconn_alignment *alignment = job->alignment;
    const modeconn_model *model = job->model;
    int64_t groups = alignment->symmetry->n_groups, size = 0;
    for (int64_t g = 0; g < groups; g++) {
        int64_t units = alignment->symmetry->groups[g].size;
        size = units > size ? units : size;
    }
    p->theta = mc_alloc(p->context, model->n_theta, sizeof(float));
    p->undo = mc_alloc(p->context, model->n_theta, sizeof(float));
    p->old = mc_alloc(p->context, mc_largest_block(model), sizeof(float));
    p->touched = mc_alloc(p->context, model->n_blocks_theta, sizeof(bool));
    p->slices[0] = mc_alloc(p->context, size * COLUMNS, sizeof(double));
    p->slices[1] = mc_alloc(p->context, size * COLUMNS, sizeof(double));
    p->step = mc_alloc(p->context, alignment->units, sizeof(int64_t));
    p->composed = mc_alloc(p->context, size, sizeof(int64_t));
    p->bundled = mc_calloc(p->context, groups, sizeof *p->bundled);
    p->family = mc_alloc(p->context, groups, sizeof(int64_t));
    if (p->theta == NULL || p->undo == NULL || p->old == NULL || p->touched == NULL ||
        p->slices[0] == NULL || p->slices[1] == NULL || p->step == NULL || p->composed == NULL ||
        p->bundled == NULL || p->family == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    p->score =
        mc_alloc(p->context, mc_family_scores(alignment->symmetry, p->family), sizeof(double));
    return p->score == NULL ? MODECONN_ERROR_MEMORY : mc_products_restart(p);
}

int32_t mc_products_restart(mc_products *p)
{
    const modeconn_model *model = p->job->model;
    memcpy(p->theta, model->theta, (size_t)model->n_theta * sizeof(float));
    return mc_alignment_permute(p->job->alignment, model, p->theta, NULL);
}

/* ---- the score of a group ------------------------------------------------------------------ */

/* Columns first .. first+count-1 of a block seen as [group size][outer * inner], of some places. */
static void take_slices(const float *values, const mc_symmetry_member *member, int64_t size,
                        const int64_t *places, int64_t n, int64_t first, int64_t count, double *to)
{
    int64_t units = size / member->bundles;
    for (int64_t i = 0; i < n; i++) {
        int64_t place = places == NULL ? i : places[i], bundle = place / units;
        for (int64_t k = 0; k < count; k++) {
            int64_t column = first + k, o = column / member->inner, at = column % member->inner;
            int64_t row = (bundle * member->outer + o) * units + place % units;
            to[i * COLUMNS + k] = (double)values[row * member->inner + at];
        }
    }
}

typedef struct score_job {
    const mc_products *p;
    int64_t n, count;
    double *score;
} score_job;

static void score_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const score_job *job = arg;
    const mc_products *p = job->p;
    int64_t first = task * TILE, rows = job->n - first < TILE ? job->n - first : TILE;
    mc_gemm_f64(rows, job->n, job->count, p->slices[0] + first * COLUMNS, COLUMNS, 1, p->slices[1],
                1, COLUMNS, job->score + first * job->n, job->n);
}

void mc_products_score(mc_products *p, int64_t g, const int64_t *places, int64_t n, bool incoming,
                       double *score)
{
    const modeconn_model *target = p->job->target;
    const mc_symmetry_group *group = &p->job->alignment->symmetry->groups[g];
    memset(score, 0, (size_t)(n * n) * sizeof *score);
    for (int64_t k = 0; k < group->n_members; k++) {
        const mc_symmetry_member *member = &group->members[k];
        bool reads = member->outer != 1 || member->bundles > 1;
        if (member->block >= target->n_blocks_theta || (incoming && reads)) {
            continue; /* statistics follow the weights */
        }
        const mc_block *block = &target->blocks[member->block];
        int64_t columns = member->outer * member->inner;
        for (int64_t at = 0; at < columns; at += COLUMNS) {
            int64_t count = columns - at < COLUMNS ? columns - at : COLUMNS;
            take_slices(target->theta + block->offset, member, group->size, places, n, at, count,
                        p->slices[0]);
            take_slices(p->theta + block->offset, member, group->size, places, n, at, count,
                        p->slices[1]);
            score_job job = {p, n, count, score};
            mc_pool_run(p->context->pool, (n + TILE - 1) / TILE, score_rows, &job);
        }
    }
}

static void mark_touched(mc_products *p, const int64_t *groups, int64_t n)
{
    int64_t blocks = p->job->model->n_blocks_theta;
    memset(p->touched, 0, (size_t)blocks * sizeof *p->touched);
    for (int64_t k = 0; k < n; k++) {
        const mc_symmetry_group *group = &p->job->alignment->symmetry->groups[groups[k]];
        for (int64_t i = 0; i < group->n_members; i++) {
            if (group->members[i].block < blocks) {
                p->touched[group->members[i].block] = true;
            }
        }
    }
}

/* Over the blocks that the groups of a step touch. */
static double product_of(const mc_products *p)
{
    const modeconn_model *target = p->job->target;
    double sum = 0.0;
    for (int64_t b = 0; b < target->n_blocks_theta; b++) {
        const mc_block *block = &target->blocks[b];
        for (int64_t i = block->offset; p->touched[b] && i < block->offset + block->size; i++) {
            sum += (double)target->theta[i] * (double)p->theta[i];
        }
    }
    return sum;
}

double mc_products_whole(const mc_products *p)
{
    double sum = 0.0;
    for (int64_t i = 0; i < p->job->model->n_theta; i++) {
        sum += (double)p->job->target->theta[i] * (double)p->theta[i];
    }
    return sum;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* The touched blocks from one vector to another. */
static void copy_touched(const mc_products *p, const float *from, float *to)
{
    for (int64_t b = 0; b < p->job->model->n_blocks_theta; b++) {
        const mc_block *block = &p->job->model->blocks[b];
        if (p->touched[b]) {
            memcpy(to + block->offset, from + block->offset, (size_t)block->size * sizeof *to);
        }
    }
}

static void permute(mc_products *p, const int64_t *groups, int64_t n)
{
    mc_permute_groups(p->job->alignment, p->job->model, groups, n, p->step, p->theta, NULL, p->old);
}

static void compose(mc_products *p, int64_t g)
{
    modeconn_alignment *alignment = p->job->alignment;
    int64_t size = alignment->symmetry->groups[g].size;
    int64_t *permutation = alignment->permutation + alignment->offset[g];
    const int64_t *step = p->step + alignment->offset[g];
    for (int64_t i = 0; i < size; i++) {
        p->composed[i] = permutation[step[i]];
    }
    memcpy(permutation, p->composed, (size_t)size * sizeof *permutation);
}

static void compose_all(mc_products *p, const int64_t *groups, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        compose(p, groups[k]);
    }
}

void mc_products_take(mc_products *p, const int64_t *groups, int64_t n)
{
    permute(p, groups, n);
    compose_all(p, groups, n);
}

double mc_products_step(mc_products *p, const int64_t *groups, int64_t n)
{
    mark_touched(p, groups, n);
    double before = product_of(p);
    copy_touched(p, p->theta, p->undo);
    permute(p, groups, n);
    double grown = product_of(p) - before;
    if (!(grown > GAIN * fabs(before))) {
        copy_touched(p, p->undo, p->theta);
        return 0.0;
    }
    compose_all(p, groups, n);
    return grown;
}
