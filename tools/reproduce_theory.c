/* SPDX-License-Identifier: BSD-3-Clause
 *
 * `modeconn reproduce fig-theory` (paper, appendix F.3, figure 13): the theory's networks,
 *
 *     f(x; W) = (1/N) 1^T max(0, W^T x),
 *
 * on two attributes of different complexity K that both give the label away, and noise. A model
 * comes to rely on one attribute by seeing the other randomised in training. Straight lines between
 * models, before and after matching their units, and how far their activation patterns agree.
 *
 * The paper's widths, dimensions and noise are not known: these are ours. Two things they have to
 * make possible. The theory speaks of minimizers with f = y exactly, and f is convex in x.
 *
 * - The cross-entropy of a clean label would reward f beyond 1 for ever. So each training sample
 *   stands COPIES times in the data, once of them with the other label: the minimum of
 *   the cross-entropy, the entropy of the labels, is then where the logits' difference is
 *   +-log(COPIES - 1), that is at f = y with the logit_scale below (lib/nn/arch_theory.c).
 * - A convex function that is 1 on an interval is at least 1 outside, and classes along a line can
 *   be 1, 0, 1 but not 0, 1, 0. So slab s of an attribute of S slabs is a point, vertex s of the
 *   regular S-gon (+-1 for S = 2): there no vertex lies between others. A constant coordinate
 *   stands for the units' biases.
 */
#include "reproduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COPIES = 4, ATTRIBUTES = 2 };

static const char model_settings[] = "widths=100,logit_scale=2.19722457734"; /* 2 log 3 */
/* A batch is the whole of the data with its copies: the other label is no noise then. */
static const char training_settings[] =
    "batch_size=2000,learning_rate=20,weight_decay=0,schedule=cosine";
static const char data_settings[] = "slabs:slabs=0+4,noise=8,noise_scale=0.5,train=500,test=1000";
static const int slab_counts[ATTRIBUTES] = {2, 5};
static const double slab_width = 1.0, slab_margin = 0.1; /* the defaults of slabs: */

/* What a model saw in training. */
enum { SIMPLE, COMPLEX, BOTH, SIMPLE_AGAIN, COMPLEX_AGAIN, MODELS };
static const struct {
    const char *name, *view;
    int64_t seed_offset;
} models[MODELS] = {
    {"simple", "randslab2", 0},
    {"complex", "randslab1", REPRO_SEED_STEP},
    {"both", "nocue", 2 * REPRO_SEED_STEP},
    {"simple'", "randslab2", 3 * REPRO_SEED_STEP},
    {"complex'", "randslab1", 4 * REPRO_SEED_STEP},
};

static const int pairs[][2] = {{COMPLEX, COMPLEX_AGAIN},
                               {SIMPLE, SIMPLE_AGAIN},
                               {SIMPLE, BOTH},
                               {COMPLEX, BOTH},
                               {SIMPLE, COMPLEX}};

enum { POINTS = 21, MEASURED = 3, MATCHINGS = 3 };
static const char *const measured[MEASURED] = {"nocue", "randslab1", "randslab2"};
/* The units' order as trained, and matched to the second model's by either method of align. */
static const char *const matchings[MATCHINGS] = {"none", "activations", "weights"};
static const char *const panel_labels[MATCHINGS] = {"t, as trained", "t, matched by activations",
                                                    "t, matched by weights"};

typedef struct theory_lab {
    repro_job *job;
    modeconn_model *model[MODELS];
    modeconn_dataset *train, *test[MEASURED]; /* train: with the copies */
} theory_lab;

/* ---- data and models ----------------------------------------------------------------------- */

/* What a network sees of a sample of slabs: 1, a vertex for each attribute, the noise. */
static void place(const float *slabs, int64_t noise, float *x)
{
    *x++ = 1.0F;
    for (int a = 0; a < ATTRIBUTES; a++) {
        double period = 2.0 * (slab_width + slab_margin) / slab_counts[a];
        double slab = floor(((double)slabs[a] + slab_width) / period);
        *x++ = (float)cos(2.0 * M_PI * slab / slab_counts[a]);
        *x++ = (float)sin(2.0 * M_PI * slab / slab_counts[a]);
    }
    memcpy(x, slabs + ATTRIBUTES, (size_t)noise * sizeof(*x));
}

/* Samples [n][d] of slabs as the networks see them, `copies` times, the last copy with the other
 * label if there are several. */
static int32_t place_all(modeconn_context *context, const float *slabs, const int32_t *labels,
                         int64_t n, int64_t d, int copies, modeconn_dataset **out)
{
    int64_t noise = d - ATTRIBUTES, width = 1 + 2 * ATTRIBUTES + noise;
    float *x = calloc((size_t)(n * copies * width), sizeof(*x));
    int32_t *y = calloc((size_t)(n * copies), sizeof(*y));
    int32_t status = x == NULL || y == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t i = 0; status == MODECONN_OK && i < n * copies; i++) {
        place(slabs + i % n * d, noise, x + i * width);
        y[i] = i / n > 0 && i / n == copies - 1 ? 1 - labels[i % n] : labels[i % n];
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_from_f32(context, x, y, n * copies, width, 1, 1, 2, NULL, out);
    }
    free(y);
    free(x);
    return status;
}

/* A view of slabs as a dataset of its own. */
static int32_t open_view(const theory_lab *lab, const char *split, const char *view, int copies,
                         modeconn_dataset **out)
{
    modeconn_dataset *all = NULL, *seen = NULL;
    float *slabs = NULL;
    int32_t *labels = NULL;
    int64_t n = 0, d = 0;
    modeconn_context *context = lab->job->context;
    int32_t status = modeconn_dataset_open(context, data_settings, split, NULL, &all);
    if (status == MODECONN_OK) {
        status = modeconn_dataset_view(all, view, 1.0, &seen);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_shape(seen, &n, &d, NULL, NULL, NULL);
    }
    if (status == MODECONN_OK) {
        slabs = calloc((size_t)(n * d), sizeof(*slabs));
        labels = calloc((size_t)n, sizeof(*labels));
        status = slabs == NULL || labels == NULL
                     ? MODECONN_ERROR_MEMORY
                     : modeconn_dataset_read(seen, NULL, n, slabs, labels);
    }
    if (status == MODECONN_OK) {
        status = place_all(context, slabs, labels, n, d, copies, out);
    }
    free(labels);
    free(slabs);
    modeconn_dataset_destroy(seen);
    modeconn_dataset_destroy(all);
    return status;
}

static int32_t train(theory_lab *lab, int which, int64_t seed)
{
    modeconn_dataset *data = NULL;
    modeconn_options *training = NULL, *options = NULL;
    seed += models[which].seed_offset;
    int32_t status = open_view(lab, "train", models[which].view, COPIES, &data);
    if (status == MODECONN_OK) {
        status = modeconn_options_create(NULL, "model", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, model_settings);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_create(NULL, "train", &training);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(training, training_settings);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(training, "epochs", lab->job->scale->theory_epochs);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(training, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status =
            modeconn_model_create(lab->job->context, "theory", data, options, &lab->model[which]);
    }
    if (status == MODECONN_OK) {
        status =
            modeconn_train(lab->model[which], data, training, cli_progress_step, &lab->job->bar);
    }
    modeconn_options_destroy(options);
    modeconn_options_destroy(training);
    modeconn_dataset_destroy(data);
    return status;
}

static int32_t open_lab(theory_lab *lab, int64_t seed)
{
    int32_t status = open_view(lab, "train", "nocue", COPIES, &lab->train);
    for (int v = 0; v < MEASURED && status == MODECONN_OK; v++) {
        status = open_view(lab, "test", measured[v], 1, &lab->test[v]);
    }
    for (int m = 0; m < MODELS && status == MODECONN_OK; m++) {
        status = train(lab, m, seed);
    }
    return status;
}

static void close_lab(theory_lab *lab)
{
    for (int m = 0; m < MODELS; m++) {
        modeconn_model_destroy(lab->model[m]);
    }
    for (int v = 0; v < MEASURED; v++) {
        modeconn_dataset_destroy(lab->test[v]);
    }
    modeconn_dataset_destroy(lab->train);
}

/* ---- measuring ----------------------------------------------------------------------------- */

/* The entropy of the labels of the copies, nats: no model's loss on them is less. */
static double least_loss(void)
{
    return log(COPIES) - (COPIES - 1.0) / COPIES * log(COPIES - 1.0);
}

/* Loss over the least on the training data with both attributes; accuracy on new samples, also
 * with either attribute randomised. */
static int32_t measure_model(const theory_lab *lab, int which, json_t *out)
{
    modeconn_evaluation *training = NULL;
    json_t *entry = json_object();
    double loss = 0.0;
    int32_t status =
        modeconn_evaluate(lab->model[which], NULL, lab->train, NULL, NULL, NULL, &training);
    if (status == MODECONN_OK) {
        status = modeconn_evaluation_get(training, "nocue", &loss, NULL);
    }
    json_object_set_new(entry, "excess", cli_real(loss - least_loss()));
    modeconn_evaluation_destroy(training);
    for (int v = 0; v < MEASURED && status == MODECONN_OK; v++) {
        modeconn_evaluation *evaluation = NULL;
        double accuracy = 0.0;
        status =
            modeconn_evaluate(lab->model[which], NULL, lab->test[v], NULL, NULL, NULL, &evaluation);
        if (status == MODECONN_OK) {
            status = modeconn_evaluation_get(evaluation, "nocue", NULL, &accuracy);
        }
        json_object_set_new(entry, measured[v], cli_real(accuracy));
        modeconn_evaluation_destroy(evaluation);
    }
    json_object_set_new(out, models[which].name, entry);
    return status;
}

/* Patterns of the ends on the training data: how far those of the hidden layer agree. */
static int32_t measure_patterns(const theory_lab *lab, const modeconn_path *path, json_t *entry)
{
    modeconn_options *options = NULL;
    modeconn_patterns *patterns = NULL;
    double agreement[2] = {0.0, 0.0}, kappa[2] = {0.0, 0.0};
    int32_t status = modeconn_options_create(NULL, "patterns", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "points", 2);
    }
    if (status == MODECONN_OK) {
        status =
            modeconn_patterns_measure(path, lab->train, lab->train, options, NULL, NULL, &patterns);
    }
    if (status == MODECONN_OK) {
        status = modeconn_patterns_values(patterns, 0, 0, agreement, kappa, NULL, 2);
    }
    json_object_set_new(entry, "agreement", cli_real(agreement[1]));
    json_object_set_new(entry, "kappa", cli_real(kappa[1]));
    modeconn_patterns_destroy(patterns);
    modeconn_options_destroy(options);
    return status;
}

static int32_t measure_line(const theory_lab *lab, const modeconn_model *first,
                            const modeconn_model *second, json_t **out)
{
    modeconn_path *path = NULL;
    modeconn_options *options = NULL;
    modeconn_curve *curve = NULL;
    *out = json_object();
    int32_t status = modeconn_path_linear(first, second, &path);
    if (status == MODECONN_OK) {
        status = modeconn_options_create(NULL, "curve", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "points", POINTS);
    }
    if (status == MODECONN_OK) {
        status = modeconn_curve_measure(path, lab->train, lab->train, options, NULL, NULL, &curve);
    }
    if (status == MODECONN_OK) {
        json_t *result = cli_curve_json(curve);
        const json_t *view = cli_at(result, (const char *const[]){"views", "nocue", NULL});
        const json_t *heights = cli_at(view, (const char *const[]){"barrier", "loss", NULL});
        json_object_set(*out, "t", json_object_get(result, "t"));
        json_object_set(*out, "loss", json_object_get(view, "loss"));
        json_object_set(*out, "barrier", json_object_get(heights, "linear"));
        json_decref(result);
        status = measure_patterns(lab, path, *out);
    }
    modeconn_curve_destroy(curve);
    modeconn_options_destroy(options);
    modeconn_path_destroy(path);
    return status;
}

/* The line from `first`, its units matched to those of `second`. */
static int32_t measure_matched(const theory_lab *lab, const char *method,
                               const modeconn_model *first, const modeconn_model *second,
                               json_t **out)
{
    modeconn_options *options = NULL;
    modeconn_alignment *alignment = NULL;
    modeconn_model *permuted = NULL;
    int32_t status = modeconn_options_create(NULL, "align", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(options, "method", method);
    }
    if (status == MODECONN_OK) {
        status = modeconn_align(second, first, lab->train, options, NULL, NULL, &alignment);
    }
    if (status == MODECONN_OK) {
        status = modeconn_alignment_apply(alignment, first, &permuted);
    }
    if (status == MODECONN_OK) {
        status = measure_line(lab, permuted, second, out);
    }
    modeconn_model_destroy(permuted);
    modeconn_alignment_destroy(alignment);
    modeconn_options_destroy(options);
    return status;
}

static int32_t measure_pair(const theory_lab *lab, const int pair[2], json_t *out)
{
    const modeconn_model *first = lab->model[pair[0]], *second = lab->model[pair[1]];
    json_t *row =
        json_pack("{s:s, s:s}", "first", models[pair[0]].name, "second", models[pair[1]].name);
    int32_t status = MODECONN_OK;
    for (int k = 0; k < MATCHINGS && status == MODECONN_OK; k++) {
        json_t *line = NULL;
        status = k == 0 ? measure_line(lab, first, second, &line)
                        : measure_matched(lab, matchings[k], first, second, &line);
        json_object_set_new(row, matchings[k], line);
    }
    json_array_append_new(out, row);
    return status;
}

/* One seed: {"settings", "models", "pairs"}. */
static int measure(repro_job *job, int64_t seed, json_t **cell)
{
    char name[64];
    double started = cli_seconds();
    json_t *build = cli_build_json(job->args);
    json_t *wanted =
        json_pack("{s:O?, s:s, s:s, s:s, s:I, s:I}", "version", json_object_get(build, "version"),
                  "model", model_settings, "training", training_settings, "data", data_settings,
                  "epochs", (json_int_t)job->scale->theory_epochs, "seed", (json_int_t)seed);
    json_decref(build);
    snprintf(name, sizeof(name), "fig-theory-s%lld", (long long)seed);
    *cell = repro_cell_read(job, name, wanted, false);
    if (*cell != NULL || job->finished) {
        json_decref(wanted);
        return CLI_OK;
    }
    theory_lab lab = {.job = job};
    json_t *by_model = json_object(), *rows = json_array();
    cli_progress_phase(&job->bar, 1.0, "networks on slabs, seed %d", (int)seed);
    int32_t status = open_lab(&lab, seed);
    for (int m = 0; m < MODELS && status == MODECONN_OK; m++) {
        status = measure_model(&lab, m, by_model);
    }
    for (int p = 0; p < CLI_COUNT(pairs) && status == MODECONN_OK; p++) {
        status = measure_pair(&lab, pairs[p], rows);
    }
    int result = repro_failed(job, status) ? CLI_FAILED : CLI_OK;
    close_lab(&lab);
    *cell = json_pack("{s:s, s:o, s:o, s:o, s:f}", "name", name, "settings", wanted, "models",
                      by_model, "pairs", rows, "seconds", cli_seconds() - started);
    return result == CLI_OK ? repro_cell_write(job, name, *cell) : result;
}

/* ---- output -------------------------------------------------------------------------------- */

static void print_models(FILE *out, const json_t *cell)
{
    for (int m = 0; m < MODELS; m++) {
        const json_t *entry = cli_at(cell, (const char *const[]){"models", models[m].name, NULL});
        fprintf(out, "| %s | %lld | %s | %.0e |", models[m].name,
                (long long)json_integer_value(
                    cli_at(cell, (const char *const[]){"settings", "seed", NULL})),
                models[m].view, cli_number(entry, "excess"));
        for (int v = 0; v < MEASURED; v++) {
            fprintf(out, " %.1f |", 100.0 * cli_number(entry, measured[v]));
        }
        fputc('\n', out);
    }
}

static void print_pairs(FILE *out, FILE *csv, const json_t *cell)
{
    size_t i;
    const json_t *row;
    long long seed = (long long)json_integer_value(
        cli_at(cell, (const char *const[]){"settings", "seed", NULL}));
    json_array_foreach(json_object_get(cell, "pairs"), i, row)
    {
        fprintf(out, "| %s to %s | %lld |", cli_string(row, "first"), cli_string(row, "second"),
                seed);
        for (int k = 0; k < MATCHINGS; k++) {
            const json_t *line = json_object_get(row, matchings[k]);
            fprintf(out, " %.4f | %.2f |", cli_number(line, "barrier"),
                    cli_two_decimals(cli_number(line, "kappa")));
            fprintf(csv, "%s,%s,%lld,%s,%.6f,%.6f,%.6f\n", cli_string(row, "first"),
                    cli_string(row, "second"), seed, matchings[k], cli_number(line, "barrier"),
                    cli_number(line, "agreement"), cli_number(line, "kappa"));
        }
        fputc('\n', out);
    }
}

/* Loss over the least along the lines, before and after matching, one line a pair. */
static int draw(const repro_job *job, const json_t *cell)
{
    static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#a8558f", "#333333"};
    double t[POINTS], y[MATCHINGS][CLI_COUNT(pairs)][POINTS];
    char names[CLI_COUNT(pairs)][48], subtitle[160], *text = NULL;
    cli_series series[MATCHINGS][CLI_COUNT(pairs)];
    cli_panel panels[MATCHINGS];
    size_t size = 0;
    double highest = 0.0;
    for (int k = 0; k < MATCHINGS; k++) {
        for (int p = 0; p < CLI_COUNT(pairs); p++) {
            const json_t *row = json_array_get(json_object_get(cell, "pairs"), (size_t)p);
            const json_t *line = json_object_get(row, matchings[k]);
            for (size_t i = 0; i < POINTS; i++) {
                const json_t *loss = json_array_get(json_object_get(line, "loss"), i);
                t[i] = json_number_value(json_array_get(json_object_get(line, "t"), i));
                y[k][p][i] =
                    json_is_number(loss) ? json_number_value(loss) - least_loss() : (double)NAN;
                highest = fmax(highest, y[k][p][i]); /* of numbers, where one is NaN */
            }
            snprintf(names[p], sizeof(names[p]), "%s to %s", cli_string(row, "first"),
                     cli_string(row, "second"));
            series[k][p] =
                (cli_series){.name = names[p], .color = colors[p], .marker = p % 4, .y = y[k][p]};
        }
        panels[k] = (cli_panel){.x_label = panel_labels[k],
                                .y_label = "Loss over the least, nats",
                                .x = t,
                                .n = POINTS,
                                .series = series[k],
                                .n_series = CLI_COUNT(pairs)};
    }
    for (int k = 0; k < MATCHINGS; k++) {
        panels[k].reach = highest;
    }
    snprintf(subtitle, sizeof(subtitle), "theory:%s on %s", model_settings, data_settings);
    const cli_chart chart = {.title = "Straight lines between one-hidden-layer networks",
                             .subtitle = subtitle,
                             .id = "theory",
                             .panels = panels,
                             .n_panels = MATCHINGS};
    char *path = repro_path(job, "", "fig-theory", ".svg");
    FILE *stream = path == NULL ? NULL : open_memstream(&text, &size);
    int status = CLI_FAILED;
    if (stream != NULL) {
        cli_chart_write(stream, &chart);
        status = cli_stream_save(job->args, path, stream, &text);
    }
    free(path);
    return status;
}

static void print_caption(FILE *out, const repro_job *job, const repro_experiment *experiment)
{
    fprintf(out,
            "**%s.** %s Two attributes give the label away, one of complexity K = 0, one of "
            "K = 4; `simple` and `complex` saw the other one randomised in training, `both` "
            "neither; a prime is another run. Scale: `%s`, %s, %lld epochs, %s; slabs are the "
            "vertices of a regular polygon, and each sample stands %d times in the training data, "
            "once with the other label, so that the least cross-entropy, %.4f nats, is at f = y. "
            "Not known to be the paper's sizes. Barriers on the training data.\n",
            experiment->title, experiment->question, data_settings, model_settings,
            (long long)job->scale->theory_epochs, training_settings, COPIES, least_loss());
}

/* Runs and prints every seed; `lines` gathers the second table. */
static int run_seeds(repro_job *job, FILE *markdown, FILE *lines, FILE *csv, json_t *cells)
{
    int status = CLI_OK;
    for (int64_t s = 0; s < job->seeds && status == CLI_OK; s++) {
        json_t *cell = NULL;
        status = measure(job, job->first_seed + s, &cell);
        if (status == CLI_OK && cell != NULL) {
            print_models(markdown, cell);
            print_pairs(lines, csv, cell);
            json_array_append(cells, cell);
            status = s == 0 ? draw(job, cell) : CLI_OK;
        }
        json_decref(cell);
    }
    return status;
}

int repro_run_theory(repro_job *job, const repro_experiment *experiment)
{
    char *text = NULL, *table = NULL, *second = NULL;
    size_t sizes[3] = {0, 0, 0};
    FILE *markdown = open_memstream(&text, &sizes[0]);
    FILE *csv = open_memstream(&table, &sizes[1]);
    FILE *lines = open_memstream(&second, &sizes[2]);
    json_t *cells = json_array();
    int status = CLI_OK;
    if (markdown == NULL || csv == NULL || lines == NULL || cells == NULL) {
        status = cli_error(job->args, "out of memory");
        goto out;
    }
    print_caption(markdown, job, experiment);
    fputs("\n| model | seed | trained on | loss over the least, nats | accuracy, % | "
          "K = 0 randomised | K = 4 randomised |\n|---|---|---|---|---|---|---|\n",
          markdown);
    fputs("first,second,seed,matching,barrier,agreement,kappa\n", csv);
    status = run_seeds(job, markdown, lines, csv, cells);
    if (status == CLI_OK && fflush(lines) == 0) {
        fprintf(markdown,
                "\n| line | seed | barrier, nats | pattern kappa | matched by activations: barrier "
                "| kappa | matched by weights: barrier | kappa |\n"
                "|---|---|---|---|---|---|---|---|\n%s",
                second);
        json_t *results = json_pack("{s:s, s:O}", "experiment", experiment->name, "cells", cells);
        status = repro_finish(job, experiment->name, results, markdown, &text, csv, &table);
        markdown = csv = NULL;
    }
out:
    repro_drop(markdown, &text);
    repro_drop(csv, &table);
    repro_drop(lines, &second);
    json_decref(cells);
    return status;
}
