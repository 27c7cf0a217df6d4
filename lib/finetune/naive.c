/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Naive fine-tuning: a training run on the clean data with a cosine rate (Lubana et al. 2023).
 */
#include "finetune/finetune.h"

/* Keys that mean the same to a training run. */
static const char *const shared_i64[] = {"epochs", "batch_size", "nesterov", "reference", "seed"};
static const char *const shared_f64[] = {"learning_rate", "momentum", "weight_decay"};

static int32_t training_options(const mc_finetune_job *job, modeconn_options **out)
{
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(job->tuned->context, "train", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(options, "schedule", "cosine");
    }
    for (size_t i = 0; status == MODECONN_OK && i < sizeof(shared_i64) / sizeof(shared_i64[0]);
         i++) {
        status = modeconn_options_set_i64(
            options, shared_i64[i], mc_option_i64(job->options, &mc_kind_finetune, shared_i64[i]));
    }
    for (size_t i = 0; status == MODECONN_OK && i < sizeof(shared_f64) / sizeof(shared_f64[0]);
         i++) {
        status = modeconn_options_set_f64(
            options, shared_f64[i], mc_option_f64(job->options, &mc_kind_finetune, shared_f64[i]));
    }
    *out = options;
    return status;
}

int32_t mc_finetune_naive(mc_finetune_job *job)
{
    modeconn_options *options = NULL;
    int32_t status = training_options(job, &options);
    if (status == MODECONN_OK) {
        status = modeconn_train(job->tuned, job->clean, options, job->progress, job->user);
    }
    modeconn_options_destroy(options);
    return status;
}
