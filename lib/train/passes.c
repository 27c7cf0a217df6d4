/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Passes over a dataset: batches [n][C][H][W] with labels [n], per-sample losses in nats. A mean
 * is a sum over samples divided by their number, never a mean of batch means, which would give a
 * short last batch too much weight.
 */
#include "train/train.h"
#include <math.h>

int32_t mc_check_fit(const modeconn_model *model, const modeconn_dataset *dataset)
{
    const mc_store *store = dataset->store;
    if (model->channels != store->channels || model->height != store->height ||
        model->width != store->width) {
        return mc_fail(MODECONN_ERROR_SHAPE,
                       "%s takes images of %lldx%lldx%lld, the dataset %s has %lldx%lldx%lld",
                       model->architecture, (long long)model->channels, (long long)model->height,
                       (long long)model->width, store->source, (long long)store->channels,
                       (long long)store->height, (long long)store->width);
    }
    if (model->classes != store->classes) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s tells %lld classes, the dataset %s has %lld",
                       model->architecture, (long long)model->classes, store->source,
                       (long long)store->classes);
    }
    return MODECONN_OK;
}

int32_t mc_check_batch(const modeconn_model *model, int64_t size, int64_t n, int64_t batch_size)
{
    const char *layer = "";
    int64_t least = model->ops->smallest_batch(model, &layer);
    if (size >= least) {
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                   "%s: batch norm on a single value per channel: %lld samples in batches of %lld "
                   "leave a batch of %lld, at least %lld are needed",
                   layer, (long long)n, (long long)batch_size, (long long)size, (long long)least);
}

int64_t mc_pass_batch(int64_t n, int64_t batch_size, int64_t done)
{
    int64_t left = n - done;
    if (left <= batch_size) {
        return left;
    }
    return left == batch_size + 1 && batch_size > 1 ? left : batch_size;
}

int64_t mc_pass_batch_max(int64_t n, int64_t batch_size)
{
    if (n <= batch_size) {
        return n;
    }
    return batch_size > 1 && n % batch_size == 1 ? batch_size + 1 : batch_size;
}

int32_t mc_batch_buffer_init(mc_batch_buffer *buffer, const modeconn_dataset *dataset, int64_t max)
{
    const mc_store *store = dataset->store;
    int64_t pixels = store->channels * store->height * store->width; /* the store holds n of them */
    int64_t values;

    *buffer = (mc_batch_buffer){.context = store->context, .max = max};
    if (!mc_mul(max, pixels, &values)) {
        return mc_fail(MODECONN_ERROR_MEMORY,
                       "out of memory: a batch of %lld images of %lld values", (long long)max,
                       (long long)pixels);
    }
    buffer->x = mc_alloc(buffer->context, values, sizeof(float));
    buffer->y = mc_alloc(buffer->context, max, sizeof(int32_t));
    if (buffer->x == NULL || buffer->y == NULL) {
        mc_batch_buffer_free(buffer);
        return MODECONN_ERROR_MEMORY;
    }
    return MODECONN_OK;
}

void mc_batch_buffer_free(mc_batch_buffer *buffer)
{
    mc_free(buffer->context, buffer->x);
    mc_free(buffer->context, buffer->y);
    *buffer = (mc_batch_buffer){0};
}

static int32_t check_losses(const modeconn_dataset *dataset, int64_t first, int64_t n,
                            const double *loss)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(loss[i])) {
            return mc_fail(MODECONN_ERROR_NUMERIC, "the loss of sample %lld of %s (view %s) is %s",
                           (long long)(first + i), dataset->store->source,
                           mc_view_name(dataset, dataset->view), mc_not_finite(loss[i]));
        }
    }
    return MODECONN_OK;
}

int32_t mc_pass_losses(const modeconn_model *model, mc_session *session, mc_norm_mode mode,
                       const modeconn_dataset *dataset, int64_t batch_size, mc_tick_fn tick,
                       void *user, double *loss, uint8_t *correct)
{
    int64_t max = batch_size < dataset->n ? batch_size : dataset->n;
    mc_batch_buffer buffer = {0};
    double *batch_loss = NULL;
    int32_t status = mc_batch_buffer_init(&buffer, dataset, max);
    if (status < 0) {
        return status;
    }
    batch_loss = mc_alloc(buffer.context, max, sizeof(double));
    if (batch_loss == NULL) {
        status = MODECONN_ERROR_MEMORY;
    }

    for (int64_t done = 0; status == MODECONN_OK && done < dataset->n;) {
        int64_t n = dataset->n - done < max ? dataset->n - done : max;
        double *out = loss != NULL ? loss + done : batch_loss;
        mc_batch batch = {buffer.x, buffer.y, n};
        status = mc_dataset_gather(dataset, NULL, done, n, buffer.x, buffer.y);
        if (status == MODECONN_OK) {
            status = model->ops->evaluate(session, mode, &batch, out,
                                          correct != NULL ? correct + done : NULL);
        }
        if (status == MODECONN_OK) {
            status = check_losses(dataset, done, n, out);
        }
        done += n;
        if (status == MODECONN_OK && tick != NULL) {
            status = tick(user, done);
        }
    }
    mc_free(buffer.context, batch_loss);
    mc_batch_buffer_free(&buffer);
    return status;
}

double mc_mean(const double *values, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / (double)n;
}
