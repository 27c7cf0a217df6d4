/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file finetune.h
 * @brief Changing what a model relies on: naive fine-tuning, last-layer retraining, both in a row,
 *        and connectivity-based fine-tuning (paper, section 5). Conventions: modeconn.h.
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

/** What a method's options are by default where that is not what the kind says, as
 *  modeconn_options_parse() takes it ("epochs=200,learning_rate=30,weight_decay=0" for llrt, ""
 *  where there is nothing); modeconn_finetune() applies them to keys that were not set. A static
 *  string.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_finetune_method_defaults(int64_t index, const char **settings);

/**
 * Fine-tunes a copy of a model.
 *
 *  - "naive": gradient descent on the cross-entropy of the clean data (train.h; cosine rate). The
 *    paper's large, medium and small rates are "learning_rate" 0.1, 0.01, 0.001.
 *  - "llrt": last-layer retraining. A freshly drawn last layer (U(-1/sqrt(width), 1/sqrt(width)),
 *    from "seed") is trained, as by "naive", on the representations of the clean data in eval mode,
 *    which are computed once, without crop and flip; nothing else changes, batch norm's statistics
 *    neither. By default 200 epochs, rate 30, no weight decay. The last layer must be linear.
 *  - "lpft": llrt with "head_epochs", "head_learning_rate" and "head_weight_decay", then naive
 *    with "epochs", "learning_rate" and "weight_decay", each with a momentum of its own and the
 *    same "seed".
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
 *    steps, the same for both updates of a step, and full for "hold_epochs" before that.
 *
 *    "reference" = 1 keeps the order of operations of the paper's code: before L_I counts the cue
 *    batch is not passed at theta (statistics see the clean batch alone), the rate is held for two
 *    epochs, the cosine starts after them, one step late, over all the clean data's steps of the
 *    run, which it so does not finish. With "draw" = clipped this is that code, step by step.
 *
 * "reference" = 1 also makes the cosine of the other methods one step late, as that code's is.
 *
 * History columns are those of training (train.h), then
 *
 *  - cbft: "loss_ce", "loss_barrier" (L_B; NaN while it is left out) and "loss_invariance" (L_I
 *    without its weight, also before it counts; NaN where the reference does not compute it); like
 *    "loss" (L with the terms in force) means over the epoch's steps. "accuracy" is of the clean
 *    batches, "samples_per_second" counts both.
 *  - lpft: "stage", 0 for an epoch of the last layer, 1 for one of everything.
 *  - "track_distance" = 1: "distance", || theta - theta_C || after the epoch.
 *  - "track_barrier" = n: "barrier_clean" and, where cue data are given, "barrier_cue": the loss
 *    barrier sup_t [L(t) - ((1-t) L(0) + t L(1))] (nats) on the straight line from theta_C to theta
 *    after the epoch, over n points, on the first "track_samples" of either set in its current
 *    view, batch norm's statistics pooled anew at each point over those clean samples. It costs n
 *    evaluations an epoch; the progress callback is asked during them with the step unchanged.
 *
 * @param model     theta_C; not changed
 * @param clean     D_NC, seen through its current view (a clean set: "nocue")
 * @param cued      D_C, of the same shape and classes; methods other than "cbft" train without it
 *                  (may be NULL)
 * @param options   kind "finetune", or NULL: "method", "epochs", "batch_size", "learning_rate",
 *                  "momentum", "nesterov", "weight_decay", "head_epochs", "head_learning_rate",
 *                  "head_weight_decay", "kappa", "lambda",
 *                  "barrier_weight" (0 leaves L_B out), "schedule" (alternating, joint), "draw"
 *                  (of t: truncated = Gaussian at 1/2 with "draw_deviation" 1/2 truncated to
 *                  [0, 1], clipped = 1/2 + draw_deviation clip(N(0,1), -draw_clip, draw_clip),
 *                  "draw_clip" 1/2, as in the paper's code),
 *                  "invariance_from" (first epoch with L_I), "barrier_from" (likewise L_B),
 *                  "hold_epochs" (-1: 0, or 2 with "reference"), "reference" (1: as the paper's
 *                  code), "track_distance", "track_barrier" (points; 0 = not), "track_samples",
 *                  "seed" (-1 = the context's). What the method does not read changes nothing, so
 *                  that one object serves several; the help of a key names its methods
 * @param progress  may be NULL; cancelling keeps nothing (`*tuned` is NULL)
 * @param tuned     receives the fine-tuned model; its history has a column for each part of L
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (method), _SHAPE, _UNSUPPORTED (batch norm on a single
 *         value; "cbft" of a model without a penultimate representation; "llrt" and "lpft" of one
 *         whose last layer is not linear), _NUMERIC (a loss or parameter was not finite),
 *         _CANCELLED, _MEMORY; whenever it fails `model` is as it was
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
