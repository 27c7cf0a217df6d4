/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fine-tuning: the table of methods, the options that they share, and the call that runs one of
 * them on a copy of the model.
 */
#include "finetune/finetune.h"
#include <math.h>
#include <string.h>

const mc_method mc_methods[] = {
    {"naive", "gradient descent on the clean data (cosine rate)", false, mc_finetune_naive},
    {"cbft", "connectivity-based fine-tuning: leaves the linear basin and drops the cue", true,
     mc_finetune_cbft},
};
const int64_t mc_methods_count = (int64_t)(sizeof(mc_methods) / sizeof(mc_methods[0]));

static const mc_option_spec finetune_specs[] = {
    MC_OPT_STR("method", NULL, "cbft", "naive or cbft; see modeconn_finetune_method_describe()"),
    MC_OPT_I64("epochs", 1, 1000000, "20", "passes over the clean data"),
    MC_OPT_I64("batch_size", 1, 1048576, "256", "samples per batch, of clean and of cue data"),
    MC_OPT_POSITIVE("learning_rate", "0.01", "rate of the first update"),
    MC_OPTIONS_SGD,
    MC_OPT_F64("kappa", 0, HUGE_VAL, "1", "cbft: height of the barrier to reach, nats"),
    MC_OPT_F64("lambda", 0, HUGE_VAL, "1", "cbft: weight of the invariance term"),
    MC_OPT_F64("barrier_weight", 0, HUGE_VAL, "1",
               "cbft: weight of the barrier term; 0 leaves it out"),
    MC_OPT_STR("schedule", "alternating|joint", "alternating",
               "cbft: a step on the barrier term, then one on the rest; or one on the sum"),
    MC_OPT_STR("draw", "truncated|clipped", "truncated",
               "cbft: law of t, a Gaussian at 1/2 truncated to [0, 1] (deviation 1/2) or clipped "
               "to [1/4, 3/4]"),
    MC_OPT_I64("invariance_from", 0, 1000000, "1",
               "cbft: first epoch (from 0) with the invariance term"),
    MC_OPT_I64("barrier_from", 0, 1000000, "0", "cbft: first epoch (from 0) with the barrier term"),
    MC_OPT_BOOL("reference", "0", "1: rates of the paper's code"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of the samples' order and of t; -1 = the context's"),
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

static int32_t method_find(const char *name, const mc_method **out)
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
        status = method_find(mc_option_str(options, &mc_kind_finetune, "method"), &method);
    }
    if (status == MODECONN_OK) {
        status = check_data(method, model, clean, cued);
    }
    if (status < 0) {
        return status;
    }

    mc_finetune_job job = {.origin = model,
                           .clean = clean,
                           .cued = cued,
                           .options = options,
                           .progress = progress,
                           .user = user};
    status = modeconn_model_clone(model, &job.tuned);
    if (status == MODECONN_OK) {
        status = method->run(&job);
    }
    if (status < 0) {
        modeconn_model_destroy(job.tuned);
        return status;
    }
    *tuned = job.tuned;
    return MODECONN_OK;
}
