/* SPDX-License-Identifier: BSD-3-Clause
 *
 * train: gradient descent, schedules, the training loop, and passes over a dataset (evaluation
 * and batch-norm statistics) that paths, fine-tuning and measurement share.
 */
#ifndef MC_TRAIN_H
#define MC_TRAIN_H

#include "data/data.h"
#include "nn/nn.h"
#include <modeconn/train.h>

/* ---- optimiser (sgd.c) ------------------------------------------------------------------- */

typedef struct mc_sgd {
    double momentum, weight_decay;
    bool nesterov;
} mc_sgd;

/* One step of train.h's formula on theta, v, grad [n]; elementwise, so the same bits for any
 * number of threads. `first` sets v = g. */
void mc_sgd_step(modeconn_context *context, const mc_sgd *sgd, double rate, bool first, int64_t n,
                 float *theta, float *velocity, const float *grad);
/* The same in two halves, not for Nesterov's form: between them the gradient is added to v. */
void mc_sgd_prepare(modeconn_context *context, const mc_sgd *sgd, bool first, int64_t n,
                    const float *theta, float *velocity);
void mc_sgd_move(modeconn_context *context, double rate, int64_t n, float *theta,
                 const float *velocity);

/* ---- schedules (schedule.c) -------------------------------------------------------------- */

#define MC_MILESTONES_MAX 16

typedef struct mc_schedule mc_schedule;
struct mc_schedule {
    double rate;
    /* Rate of update k (from 0) of `total`, from a row of mc_schedules. */
    double (*at)(const mc_schedule *schedule, int64_t k);
    int64_t total, per_epoch, warmup;      /* updates */
    bool reference;                        /* the paper's code: cosine one update late */
    int64_t every;                         /* step: updates between drops; 0: at the milestones */
    int64_t milestones[MC_MILESTONES_MAX]; /* step: updates at which the rate drops */
    int64_t n_milestones;
    double factor;
};

typedef struct mc_schedule_row {
    const char *name;
    double (*at)(const mc_schedule *schedule, int64_t k);
} mc_schedule_row;
extern const mc_schedule_row mc_schedules[];
extern const int64_t mc_schedules_count;

/* From the keys of MC_OPTIONS_SCHEDULE in options of a kind, for epochs * per_epoch updates;
 * `reference` is left to the caller. MODECONN_ERROR_ARGUMENT where they do not go together. */
int32_t mc_schedule_init(mc_schedule *schedule, const modeconn_options *options,
                         const mc_option_kind *kind, int64_t epochs, int64_t per_epoch);

/* By name ("constant", "step", "cosine"); the caller fills the other fields. */
int32_t mc_schedule_find(const char *name, mc_schedule *schedule);

/* Rate of update k: the row's, times (k + 1) / warmup while k < warmup. */
double mc_schedule_rate(const mc_schedule *schedule, int64_t k);

/* Milestones from "0.4,0.8" (all below 1: shares of total) or "40,80" (epochs), increasing;
 * MODECONN_ERROR_ARGUMENT naming the value otherwise. "" sets none. */
int32_t mc_schedule_milestones(mc_schedule *schedule, const char *text);

/* ---- passes over data (passes.c) --------------------------------------------------------- */

/* MODECONN_ERROR_SHAPE unless the model takes this dataset's images and classes. */
int32_t mc_check_fit(const modeconn_model *model, const modeconn_dataset *dataset);

/* Size of the batch that starts at sample `done` of n in a statistics pass: batch_size as often as
 * it fits, then the rest; a rest of a single sample is joined to the batch before it (unless
 * batch_size is 1), because batch norm may not see a single value. */
int64_t mc_pass_batch(int64_t n, int64_t batch_size, int64_t done);
/* The largest of them: at most batch_size + 1. */
int64_t mc_pass_batch_max(int64_t n, int64_t batch_size);

/* Buffers for one batch [max] of a dataset. */
typedef struct mc_batch_buffer {
    modeconn_context *context;
    float *x;
    int32_t *y;
    int64_t max;
} mc_batch_buffer;
int32_t mc_batch_buffer_init(mc_batch_buffer *buffer, const modeconn_dataset *dataset, int64_t max);
void mc_batch_buffer_free(mc_batch_buffer *buffer);

/* Called after each batch with the samples done; nonzero ends the pass with that status. */
typedef int32_t (*mc_tick_fn)(void *user, int64_t samples);

/* Per-sample losses and hits [dataset n] of a bound session; either may be NULL. Non-finite
 * losses are MODECONN_ERROR_NUMERIC naming the sample. */
int32_t mc_pass_losses(const modeconn_model *model, mc_session *session, mc_norm_mode mode,
                       const modeconn_dataset *dataset, int64_t batch_size, mc_tick_fn tick,
                       void *user, double *loss, uint8_t *correct);

/* Sum in index order, divided by N. */
double mc_mean(const double *values, int64_t n);

/* ---- batch-norm statistics (statistics.c) ------------------------------------------------- */

/* How statistics are treated at every point of a call. A policy, a row of mc_policies, fills those
 * to use at a point, or says that the batch's own are to be used. */
typedef struct mc_statistics_plan {
    const char *policy;           /* name of the row */
    const modeconn_dataset *data; /* nocue view, first n samples; NULL where none is needed */
    int64_t n, batch_size;
    uint64_t seed;
} mc_statistics_plan;

/* Checks "statistics", "bn_samples", "bn_batch_size" and `train` (needed for reset and ema) and
 * holds a view of it; mc_statistics_plan_free() it. `options` may be of any kind that has those
 * keys. A model without statistics turns every policy but "batch" into "keep". */
int32_t mc_statistics_plan_init(mc_statistics_plan *plan, const modeconn_model *model,
                                const modeconn_dataset *train, const modeconn_options *options,
                                const mc_option_kind *kind);
void mc_statistics_plan_free(mc_statistics_plan *plan);

/* MODECONN_ERROR_UNSUPPORTED where a batch that runs in batch-statistics mode, of the plan's pass
 * or, by policy batch, of n samples in batches of batch_size, is too small for batch norm. */
int32_t mc_statistics_check(const mc_statistics_plan *plan, const modeconn_model *model, int64_t n,
                            int64_t batch_size);
/* The largest batch of the plan's pass, which the session must take; 0 where it has none. */
int64_t mc_statistics_batch_max(const mc_statistics_plan *plan);

/* Binds `session` at theta with statistics as planned and tells the mode to evaluate in. `keep`
 * and `mixed` [n_stats]: the first end's and the interpolated ones. */
int32_t mc_statistics_apply(const mc_statistics_plan *plan, const modeconn_model *model,
                            mc_session *session, const float *theta, const float *keep,
                            const float *mixed, mc_tick_fn tick, void *user, mc_norm_mode *mode);

/* ---- progress (progress.c) --------------------------------------------------------------- */

/* Counts steps, estimates the time left, calls the user's callback. */
typedef struct mc_progress {
    modeconn_progress_fn fn;
    void *user;
    int64_t epoch, step, total;
    double started;
} mc_progress;
void mc_progress_init(mc_progress *progress, modeconn_progress_fn fn, void *user, int64_t total);
/* One step done; MODECONN_ERROR_CANCELLED with a text where the callback asked to stop. */
int32_t mc_progress_step(mc_progress *progress, int64_t epoch, double loss, double accuracy,
                         double rate);
/* The same between two steps, for what takes long there. */
int32_t mc_progress_poll(mc_progress *progress);

/* ---- runs of gradient descent (run.c) ------------------------------------------------------ */

enum { MC_HISTORY_LOSS, MC_HISTORY_ACCURACY, MC_HISTORY_RATE, MC_HISTORY_SPEED, MC_HISTORY_SGD };
/* Columns that every SGD job records, [MC_HISTORY_SGD]: mean loss and accuracy over the epoch's
 * samples as they were trained on, rate of its last update, samples per second of its steps. */
extern const char *const mc_history_sgd[];

/* What training and fitting a path do each in their own way; `owner` is the run's. */
typedef struct mc_run_job {
    const char *name; /* for messages */
    uint32_t shuffle; /* random stream of the samples' order */
    bool adds;        /* a step can have its gradient added to a velocity (mc_sgd_prepare()) */
    /* One update on `samples` [batch->n], for which batch points at the run's buffer: fills it, and
     * the run's `loss` and `correct`. Where it fails nothing has moved. */
    int32_t (*step)(void *owner, const int64_t *samples, const mc_batch *batch);
    /* After an epoch: MODECONN_ERROR_NUMERIC where a parameter is not finite. */
    int32_t (*check)(void *owner);
    /* An epoch begins: keeps what is trained. Back there, with a momentum of 0: that of the start
     * would cost another vector of theta's length, and what led to the restoring. */
    void (*keep)(void *owner);
    void (*restore)(void *owner);
} mc_run_job;

typedef struct mc_run {
    /* Filled by the owner, which keeps context and model alive. */
    const mc_run_job *job;
    void *owner;
    modeconn_context *context;
    const modeconn_model *model; /* whose operations compute the gradient */
    int64_t n;                   /* samples of an epoch */

    char *options; /* every key as "key=value\n", the seed resolved; for the file */
    mc_sgd sgd;
    mc_schedule schedule;
    uint64_t seed;
    int64_t batch_size, per_epoch, epochs;

    /* Position: `step` batches of epoch `epoch` are done, with these sums over them. `step` equals
     * per_epoch only where the epoch's record could not be made. */
    int64_t epoch, step, hits;
    double loss_sum, seconds;
    modeconn_history *history;

    mc_session *session;
    mc_batch_buffer buffer;
    /* [n_theta]; NULL, where the job can do without and it would be large: the gradient is added to
     * the velocity. */
    float *grad;
    int64_t *order;   /* [n] of the running epoch */
    double *loss;     /* [batch_size] */
    uint8_t *correct; /* [batch_size] */
} mc_run;

/* Reads the keys of MC_OPTIONS_RUN and makes room for batches of images like `dataset`'s.
 * mc_run_free() it also where this fails. */
int32_t mc_run_init(mc_run *run, const modeconn_dataset *dataset, const modeconn_options *options,
                    const mc_option_kind *kind);
void mc_run_free(mc_run *run);

/* Number of the update that comes next, from 0, and its rate. */
int64_t mc_run_update(const mc_run *run);
double mc_run_rate(const mc_run *run);

/* Up to `epochs` more epochs, -1: to the end; back to the start of the epoch where a loss or a
 * parameter is not finite. `record` receives a copy of the history, which later epochs do not
 * change, also when the run failed; NULL for wrong arguments or lack of memory. */
int32_t mc_run_epochs(mc_run *run, int64_t epochs, modeconn_progress_fn progress, void *user,
                      modeconn_history **record);

/* Whole epochs done, and of the run; either output may be NULL. */
int32_t mc_run_told(const mc_run *run, int64_t *done, int64_t *total);

/* ---- training (trainer.c, trainer_file.c) --------------------------------------------------- */

struct modeconn_trainer {
    mc_run run;
    modeconn_model *model;
    modeconn_dataset *dataset;
    float *velocity; /* [n_theta] */

    float *start_theta, *start_statistics; /* at the start of the epoch */
};

/* The two halves of an update, with bound parameters: the gradient of a batch, which fills the
 * run's losses, and the step that takes it. */
int32_t mc_trainer_gradient(modeconn_trainer *trainer, const mc_batch *batch);
void mc_trainer_update(modeconn_trainer *trainer, double rate);

/* ---- files of interrupted runs (run_file.c) ------------------------------------------------ */

/* What a run is made over, as far as mc_run does not know it. */
typedef struct mc_run_facts {
    const char *what, *format; /* "training run"; the file's "modeconn.trainer.1" */
    char path[96];             /* the path that is fitted; "" for none */
    char *data;                /* description of the samples, to be freed */
    char fingerprint[17];      /* of one data set; "" where `data` has those of several */
} mc_run_facts;

/* A vector of a run's state: its name in the file, and where it lives. */
typedef struct mc_run_vector {
    char name[32];
    int64_t size;
    float *values;
    bool statistics; /* of batch norm: no variance is negative */
    bool inside;     /* in the file only in the middle of an epoch */
} mc_run_vector;

/* Description of a data set (to be freed), and a fingerprint of every label and of the pixels, as
 * seen, of samples evenly spread over it: cheap, and tells apart sets that only their descriptions
 * would confuse. */
int32_t mc_run_describe(const modeconn_dataset *dataset, char **description, char fingerprint[17]);

/* FNV-1a, 64 bits, over more bytes, and as 16 hexadecimal digits. */
#define MC_HASH_START UINT64_C(14695981039346656037)
uint64_t mc_hash(uint64_t hash, const void *data, size_t size);
void mc_hash_text(uint64_t hash, char text[17]);

/* Writes position, sums and history, the owner's vectors, and what the run is made over. */
int32_t mc_run_save(const mc_run *run, const mc_run_facts *facts, const mc_run_vector *vectors,
                    int64_t n_vectors, const char *path);
/* Reads that back; what is wrong or differs is an error that names it and changes nothing. `record`
 * receives a copy of the history. */
int32_t mc_run_load(mc_run *run, const mc_run_facts *facts, const mc_run_vector *vectors,
                    int64_t n_vectors, const char *path, modeconn_history **record);

/* MODECONN_ERROR_UNSUPPORTED, naming the layer and the sizes, where a batch of `size` samples
 * (the last of a set of n, batch_size at a time) is too small for the model's batch norm. */
int32_t mc_check_batch(const modeconn_model *model, int64_t size, int64_t n, int64_t batch_size);

/* The keys that every SGD job has, for a kind's table; those that mc_schedule_init() reads; and
 * those of mc_run_init(). */
#define MC_OPTIONS_SGD                                                                             \
    MC_OPT_F64("momentum", 0, 1, "0.9", "momentum of the velocity"),                               \
        MC_OPT_BOOL("nesterov", "0", "1: Nesterov's form of the step"),                            \
        MC_OPT_F64("weight_decay", 0, HUGE_VAL, "1e-4",                                            \
                   "weight decay on every parameter, batch norm and biases too")

#define MC_OPTIONS_SCHEDULE(step_epochs)                                                           \
    MC_OPT_STR("schedule", "constant|step|cosine", "step", "how the rate changes"),                \
        MC_OPT_I64("step_epochs", 1, 1000000, step_epochs,                                         \
                   "step: epochs between two drops of the rate"),                                  \
        MC_OPT_POSITIVE("step_factor", "0.1", "step: factor of each drop"),                        \
        MC_OPT_STR("milestones", NULL, "",                                                         \
                   "step: drops at these shares of the run (\"0.4,0.8\") or epochs (\"40,80\") "   \
                   "instead"),                                                                     \
        MC_OPT_F64("warmup_epochs", 0, 1000000, "0",                                               \
                   "epochs over which the rate rises linearly from 0")

#define MC_OPTIONS_RUN(epochs, batch_size, step_epochs)                                            \
    MC_OPT_I64("epochs", 1, 1000000, epochs, "passes over the data"),                              \
        MC_OPT_I64("batch_size", 1, 1048576, batch_size,                                           \
                   "samples per update; a short last batch is kept"),                              \
        MC_OPT_POSITIVE("learning_rate", "0.1", "rate of the first update"), MC_OPTIONS_SGD,       \
        MC_OPTIONS_SCHEDULE(step_epochs)

/* The keys that mc_statistics_plan_init() reads, for a kind's table. */
#define MC_OPTIONS_STATISTICS(default_policy)                                                      \
    MC_OPT_STR("statistics", "reset|ema|interpolate|batch|keep", default_policy,                   \
               "batch-norm statistics at each point (measure.h)"),                                 \
        MC_OPT_I64("bn_samples", 0, 9007199254740992.0, "0",                                       \
                   "samples of the statistics set, the first of the training set; 0 = all"),       \
        MC_OPT_I64("bn_batch_size", 1, 1048576, "500", "samples per batch of the statistics pass")

extern const mc_option_kind mc_kind_train;

#endif
