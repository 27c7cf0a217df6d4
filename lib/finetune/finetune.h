/* SPDX-License-Identifier: BSD-3-Clause
 *
 * finetune: methods that change what a model relies on. A method is one row of mc_methods
 * (finetune.c).
 */
#ifndef MC_FINETUNE_H
#define MC_FINETUNE_H

#include "path/path.h"
#include <modeconn/finetune.h>

/* ---- progress (run.c) -------------------------------------------------------------------- */

/* Progress of a method made of parts: each counts its own steps, the user sees the method's. */
typedef struct mc_relay {
    modeconn_progress_fn fn; /* the user's; NULL: nobody looks */
    void *user;
    int64_t total;                       /* steps of the whole method */
    int64_t steps_before, epochs_before; /* of the parts that are done */
    int64_t step, epoch;                 /* told last */
    bool last_part;                      /* its estimate of the time left is the method's */
    double started, part_steps;          /* of the part: its start, and steps of it done */
} mc_relay;

/* A modeconn_progress_fn for a part; `user` is the relay. */
int32_t mc_relay_step(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                      double accuracy, double rate, double seconds_left);
/* A mc_tick_fn for work between steps: asks the user whether to go on. */
int32_t mc_relay_poll(void *user, int64_t samples);
/* One step that belongs to no epoch (a pass over data); MODECONN_ERROR_CANCELLED as the user
 * wishes. */
int32_t mc_relay_count(mc_relay *relay);

/* ---- what is recorded of each epoch beside the losses (track.c) ---------------------------- */

enum { MC_TRACK_COLUMNS = 3 };

/* "track_distance": || theta - theta_C ||. "track_barrier": the loss barrier over the straight line
 * from theta_C to theta on the first "track_samples" of either set, sup_t [L - ((1-t) L(0) +
 * t L(1))] over so many points, batch norm's statistics pooled anew at each over those clean
 * samples. */
typedef struct mc_track {
    modeconn_context *context;
    const modeconn_model *origin;
    bool distance;
    int64_t points; /* 0: no barrier */
    modeconn_dataset *sets[2];
    int n_sets;
    int64_t batch_size;
    mc_statistics_plan plan;
    mc_session *session;
    float *theta, *mixed;     /* [n_theta], [n_stats] */
    double *loss, *values[2]; /* [largest set], [points] */
    const char *columns[MC_TRACK_COLUMNS];
    int64_t n_columns;
} mc_track;

typedef struct mc_finetune_job mc_finetune_job;

/* Opens what the options ask for; nothing to close after a failure. */
int32_t mc_track_open(mc_track *track, const mc_finetune_job *job);
/* Values of the track's columns for a model, [n_columns]. */
int32_t mc_track_epoch(mc_track *track, const modeconn_model *tuned, mc_relay *relay,
                       double *values);
void mc_track_close(mc_track *track);

/* ---- methods ------------------------------------------------------------------------------ */

enum { MC_METHOD_COLUMNS = 3 };

/* One fine-tuning. The caller fills the first group; mc_finetune_run() the others. */
struct mc_finetune_job {
    const modeconn_model *origin; /* theta_C */
    modeconn_model *tuned;        /* starts as its copy; trained in place */
    const modeconn_dataset *clean, *cued;
    const modeconn_options *options; /* kind "finetune", the method's defaults filled in */
    modeconn_progress_fn progress;
    void *user;

    mc_relay relay;
    mc_track track;
    modeconn_history *history; /* columns: those of SGD, the method's, the track's */
};

typedef struct mc_method {
    const char *name, *description;
    bool needs_cued;
    int32_t (*run)(mc_finetune_job *job);   /* trains job->tuned, appends to job->history */
    const char *columns[MC_METHOD_COLUMNS]; /* of its own in the history, NULL-ended if fewer */
    const char *defaults;                   /* that are not the kind's: "key=value,key=value" */
} mc_method;
extern const mc_method mc_methods[];
extern const int64_t mc_methods_count;

int32_t mc_method_find(const char *name, const mc_method **out);

/* Runs a method on job->tuned and gives that its history. */
int32_t mc_finetune_run(const mc_method *method, mc_finetune_job *job);

int32_t mc_finetune_naive(mc_finetune_job *job);
int32_t mc_finetune_llrt(mc_finetune_job *job);
int32_t mc_finetune_lpft(mc_finetune_job *job);
int32_t mc_finetune_cbft(mc_finetune_job *job);

/* ---- what methods share (run.c) ------------------------------------------------------------ */

double mc_finetune_f64(const mc_finetune_job *job, const char *key);
int64_t mc_finetune_i64(const mc_finetune_job *job, const char *key);
bool mc_finetune_is(const mc_finetune_job *job, const char *key, const char *value);

/* Batches of `epochs` passes over the clean data; MODECONN_ERROR_ARGUMENT where they are too many
 * to count. */
int32_t mc_finetune_steps(const mc_finetune_job *job, int64_t epochs, int64_t *steps);

/* One part of a method that is a training run with a cosine rate. */
typedef struct mc_training {
    modeconn_model *model; /* what is trained */
    const modeconn_dataset *data;
    int64_t epochs;
    double learning_rate, weight_decay;
    const double *values; /* of the method's own columns, the same in every epoch */
    /* After each epoch, before the record: brings job->tuned up to date; NULL where it is `model`.
     */
    void (*publish)(void *user, mc_finetune_job *job);
    void *user;
} mc_training;

/* Trains, and appends an epoch at a time to job->history. */
int32_t mc_finetune_train(mc_finetune_job *job, const mc_training *training);

/* Appends an epoch: SGD's columns, the method's, and what is tracked. `values`
 * [MC_HISTORY_SGD + the method's]. */
int32_t mc_finetune_record(mc_finetune_job *job, const double *values);

/* ---- last-layer retraining (llrt.c) --------------------------------------------------------- */

/* Steps that mc_llrt_train() counts, and the retraining of job->tuned's last layer. */
int32_t mc_llrt_steps(const mc_finetune_job *job, int64_t epochs, int64_t *steps);
int32_t mc_llrt_train(mc_finetune_job *job, const mc_training *training);

/* ---- connectivity-based fine-tuning (cbft.c, cbft_objective.c) ------------------------------ */

/* Law of t: a Gaussian at 1/2 truncated to [0, 1], or 1/2 + deviation * clip(N(0, 1), -clip,
 * clip). */
typedef struct mc_draw {
    bool clipped;
    double deviation, clip;
} mc_draw;
double mc_cbft_draw_t(uint64_t seed, const mc_draw *law, int64_t step);

/* L_CE of batch a (clean) + weight * L_I of batches a and b (cue), a mc_pair_fn's user. */
typedef struct mc_cbft_objective {
    modeconn_context *context;
    double weight; /* lambda / K; 0: L_I is measured but has no gradient */
    /* Values of the last call. */
    double loss_ce, loss_invariance;
    int64_t hits;      /* samples of batch a whose arg max is the label, ties to the lowest class */
    double *mean[2];   /* [classes][width] class means of batch a and b */
    int64_t *count[2]; /* [classes] */
} mc_cbft_objective;
int32_t mc_cbft_objective_init(mc_cbft_objective *objective, const modeconn_model *model);
void mc_cbft_objective_free(mc_cbft_objective *objective);

/* The mc_pair_fn: adds both cotangents to the pair's. MODECONN_ERROR_NUMERIC where a value is not
 * finite. */
int32_t mc_cbft_objective_pair(void *user, const mc_pair *pair);

extern const mc_option_kind mc_kind_finetune;

#endif
