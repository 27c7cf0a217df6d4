/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Linear probing, then fine-tuning (Kumar et al. 2022; Lubana et al. 2023): last-layer retraining
 * (options "head_..."), then naive fine-tuning of everything from there. The history's column
 * "stage" tells them apart.
 */
#include "finetune/finetune.h"

int32_t mc_finetune_lpft(mc_finetune_job *job)
{
    static const double stages[] = {0, 1};
    const mc_training head = {.epochs = mc_finetune_i64(job, "head_epochs"),
                              .learning_rate = mc_finetune_f64(job, "head_learning_rate"),
                              .weight_decay = mc_finetune_f64(job, "head_weight_decay"),
                              .values = &stages[0]};
    const mc_training all = {.model = job->tuned,
                             .data = job->clean,
                             .epochs = mc_finetune_i64(job, "epochs"),
                             .learning_rate = mc_finetune_f64(job, "learning_rate"),
                             .weight_decay = mc_finetune_f64(job, "weight_decay"),
                             .values = &stages[1]};
    int64_t first = 0, second = 0;
    int32_t status = mc_llrt_steps(job, head.epochs, &first);
    if (status == MODECONN_OK) {
        status = mc_finetune_steps(job, all.epochs, &second);
    }
    if (status < 0) {
        return status;
    }
    job->relay.total = first + second;
    status = mc_llrt_train(job, &head);
    if (status == MODECONN_OK) {
        job->relay.last_part = true;
        status = mc_finetune_train(job, &all);
    }
    return status;
}
