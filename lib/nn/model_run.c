/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Running a model on arrays of the caller: logits, representation, gradient.
 */
#include "nn/nn.h"
#include <string.h>

/* Images of one pass: enough to keep the threads busy, few enough to stay small in memory. */
enum { CHUNK = 256 };

static int32_t run_chunks(const modeconn_model *model, mc_session *session, const float *images,
                          int64_t n, float *logits, float *representation)
{
    int64_t pixels = model->channels * model->height * model->width;
    int32_t status = model->ops->bind(session, model->theta, model->statistics);
    for (int64_t i = 0; i < n && status == MODECONN_OK; i += CHUNK) {
        mc_batch batch = {images + i * pixels, NULL, n - i < CHUNK ? n - i : CHUNK};
        status = model->ops->outputs(
            session, MC_NORM_RUNNING, &batch, logits != NULL ? logits + i * model->classes : NULL,
            representation != NULL ? representation + i * model->representation_width : NULL);
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
    mc_session *session;
    int32_t status = model->ops->session_create(model, n < CHUNK ? n : CHUNK, 1, false, &session);
    if (status == MODECONN_OK) {
        status = run_chunks(model, session, images, n, logits, representation);
        model->ops->session_destroy(session);
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
