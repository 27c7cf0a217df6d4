/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn plot: draws a result (JSON) as SVG: a curve, a training history, or a curve of the
 * demo's results.json.
 */
#include "cli.h"

#include <stdlib.h>

typedef struct plot_job {
    const char *out, *title, *model;
} plot_job;

static bool draw(const plot_job *job, const json_t *result, const char *file, FILE *stream)
{
    cli_figure figure = {.title = job->title != NULL ? job->title : file,
                         .id = "figure",
                         .ends = CLI_ENDS,
                         .write = cli_chart_write};
    if (json_object_get(result, "curve") != NULL) { /* of connect --plot */
        result = json_object_get(result, "curve");
    }
    if (json_object_get(result, "epochs") != NULL) {
        return cli_figure_history(stream, result, &figure);
    }
    char *title = NULL, *ends = NULL;
    const json_t *curve = result;
    bool named = true;
    if (json_object_get(result, "models") != NULL) { /* of the demo */
        curve =
            cli_at(result, (const char *const[]){"models", job->model, "curve_to_theta_C", NULL});
        named = asprintf(&title, "From theta_C to %s, in a straight line", job->model) >= 0 &&
                asprintf(&ends, "from theta_C (t = 0) to %s (t = 1)", job->model) >= 0;
        figure.ends = ends;
    } else if (json_object_get(result, "from") != NULL) {
        named =
            asprintf(&title, "%s to %s", cli_string(result, "from"), cli_string(result, "to")) >= 0;
    }
    if (job->title == NULL && title != NULL) {
        figure.title = title;
    }
    bool done = named && curve != NULL && cli_figure_curve(stream, curve, &figure);
    free(ends);
    free(title);
    return done;
}

int cli_verb_plot(int argc, char **argv)
{
    plot_job job = {.model = "theta_NC"};
    const cli_option options[] = {
        {.name = "out",
         .value = "FILE.svg",
         .text = &job.out,
         .required = true,
         .help = "the picture; - is standard output"},
        {.name = "title", .value = "TEXT", .text = &job.title, .help = "its title"},
        {.name = "model",
         .value = "NAME",
         .text = &job.model,
         .help = "of the demo's results.json: whose curve to theta_C",
         .by_default = "theta_NC"},
    };
    cli_args args = {
        .verb = "plot",
        .about = "Draws a result as SVG: the JSON of barrier, of train, finetune or connect, or "
                 "results.json of reproduce demo.",
        .operands = "RESULT.json",
        .min_operands = 1,
        .max_operands = 1,
        .options = options,
        .n_options = CLI_COUNT(options),
    };
    char *text = NULL;
    size_t size = 0;
    json_t *result = NULL;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = cli_picture_output(&args, job.out);
    }
    if (status == CLI_OK) {
        result = cli_json_load(&args, args.operand[0]);
        status = result == NULL ? CLI_FAILED : CLI_OK;
    }
    if (status == CLI_OK) {
        FILE *stream = open_memstream(&text, &size);
        if (stream == NULL) {
            status = cli_error(&args, "out of memory");
        } else if (!draw(&job, result, args.operand[0], stream)) {
            status = cli_error(&args, "%s: holds no curve%s%s and no training history",
                               args.operand[0], json_object_get(result, "models") ? " of " : "",
                               json_object_get(result, "models") ? job.model : "");
            fclose(stream);
            free(text);
        } else {
            status = cli_stream_save(&args, job.out, stream, &text);
        }
    }
    if (status == CLI_OK && args.json != NULL) {
        status = cli_json(&args, result);
    }
    json_decref(result);
    cli_args_free(&args);
    return status;
}
