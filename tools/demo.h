/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parts of `modeconn reproduce demo`: its constants (demo_scale.c), its measurements
 * (demo_measure.c) and its course (reproduce_demo.c).
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include "cli.h"

/* How large the experiment is. A count of 0, a width of 0 and NULL mean "the scale's". */
typedef struct demo_scale {
    const char *name, *data, *arch;
    double width, cue_proportion, tolerance;
    int64_t train_samples, test_samples, clean_samples;
    int64_t epochs, batch_size;           /* of theta_C and theta_NC */
    int64_t tune_epochs, tune_batch_size; /* of fine-tuning */
    int64_t points, bn_samples, bn_batch_size;
} demo_scale;

/* The scales by name: "demo" and "tiny". */
const demo_scale *demo_scale_find(const char *name);

/* The models that fine-tuning makes of theta_C: name, and settings of kind "finetune" beside
 * epochs and batch size. */
typedef struct demo_tuning {
    const char *name, *settings, *made_by;
    bool cued; /* CBFT: the cue data count too */
} demo_tuning;
enum { DEMO_TUNINGS = 4 };
extern const demo_tuning demo_tunings[DEMO_TUNINGS];

typedef struct demo_job {
    const cli_args *args;
    demo_scale scale;
    const char *out;                                            /* folder */
    const char *train_settings, *tune_settings, *cbft_settings; /* changes to the constants */

    modeconn_context *context;
    modeconn_dataset *train;      /* of theta_C and theta_NC, clean */
    modeconn_dataset *train_cued; /* the same with the cue; D_C of CBFT */
    modeconn_dataset *clean;      /* disjoint from them */
    modeconn_dataset *test;
    modeconn_options *train_options, *model_options, *tune_options[DEMO_TUNINGS];
    modeconn_options *evaluate_options, *probe_options, *curve_options;

    modeconn_model *origin; /* theta_C */
    json_t *models;         /* of results.json */
    cli_progress bar;
    int stage, stages;
    char *kept; /* files written so far, for the message when stopped */
    double started;
} demo_job;

/* Makes every options object; wrong settings are usage errors. An exit status. */
int demo_options(demo_job *demo);
void demo_options_free(demo_job *demo);

/* The "scale" object of results.json. */
json_t *demo_scale_json(const demo_job *demo);

/* Work of a model's measurement, in forward passes of one sample, for the progress bar. */
double demo_measure_work(const demo_job *demo, bool with_curve);

/* Measures a model (views, probe, line to theta_C), writes its curve's CSV and SVG, and adds it to
 * demo->models with the seconds that making it took. */
int demo_measure(demo_job *demo, const char *name, const char *made_by, const modeconn_model *model,
                 const modeconn_options *options, double seconds);

/* DIR/PREFIX NAME SUFFIX, to be freed; NULL when out of memory. */
char *demo_path(const demo_job *demo, const char *prefix, const char *name, const char *suffix);

/* cli_failed(), but silent where Ctrl-C stopped a call: the end of the run says that once. */
bool demo_failed(const demo_job *demo, int32_t status);

/* Notes that a file was written. */
void demo_keep(demo_job *demo, const char *path);

#endif
