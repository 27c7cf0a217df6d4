/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file train.h
 * @brief Stochastic gradient descent with resumable state (paper, appendix on training details).
 *        Conventions: modeconn.h.
 *
 * One step on a batch, with gradient g of the mean cross-entropy in training mode:
 *
 *     g += weight_decay * theta           (everything, batch norm and biases too)
 *     v  = momentum * v + g               (v = g in the first step)
 *     theta -= rate * (nesterov ? g + momentum * v : v)
 *
 * The order of the samples is a permutation drawn per epoch from (data seed, epoch); a short last
 * batch is kept. A last batch of one sample is a batch like any other, so it is refused where
 * batch norm would see a single value per channel.
 *
 * The rate of update k (from 0) of T: constant; step (times step_factor at each drop); cosine
 * rate/2 (1 + cos(pi k / T)), with "reference" of update max(k-1, 0). During a warm-up of W updates
 * it is multiplied by (k + 1) / W.
 *
 * The model's history (model.h) has a line per whole epoch: mean loss and accuracy over its samples
 * as they were trained on, the rate of its last update, samples per second. Each run of the trainer
 * writes it anew into the model, also a cancelled one.
 */
#ifndef MODECONN_TRAIN_H
#define MODECONN_TRAIN_H

#include <modeconn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A training run: model, data, momentum, schedule and position. Beside the model it holds three
 *  vectors of theta's length (momentum, theta at the start of the epoch, and the gradient, which
 *  models of more than 8 MiB need with "nesterov" only) and the working memory of a batch. It uses
 *  its model as if it were that handle: one thread at a time for both. */
typedef struct modeconn_trainer modeconn_trainer;

/**
 * Prepares a run; nothing is computed yet.
 *
 * @param model    trained in place; the trainer keeps it alive
 * @param dataset  seen through its current view
 * @param options  kind "train", or NULL: "epochs", "batch_size", "learning_rate", "momentum",
 *                 "nesterov", "weight_decay", "schedule" (constant, step, cosine), "step_epochs"
 *                 and "step_factor" (step: rate * factor every so many epochs) or "milestones"
 *                 (step: "0.4,0.8", all below 1, as shares of the run, or "40,80" as epochs; at
 *                 most 16, increasing), "warmup_epochs" (linear from 0), "reference" (1: the
 *                 cosine of the paper's code, one update late), "seed" (order of the samples; -1 =
 *                 the context's)
 * @param out      receives the trainer; modeconn_trainer_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _SHAPE (model and data do not fit), _UNSUPPORTED (batch norm on
 *         a single value: names the layer and the sizes), _MEMORY
 */
MODECONN_API int32_t modeconn_trainer_create(modeconn_model *model, const modeconn_dataset *dataset,
                                             const modeconn_options *options,
                                             modeconn_trainer **out);
MODECONN_API void modeconn_trainer_destroy(modeconn_trainer *trainer);

/**
 * Trains on, up to `epochs` more epochs (-1: to the end of the run). An epoch that was cancelled
 * half-way counts as one of them when it is gone on with.
 *
 * @param progress  `epoch` is the number of epochs done in the run, `step` counts the batches of
 *                  this call
 * @return MODECONN_OK (also when nothing was left to do), _ARGUMENT (epochs below -1), _CANCELLED
 *         (the model stands after the last whole step; running again goes on from there, bit for
 *         bit as if never stopped), _NUMERIC (the loss or a parameter was not finite: model and
 *         trainer are back at the start of that epoch, momentum at 0), _MEMORY (the model as for
 *         _CANCELLED)
 */
MODECONN_API int32_t modeconn_trainer_run(modeconn_trainer *trainer, int64_t epochs,
                                          modeconn_progress_fn progress, void *user);

/** Whole epochs done, and of the run; either output may be NULL. */
MODECONN_API int32_t modeconn_trainer_epochs(const modeconn_trainer *trainer, int64_t *done,
                                             int64_t *total);

/** Writes the complete state (model, momentum, position, history, options) to a file, through a
 *  temporary file and a rename.
 *  @return MODECONN_OK, _ARGUMENT, _NUMERIC (a value is not finite, after a run that was cancelled
 *          while it diverged: an existing file survives), _IO (names the path), _MEMORY */
MODECONN_API int32_t modeconn_trainer_save(const modeconn_trainer *trainer, const char *path);

/** Takes that state back into a trainer created over a model of the same architecture, the same
 *  data and the same options, and into its model; what differs is an error that names it and
 *  changes nothing.
 *  @return MODECONN_OK, _ARGUMENT (other data or options), _IO, _FORMAT (not a saved run), _SHAPE
 *          (another model), _UNKNOWN (a tensor is missing), _NUMERIC (a value is not finite),
 *          _MEMORY */
MODECONN_API int32_t modeconn_trainer_load(modeconn_trainer *trainer, const char *path);

/** Create, run to the end, destroy. Arguments and errors as of modeconn_trainer_create() and
 *  modeconn_trainer_run(), which also say where the model then stands. */
MODECONN_API int32_t modeconn_train(modeconn_model *model, const modeconn_dataset *dataset,
                                    const modeconn_options *options, modeconn_progress_fn progress,
                                    void *user);

#ifdef __cplusplus
}
#endif

#endif
