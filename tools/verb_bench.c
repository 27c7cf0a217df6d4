/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn bench: times one engine job (training steps, or inference) on random images made here,
 * so that no dataset is needed. Prints minimum, median and maximum over the repeats.
 */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_job {
    const cli_args *args;
    const char *arch, *input, *mode;
    int64_t channels, height, width; /* of --input */
    int64_t batch, batches, repeats, classes;
    modeconn_context *context;
    modeconn_dataset *dataset;
    modeconn_model *model;
    modeconn_trainer *trainer;
    float *images, *logits;
    int32_t *labels;
    double *speeds;
} bench_job;

/* splitmix64: pixels need not be more than different from each other. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static int check(bench_job *job)
{
    int used = 0;
    long long c = 0, h = 0, w = 0;
    if (sscanf(job->input, "%lldx%lldx%lld%n", &c, &h, &w, &used) != 3 ||
        job->input[used] != '\0' || c < 1 || h < 1 || w < 1 || c > 4096 || h > 65536 || w > 65536) {
        return cli_usage(job->args, "--input %s: CHANNELSxHEIGHTxWIDTH is wanted, as 3x32x32",
                         job->input);
    }
    job->channels = c;
    job->height = h;
    job->width = w;
    if (strcmp(job->mode, "train") != 0 && strcmp(job->mode, "infer") != 0) {
        return cli_usage(job->args, "--mode %s: there is train, infer", job->mode);
    }
    if (!cli_known_arch(job->args, job->arch)) {
        return CLI_USAGE;
    }
    double floats = (double)(c * h * w) * (double)job->batch * (double)job->batches * sizeof(float);
    if (floats > 8e9) {
        return cli_usage(job->args, "%lldx%lldx%lld images, %d batches of %d: more than 8 GB", c, h,
                         w, (int)job->batches, (int)job->batch);
    }
    return cli_outputs(job->args);
}

static int make_data(bench_job *job)
{
    int64_t n = job->batch * job->batches;
    size_t pixels = (size_t)(n * job->channels * job->height * job->width);
    job->images = malloc(pixels * sizeof(float));
    job->labels = malloc((size_t)n * sizeof(int32_t));
    job->logits = malloc((size_t)(job->batch * job->classes) * sizeof(float));
    job->speeds = calloc((size_t)job->repeats, sizeof(double));
    if (job->images == NULL || job->labels == NULL || job->logits == NULL || job->speeds == NULL) {
        return cli_error(job->args, "out of memory");
    }
    uint64_t state = 1;
    for (size_t i = 0; i < pixels; i++) {
        job->images[i] = (float)(next_random(&state) >> 40) * 0x1p-23f - 1.0f;
    }
    for (int64_t i = 0; i < n; i++) {
        job->labels[i] = (int32_t)(next_random(&state) % (uint64_t)job->classes);
    }
    int32_t status = modeconn_dataset_borrow_f32(job->context, job->images, job->labels, n,
                                                 job->channels, job->height, job->width,
                                                 job->classes, NULL, NULL, NULL, &job->dataset);
    return cli_failed(job->args, status) ? CLI_FAILED : CLI_OK;
}

static int make_engine(bench_job *job)
{
    const cli_args *args = job->args;
    modeconn_options *train = NULL;
    if (cli_failed(args, modeconn_model_create(job->context, job->arch, job->dataset,
                                               cli_options(args, "model"), &job->model))) {
        return CLI_FAILED;
    }
    if (strcmp(job->mode, "infer") == 0) {
        return CLI_OK;
    }
    /* A small rate: labels are random, and the loss must stay finite. */
    int32_t status = modeconn_options_create(job->context, "train", &train);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(train, "epochs", job->repeats + 1);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(train, "batch_size", job->batch);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_f64(train, "learning_rate", 1e-3);
    }
    if (status == MODECONN_OK) {
        status = modeconn_trainer_create(job->model, job->dataset, train, &job->trainer);
    }
    modeconn_options_destroy(train);
    return cli_failed(args, status) ? CLI_FAILED : CLI_OK;
}

/* One pass over the random set: an epoch of training, or inference batch by batch. */
static int32_t one_pass(bench_job *job, cli_progress *bar)
{
    if (job->trainer != NULL) {
        return modeconn_trainer_run(job->trainer, 1, cli_progress_step, bar);
    }
    int64_t image = job->batch * job->channels * job->height * job->width;
    int32_t status = MODECONN_OK;
    for (int64_t b = 0; b < job->batches && status == MODECONN_OK; b++) {
        status =
            modeconn_model_logits(job->model, job->images + b * image, job->batch, job->logits);
        if (cli_progress_step(bar, 0, b + 1, job->batches, (double)NAN, (double)NAN, (double)NAN,
                              (double)NAN) != 0) {
            status = MODECONN_ERROR_CANCELLED;
        }
    }
    return status;
}

static int measure(bench_job *job)
{
    int32_t status = MODECONN_OK;
    cli_progress bar;
    cli_progress_begin(&bar, (double)(job->repeats + 1));
    for (int64_t r = -1; r < job->repeats && status == MODECONN_OK; r++) {
        cli_progress_phase(&bar, 1.0, "%s %d/%d", r < 0 ? "warming up" : "repeat", (int)r + 1,
                           (int)job->repeats);
        double started = cli_seconds();
        status = one_pass(job, &bar);
        if (r >= 0) {
            job->speeds[r] = (double)(job->batch * job->batches) / (cli_seconds() - started);
        }
    }
    cli_progress_end(&bar);
    return cli_failed(job->args, status) ? CLI_FAILED : CLI_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *result(const bench_job *job)
{
    int64_t n = job->repeats, parameters = 0;
    int32_t threads = 0;
    double width = 1.0;
    qsort(job->speeds, (size_t)n, sizeof(double), by_value);
    double median = 0.5 * (job->speeds[(n - 1) / 2] + job->speeds[n / 2]);
    json_t *build = cli_build_json(job->args);
    modeconn_context_threads(job->context, &threads);
    modeconn_model_parameter_count(job->model, &parameters);
    modeconn_options_get_f64(cli_options(job->args, "model"), "width", &width);
    json_t *object = json_pack(
        "{s:{s:f,s:f,s:f}, s:i, s:s, s:s, s:s, s:f, s:[I,I,I], s:I, s:I, s:I, s:I}",
        "samples_per_second", "min", job->speeds[0], "median", median, "max", job->speeds[n - 1],
        "threads", (int)threads, "isa", cli_string(build, "isa"), "mode", job->mode, "arch",
        job->arch, "width", width, "input", (json_int_t)job->channels, (json_int_t)job->height,
        (json_int_t)job->width, "batch", (json_int_t)job->batch, "batches",
        (json_int_t)job->batches, "repeats", (json_int_t)n, "parameters", (json_int_t)parameters);
    json_object_set_new(object, "build", build);
    return object;
}

static int run(bench_job *job)
{
    int status = check(job);
    if (status == CLI_OK) {
        status = cli_context(job->args, &job->context);
    }
    if (status == CLI_OK) {
        status = make_data(job);
    }
    if (status == CLI_OK) {
        status = make_engine(job);
    }
    if (status == CLI_OK) {
        status = measure(job);
    }
    if (status == CLI_OK) {
        json_t *object = result(job);
        const json_t *speed = json_object_get(object, "samples_per_second");
        cli_say(job->args,
                "%s %s width %g, %s, batch %d, %d threads, %s: %.1f samples/s (min %.1f, max "
                "%.1f, %d repeats)\n",
                job->mode, job->arch, cli_number(object, "width"), job->input, (int)job->batch,
                (int)cli_number(object, "threads"), cli_string(object, "isa"),
                cli_number(speed, "median"), cli_number(speed, "min"), cli_number(speed, "max"),
                (int)job->repeats);
        status = cli_json(job->args, object);
        json_decref(object);
    }
    return status;
}

int cli_verb_bench(int argc, char **argv)
{
    bench_job job = {.arch = "vgg13",
                     .input = "3x32x32",
                     .mode = "train",
                     .batch = 128,
                     .batches = 8,
                     .repeats = 7,
                     .classes = 10};
    char architectures[CLI_HELP];
    cli_architecture_help(architectures);
    const cli_option options[] = {
        {.name = "arch",
         .value = "ARCH",
         .text = &job.arch,
         .help = architectures,
         .by_default = "vgg13"},
        {.name = "input",
         .value = "CxHxW",
         .text = &job.input,
         .help = "shape of an image",
         .by_default = "3x32x32"},
        {.name = "batch",
         .value = "N",
         .integer = &job.batch,
         .min = 1,
         .max = 1048576,
         .help = "images per batch",
         .by_default = "128"},
        {.name = "mode",
         .value = "train|infer",
         .text = &job.mode,
         .help = "what to time: training steps or inference",
         .by_default = "train"},
        {.name = "batches",
         .value = "N",
         .integer = &job.batches,
         .min = 1,
         .max = 1048576,
         .help = "batches per repeat",
         .by_default = "8"},
        {.name = "repeats",
         .value = "N",
         .integer = &job.repeats,
         .min = 5,
         .max = 100000,
         .help = "timed repeats, after one that is not",
         .by_default = "7"},
        {.name = "classes",
         .value = "N",
         .integer = &job.classes,
         .min = 2,
         .max = 1048576,
         .help = "classes of the labels",
         .by_default = "10"},
    };
    static const char *const except[] = {"channels", "height", "width_pixels", "classes", NULL};
    cli_kind kinds[] = {{.kind = "model", .title = "Model:", .except = except}};
    cli_args args = {
        .verb = "bench",
        .about = "Times training steps or inference on random images, data handling included: "
                 "minimum, median and maximum of the samples per second.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    job.args = &args;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = run(&job);
    }
    modeconn_trainer_destroy(job.trainer);
    modeconn_model_destroy(job.model);
    modeconn_dataset_destroy(job.dataset);
    modeconn_context_destroy(job.context);
    free(job.speeds);
    free(job.logits);
    free(job.labels);
    free(job.images);
    cli_args_free(&args);
    return status;
}
