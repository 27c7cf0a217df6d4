/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Figures of results: a curve (loss and accuracy against t on each view), a training history.
 */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SERIES = 8 };

/* Colours that stay apart for colour-blind readers (Okabe and Ito), one a view. */
static const struct {
    const char *view, *brief, *legend, *color;
} views[] = {
    {"nocue", "NC", "no cue (NC)", "#0072b2"},
    {"cue", "C", "cue (C)", "#d55e00"},
    {"randcue", "RC", "random cue (RC)", "#009e73"},
    {"randimg", "RI", "random image (RI)", "#a8558f"},
};
static const char *const other_colors[] = {"#56708c", "#b08900", "#333333", "#7a9a01"};

const char *cli_view_short(const char *view)
{
    for (int i = 0; i < CLI_COUNT(views); i++) {
        if (strcmp(views[i].view, view) == 0) {
            return views[i].brief;
        }
    }
    return view;
}

/* A number that can be drawn; NaN, which leaves a gap, for anything else. */
static double drawable(const json_t *item)
{
    double value = json_is_number(item) ? json_number_value(item) : (double)NAN;
    return fabs(value) < 1e30 ? value : (double)NAN;
}

/* Numbers of a JSON array of n, NaN for null; NULL unless it is one. */
static double *numbers(const json_t *array, int n)
{
    if (!json_is_array(array) || (int)json_array_size(array) != n) {
        return NULL;
    }
    double *values = malloc(sizeof(*values) * (size_t)(n > 0 ? n : 1));
    for (int i = 0; values != NULL && i < n; i++) {
        values[i] = drawable(json_array_get(array, (size_t)i));
    }
    return values;
}

static bool ascending(const double *values, int n)
{
    bool rising = isfinite(values[0]);
    for (int i = 1; i < n; i++) {
        rising = rising && values[i] > values[i - 1];
    }
    return rising;
}

static cli_series series_of_view(const char *name, int number)
{
    for (int i = 0; i < CLI_COUNT(views); i++) {
        if (strcmp(views[i].view, name) == 0) {
            return (cli_series){.name = views[i].legend, .color = views[i].color, .marker = i};
        }
    }
    return (cli_series){.name = name,
                        .color = other_colors[number % CLI_COUNT(other_colors)],
                        .marker = number % 4};
}

/* Of all points on the data as they come (NC, C), not of counterfactuals. */
static bool observed(const char *view)
{
    return strcmp(view, "nocue") == 0 || strcmp(view, "cue") == 0;
}

/* "barrier of the loss: NC 1.52, C 0.46 nats" */
static void barrier_line(char *text, size_t size, const json_t *curve)
{
    const char *name;
    json_t *view;
    int used = snprintf(text, size, "Barrier of the loss:"), n = 0;
    json_object_foreach(json_object_get(curve, "views"), name, view)
    {
        double height =
            cli_number(cli_at(view, (const char *const[]){"barrier", "loss", NULL}), "linear");
        if (isfinite(height) && (size_t)used < size) {
            used += snprintf(text + used, size - (size_t)used, "%s %s %.2f", n++ > 0 ? "," : "",
                             cli_view_short(name), cli_two_decimals(height));
        }
    }
    if ((size_t)used < size) {
        snprintf(text + used, size - (size_t)used, n > 0 ? " nats" : " not known");
    }
}

static void curve_footnote(char *text, size_t size, const json_t *curve)
{
    const json_t *statistics = json_object_get(curve, "statistics");
    double n = cli_number(statistics, "n");
    int used = snprintf(text, size,
                        "Dashed: the straight line between the ends; what rises above it is the "
                        "barrier. Batch-norm statistics: %s",
                        cli_string(statistics, "policy"));
    if (isfinite(n) && n > 0 && used > 0 && (size_t)used < size) {
        snprintf(text + used, size - (size_t)used, " on %.0f training images", n);
    }
}

bool cli_figure_curve(FILE *out, const json_t *curve, const cli_figure *figure)
{
    const json_t *t_values = json_object_get(curve, "t");
    json_t *by_view = json_object_get(curve, "views");
    int n = (int)json_array_size(t_values), n_series = 0;
    double *t = numbers(t_values, n);
    cli_series loss[MAX_SERIES], accuracy[MAX_SERIES];
    double *owned[2 * MAX_SERIES];
    const char *json_names[MAX_SERIES];
    int n_owned = 0;
    bool done = false;
    const char *name;
    json_t *view;

    if (t == NULL || n == 0 || !ascending(t, n) || json_object_size(by_view) == 0) {
        free(t);
        return false;
    }
    json_object_foreach(by_view, name, view)
    {
        double *l = numbers(json_object_get(view, "loss"), n);
        double *a = numbers(json_object_get(view, "accuracy"), n);
        if (l == NULL || a == NULL || n_series == MAX_SERIES) {
            free(l);
            free(a);
            goto out;
        }
        loss[n_series] = accuracy[n_series] = series_of_view(name, n_series);
        loss[n_series].y = owned[n_owned++] = l;
        accuracy[n_series].y = owned[n_owned++] = a;
        json_names[n_series++] = name;
    }
    /* Counterfactual losses are often many times the others: they get an axis of their own. */
    int n_observed = 0;
    while (n_observed < n_series && observed(json_names[n_observed])) {
        n_observed++;
    }
    bool apart = n_observed > 0 && n_observed < n_series;
    cli_panel panels[3];
    int n_panels = 0;
    cli_panel base = {.x_label = figure->ends, .x = t, .n = n};
    base.baseline = true;
    base.series = loss;
    base.n_series = apart ? n_observed : n_series;
    base.y_label = apart ? "Loss on NC and C, nats" : "Loss, nats";
    panels[n_panels++] = base;
    if (apart) {
        base.series = loss + n_observed;
        base.n_series = n_series - n_observed;
        base.y_label = "Loss on RC and RI, nats";
        panels[n_panels++] = base;
    }
    base.baseline = false;
    base.percent = true;
    base.series = accuracy;
    base.n_series = n_series;
    base.y_label = "Accuracy";
    panels[n_panels++] = base;

    char footnote[256], barrier[160], description[512];
    if (figure->scale != NULL) {
        snprintf(footnote, sizeof(footnote), "%s", figure->scale);
    } else {
        curve_footnote(footnote, sizeof(footnote), curve);
    }
    barrier_line(barrier, sizeof(barrier), curve);
    snprintf(description, sizeof(description),
             "%.200s. %s. Lines of loss and of accuracy against t, one a view.", figure->title,
             barrier);
    const cli_chart chart = {.title = figure->title,
                             .subtitle = barrier,
                             .description = description,
                             .footnote = footnote,
                             .id = figure->id,
                             .panels = panels,
                             .n_panels = n_panels};
    figure->write(out, &chart);
    done = true;
out:
    for (int i = 0; i < n_owned; i++) {
        free(owned[i]);
    }
    free(t);
    return done;
}

/* One column of a history: number `key` of each epoch. */
static double *column(const json_t *epochs, const char *key, int n)
{
    double *values = malloc(sizeof(*values) * (size_t)n);
    for (int i = 0; values != NULL && i < n; i++) {
        values[i] = drawable(json_object_get(json_array_get(epochs, (size_t)i), key));
    }
    return values;
}

bool cli_figure_history(FILE *out, const json_t *history, const cli_figure *figure)
{
    const json_t *epochs = json_object_get(history, "epochs");
    static const struct {
        const char *key, *legend, *color;
    } losses[] = {
        {"loss", "whole loss", "#0072b2"},
        {"loss_ce", "cross-entropy, clean", "#56708c"},
        {"loss_barrier", "barrier term", "#d55e00"},
        {"loss_invariance", "invariance term", "#009e73"},
    };
    int n = (int)json_array_size(epochs), n_series = 0;
    if (!json_is_array(epochs) || n == 0 ||
        json_object_get(json_array_get(epochs, 0), "loss") == NULL) {
        return false;
    }
    cli_series loss[CLI_COUNT(losses)];
    double *x = malloc(sizeof(*x) * (size_t)n), *y[CLI_COUNT(losses)] = {NULL};
    double *accuracy = column(epochs, "accuracy", n);
    bool done = x != NULL && accuracy != NULL;
    for (int i = 0; x != NULL && i < n; i++) {
        x[i] = i + 1;
    }
    for (int i = 0; i < CLI_COUNT(losses) && done; i++) {
        if (json_object_get(json_array_get(epochs, 0), losses[i].key) == NULL) {
            continue;
        }
        y[i] = column(epochs, losses[i].key, n);
        done = y[i] != NULL;
        loss[n_series++] = (cli_series){
            .name = losses[i].legend, .color = losses[i].color, .marker = i, .y = y[i]};
    }
    if (done) {
        const cli_series hits = {
            .name = "accuracy", .color = "#333333", .marker = 0, .y = accuracy};
        const cli_panel panels[] = {
            {.x_label = "epoch",
             .y_label = "Training loss, nats",
             .x = x,
             .n = n,
             .series = loss,
             .n_series = n_series},
            {.x_label = "epoch",
             .y_label = "Training accuracy",
             .x = x,
             .n = n,
             .series = &hits,
             .n_series = 1,
             .percent = true},
        };
        const cli_chart chart = {
            .title = figure->title, .id = figure->id, .panels = panels, .n_panels = 2};
        figure->write(out, &chart);
    }
    for (int i = 0; i < CLI_COUNT(losses); i++) {
        free(y[i]);
    }
    free(accuracy);
    free(x);
    return done;
}

int cli_curve_draw(const cli_args *args, const char *path, const json_t *curve,
                   const cli_figure *figure)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream != NULL && cli_figure_curve(stream, curve, figure)) {
        return cli_stream_save(args, path, stream, &text);
    }
    if (stream != NULL) {
        fclose(stream);
        free(text);
    }
    return cli_error(args, "%s: cannot be drawn", path);
}
