/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn connect: fits a curve between two models on a training set, with the cue on all samples
 * (paper, Definition 1: the quadratic path with a trained midpoint), and measures it on request.
 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct connect_job {
    const cli_args *args;
    const char *data, *arch, *from, *to, *out, *checkpoint, *resume, *plot;
    int64_t degree, bends;
    modeconn_context *context;
    modeconn_dataset *train, *test, *statistics;
    modeconn_model *first, *second;
    modeconn_path *path;
    modeconn_fitter *fitter;
    modeconn_curve *curve;
} connect_job;

/* --chain and --degree choose the family; the paper's code starts from a random midpoint. */
static int make_path(connect_job *job)
{
    const cli_args *args = job->args;
    modeconn_options *options = cli_options(args, "path");
    bool chain = cli_given(args, "chain");
    const char *mode = "";
    if (chain && cli_given(args, "degree")) {
        return cli_usage(args, "--degree and --chain exclude each other");
    }
    int32_t done = modeconn_options_set_str(options, "family", chain ? "chain" : "bezier");
    if (done == MODECONN_OK) {
        done = chain ? modeconn_options_set_i64(options, "bends", job->bends)
                     : modeconn_options_set_i64(options, "degree", job->degree);
    }
    if (done == MODECONN_OK) {
        done = modeconn_options_get_str(cli_options(args, "path_fit"), "mode", &mode);
    }
    if (done == MODECONN_OK && strcmp(mode, "reference") == 0 && !cli_given(args, "start")) {
        done = modeconn_options_set_str(options, "start", "random");
    }
    if (done == MODECONN_OK) {
        done = modeconn_path_create(job->first, job->second, options, &job->path);
    }
    return cli_failed(args, done) ? CLI_FAILED : CLI_OK;
}

static int prepare(connect_job *job)
{
    const cli_args *args = job->args;
    int status = cli_outputs(args);
    if (status == CLI_OK) {
        status = cli_context(args, &job->context);
    }
    if (status == CLI_OK) {
        status = cli_data_train(args, job->context, job->data, &job->train);
    }
    if (status == CLI_OK) {
        status = cli_model_load(args, job->context, job->from, job->arch, job->train, &job->first);
    }
    if (status == CLI_OK) {
        status = cli_model_load(args, job->context, job->to, job->arch, job->train, &job->second);
    }
    if (status == CLI_OK) {
        status = make_path(job);
    }
    if (status == CLI_OK) {
        status =
            cli_outcome(args, modeconn_fitter_create(job->path, job->train,
                                                     cli_options(args, "path_fit"), &job->fitter));
    }
    if (status == CLI_OK && job->resume != NULL &&
        cli_failed(args, modeconn_fitter_load(job->fitter, job->resume))) {
        status = CLI_FAILED;
    }
    return status;
}

static void say_epoch(const connect_job *job, int64_t epoch, int64_t total)
{
    modeconn_history *history = NULL;
    if (modeconn_path_history(job->path, &history) == MODECONN_OK) {
        cli_say_epoch(job->args, history, epoch, total);
    }
    modeconn_history_destroy(history);
}

static int keep(const connect_job *job)
{
    if (job->checkpoint != NULL &&
        cli_failed(job->args, modeconn_fitter_save(job->fitter, job->checkpoint))) {
        return CLI_FAILED;
    }
    return CLI_OK;
}

/* Says why the fit ends here, and where what was reached is kept. */
static int give_up(const connect_job *job, int32_t result)
{
    if (result != MODECONN_ERROR_CANCELLED) {
        return cli_failed(job->args, result) ? CLI_FAILED : CLI_OK;
    }
    if (job->checkpoint == NULL) {
        return cli_error(job->args, "stopped; nothing is kept (--checkpoint FILE would keep it)");
    }
    if (keep(job) != CLI_OK) {
        return CLI_FAILED;
    }
    return cli_error(job->args, "stopped; --resume %s goes on from there", job->checkpoint);
}

/* Epoch by epoch, so that each is told and kept as soon as it is there. */
static int fit(connect_job *job)
{
    int64_t done = 0, total = 0;
    int status = CLI_OK;
    cli_progress bar;
    if (cli_failed(job->args, modeconn_fitter_epochs(job->fitter, &done, &total))) {
        return CLI_FAILED;
    }
    if (job->resume != NULL) {
        cli_say(job->args, "resumed after %d of %d epochs\n", (int)done, (int)total);
    }
    cli_progress_begin(&bar, total > done ? (double)(total - done) : 1.0);
    while (done < total && status == CLI_OK) {
        cli_progress_phase(&bar, 1.0, "epoch %d/%d", (int)done + 1, (int)total);
        int32_t result = modeconn_fitter_run(job->fitter, 1, cli_progress_step, &bar);
        cli_progress_clear(&bar);
        if (result < 0) {
            status = give_up(job, result);
        } else {
            say_epoch(job, done, total);
            modeconn_fitter_epochs(job->fitter, &done, &total);
            status = keep(job);
        }
    }
    cli_progress_end(&bar);
    return status;
}

/* For --plot: the curve on every view of the test set, statistics reset on the training set. */
static int measure(connect_job *job)
{
    cli_progress bar;
    int status = cli_data_test(job->args, job->context, job->data, &job->test);
    if (status == CLI_OK) {
        status = cli_data_statistics(job->args, job->context, job->data, &job->statistics);
    }
    if (status != CLI_OK) {
        return status;
    }
    cli_progress_begin(&bar, 1.0);
    cli_progress_phase(&bar, 1.0, "measuring the curve");
    int32_t done = modeconn_curve_measure(job->path, job->statistics, job->test, NULL,
                                          cli_progress_step, &bar, &job->curve);
    cli_progress_end(&bar);
    return cli_failed(job->args, done) ? CLI_FAILED : CLI_OK;
}

static int draw(const connect_job *job, const json_t *curve)
{
    char *title = NULL;
    if (asprintf(&title, "%s to %s, fitted", job->from, job->to) < 0) {
        return cli_error(job->args, "out of memory");
    }
    const cli_figure figure = {
        .title = title, .id = "curve", .ends = CLI_ENDS, .write = cli_chart_write};
    int status = cli_curve_draw(job->args, job->plot, curve, &figure);
    free(title);
    return status;
}

/* The history as `train' gives it; with --plot also the measured curve, under "curve". */
static json_t *result(const connect_job *job, double seconds)
{
    const char *family = "";
    double length = 0.0;
    json_t *object = cli_path_history_json(job->path);
    json_t *path = json_object();
    modeconn_path_family(job->path, &family);
    if (modeconn_path_length(job->path, &length) == MODECONN_OK) {
        json_object_set_new(path, "length", cli_real(length));
    }
    json_object_set_new(path, "family", json_string(family));
    json_object_set_new(path, "options", cli_options_json(cli_options(job->args, "path")));
    json_object_set_new(object, "path", path);
    json_object_set_new(object, "out", cli_text(job->out));
    json_object_set_new(object, "from", cli_text(job->from));
    json_object_set_new(object, "to", cli_text(job->to));
    json_object_set_new(object, "data", cli_dataset_json(job->train));
    json_object_set_new(object, "options", cli_options_json(cli_options(job->args, "path_fit")));
    json_object_set_new(object, "build", cli_build_json(job->args));
    json_object_set_new(object, "seconds", cli_real(seconds));
    return object;
}

static int finish(connect_job *job, double started)
{
    json_t *object = NULL, *curve = NULL;
    int status =
        cli_failed(job->args, modeconn_path_save(job->path, job->out)) ? CLI_FAILED : CLI_OK;
    if (status == CLI_OK && job->plot != NULL) {
        status = measure(job);
        if (status == CLI_OK) {
            curve = cli_curve_json(job->curve);
            json_object_set_new(curve, "from", cli_text(job->from));
            json_object_set_new(curve, "to", cli_text(job->to));
            status = draw(job, curve);
        }
    }
    if (status == CLI_OK) {
        object = result(job, cli_seconds() - started);
        if (curve != NULL) {
            json_object_set(object, "curve", curve);
        }
        cli_say(job->args, "wrote %s (%.1f s)\n", job->out, cli_seconds() - started);
        status = cli_json(job->args, object);
    }
    json_decref(curve);
    json_decref(object);
    return status;
}

static void release(connect_job *job)
{
    modeconn_curve_destroy(job->curve);
    modeconn_fitter_destroy(job->fitter);
    modeconn_path_destroy(job->path);
    modeconn_model_destroy(job->second);
    modeconn_model_destroy(job->first);
    modeconn_dataset_destroy(job->statistics);
    modeconn_dataset_destroy(job->test);
    modeconn_dataset_destroy(job->train);
    modeconn_context_destroy(job->context);
}

/* Options are one table, the reason for the length. */
int cli_verb_connect(int argc, char **argv)
{
    connect_job job = {.degree = 2, .bends = 1};
    const cli_option options[] = {
        {.name = "from",
         .value = "FILE",
         .text = &job.from,
         .required = true,
         .help = "the model at t = 0"},
        {.name = "to",
         .value = "FILE",
         .text = &job.to,
         .required = true,
         .help = "the model at t = 1"},
        CLI_DATA_OPTION(&job.data),
        {.name = "out",
         .value = "FILE",
         .text = &job.out,
         .output = true,
         .required = true,
         .help = "the fitted curve, as safetensors"},
        {.name = "degree",
         .value = "N",
         .integer = &job.degree,
         .min = 2,
         .max = 63,
         .help = "a Bezier curve of this degree",
         .by_default = "2, the paper's quadratic path"},
        {.name = "chain",
         .value = "BENDS",
         .integer = &job.bends,
         .min = 1,
         .max = 62,
         .help = "instead, straight legs with this many bends"},
        CLI_ARCH_OPTION(&job.arch),
        {.name = "checkpoint",
         .value = "FILE",
         .text = &job.checkpoint,
         .output = true,
         .help = "complete state, written after each epoch and when stopped"},
        {.name = "resume",
         .value = "STATE",
         .text = &job.resume,
         .help = "go on from a --checkpoint file of the same ends, data and options"},
        {.name = "plot",
         .value = "FILE.svg",
         .text = &job.plot,
         .output = true,
         .help = "measure the curve on every view of the test set and draw it"},
    };
    static const char *const path_keys[] = {"family", "degree", "bends", NULL};
    static const char *const data_keys[] = {"view", "cue_proportion", NULL};
    static const char *const start_seed[] = {"seed", "start-seed", NULL};
    static const char *const data_seed[] = {"seed", "data-seed", NULL};
    static const char *const path_words[] = {
        "start",
        "control points between the ends: on the line, or freshly initialised; default line, with "
        "--mode reference random",
        "seed", "seed of random control points; default --seed", NULL};
    static const char *const fit_words[] = {
        "seed", "seed of t and of the samples' order; default --seed", NULL};
    cli_kind kinds[] = {
        {.kind = "dataset", .title = "Data (the training set):", .except = data_keys},
        {.kind = "path",
         .title = "Curve:",
         .except = path_keys,
         .rename = start_seed,
         .reword = path_words},
        {.kind = "path_fit", .title = "Fitting:", .rename = data_seed, .reword = fit_words},
    };
    cli_args args = {
        .verb = "connect",
        .about = "Fits a curve between two models: stochastic gradient descent on the loss along "
                 "it over its control points, the ends held.\v"
                 "The curve is fitted on the training set with the cue on all samples, as the "
                 "paper does, or on the --views named. `modeconn barrier --path' measures it. "
                 "Ctrl-C ends after the running batch.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    job.args = &args;
    double started = cli_seconds();
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = prepare(&job);
    }
    if (status == CLI_OK) {
        status = fit(&job);
    }
    if (status == CLI_OK) {
        status = finish(&job, started);
    }
    release(&job);
    cli_args_free(&args);
    return status;
}
