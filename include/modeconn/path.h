/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file path.h
 * @brief Paths between two models in weight space (paper, Definition 1). Conventions: modeconn.h.
 */
#ifndef MODECONN_PATH_H
#define MODECONN_PATH_H

#include <modeconn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A curve gamma: [0, 1] -> parameters, gamma(0) = first end, gamma(1) = second end. */
typedef struct modeconn_path modeconn_path;

/** The straight line gamma(t) = (1-t) theta_1 + t theta_2 between two models of one
 *  architecture. The path takes a snapshot of both: changing them later does not change it.
 *  @return MODECONN_OK, _ARGUMENT, _SHAPE (the models differ: names the first block or layer that
 *          does), _MEMORY */
MODECONN_API int32_t modeconn_path_linear(const modeconn_model *first, const modeconn_model *second,
                                          modeconn_path **out);

/**
 * A curve between two models of one architecture: gamma(t) = sum_i w_i(t) P_i over control points
 * whose first and last are snapshots of the models.
 *
 * @param options  kind "path", or NULL: "family" (linear; bezier, the default: Bernstein weights;
 *                 chain: straight legs, each an equal share of t), "degree" (bezier, 2 = the
 *                 paper's quadratic path), "bends" (chain), "start" of the control points between
 *                 the ends (line: evenly spread on the line, for degree 2 the mean; random: freshly
 *                 initialised), "seed" (random). What the family does not read changes nothing, so
 *                 that one object serves several: "degree" is bezier's alone, "bends" chain's, and
 *                 linear reads neither these nor "start"; modeconn_path_size() tells how many
 *                 control points there are
 * @param out      receives the path; modeconn_path_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _SHAPE (the models differ), _MEMORY
 */
MODECONN_API int32_t modeconn_path_create(const modeconn_model *first, const modeconn_model *second,
                                          const modeconn_options *options, modeconn_path **out);

/** A path of a family over given control points, 2 .. 64 (linear: 2), all snapshots.
 *  @param models  [count], the ends first and last
 *  @return MODECONN_OK, _ARGUMENT (count; a NULL model: its index), _UNKNOWN (family), _SHAPE,
 *          _MEMORY */
MODECONN_API int32_t modeconn_path_from_models(const char *family,
                                               const modeconn_model *const *models, int64_t count,
                                               modeconn_path **out);

/**
 * Fits the control points between the ends by gradient descent on the mean over t of the loss at
 * gamma(t), batch norm on the batch's statistics; one t per batch. The ends stay exact to the bit.
 *
 * Mode curve: control point i gets the gradient w_i(t) dL/dtheta at gamma(t). Mode reference, the
 * paper's code: the gradient unscaled, the rate times w_i(t). Start with "start" = "random" to have
 * all of the paper's code.
 *
 * @param path     fitted in place; needs a control point between its ends
 * @param options  kind "path_fit", or NULL: "epochs", "batch_size", "learning_rate", "momentum",
 *                 "nesterov", "weight_decay", "schedule", "step_epochs", "step_factor",
 *                 "milestones", "warmup_epochs" (as for training, train.h), "mode" (curve,
 *                 reference), "decay" (of gamma(t): curve; of the control points: points; auto:
 *                 curve in mode curve, points in mode reference), "t_law" (uniform, or arc: uniform
 *                 in arc length), "views" (their union, with the cue on all samples; "" = cue, or
 *                 nocue without a cue), "seed" (of t and of the samples' order; -1 = the context's)
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _SHAPE (path and data do not fit), _UNSUPPORTED
 *         (nothing to fit; batch norm on a single value), _NUMERIC (the loss or a parameter was
 *         not finite: the path is back at the start of that epoch), _CANCELLED (it stands after the
 *         last whole step), _MEMORY (likewise)
 */
MODECONN_API int32_t modeconn_path_fit(modeconn_path *path, const modeconn_dataset *dataset,
                                       const modeconn_options *options,
                                       modeconn_progress_fn progress, void *user);

/* ---- a fit in parts -------------------------------------------------------------------- */

/** A running fit of a path: data, momentum, schedule and position. It uses its path as if it were
 *  that handle: one thread at a time for both. */
typedef struct modeconn_fitter modeconn_fitter;

/** Prepares a fit; nothing is computed yet. Arguments and errors as for modeconn_path_fit(); the
 *  fitter keeps the path alive and fits it in place. It holds two vectors of theta's length for
 *  each control point between the ends (its momentum, and the point at the start of the epoch),
 *  three more, and the working memory of a batch.
 *  @param out  receives the fitter; modeconn_fitter_destroy() it */
MODECONN_API int32_t modeconn_fitter_create(modeconn_path *path, const modeconn_dataset *dataset,
                                            const modeconn_options *options, modeconn_fitter **out);
MODECONN_API void modeconn_fitter_destroy(modeconn_fitter *fitter);

/** Fits on, up to `epochs` more epochs (-1: to the end).
 *  @return MODECONN_OK (also when nothing was left to do), _ARGUMENT (epochs below -1), _CANCELLED
 *          (running again goes on from the last whole step, bit for bit as if never stopped),
 *          _NUMERIC (the loss or a parameter was not finite: path and fitter are back at the start
 *          of that epoch, momentum at 0), _MEMORY (the path as for _CANCELLED) */
MODECONN_API int32_t modeconn_fitter_run(modeconn_fitter *fitter, int64_t epochs,
                                         modeconn_progress_fn progress, void *user);

/** Whole epochs done, and of the fit; either output may be NULL. */
MODECONN_API int32_t modeconn_fitter_epochs(const modeconn_fitter *fitter, int64_t *done,
                                            int64_t *total);

/** Writes the state of the fit (control points, momentum, position, history, options) to a file,
 *  through a temporary file and a rename.
 *  @return MODECONN_OK, _ARGUMENT, _NUMERIC (a value is not finite, after a fit that was cancelled
 *          while it diverged: an existing file survives), _IO, _MEMORY */
MODECONN_API int32_t modeconn_fitter_save(const modeconn_fitter *fitter, const char *path);

/** Takes that state back into a fitter over a path of the same family and ends, the same data and
 *  the same options; what differs is an error that names it and changes nothing.
 *  @return MODECONN_OK, _ARGUMENT (other ends, data or options), _IO, _FORMAT (not a saved fit),
 *          _SHAPE (another architecture), _UNKNOWN (a tensor is missing), _NUMERIC (a value is not
 *          finite), _MEMORY */
MODECONN_API int32_t modeconn_fitter_load(modeconn_fitter *fitter, const char *path);

/* ---- files ----------------------------------------------------------------------------- */

/** Writes family, all control points (tensors "0.BLOCK", "1.BLOCK", ... in PyTorch's shapes), their
 *  metadata, and the record of the last fit with its options and data, to a safetensors file,
 *  through a temporary file and a rename. Equal paths give equal files, byte for byte (speeds are
 *  left out).
 *  @return MODECONN_OK, _ARGUMENT, _NUMERIC (a value is not finite: an existing file survives), _IO
 *          (names the file), _MEMORY */
MODECONN_API int32_t modeconn_path_save(const modeconn_path *path, const char *file);

/** Reads a file that modeconn_path_save() wrote. Nothing in it is trusted: memory is taken only for
 *  values that the file holds.
 *  @return MODECONN_OK, _IO, _FORMAT (not a saved path), _UNKNOWN (family, architecture; a tensor
 *          that is missing or too many), _SHAPE (a tensor's), _NUMERIC (a value is not finite),
 *          _MEMORY; every error but the last names the file */
MODECONN_API int32_t modeconn_path_load(modeconn_context *context, const char *file,
                                        modeconn_path **out);

/* ---- one group of layers at a time ----------------------------------------------------- */

/** Number of layers with parameters: the groups that modeconn_path_group_name() lists. */
MODECONN_API int32_t modeconn_path_group_count(const modeconn_path *path, int64_t *count);

/** Name of group `index` ("layers.0.conv1"): its blocks' names without their last part. NUL-ended;
 *  capacity and needed as for every text (modeconn.h).
 *  @return MODECONN_OK, _ARGUMENT (index), _BUFFER */
MODECONN_API int32_t modeconn_path_group_name(const modeconn_path *path, int64_t index,
                                              char *buffer, int64_t capacity, int64_t *needed);

/** A path that moves only one group of layers and keeps all else at the first end: the blocks
 *  (and statistics) called `group`, or whose names begin with "group.", are the path's; its second
 *  end is the first with that group of the second.
 *  @return MODECONN_OK, _UNKNOWN (no block of that name), _MEMORY */
MODECONN_API int32_t modeconn_path_group(const modeconn_path *path, const char *group,
                                         modeconn_path **out);

/* ---- what a path is -------------------------------------------------------------------- */

/** The record of the last fit, whole epochs, with the columns of training (train.h); empty before.
 *  modeconn_history_destroy() it.
 *  @return MODECONN_OK, _ARGUMENT, _MEMORY */
MODECONN_API int32_t modeconn_path_history(const modeconn_path *path, modeconn_history **out);

/** Number of control points, the ends included. */
MODECONN_API int32_t modeconn_path_size(const modeconn_path *path, int64_t *points);

/** A copy of control point `index`, 0 .. size-1; its statistics are not those of a fit. Metadata
 *  and history are those of the model given, and empty where none was: of points that
 *  modeconn_path_create() placed between the ends, and of all but the first of a path of one group.
 *  @return MODECONN_OK, _ARGUMENT (index), _MEMORY */
MODECONN_API int32_t modeconn_path_control(const modeconn_path *path, int64_t index,
                                           modeconn_model **out);

MODECONN_API void modeconn_path_destroy(modeconn_path *path);

/** Name of the path's family ("linear", "bezier", "chain"), a static string. */
MODECONN_API int32_t modeconn_path_family(const modeconn_path *path, const char **family);

/** Parameters at t in [0, 1], exact to the bit at both ends; between them each is computed in
 *  double and rounded to float once.
 *  @param theta  receives them, [count]
 *  @param count  the parameter count of either model
 *  @return MODECONN_OK, _ARGUMENT (t out of range), _SHAPE (count) */
MODECONN_API int32_t modeconn_path_parameters(const modeconn_path *path, double t, float *theta,
                                              int64_t count);

/** A model with the parameters at t and the statistics interpolated likewise; they seldom fit
 *  gamma(t): measure with a statistics policy (measure.h). Its metadata and history are empty.
 *  @return MODECONN_OK, _ARGUMENT (t out of range), _MEMORY */
MODECONN_API int32_t modeconn_path_model(const modeconn_path *path, double t, modeconn_model **out);

/** Euclidean length of the path in parameter space: exact for linear and chain, by quadrature
 *  (64 intervals of 5 points) for bezier, to a relative 1e-9 where the curve has no cusp.
 *  @return MODECONN_OK, _ARGUMENT, _NUMERIC (a control point is not finite), _MEMORY */
MODECONN_API int32_t modeconn_path_length(const modeconn_path *path, double *length);

#ifdef __cplusplus
}
#endif

#endif
