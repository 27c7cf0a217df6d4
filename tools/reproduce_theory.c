/* SPDX-License-Identifier: BSD-3-Clause
 *
 * `modeconn reproduce fig-theory` (paper, appendix F.3, figure 13): one-hidden-layer ReLU networks
 * on two attributes of different complexity K that both give the label away, and noise. A model
 * comes to rely on one attribute by seeing the other randomised in training. Straight lines between
 * models, before and after matching their units, and how far their activation patterns agree.
 *
 * The paper's widths, dimensions and noise are not known: these are ours. The theory's network,
 * f(x) = (1/N) 1^T max(0, W^T x), is convex in x, so along a line its classes can be 1, 0, 1 but
 * never 0, 1, 0, 1, 0: it gets K = 2 with the labels exchanged. K = 4 goes to an mlp with biases
 * and a trained last layer, which the theory does not speak of.
 */
#include "reproduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A network and its data. */
typedef struct theory_setting {
    const char *name, *arch, *model, *training, *data;
    int complex_k;
    bool exchanged; /* labels 0 and 1 */
} theory_setting;

static const theory_setting settings[] = {
    {"theory", "theory", "widths=100",
     "batch_size=100,learning_rate=10,weight_decay=0,schedule=cosine",
     "slabs:slabs=0+2,noise=8,train=2000,test=1000", 2, true},
    {"mlp", "mlp", "hidden=100",
     "batch_size=100,learning_rate=0.1,weight_decay=0.0001,schedule=cosine",
     "slabs:slabs=0+4,noise=8,train=2000,test=1000", 4, false},
};

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

enum { POINTS = 21, MEASURED = 3 };
static const char *const measured[MEASURED] = {"nocue", "randslab1", "randslab2"};
static const char *const when[2] = {"before", "after"};

typedef struct theory_lab {
    repro_job *job;
    const theory_setting *setting;
    modeconn_model *model[MODELS];
    modeconn_dataset *train, *test[MEASURED];
} theory_lab;

/* ---- data and models ----------------------------------------------------------------------------
 */

/* A view as a dataset of its own, with labels exchanged where the setting says so. */
static int32_t open_view(const theory_lab *lab, const char *split, const char *view,
                         modeconn_dataset **out)
{
    modeconn_dataset *all = NULL, *seen = NULL;
    float *x = NULL;
    int32_t *labels = NULL;
    int64_t n = 0, d = 0, classes = 0;
    modeconn_context *context = lab->job->context;
    int32_t status = modeconn_dataset_open(context, lab->setting->data, split, NULL, &all);
    if (status == MODECONN_OK) {
        status = modeconn_dataset_view(all, view, 1.0, &seen);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_shape(seen, &n, &d, NULL, NULL, &classes);
    }
    if (status == MODECONN_OK) {
        x = calloc((size_t)(n * d), sizeof(*x));
        labels = calloc((size_t)n, sizeof(*labels));
        status = x == NULL || labels == NULL ? MODECONN_ERROR_MEMORY
                                             : modeconn_dataset_read(seen, NULL, n, x, labels);
    }
    for (int64_t i = 0; status == MODECONN_OK && lab->setting->exchanged && i < n; i++) {
        labels[i] = 1 - labels[i];
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_from_f32(context, x, labels, n, d, 1, 1, classes, NULL, out);
    }
    free(labels);
    free(x);
    modeconn_dataset_destroy(seen);
    modeconn_dataset_destroy(all);
    return status;
}

static int32_t train(theory_lab *lab, int which, int64_t seed)
{
    modeconn_dataset *data = NULL;
    modeconn_options *training = NULL, *options = NULL;
    seed += models[which].seed_offset;
    int32_t status = open_view(lab, "train", models[which].view, &data);
    if (status == MODECONN_OK) {
        status = modeconn_options_create(NULL, "model", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, lab->setting->model);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_create(NULL, "train", &training);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(training, lab->setting->training);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(training, "epochs", lab->job->scale->theory_epochs);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(training, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_create(lab->job->context, lab->setting->arch, data, options,
                                       &lab->model[which]);
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
    int32_t status = open_view(lab, "train", "nocue", &lab->train);
    for (int v = 0; v < MEASURED && status == MODECONN_OK; v++) {
        status = open_view(lab, "test", measured[v], &lab->test[v]);
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

/* ---- measuring ----------------------------------------------------------------------------------
 */

/* Accuracy on both attributes, and with either randomised. */
static int32_t measure_model(const theory_lab *lab, int which, json_t *out)
{
    json_t *entry = json_object();
    int32_t status = MODECONN_OK;
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
        status =
            modeconn_curve_measure(path, lab->train, lab->test[0], options, NULL, NULL, &curve);
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

static int32_t measure_pair(const theory_lab *lab, const int pair[2], json_t *out)
{
    modeconn_alignment *alignment = NULL;
    modeconn_model *permuted = NULL;
    const modeconn_model *first = lab->model[pair[0]], *second = lab->model[pair[1]];
    json_t *row =
        json_pack("{s:s, s:s}", "first", models[pair[0]].name, "second", models[pair[1]].name);
    int32_t status = modeconn_align(second, first, lab->train, NULL, NULL, NULL, &alignment);
    if (status == MODECONN_OK) {
        status = modeconn_alignment_apply(alignment, first, &permuted);
    }
    for (int k = 0; k < 2 && status == MODECONN_OK; k++) {
        json_t *line = NULL;
        status = measure_line(lab, k == 0 ? first : permuted, second, &line);
        json_object_set_new(row, when[k], line);
    }
    json_array_append_new(out, row);
    modeconn_model_destroy(permuted);
    modeconn_alignment_destroy(alignment);
    return status;
}

/* One network at one seed: {"settings", "models", "pairs"}. */
static int measure(repro_job *job, const theory_setting *setting, int64_t seed, json_t **cell)
{
    char name[64];
    double started = cli_seconds();
    json_t *build = cli_build_json();
    json_t *wanted = json_pack(
        "{s:O?, s:s, s:s, s:s, s:s, s:I, s:I}", "version", json_object_get(build, "version"),
        "arch", setting->arch, "model", setting->model, "training", setting->training, "data",
        setting->data, "epochs", (json_int_t)job->scale->theory_epochs, "seed", (json_int_t)seed);
    json_decref(build);
    snprintf(name, sizeof(name), "fig-theory-%s-s%lld", setting->name, (long long)seed);
    *cell = repro_cell_read(job, name, wanted, false);
    if (*cell != NULL || job->finished) {
        json_decref(wanted);
        return CLI_OK;
    }
    theory_lab lab = {.job = job, .setting = setting};
    json_t *by_model = json_object(), *rows = json_array();
    cli_progress_phase(&job->bar, 1.0, "%s, seed %d", setting->name, (int)seed);
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

/* ---- output
 * -------------------------------------------------------------------------------------- */

static void print_models(FILE *out, const theory_setting *setting, const json_t *cell)
{
    for (int m = 0; m < MODELS; m++) {
        const json_t *entry = cli_at(cell, (const char *const[]){"models", models[m].name, NULL});
        fprintf(out, "| %s | %s | %lld | %s |", setting->name, models[m].name,
                (long long)json_integer_value(
                    cli_at(cell, (const char *const[]){"settings", "seed", NULL})),
                models[m].view);
        for (int v = 0; v < MEASURED; v++) {
            fprintf(out, " %.1f |", 100.0 * cli_number(entry, measured[v]));
        }
        fputc('\n', out);
    }
}

static void print_pairs(FILE *out, FILE *csv, const theory_setting *setting, const json_t *cell)
{
    size_t i;
    const json_t *row;
    long long seed = (long long)json_integer_value(
        cli_at(cell, (const char *const[]){"settings", "seed", NULL}));
    json_array_foreach(json_object_get(cell, "pairs"), i, row)
    {
        fprintf(out, "| %s | %s to %s | %lld |", setting->name, cli_string(row, "first"),
                cli_string(row, "second"), seed);
        for (int k = 0; k < 2; k++) {
            const json_t *line = json_object_get(row, when[k]);
            fprintf(out, " %.3f | %.2f |", cli_two_decimals(cli_number(line, "barrier")),
                    cli_number(line, "kappa"));
            fprintf(csv, "%s,%s,%s,%lld,%s,%.6f,%.6f,%.6f\n", setting->name,
                    cli_string(row, "first"), cli_string(row, "second"), seed, when[k],
                    cli_number(line, "barrier"), cli_number(line, "agreement"),
                    cli_number(line, "kappa"));
        }
        fputc('\n', out);
    }
}

/* Loss along the lines, before and after matching, one line a pair. */
static int draw(const repro_job *job, const theory_setting *setting, const json_t *cell)
{
    static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#a8558f", "#333333"};
    double t[POINTS], y[2][CLI_COUNT(pairs)][POINTS];
    char names[CLI_COUNT(pairs)][48], file[64], subtitle[160], *text = NULL;
    cli_series series[2][CLI_COUNT(pairs)];
    cli_panel panels[2];
    size_t size = 0;
    for (int k = 0; k < 2; k++) {
        for (int p = 0; p < CLI_COUNT(pairs); p++) {
            const json_t *row = json_array_get(json_object_get(cell, "pairs"), (size_t)p);
            const json_t *line = json_object_get(row, when[k]);
            for (size_t i = 0; i < POINTS; i++) {
                const json_t *loss = json_array_get(json_object_get(line, "loss"), i);
                t[i] = json_number_value(json_array_get(json_object_get(line, "t"), i));
                y[k][p][i] = json_is_number(loss) ? json_number_value(loss) : (double)NAN;
            }
            snprintf(names[p], sizeof(names[p]), "%s to %s", cli_string(row, "first"),
                     cli_string(row, "second"));
            series[k][p] =
                (cli_series){.name = names[p], .color = colors[p], .marker = p % 4, .y = y[k][p]};
        }
        panels[k] = (cli_panel){.x_label = k == 0 ? "t, before permutation" : "t, after it",
                                .y_label = "Loss, nats",
                                .x = t,
                                .n = POINTS,
                                .series = series[k],
                                .n_series = CLI_COUNT(pairs)};
    }
    snprintf(subtitle, sizeof(subtitle), "%s, %s, %s", setting->arch, setting->model,
             setting->data);
    const cli_chart chart = {.title = "Straight lines between one-hidden-layer networks",
                             .subtitle = subtitle,
                             .id = "theory",
                             .panels = panels,
                             .n_panels = 2};
    snprintf(file, sizeof(file), "fig-theory-%s", setting->name);
    char *path = repro_path(job, "", file, ".svg");
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
            "higher K; `simple` and `complex` saw the other one randomised in training, "
            "`both` neither; a prime is another run.",
            experiment->title, experiment->question);
    for (int s = 0; s < CLI_COUNT(settings); s++) {
        fprintf(out, " Scale of %s: `%s`%s, %s, %lld epochs, %s.", settings[s].name,
                settings[s].data, settings[s].exchanged ? ", labels exchanged" : "",
                settings[s].model, (long long)job->scale->theory_epochs, settings[s].training);
    }
    fputs(" The theory's network is convex in x and cannot learn K = 4, so it gets K = 2 with the "
          "outer slabs as class 1; the mlp has biases and trains its last layer. Neither is "
          "known to be the paper's size.\n",
          out);
}

/* Runs and prints everything; `lines` gathers the second table. */
static int run_settings(repro_job *job, FILE *markdown, FILE *lines, FILE *csv, json_t *cells)
{
    int status = CLI_OK;
    for (int i = 0; i < CLI_COUNT(settings); i++) {
        for (int64_t s = 0; s < job->seeds && status == CLI_OK; s++) {
            json_t *cell = NULL;
            status = measure(job, &settings[i], job->first_seed + s, &cell);
            if (status == CLI_OK && cell != NULL) {
                print_models(markdown, &settings[i], cell);
                print_pairs(lines, csv, &settings[i], cell);
                json_array_append(cells, cell);
                status = s == 0 ? draw(job, &settings[i], cell) : CLI_OK;
            }
            json_decref(cell);
        }
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
    fputs("\n| network | model | seed | trained on | accuracy, % | K = 0 randomised | "
          "other randomised |\n|---|---|---|---|---|---|---|\n",
          markdown);
    fputs("network,first,second,seed,permutation,barrier,agreement,kappa\n", csv);
    status = run_settings(job, markdown, lines, csv, cells);
    if (status == CLI_OK && fflush(lines) == 0) {
        fprintf(markdown,
                "\n| network | line | seed | barrier, nats | pattern kappa | barrier after "
                "permutation | kappa after |\n|---|---|---|---|---|---|---|\n%s",
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
