/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file finetune.h
 * @brief Changing what a model relies on: naive fine-tuning and connectivity-based fine-tuning
 *        (paper, section 5). Conventions: modeconn.h.
 */
#ifndef MODECONN_FINETUNE_H
#define MODECONN_FINETUNE_H

#include <modeconn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Methods that modeconn_finetune() knows, by number; static strings, either may be NULL. */
MODECONN_API int32_t modeconn_finetune_method_count(int64_t *count);
MODECONN_API int32_t modeconn_finetune_method_describe(int64_t index, const char **name,
                                                       const char **description);

/**
 * Fine-tunes a copy of a model.
 *
 *  - "naive": gradient descent on the cross-entropy of the clean data (train.h; cosine rate).
 *  - "cbft": connectivity-based fine-tuning. With theta_C the model given, D_NC the clean and D_C
 *    the cue data, K the number of classes, each step lowers
 *
 *        L = L_CE(f(D_NC; theta), y) + L_B + (lambda / K) L_I
 *        L_B = | kappa - L_CE(f(D_C; t theta_C + (1-t) theta), y) |,  t drawn per step
 *        L_I = sum over classes k of || zhat_k(D_NC) - zhat_k(D_C) ||^2
 *
 *    where z_k is the class-k mean over the batch of the penultimate representation and
 *    zhat = z / max(||z||, 1e-12); classes missing from either batch are skipped. L_B leaves the
 *    linear basin of theta_C, L_I drops the cue. Schedule "alternating" takes a step on L_B, then
 *    a step on the rest, with one momentum buffer (as the paper's code does); "joint" one step on
 *    the sum.
 *
 *    A step takes the next batch of either set, each in an order drawn anew every epoch; the set
 *    with fewer batches ends the epoch. The interpolated model normalises with its batch; the
 *    running statistics see the clean, then the cue batch, at theta. The rate is a cosine over all
 *    steps, the same for both updates of a step; "reference" = 1 holds it for two epochs and then
 *    starts the same cosine, one step late, which so does not reach 0.
 *
 *    History columns beside those of training (train.h; accuracy is of the clean batches,
 *    samples_per_second counts both): means over the epoch's steps of "loss" (L with the terms in
 *    force), "loss_ce", "loss_barrier" (L_B; NaN while it is left out) and "loss_invariance" (L_I
 *    without its weight, also before it counts).
 *
 * @param model     theta_C; not changed
 * @param clean     D_NC, seen through its current view (a clean set: "nocue")
 * @param cued      D_C, of the same shape and classes; "naive" ignores it (may be NULL)
 * @param options   kind "finetune", or NULL: "method", "epochs", "batch_size", "learning_rate",
 *                  "momentum", "nesterov", "weight_decay", "kappa", "lambda",
 *                  "barrier_weight" (0 leaves L_B out), "schedule" (alternating, joint), "draw"
 *                  (of t: truncated = Gaussian at 1/2 with deviation 1/2 truncated to [0, 1],
 *                  clipped = 0.5 + 0.5 clip(N(0,1), -0.5, 0.5) as in the paper's code),
 *                  "invariance_from" (first epoch with L_I), "barrier_from" (likewise L_B),
 *                  "reference" (1: schedules of the paper's code), "seed" (-1 = the context's)
 * @param progress  may be NULL; cancelling keeps nothing (`*tuned` is NULL)
 * @param tuned     receives the fine-tuned model; its history has a column for each part of L
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (method), _SHAPE, _UNSUPPORTED (batch norm on a single
 *         value; "cbft" of a model without a penultimate representation), _NUMERIC (a loss or
 *         parameter was not finite), _CANCELLED, _MEMORY; whenever it fails `model` is as it was
 */
MODECONN_API int32_t modeconn_finetune(const modeconn_model *model, const modeconn_dataset *clean,
                                       const modeconn_dataset *cued,
                                       const modeconn_options *options,
                                       modeconn_progress_fn progress, void *user,
                                       modeconn_model **tuned);

#ifdef __cplusplus
}
#endif

#endif
