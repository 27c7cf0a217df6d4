/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A cell of a path: the curve between two models on every view, with the verdict on mechanistic
 * connectivity (Definition 5). A family of paths is a function and a row.
 */
#include "reproduce.h"

#include <stdlib.h>
#include <string.h>

typedef struct family {
    const char *name;
    /* `first` at t = 0. Settings say what the path depends on beside its ends. */
    int32_t (*make)(repro_job *job, const modeconn_model *first, const modeconn_model *second,
                    const repro_line *line, int64_t seed, modeconn_path **out);
    bool fitted;
} family;

static int32_t make_linear(repro_job *job, const modeconn_model *first,
                           const modeconn_model *second, const repro_line *line, int64_t seed,
                           modeconn_path **out)
{
    (void)job;
    (void)line;
    (void)seed;
    return modeconn_path_linear(first, second, out);
}

/* The first model's units permuted to match the second's: activations on the clean training
 * images, by the centred cosine. */
static int32_t make_aligned(repro_job *job, const modeconn_model *first,
                            const modeconn_model *second, const repro_line *line, int64_t seed,
                            modeconn_path **out)
{
    modeconn_alignment *alignment = NULL;
    modeconn_model *permuted = NULL;
    (void)line;
    (void)seed;
    int32_t status =
        modeconn_align(second, first, job->train, NULL, cli_progress_step, &job->bar, &alignment);
    if (status == MODECONN_OK) {
        status = modeconn_alignment_apply(alignment, first, &permuted);
    }
    if (status == MODECONN_OK) {
        status = modeconn_path_linear(permuted, second, out);
    }
    modeconn_model_destroy(permuted);
    modeconn_alignment_destroy(alignment);
    return status;
}

/* Fitted on the training data with the cue on all samples, as in the paper (section 4). */
static int32_t make_quadratic(repro_job *job, const modeconn_model *first,
                              const modeconn_model *second, const repro_line *line, int64_t seed,
                              modeconn_path **out)
{
    modeconn_options *options = NULL;
    modeconn_dataset *cued = NULL;
    (void)line;
    int32_t status = modeconn_path_create(first, second, NULL, out);
    if (status == MODECONN_OK) {
        status = modeconn_options_create(NULL, "path_fit", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, job->scale->path_fit);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_view(job->train, "cue", 1.0, &cued);
    }
    if (status == MODECONN_OK) {
        status = modeconn_path_fit(*out, cued, options, cli_progress_step, &job->bar);
    }
    modeconn_dataset_destroy(cued);
    modeconn_options_destroy(options);
    return status;
}

static const family families[] = {
    {"linear", make_linear, false},
    {"aligned", make_aligned, false},
    {"quadratic", make_quadratic, true},
};

static const family *find_family(const char *name)
{
    for (int i = 0; i < CLI_COUNT(families); i++) {
        if (strcmp(families[i].name, name) == 0) {
            return &families[i];
        }
    }
    return NULL;
}

/* ---- measuring ----------------------------------------------------------------------------- */

static int32_t curve_options(const repro_job *job, int64_t seed, modeconn_options **out)
{
    int32_t status = modeconn_options_create(NULL, "connectivity", out);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(*out, "points", job->scale->points);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(*out, "bn_samples", job->scale->bn_samples);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(*out, "bn_batch_size", job->scale->bn_batch_size);
    }
    return status == MODECONN_OK ? modeconn_options_set_i64(*out, "seed", seed) : status;
}

/* The barrier, under the key that curves have it under. */
static void add_barriers(json_t *result)
{
    json_t *view;
    const char *name;
    json_object_foreach(json_object_get(result, "views"), name, view)
    {
        (void)name;
        json_object_set_new(
            view, "barrier",
            json_pack("{s:{s:o}}", "loss", "linear", cli_real(cli_number(view, "height"))));
    }
}

static int measure(repro_job *job, const modeconn_path *path, int64_t seed, json_t *cell)
{
    modeconn_options *options = NULL;
    modeconn_connectivity *connectivity = NULL;
    int32_t status = curve_options(job, seed, &options);
    if (status == MODECONN_OK) {
        status = modeconn_connectivity_measure(path, job->train, job->test, options,
                                               cli_progress_step, &job->bar, &connectivity);
    }
    if (status == MODECONN_OK) {
        json_t *result = cli_connectivity_json(connectivity);
        add_barriers(result);
        json_object_update(cell, result);
        json_decref(result);
    }
    modeconn_connectivity_destroy(connectivity);
    modeconn_options_destroy(options);
    return repro_failed(job, status) ? CLI_FAILED : CLI_OK;
}

static json_t *line_settings(const repro_job *job, const repro_line *line, const json_t *first,
                             const json_t *second, int64_t seed)
{
    json_t *settings = json_object();
    json_object_set_new(settings, "family", json_string(line->family));
    json_object_set(settings, "first", json_object_get(first, "settings"));
    json_object_set(settings, "second", json_object_get(second, "settings"));
    json_object_set_new(settings, "points", json_integer(job->scale->points));
    json_object_set_new(settings, "bn_samples", json_integer(job->scale->bn_samples));
    json_object_set_new(settings, "bn_batch_size", json_integer(job->scale->bn_batch_size));
    json_object_set_new(settings, "seed", json_integer(seed));
    if (find_family(line->family)->fitted) {
        json_object_set_new(settings, "fit", json_string(job->scale->path_fit));
    }
    return settings;
}

static int make_cell(repro_job *job, const repro_line *line, int64_t seed, const char *name,
                     json_t *settings, const modeconn_model *const ends[2], json_t **cell)
{
    modeconn_path *path = NULL;
    double started = cli_seconds();
    *cell = json_pack("{s:s, s:O}", "name", name, "settings", settings);
    int status = *cell == NULL ? CLI_FAILED : repro_cell_begin(job, name);
    if (status == CLI_OK) {
        status = repro_split(job, seed);
    }
    if (status == CLI_OK) {
        cli_progress_phase(&job->bar, 1.0, "%s to %s, %s", line->first, line->second, line->family);
        int32_t done = find_family(line->family)->make(job, ends[0], ends[1], line, seed, &path);
        status = repro_failed(job, done) ? CLI_FAILED : measure(job, path, seed, *cell);
    }
    if (status == CLI_OK) {
        json_object_set_new(*cell, "seconds", cli_real(cli_seconds() - started));
        status = repro_cell_write(job, name, *cell);
    }
    modeconn_path_destroy(path);
    return status;
}

int repro_line_cell(repro_job *job, const repro_line *line, int64_t seed, json_t **cell)
{
    char name[192];
    modeconn_model *ends[2] = {NULL, NULL};
    json_t *cells[2] = {NULL, NULL}, *settings = NULL;
    int status = CLI_OK;
    *cell = NULL;
    snprintf(name, sizeof(name), "%s-%s-%s-p%d-s%lld", line->family, line->first, line->second,
             line->proportion, (long long)seed);
    for (int i = 0; i < 2 && status == CLI_OK; i++) {
        const char *end = i == 0 ? line->first : line->second;
        status =
            repro_model(job, repro_recipe_find(end), line->proportion, seed, &cells[i], &ends[i]);
    }
    if (status == CLI_OK && cells[0] != NULL && cells[1] != NULL) {
        const modeconn_model *const models[2] = {ends[0], ends[1]};
        settings = line_settings(job, line, cells[0], cells[1], seed);
        *cell = repro_cell_read(job, name, settings, false);
        if (*cell == NULL && !job->finished) {
            status = make_cell(job, line, seed, name, settings, models, cell);
        }
    }
    if (*cell != NULL && status == CLI_OK) {
        /* Accuracies of the ends as the models are, with statistics of their own. */
        json_object_set_new(*cell, "ends",
                            json_pack("[O, O]", json_object_get(cells[0], "views"),
                                      json_object_get(cells[1], "views")));
    } else {
        json_decref(*cell);
        *cell = NULL;
    }
    json_decref(settings);
    for (int i = 0; i < 2; i++) {
        json_decref(cells[i]);
        modeconn_model_destroy(ends[i]);
    }
    return status;
}
