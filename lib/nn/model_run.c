/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Running a model on arrays of the caller: logits, representation, gradient.
 */
#include "nn/nn.h"
#include <string.h>

/* Images of one pass: enough to keep the threads busy, few enough to stay small in memory. */
enum { CHUNK = 256 };

void mc_model_changed(modeconn_model *model)
{
    model->run_bound = false;
}

/* A session for batches of `max` bound to the model as it stands. It stays with the model, because
 * making and binding one costs more than running a few images. */
static int32_t take_session(modeconn_model *model, int64_t max)
{
    int32_t status = MODECONN_OK;
    if (model->run_session == NULL || model->run_max < max) {
        model->ops->session_destroy(model->run_session);
        model->run_bound = false;
        status = model->ops->session_create(model, max, 1, false, &model->run_session);
        model->run_max = max;
    }
    if (status == MODECONN_OK && !model->run_bound) {
        status = model->ops->bind(model->run_session, model->theta, model->statistics);
        model->run_bound = status == MODECONN_OK;
    }
    return status;
}

static int32_t run(const modeconn_model *model, const float *images, int64_t n, float *logits,
                   float *representation)
{
    if (n < 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "n is %lld", (long long)n);
    }
    if (n == 0) {
        return MODECONN_OK;
    }
    if (images == NULL) {
        return mc_null("images");
    }
    /* The session is a cache, no part of the model's value; one thread at a time has the handle. */
    int32_t status = take_session((modeconn_model *)(uintptr_t)model, n < CHUNK ? n : CHUNK);
    int64_t pixels = model->channels * model->height * model->width;
    for (int64_t i = 0; i < n && status == MODECONN_OK; i += CHUNK) {
        mc_batch batch = {images + i * pixels, NULL, n - i < CHUNK ? n - i : CHUNK};
        status = model->ops->outputs(
            model->run_session, MC_NORM_RUNNING, &batch,
            logits != NULL ? logits + i * model->classes : NULL,
            representation != NULL ? representation + i * model->representation_width : NULL);
    }
    return status;
}

int32_t modeconn_model_logits(const modeconn_model *model, const float *images, int64_t n,
                              float *logits)
{
    if (model == NULL || (logits == NULL && n > 0)) {
        return mc_null(model == NULL ? "model" : "logits");
    }
    return run(model, images, n, logits, NULL);
}

int32_t modeconn_model_representation(const modeconn_model *model, const float *images, int64_t n,
                                      float *representation, int64_t *width)
{
    if (model == NULL || (representation == NULL && n > 0)) {
        return mc_null(model == NULL ? "model" : "representation");
    }
    if (model->representation_width == 0) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "the model has no representation");
    }
    int32_t status = run(model, images, n, NULL, representation);
    if (status == MODECONN_OK && width != NULL) {
        *width = model->representation_width;
    }
    return status;
}

static int32_t check_labels(const modeconn_model *model, const int32_t *labels, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (labels[i] < 0 || labels[i] >= model->classes) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "label %d of sample %lld is not in 0 to %lld",
                           labels[i], (long long)i, (long long)model->classes - 1);
        }
    }
    return MODECONN_OK;
}

int32_t modeconn_model_gradient(const modeconn_model *model, const float *images,
                                const int32_t *labels, int64_t n, double *loss, float *gradient)
{
    if (model == NULL || images == NULL || labels == NULL || gradient == NULL) {
        return mc_null(model == NULL    ? "model"
                       : images == NULL ? "images"
                       : labels == NULL ? "labels"
                                        : "gradient");
    }
    if (n < 1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "n is %lld: a gradient needs a sample",
                       (long long)n);
    }
    mc_batch batch = {images, labels, n};
    mc_session *session = NULL;
    double *losses = mc_alloc(model->context, n, sizeof *losses);
    int32_t status = losses == NULL ? MODECONN_ERROR_MEMORY : check_labels(model, labels, n);
    if (status == MODECONN_OK) {
        status = model->ops->session_create(model, n, 1, true, &session);
    }
    if (status == MODECONN_OK) {
        status = model->ops->bind(session, model->theta, model->statistics);
    }
    if (status == MODECONN_OK) {
        status = model->ops->gradient(session, &batch, 1.0, losses, NULL, gradient, NULL);
    }
    if (status == MODECONN_OK && loss != NULL) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += losses[i];
        }
        *loss = sum / (double)n;
    }
    model->ops->session_destroy(session);
    mc_free(model->context, losses);
    return status;
}
