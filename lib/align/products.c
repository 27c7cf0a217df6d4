/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inner products of a target's parameters and a permuted model's. With all other groups fixed, a
 * group's part of it is
 *
 *     sum_i S(i, p(i)),   S(i, j) = sum over the group's places of  target_i . model_j
 *
 * Where a group lies on both axes of a block the product is not linear in p, so a step is kept only
 * if the product itself has grown. Everything is summed in double.
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
    mc_free(p->context, p->score);
    mc_free(p->context, p->slices[0]);
    mc_free(p->context, p->slices[1]);
    mc_free(p->context, p->step);
    mc_free(p->context, p->composed);
    *p = (mc_products){0};
}

int32_t mc_products_init(mc_products *p, mc_align_job *job)
{
    *p = (mc_products){.job = job, .context = job->alignment->context};
    const mc_symmetry *symmetry = job->alignment->symmetry;
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        p->size = symmetry->groups[g].size > p->size ? symmetry->groups[g].size : p->size;
    }
    p->theta = mc_alloc(p->context, job->model->n_theta, sizeof(float));
    p->undo = mc_alloc(p->context, job->model->n_theta, sizeof(float));
    p->score = mc_alloc(p->context, p->size * p->size, sizeof(double));
    p->slices[0] = mc_alloc(p->context, p->size * COLUMNS, sizeof(double));
    p->slices[1] = mc_alloc(p->context, p->size * COLUMNS, sizeof(double));
    p->step = mc_alloc(p->context, p->size, sizeof(int64_t));
    p->composed = mc_alloc(p->context, p->size, sizeof(int64_t));
    bool failed = p->theta == NULL || p->undo == NULL || p->score == NULL || p->slices[0] == NULL ||
                  p->slices[1] == NULL || p->step == NULL || p->composed == NULL;
    return failed ? MODECONN_ERROR_MEMORY : mc_products_restart(p);
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
    for (int64_t i = 0; i < n; i++) {
        int64_t place = places == NULL ? i : places[i];
        for (int64_t k = 0; k < count; k++) {
            int64_t column = first + k, o = column / member->inner, at = column % member->inner;
            to[i * COLUMNS + k] = (double)values[(o * size + place) * member->inner + at];
        }
    }
}

typedef struct score_job {
    const mc_products *p;
    int64_t n, count;
} score_job;

static void score_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const score_job *job = arg;
    const mc_products *p = job->p;
    int64_t first = task * TILE, rows = job->n - first < TILE ? job->n - first : TILE;
    mc_gemm_f64(rows, job->n, job->count, p->slices[0] + first * COLUMNS, COLUMNS, 1, p->slices[1],
                1, COLUMNS, p->score + first * job->n, job->n);
}

void mc_products_score(mc_products *p, int64_t g, const int64_t *places, int64_t n, bool incoming)
{
    const modeconn_model *target = p->job->target;
    const mc_symmetry_group *group = &p->job->alignment->symmetry->groups[g];
    memset(p->score, 0, (size_t)(n * n) * sizeof *p->score);
    for (int64_t k = 0; k < group->n_members; k++) {
        const mc_symmetry_member *member = &group->members[k];
        if (member->block >= target->n_blocks_theta || (incoming && member->outer != 1)) {
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
            score_job job = {p, n, count};
            mc_pool_run(p->context->pool, (n + TILE - 1) / TILE, score_rows, &job);
        }
    }
}

/* Over the blocks that a group touches; a block on both axes counts once. */
static double product_of(const mc_products *p, const mc_symmetry_group *group)
{
    const modeconn_model *target = p->job->target;
    double sum = 0.0;
    for (int64_t k = 0; k < group->n_members; k++) {
        int64_t b = group->members[k].block;
        if (b >= target->n_blocks_theta || (k > 0 && group->members[k - 1].block == b)) {
            continue;
        }
        const mc_block *block = &target->blocks[b];
        for (int64_t i = block->offset; i < block->offset + block->size; i++) {
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

/* Applies p->step to the group's places in theta; the old values stay in undo. */
static void permute_group(mc_products *p, const mc_symmetry_group *group)
{
    const modeconn_model *model = p->job->model;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < group->n_members; k++) {
            const mc_symmetry_member *member = &group->members[k];
            if (member->block >= model->n_blocks_theta) {
                continue;
            }
            const mc_block *block = &model->blocks[member->block];
            if (pass == 0) {
                memcpy(p->undo + block->offset, p->theta + block->offset,
                       (size_t)block->size * sizeof(float));
            } else {
                bool again = k > 0 && group->members[k - 1].block == member->block;
                float *from = p->undo + block->offset;
                if (again) { /* the other axis: what the first made */
                    memcpy(from, p->theta + block->offset, (size_t)block->size * sizeof(float));
                }
                mc_permute_axis(from, p->theta + block->offset, p->step, member->outer, group->size,
                                member->inner);
            }
        }
    }
}

static void invert_step(mc_products *p, int64_t size)
{
    for (int64_t i = 0; i < size; i++) {
        p->composed[p->step[i]] = i;
    }
    memcpy(p->step, p->composed, (size_t)size * sizeof *p->step);
}

static void compose(mc_products *p, int64_t g)
{
    modeconn_alignment *alignment = p->job->alignment;
    int64_t size = alignment->symmetry->groups[g].size;
    int64_t *permutation = alignment->permutation + alignment->offset[g];
    for (int64_t i = 0; i < size; i++) {
        p->composed[i] = permutation[p->step[i]];
    }
    memcpy(permutation, p->composed, (size_t)size * sizeof *permutation);
}

void mc_products_take(mc_products *p, int64_t g)
{
    permute_group(p, &p->job->alignment->symmetry->groups[g]);
    compose(p, g);
}

double mc_products_step(mc_products *p, int64_t g)
{
    const mc_symmetry_group *group = &p->job->alignment->symmetry->groups[g];
    double before = product_of(p, group);
    permute_group(p, group);
    double grown = product_of(p, group) - before;
    if (!(grown > GAIN * fabs(before))) {
        invert_step(p, group->size);
        permute_group(p, group);
        return 0.0;
    }
    compose(p, g);
    return grown;
}
