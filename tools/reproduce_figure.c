/* SPDX-License-Identifier: BSD-3-Clause
 *
 * `modeconn reproduce fig-...`: the paths of a figure, each a line of a table and, for the first
 * seed, a picture.
 */
#include "reproduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SEEDS = 64 };

/* What is gathered of one path over seeds. */
typedef struct gathered {
    double barrier[REPRO_VIEWS][MOST_SEEDS];  /* nats over the line between the ends */
    double accuracy[REPRO_VIEWS][MOST_SEEDS]; /* of the second end */
    int connected, disconnected, undecided, n;
} gathered;

static void gather(gathered *g, const json_t *cell)
{
    const char *verdict = cli_string(cell, "verdict");
    const json_t *end = json_array_get(json_object_get(cell, "ends"), 1);
    for (int v = 0; v < REPRO_VIEWS; v++) {
        g->barrier[v][g->n] = cli_number(
            cli_at(cell, (const char *const[]){"views", repro_views[v], NULL}), "height");
        g->accuracy[v][g->n] = cli_number(json_object_get(end, repro_views[v]), "accuracy");
    }
    g->connected += strcmp(verdict, "connected") == 0;
    g->disconnected += strcmp(verdict, "disconnected") == 0;
    g->undecided += strcmp(verdict, "undecided") == 0;
    g->n++;
}

static void csv_lines(FILE *csv, const repro_line *line, int64_t seed, const json_t *cell)
{
    const json_t *t = json_object_get(cell, "t");
    for (size_t i = 0; i < json_array_size(t); i++) {
        for (int v = 0; v < REPRO_VIEWS; v++) {
            const json_t *view = cli_at(cell, (const char *const[]){"views", repro_views[v], NULL});
            fprintf(csv, "%s,%s,%s,%d,%lld,%.6f,%s,%.6f,%.6f\n", line->first, line->second,
                    line->family, line->proportion, (long long)seed,
                    json_number_value(json_array_get(t, i)), repro_views[v],
                    json_number_value(json_array_get(json_object_get(view, "loss"), i)),
                    json_number_value(json_array_get(json_object_get(view, "accuracy"), i)));
        }
    }
}

static int draw(const repro_job *job, const repro_experiment *experiment, const repro_line *line,
                const json_t *cell)
{
    char name[160], title[160], ends[96], caption[160], *text = NULL;
    size_t size = 0;
    snprintf(name, sizeof(name), "%s-%s-%s-%s-p%d", experiment->name, line->family, line->first,
             line->second, line->proportion);
    snprintf(title, sizeof(title), "%s to %s, %s, cue on %d %%, seed %lld", line->first,
             line->second, line->family, line->proportion, (long long)job->first_seed);
    snprintf(ends, sizeof(ends), "from %s (t = 0) to %s (t = 1)", line->first, line->second);
    repro_short_caption(job, caption, sizeof(caption));
    const cli_figure figure = {
        .title = title, .id = "curve", .ends = ends, .scale = caption, .write = cli_chart_write};
    char *path = repro_path(job, "", name, ".svg");
    FILE *stream = path == NULL ? NULL : open_memstream(&text, &size);
    int status = CLI_FAILED;
    if (stream != NULL && !cli_figure_curve(stream, cell, &figure)) {
        fclose(stream);
        free(text);
        cli_error(job->args, "%s: cannot be drawn", path);
    } else if (stream != NULL) {
        status = cli_stream_save(job->args, path, stream, &text);
    }
    free(path);
    return status;
}

static json_t *row_json(const repro_line *line, const gathered *g)
{
    json_t *barrier = json_object(), *accuracy = json_object();
    for (int v = 0; v < REPRO_VIEWS; v++) {
        json_object_set_new(barrier, repro_views[v], repro_average_json(g->barrier[v], g->n));
        json_object_set_new(accuracy, repro_views[v], repro_average_json(g->accuracy[v], g->n));
    }
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:o, s:o, s:{s:i, s:i, s:i}}", "first", line->first,
                     "second", line->second, "path", line->family, "cue_percent", line->proportion,
                     "seeds", g->n, "barrier", barrier, "accuracy_second", accuracy, "verdicts",
                     "connected", g->connected, "disconnected", g->disconnected, "undecided",
                     g->undecided);
}

static int make_row(repro_job *job, const repro_experiment *experiment, const repro_line *line,
                    FILE *csv, json_t **row)
{
    gathered *g = calloc(1, sizeof(*g));
    int status = g == NULL ? cli_error(job->args, "out of memory") : CLI_OK;
    *row = NULL;
    for (int64_t s = 0; s < job->seeds && status == CLI_OK; s++) {
        json_t *cell = NULL;
        status = repro_line_cell(job, line, job->first_seed + s, &cell);
        if (cell == NULL) {
            continue;
        }
        gather(g, cell);
        csv_lines(csv, line, job->first_seed + s, cell);
        if (s == 0) {
            status = draw(job, experiment, line, cell);
        }
        json_decref(cell);
    }
    if (status == CLI_OK && g->n > 0) {
        *row = row_json(line, g);
    }
    free(g);
    return status;
}

static void print_row(FILE *out, const json_t *row)
{
    static const struct {
        const char *key;
        double factor;
        int decimals;
    } parts[] = {{"barrier", 1.0, 2}, {"accuracy_second", 100.0, 1}};
    const json_t *verdicts = json_object_get(row, "verdicts");
    fprintf(out, "| %s to %s | %s | %d %% |", cli_string(row, "first"), cli_string(row, "second"),
            cli_string(row, "path"), (int)cli_number(row, "cue_percent"));
    for (int k = 0; k < CLI_COUNT(parts); k++) {
        for (int v = 0; v < REPRO_VIEWS; v++) {
            fputc(' ', out);
            repro_print_average(
                out, cli_at(row, (const char *const[]){parts[k].key, repro_views[v], NULL}),
                parts[k].factor, parts[k].decimals);
            fputs(" |", out);
        }
    }
    fprintf(out, " %d / %d / %d |\n", (int)cli_number(verdicts, "connected"),
            (int)cli_number(verdicts, "disconnected"), (int)cli_number(verdicts, "undecided"));
}

static void print_head(FILE *out, const repro_experiment *experiment, const char *caption)
{
    fprintf(out,
            "**%s.** %s %s\n\nBarrier: height of the loss over the straight line between the "
            "ends' losses, nats; batch-norm statistics taken anew at every point. Accuracy in %% "
            "of the second end. Mechanistically connected: on every view at once (Definition 5); "
            "that dissimilar mechanisms follow from a barrier is the paper's Conjecture 1, which "
            "is not proved.\n\n"
            "| path | family | cue | barrier NC | C | RC | RI | accuracy NC | C | RC | RI | "
            "connected / not / open |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
            experiment->title, experiment->question, caption);
}

int repro_run_figure(repro_job *job, const repro_experiment *experiment)
{
    char *text = NULL, *table = NULL, *caption = repro_caption(job);
    size_t text_size = 0, table_size = 0;
    FILE *markdown = open_memstream(&text, &text_size);
    FILE *csv = open_memstream(&table, &table_size);
    json_t *rows = json_array();
    int status = CLI_OK;
    if (markdown == NULL || csv == NULL || rows == NULL || caption == NULL) {
        status = cli_error(job->args, "out of memory");
    } else {
        print_head(markdown, experiment, caption);
        fputs("first,second,path,cue_percent,seed,t,view,loss,accuracy\n", csv);
    }
    for (int i = 0; status == CLI_OK && i < experiment->n_lines; i++) {
        json_t *row = NULL;
        status = make_row(job, experiment, &experiment->lines[i], csv, &row);
        if (row != NULL) {
            print_row(markdown, row);
            json_array_append_new(rows, row);
        }
    }
    if (status == CLI_OK) {
        json_t *results = json_pack("{s:s, s:s, s:o}", "experiment", experiment->name, "caption",
                                    caption, "rows", rows);
        status = repro_finish(job, experiment->name, results, markdown, &text, csv, &table);
    } else {
        json_decref(rows);
        repro_drop(markdown, &text);
        repro_drop(csv, &table);
    }
    free(caption);
    return status;
}
