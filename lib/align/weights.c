/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Weight matching (Ainsworth, Hayase, Srinivasa 2023, "Git Re-Basin", algorithm 1): with all other
 * groups fixed, the inner product of the target's parameters and the permuted model's is
 *
 *     sum_i S(i, p(i)),   S(i, j) = sum over the group's places of  target_i . model_j
 *
 * and the assignment solver finds the best p. Groups are visited in a drawn order until a whole
 * round gains nothing. Where a group lies on both axes of a block the product is not linear in p,
 * so a step is kept only if the product itself has grown. Everything is summed in double.
 */
#include "align/align.h"
#include "kernels/kernels.h"
#include <math.h>
#include <string.h>

enum { COLUMNS = 2048, TILE = 64 };
/* A gain below this part of the product is rounding. */
#define GAIN 1e-12

typedef struct search {
    mc_align_job *job;
    modeconn_context *context;
    const mc_symmetry *symmetry;
    float *theta;      /* [n_theta]: the model under the permutations so far */
    float *undo;       /* [n_theta] */
    double *score;     /* [largest group]^2 */
    double *slices[2]; /* [largest group][COLUMNS] */
    int64_t *step;     /* [largest group]: permutation on top of the one so far */
    int64_t *composed; /* [largest group] */
    int64_t *order;    /* [groups] */
    int64_t *best;     /* [units] */
    int64_t size;      /* of the largest group */
} search;

static void free_search(search *s)
{
    mc_free(s->context, s->theta);
    mc_free(s->context, s->undo);
    mc_free(s->context, s->score);
    mc_free(s->context, s->slices[0]);
    mc_free(s->context, s->slices[1]);
    mc_free(s->context, s->step);
    mc_free(s->context, s->composed);
    mc_free(s->context, s->order);
    mc_free(s->context, s->best);
}

static int32_t init_search(search *s, mc_align_job *job)
{
    const modeconn_model *model = job->model;
    *s = (search){.job = job, .context = job->alignment->context};
    s->symmetry = job->alignment->symmetry;
    for (int64_t g = 0; g < s->symmetry->n_groups; g++) {
        s->size = s->symmetry->groups[g].size > s->size ? s->symmetry->groups[g].size : s->size;
    }
    s->theta = mc_alloc(s->context, model->n_theta, sizeof(float));
    s->undo = mc_alloc(s->context, model->n_theta, sizeof(float));
    s->score = mc_alloc(s->context, s->size * s->size, sizeof(double));
    s->slices[0] = mc_alloc(s->context, s->size * COLUMNS, sizeof(double));
    s->slices[1] = mc_alloc(s->context, s->size * COLUMNS, sizeof(double));
    s->step = mc_alloc(s->context, s->size, sizeof(int64_t));
    s->composed = mc_alloc(s->context, s->size, sizeof(int64_t));
    s->order = mc_alloc(s->context, s->symmetry->n_groups, sizeof(int64_t));
    s->best = mc_alloc(s->context, job->alignment->units, sizeof(int64_t));
    bool failed = s->theta == NULL || s->undo == NULL || s->score == NULL || s->slices[0] == NULL ||
                  s->slices[1] == NULL || s->step == NULL || s->composed == NULL ||
                  s->order == NULL || s->best == NULL;
    return failed ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

/* ---- the score of a group ----------------------------------------------------------------------
 */

/* Columns first .. first+count-1 of a block seen as [size][outer * inner]. */
static void take_slices(const float *values, const mc_symmetry_member *member, int64_t size,
                        int64_t first, int64_t count, double *to)
{
    for (int64_t i = 0; i < size; i++) {
        for (int64_t k = 0; k < count; k++) {
            int64_t column = first + k, o = column / member->inner, n = column % member->inner;
            to[i * COLUMNS + k] = (double)values[(o * size + i) * member->inner + n];
        }
    }
}

typedef struct score_job {
    const search *s;
    int64_t size, count;
} score_job;

static void score_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const score_job *job = arg;
    const search *s = job->s;
    int64_t first = task * TILE, rows = job->size - first < TILE ? job->size - first : TILE;
    mc_gemm_f64(rows, job->size, job->count, s->slices[0] + first * COLUMNS, COLUMNS, 1,
                s->slices[1], 1, COLUMNS, s->score + first * job->size, job->size);
}

static void score_group(search *s, const mc_symmetry_group *group)
{
    const modeconn_model *target = s->job->target;
    memset(s->score, 0, (size_t)(group->size * group->size) * sizeof *s->score);
    for (int64_t k = 0; k < group->n_members; k++) {
        const mc_symmetry_member *member = &group->members[k];
        if (member->block >= target->n_blocks_theta) {
            continue; /* statistics follow the weights */
        }
        const mc_block *block = &target->blocks[member->block];
        int64_t columns = member->outer * member->inner;
        for (int64_t at = 0; at < columns; at += COLUMNS) {
            int64_t count = columns - at < COLUMNS ? columns - at : COLUMNS;
            take_slices(target->theta + block->offset, member, group->size, at, count,
                        s->slices[0]);
            take_slices(s->theta + block->offset, member, group->size, at, count, s->slices[1]);
            score_job job = {s, group->size, count};
            mc_pool_run(s->context->pool, (group->size + TILE - 1) / TILE, score_rows, &job);
        }
    }
}

/* Inner product over the blocks that a group touches; a block on both axes counts once. */
static double product_of(const search *s, const mc_symmetry_group *group)
{
    const modeconn_model *target = s->job->target;
    double sum = 0.0;
    for (int64_t k = 0; k < group->n_members; k++) {
        int64_t b = group->members[k].block;
        if (b >= target->n_blocks_theta || (k > 0 && group->members[k - 1].block == b)) {
            continue;
        }
        const mc_block *block = &target->blocks[b];
        for (int64_t i = block->offset; i < block->offset + block->size; i++) {
            sum += (double)target->theta[i] * (double)s->theta[i];
        }
    }
    return sum;
}

/* ---- steps -------------------------------------------------------------------------------------
 */

/* Applies s->step to the group's places in theta; the old values stay in undo. */
static void permute_group(search *s, const mc_symmetry_group *group)
{
    const modeconn_model *model = s->job->model;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < group->n_members; k++) {
            const mc_symmetry_member *member = &group->members[k];
            if (member->block >= model->n_blocks_theta) {
                continue;
            }
            const mc_block *block = &model->blocks[member->block];
            if (pass == 0) {
                memcpy(s->undo + block->offset, s->theta + block->offset,
                       (size_t)block->size * sizeof(float));
            } else {
                bool again = k > 0 && group->members[k - 1].block == member->block;
                float *from = s->undo + block->offset;
                if (again) { /* the other axis: what the first made */
                    memcpy(from, s->theta + block->offset, (size_t)block->size * sizeof(float));
                }
                mc_permute_axis(from, s->theta + block->offset, s->step, member->outer, group->size,
                                member->inner);
            }
        }
    }
}

static void invert_step(search *s, int64_t size)
{
    for (int64_t i = 0; i < size; i++) {
        s->composed[s->step[i]] = i;
    }
    memcpy(s->step, s->composed, (size_t)size * sizeof *s->step);
}

/* One group's best step; *gain is what the product has grown by, 0 where it stays. */
static int32_t improve_group(search *s, int64_t g, double *gain)
{
    const mc_symmetry_group *group = &s->symmetry->groups[g];
    int64_t *p = s->job->alignment->permutation + s->job->alignment->offset[g];
    score_group(s, group);
    int32_t status =
        mc_assignment(s->context, s->score, group->size, group->size, true, s->step, NULL, NULL);
    if (status < 0) {
        return status;
    }
    double before = product_of(s, group);
    permute_group(s, group);
    double grown = product_of(s, group) - before;
    *gain = 0.0;
    if (grown > GAIN * fabs(before)) {
        *gain = grown;
        for (int64_t i = 0; i < group->size; i++) {
            s->composed[i] = p[s->step[i]];
        }
        memcpy(p, s->composed, (size_t)group->size * sizeof *p);
    } else {
        invert_step(s, group->size);
        permute_group(s, group);
    }
    return MODECONN_OK;
}

static double whole_product(const search *s)
{
    double sum = 0.0;
    for (int64_t i = 0; i < s->job->model->n_theta; i++) {
        sum += (double)s->job->target->theta[i] * (double)s->theta[i];
    }
    return sum;
}

/* From the identity, groups in the order of (seed, restart, sweep), until a round gains nothing. */
static int32_t run_restart(search *s, uint64_t seed, int64_t restart, int64_t sweeps)
{
    modeconn_alignment *alignment = s->job->alignment;
    bool gained = true;
    int32_t status = MODECONN_OK;
    memcpy(s->theta, s->job->model->theta, (size_t)s->job->model->n_theta * sizeof(float));
    for (int64_t g = 0; g < s->symmetry->n_groups; g++) {
        for (int64_t i = 0; i < s->symmetry->groups[g].size; i++) {
            alignment->permutation[alignment->offset[g] + i] = i;
        }
    }
    for (int64_t sweep = 0; sweep < sweeps && gained && status == MODECONN_OK; sweep++) {
        gained = false;
        mc_random_permutation(seed, MC_STREAM_ALIGN_ORDER, (uint64_t)(restart * sweeps + sweep),
                              s->symmetry->n_groups, s->order);
        for (int64_t k = 0; k < s->symmetry->n_groups && status == MODECONN_OK; k++) {
            double gain = 0.0;
            status = improve_group(s, s->order[k], &gain);
            gained = gained || gain > 0.0;
        }
        if (status == MODECONN_OK) {
            status = mc_progress_step(&s->job->progress, restart, NAN, NAN, NAN);
        }
    }
    return status;
}

static int32_t describe(const search *s, int64_t restarts, uint64_t seed, double product)
{
    char text[160];
    mc_format(text, sizeof text, "restarts=%lld,seed=%llu,product=%.9g", (long long)restarts,
              (unsigned long long)seed, product);
    mc_free(s->context, s->job->alignment->settings);
    s->job->alignment->settings = mc_strdup(s->context, text);
    return s->job->alignment->settings == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
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
        double product = status == MODECONN_OK ? whole_product(&s) : best;
        if (status == MODECONN_OK && product > best) {
            best = product;
            memcpy(s.best, alignment->permutation, bytes);
        }
    }
    if (status == MODECONN_OK) {
        memcpy(alignment->permutation, s.best, bytes);
        status = describe(&s, restarts, seed, best);
    }
    free_search(&s);
    return status;
}
