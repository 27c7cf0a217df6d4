/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The jobs of bench_jobs. Settings: "threads", "arch", "width", "shape" [C, H, W], "hidden" (mlp),
 * "batch", "images" and "labels" (files of bytes, sample after sample), "n" samples of data[0] and
 * "test" of data[1], which follow them.
 *
 *     train    steps of modeconn_trainer_run(): drawing the batch, gradient, running statistics,
 *              SGD with momentum and weight decay
 *     infer    modeconn_model_logits() a batch at a time, as any program calls it
 *     bound    the same through a session that is bound once, as an evaluation in the library does
 *     curve    modeconn_curve_measure() of "points" points on every view
 *     cbft     "steps" steps of modeconn_finetune(), after a first one that is not counted
 */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 10 };
/* Labels are random: at a small rate the loss stays finite for ever. */
static const double rate = 1e-3;

int64_t bench_number(const json_t *settings, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(settings, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

static int64_t extent(const json_t *settings, size_t dimension)
{
    return json_integer_value(json_array_get(json_object_get(settings, "shape"), dimension));
}

static const char *text_of(const json_t *settings, const char *key)
{
    const char *text = json_string_value(json_object_get(settings, key));
    return text != NULL ? text : "";
}

/* ---- what jobs are made of ---------------------------------------------------------------- */

static int32_t read_bytes(const char *path, int64_t offset, int64_t size, uint8_t *out)
{
    FILE *file = fopen(path, "rb");
    bool whole = file != NULL && fseek(file, (long)offset, SEEK_SET) == 0 &&
                 fread(out, 1, (size_t)size, file) == (size_t)size;
    if (file != NULL) {
        fclose(file);
    }
    return whole ? MODECONN_OK
                 : mc_fail(MODECONN_ERROR_IO, "%s: no %lld bytes at %lld", path, (long long)size,
                           (long long)offset);
}

/* Samples first .. first+n-1 of the files. */
static int32_t open_data(bench_job *job, const json_t *settings, int64_t first, int64_t n,
                         const char *cue, modeconn_dataset **out)
{
    int64_t c = extent(settings, 0), h = extent(settings, 1), w = extent(settings, 2);
    int64_t pixels = c * h * w;
    uint8_t *bytes = mc_alloc(job->context, n * (pixels + 1), 1);
    int32_t *labels = mc_alloc(job->context, n, sizeof(int32_t));
    modeconn_options *options = NULL;
    int32_t status = bytes == NULL || labels == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    if (status == MODECONN_OK) {
        status = read_bytes(text_of(settings, "images"), first * pixels, n * pixels, bytes);
    }
    if (status == MODECONN_OK) {
        status = read_bytes(text_of(settings, "labels"), first, n, bytes + n * pixels);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_create(job->context, "dataset", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(options, "cue", cue);
    }
    if (status == MODECONN_OK) {
        for (int64_t i = 0; i < n; i++) {
            labels[i] = bytes[n * pixels + i];
        }
        status = modeconn_dataset_from_u8(job->context, bytes, labels, n, c, h, w, CLASSES, options,
                                          out);
    }
    modeconn_options_destroy(options);
    mc_free(job->context, labels);
    mc_free(job->context, bytes);
    return status;
}

static int32_t open_context(bench_job *job, const json_t *settings)
{
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(NULL, "context", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "threads", bench_number(settings, "threads", 2));
    }
    if (status == MODECONN_OK) {
        status = modeconn_context_create(options, &job->context);
    }
    modeconn_options_destroy(options);
    return status;
}

static int32_t open_model(bench_job *job, const json_t *settings, int64_t seed,
                          modeconn_model **out)
{
    const json_t *width = json_object_get(settings, "width");
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(job->context, "model", &options);
    if (status == MODECONN_OK && width != NULL) {
        status = modeconn_options_set_f64(options, "width", json_number_value(width));
    }
    if (status == MODECONN_OK && text_of(settings, "hidden")[0] != '\0') {
        status = modeconn_options_set_str(options, "hidden", text_of(settings, "hidden"));
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_create(job->context, text_of(settings, "arch"), job->data[0],
                                       options, out);
    }
    modeconn_options_destroy(options);
    return status;
}

/* Options of `kind`, from "key=value,..." text. */
static int32_t open_options(bench_job *job, const char *kind, const char *settings)
{
    int32_t status = modeconn_options_create(job->context, kind, &job->options);
    return status == MODECONN_OK ? modeconn_options_parse(job->options, settings) : status;
}

/* Counts the steps of a run; cancels once there were enough. */
typedef struct counter {
    int64_t steps, wanted;
    double first; /* when the first step was done */
} counter;

static int32_t count_step(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                          double accuracy, double learning_rate, double seconds_left)
{
    counter *count = user;
    (void)epoch, (void)step, (void)total, (void)loss, (void)accuracy;
    (void)learning_rate, (void)seconds_left;
    if (count->steps++ == 0) {
        count->first = mc_seconds();
    }
    return count->steps == count->wanted;
}

/* ---- train -------------------------------------------------------------------------------- */

static int32_t train_open(bench_job *job, const json_t *settings)
{
    char text[128];
    snprintf(text, sizeof text, "batch_size=%lld,epochs=100000,learning_rate=%g",
             (long long)job->batch, rate);
    (void)settings;
    int32_t status = open_options(job, "train", text);
    return status == MODECONN_OK
               ? modeconn_trainer_create(job->model[0], job->data[0], job->options, &job->trainer)
               : status;
}

/* A cancelled run goes on where it stood: nothing is done twice. */
static int32_t train_run(bench_job *job, int64_t steps, double *seconds)
{
    counter count = {.wanted = steps};
    double started = mc_seconds();
    int32_t status = modeconn_trainer_run(job->trainer, -1, count_step, &count);
    *seconds = mc_seconds() - started;
    return status == MODECONN_ERROR_CANCELLED ? MODECONN_OK : status;
}

/* ---- infer, bound ------------------------------------------------------------------------- */

static int32_t infer_open(bench_job *job, const json_t *settings)
{
    int64_t pixels = extent(settings, 0) * extent(settings, 1) * extent(settings, 2);
    job->images = mc_alloc(job->context, job->n * pixels, sizeof(float));
    job->logits = mc_alloc(job->context, job->batch * CLASSES, sizeof(float));
    if (job->images == NULL || job->logits == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    return modeconn_dataset_read(job->data[0], NULL, job->n, job->images, NULL);
}

static const float *next_batch(bench_job *job)
{
    const modeconn_model *model = job->model[0];
    int64_t first = job->next * job->batch;
    job->next = (job->next + 1) % (job->n / job->batch);
    return job->images + first * model->channels * model->height * model->width;
}

static int32_t infer_run(bench_job *job, int64_t steps, double *seconds)
{
    int32_t status = MODECONN_OK;
    double started = mc_seconds();
    for (int64_t i = 0; i < steps && status == MODECONN_OK; i++) {
        status = modeconn_model_logits(job->model[0], next_batch(job), job->batch, job->logits);
    }
    *seconds = mc_seconds() - started;
    return status;
}

static int32_t bound_open(bench_job *job, const json_t *settings)
{
    const modeconn_model *model = job->model[0];
    int32_t status = infer_open(job, settings);
    if (status == MODECONN_OK) {
        status = model->ops->session_create(model, job->batch, 1, false, &job->session);
    }
    return status == MODECONN_OK ? model->ops->bind(job->session, model->theta, model->statistics)
                                 : status;
}

static int32_t bound_run(bench_job *job, int64_t steps, double *seconds)
{
    const mc_model_ops *ops = job->model[0]->ops;
    int32_t status = MODECONN_OK;
    double started = mc_seconds();
    for (int64_t i = 0; i < steps && status == MODECONN_OK; i++) {
        mc_batch batch = {next_batch(job), NULL, job->batch};
        status = ops->outputs(job->session, MC_NORM_RUNNING, &batch, job->logits, NULL);
    }
    *seconds = mc_seconds() - started;
    return status;
}

/* ---- curve -------------------------------------------------------------------------------- */

static int32_t curve_open(bench_job *job, const json_t *settings)
{
    char text[128];
    snprintf(text, sizeof text, "points=%lld,batch_size=%lld,bn_batch_size=%lld",
             (long long)bench_number(settings, "points", 2), (long long)job->batch,
             (long long)job->batch);
    int32_t status = open_options(job, "curve", text);
    if (status == MODECONN_OK) {
        status = open_data(job, settings, job->n, bench_number(settings, "test", job->batch), "box",
                           &job->data[1]);
    }
    if (status == MODECONN_OK) {
        status = open_model(job, settings, 1, &job->model[1]);
    }
    return status == MODECONN_OK ? modeconn_path_linear(job->model[0], job->model[1], &job->path)
                                 : status;
}

static int32_t curve_run(bench_job *job, int64_t steps, double *seconds)
{
    int32_t status = MODECONN_OK;
    double started = mc_seconds();
    for (int64_t i = 0; i < steps && status == MODECONN_OK; i++) {
        modeconn_curve *curve = NULL;
        status = modeconn_curve_measure(job->path, job->data[0], job->data[1], job->options, NULL,
                                        NULL, &curve);
        modeconn_curve_destroy(curve);
    }
    *seconds = mc_seconds() - started;
    return status;
}

/* ---- cbft --------------------------------------------------------------------------------- */

/* data[0] clean, data[1] the same number of other images with the cue; n = (steps + 1) batches,
 * one epoch with all terms in force. */
static int32_t cbft_open(bench_job *job, const json_t *settings)
{
    char text[128];
    modeconn_dataset *plain = NULL;
    snprintf(text, sizeof text,
             "method=cbft,epochs=1,batch_size=%lld,invariance_from=0,learning_rate=%g",
             (long long)job->batch, rate);
    int32_t status = open_options(job, "finetune", text);
    if (status == MODECONN_OK) {
        status = open_data(job, settings, job->n, job->n, "box", &plain);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_view(plain, "cue", 1.0, &job->data[1]);
    }
    modeconn_dataset_destroy(plain);
    return status;
}

/* From the end of the first step, which also allocates, to the end of the epoch's last. */
static int32_t cbft_run(bench_job *job, int64_t steps, double *seconds)
{
    int32_t status = MODECONN_OK;
    *seconds = 0;
    for (int64_t i = 0; i < steps && status == MODECONN_OK; i++) {
        counter count = {.wanted = -1};
        modeconn_model *tuned = NULL;
        status = modeconn_finetune(job->model[0], job->data[0], job->data[1], job->options,
                                   count_step, &count, &tuned);
        *seconds += mc_seconds() - count.first;
        modeconn_model_destroy(tuned);
    }
    return status;
}

/* ---- opening and closing ------------------------------------------------------------------ */

const bench_kind bench_kinds[] = {
    {"train", train_open, train_run}, {"infer", infer_open, infer_run},
    {"bound", bound_open, bound_run}, {"curve", curve_open, curve_run},
    {"cbft", cbft_open, cbft_run},
};
const int64_t bench_kinds_count = (int64_t)(sizeof(bench_kinds) / sizeof(bench_kinds[0]));

int32_t bench_open(const json_t *settings, bench_job *job)
{
    *job = (bench_job){.n = bench_number(settings, "n", 0),
                       .batch = bench_number(settings, "batch", 1)};
    for (int64_t i = 0; i < bench_kinds_count; i++) {
        if (strcmp(bench_kinds[i].name, text_of(settings, "job")) == 0) {
            job->kind = &bench_kinds[i];
        }
    }
    if (job->kind == NULL || job->n < job->batch || job->batch < 1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "no job \"%s\" with %lld samples, batch %lld",
                       text_of(settings, "job"), (long long)job->n, (long long)job->batch);
    }
    int32_t status = open_context(job, settings);
    if (status == MODECONN_OK) {
        status = open_data(job, settings, 0, job->n, "none", &job->data[0]);
    }
    if (status == MODECONN_OK) {
        status = open_model(job, settings, 0, &job->model[0]);
    }
    return status == MODECONN_OK ? job->kind->open(job, settings) : status;
}

void bench_close(bench_job *job)
{
    if (job->session != NULL) {
        job->model[0]->ops->session_destroy(job->session);
    }
    if (job->context != NULL) {
        mc_free(job->context, job->images);
        mc_free(job->context, job->logits);
    }
    modeconn_trainer_destroy(job->trainer);
    modeconn_path_destroy(job->path);
    modeconn_options_destroy(job->options);
    for (int i = 0; i < 2; i++) {
        modeconn_model_destroy(job->model[i]);
        modeconn_dataset_destroy(job->data[i]);
    }
    modeconn_context_destroy(job->context);
    *job = (bench_job){0};
}
