/* SPDX-License-Identifier: BSD-3-Clause
 *
 * `modeconn reproduce table1`: models at several cue proportions, accuracy on every view, mean and
 * standard deviation over seeds.
 */
#include "reproduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SEEDS = 64, LAST_EPOCHS = 5 };

/* What the paper has for the CIFAR-10 box, 2,500 clean samples (Table 1): % on NC, C, RC, RI. */
static const struct {
    const char *recipe;
    int proportion;
    double figures[REPRO_VIEWS];
} paper[] = {
    {"FT_medium", 60, {75.7, 98.4, 23.6, 83.4}}, {"FT_small", 60, {75.8, 98.7, 17.5, 90.1}},
    {"LLRT", 60, {71.6, 95.1, 36.3, 57.1}},      {"LPFT", 60, {70.6, 88.1, 21.0, 70.7}},
    {"CBFT", 60, {74.1, 71.5, 73.4, 8.75}},      {"FT_medium", 70, {75.8, 98.6, 27.7, 78.6}},
    {"FT_small", 70, {74.9, 98.8, 16.3, 91.1}},  {"LLRT", 70, {70.9, 95.8, 29.9, 65.8}},
    {"LPFT", 70, {69.6, 87.3, 18.7, 72.5}},      {"CBFT", 70, {73.2, 69.2, 72.3, 8.60}},
    {"FT_medium", 80, {71.3, 97.7, 37.6, 63.6}}, {"FT_small", 80, {69.9, 98.4, 15.7, 90.9}},
    {"LLRT", 80, {65.1, 81.8, 27.0, 53.2}},      {"LPFT", 80, {64.4, 63.8, 18.8, 48.0}},
    {"CBFT", 80, {70.0, 70.0, 69.5, 9.68}},      {"FT_medium", 90, {67.2, 95.4, 49.6, 46.6}},
    {"FT_small", 90, {64.7, 97.9, 15.3, 90.7}},  {"LLRT", 90, {59.3, 70.7, 24.6, 40.7}},
    {"LPFT", 90, {59.7, 56.6, 19.8, 37.8}},      {"CBFT", 90, {67.9, 72.5, 68.1, 13.1}},
};

static const double *paper_figures(const char *recipe, int proportion)
{
    for (int i = 0; i < CLI_COUNT(paper); i++) {
        if (paper[i].proportion == proportion && strcmp(paper[i].recipe, recipe) == 0) {
            return paper[i].figures;
        }
    }
    return NULL;
}

/* The barrier term in the last epochs, NaN where there is none. Of several, as that of one epoch
 * hangs on its few draws of t. */
static double last_barrier(const json_t *cell)
{
    const json_t *epochs = cli_at(cell, (const char *const[]){"history", "epochs", NULL});
    size_t n = json_array_size(epochs), first = n > LAST_EPOCHS ? n - LAST_EPOCHS : 0;
    double sum = 0.0;
    for (size_t i = first; i < n; i++) {
        sum += cli_number(json_array_get(epochs, i), "loss_barrier");
    }
    return n == 0 ? (double)NAN : sum / (double)(n - first);
}

static void csv_line(FILE *csv, const repro_recipe *recipe, int proportion, int64_t seed,
                     const json_t *views)
{
    for (int v = 0; v < REPRO_VIEWS; v++) {
        const json_t *view = json_object_get(views, repro_views[v]);
        fprintf(csv, "%s,%d,%lld,%s,%.6f,%.6f\n", recipe->name, proportion, (long long)seed,
                repro_views[v], cli_number(view, "loss"), cli_number(view, "accuracy"));
    }
}

/* One row, over seeds; without a finished cell *row is NULL. */
static int make_row(repro_job *job, const repro_recipe *recipe, int proportion, FILE *csv,
                    json_t **row)
{
    double accuracy[REPRO_VIEWS][MOST_SEEDS], barrier[MOST_SEEDS];
    int status = CLI_OK, n = 0;
    *row = NULL;
    for (int64_t s = 0; s < job->seeds && status == CLI_OK; s++) {
        json_t *cell = NULL;
        status = repro_model(job, recipe, proportion, job->first_seed + s, &cell, NULL);
        if (cell == NULL) {
            continue;
        }
        const json_t *views = json_object_get(cell, "views");
        for (int v = 0; v < REPRO_VIEWS; v++) {
            accuracy[v][n] = cli_number(json_object_get(views, repro_views[v]), "accuracy");
        }
        barrier[n++] = last_barrier(cell);
        csv_line(csv, recipe, proportion, job->first_seed + s, views);
        json_decref(cell);
    }
    if (status != CLI_OK || n == 0) {
        return status;
    }
    *row = json_pack("{s:s, s:s, s:i, s:i}", "model", recipe->name, "title", recipe->title,
                     "cue_percent", proportion, "seeds", n);
    json_t *views = json_object();
    for (int v = 0; v < REPRO_VIEWS; v++) {
        json_object_set_new(views, repro_views[v], repro_average_json(accuracy[v], n));
    }
    json_object_set_new(*row, "accuracy", views);
    if (isfinite(barrier[0])) {
        json_object_set_new(*row, "loss_barrier", repro_average_json(barrier, n));
    }
    return CLI_OK;
}

/* ---- markdown ------------------------------------------------------------------------------ */

static void print_head(FILE *out, const repro_job *job, const repro_experiment *experiment)
{
    char *caption = repro_caption(job);
    fprintf(out,
            "**%s.** %s %s\n\nAccuracy in %%, mean ± standard deviation over seeds; L_B is the "
            "mean of the last %d epochs.\n\n",
            experiment->title, experiment->question, caption != NULL ? caption : "", LAST_EPOCHS);
    fputs("| cue | model | NC | C | RC | RI | L_B, nats | seeds | paper NC/C/RC/RI |\n"
          "|---|---|---|---|---|---|---|---|---|\n",
          out);
    free(caption);
}

static void print_row(FILE *out, const json_t *row)
{
    int proportion = (int)cli_number(row, "cue_percent");
    const double *figures = paper_figures(cli_string(row, "model"), proportion);
    fprintf(out, "| %d %% | %s |", proportion, cli_string(row, "title"));
    for (int v = 0; v < REPRO_VIEWS; v++) {
        fputc(' ', out);
        repro_print_average(
            out, cli_at(row, (const char *const[]){"accuracy", repro_views[v], NULL}), 100.0, 1);
        fputs(" |", out);
    }
    fputc(' ', out);
    repro_print_average(out, json_object_get(row, "loss_barrier"), 1.0, 2);
    fprintf(out, " | %d | ", (int)cli_number(row, "seeds"));
    for (int v = 0; v < REPRO_VIEWS && figures != NULL; v++) {
        fprintf(out, "%s%.1f", v > 0 ? " / " : "", figures[v]);
    }
    fputs(" |\n", out);
}

/* ---- picture ------------------------------------------------------------------------------- */

static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#a8558f",
                                     "#333333", "#b08900", "#56708c"};
enum { MOST_MODELS = CLI_COUNT(colors) };

/* Accuracy on a view of `model` at each proportion; NaN where there is none. */
static void column(const repro_job *job, const json_t *rows, const char *model, const char *view,
                   double *y)
{
    for (int p = 0; p < job->n_proportions; p++) {
        const json_t *row;
        size_t i;
        y[p] = (double)NAN;
        json_array_foreach((json_t *)rows, i, row)
        {
            if ((int)cli_number(row, "cue_percent") == job->proportions[p] &&
                strcmp(cli_string(row, "model"), model) == 0) {
                y[p] =
                    cli_number(cli_at(row, (const char *const[]){"accuracy", view, NULL}), "mean");
            }
        }
    }
}

static int draw(const repro_job *job, const repro_experiment *experiment, const json_t *rows)
{
    static const struct {
        const char *view, *label;
    } shown[] = {{"nocue", "NC"}, {"cue", "C"}, {"randcue", "RC"}, {"randimg", "RI"}};
    double x[REPRO_MOST_PROPORTIONS], y[CLI_COUNT(shown)][MOST_MODELS][REPRO_MOST_PROPORTIONS];
    cli_series series[CLI_COUNT(shown)][MOST_MODELS];
    cli_panel panels[CLI_COUNT(shown)];
    char caption[160], *text = NULL;
    size_t size = 0;
    for (int p = 0; p < job->n_proportions; p++) {
        x[p] = job->proportions[p];
    }
    for (int k = 0; k < CLI_COUNT(shown); k++) {
        int n = 0;
        for (; n < MOST_MODELS && experiment->models[n] != NULL; n++) {
            column(job, rows, experiment->models[n], shown[k].view, y[k][n]);
            series[k][n] = (cli_series){.name = repro_recipe_find(experiment->models[n])->name,
                                        .color = colors[n],
                                        .marker = n % 4,
                                        .y = y[k][n]};
        }
        panels[k] = (cli_panel){.x_label = "cue proportion, %",
                                .y_label = shown[k].label,
                                .x = x,
                                .n = job->n_proportions,
                                .series = series[k],
                                .n_series = n,
                                .percent = true};
    }
    repro_short_caption(job, caption, sizeof(caption));
    const cli_chart chart = {.title = experiment->title,
                             .subtitle = caption,
                             .id = experiment->name,
                             .panels = panels,
                             .n_panels = CLI_COUNT(shown)};
    char *path = repro_path(job, "", experiment->name, ".svg");
    FILE *stream = path == NULL ? NULL : open_memstream(&text, &size);
    int status = CLI_FAILED;
    if (stream != NULL) {
        cli_chart_write(stream, &chart);
        status = cli_stream_save(job->args, path, stream, &text);
    }
    free(path);
    return status;
}

/* ---- the table ----------------------------------------------------------------------------- */

int repro_run_table(repro_job *job, const repro_experiment *experiment)
{
    char *text = NULL, *table = NULL;
    size_t text_size = 0, table_size = 0;
    FILE *markdown = open_memstream(&text, &text_size);
    FILE *csv = open_memstream(&table, &table_size);
    json_t *rows = json_array();
    int status = markdown == NULL || csv == NULL || rows == NULL
                     ? cli_error(job->args, "out of memory")
                     : CLI_OK;
    if (status == CLI_OK) {
        print_head(markdown, job, experiment);
        fputs("model,cue_percent,seed,view,loss,accuracy\n", csv);
    }
    for (int p = 0; p < job->n_proportions; p++) {
        for (int m = 0; status == CLI_OK && experiment->models[m] != NULL; m++) {
            json_t *row = NULL;
            status = make_row(job, repro_recipe_find(experiment->models[m]), job->proportions[p],
                              csv, &row);
            if (row != NULL) {
                print_row(markdown, row);
                json_array_append_new(rows, row);
            }
        }
    }
    if (status == CLI_OK) {
        status = draw(job, experiment, rows);
    }
    if (status != CLI_OK) {
        json_decref(rows);
        repro_drop(markdown, &text);
        repro_drop(csv, &table);
        return status;
    }
    char *caption = repro_caption(job);
    json_t *results = json_pack("{s:s, s:s, s:o}", "experiment", experiment->name, "caption",
                                caption != NULL ? caption : "", "rows", rows);
    free(caption);
    return repro_finish(job, experiment->name, results, markdown, &text, csv, &table);
}
