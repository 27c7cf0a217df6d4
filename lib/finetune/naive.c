/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Naive fine-tuning: a training run on the clean data with a cosine rate (Lubana et al. 2023).
 */
#include "finetune/finetune.h"

int32_t mc_finetune_naive(mc_finetune_job *job)
{
    const mc_training training = {.model = job->tuned,
                                  .data = job->clean,
                                  .epochs = mc_finetune_i64(job, "epochs"),
                                  .learning_rate = mc_finetune_f64(job, "learning_rate"),
                                  .weight_decay = mc_finetune_f64(job, "weight_decay")};
    int32_t status = mc_finetune_steps(job, training.epochs, &job->relay.total);
    if (status < 0) {
        return status;
    }
    job->relay.last_part = true;
    return mc_finetune_train(job, &training);
}
