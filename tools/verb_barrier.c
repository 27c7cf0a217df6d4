/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn barrier: loss and accuracy along the straight line between two models, or along a
 * saved path, on every view; of one group of layers at a time on request.
 */
#include "measure.h"

#include <stdlib.h>

typedef struct barrier_job {
    cli_measure measure;
    const char *plot, *csv, *group;
    bool groups;
    modeconn_path *path;
    modeconn_curve *curve;
} barrier_job;

/* The path to measure; with --group only that group of it. */
static int open_path(barrier_job *job, const cli_args *args)
{
    int status = cli_path_open(&job->measure, args, &job->path);
    if (status == CLI_OK && job->group != NULL) {
        modeconn_path *whole = job->path;
        int32_t done = modeconn_path_group(whole, job->group, &job->path);
        modeconn_path_destroy(whole);
        status = cli_outcome(args, done);
    }
    return status;
}

static int measure_path(const barrier_job *job, const cli_args *args, const modeconn_path *path,
                        cli_progress *bar, modeconn_curve **out)
{
    int32_t done = modeconn_curve_measure(path, job->measure.train, job->measure.test,
                                          cli_options(args, "curve"), cli_progress_step, bar, out);
    cli_progress_clear(bar);
    return cli_outcome(args, done);
}

static int measure_curve(barrier_job *job, const cli_args *args)
{
    cli_progress bar;
    int status = open_path(job, args);
    if (status == CLI_OK) {
        cli_progress_begin(&bar, 1.0);
        cli_progress_phase(&bar, 1.0, "measuring the path");
        status = measure_path(job, args, job->path, &bar, &job->curve);
        cli_progress_end(&bar);
    }
    return status;
}

static char *group_name(const modeconn_path *path, int64_t index)
{
    int64_t size = 0;
    if (modeconn_path_group_name(path, index, NULL, 0, &size) != MODECONN_OK) {
        return NULL;
    }
    char *name = malloc((size_t)size);
    if (name != NULL && modeconn_path_group_name(path, index, name, size, NULL) != MODECONN_OK) {
        free(name);
        return NULL;
    }
    return name;
}

static int measure_group(const barrier_job *job, const cli_args *args, int64_t index,
                         cli_progress *bar, json_t *out)
{
    modeconn_path *path = NULL;
    modeconn_curve *curve = NULL;
    char *name = group_name(job->path, index);
    if (name == NULL) {
        return cli_error(args, "out of memory");
    }
    cli_progress_phase(bar, 1.0, "%s", name);
    int status =
        cli_failed(args, modeconn_path_group(job->path, name, &path)) ? CLI_FAILED : CLI_OK;
    if (status == CLI_OK) {
        status = measure_path(job, args, path, bar, &curve);
    }
    if (status == CLI_OK) {
        json_t *whole = cli_curve_json(curve);
        json_t *group = json_object();
        json_object_set(group, "t", json_object_get(whole, "t"));
        json_object_set(group, "views", json_object_get(whole, "views"));
        json_object_set_new(out, name, group);
        json_decref(whole);
    }
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(path);
    free(name);
    return status;
}

/* --groups: the barrier of every layer alone, under "groups" of the result. */
static int measure_groups(const barrier_job *job, const cli_args *args, json_t *result)
{
    cli_progress bar;
    int64_t count = 0;
    json_t *out = json_object();
    int status =
        cli_failed(args, modeconn_path_group_count(job->path, &count)) ? CLI_FAILED : CLI_OK;
    cli_progress_begin(&bar, count > 0 ? (double)count : 1.0);
    for (int64_t i = 0; i < count && status == CLI_OK; i++) {
        status = measure_group(job, args, i, &bar, out);
    }
    cli_progress_end(&bar);
    json_object_set_new(result, "groups", out);
    return status;
}

static void say_groups(const cli_args *args, const json_t *result)
{
    const char *name, *view;
    json_t *group, *values;
    cli_say(args, "\nbarrier of the loss over the line, nats, one layer at a time\n");
    json_object_foreach(json_object_get(result, "groups"), name, group)
    {
        cli_say(args, "%-24s", name);
        json_object_foreach(json_object_get(group, "views"), view, values)
        {
            const json_t *loss = cli_at(values, (const char *const[]){"barrier", "loss", NULL});
            cli_say(args, "  %s %.3f", view, cli_number(loss, "linear"));
        }
        cli_say(args, "\n");
    }
}

static void say(const cli_args *args, const json_t *result)
{
    const char *name;
    json_t *view;
    cli_say(args, "barrier of the loss, nats (error, %%)\n"
                  "view          over the line     over the mean     over the larger end\n");
    json_object_foreach(json_object_get(result, "views"), name, view)
    {
        const json_t *loss = cli_at(view, (const char *const[]){"barrier", "loss", NULL});
        const json_t *error = cli_at(view, (const char *const[]){"barrier", "error", NULL});
        cli_say(args, "%-11s %7.3f (%5.1f)   %7.3f (%5.1f)   %7.3f (%5.1f)\n", name,
                cli_number(loss, "linear"), 100.0 * cli_number(error, "linear"),
                cli_number(loss, "mean"), 100.0 * cli_number(error, "mean"),
                cli_number(loss, "max"), 100.0 * cli_number(error, "max"));
    }
}

static int write_plot(const barrier_job *job, const cli_args *args, const json_t *result)
{
    char *title = NULL;
    int made = job->measure.path_file != NULL
                   ? asprintf(&title, "%s", job->measure.path_file)
                   : asprintf(&title, "%s to %s", job->measure.models[0], job->measure.models[1]);
    if (made < 0) {
        return cli_error(args, "out of memory");
    }
    const cli_figure figure = {
        .title = title, .id = "curve", .ends = CLI_ENDS, .write = cli_chart_write};
    int status = cli_curve_draw(args, job->plot, result, &figure);
    free(title);
    return status;
}

static int write_files(const barrier_job *job, const cli_args *args, const json_t *result)
{
    int status = CLI_OK;
    if (job->plot != NULL) {
        status = write_plot(job, args, result);
    }
    if (job->csv != NULL && status == CLI_OK) {
        char *text = cli_curve_csv(job->curve);
        if (text == NULL) {
            status = cli_error(args, "out of memory");
        } else if (cli_failed(args, modeconn_text_save(job->csv, text))) {
            status = CLI_FAILED;
        }
        free(text);
    }
    return status == CLI_OK ? cli_json(args, result) : status;
}

int cli_verb_barrier(int argc, char **argv)
{
    barrier_job job = {.plot = NULL};
    const cli_option options[] = {
        CLI_PATH_OPTIONS(job.measure),
        {.name = "group",
         .value = "NAME",
         .text = &job.group,
         .help = "move only the layers of this name (layers.0, or layers.0.conv1), keep the rest "
                 "of the first model"},
        {.name = "groups",
         .flag = &job.groups,
         .help = "measure also each layer alone, the rest kept of the first model"},
        CLI_DATA_OPTION(&job.measure.data),
        CLI_ARCH_OPTION(&job.measure.arch),
        {.name = "plot",
         .value = "FILE.svg",
         .text = &job.plot,
         .output = true,
         .help = "draw the curves"},
        {.name = "csv",
         .value = "FILE",
         .text = &job.csv,
         .output = true,
         .help = "write the curves as a table"},
    };
    static const char *const except[] = {CLI_TRAINING_KEYS, NULL};
    static const char *const data_words[] = CLI_TEST_WORDS;
    static const char *const curve_words[] = CLI_STATISTICS_WORDS("reset");
    cli_kind kinds[] = {
        {.kind = "dataset",
         .title = "Data (--limit is of the test set):",
         .except = except,
         .reword = data_words},
        {.kind = "curve", .title = "Curve:", .reword = curve_words},
    };
    cli_args args = {
        .verb = "barrier",
        .about = "Measures loss and accuracy along the straight line between two models, or along "
                 "a fitted curve, on every view of a test set, and the barriers of these curves.\v"
                 "Batch-norm statistics are reset at each point over the first --bn-samples clean "
                 "training images (--statistics says otherwise); the ends are treated like the "
                 "points between, so they can differ from `modeconn eval'.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    json_t *result = NULL;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = cli_path_given(&job.measure, &args);
    }
    if (status == CLI_OK) {
        status = cli_measure_open(&job.measure, &args, "curve");
    }
    if (status == CLI_OK) {
        status = measure_curve(&job, &args);
    }
    if (status == CLI_OK) {
        result = cli_curve_json(job.curve);
        cli_path_name(&job.measure, result);
        if (job.group != NULL) {
            json_object_set_new(result, "group", cli_text(job.group));
        }
        say(&args, result);
        if (job.groups) {
            status = measure_groups(&job, &args, result);
        }
    }
    if (status == CLI_OK) {
        if (job.groups) {
            say_groups(&args, result);
        }
        status = write_files(&job, &args, result);
    }
    json_decref(result);
    modeconn_curve_destroy(job.curve);
    modeconn_path_destroy(job.path);
    cli_measure_close(&job.measure);
    cli_args_free(&args);
    return status;
}
