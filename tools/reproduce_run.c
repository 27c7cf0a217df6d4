/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn reproduce table1|fig-...|all: command line and course.
 */
#include "reproduce.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- preparation --------------------------------------------------------------------------- */

/* "60,70,80,90": percent, each 0 .. 100, ascending. */
static int parse_proportions(repro_job *job, const char *text)
{
    job->n_proportions = 0;
    for (const char *at = text;; at++) {
        char *end = NULL;
        long value = strtol(at, &end, 10);
        int n = job->n_proportions;
        if (end == at || (*end != ',' && *end != '\0') || value < 0 || value > 100 ||
            n == REPRO_MOST_PROPORTIONS || (n > 0 && value <= job->proportions[n - 1])) {
            return cli_usage(job->args,
                             "--proportions %s: whole percents from 0 to 100 are wanted, "
                             "ascending, joined by commas",
                             text);
        }
        job->proportions[job->n_proportions++] = (int)value;
        at = end;
        if (*at == '\0') {
            return CLI_OK;
        }
    }
}

static int make_folders(const repro_job *job)
{
    char *path = NULL;
    if (asprintf(&path, "%s/cells", job->out) < 0) {
        return cli_error(job->args, "out of memory");
    }
    struct stat info;
    int status = CLI_OK;
    if (job->finished && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))) {
        status = cli_error(job->args, "%s: no such folder, so nothing is finished there", path);
    } else {
        status = cli_make_folder(job->args, path);
    }
    free(path);
    if (status == CLI_OK) {
        path = repro_path(job, "", "results", ".json");
        status = path == NULL ? CLI_FAILED : cli_writable(job->args, path);
        free(path);
    }
    return status;
}

static int open_split(const repro_job *job, const char *split, int64_t limit,
                      modeconn_dataset **out)
{
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(job->context, "dataset", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, "cue=box,view=nocue");
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "limit", limit);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_open(job->context, job->data, split, options, out);
    }
    modeconn_options_destroy(options);
    if (status == MODECONN_ERROR_UNKNOWN || status == MODECONN_ERROR_ARGUMENT) {
        return cli_usage(job->args, "--data %s: %s", job->data, modeconn_last_error());
    }
    return cli_failed(job->args, status) ? CLI_FAILED : CLI_OK;
}

static int check_samples(const repro_job *job)
{
    int64_t n = 0, wanted = job->scale->clean_samples;
    wanted += job->scale->train_samples > 0 ? job->scale->train_samples : 1;
    modeconn_dataset_shape(job->all, &n, NULL, NULL, NULL, NULL);
    return n >= wanted ? CLI_OK
                       : cli_error(job->args, "%s has %lld training images; scale %s wants %lld",
                                   job->data, (long long)n, job->scale->name, (long long)wanted);
}

static bool chosen(const char *name, const repro_experiment *experiment)
{
    return strcmp(name, "all") == 0 || strcmp(name, experiment->name) == 0;
}

/* Whether an experiment that was asked for needs --data. */
static bool of_images(const char *name)
{
    for (int i = 0; i < repro_n_experiments; i++) {
        const repro_experiment *experiment = &repro_experiments[i];
        if (chosen(name, experiment) && (experiment->models != NULL || experiment->n_lines > 0)) {
            return true;
        }
    }
    return false;
}

static int open_images(repro_job *job)
{
    int status = open_split(job, "train", 0, &job->all);
    if (status == CLI_OK) {
        status = open_split(job, "test", job->scale->test_samples, &job->test);
    }
    return status == CLI_OK ? check_samples(job) : status;
}

/* Cells at most, for the progress bar. */
static double cells_of(const repro_job *job, const repro_experiment *experiment)
{
    int models = 0;
    while (experiment->models != NULL && experiment->models[models] != NULL) {
        models++;
    }
    return (double)job->seeds * (models * job->n_proportions + 3 * experiment->n_lines);
}

/* Before the data are read: from here on Ctrl-C ends the run in good order. */
static void begin_progress(repro_job *job, const char *name)
{
    double total = 1.0;
    for (int i = 0; i < repro_n_experiments; i++) {
        total += chosen(name, &repro_experiments[i]) ? cells_of(job, &repro_experiments[i]) : 0.0;
    }
    cli_progress_begin(&job->bar, total);
}

static int prepare(repro_job *job, const char *name, const char *scale, const char *proportions)
{
    job->scale = repro_scale_find(scale);
    if (job->scale == NULL) {
        return cli_usage(job->args, "--scale %s: there is demo, small, full, tiny", scale);
    }
    job->data = job->data != NULL ? job->data : job->scale->data;
    job->seeds = job->seeds > 0 ? job->seeds : job->scale->seeds;
    modeconn_options_get_i64(job->args->context.options, "seed", &job->first_seed);
    if (job->data == NULL && of_images(name)) {
        return cli_usage(job->args, "--data is missing: scale %s is of cifar10:DIR, or other data",
                         scale);
    }
    if (job->out[0] == '\0') {
        return cli_usage(job->args, "--out: the name of a folder is wanted");
    }
    int status = parse_proportions(job, proportions);
    if (status == CLI_OK) {
        status = cli_outputs(job->args);
    }
    if (status == CLI_OK) {
        status = make_folders(job);
    }
    if (status == CLI_OK) {
        status = cli_context(job->args, &job->context);
    }
    if (status == CLI_OK) {
        begin_progress(job, name);
    }
    return status == CLI_OK && of_images(name) ? open_images(job) : status;
}

/* ---- course -------------------------------------------------------------------------------- */

static int run(repro_job *job, const char *name)
{
    int status = CLI_OK;
    for (int i = 0; i < repro_n_experiments && status == CLI_OK; i++) {
        if (chosen(name, &repro_experiments[i])) {
            status = repro_experiments[i].run(job, &repro_experiments[i]);
        }
    }
    cli_progress_end(&job->bar);
    if (status != CLI_OK && cli_interrupted()) {
        cli_error(job->args,
                  "stopped after %d new cells; they are kept in %s/cells, and the same "
                  "command goes on from them",
                  job->made, job->out);
    }
    if (status == CLI_OK) {
        cli_say(job->args, "%d new cells; tables, pictures and JSON are in %s\n", job->made,
                job->out);
        status = cli_json(job->args, job->results);
    }
    return status;
}

static void close_job(repro_job *job)
{
    modeconn_dataset_destroy(job->train);
    modeconn_dataset_destroy(job->clean);
    modeconn_dataset_destroy(job->test);
    modeconn_dataset_destroy(job->all);
    modeconn_context_destroy(job->context);
    json_decref(job->builds);
    json_decref(job->results);
}

/* ---- command line -------------------------------------------------------------------------- */

int cli_reproduce_paper(int argc, char **argv)
{
    repro_job job = {
        .out = "reproduction", .split_seed = -1, .builds = json_array(), .results = json_object()};
    const char *scale = "small", *proportions = "60,70,80,90";
    const char *const name = argv[0]; /* parsing puts another there */
    char verb[64];
    const cli_option options[] = {
        {.name = "out",
         .value = "DIR",
         .text = &job.out,
         .help = "folder for everything it writes; finished cells in DIR/cells are not run again",
         .by_default = "reproduction"},
        {.name = "scale",
         .value = "demo|small|full",
         .text = &scale,
         .help = "constants; demo takes minutes, small about an hour on two cores, full is the "
                 "paper's; tiny takes seconds and shows only that it runs",
         .by_default = "small"},
        {.name = "data",
         .value = "DATA",
         .text = &job.data,
         .help = "as in `modeconn train'; demo: fashion-mnist, small and full: cifar10:DIR"},
        {.name = "seeds",
         .value = "N",
         .integer = &job.seeds,
         .min = 1,
         .max = 64,
         .help = "runs, from --seed on; full: 3",
         .by_default = "1"},
        {.name = "proportions",
         .value = "P,...",
         .text = &proportions,
         .help = "table1: cue proportions, percent",
         .by_default = "60,70,80,90"},
        {.name = "finished",
         .flag = &job.finished,
         .help = "run nothing; show what is finished, and write it anew"},
    };
    snprintf(verb, sizeof(verb), "reproduce %s", name);
    cli_args args = {
        .verb = verb,
        .about = "An experiment of the paper at a given scale, over seeds.\vWrites tables "
                 "(markdown, CSV, JSON) and pictures (SVG) into --out. Every model and every path "
                 "is a cell, written when it is finished; stopped, the same command goes on, and a "
                 "cell whose settings changed is run again.",
        .options = options,
        .n_options = CLI_COUNT(options),
    };
    job.args = &args;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = prepare(&job, name, scale, proportions);
    }
    if (status == CLI_OK) {
        status = run(&job, name);
    }
    close_job(&job);
    cli_args_free(&args);
    return status;
}
