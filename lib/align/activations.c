/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Activation matching: one pass of both models over the samples, eval mode, all groups at once
 * (permuting earlier layers only permutes later activations, so nothing has to be run again). The
 * first model's units of a batch are kept, centred, until the second model has seen it; then each
 * group's products are one matrix product, added to the moments.
 */
#include "align/align.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct matching {
    mc_align_job *job;
    modeconn_context *context;
    const mc_symmetry *symmetry;
    mc_moments *moments; /* [groups] */
    mc_centred *first;   /* [groups]: of the target, this batch */
    mc_centred *second;  /* [groups]: of the model */
    mc_tied *tied;       /* [groups] */
    /* Of the family that is being matched: */
    int64_t *family;     /* [groups] */
    mc_bundled *bundled; /* [groups] */
    double *similarity;
    mc_session *session[2];
    mc_batch_buffer buffer;
    int64_t begin, end, batch_size;
    const char *not_finite; /* group with activations that are no numbers */
} matching;

static void close_matching(matching *m)
{
    for (int64_t g = 0; g < m->symmetry->n_groups; g++) {
        if (m->moments != NULL && m->moments[g].context != NULL) {
            mc_moments_free(&m->moments[g]);
        }
        if (m->first != NULL) {
            mc_centred_free(&m->first[g], m->context);
        }
        if (m->second != NULL) {
            mc_centred_free(&m->second[g], m->context);
        }
        if (m->tied != NULL) {
            mc_tied_free(&m->tied[g], m->context);
        }
    }
    mc_free(m->context, m->moments);
    mc_free(m->context, m->first);
    mc_free(m->context, m->second);
    mc_free(m->context, m->tied);
    mc_free(m->context, m->family);
    mc_free(m->context, m->bundled);
    mc_free(m->context, m->similarity);
    m->job->target->ops->session_destroy(m->session[0]);
    m->job->model->ops->session_destroy(m->session[1]);
    if (m->buffer.context != NULL) {
        mc_batch_buffer_free(&m->buffer);
    }
}

/* The samples that decide: all, or of the reference's way the last batch of them. */
static void choose_samples(matching *m)
{
    const modeconn_options *options = m->job->options;
    int64_t n = mc_option_i64(options, &mc_kind_align, "samples");
    n = n == 0 || n > m->job->data->n ? m->job->data->n : n;
    m->batch_size = mc_option_i64(options, &mc_kind_align, "batch_size");
    m->batch_size = m->batch_size < n ? m->batch_size : n;
    m->end = n;
    if (mc_option_i64(options, &mc_kind_align, "reference")) {
        m->begin = (n - 1) / m->batch_size * m->batch_size;
    }
}

static int32_t open_sessions(matching *m)
{
    const modeconn_model *models[2] = {m->job->target, m->job->model};
    int32_t status = mc_batch_buffer_init(&m->buffer, m->job->data, m->batch_size);
    for (int k = 0; k < 2 && status == MODECONN_OK; k++) {
        status = models[k]->ops->session_create(models[k], m->batch_size, 1, false, &m->session[k]);
        if (status == MODECONN_OK) {
            status = models[k]->ops->bind(m->session[k], models[k]->theta, models[k]->statistics);
        }
    }
    return status;
}

static int32_t open_matching(matching *m, mc_align_job *job)
{
    *m = (matching){.job = job, .context = job->alignment->context};
    m->symmetry = job->alignment->symmetry;
    int64_t groups = m->symmetry->n_groups;
    choose_samples(m);
    m->moments = mc_calloc(m->context, groups, sizeof *m->moments);
    m->first = mc_calloc(m->context, groups, sizeof *m->first);
    m->second = mc_calloc(m->context, groups, sizeof *m->second);
    m->tied = mc_calloc(m->context, groups, sizeof *m->tied);
    int32_t status = m->moments == NULL || m->first == NULL || m->second == NULL || m->tied == NULL
                         ? MODECONN_ERROR_MEMORY
                         : MODECONN_OK;
    for (int64_t g = 0; g < groups && status == MODECONN_OK; g++) {
        const mc_symmetry_group *group = &m->symmetry->groups[g];
        int64_t rows;
        if (!mc_mul(m->batch_size, group->positions, &rows)) {
            return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: a batch of %lld samples",
                           (long long)m->batch_size);
        }
        status = mc_moments_init(&m->moments[g], m->context, group->size);
        if (status == MODECONN_OK) {
            status = mc_centred_init(&m->first[g], m->context, rows, group->size);
        }
        if (status == MODECONN_OK) {
            status = mc_centred_init(&m->second[g], m->context, rows, group->size);
        }
    }
    return status == MODECONN_OK ? open_sessions(m) : status;
}

static int64_t group_of_node(const matching *m, int32_t node)
{
    int64_t g = 0;
    while (g < m->symmetry->n_groups && m->symmetry->groups[g].node != node) {
        g++;
    }
    return g;
}

/* Takes what a group's units show, and remembers whether all of it are numbers. */
static void take(matching *m, mc_centred *to, int64_t g, const float *values, int64_t rows)
{
    mc_centred_take(to, m->context, values, rows);
    if (!mc_centred_is_finite(to)) {
        m->not_finite = m->symmetry->groups[g].name;
    }
}

static void visit_first(void *user, int32_t node, const float *values, int64_t rows,
                        int64_t channels)
{
    (void)channels;
    matching *m = user;
    int64_t g = group_of_node(m, node);
    if (g < m->symmetry->n_groups) {
        take(m, &m->first[g], g, values, rows);
    }
}

static void visit_second(void *user, int32_t node, const float *values, int64_t rows,
                         int64_t channels)
{
    (void)channels;
    matching *m = user;
    int64_t g = group_of_node(m, node);
    if (g < m->symmetry->n_groups) {
        take(m, &m->second[g], g, values, rows);
        mc_moments_add(&m->moments[g], &m->first[g], &m->second[g]);
    }
}

static int32_t pass_samples(matching *m)
{
    mc_align_job *job = m->job;
    int64_t batches = (m->end - m->begin + m->batch_size - 1) / m->batch_size;
    int32_t status = MODECONN_OK;
    job->progress.total = batches;
    for (int64_t done = m->begin; done < m->end && status == MODECONN_OK;) {
        int64_t left = m->end - done;
        mc_batch batch = {m->buffer.x, m->buffer.y, left < m->batch_size ? left : m->batch_size};
        status = mc_dataset_gather(job->data, NULL, done, batch.n, m->buffer.x, m->buffer.y);
        if (status == MODECONN_OK) {
            status = job->target->ops->activations(m->session[0], MC_NORM_RUNNING, &batch,
                                                   visit_first, m);
        }
        if (status == MODECONN_OK) {
            status = job->model->ops->activations(m->session[1], MC_NORM_RUNNING, &batch,
                                                  visit_second, m);
        }
        if (status == MODECONN_OK && m->not_finite != NULL) {
            status =
                mc_fail(MODECONN_ERROR_NUMERIC, "activations of %s are not finite", m->not_finite);
        }
        if (status == MODECONN_OK) {
            status = mc_progress_step(&job->progress, 0, NAN, NAN, NAN);
        }
        done += batch.n;
    }
    return status;
}

/* The n groups m->family: their similarities, and m->bundled to assign them by. */
static int32_t prepare_family(matching *m, int64_t n, mc_similarity kind)
{
    modeconn_alignment *alignment = m->job->alignment;
    double *similarity = m->similarity;
    for (int64_t k = 0; k < n; k++) {
        int64_t g = m->family[k], size = m->symmetry->groups[g].size;
        mc_moments_similarity(&m->moments[g], kind, similarity);
        m->bundled[k] = (mc_bundled){.score = similarity,
                                     .size = size,
                                     .column = alignment->permutation + alignment->offset[g],
                                     .tight = mc_alloc(m->context, size * size, sizeof(bool))};
        similarity += size * size;
        if (m->bundled[k].tight == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
    }
    return MODECONN_OK;
}

/* The family whose first group is g. */
static int32_t match_family(matching *m, int64_t g, mc_similarity kind)
{
    const mc_symmetry_group *group = &m->symmetry->groups[g];
    bool stay = group->order < 0;
    int64_t n = mc_family_of(m->symmetry, g, m->family);
    memset(m->bundled, 0, (size_t)n * sizeof *m->bundled);
    int32_t status = prepare_family(m, n, kind);
    if (status == MODECONN_OK) {
        status = mc_assign_bundles(m->context, m->bundled, n, group->bundles, stay);
        status = status < 0 ? mc_fail_prefix(status, "activations of %s", group->name) : status;
    }
    if (status == MODECONN_OK) {
        status = mc_tied_find(m->context, m->bundled, m->family, n, !stay, m->tied);
    }
    for (int64_t k = 0; k < n; k++) {
        mc_free(m->context, m->bundled[k].tight);
    }
    return status;
}

static int32_t match_families(matching *m, mc_similarity kind)
{
    int32_t status = MODECONN_OK;
    for (int64_t g = 0; g < m->symmetry->n_groups && status == MODECONN_OK; g++) {
        int64_t order = m->symmetry->groups[g].order;
        if (order < 0 || order == g) {
            status = match_family(m, g, kind);
        }
    }
    return status;
}

/* Room for the similarities of the largest family. */
static int32_t allocate_families(matching *m)
{
    int64_t groups = m->symmetry->n_groups;
    m->family = mc_alloc(m->context, groups, sizeof *m->family);
    m->bundled = mc_calloc(m->context, groups, sizeof *m->bundled);
    if (m->family == NULL || m->bundled == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    m->similarity =
        mc_alloc(m->context, mc_family_scores(m->symmetry, m->family), sizeof *m->similarity);
    return m->similarity == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

static int32_t match_groups(matching *m, mc_similarity kind)
{
    modeconn_alignment *made = m->job->alignment;
    int32_t status = allocate_families(m);
    if (status == MODECONN_OK) {
        status = match_families(m, kind);
    }
    if (status == MODECONN_OK) {
        status = mc_tied_match(m->job, m->tied);
    }
    for (int64_t g = 0; g < m->symmetry->n_groups && status == MODECONN_OK; g++) {
        made->similarity[g] =
            mc_moments_mean(&m->moments[g], kind, made->permutation + made->offset[g]);
    }
    return status;
}

static int32_t describe(const matching *m, const char *similarity)
{
    char text[128];
    snprintf(text, sizeof text, "similarity=%s,batch_size=%lld,reference=%d", similarity,
             (long long)m->batch_size,
             (int)mc_option_i64(m->job->options, &mc_kind_align, "reference"));
    modeconn_alignment *alignment = m->job->alignment;
    mc_free(m->context, alignment->settings);
    alignment->settings = mc_strdup(m->context, text);
    alignment->samples = m->end - m->begin;
    return alignment->settings == NULL
               ? MODECONN_ERROR_MEMORY
               : mc_dataset_describe(m->job->data, m->context, &alignment->data);
}

static const struct {
    const char *name;
    mc_similarity kind;
} similarities[] = {
    {"correlation", MC_SIMILARITY_CORRELATION},
    {"covariance", MC_SIMILARITY_COVARIANCE},
    {"cosine", MC_SIMILARITY_COSINE},
};
enum { SIMILARITIES = sizeof similarities / sizeof similarities[0] };

static mc_similarity kind_of(const char *name)
{
    int i = 0;
    while (i < SIMILARITIES - 1 && strcmp(similarities[i].name, name) != 0) {
        i++;
    }
    return similarities[i].kind;
}

int32_t mc_align_activations(mc_align_job *job)
{
    const char *similarity = mc_option_str(job->options, &mc_kind_align, "similarity");
    matching m;
    int32_t status = MODECONN_OK;
    if (job->target->ops->activations == NULL || job->model->ops->activations == NULL) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "%s does not show its activations",
                       job->model->architecture);
    }
    status = open_matching(&m, job);
    if (status == MODECONN_OK) {
        status = pass_samples(&m);
    }
    if (status == MODECONN_OK) {
        status = match_groups(&m, kind_of(similarity));
    }
    if (status == MODECONN_OK) {
        status = describe(&m, similarity);
    }
    close_matching(&m);
    return status;
}
