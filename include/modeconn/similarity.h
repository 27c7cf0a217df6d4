/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file similarity.h
 * @brief Do two models compute alike? Mechanistic connectivity of a path (paper, Definition 5),
 *        activation patterns along it (Lemma 2), and similarity of representations (CKA). What a
 *        model is invariant to is asked in measure.h. Conventions: modeconn.h; what the figures
 *        mean: docs/measurements.md.
 */
#ifndef MODECONN_SIMILARITY_H
#define MODECONN_SIMILARITY_H

#include <modeconn/measure.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Whether a path connects its ends on the data and on every counterfactual view of them. */
typedef struct modeconn_connectivity modeconn_connectivity;
/** Agreement of ReLU activation patterns along a path, layer by layer. */
typedef struct modeconn_patterns modeconn_patterns;
/** Similarity of two models' representations, layer by layer. */
typedef struct modeconn_cka modeconn_cka;

/* ---- mechanistic connectivity ------------------------------------------------------------ */

/**
 * Asks whether a path is mechanistically connected (Definition 5): mode connected (Definition 1)
 * on the data and, along the same path, on every counterfactual view.
 *
 * With l_i(t) the loss of sample i of a view at t, the excess over the ends is
 *
 *     e_i(t) = l_i(t) - ((1-t) l_i(0) + t l_i(1)),   E(t) = mean_i e_i(t)
 *
 * and low(t)..high(t) a confidence band around E(t) from a paired bootstrap over the samples that
 * holds at all measured t at once (max-t; one band a view). A view is disconnected if low(t) lies
 * above the tolerance at some t, connected if high(t) lies below it at every t, undecided
 * otherwise or below 30 samples. The path is disconnected if a view is, connected if every view
 * is, undecided otherwise.
 *
 * Definition 5 also wants both ends to be minimizers on every view. Their losses are always
 * reported; with "minimum_loss" above 0 they are judged: an end whose interval lies above it on a
 * view makes the path disconnected, one whose interval reaches it undecided.
 *
 * @param path     of two models; any family
 * @param train    statistics set for the policies reset and ema; may be NULL with the others
 * @param test     a dataset with counterfactual views; the cue on all samples
 * @param options  kind "connectivity", or NULL: "tolerance" (nats, default 0.1), "minimum_loss"
 *                 (nats; 0, the default, judges no end), "confidence" (above 0, at most 0.9999,
 *                 default 0.99), "resamples", "points", "statistics" (default reset), "views" (""
 *                 = all; the verdict is about these), "bn_samples", "bn_batch_size", "batch_size",
 *                 "seed" (of the bootstrap and of ema; -1 = the context's)
 * @param progress may be NULL; `epoch` is the number of points done
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _SHAPE, _UNSUPPORTED (a test set without
 *         counterfactual views; batch norm on a single value), _NUMERIC (names the view and t),
 *         _CANCELLED, _MEMORY
 *
 * The verdict is about this path: another may connect what this one does not. Memory: 8 bytes for
 * every view, point and sample.
 */
MODECONN_API int32_t modeconn_connectivity_measure(const modeconn_path *path,
                                                   const modeconn_dataset *train,
                                                   const modeconn_dataset *test,
                                                   const modeconn_options *options,
                                                   modeconn_progress_fn progress, void *user,
                                                   modeconn_connectivity **out);
MODECONN_API void modeconn_connectivity_destroy(modeconn_connectivity *connectivity);
/** MODECONN_VERDICT_CONNECTED, _DISCONNECTED or _UNDECIDED. */
MODECONN_API int32_t modeconn_connectivity_verdict(const modeconn_connectivity *connectivity,
                                                   int32_t *verdict);
/** The view (its name valid as long as the handle) and t that break the connection; of a path that
 *  is not disconnected those that come nearest to it. Either output may be NULL. */
MODECONN_API int32_t modeconn_connectivity_weakest(const modeconn_connectivity *connectivity,
                                                   const char **view, double *t);
/** Number of views. */
MODECONN_API int32_t modeconn_connectivity_size(const modeconn_connectivity *connectivity,
                                                int64_t *views);
/** Name of view `index`, valid as long as the handle.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_connectivity_view(const modeconn_connectivity *connectivity,
                                                int64_t index, const char **name);
/** One view's verdict, its height max_t E(t) with max_t low(t) and max_t high(t) (nats, none below
 *  0), and the t that decides; every output may be NULL. _UNKNOWN view. */
MODECONN_API int32_t modeconn_connectivity_get(const modeconn_connectivity *connectivity,
                                               const char *view, int32_t *verdict, double *height,
                                               double *low, double *high, double *t);
/** Mean loss (nats) and accuracy of the first (0) or second (1) end on a view; either output may
 *  be NULL.
 *  @return MODECONN_OK, _ARGUMENT (also `which` out of range) or _UNKNOWN (view) */
MODECONN_API int32_t modeconn_connectivity_end(const modeconn_connectivity *connectivity,
                                               const char *view, int32_t which, double *loss,
                                               double *accuracy);
/** {"verdict", "weakest": {"view", "t"}, "t": [...], "views": {"nocue": {"verdict", "height",
 *  "low", "high", "t", "loss": [...], "accuracy": [...], "excess": [...], "excess_low": [...],
 *  "excess_high": [...], "ends": {"first": {"loss", "accuracy", "low", "high", "minimizer" (null
 *  where not judged or undecided)}, "second": {...}}}, ...}, "tolerance", "minimum_loss",
 *  "confidence", "resamples", "seed", "n", "statistics", "batch_size", "path", "data", "note"},
 *  and a table with a line per view and t. */
MODECONN_API int32_t modeconn_connectivity_json(const modeconn_connectivity *connectivity,
                                                char *buffer, int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_connectivity_csv(const modeconn_connectivity *connectivity,
                                               char *buffer, int64_t capacity, int64_t *needed);

/* ---- activation patterns ------------------------------------------------------------------ */

/**
 * Compares which ReLUs are active at gamma(t) with which are at either end, layer by layer.
 *
 * A unit is one value of a ReLU's output for a sample (channel and place); it is active where that
 * value is above 0. Over all pairs of a sample and a unit of a layer
 *
 *     agreement  p_o = share of pairs active in both or in neither
 *     chance     p_e = mean over units of (a_u b_u + (1 - a_u)(1 - b_u)), a_u and b_u the shares of
 *                samples at which unit u is active in either model
 *     kappa      (p_o - p_e) / (1 - p_e): 1 for equal patterns, 0 for what units that were
 *                independent, with these shares, would give; NaN where p_e = 1 (every unit always
 *                on or always off, alike in both)
 *     identical  share of samples whose whole pattern of that layer is equal
 *
 * Linearly connected minimizers of the paper's one-hidden-layer networks have identical patterns
 * on the data (appendix F.3, Lemma 2). Units are compared by their number, so align models first.
 *
 * @param path     of two models; two models compare over a straight line with "points" = 2
 * @param train    statistics set for the policies reset and ema; may be NULL with the others
 * @param test     the samples
 * @param options  kind "patterns", or NULL: "points" (default 11), "view" ("" = the view of the
 *                 handle; else that view with the cue on all samples), "statistics" (default
 *                 reset), "bn_samples", "bn_batch_size", "batch_size" (default 100), "seed" (of
 *                 ema)
 * @param progress may be NULL; `epoch` is the number of points done
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _SHAPE, _UNSUPPORTED (a model without ReLUs, or
 *         whose layers are not known; batch norm on a single value), _NUMERIC (outputs of a layer
 *         are not finite: names it), _CANCELLED, _MEMORY
 *
 * Working memory: three models' activations of a batch, 2 bytes for each value of its ReLUs and 12
 * for those of a sample.
 */
MODECONN_API int32_t modeconn_patterns_measure(const modeconn_path *path,
                                               const modeconn_dataset *train,
                                               const modeconn_dataset *test,
                                               const modeconn_options *options,
                                               modeconn_progress_fn progress, void *user,
                                               modeconn_patterns **out);
MODECONN_API void modeconn_patterns_destroy(modeconn_patterns *patterns);
/** Numbers of layers and of points; either output may be NULL. */
MODECONN_API int32_t modeconn_patterns_size(const modeconn_patterns *patterns, int64_t *layers,
                                            int64_t *points);
/** Name of layer `index` (the layer that the ReLU follows, valid as long as the handle) and its
 *  units; either output may be NULL.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_patterns_layer(const modeconn_patterns *patterns, int64_t index,
                                             const char **name, int64_t *units);
/** Figures of a layer at every point against the first (0) or second (1) end; each array has room
 *  for `capacity` values and may be NULL.
 *  @return MODECONN_OK, _ARGUMENT (also `layer` or `which` out of range) or _BUFFER (`capacity`
 *          below the points) */
MODECONN_API int32_t modeconn_patterns_values(const modeconn_patterns *patterns, int64_t layer,
                                              int32_t which, double *agreement, double *kappa,
                                              double *identical, int64_t capacity);
/** {"t": [...], "layers": [{"name", "units", "active": [...], "first": {"agreement": [...],
 *  "chance": [...], "kappa": [...] (null for NaN), "identical": [...]}, "second": {...}}, ...],
 *  "n", "view", "statistics", "batch_size", "path", "data"}, and a table with a line per layer and
 *  t. */
MODECONN_API int32_t modeconn_patterns_json(const modeconn_patterns *patterns, char *buffer,
                                            int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_patterns_csv(const modeconn_patterns *patterns, char *buffer,
                                           int64_t capacity, int64_t *needed);

/* ---- centred kernel alignment -------------------------------------------------------------- */

/**
 * Linear CKA of two models' representations (Kornblith et al. 2019), layer by layer: the outputs of
 * their ReLUs and GELUs, in order, and the penultimate representation. Every place of a feature map
 * is a row, every channel a feature: with X [rows][p] and Y [rows][q] centred,
 *
 *     cka = || X^T Y ||^2 / (|| X^T X || || Y^T Y ||)      (Frobenius norms)
 *
 * and "debiased" is the same ratio of unbiased HSIC (Song et al. 2012; Nguyen et al. 2021), which
 * is near 0 for unrelated representations also where rows are few, and may fall below it. Sums run
 * in double over one pass of the data. CKA does not depend on the order of units, nor on rotations
 * of the features; it is no evidence about mechanisms by itself.
 *
 * @param first, second  two models that take these images; they may differ in architecture if
 *                       their measured layers are equally many and of equal maps
 * @param options  kind "cka", or NULL: "layers" (all, or representation: the penultimate one
 *                 alone), "view" ("" = the view of the handle; else that view with the cue on all
 *                 samples), "batch_size" (default 100). Batch norm uses the models' own running
 *                 statistics.
 * @param progress may be NULL
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _SHAPE (models and data, or layers, do not go
 *         together), _UNSUPPORTED (a model whose layers are not known), _NUMERIC (outputs of a
 *         layer are not finite: names it), _CANCELLED, _MEMORY
 *
 * Working memory: 8 (p + q)^2 bytes a layer and 4 bytes for each measured value of a batch.
 */
MODECONN_API int32_t modeconn_cka_measure(const modeconn_model *first, const modeconn_model *second,
                                          const modeconn_dataset *test,
                                          const modeconn_options *options,
                                          modeconn_progress_fn progress, void *user,
                                          modeconn_cka **out);
MODECONN_API void modeconn_cka_destroy(modeconn_cka *cka);
/** Number of layers. */
MODECONN_API int32_t modeconn_cka_size(const modeconn_cka *cka, int64_t *layers);
/** Names of layer `index` in either model (valid as long as the handle), CKA and its debiased form
 *  (NaN where a layer is constant, the latter also below 4 rows); every output may be NULL.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_cka_get(const modeconn_cka *cka, int64_t index, const char **first,
                                      const char **second, double *value, double *debiased);
/** {"layers": [{"first", "second", "rows", "features": {"first", "second"}, "cka", "debiased" (null
 *  for NaN)}, ...], "n", "view", "batch_size", "models": {"first", "second"}, "data"}, and a table
 *  with a line per layer. */
MODECONN_API int32_t modeconn_cka_json(const modeconn_cka *cka, char *buffer, int64_t capacity,
                                       int64_t *needed);
MODECONN_API int32_t modeconn_cka_csv(const modeconn_cka *cka, char *buffer, int64_t capacity,
                                      int64_t *needed);

#ifdef __cplusplus
}
#endif

#endif
