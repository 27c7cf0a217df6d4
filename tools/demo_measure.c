/* SPDX-License-Identifier: BSD-3-Clause
 *
 * `modeconn reproduce demo`: everything that is measured of one model, and its files.
 */
#include "demo.h"

#include <stdlib.h>
#include <string.h>

char *demo_path(const demo_job *demo, const char *prefix, const char *name, const char *suffix)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s%s%s", demo->out, prefix, name, suffix) < 0 ? NULL : path;
}

void demo_keep(demo_job *demo, const char *path)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s%s%s", demo->kept != NULL ? demo->kept : "",
                 demo->kept != NULL ? ", " : "", path) >= 0) {
        free(demo->kept);
        demo->kept = longer;
    }
}

bool demo_failed(const demo_job *demo, int32_t status)
{
    return status == MODECONN_ERROR_CANCELLED || cli_failed(demo->args, status);
}

double demo_measure_work(const demo_job *demo, bool with_curve)
{
    const demo_scale *scale = &demo->scale;
    double samples = 7.0 * (double)scale->test_samples; /* four views, three views of the probe */
    if (with_curve) {
        samples += (double)scale->points * (double)(scale->bn_samples + 4 * scale->test_samples);
    }
    return samples;
}

static int measure_views(demo_job *demo, const modeconn_model *model, json_t *entry)
{
    modeconn_evaluation *evaluation = NULL;
    int32_t status = modeconn_evaluate(model, NULL, demo->test, demo->evaluate_options,
                                       cli_progress_step, &demo->bar, &evaluation);
    json_t *result = status == MODECONN_OK ? cli_evaluation_json(evaluation) : NULL;
    json_object_set(entry, "views", json_object_get(result, "views"));
    json_object_set(entry, "statistics", json_object_get(result, "statistics"));
    json_decref(result);
    modeconn_evaluation_destroy(evaluation);
    return demo_failed(demo, status) ? CLI_FAILED : CLI_OK;
}

static int measure_probe(demo_job *demo, const modeconn_model *model, json_t *entry)
{
    modeconn_probe *probe = NULL;
    int32_t status = modeconn_probe_measure(model, demo->test, demo->probe_options, &probe);
    json_t *result = status == MODECONN_OK ? cli_probe_json(probe) : NULL;
    json_object_set(entry, "probe", json_object_get(result, "attributes"));
    json_decref(result);
    modeconn_probe_destroy(probe);
    return demo_failed(demo, status) ? CLI_FAILED : CLI_OK;
}

/* ---- the line to theta_C --------------------------------------------------------------------- */

static int save_curve(demo_job *demo, const char *name, const modeconn_curve *curve,
                      const json_t *result)
{
    char *csv = demo_path(demo, "curve_", name, ".csv");
    char *svg = demo_path(demo, "curve_", name, ".svg");
    char *table = cli_curve_csv(curve), title[96], ends[96];
    int status = CLI_FAILED;
    if (csv == NULL || svg == NULL || table == NULL) {
        cli_error(demo->args, "out of memory");
        goto out;
    }
    if (cli_failed(demo->args, modeconn_text_save(csv, table))) {
        goto out;
    }
    snprintf(title, sizeof(title), "From theta_C to %s, in a straight line", name);
    snprintf(ends, sizeof(ends), "from theta_C (t = 0) to %s (t = 1)", name);
    const cli_figure figure = {
        .title = title, .id = "curve", .ends = ends, .write = cli_chart_write};
    status = cli_curve_draw(demo->args, svg, result, &figure);
    if (status == CLI_OK) {
        demo_keep(demo, csv);
        demo_keep(demo, svg);
    }
out:
    free(table);
    free(svg);
    free(csv);
    return status;
}

/* Barriers of the model on the line, by view. */
static json_t *barriers(const json_t *curve)
{
    json_t *object = json_object(), *view;
    const char *name;
    json_object_foreach(json_object_get(curve, "views"), name, view)
    {
        json_object_set(object, name, json_object_get(view, "barrier"));
    }
    return object;
}

/* The line from theta_C to itself is a point: every barrier is 0 by definition. */
static json_t *no_barriers(const json_t *views)
{
    json_t *object = json_object(), *view;
    const char *name;
    json_object_foreach((json_t *)views, name, view)
    {
        (void)view;
        json_object_set_new(object, name,
                            json_pack("{s:{s:f,s:f,s:f,s:f}, s:{s:f,s:f,s:f,s:f}}", "loss",
                                      "linear", 0.0, "mean", 0.0, "max", 0.0, "half", 0.0, "error",
                                      "linear", 0.0, "mean", 0.0, "max", 0.0, "half", 0.0));
    }
    return object;
}

static int measure_line(demo_job *demo, const char *name, const modeconn_model *model,
                        json_t *entry)
{
    modeconn_path *line = NULL;
    modeconn_curve *curve = NULL;
    int32_t status = modeconn_path_linear(demo->origin, model, &line);
    if (status == MODECONN_OK) {
        status = modeconn_curve_measure(line, demo->train, demo->test, demo->curve_options,
                                        cli_progress_step, &demo->bar, &curve);
    }
    int exit_status = demo_failed(demo, status) ? CLI_FAILED : CLI_OK;
    if (exit_status == CLI_OK) {
        json_t *result = cli_curve_json(curve);
        json_object_set_new(entry, "barrier_to_theta_C", barriers(result));
        json_object_set(entry, "curve_to_theta_C", result);
        exit_status = save_curve(demo, name, curve, result);
        json_decref(result);
    }
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(line);
    return exit_status;
}

int demo_measure(demo_job *demo, const char *name, const char *made_by, const modeconn_model *model,
                 const modeconn_options *options, double seconds)
{
    const demo_scale *scale = &demo->scale;
    bool with_curve = model != demo->origin;
    char file[64];
    json_t *entry = json_object();
    snprintf(file, sizeof(file), "%s.safetensors", name);
    json_object_set_new(entry, "made_by", json_string(made_by));

    cli_progress_phase(&demo->bar, 4.0 * (double)scale->test_samples, "%d/%d %s: evaluating",
                       demo->stage, demo->stages, name);
    int status = measure_views(demo, model, entry);
    if (status == CLI_OK) {
        cli_progress_phase(&demo->bar, 3.0 * (double)scale->test_samples, "%d/%d %s: probing",
                           demo->stage, demo->stages, name);
        status = measure_probe(demo, model, entry);
    }
    if (status == CLI_OK && with_curve) {
        cli_progress_phase(&demo->bar,
                           demo_measure_work(demo, true) - demo_measure_work(demo, false),
                           "%d/%d %s: line to theta_C", demo->stage, demo->stages, name);
        status = measure_line(demo, name, model, entry);
    } else if (status == CLI_OK) {
        json_object_set_new(entry, "barrier_to_theta_C",
                            no_barriers(json_object_get(entry, "views")));
    }
    json_object_set_new(entry, "options", cli_options_json(options));
    json_object_set_new(entry, "history", cli_history_json(model));
    json_object_set_new(entry, "file", json_string(file));
    json_object_set_new(entry, "seconds", cli_real(seconds));
    if (json_object_set_new(demo->models, name, entry) != 0 && status == CLI_OK) {
        status = cli_error(demo->args, "out of memory");
    }
    return status;
}
