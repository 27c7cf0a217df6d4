/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What evaluation and curves share: at parameters theta [n_theta], treat the statistics once, then
 * pass every view of the test set. A view's loss is the sum of its per-sample losses [n] in index
 * order over n, its accuracy the share of samples whose arg max is the label.
 */
#include "measure/measure.h"
#include <math.h>
#include <string.h>

const char **mc_names_copy(const modeconn_context *context, const char *const *names, int64_t n)
{
    size_t size = 0;
    for (int64_t i = 0; i < n; i++) {
        size += sizeof(char *) + strlen(names[i]) + 1;
    }
    const char **copy = mc_alloc(context, (int64_t)size, 1);
    if (copy == NULL) {
        return NULL;
    }
    char *text = (char *)(copy + n);
    for (int64_t i = 0; i < n; i++) {
        size_t length = strlen(names[i]) + 1;
        memcpy(text, names[i], length);
        copy[i] = text;
        text += length;
    }
    return copy;
}

/* Batches of one point: of the statistics pass, then of each view. */
static int64_t steps_of_point(const mc_evaluator *evaluator)
{
    const mc_statistics_plan *plan = &evaluator->plan;
    int64_t steps = 0;
    if (plan->data != NULL) {
        for (int64_t done = 0; done < plan->n; steps++) {
            done += mc_pass_batch(plan->n, plan->batch_size, done);
        }
    }
    int64_t batches = (evaluator->n + evaluator->batch_size - 1) / evaluator->batch_size;
    return steps + evaluator->n_views * batches;
}

static int32_t open_views(mc_evaluator *evaluator, const modeconn_dataset *test, const char *list)
{
    int32_t status = mc_views_open(test, list, &evaluator->n_views, &evaluator->views);
    if (status < 0) {
        return status;
    }
    evaluator->names = mc_alloc(evaluator->context, evaluator->n_views, sizeof(*evaluator->names));
    for (int64_t v = 0; evaluator->names != NULL && v < evaluator->n_views; v++) {
        evaluator->names[v] = mc_view_name(evaluator->views[v], evaluator->views[v]->view);
    }
    return evaluator->names == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

int32_t mc_evaluator_open(mc_evaluator *evaluator, const modeconn_model *model,
                          const modeconn_dataset *train, const modeconn_dataset *test,
                          const modeconn_options *options, const mc_option_kind *kind,
                          int64_t points, modeconn_progress_fn progress, void *user)
{
    modeconn_context *context = model->context;
    *evaluator = (mc_evaluator){.context = context, .model = model, .n = test->n};
    evaluator->batch_size = mc_option_i64(options, kind, "batch_size");
    if (evaluator->batch_size > test->n) {
        evaluator->batch_size = test->n;
    }
    int32_t status = mc_check_fit(model, test);
    if (status == MODECONN_OK) {
        status = open_views(evaluator, test, mc_option_str(options, kind, "views"));
    }
    if (status == MODECONN_OK) {
        status = mc_statistics_plan_init(&evaluator->plan, model, train, options, kind);
    }
    if (status == MODECONN_OK) {
        status = mc_statistics_check(&evaluator->plan, evaluator->model, evaluator->n,
                                     evaluator->batch_size);
    }
    if (status == MODECONN_OK) {
        int64_t max = mc_statistics_batch_max(&evaluator->plan);
        max = max > evaluator->batch_size ? max : evaluator->batch_size;
        status = model->ops->session_create(model, max, 1, false, &evaluator->session);
    }
    if (status == MODECONN_OK) {
        evaluator->loss = mc_alloc(context, test->n, sizeof(double));
        evaluator->correct = mc_alloc(context, test->n, 1);
        if (evaluator->loss == NULL || evaluator->correct == NULL) {
            status = MODECONN_ERROR_MEMORY;
        }
    }
    if (status < 0) {
        mc_evaluator_close(evaluator);
        return status;
    }
    evaluator->points = points;
    mc_progress_init(&evaluator->progress, progress, user, points * steps_of_point(evaluator));
    return MODECONN_OK;
}

void mc_evaluator_close(mc_evaluator *evaluator)
{
    if (evaluator->session != NULL) {
        evaluator->model->ops->session_destroy(evaluator->session);
    }
    mc_statistics_plan_free(&evaluator->plan);
    mc_views_close(evaluator->n_views, evaluator->views);
    mc_free(evaluator->context, (void *)evaluator->names);
    mc_free(evaluator->context, evaluator->loss);
    mc_free(evaluator->context, evaluator->correct);
}

int32_t mc_evaluator_tick(void *user, int64_t samples)
{
    mc_evaluator *evaluator = user;
    mc_progress *progress = &evaluator->progress;
    (void)samples;
    /* With this one. */
    int64_t done = (progress->step + 1) / (progress->total / evaluator->points);
    return mc_progress_step(progress, done, NAN, NAN, NAN);
}

int32_t mc_evaluator_measure(mc_evaluator *evaluator, const float *theta, const float *keep,
                             const float *mixed, double *loss, double *accuracy, int64_t stride)
{
    const modeconn_model *model = evaluator->model;
    mc_norm_mode mode = MC_NORM_RUNNING;
    int32_t status = mc_statistics_apply(&evaluator->plan, model, evaluator->session, theta, keep,
                                         mixed, mc_evaluator_tick, evaluator, &mode);
    for (int64_t v = 0; status == MODECONN_OK && v < evaluator->n_views; v++) {
        status = mc_pass_losses(model, evaluator->session, mode, evaluator->views[v],
                                evaluator->batch_size, mc_evaluator_tick, evaluator,
                                evaluator->loss, evaluator->correct);
        if (status < 0) {
            break;
        }
        int64_t hits = 0;
        for (int64_t i = 0; i < evaluator->n; i++) {
            hits += evaluator->correct[i] != 0;
        }
        loss[v * stride] = mc_mean(evaluator->loss, evaluator->n);
        accuracy[v * stride] = (double)hits / (double)evaluator->n;
    }
    return status;
}
