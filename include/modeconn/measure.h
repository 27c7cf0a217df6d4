/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file measure.h
 * @brief Evaluation, curves and barriers, invariance probes, mechanistic similarity (paper,
 *        Definitions 1 to 4). Conventions: modeconn.h.
 *
 * Batch-norm statistics decide what lies between two models. Where a call takes "statistics":
 *
 *  - reset        exact: pooled mean and unbiased variance over a training set in batch-statistics
 *                 mode (law of total variance over the batches), anew at every point
 *  - ema          start from interpolated running statistics, pass the set once in shuffled order
 *                 with the layers' momentum, 0.1 unless they say otherwise (the paper's code)
 *  - interpolate  running statistics of the ends, interpolated like the parameters
 *  - batch        the evaluated batch's own statistics
 *  - keep         the running statistics of the model, on a path of its first end
 *
 * The statistics set is seen through its view "nocue" (the paper's choice), the first
 * "bn_samples" samples in dataset order, "bn_batch_size" at a time; both are in every result.
 * Models without batch norm have nothing to treat, whatever the policy.
 */
#ifndef MODECONN_MEASURE_H
#define MODECONN_MEASURE_H

#include <modeconn/model.h>
#include <modeconn/path.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Loss and accuracy of one model on every view. */
typedef struct modeconn_evaluation modeconn_evaluation;
/** Loss and accuracy along a path on every view. */
typedef struct modeconn_curve modeconn_curve;
/** What a model is invariant to. */
typedef struct modeconn_probe modeconn_probe;
/** The invariances of two models, side by side. */
typedef struct modeconn_comparison modeconn_comparison;

/* ---- evaluation ------------------------------------------------------------------------ */

/**
 * Mean loss and accuracy on every view of `test` (the cue on all samples).
 *
 * @param train    statistics set for the policies reset and ema; may be NULL with the others
 * @param options  kind "evaluate", or NULL: "statistics" (default keep), "bn_samples" (0 = all),
 *                 "bn_batch_size", "batch_size", "views" ("" = all, or "nocue,cue"), "seed" (of
 *                 ema; -1 = the context's)
 * @param progress may be NULL
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _SHAPE, _UNSUPPORTED (batch norm on a single
 *         value in a statistics pass), _NUMERIC (a loss is not finite: names the view),
 *         _CANCELLED, _MEMORY
 */
MODECONN_API int32_t modeconn_evaluate(const modeconn_model *model, const modeconn_dataset *train,
                                       const modeconn_dataset *test,
                                       const modeconn_options *options,
                                       modeconn_progress_fn progress, void *user,
                                       modeconn_evaluation **out);
MODECONN_API void modeconn_evaluation_destroy(modeconn_evaluation *evaluation);
/** Number of views, and the name of view `index` (0 .. count-1), valid as long as the handle.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_evaluation_view_count(const modeconn_evaluation *evaluation,
                                                    int64_t *count);
MODECONN_API int32_t modeconn_evaluation_view_name(const modeconn_evaluation *evaluation,
                                                   int64_t index, const char **name);
/** One view's mean loss (nats) and accuracy; either output may be NULL. _UNKNOWN view. */
MODECONN_API int32_t modeconn_evaluation_get(const modeconn_evaluation *evaluation,
                                             const char *view, double *loss, double *accuracy);
/** {"views": {"nocue": {"loss", "accuracy", "n"}, ...}, "statistics": {"policy", "n",
 *  "batch_size", "data"}, "batch_size", "data": {...}, "model": {...}}, and a table with a line
 *  per view. */
MODECONN_API int32_t modeconn_evaluation_json(const modeconn_evaluation *evaluation, char *buffer,
                                              int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_evaluation_csv(const modeconn_evaluation *evaluation, char *buffer,
                                             int64_t capacity, int64_t *needed);

/* ---- curves and barriers --------------------------------------------------------------- */

/** Definitions of the barrier of a curve with values L(t) (loss, or error = 1 - accuracy). A
 *  supremum runs over the measured points; the first three are never negative. */
enum {
    MODECONN_BARRIER_LINEAR = 0, /**< sup_t [L(t) - ((1-t) L(0) + t L(1))] (Definition 1) */
    MODECONN_BARRIER_MEAN = 1,   /**< max(0, sup_t L(t) - (L(0) + L(1)) / 2) */
    MODECONN_BARRIER_MAX = 2,    /**< max(0, sup_t L(t) - max(L(0), L(1))) */
    MODECONN_BARRIER_HALF = 3    /**< L(1/2) - (L(0) + L(1)) / 2, of either sign; needs an even
                                      number of intervals */
};

/**
 * Measures a path at t = i/n, i = 0..n, on every view of `test` (the cue on all samples), the
 * statistics treated once a point and shared by all views. Both ends are treated like the points
 * between, so they can differ from the models' own evaluation.
 *
 * @param train    statistics set for the policies reset and ema; may be NULL with the others
 * @param options  kind "curve", or NULL: "points" (n + 1, default 25), "refine_tolerance" and
 *                 "refine_view" (measure also between: the intervals beside the largest loss of
 *                 that view, "" = the first, are halved until they are no wider in t; default 0,
 *                 not at all), "statistics" (default reset), and the other keys of "evaluate"
 * @param progress may be NULL; `epoch` is the number of points done
 * @return as modeconn_evaluate(); _NUMERIC names the view and t
 */
MODECONN_API int32_t modeconn_curve_measure(const modeconn_path *path,
                                            const modeconn_dataset *train,
                                            const modeconn_dataset *test,
                                            const modeconn_options *options,
                                            modeconn_progress_fn progress, void *user,
                                            modeconn_curve **out);
MODECONN_API void modeconn_curve_destroy(modeconn_curve *curve);

/** Number of points. */
MODECONN_API int32_t modeconn_curve_size(const modeconn_curve *curve, int64_t *points);
/** Number of views, and the name of view `index` (0 .. count-1), valid as long as the handle.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_curve_view_count(const modeconn_curve *curve, int64_t *count);
MODECONN_API int32_t modeconn_curve_view_name(const modeconn_curve *curve, int64_t index,
                                              const char **name);
/** t of each point; `t` has room for `capacity` values (_BUFFER if too few). */
MODECONN_API int32_t modeconn_curve_points(const modeconn_curve *curve, double *t,
                                           int64_t capacity);
/** Mean loss (nats) and accuracy of one view at each point; either array may be NULL.
 *  @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _BUFFER (`capacity` below the points) */
MODECONN_API int32_t modeconn_curve_values(const modeconn_curve *curve, const char *view,
                                           double *loss, double *accuracy, int64_t capacity);

/** Length of the path from its start to each point, in parameter space (path.h); _BUFFER as above.
 */
MODECONN_API int32_t modeconn_curve_arc(const modeconn_curve *curve, double *arc, int64_t capacity);

/** Loss along the path on one view: least and largest measured value, mean over t (the integral
 *  over t in [0, 1]) and integral over the arc (nats times length), both by the trapezoidal rule on
 *  the measured points; the mean over the arc is the integral by the path's length. Every output
 *  may be NULL.
 *  @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view) */
MODECONN_API int32_t modeconn_curve_summary(const modeconn_curve *curve, const char *view,
                                            double *least, double *largest, double *mean,
                                            double *integral);
/** Likewise of the error, 1 - accuracy, as a fraction. */
MODECONN_API int32_t modeconn_curve_error_summary(const modeconn_curve *curve, const char *view,
                                                  double *least, double *largest, double *mean,
                                                  double *integral);

/** Barrier of the loss on one view, nats, by one of the definitions above.
 *  @return MODECONN_OK, _ARGUMENT, _UNKNOWN (view), _UNSUPPORTED (HALF without a point at 1/2) */
MODECONN_API int32_t modeconn_curve_barrier(const modeconn_curve *curve, const char *view,
                                            int32_t definition, double *height);
/** Likewise of the error, as a fraction. */
MODECONN_API int32_t modeconn_curve_error_barrier(const modeconn_curve *curve, const char *view,
                                                  int32_t definition, double *height);

/** {"t": [...], "arc": [...], "views": {"nocue": {"loss": [...], "accuracy": [...], "barrier":
 *  {"loss": {"linear", "mean", "max", "half"}, "error": {...}}, "summary": {"loss": {"min", "max",
 *  "mean", "integral"}, "error": {...}}, "n"}, ...}, "statistics": {...}, "batch_size", "path":
 *  {"family", "length", "fit": {"settings", "data": [...]}, "first", "second"}, "data": {...}}
 *  ("half" is null without a point at 1/2, "fit" for a path that was not fitted), and a table with
 *  a line per t. */
MODECONN_API int32_t modeconn_curve_json(const modeconn_curve *curve, char *buffer,
                                         int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_curve_csv(const modeconn_curve *curve, char *buffer, int64_t capacity,
                                        int64_t *needed);

/* ---- invariance ------------------------------------------------------------------------ */

/** Verdicts, pinned. */
enum {
    MODECONN_VERDICT_UNDECIDED = 0,   /**< the data cannot tell */
    MODECONN_VERDICT_INVARIANT = 1,   /**< the whole interval lies under the margin */
    MODECONN_VERDICT_DEPENDENT = 2,   /**< the whole interval lies above the margin */
    MODECONN_VERDICT_SIMILAR = 3,     /**< equal invariances, all decided (Definition 4) */
    MODECONN_VERDICT_DISSIMILAR = 4,  /**< an attribute that one model is invariant to and the
                                           other depends on */
    MODECONN_VERDICT_CONNECTED = 5,   /**< no rise along the path on any view (Definition 5) */
    MODECONN_VERDICT_DISCONNECTED = 6 /**< a rise along the path on some view */
};
/** "undecided", "invariant", "dependent", "similar", "dissimilar", "connected", "disconnected";
 *  "unknown verdict" otherwise. */
MODECONN_API const char *modeconn_verdict_name(int32_t verdict);

/**
 * Asks which attributes of the data a model is invariant to (Definitions 2 and 3): does
 * randomising the attribute raise its loss on the cue data (nocue, without a cue)? Attributes of a
 * dataset with a cue are "cue" (view randcue against cue) and "image" (randimg against cue); then
 * those of its generator and the host's own (dataset.h).
 *
 * The effect is the mean rise in per-sample loss, same samples with and without the
 * intervention; its interval is a paired percentile bootstrap. Fewer than 30 samples are always
 * undecided. A model whose loss falls is invariant in this sense, so look at the effect too
 * (docs/measurements.md).
 *
 * @param test     a dataset with a cue or another attribute; its current view does not matter
 * @param options  kind "probe", or NULL: "margin" (nats; default 0.1: the probability given to
 *                 the label falls by less than a tenth, in geometric mean), "confidence"
 *                 (above 0, at most 0.9999, default 0.99), "resamples" (100 to 1000000, default
 *                 2000), "batch_size", "seed" (of the bootstrap; -1 = that of the context of
 *                 `test`, so that two models are compared on the same draws)
 * @return MODECONN_OK, _ARGUMENT, _SHAPE, _UNSUPPORTED (neither a cue nor another
 *         attribute), _NUMERIC, _CALLBACK (a function of the host's), _MEMORY
 *
 * The model is evaluated with its own running statistics.
 */
MODECONN_API int32_t modeconn_probe_measure(const modeconn_model *model,
                                            const modeconn_dataset *test,
                                            const modeconn_options *options, modeconn_probe **out);
/** The same with a progress callback (may be NULL), which can cancel: `epoch` is the number of
 *  attributes done; _CANCELLED beside the codes above. */
MODECONN_API int32_t modeconn_probe_measure_with_progress(const modeconn_model *model,
                                                          const modeconn_dataset *test,
                                                          const modeconn_options *options,
                                                          modeconn_progress_fn progress, void *user,
                                                          modeconn_probe **out);
MODECONN_API void modeconn_probe_destroy(modeconn_probe *probe);
/** Number of attributes. */
MODECONN_API int32_t modeconn_probe_size(const modeconn_probe *probe, int64_t *attributes);
/** Name of attribute `index`, valid as long as the probe.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_probe_attribute(const modeconn_probe *probe, int64_t index,
                                              const char **name);
/** Verdict, effect and its interval in nats; every output may be NULL. _UNKNOWN attribute. */
MODECONN_API int32_t modeconn_probe_get(const modeconn_probe *probe, const char *attribute,
                                        int32_t *verdict, double *effect, double *low,
                                        double *high);
/** {"attributes": {"cue": {"verdict", "effect", "low", "high"}, ...}, "margin", "confidence",
 *  "resamples", "seed", "n", "data", "model"}, and a table with a line per attribute. */
MODECONN_API int32_t modeconn_probe_json(const modeconn_probe *probe, char *buffer,
                                         int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_probe_csv(const modeconn_probe *probe, char *buffer, int64_t capacity,
                                        int64_t *needed);

/* ---- mechanistic similarity ------------------------------------------------------------ */

/** Probes two models on the same data and compares their invariances (Definition 4). Options are
 *  of kind "probe". The models may differ in architecture. The verdict rests on invariances alone:
 *  that a lack of linear connectivity up to symmetries implies dissimilar mechanisms is the
 *  paper's Conjecture 1, unproved.
 *  @param out  receives the comparison; modeconn_comparison_destroy() it
 *  @return as modeconn_probe_measure(); _SHAPE where one of the models does not fit the data */
MODECONN_API int32_t modeconn_compare(const modeconn_model *first, const modeconn_model *second,
                                      const modeconn_dataset *test, const modeconn_options *options,
                                      modeconn_comparison **out);
/** The same with a progress callback (may be NULL), which can cancel; the second model goes on
 *  where the first ended: `epoch` is the number of attributes done, of both. */
MODECONN_API int32_t modeconn_compare_with_progress(const modeconn_model *first,
                                                    const modeconn_model *second,
                                                    const modeconn_dataset *test,
                                                    const modeconn_options *options,
                                                    modeconn_progress_fn progress, void *user,
                                                    modeconn_comparison **out);
MODECONN_API void modeconn_comparison_destroy(modeconn_comparison *comparison);
/** MODECONN_VERDICT_SIMILAR, _DISSIMILAR or _UNDECIDED. */
MODECONN_API int32_t modeconn_comparison_verdict(const modeconn_comparison *comparison,
                                                 int32_t *verdict);
/** The probe of the first (0) or second (1) model, owned by the comparison.
 *  @return MODECONN_OK or _ARGUMENT (also `which` out of range) */
MODECONN_API int32_t modeconn_comparison_probe(const modeconn_comparison *comparison, int32_t which,
                                               const modeconn_probe **probe);
/** {"verdict", "attributes": {"cue": {"verdict", "first": {...}, "second": {...}}, ...}, "margin",
 *  ..., "data", "models": {"first", "second"}, "note"}, and a table with a line per attribute. */
MODECONN_API int32_t modeconn_comparison_json(const modeconn_comparison *comparison, char *buffer,
                                              int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_comparison_csv(const modeconn_comparison *comparison, char *buffer,
                                             int64_t capacity, int64_t *needed);

#ifdef __cplusplus
}
#endif

#endif
