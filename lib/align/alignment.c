/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Alignments: permutations of a model's groups, applying them to parameters and running statistics,
 * and the check that the permuted model computes what it did.
 */
#include "align/align.h"
#include <math.h>
#include <string.h>

/* Largest relative L2 distance of the logits, and images of the check: normal noise. */
#define TOLERANCE 1e-5
enum { CHECK_IMAGES = 8 };

/* ---- life ------------------------------------------------------------------------------------ */

void modeconn_alignment_destroy(modeconn_alignment *alignment)
{
    if (alignment == NULL) {
        return;
    }
    modeconn_context *context = alignment->context;
    mc_symmetry_free(alignment->symmetry);
    mc_free(context, alignment->settings);
    mc_free(context, alignment->data);
    mc_free(context, alignment->permutation);
    mc_free(context, alignment->offset);
    mc_free(context, alignment->similarity);
    mc_free(context, alignment);
    mc_context_drop(context);
}

static int32_t fill_identity(modeconn_alignment *made)
{
    const mc_symmetry *symmetry = made->symmetry;
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        made->units += symmetry->groups[g].size;
    }
    made->permutation = mc_alloc(made->context, made->units, sizeof *made->permutation);
    made->offset = mc_alloc(made->context, symmetry->n_groups, sizeof *made->offset);
    made->similarity = mc_alloc(made->context, symmetry->n_groups, sizeof *made->similarity);
    if (made->permutation == NULL || made->offset == NULL || made->similarity == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t g = 0, at = 0; g < symmetry->n_groups; at += symmetry->groups[g++].size) {
        made->offset[g] = at;
        made->similarity[g] = NAN;
    }
    mc_alignment_reset(made);
    return MODECONN_OK;
}

void mc_alignment_reset(modeconn_alignment *alignment)
{
    for (int64_t g = 0; g < alignment->symmetry->n_groups; g++) {
        for (int64_t i = 0; i < alignment->symmetry->groups[g].size; i++) {
            alignment->permutation[alignment->offset[g] + i] = i;
        }
    }
}

int32_t mc_alignment_create(const modeconn_model *model, const char *method,
                            modeconn_alignment **out)
{
    *out = NULL;
    modeconn_alignment *made = mc_calloc(model->context, 1, sizeof *made);
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(model->context);
    made->method = method;
    made->settings = mc_strdup(made->context, "");
    int32_t status =
        made->settings == NULL ? MODECONN_ERROR_MEMORY : mc_symmetry_create(model, &made->symmetry);
    if (status == MODECONN_OK) {
        status = fill_identity(made);
    }
    if (status < 0) {
        modeconn_alignment_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

static int32_t check_units(const mc_symmetry_group *group, const int64_t *p, bool *seen)
{
    memset(seen, 0, (size_t)group->size * sizeof *seen);
    for (int64_t i = 0; i < group->size; i++) {
        if (p[i] < 0 || p[i] >= group->size || seen[p[i]]) {
            return mc_fail(
                MODECONN_ERROR_ARGUMENT, "group %s of %lld units: place %lld has unit %lld, %s",
                group->name, (long long)group->size, (long long)i, (long long)p[i],
                p[i] < 0 || p[i] >= group->size ? "which it does not have" : "as an earlier place");
        }
        seen[p[i]] = true;
    }
    return MODECONN_OK;
}

/* Units of a bundle stay together, and bundles stand as those of the group that gives the order. */
static int32_t check_bundles(const modeconn_alignment *alignment, const mc_symmetry_group *group,
                             const int64_t *p)
{
    int64_t size = group->size / group->bundles;
    const int64_t *first = NULL;
    int64_t first_size = 1;
    if (group->order >= 0) {
        first = alignment->permutation + alignment->offset[group->order];
        first_size = alignment->symmetry->groups[group->order].size / group->bundles;
    }
    for (int64_t i = 0; i < group->size; i++) {
        int64_t bundle = i / size;
        int64_t from = first != NULL ? first[bundle * first_size] / first_size : bundle;
        if (p[i] / size != from) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "group %s of %lld bundles: place %lld of bundle %lld has unit %lld, but "
                           "bundle %lld belongs there",
                           group->name, (long long)group->bundles, (long long)i, (long long)bundle,
                           (long long)p[i], (long long)from);
        }
    }
    return MODECONN_OK;
}

int32_t mc_alignment_check(const modeconn_alignment *alignment)
{
    const mc_symmetry *symmetry = alignment->symmetry;
    bool *seen = mc_alloc(alignment->context, alignment->units, sizeof *seen);
    int32_t status = seen == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t g = 0; g < symmetry->n_groups && status == MODECONN_OK; g++) {
        const mc_symmetry_group *group = &symmetry->groups[g];
        const int64_t *p = alignment->permutation + alignment->offset[g];
        status = check_units(group, p, seen);
        if (status == MODECONN_OK && group->bundles > 1) {
            status = check_bundles(alignment, group, p);
        }
    }
    mc_free(alignment->context, seen);
    return status;
}

int32_t modeconn_alignment_from_permutations(const modeconn_model *model,
                                             const int64_t *permutations, int64_t count,
                                             modeconn_alignment **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL || permutations == NULL) {
        return mc_null(model == NULL ? "model" : "permutations");
    }
    modeconn_alignment *made = NULL;
    modeconn_model *permuted = NULL;
    int32_t status = mc_alignment_create(model, "given", &made);
    if (status == MODECONN_OK && count != made->units) {
        status =
            mc_fail(MODECONN_ERROR_SHAPE, "%lld numbers given, the groups of %s have %lld units",
                    (long long)count, model->architecture, (long long)made->units);
    }
    if (status == MODECONN_OK) {
        memcpy(made->permutation, permutations, (size_t)count * sizeof *permutations);
        status = mc_alignment_check(made);
    }
    if (status == MODECONN_OK) {
        status = modeconn_alignment_apply(made, model, &permuted);
    }
    modeconn_model_destroy(permuted);
    if (status < 0) {
        modeconn_alignment_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

/* ---- applying -------------------------------------------------------------------------------- */

/* One member of a group of `size` units: place i of what is there `from` comes from place
 * permutation[i], within its bundle where it has one. */
static void permute_member(const float *from, float *to, const int64_t *permutation, int64_t size,
                           const mc_symmetry_member *member)
{
    int64_t units = size / member->bundles, inner = member->inner;
    for (int64_t row = 0; row < member->bundles * member->outer; row++) {
        const int64_t *p = permutation + row / member->outer * units;
        for (int64_t i = 0; i < units; i++) {
            memcpy(to + (row * units + i) * inner, from + (row * units + p[i] % units) * inner,
                   (size_t)inner * sizeof *to);
        }
    }
}

int64_t mc_largest_block(const modeconn_model *model)
{
    int64_t largest = 0;
    for (int64_t i = 0; i < model->n_blocks_theta + model->n_blocks_stats; i++) {
        largest = model->blocks[i].size > largest ? model->blocks[i].size : largest;
    }
    return largest;
}

void mc_permute_groups(const modeconn_alignment *alignment, const modeconn_model *model,
                       const int64_t *groups, int64_t n, const int64_t *permutation, float *theta,
                       float *statistics, float *old)
{
    /* Bundles first come to their places, with the outputs that they belong to. */
    for (int within = 0; within < 2; within++) {
        for (int64_t at = 0; at < n; at++) {
            int64_t g = groups != NULL ? groups[at] : at;
            const mc_symmetry_group *group = &alignment->symmetry->groups[g];
            for (int64_t k = 0; k < group->n_members; k++) {
                const mc_symmetry_member *member = &group->members[k];
                const mc_block *block = &model->blocks[member->block];
                float *values = member->block < model->n_blocks_theta ? theta : statistics;
                if (values != NULL && (member->bundles > 1) == (within == 1)) {
                    memcpy(old, values + block->offset, (size_t)block->size * sizeof *old);
                    permute_member(old, values + block->offset, permutation + alignment->offset[g],
                                   group->size, member);
                }
            }
        }
    }
}

int32_t mc_alignment_permute(const modeconn_alignment *alignment, const modeconn_model *model,
                             float *theta, float *statistics)
{
    float *old = mc_alloc(alignment->context, mc_largest_block(model), sizeof *old);
    if (old == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_permute_groups(alignment, model, NULL, alignment->symmetry->n_groups, alignment->permutation,
                      theta, statistics, old);
    mc_free(alignment->context, old);
    return MODECONN_OK;
}

static int32_t compare_logits(const float *a, const float *b, int64_t n)
{
    double apart = 0.0, norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        apart += d * d;
        norm += (double)a[i] * (double)a[i];
    }
    if (!(sqrt(apart) <= TOLERANCE * sqrt(norm))) {
        return mc_fail(MODECONN_ERROR_NUMERIC,
                       "the permuted model's logits are off by %.3g of %.3g, more than rounding",
                       sqrt(apart), sqrt(norm));
    }
    return MODECONN_OK;
}

/* MODECONN_ERROR_NUMERIC unless both models give the same logits on noise. */
static int32_t check_equal(const modeconn_model *a, const modeconn_model *b)
{
    int64_t values = CHECK_IMAGES * a->channels * a->height * a->width;
    int64_t n = CHECK_IMAGES * a->classes;
    float *x = mc_alloc(a->context, values, sizeof *x);
    float *logits = mc_alloc(a->context, 2 * n, sizeof *logits);
    modeconn_model *copy = NULL; /* a cached session stays out of the caller's model */
    int32_t status = x == NULL || logits == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t i = 0; status == MODECONN_OK && i < values; i++) {
        x[i] = (float)mc_random_normal(0, MC_STREAM_ALIGN_CHECK, (uint64_t)i, 0);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_clone(a, &copy);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_logits(copy, x, CHECK_IMAGES, logits);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_logits(b, x, CHECK_IMAGES, logits + n);
    }
    if (status == MODECONN_OK) {
        status = compare_logits(logits, logits + n, n);
    }
    modeconn_model_destroy(copy);
    mc_free(a->context, x);
    mc_free(a->context, logits);
    return status;
}

/* Whether the model's groups are those of the alignment, block by block. */
static int32_t check_groups(const modeconn_alignment *alignment, const modeconn_model *model)
{
    mc_symmetry *other = NULL;
    int32_t status = mc_symmetry_create(model, &other);
    const mc_symmetry *mine = alignment->symmetry;
    if (status < 0) {
        return status;
    }
    bool same = other->n_groups == mine->n_groups;
    for (int64_t g = 0; same && g < mine->n_groups; g++) {
        const mc_symmetry_group *a = &mine->groups[g], *b = &other->groups[g];
        same = a->size == b->size && a->bundles == b->bundles && a->order == b->order &&
               a->n_members == b->n_members &&
               memcmp(a->members, b->members, (size_t)a->n_members * sizeof *a->members) == 0;
    }
    mc_symmetry_free(other);
    return same ? MODECONN_OK
                : mc_fail(MODECONN_ERROR_SHAPE,
                          "the alignment was made for another shape than this %s",
                          model->architecture);
}

int32_t modeconn_alignment_apply(const modeconn_alignment *alignment, const modeconn_model *model,
                                 modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (alignment == NULL || model == NULL) {
        return mc_null(alignment == NULL ? "alignment" : "model");
    }
    modeconn_model *made = NULL;
    int32_t status = check_groups(alignment, model);
    if (status == MODECONN_OK) {
        status = modeconn_model_clone(model, &made);
    }
    if (status == MODECONN_OK) {
        status = mc_alignment_permute(alignment, made, made->theta, made->statistics);
    }
    if (status == MODECONN_OK) {
        status = check_equal(model, made);
    }
    if (status < 0) {
        modeconn_model_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

/* ---- asking ---------------------------------------------------------------------------------- */

int32_t modeconn_alignment_size(const modeconn_alignment *alignment, int64_t *groups,
                                int64_t *units)
{
    if (alignment == NULL) {
        return mc_null("alignment");
    }
    if (groups != NULL) {
        *groups = alignment->symmetry->n_groups;
    }
    if (units != NULL) {
        *units = alignment->units;
    }
    return MODECONN_OK;
}

static int32_t check_index(const modeconn_alignment *alignment, int64_t index)
{
    if (index < 0 || index >= alignment->symmetry->n_groups) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "group index %lld: there are %lld groups",
                       (long long)index, (long long)alignment->symmetry->n_groups);
    }
    return MODECONN_OK;
}

int32_t modeconn_alignment_group(const modeconn_alignment *alignment, int64_t index,
                                 const char **name, int64_t *size, int64_t *moved,
                                 double *similarity)
{
    if (alignment == NULL) {
        return mc_null("alignment");
    }
    int32_t status = check_index(alignment, index);
    if (status < 0) {
        return status;
    }
    const mc_symmetry_group *group = &alignment->symmetry->groups[index];
    if (name != NULL) {
        *name = group->name;
    }
    if (size != NULL) {
        *size = group->size;
    }
    if (similarity != NULL) {
        *similarity = alignment->similarity[index];
    }
    if (moved != NULL) {
        *moved = 0;
        for (int64_t i = 0; i < group->size; i++) {
            *moved += alignment->permutation[alignment->offset[index] + i] != i;
        }
    }
    return MODECONN_OK;
}

int32_t modeconn_alignment_permutation(const modeconn_alignment *alignment, int64_t index,
                                       int64_t *permutation, int64_t capacity)
{
    if (alignment == NULL || permutation == NULL) {
        return mc_null(alignment == NULL ? "alignment" : "permutation");
    }
    int32_t status = check_index(alignment, index);
    if (status < 0) {
        return status;
    }
    const mc_symmetry_group *group = &alignment->symmetry->groups[index];
    if (capacity < group->size) {
        return mc_fail(MODECONN_ERROR_BUFFER, "capacity is %lld, group %s has %lld units",
                       (long long)capacity, group->name, (long long)group->size);
    }
    memcpy(permutation, alignment->permutation + alignment->offset[index],
           (size_t)group->size * sizeof *permutation);
    return MODECONN_OK;
}
