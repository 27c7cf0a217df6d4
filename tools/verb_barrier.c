/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn barrier: loss and accuracy along the straight line between two models on every view.
 */
#include "measure.h"

#include <stdlib.h>

typedef struct barrier_job {
    cli_measure measure;
    const char *plot, *csv;
    modeconn_path *path;
    modeconn_curve *curve;
} barrier_job;

static int measure_curve(barrier_job *job, const cli_args *args)
{
    cli_progress bar;
    if (cli_failed(
            args, modeconn_path_linear(job->measure.model[0], job->measure.model[1], &job->path))) {
        return CLI_FAILED;
    }
    cli_progress_begin(&bar, 1.0);
    cli_progress_phase(&bar, 1.0, "measuring the line");
    int32_t done =
        modeconn_curve_measure(job->path, job->measure.train, job->measure.test,
                               cli_options(args, "curve"), cli_progress_step, &bar, &job->curve);
    cli_progress_end(&bar);
    return cli_failed(args, done) ? CLI_FAILED : CLI_OK;
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
    char *text = NULL, *title = NULL;
    size_t size = 0;
    if (asprintf(&title, "%s to %s", job->measure.models[0], job->measure.models[1]) < 0) {
        return cli_error(args, "out of memory");
    }
    const cli_figure figure = {
        .title = title, .id = "curve", .ends = CLI_ENDS, .write = cli_chart_write};
    FILE *stream = open_memstream(&text, &size);
    int status = CLI_FAILED;
    if (stream == NULL || !cli_figure_curve(stream, result, &figure)) {
        cli_error(args, "out of memory");
        if (stream != NULL) {
            fclose(stream);
            free(text);
        }
    } else {
        status = cli_stream_save(args, job->plot, stream, &text);
    }
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
        {.name = "from",
         .value = "FILE",
         .text = &job.measure.models[0],
         .required = true,
         .help = "the model at t = 0"},
        {.name = "to",
         .value = "FILE",
         .text = &job.measure.models[1],
         .required = true,
         .help = "the model at t = 1"},
        CLI_DATA_OPTION(&job.measure.data),
        CLI_ARCH_OPTION(&job.measure.arch),
        {.name = "plot", .value = "FILE.svg", .text = &job.plot, .help = "draw the curves"},
        {.name = "csv", .value = "FILE", .text = &job.csv, .help = "write the curves as a table"},
    };
    static const char *const data_words[] = CLI_TEST_WORDS;
    static const char *const curve_words[] = CLI_STATISTICS_WORDS("reset");
    cli_kind kinds[] = {
        {.kind = "dataset", .title = "Data (--limit is of the test set):", .reword = data_words},
        {.kind = "curve", .title = "Curve:", .reword = curve_words},
    };
    cli_args args = {
        .verb = "barrier",
        .about = "Measures loss and accuracy along the straight line between two models on every "
                 "view of a test set, and the barriers of these curves.\v"
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
        status = cli_output(&args, "plot", job.plot);
    }
    if (status == CLI_OK) {
        status = cli_output(&args, "csv", job.csv);
    }
    if (status == CLI_OK) {
        status = cli_measure_open(&job.measure, &args, "curve");
    }
    if (status == CLI_OK) {
        status = measure_curve(&job, &args);
    }
    if (status == CLI_OK) {
        result = cli_curve_json(job.curve);
        json_object_set_new(result, "from", cli_text(job.measure.models[0]));
        json_object_set_new(result, "to", cli_text(job.measure.models[1]));
        say(&args, result);
        status = write_files(&job, &args, result);
    }
    json_decref(result);
    modeconn_curve_destroy(job.curve);
    modeconn_path_destroy(job.path);
    cli_measure_close(&job.measure);
    cli_args_free(&args);
    return status;
}
