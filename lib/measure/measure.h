/* SPDX-License-Identifier: BSD-3-Clause
 *
 * measure: evaluation, curves, barriers, probes, comparison, mechanistic connectivity, activation
 * patterns, CKA. Depends on everything below.
 */
#ifndef MC_MEASURE_H
#define MC_MEASURE_H

#include "path/path.h"
#include <jansson.h>
#include <modeconn/measure.h>
#include <modeconn/similarity.h>

extern const mc_option_kind mc_kind_evaluate, mc_kind_curve, mc_kind_probe, mc_kind_connectivity,
    mc_kind_patterns, mc_kind_cka;

/* Barrier of values[0 .. n-1] at t[0 .. n-1] by definition (measure.h of the API); NaN where HALF
 * has no point at 1/2. */
double mc_barrier(const double *t, const double *values, int64_t n, int32_t definition);

/* Paired percentile bootstrap of the mean of d [n]: interval at `confidence`, seeded. `progress`,
 * which may be NULL, is asked now and then whether to go on. */
int32_t mc_bootstrap_mean(modeconn_context *context, mc_progress *progress, const double *d,
                          int64_t n, double confidence, int64_t resamples, uint64_t seed,
                          double *mean, double *low, double *high);

/* Simultaneous band for the means of the columns of d [n][width], rows resampled together: with
 * probability `confidence` every column's true mean lies within its low..high. */
int32_t mc_bootstrap_band(modeconn_context *context, mc_progress *progress, const double *d,
                          int64_t n, int64_t width, double confidence, int64_t resamples,
                          uint64_t seed, double *mean, double *low, double *high);

/* Quantile q in [0, 1] of ascending values [n]: linear between the order statistics around
 * position q (n - 1). */
double mc_quantile(const double *ascending, int64_t n, double q);

/* ---- where a result comes from (result.c) ------------------------------------------------ */

/* What a result was measured on, copied when it was made: descriptions as JSON text. */
typedef struct mc_provenance {
    modeconn_context *context;
    char *subject[2];     /* models: the one, both of a comparison, both ends of a path */
    char *test;           /* the test set */
    char *policy;         /* statistics; NULL where the call takes no policy */
    char *statistics_set; /* NULL where the policy needs none */
    int64_t statistics_n, statistics_batch_size;
    uint64_t statistics_seed;
    int64_t batch_size; /* of the evaluation */
    const char *family; /* of a path: a static string */
    char *fit;          /* how it was fitted; NULL where it was not */
} mc_provenance;

/* Starts empty and describes what is given (each may be NULL, `plan` too). On failure there is
 * nothing to free. */
int32_t mc_provenance_init(mc_provenance *provenance, modeconn_context *context,
                           const modeconn_model *first, const modeconn_model *second,
                           const modeconn_dataset *test, const mc_statistics_plan *plan,
                           int64_t batch_size);
/* The same of a path. */
int32_t mc_provenance_init_path(mc_provenance *provenance, modeconn_context *context,
                                const modeconn_path *path, const modeconn_dataset *test,
                                const mc_statistics_plan *plan, int64_t batch_size);
void mc_provenance_free(mc_provenance *provenance);

/* Parts of a result's JSON; NULL when jansson is out of memory. */
json_t *mc_provenance_subject(const mc_provenance *provenance, int which);
/* The test set as it was seen; or without a view and with the cue on all samples, where views of it
 * were measured. */
json_t *mc_provenance_seen(const mc_provenance *provenance);
json_t *mc_provenance_test(const mc_provenance *provenance);
json_t *mc_provenance_statistics(const mc_provenance *provenance);

/* {"family", "fit", "first", "second"} of a path. */
json_t *mc_provenance_path(const mc_provenance *provenance);
/* {"first", "second"} of two models. */
json_t *mc_provenance_models(const mc_provenance *provenance);
/* Numbers [n] as an array, null for what is not finite. */
json_t *mc_json_values(const double *values, int64_t n);

/* Adds a value under a key, taking the caller's reference to it; false (and nothing leaked) where
 * object or value is NULL. */
bool mc_json_add(json_t *object, const char *key, json_t *value);
/* `value` where all of it could be made; NULL, and nothing leaked, where not. */
json_t *mc_json_whole(json_t *value, bool ok);

/* ---- evaluating on views (evaluator.c) --------------------------------------------------- */

/* What evaluation and curves share: the views of a test set with the cue on all samples, a
 * statistics plan and a session, kept over all points. */
typedef struct mc_evaluator {
    modeconn_context *context;
    const modeconn_model *model;
    mc_session *session;
    mc_statistics_plan plan;
    int64_t n_views;
    const char **names; /* of the views, valid as long as they are */
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
/* Counts a batch of an evaluator (`user`): every point takes equally many. */
int32_t mc_evaluator_tick(void *user, int64_t samples);

/* Treats the statistics once at theta, then loss[v * stride] and accuracy[v * stride] of each view
 * v. `keep` and `mixed`: as for mc_statistics_apply(). A loss that is not finite is
 * MODECONN_ERROR_NUMERIC naming the view. */
int32_t mc_evaluator_measure(mc_evaluator *evaluator, const float *theta, const float *keep,
                             const float *mixed, double *loss, double *accuracy, int64_t stride);

/* Names [n] with their texts in one allocation, for results that outlive the dataset. */
const char **mc_names_copy(const modeconn_context *context, const char *const *names, int64_t n);

/* The keys that evaluation and curves share, for a kind's table. */
#define MC_OPTIONS_EVALUATE                                                                        \
    MC_OPT_I64("batch_size", 1, 1048576, "500", "samples per batch of the evaluation"),            \
        MC_OPT_STR("views", NULL, "", "views to measure, e.g. \"nocue,cue\"; empty = all"),        \
        MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",                                           \
                   "of the order of the statistics set (ema); -1 = the context's")

/* ---- layers (layers.c) ------------------------------------------------------------------- */

/* The nodes of a model that are looked at layer by layer, in order. */
typedef struct mc_layer_list {
    modeconn_context *context;
    int64_t n;
    int32_t *node;     /* [n], ascending */
    int64_t *places;   /* [n] of the map: height * width */
    int64_t *channels; /* [n] */
    int64_t *offset;   /* [n + 1] sums of places * channels: where a sample's values of it begin */
    char **name;       /* [n] copies */
} mc_layer_list;

typedef enum mc_layer_choice {
    MC_LAYERS_RELU,          /* outputs of ReLUs */
    MC_LAYERS_ALL,           /* of all activations, and the penultimate representation */
    MC_LAYERS_REPRESENTATION /* that alone */
} mc_layer_choice;

/* MODECONN_ERROR_UNSUPPORTED where the model has no such layer, or its layers are not known. */
int32_t mc_layer_list_open(mc_layer_list *list, const modeconn_model *model,
                           mc_layer_choice choice);
void mc_layer_list_free(mc_layer_list *list);
/* Place of a node in the list, -1 where it is not in it; `from` is where to look from. */
int64_t mc_layer_list_find(const mc_layer_list *list, int32_t node, int64_t from);

/* The samples as an option "view" wants them: "" as the handle shows them. */
int32_t mc_layer_view(const modeconn_dataset *test, const char *view, modeconn_dataset **out);

/* Unbiased HSIC of two linear kernels from the sums that cka.c streams. */
typedef struct mc_hsic_sums {
    double n, squares[2], quartic; /* sum |x|^2, sum |y|^2, sum |x|^2 |y|^2 */
    double cross;                  /* || X^T Y ||^2 */
    double sum_squared[2];         /* || sum x ||^2, || sum y ||^2 */
    double middle;                 /* sum x . X^T Y . sum y */
    double mixed[2];               /* sum x . sum(x |y|^2), sum y . sum(y |x|^2) */
} mc_hsic_sums;
double mc_hsic(const mc_hsic_sums *sums);

/* ---- activation patterns (patterns.c, patterns_report.c) ------------------------------------ */

/* Figures of one layer at one point. */
typedef struct mc_pattern_figures {
    double active; /* of gamma(t) */
    double agreement[2], chance[2], kappa[2], identical[2];
} mc_pattern_figures;

struct modeconn_patterns {
    modeconn_context *context;
    int64_t n, points;
    mc_layer_list layers;
    double *t;                   /* [points] */
    mc_pattern_figures *figures; /* [layers][points] */
    const char **view;           /* [1] */
    mc_provenance origin;
};

/* ---- centred kernel alignment (cka.c, cka_report.c) ----------------------------------------- */

struct modeconn_cka {
    modeconn_context *context;
    int64_t n;
    mc_layer_list layers[2];
    int64_t *rows;            /* [layers] */
    double *value, *debiased; /* [layers] */
    const char **view;        /* [1] */
    mc_provenance origin;
};

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

/* ---- mechanistic connectivity (connectivity.c, connectivity_report.c) --------------------- */

/* One end of a path on a view: its loss with interval, and whether it is a minimizer there. */
typedef enum mc_minimizer { MC_MINIMIZER_OPEN, MC_MINIMIZER_YES, MC_MINIMIZER_NO } mc_minimizer;
typedef struct mc_path_end {
    double loss, accuracy, low, high;
    mc_minimizer minimizer;
} mc_path_end;

typedef struct mc_rise {
    const char *view; /* one of the connectivity's names */
    int32_t verdict;
    int64_t at;                     /* the point that decides */
    double height, low, high;       /* largest of the excess and of its band, at least 0 */
    double *loss, *accuracy;        /* [points] */
    double *excess, *below, *above; /* [points] excess and its band */
    mc_path_end ends[2];
} mc_rise;

struct modeconn_connectivity {
    modeconn_context *context;
    int64_t n, points, n_views, resamples;
    double tolerance, minimum_loss, confidence;
    uint64_t seed;
    double *t;
    const char **names; /* [n_views] */
    mc_rise *views;     /* [n_views] */
    double *values;     /* the views' arrays */
    int32_t verdict;
    int64_t weakest_view, weakest_point;
    mc_provenance origin;
};

/* Verdict on a rise with interval low..high at each of `count` points. */
int32_t mc_connectivity_verdict(const double *low, const double *high, int64_t count,
                                double tolerance, int64_t n);

/* Verdict of a pair of findings: similar, dissimilar or undecided. */
int32_t mc_compare_verdict(int32_t first, int32_t second);

#endif
