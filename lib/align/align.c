/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn_align(): finds the method, lets it fill in the permutations, checks them; and the public
 * view of a model's symmetry groups.
 */
#include "align/align.h"
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_STR("method", "activations|weights", "activations", "what units are matched by"),
    MC_OPT_STR("similarity", "correlation|covariance|cosine", "correlation",
               "of two units' activations"),
    MC_OPT_I64("samples", 0, 9007199254740992.0, "0", "samples to match on, the first; 0 = all"),
    MC_OPT_I64("batch_size", 1, 1048576, "128", "samples per batch"),
    MC_OPT_BOOL("reference", "0", "1: the last batch alone decides, as in the paper's code"),
    MC_OPT_I64("restarts", 1, 1000, "1", "orders that weight matching tries"),
    MC_OPT_I64("sweeps", 1, 100000, "100", "most rounds over the groups, matching weights"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1", "of the orders; -1 = the context's"),
};
const mc_option_kind mc_kind_align = MC_OPTION_KIND("align", specs);

static const mc_align_method methods[] = {
    {"activations", true, mc_align_activations},
    {"weights", false, mc_align_weights},
};
enum { METHODS = sizeof methods / sizeof methods[0] };

static const mc_align_method *find_method(const char *name)
{
    int i = 0;
    while (i < METHODS - 1 && strcmp(methods[i].name, name) != 0) {
        i++;
    }
    return &methods[i];
}

static int32_t check_inputs(const mc_align_job *job, const mc_align_method *method)
{
    const modeconn_model *const models[2] = {job->target, job->model};
    static const char *const names[2] = {"target", "model"};
    int32_t status = mc_model_same_shape(job->target, job->model);
    for (int i = 0; i < 2 && status == MODECONN_OK; i++) {
        status = mc_model_check_finite(models[i], models[i]->theta, models[i]->statistics);
        status = status < 0 ? mc_fail_prefix(status, "%s", names[i]) : status;
    }
    if (status == MODECONN_OK && method->needs_data && job->data == NULL) {
        status = mc_fail(MODECONN_ERROR_ARGUMENT, "data is NULL, but method \"%s\" needs samples",
                         method->name);
    }
    if (status == MODECONN_OK && method->needs_data) {
        status = mc_check_fit(job->model, job->data);
    }
    return status;
}

int32_t modeconn_align(const modeconn_model *target, const modeconn_model *model,
                       const modeconn_dataset *data, const modeconn_options *options,
                       modeconn_progress_fn progress, void *user, modeconn_alignment **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (target == NULL || model == NULL) {
        return mc_null(target == NULL ? "target" : "model");
    }
    int32_t status = mc_options_check(options, &mc_kind_align);
    if (status < 0) {
        return status;
    }
    const mc_align_method *method = find_method(mc_option_str(options, &mc_kind_align, "method"));
    mc_align_job job = {.target = target, .model = model, .data = data, .options = options};
    modeconn_model *permuted = NULL;
    status = check_inputs(&job, method);
    if (status == MODECONN_OK) {
        status = mc_alignment_create(model, method->name, &job.alignment);
    }
    if (status == MODECONN_OK) {
        mc_progress_init(&job.progress, progress, user, 0);
        status = method->run(&job);
    }
    if (status == MODECONN_OK) {
        status = modeconn_alignment_apply(job.alignment, model, &permuted);
    }
    modeconn_model_destroy(permuted);
    if (status < 0) {
        modeconn_alignment_destroy(job.alignment);
        return status;
    }
    *out = job.alignment;
    return MODECONN_OK;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The public handle is the internal list. */
static const mc_symmetry *groups_of(const modeconn_symmetry *symmetry)
{
    return (const mc_symmetry *)(const void *)symmetry;
}

int32_t modeconn_symmetry_create(const modeconn_model *model, modeconn_symmetry **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL) {
        return mc_null("model");
    }
    mc_symmetry *made = NULL;
    int32_t status = mc_symmetry_create(model, &made);
    *out = (modeconn_symmetry *)(void *)made;
    return status;
}

void modeconn_symmetry_destroy(modeconn_symmetry *symmetry)
{
    mc_symmetry_free((mc_symmetry *)(void *)symmetry);
}

int32_t modeconn_symmetry_size(const modeconn_symmetry *symmetry, int64_t *groups)
{
    if (symmetry == NULL || groups == NULL) {
        return mc_null(symmetry == NULL ? "symmetry" : "groups");
    }
    *groups = groups_of(symmetry)->n_groups;
    return MODECONN_OK;
}

static int32_t find_group(const modeconn_symmetry *symmetry, int64_t index,
                          const mc_symmetry_group **group)
{
    if (symmetry == NULL) {
        return mc_null("symmetry");
    }
    const mc_symmetry *groups = groups_of(symmetry);
    if (index < 0 || index >= groups->n_groups) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "group index %lld: there are %lld groups",
                       (long long)index, (long long)groups->n_groups);
    }
    *group = &groups->groups[index];
    return MODECONN_OK;
}

int32_t modeconn_symmetry_group(const modeconn_symmetry *symmetry, int64_t index, const char **name,
                                int64_t *size, int64_t *members)
{
    const mc_symmetry_group *group = NULL;
    int32_t status = find_group(symmetry, index, &group);
    if (status < 0) {
        return status;
    }
    if (name != NULL) {
        *name = group->name;
    }
    if (size != NULL) {
        *size = group->size;
    }
    if (members != NULL) {
        *members = group->n_members;
    }
    return MODECONN_OK;
}

int32_t modeconn_symmetry_bundles(const modeconn_symmetry *symmetry, int64_t index,
                                  int64_t *bundles, int64_t *order)
{
    const mc_symmetry_group *group = NULL;
    int32_t status = find_group(symmetry, index, &group);
    if (status < 0) {
        return status;
    }
    if (bundles != NULL) {
        *bundles = group->bundles;
    }
    if (order != NULL) {
        *order = group->order;
    }
    return MODECONN_OK;
}

static int32_t find_member(const modeconn_symmetry *symmetry, int64_t index, int64_t member,
                           const mc_symmetry_member **out)
{
    const mc_symmetry_group *group = NULL;
    int32_t status = find_group(symmetry, index, &group);
    if (status < 0) {
        return status;
    }
    if (member < 0 || member >= group->n_members) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "member index %lld: group %s has %lld members",
                       (long long)member, group->name, (long long)group->n_members);
    }
    *out = &group->members[member];
    return MODECONN_OK;
}

int32_t modeconn_symmetry_member(const modeconn_symmetry *symmetry, int64_t index, int64_t member,
                                 int64_t *block, int64_t *outer, int64_t *inner)
{
    const mc_symmetry_member *found = NULL;
    int32_t status = find_member(symmetry, index, member, &found);
    if (status < 0) {
        return status;
    }
    if (block != NULL) {
        *block = found->block;
    }
    if (outer != NULL) {
        *outer = found->outer;
    }
    if (inner != NULL) {
        *inner = found->inner;
    }
    return MODECONN_OK;
}

int32_t modeconn_symmetry_member_bundles(const modeconn_symmetry *symmetry, int64_t index,
                                         int64_t member, int64_t *bundles)
{
    const mc_symmetry_member *found = NULL;
    if (bundles == NULL) {
        return mc_null("bundles");
    }
    int32_t status = find_member(symmetry, index, member, &found);
    if (status == MODECONN_OK) {
        *bundles = found->bundles;
    }
    return status;
}
