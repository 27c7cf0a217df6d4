/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fine-tuning: the table of methods, the options that they share, and the call that runs one of
 * them on a copy of the model.
 */
#include "finetune/finetune.h"
#include <math.h>
#include <string.h>

const mc_method mc_methods[] = {
    {"naive",
     "gradient descent on the clean data (cosine rate)",
     false,
     mc_finetune_naive,
     {NULL},
     ""},
    {"cbft",
     "connectivity-based fine-tuning: leaves the linear basin and drops the cue",
     true,
     mc_finetune_cbft,
     {"loss_ce", "loss_barrier", "loss_invariance"},
     ""},
    {"llrt",
     "last-layer retraining: a fresh last layer on the representations of the clean data",
     false,
     mc_finetune_llrt,
     {NULL},
     "epochs=200,learning_rate=30,weight_decay=0"},
    {"lpft",
     "last-layer retraining, then gradient descent on everything",
     false,
     mc_finetune_lpft,
     {"stage", NULL},
     ""},
};
const int64_t mc_methods_count = (int64_t)(sizeof(mc_methods) / sizeof(mc_methods[0]));

static const mc_option_spec finetune_specs[] = {
    MC_OPT_STR("method", NULL, "cbft",
               "naive, cbft, llrt or lpft; see modeconn_finetune_method_describe()"),
    MC_OPT_I64("epochs", 1, 1000000, "20", "passes over the clean data (llrt: 200)"),
    MC_OPT_I64("batch_size", 1, 1048576, "256", "samples per batch, of clean and of cue data"),
    MC_OPT_POSITIVE("learning_rate", "0.01", "rate of the first update (llrt: 30)"),
    MC_OPTIONS_SGD,
    MC_OPT_I64("head_epochs", 1, 1000000, "200", "lpft: passes of the last-layer retraining"),
    MC_OPT_POSITIVE("head_learning_rate", "30", "lpft: likewise, rate of its first update"),
    MC_OPT_F64("head_weight_decay", 0, HUGE_VAL, "0", "lpft: likewise, its weight decay"),
    MC_OPT_F64("kappa", 0, HUGE_VAL, "1", "cbft: height of the barrier to reach, nats"),
    MC_OPT_F64("lambda", 0, HUGE_VAL, "1", "cbft: weight of the invariance term"),
    MC_OPT_F64("barrier_weight", 0, HUGE_VAL, "1",
               "cbft: weight of the barrier term; 0 leaves it out"),
    MC_OPT_STR("schedule", "alternating|joint", "alternating",
               "cbft: a step on the barrier term, then one on the rest; or one on the sum"),
    MC_OPT_STR("draw", "truncated|clipped", "truncated",
               "cbft: law of t, a Gaussian at 1/2 truncated to [0, 1], or clipped to draw_clip "
               "deviations"),
    {"draw_deviation", MODECONN_OPTION_F64, 0, 10, true, NULL, "0.5",
     "cbft: deviation of the law of t"},
    {"draw_clip", MODECONN_OPTION_F64, 0, 10, true, NULL, "0.5",
     "cbft: where draw=clipped clips, in deviations"},
    MC_OPT_I64("invariance_from", 0, 1000000, "1",
               "cbft: first epoch (from 0) with the invariance term"),
    MC_OPT_I64("barrier_from", 0, 1000000, "0", "cbft: first epoch (from 0) with the barrier term"),
    MC_OPT_I64(
        "hold_epochs", -1, 1000000, "-1",
        "cbft: epochs at the full rate before the cosine starts; -1 = 0, or 2 with reference"),
    MC_OPT_BOOL("reference", "0", "1: order of operations and rates of the paper's code"),
    MC_OPT_BOOL("track_distance", "0", "1: record the distance to the model given, every epoch"),
    MC_OPT_I64("track_barrier", 0, 1001, "0",
               "record the loss barrier to the model given, every epoch, over so many points (at "
               "least 3); 0 = not"),
    MC_OPT_I64("track_samples", 0, 9007199254740992.0, "1000",
               "samples of either set that track_barrier looks at, the first ones; 0 = all"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of the samples' order, of t and of a fresh last layer; -1 = the context's"),
};
const mc_option_kind mc_kind_finetune = MC_OPTION_KIND("finetune", finetune_specs);

int32_t modeconn_finetune_method_count(int64_t *count)
{
    if (count == NULL) {
        return mc_null("count");
    }
    *count = mc_methods_count;
    return MODECONN_OK;
}

int32_t modeconn_finetune_method_describe(int64_t index, const char **name,
                                          const char **description)
{
    if (index < 0 || index >= mc_methods_count) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "no fine-tuning method %lld, there are %lld",
                       (long long)index, (long long)mc_methods_count);
    }
    if (name != NULL) {
        *name = mc_methods[index].name;
    }
    if (description != NULL) {
        *description = mc_methods[index].description;
    }
    return MODECONN_OK;
}

int32_t modeconn_finetune_method_defaults(int64_t index, const char **settings)
{
    if (settings == NULL) {
        return mc_null("settings");
    }
    int32_t status = modeconn_finetune_method_describe(index, NULL, NULL);
    if (status == MODECONN_OK) {
        *settings = mc_methods[index].defaults;
    }
    return status;
}

int32_t mc_method_find(const char *name, const mc_method **out)
{
    for (int64_t i = 0; i < mc_methods_count; i++) {
        if (strcmp(mc_methods[i].name, name) == 0) {
            *out = &mc_methods[i];
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no fine-tuning method \"%s\"", name);
}

static int32_t check_data(const mc_method *method, const modeconn_model *model,
                          const modeconn_dataset *clean, const modeconn_dataset *cued)
{
    int32_t status = mc_check_fit(model, clean);
    if (status < 0) {
        return mc_fail_prefix(status, "clean data");
    }
    if (!method->needs_cued) {
        return MODECONN_OK;
    }
    if (cued == NULL) {
        return mc_null("cued");
    }
    status = mc_check_fit(model, cued);
    return status < 0 ? mc_fail_prefix(status, "cue data") : MODECONN_OK;
}

/* ---- running a method ----------------------------------------------------------------------- */

static int32_t copy_option(const modeconn_options *from, const mc_option_spec *spec,
                           modeconn_options *to)
{
    switch (spec->type) {
    case MODECONN_OPTION_I64:
        return modeconn_options_set_i64(to, spec->key,
                                        mc_option_i64(from, &mc_kind_finetune, spec->key));
    case MODECONN_OPTION_F64:
        return modeconn_options_set_f64(to, spec->key,
                                        mc_option_f64(from, &mc_kind_finetune, spec->key));
    default:
        return modeconn_options_set_str(to, spec->key,
                                        mc_option_str(from, &mc_kind_finetune, spec->key));
    }
}

/* The caller's options over the method's defaults over the kind's. */
static int32_t resolve_options(modeconn_context *context, const mc_method *method,
                               const modeconn_options *given, modeconn_options **out)
{
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(context, "finetune", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, method->defaults);
    }
    for (int64_t i = 0; status == MODECONN_OK && given != NULL && i < mc_kind_finetune.n_specs;
         i++) {
        if (mc_option_is_set(given, mc_kind_finetune.specs[i].key)) {
            status = copy_option(given, &mc_kind_finetune.specs[i], options);
        }
    }
    *out = options;
    return status;
}

static int32_t create_history(const mc_method *method, mc_finetune_job *job)
{
    const char *columns[MC_HISTORY_SGD + MC_METHOD_COLUMNS + MC_TRACK_COLUMNS];
    int64_t n = MC_HISTORY_SGD;
    memcpy(columns, mc_history_sgd, MC_HISTORY_SGD * sizeof(columns[0]));
    for (int64_t i = 0; i < MC_METHOD_COLUMNS && method->columns[i] != NULL; i++) {
        columns[n++] = method->columns[i];
    }
    for (int64_t i = 0; i < job->track.n_columns; i++) {
        columns[n++] = job->track.columns[i];
    }
    return mc_history_create(job->tuned->context, columns, n, &job->history);
}

int32_t mc_finetune_run(const mc_method *method, mc_finetune_job *job)
{
    job->relay = (mc_relay){.fn = job->progress, .user = job->user};
    int32_t status = mc_track_open(&job->track, job);
    if (status < 0) {
        return status;
    }
    status = create_history(method, job);
    if (status == MODECONN_OK) {
        status = method->run(job);
    }
    mc_track_close(&job->track);
    if (status < 0) {
        modeconn_history_destroy(job->history);
        job->history = NULL;
        return status;
    }
    mc_model_set_history(job->tuned, job->history);
    return MODECONN_OK;
}

int32_t modeconn_finetune(const modeconn_model *model, const modeconn_dataset *clean,
                          const modeconn_dataset *cued, const modeconn_options *options,
                          modeconn_progress_fn progress, void *user, modeconn_model **tuned)
{
    const mc_method *method = NULL;
    if (tuned == NULL) {
        return mc_null("tuned");
    }
    *tuned = NULL;
    if (model == NULL) {
        return mc_null("model");
    }
    if (clean == NULL) {
        return mc_null("clean");
    }
    int32_t status = mc_options_check(options, &mc_kind_finetune);
    if (status == MODECONN_OK) {
        status = mc_method_find(mc_option_str(options, &mc_kind_finetune, "method"), &method);
    }
    if (status == MODECONN_OK) {
        status = check_data(method, model, clean, cued);
    }
    if (status < 0) {
        return status;
    }

    modeconn_options *resolved = NULL;
    mc_finetune_job job = {
        .origin = model, .clean = clean, .cued = cued, .progress = progress, .user = user};
    status = resolve_options(model->context, method, options, &resolved);
    if (status == MODECONN_OK) {
        job.options = resolved;
        status = modeconn_model_clone(model, &job.tuned);
    }
    if (status == MODECONN_OK) {
        status = mc_finetune_run(method, &job);
    }
    modeconn_options_destroy(resolved);
    if (status < 0) {
        modeconn_model_destroy(job.tuned);
        return status;
    }
    *tuned = job.tuned;
    return MODECONN_OK;
}
