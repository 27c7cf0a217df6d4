/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A cell of a model: made as its recipe says (its parent first), saved, evaluated on every view.
 */
#include "reproduce.h"

#include <stdlib.h>
#include <string.h>

int repro_split(repro_job *job, int64_t seed)
{
    const repro_scale *scale = job->scale;
    modeconn_dataset *rest = NULL;
    int64_t left = 0;
    if (job->split_seed == seed) {
        return CLI_OK;
    }
    modeconn_dataset_destroy(job->clean);
    modeconn_dataset_destroy(job->train);
    job->clean = job->train = NULL;
    job->split_seed = -1;
    int32_t status =
        modeconn_dataset_split(job->all, scale->clean_samples, seed, &job->clean, &rest);
    if (status == MODECONN_OK) {
        status = modeconn_dataset_shape(rest, &left, NULL, NULL, NULL, NULL);
    }
    if (status == MODECONN_OK && scale->train_samples > 0 && scale->train_samples < left) {
        status = modeconn_dataset_split(rest, scale->train_samples, seed, &job->train, NULL);
        modeconn_dataset_destroy(rest);
    } else {
        job->train = rest;
    }
    job->split_seed = status == MODECONN_OK ? seed : -1;
    return cli_failed(job->args, status) ? CLI_FAILED : CLI_OK;
}

/* The options object of a recipe: the scale's settings, then the recipe's own. */
static int32_t recipe_options(const repro_job *job, const repro_recipe *recipe, int64_t seed,
                              modeconn_options **out)
{
    const char *base = NULL;
    memcpy(&base, (const char *)job->scale + recipe->base, sizeof(base));
    int32_t status =
        modeconn_options_create(NULL, recipe->parent == NULL ? "train" : "finetune", out);
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(*out, base);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(*out, recipe->settings);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(*out, "seed", seed + recipe->seed_offset);
    }
    return status;
}

/* What the cell depends on; the parent's settings stand in it whole. */
static json_t *recipe_settings(const repro_job *job, const repro_recipe *recipe, int proportion,
                               int64_t seed)
{
    json_t *settings = repro_common_settings(job);
    const char *base = NULL;
    memcpy(&base, (const char *)job->scale + recipe->base, sizeof(base));
    json_object_set_new(settings, "recipe", json_string(recipe->name));
    json_object_set_new(settings, "options", json_sprintf("%s,%s", base, recipe->settings));
    json_object_set_new(settings, "seed", json_integer(seed));
    json_object_set_new(settings, "model_seed", json_integer(seed + recipe->seed_offset));
    if (recipe->cued) {
        json_object_set_new(settings, "cue_percent", json_integer(proportion));
    }
    if (recipe->parent != NULL) {
        json_object_set_new(
            settings, "parent",
            recipe_settings(job, repro_recipe_find(recipe->parent), proportion, seed));
    }
    return settings;
}

/* ---- making -------------------------------------------------------------------------------- */

static int32_t train(repro_job *job, int64_t seed, const modeconn_dataset *data,
                     const modeconn_options *options, modeconn_model **out)
{
    modeconn_options *model_options = NULL;
    int32_t status = modeconn_options_create(NULL, "model", &model_options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_f64(model_options, "width", job->scale->width);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(model_options, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_create(job->context, job->scale->arch, data, model_options, out);
    }
    if (status == MODECONN_OK) {
        status = modeconn_train(*out, data, options, cli_progress_step, &job->bar);
    }
    modeconn_options_destroy(model_options);
    return status;
}

static int make(repro_job *job, const repro_recipe *recipe, int proportion, int64_t seed,
                modeconn_model **out)
{
    modeconn_dataset *cued = NULL;
    modeconn_options *options = NULL;
    modeconn_model *parent = NULL;
    json_t *parent_cell = NULL;
    int status = CLI_OK;
    if (recipe->parent != NULL) {
        status = repro_model(job, repro_recipe_find(recipe->parent), proportion, seed, &parent_cell,
                             &parent);
        json_decref(parent_cell);
    }
    if (status == CLI_OK) {
        status = repro_split(job, seed);
    }
    if (status != CLI_OK) {
        goto out;
    }
    cli_progress_phase(&job->bar, 1.0, "%s, cue %d %%, seed %d", recipe->name, proportion,
                       (int)seed);
    int32_t done = modeconn_dataset_view(job->train, "cue", proportion / 100.0, &cued);
    if (done == MODECONN_OK) {
        done = recipe_options(job, recipe, seed, &options);
    }
    if (done == MODECONN_OK && parent == NULL) {
        done =
            train(job, seed + recipe->seed_offset, recipe->cued ? cued : job->train, options, out);
    } else if (done == MODECONN_OK) {
        done =
            modeconn_finetune(parent, job->clean, cued, options, cli_progress_step, &job->bar, out);
    }
    status = repro_failed(job, done) ? CLI_FAILED : CLI_OK;
out:
    modeconn_dataset_destroy(cued);
    modeconn_options_destroy(options);
    modeconn_model_destroy(parent);
    return status;
}

/* Views of the model with its own statistics. */
static int evaluate(repro_job *job, const modeconn_model *model, json_t *cell)
{
    modeconn_evaluation *evaluation = NULL;
    int32_t status =
        modeconn_evaluate(model, NULL, job->test, NULL, cli_progress_step, &job->bar, &evaluation);
    json_t *result = status == MODECONN_OK ? cli_evaluation_json(evaluation) : NULL;
    json_object_set(cell, "views", json_object_get(result, "views"));
    json_object_set(cell, "statistics", json_object_get(result, "statistics"));
    json_decref(result);
    modeconn_evaluation_destroy(evaluation);
    return repro_failed(job, status) ? CLI_FAILED : CLI_OK;
}

static int make_cell(repro_job *job, const repro_recipe *recipe, int proportion, int64_t seed,
                     const char *name, json_t *settings, json_t **cell)
{
    modeconn_model *model = NULL;
    char *file = repro_path(job, "cells/", name, ".safetensors");
    *cell = json_pack("{s:s, s:O}", "name", name, "settings", settings);
    int status = file == NULL || *cell == NULL ? CLI_FAILED : repro_cell_begin(job, name);
    if (status == CLI_OK && recipe->parent != NULL) {
        /* Made first, so that its seconds are not this cell's. */
        json_t *parent = NULL;
        status =
            repro_model(job, repro_recipe_find(recipe->parent), proportion, seed, &parent, NULL);
        json_decref(parent);
    }
    double started = cli_seconds();
    if (status == CLI_OK) {
        status = make(job, recipe, proportion, seed, &model);
    }
    if (status == CLI_OK && cli_failed(job->args, modeconn_model_save(model, file))) {
        status = CLI_FAILED;
    }
    if (status == CLI_OK) {
        status = evaluate(job, model, *cell);
    }
    if (status == CLI_OK) {
        json_object_set_new(*cell, "history", cli_history_json(model));
        json_object_set_new(*cell, "seconds", cli_real(cli_seconds() - started));
        status = repro_cell_write(job, name, *cell);
    }
    modeconn_model_destroy(model);
    free(file);
    return status;
}

int repro_model(repro_job *job, const repro_recipe *recipe, int proportion, int64_t seed,
                json_t **cell, modeconn_model **model)
{
    char name[96];
    int status = CLI_OK;
    if (recipe->cued) {
        snprintf(name, sizeof(name), "%s-p%d-s%lld", recipe->name, proportion, (long long)seed);
    } else {
        snprintf(name, sizeof(name), "%s-s%lld", recipe->name, (long long)seed);
    }
    json_t *settings = recipe_settings(job, recipe, proportion, seed);
    *cell = repro_cell_read(job, name, settings, true);
    if (*cell == NULL && !job->finished) {
        status = make_cell(job, recipe, proportion, seed, name, settings, cell);
    }
    if (status == CLI_OK && *cell != NULL && model != NULL) {
        char *file = repro_path(job, "cells/", name, ".safetensors");
        status = file == NULL ? CLI_FAILED
                              : cli_model_load(job->args, job->context, file, NULL, NULL, model);
        free(file);
    }
    if (status != CLI_OK) {
        json_decref(*cell);
        *cell = NULL;
    }
    json_decref(settings);
    return status;
}
