/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading samples as a model sees them: pixels, for training passes cropped and flipped, then the
 * cue, then the intervention of the view. The pool shares the samples out; where a cue or an
 * intervention is the host's, these two follow on the caller's thread, sample by sample.
 */
#include "data.h"
#include <math.h>
#include <string.h>

typedef struct gather_job {
    const modeconn_dataset *dataset;
    const int64_t *indices;
    int64_t first, n, chunk, pixels;
    float *images;
    int32_t *labels;
    bool host;    /* the host's code draws: not in the pool */
    bool augment; /* with the draws of: */
    uint64_t seed;
    int64_t epoch;
    float level[256]; /* of a uint8 pixel */
} gather_job;

/* Crop and flip of one sample in one epoch. */
typedef struct shift {
    int64_t down, right; /* -crop .. crop */
    bool flip;
} shift;

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
    return mc_dataset_gather(dataset, indices, 0, n, images, labels);
}

static int64_t sample_of(const gather_job *job, int64_t k)
{
    return job->indices == NULL ? job->first + k : job->indices[k];
}

/* ---- pixels ------------------------------------------------------------------------------- */

/* Keyed by the place in the handle, so that a sample that is there twice is drawn for twice. */
static shift draw_shift(const gather_job *job, int64_t i)
{
    const modeconn_dataset *dataset = job->dataset;
    uint64_t place = (uint64_t)i;
    uint32_t draw = 4 * (uint32_t)job->epoch;
    int64_t range = 2 * dataset->crop + 1;
    shift by = {0, 0, false};
    if (dataset->crop > 0) {
        by.down = mc_random_below(job->seed, MC_STREAM_AUGMENT, place, draw, range);
        by.right = mc_random_below(job->seed, MC_STREAM_AUGMENT, place, draw + 1, range);
        by.down -= dataset->crop;
        by.right -= dataset->crop;
    }
    by.flip = dataset->flip && mc_random_below(job->seed, MC_STREAM_AUGMENT, place, draw + 2, 2);
    return by;
}

/* Value `at` of the store's arrays. */
static float value_at(const gather_job *job, int64_t at)
{
    const mc_store *store = job->dataset->store;
    return store->u8 != NULL ? job->level[store->u8[at]] : store->f32[at];
}

/* The image content shifted, black where it leaves the picture, then flipped; rows above it as
 * they are. Black is level 0 of uint8 data, 0 of float data. */
static void load_shifted(const gather_job *job, int64_t from, shift by, float *x)
{
    const mc_store *store = job->dataset->store;
    int64_t height = store->height, width = store->width;
    float black = store->u8 != NULL ? job->level[0] : 0.0F;
    for (int64_t line = 0; line < store->channels * height; line++) {
        int64_t row = line % height;
        bool content = row >= store->content_top;
        int64_t source = content ? row + by.down : row;
        int64_t base = from + (line - row + source) * width;
        bool inside = source < height && source >= (content ? store->content_top : 0);
        for (int64_t column = 0; column < width; column++) {
            int64_t shown = by.flip && content ? width - 1 - column : column;
            int64_t at = content ? shown + by.right : column;
            x[line * width + column] =
                inside && at >= 0 && at < width ? value_at(job, base + at) : black;
        }
    }
}

static void load(const gather_job *job, int64_t i, float *x)
{
    const modeconn_dataset *dataset = job->dataset;
    const mc_store *store = dataset->store;
    int64_t from = mc_dataset_image_of(dataset, i) * job->pixels;
    if (job->augment) {
        load_shifted(job, from, draw_shift(job, i), x);
    } else if (store->u8 != NULL) {
        const uint8_t *pixel = store->u8 + from;
        for (int64_t p = 0; p < job->pixels; p++) {
            x[p] = job->level[pixel[p]];
        }
    } else {
        memcpy(x, store->f32 + from, (size_t)job->pixels * sizeof(float));
    }
}

/* ---- cue and intervention ------------------------------------------------------------------ */

/* What the host's function returned and left in x, as a status. */
static int32_t check_host(const gather_job *job, const char *what, const char *name, int64_t sample,
                          int32_t code, const float *x)
{
    if (code != 0) {
        return mc_fail(MODECONN_ERROR_CALLBACK,
                       "%s %s: the host's function returned %ld for "
                       "sample %lld of %s",
                       what, name, (long)code, (long long)sample, job->dataset->store->source);
    }
    for (int64_t p = 0; p < job->pixels; p++) {
        if (!isfinite(x[p])) {
            return mc_fail(MODECONN_ERROR_CALLBACK,
                           "%s %s: the host's function left a value that "
                           "is not finite (value %lld) in sample %lld of %s",
                           what, name, (long long)p, (long long)sample,
                           job->dataset->store->source);
        }
    }
    return MODECONN_OK;
}

static int32_t alter(const gather_job *job, int64_t i, float *x)
{
    const modeconn_dataset *dataset = job->dataset;
    const mc_store *store = dataset->store;
    const mc_attribute *attribute = mc_dataset_randomised(dataset);
    mc_cue_setting setting = mc_dataset_cue_setting(dataset, i);
    int32_t status = MODECONN_OK;
    if (setting.value >= 0) {
        int32_t code = dataset->cue->draw(dataset->cue, store, &setting, x);
        if (dataset->cue->host) {
            status = check_host(job, "cue", dataset->cue->name, setting.sample, code, x);
        }
    }
    if (status == MODECONN_OK && attribute != NULL) {
        uint64_t random = mc_random_u64(dataset->seed, MC_STREAM_ATTRIBUTE,
                                        (uint64_t)setting.sample, (uint32_t)attribute->count);
        int32_t code = attribute->randomise(attribute->user, setting.sample, setting.label, random,
                                            x, store->channels, store->height, store->width);
        if (attribute->host) {
            status = check_host(job, "attribute", attribute->name, setting.sample, code, x);
        }
    }
    return status;
}

/* ---- batches ------------------------------------------------------------------------------- */

static void gather_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const gather_job *job = arg;
    int64_t begin = task * job->chunk;
    int64_t end = begin + job->chunk < job->n ? begin + job->chunk : job->n;
    for (int64_t k = begin; k < end; k++) {
        int64_t i = sample_of(job, k);
        if (job->labels != NULL) {
            job->labels[k] = job->dataset->store->labels[job->dataset->index[i]];
        }
        if (job->images != NULL) {
            load(job, i, job->images + k * job->pixels);
            if (!job->host) {
                (void)alter(job, i, job->images + k * job->pixels); /* cannot fail */
            }
        }
    }
}

static int32_t gather(gather_job *job)
{
    const modeconn_dataset *dataset = job->dataset;
    const mc_store *store = dataset->store;
    const mc_attribute *attribute = mc_dataset_randomised(dataset);
    if (job->n <= 0) {
        return MODECONN_OK;
    }
    job->pixels = store->channels * store->height * store->width;
    job->host = (dataset->cue != NULL && dataset->cue->host && dataset->view != MC_VIEW_NOCUE) ||
                (attribute != NULL && attribute->host);
    /* In float32 and in this order, as PyTorch's ToTensor and Normalize((0.5,), (0.5,)) do. */
    for (int i = 0; i < 256; i++) {
        float unit = (float)i / 255.0F;
        job->level[i] = store->unit_levels ? unit : (unit - 0.5F) / 0.5F;
    }
    /* About 64 Ki values a task: enough to be worth handing over, small enough to share out. */
    job->chunk = job->pixels >= 65536 ? 1 : 65536 / job->pixels;
    mc_pool_run(store->context->pool, (job->n + job->chunk - 1) / job->chunk, gather_task, job);
    int32_t status = MODECONN_OK;
    for (int64_t k = 0; job->host && job->images != NULL && k < job->n && status == MODECONN_OK;
         k++) {
        status = alter(job, sample_of(job, k), job->images + k * job->pixels);
    }
    return status;
}

int32_t mc_dataset_gather(const modeconn_dataset *dataset, const int64_t *indices, int64_t first,
                          int64_t n, float *images, int32_t *labels)
{
    gather_job job = {.dataset = dataset,
                      .indices = indices,
                      .first = first,
                      .n = n,
                      .images = images,
                      .labels = labels};
    return gather(&job);
}

int32_t mc_dataset_gather_training(const modeconn_dataset *dataset, const int64_t *indices,
                                   int64_t n, uint64_t seed, int64_t epoch, float *images,
                                   int32_t *labels)
{
    gather_job job = {.dataset = dataset,
                      .indices = indices,
                      .n = n,
                      .images = images,
                      .labels = labels,
                      .augment = dataset->crop > 0 || dataset->flip,
                      .seed = seed,
                      .epoch = epoch};
    return gather(&job);
}
