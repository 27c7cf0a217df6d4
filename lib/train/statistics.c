/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Batch-norm statistics at a point of parameter space (measure.h of the API, docs/measurements.md).
 * A policy is one row of mc_policies; the pooled arithmetic (law of total variance over batches
 * weighted by their counts) is the session's. Vectors of statistics are [n_stats]: running means
 * and unbiased running variances.
 */
#include "train/train.h"
#include <string.h>

/* One point to treat. */
typedef struct point {
    const mc_statistics_plan *plan;
    const modeconn_model *model;
    mc_session *session;
    const float *theta, *keep, *mixed;
    mc_tick_fn tick;
    void *user;
} point;

typedef struct mc_policy {
    const char *name;
    bool needs_data;
    /* Binds the session and tells the mode. */
    int32_t (*apply)(const point *at, mc_norm_mode *mode);
} mc_policy;

static int32_t tick(const point *at, int64_t samples)
{
    return at->tick != NULL ? at->tick(at->user, samples) : MODECONN_OK;
}

/* Everything that a pass over the plan's data needs beside the session. */
typedef struct pass {
    mc_batch_buffer buffer;
    float *statistics; /* [n_stats] */
    int64_t *order;    /* [n], policy ema */
} pass;

static void pass_free(pass *work)
{
    modeconn_context *context = work->buffer.context;
    mc_free(context, work->statistics);
    mc_free(context, work->order);
    mc_batch_buffer_free(&work->buffer);
}

static int32_t pass_init(pass *work, const point *at)
{
    const mc_statistics_plan *plan = at->plan;
    *work = (pass){0};
    int32_t status = mc_batch_buffer_init(&work->buffer, plan->data, mc_statistics_batch_max(plan));
    if (status < 0) {
        return status;
    }
    work->statistics = mc_alloc(work->buffer.context, at->model->n_stats, sizeof(float));
    work->order = mc_alloc(work->buffer.context, plan->n, sizeof(int64_t));
    if (work->statistics == NULL || work->order == NULL) {
        pass_free(work);
        return MODECONN_ERROR_MEMORY;
    }
    return MODECONN_OK;
}

static int32_t reset_pass(const point *at, pass *work)
{
    const mc_statistics_plan *plan = at->plan;
    const mc_model_ops *ops = at->model->ops;
    int32_t status = ops->bind(at->session, at->theta, NULL);
    if (status == MODECONN_OK) {
        status = ops->statistics_begin(at->session);
    }
    for (int64_t done = 0; status == MODECONN_OK && done < plan->n;) {
        mc_batch batch = {work->buffer.x, work->buffer.y,
                          mc_pass_batch(plan->n, plan->batch_size, done)};
        status = mc_dataset_gather(plan->data, NULL, done, batch.n, work->buffer.x, work->buffer.y);
        if (status == MODECONN_OK) {
            status = ops->statistics_add(at->session, &batch);
        }
        done += batch.n;
        if (status == MODECONN_OK) {
            status = tick(at, done);
        }
    }
    if (status == MODECONN_OK) {
        status = ops->statistics_finish(at->session, work->statistics);
    }
    return status;
}

static int32_t ema_pass(const point *at, pass *work)
{
    const mc_statistics_plan *plan = at->plan;
    const mc_model_ops *ops = at->model->ops;
    int32_t status = ops->bind(at->session, at->theta, NULL);
    memcpy(work->statistics, at->mixed, (size_t)at->model->n_stats * sizeof(float));
    mc_random_permutation(plan->seed, MC_STREAM_EMA, 0, plan->n, work->order);
    for (int64_t done = 0; status == MODECONN_OK && done < plan->n;) {
        mc_batch batch = {work->buffer.x, work->buffer.y,
                          mc_pass_batch(plan->n, plan->batch_size, done)};
        status = mc_dataset_gather(plan->data, work->order + done, 0, batch.n, work->buffer.x,
                                   work->buffer.y);
        if (status == MODECONN_OK) {
            status = ops->statistics_ema(at->session, &batch, work->statistics);
        }
        done += batch.n;
        if (status == MODECONN_OK) {
            status = tick(at, done);
        }
    }
    return status;
}

static int32_t apply_pass(const point *at, int32_t (*run)(const point *, pass *))
{
    pass work;
    int32_t status = pass_init(&work, at);
    if (status < 0) {
        return status;
    }
    status = run(at, &work);
    if (status == MODECONN_OK) {
        status = at->model->ops->bind(at->session, at->theta, work.statistics);
    }
    pass_free(&work);
    return status;
}

static int32_t apply_reset(const point *at, mc_norm_mode *mode)
{
    *mode = MC_NORM_RUNNING;
    return apply_pass(at, reset_pass);
}

static int32_t apply_ema(const point *at, mc_norm_mode *mode)
{
    *mode = MC_NORM_RUNNING;
    return apply_pass(at, ema_pass);
}

static int32_t apply_interpolate(const point *at, mc_norm_mode *mode)
{
    *mode = MC_NORM_RUNNING;
    return at->model->ops->bind(at->session, at->theta, at->mixed);
}

static int32_t apply_batch(const point *at, mc_norm_mode *mode)
{
    *mode = MC_NORM_BATCH;
    return at->model->ops->bind(at->session, at->theta, NULL);
}

static int32_t apply_keep(const point *at, mc_norm_mode *mode)
{
    *mode = MC_NORM_RUNNING;
    return at->model->ops->bind(at->session, at->theta, at->keep);
}

static const mc_policy mc_policies[] = {
    {"reset", true, apply_reset},
    {"ema", true, apply_ema},
    {"interpolate", false, apply_interpolate},
    {"batch", false, apply_batch},
    {"keep", false, apply_keep},
};

static const mc_policy *policy_find(const char *name)
{
    for (size_t i = 0; i < sizeof(mc_policies) / sizeof(mc_policies[0]); i++) {
        if (strcmp(mc_policies[i].name, name) == 0) {
            return &mc_policies[i];
        }
    }
    return NULL;
}

/* The nocue view of `train`, its first n samples. */
static int32_t statistics_data(const modeconn_dataset *train, int64_t n, modeconn_dataset **out)
{
    modeconn_dataset *view = NULL;
    int32_t status = modeconn_dataset_view(train, "nocue", 0, &view);
    if (status == MODECONN_OK) {
        status = mc_dataset_first(view, n, out);
    }
    modeconn_dataset_destroy(view);
    return status;
}

int32_t mc_statistics_plan_init(mc_statistics_plan *plan, const modeconn_model *model,
                                const modeconn_dataset *train, const modeconn_options *options,
                                const mc_option_kind *kind)
{
    const mc_policy *policy = policy_find(mc_option_str(options, kind, "statistics"));
    modeconn_dataset *data = NULL;

    *plan = (mc_statistics_plan){0};
    if (policy == NULL) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "no statistics policy \"%s\"",
                       mc_option_str(options, kind, "statistics"));
    }
    if (model->n_stats == 0 && strcmp(policy->name, "batch") != 0) {
        policy = policy_find("keep");
    }
    if (policy->needs_data) {
        if (train == NULL) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "train is NULL, but statistics \"%s\" pass a training set",
                           policy->name);
        }
        int32_t status = mc_check_fit(model, train);
        if (status < 0) {
            return mc_fail_prefix(status, "statistics set");
        }
        int64_t n = mc_option_i64(options, kind, "bn_samples");
        n = n == 0 || n > train->n ? train->n : n;
        status = statistics_data(train, n, &data);
        if (status < 0) {
            return status;
        }
        plan->n = n;
        plan->batch_size = mc_option_i64(options, kind, "bn_batch_size");
        plan->seed = mc_seed(model->context, mc_option_i64(options, kind, "seed"));
    }
    plan->policy = policy->name;
    plan->data = data;
    return MODECONN_OK;
}

void mc_statistics_plan_free(mc_statistics_plan *plan)
{
    if (plan->data != NULL) {
        modeconn_dataset_destroy((modeconn_dataset *)plan->data); /* the plan's own reference */
    }
    *plan = (mc_statistics_plan){0};
}

int32_t mc_statistics_check(const mc_statistics_plan *plan, const modeconn_model *model, int64_t n,
                            int64_t batch_size)
{
    int64_t least = n % batch_size;
    if (plan->data != NULL) {
        n = plan->n;
        batch_size = plan->batch_size;
        least = mc_pass_batch(n, batch_size, 0);
    } else if (strcmp(plan->policy, "batch") != 0) {
        return MODECONN_OK;
    }
    int32_t status = mc_check_batch(model, least == 0 ? batch_size : least, n, batch_size);
    return status < 0 ? mc_fail_prefix(status, "statistics %s", plan->policy) : status;
}

int64_t mc_statistics_batch_max(const mc_statistics_plan *plan)
{
    return plan->data != NULL ? mc_pass_batch_max(plan->n, plan->batch_size) : 0;
}

int32_t mc_statistics_apply(const mc_statistics_plan *plan, const modeconn_model *model,
                            mc_session *session, const float *theta, const float *keep,
                            const float *mixed, mc_tick_fn tick_fn, void *user, mc_norm_mode *mode)
{
    point at = {plan, model, session, theta, keep, mixed, tick_fn, user};
    return policy_find(plan->policy)->apply(&at, mode);
}
