/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The four views of dataset.h. What a view does to sample i of a handle is a pure function of the
 * handle and i: random draws are keyed by the sample's place in the store, so they are the same
 * in any order of access, on any thread, and in every subset that holds the sample.
 */
#include "data.h"
#include <string.h>

static const char *const view_names[] = {
    [MC_VIEW_NOCUE] = "nocue",
    [MC_VIEW_CUE] = "cue",
    [MC_VIEW_RANDCUE] = "randcue",
    [MC_VIEW_RANDIMG] = "randimg",
};

int32_t modeconn_dataset_read(const modeconn_dataset *dataset, const int64_t *indices, int64_t n,
                              float *images, int32_t *labels)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    int32_t status = mc_dataset_check_indices(dataset, indices, n);
    if (status < 0) {
        return status;
    }
    mc_dataset_gather(dataset, indices, 0, n, images, labels);
    return MODECONN_OK;
}

int32_t modeconn_dataset_cue_values(const modeconn_dataset *dataset, const int64_t *indices,
                                    int64_t n, int32_t *values)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    if (values == NULL) {
        return mc_null("values");
    }
    int32_t status = mc_dataset_check_indices(dataset, indices, n);
    if (status < 0) {
        return status;
    }
    for (int64_t i = 0; i < n; i++) {
        values[i] = (int32_t)mc_dataset_cue_value(dataset, indices == NULL ? i : indices[i]);
    }
    return MODECONN_OK;
}

int32_t mc_dataset_check_indices(const modeconn_dataset *dataset, const int64_t *indices, int64_t n)
{
    if (n < 0 || (indices == NULL && n > dataset->n)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "n is %lld, the dataset has %lld samples",
                       (long long)n, (long long)dataset->n);
    }
    for (int64_t i = 0; indices != NULL && i < n; i++) {
        if (indices[i] < 0 || indices[i] >= dataset->n) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "indices[%lld] is %lld, expected 0..%lld",
                           (long long)i, (long long)indices[i], (long long)(dataset->n - 1));
        }
    }
    return MODECONN_OK;
}

const char *mc_view_name(mc_view view)
{
    return view_names[view];
}

int32_t mc_view_find(const modeconn_dataset *dataset, const char *name, mc_view *view)
{
    for (int i = MC_VIEW_NOCUE; i <= MC_VIEW_RANDIMG; i++) {
        if (strcmp(name, view_names[i]) == 0) {
            if (dataset->cue == NULL && i != MC_VIEW_NOCUE) {
                return mc_fail(MODECONN_ERROR_UNKNOWN,
                               "view \"%s\" of a dataset without a cue: it has only nocue", name);
            }
            *view = (mc_view)i;
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no view \"%s\": there are nocue, cue, randcue, randimg",
                   name);
}

int64_t mc_dataset_cue_value(const modeconn_dataset *dataset, int64_t i)
{
    const mc_cue *cue = dataset->cue;
    uint64_t sample = (uint64_t)dataset->index[i];
    int64_t value = -1;
    switch (dataset->view) {
    case MC_VIEW_NOCUE:
        return -1;
    case MC_VIEW_CUE:
    case MC_VIEW_RANDIMG:
        if (dataset->carries[i]) {
            value = cue->value_of_label(dataset->store->labels[sample]);
        }
        break;
    case MC_VIEW_RANDCUE:
        value = mc_random_below(dataset->seed, MC_STREAM_RANDCUE, sample, 0, cue->range);
        break;
    }
    return value >= 0 && cue->visible(value) ? value : -1;
}

/* The sample of the store whose pixels sample i shows. */
static int64_t image_of(const modeconn_dataset *dataset, int64_t i)
{
    int64_t sample = dataset->index[i];
    if (dataset->view != MC_VIEW_RANDIMG) {
        return sample;
    }
    /* A uniform mapped on the samples of this handle: a subset keeps the draw, not the image. */
    double u = mc_random_f64(dataset->seed, MC_STREAM_RANDIMG, (uint64_t)sample, 0);
    int64_t j = (int64_t)(u * (double)dataset->n);
    return dataset->index[j < dataset->n ? j : dataset->n - 1];
}

typedef struct gather_job {
    const modeconn_dataset *dataset;
    const int64_t *indices;
    int64_t first, n, chunk, pixels;
    float *images;
    int32_t *labels;
    float level[256]; /* of a uint8 pixel */
} gather_job;

static void gather_image(const gather_job *job, int64_t i, float *x)
{
    const modeconn_dataset *dataset = job->dataset;
    const mc_store *store = dataset->store;
    int64_t from = image_of(dataset, i) * job->pixels;
    if (store->u8 != NULL) {
        const uint8_t *pixel = store->u8 + from;
        for (int64_t p = 0; p < job->pixels; p++) {
            x[p] = job->level[pixel[p]];
        }
    } else {
        memcpy(x, store->f32 + from, (size_t)job->pixels * sizeof(float));
    }
    int64_t value = mc_dataset_cue_value(dataset, i);
    if (value >= 0) {
        dataset->cue->draw(value, store->channels, store->height, store->width, x);
    }
}

static void gather_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const gather_job *job = arg;
    int64_t begin = task * job->chunk;
    int64_t end = begin + job->chunk < job->n ? begin + job->chunk : job->n;
    for (int64_t k = begin; k < end; k++) {
        int64_t i = job->indices == NULL ? job->first + k : job->indices[k];
        if (job->labels != NULL) {
            job->labels[k] = job->dataset->store->labels[job->dataset->index[i]];
        }
        if (job->images != NULL) {
            gather_image(job, i, job->images + k * job->pixels);
        }
    }
}

void mc_dataset_gather(const modeconn_dataset *dataset, const int64_t *indices, int64_t first,
                       int64_t n, float *images, int32_t *labels)
{
    if (n <= 0) {
        return;
    }
    const mc_store *store = dataset->store;
    gather_job job = {dataset, indices, first, n, 0, 0, images, labels, {0}};
    job.pixels = store->channels * store->height * store->width;
    /* In float32 and in this order, as PyTorch's ToTensor and Normalize((0.5,), (0.5,)) do. */
    for (int i = 0; i < 256; i++) {
        job.level[i] = ((float)i / 255.0F - 0.5F) / 0.5F;
    }
    /* About 64 Ki values a task: enough to be worth handing over, small enough to share out. */
    job.chunk = job.pixels >= 65536 ? 1 : 65536 / job.pixels;
    mc_pool_run(store->context->pool, (n + job.chunk - 1) / job.chunk, gather_task, &job);
}
