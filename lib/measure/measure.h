/* SPDX-License-Identifier: BSD-3-Clause
 *
 * measure: evaluation, curves, barriers, probes, comparison. Depends on everything below.
 */
#ifndef MC_MEASURE_H
#define MC_MEASURE_H

#include "path/path.h"
#include <jansson.h>
#include <modeconn/measure.h>

extern const mc_option_kind mc_kind_evaluate, mc_kind_curve, mc_kind_probe;

/* Barrier of values[0 .. n-1] at t[0 .. n-1] by definition (measure.h of the API); NaN where HALF
 * has no point at 1/2. */
double mc_barrier(const double *t, const double *values, int64_t n, int32_t definition);

/* Paired percentile bootstrap of the mean of d [n]: interval at `confidence`, seeded. */
int32_t mc_bootstrap_mean(modeconn_context *context, const double *d, int64_t n, double confidence,
                          int64_t resamples, uint64_t seed, double *mean, double *low,
                          double *high);

/* Quantile q in [0, 1] of ascending values [n]: linear between the order statistics around
 * position q (n - 1). */
double mc_quantile(const double *ascending, int64_t n, double q);

/* ---- where a result comes from (result.c) ------------------------------------------------ */

/* What a result was measured on, copied when it was made: descriptions as JSON text. */
typedef struct mc_provenance {
    modeconn_context *context;
    char *subject[2];     /* models: the one, both of a comparison, both ends of a path */
    char *test;           /* the test set; its own view says nothing about what was measured */
    char *policy;         /* statistics; NULL where the call takes no policy */
    char *statistics_set; /* NULL where the policy needs none */
    int64_t statistics_n, statistics_batch_size;
    uint64_t statistics_seed;
    int64_t batch_size; /* of the evaluation */
} mc_provenance;

/* Starts empty and describes what is given (each may be NULL, `plan` too). On failure there is
 * nothing to free. */
int32_t mc_provenance_init(mc_provenance *provenance, modeconn_context *context,
                           const modeconn_model *first, const modeconn_model *second,
                           const modeconn_dataset *test, const mc_statistics_plan *plan,
                           int64_t batch_size);
void mc_provenance_free(mc_provenance *provenance);

/* Parts of a result's JSON; NULL when jansson is out of memory. */
json_t *mc_provenance_subject(const mc_provenance *provenance, int which);
json_t *mc_provenance_test(const mc_provenance *provenance);
json_t *mc_provenance_statistics(const mc_provenance *provenance);

/* Adds a value under a key, taking the caller's reference to it; false (and nothing leaked) where
 * object or value is NULL. */
bool mc_json_add(json_t *object, const char *key, json_t *value);

/* ---- evaluating on views (evaluator.c) --------------------------------------------------- */

/* What evaluation and curves share: the views of a test set with the cue on all samples, a
 * statistics plan and a session, kept over all points. */
typedef struct mc_evaluator {
    modeconn_context *context;
    const modeconn_model *model;
    mc_session *session;
    mc_statistics_plan plan;
    int64_t n_views;
    const char **names; /* static strings */
    modeconn_dataset **views;
    int64_t n, batch_size;
    double *loss; /* [n], of the view being evaluated */
    uint8_t *correct;
    mc_progress progress;
    int64_t points; /* of the whole call */
} mc_evaluator;

/* Reads the keys of kind "evaluate", which `kind` has; `points` is how often
 * mc_evaluator_measure() will be called. On failure there is nothing to close. */
int32_t mc_evaluator_open(mc_evaluator *evaluator, const modeconn_model *model,
                          const modeconn_dataset *train, const modeconn_dataset *test,
                          const modeconn_options *options, const mc_option_kind *kind,
                          int64_t points, modeconn_progress_fn progress, void *user);
void mc_evaluator_close(mc_evaluator *evaluator);

/* Treats the statistics once at theta, then loss[v * stride] and accuracy[v * stride] of each view
 * v. `keep` and `mixed`: as for mc_statistics_apply(). A loss that is not finite is
 * MODECONN_ERROR_NUMERIC naming the view. */
int32_t mc_evaluator_measure(mc_evaluator *evaluator, const float *theta, const float *keep,
                             const float *mixed, double *loss, double *accuracy, int64_t stride);

/* Datasets that `list` names ("nocue,cue"; "" = all of `test`) with the cue on all samples, and
 * their names, in arrays of `count` to be freed by mc_views_close(). */
int32_t mc_views_open(modeconn_context *context, const modeconn_dataset *test, const char *list,
                      int64_t *count, const char ***names, modeconn_dataset ***views);
void mc_views_close(modeconn_context *context, int64_t count, const char **names,
                    modeconn_dataset **views);

/* Names [n] with their texts in one allocation, for results that outlive the dataset. */
const char **mc_names_copy(const modeconn_context *context, const char *const *names, int64_t n);

/* The keys that evaluation and curves share, for a kind's table. */
#define MC_OPTIONS_EVALUATE                                                                        \
    MC_OPT_I64("batch_size", 1, 1048576, "500", "samples per batch of the evaluation"),            \
        MC_OPT_STR("views", NULL, "", "views to measure, e.g. \"nocue,cue\"; empty = all"),        \
        MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",                                           \
                   "of the order of the statistics set (ema); -1 = the context's")

/* ---- probes (probe.c) -------------------------------------------------------------------- */

/* What a probe found about one attribute of the test set. */
typedef struct mc_finding {
    int32_t verdict;
    double effect, low, high; /* nats */
} mc_finding;

struct modeconn_probe {
    modeconn_context *context;
    int64_t n_attributes;
    const char **attributes; /* [n_attributes] names */
    mc_finding *findings;    /* [n_attributes] */
    double margin, confidence;
    int64_t n, resamples;
    uint64_t seed;
    mc_provenance origin;
};

/* Fewer samples than this are always undecided: resampling a handful of differences cannot show
 * how much they vary, in the extreme (one sample) not at all. */
enum { MC_PROBE_SAMPLES = 30 };

/* Verdict on an effect with interval low..high, from n samples. */
int32_t mc_probe_verdict(double low, double high, double margin, int64_t n);

/* {"verdict", "effect", "low", "high"}, and the same as ",verdict,effect,low,high" of a line. */
json_t *mc_finding_json(const mc_finding *finding);
void mc_finding_csv(const mc_finding *finding, mc_text *text);

/* "margin", "confidence", "resamples", "seed", "n" and "data" into an object, false when jansson
 * is out of memory; and ",margin,confidence,n" with the end of the line. */
bool mc_probe_settings_json(const modeconn_probe *probe, json_t *out);
void mc_probe_settings_csv(const modeconn_probe *probe, mc_text *text);

/* Verdict of a pair of findings: similar, dissimilar or undecided. */
int32_t mc_compare_verdict(int32_t first, int32_t second);

#endif
