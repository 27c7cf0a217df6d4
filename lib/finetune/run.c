/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the methods share: options, progress over several parts, training runs an epoch at a time,
 * and the record of each epoch.
 */
#include "finetune/finetune.h"
#include <math.h>
#include <string.h>

double mc_finetune_f64(const mc_finetune_job *job, const char *key)
{
    return mc_option_f64(job->options, &mc_kind_finetune, key);
}

int64_t mc_finetune_i64(const mc_finetune_job *job, const char *key)
{
    return mc_option_i64(job->options, &mc_kind_finetune, key);
}

bool mc_finetune_is(const mc_finetune_job *job, const char *key, const char *value)
{
    return strcmp(mc_option_str(job->options, &mc_kind_finetune, key), value) == 0;
}

int32_t mc_finetune_steps(const mc_finetune_job *job, int64_t epochs, int64_t *steps)
{
    int64_t n = job->clean->n, size = mc_finetune_i64(job, "batch_size");
    size = size < n ? size : n;
    if (!mc_mul(epochs, (n + size - 1) / size, steps)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "epochs: %lld passes over %lld samples are too many", (long long)epochs,
                       (long long)n);
    }
    return MODECONN_OK;
}

/* ---- progress ------------------------------------------------------------------------------ */

/* Seconds for the steps left at the part's speed; unknown while a part of another speed is to
 * come. */
static double time_left(const mc_relay *relay)
{
    if (!relay->last_part || relay->part_steps <= 0) {
        return NAN;
    }
    return (mc_seconds() - relay->started) / relay->part_steps *
           (double)(relay->total - relay->step);
}

int32_t mc_relay_step(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                      double accuracy, double rate, double seconds_left)
{
    mc_relay *relay = user;
    (void)total;
    (void)seconds_left;
    if (relay->part_steps == 0) {
        relay->started = mc_seconds();
    }
    relay->part_steps++;
    relay->epoch = relay->epochs_before + epoch;
    relay->step = relay->steps_before + step;
    return relay->fn == NULL ? 0
                             : relay->fn(relay->user, relay->epoch, relay->step, relay->total, loss,
                                         accuracy, rate, time_left(relay));
}

static int32_t cancelled(const mc_relay *relay)
{
    return mc_fail(MODECONN_ERROR_CANCELLED,
                   "cancelled by the progress callback after step %lld of %lld",
                   (long long)relay->step, (long long)relay->total);
}

int32_t mc_relay_poll(void *user, int64_t samples)
{
    mc_relay *relay = user;
    (void)samples;
    if (relay->fn != NULL && relay->fn(relay->user, relay->epoch, relay->step, relay->total, NAN,
                                       NAN, NAN, time_left(relay)) != 0) {
        return cancelled(relay);
    }
    return MODECONN_OK;
}

int32_t mc_relay_count(mc_relay *relay)
{
    relay->steps_before++;
    relay->step = relay->steps_before;
    return mc_relay_poll(relay, 0);
}

/* ---- epochs -------------------------------------------------------------------------------- */

int32_t mc_finetune_record(mc_finetune_job *job, const double *values)
{
    double row[MC_HISTORY_SGD + MC_METHOD_COLUMNS + MC_TRACK_COLUMNS];
    int64_t own = job->history->n_columns - job->track.n_columns;
    memcpy(row, values, (size_t)own * sizeof(*row));
    int32_t status = mc_track_epoch(&job->track, job->tuned, &job->relay, row + own);
    return status < 0 ? status : mc_history_append(job->history, row);
}

static int32_t training_options(const mc_finetune_job *job, const mc_training *training,
                                modeconn_options **out)
{
    static const char *const shared[] = {"batch_size", "nesterov", "reference", "seed"};
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(job->tuned->context, "train", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(options, "schedule", "cosine");
    }
    for (size_t i = 0; status == MODECONN_OK && i < sizeof(shared) / sizeof(shared[0]); i++) {
        status = modeconn_options_set_i64(options, shared[i], mc_finetune_i64(job, shared[i]));
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_f64(options, "momentum", mc_finetune_f64(job, "momentum"));
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "epochs", training->epochs);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_f64(options, "learning_rate", training->learning_rate);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_f64(options, "weight_decay", training->weight_decay);
    }
    *out = options;
    return status;
}

/* The trainer's last line and the method's own columns. */
static int32_t record_epoch(mc_finetune_job *job, const mc_training *training,
                            const modeconn_history *trained)
{
    double row[MC_HISTORY_SGD + MC_METHOD_COLUMNS];
    int64_t own = job->history->n_columns - job->track.n_columns - MC_HISTORY_SGD;
    memcpy(row, trained->values + (trained->n_epochs - 1) * trained->n_columns,
           MC_HISTORY_SGD * sizeof(*row));
    for (int64_t i = 0; i < own; i++) {
        row[MC_HISTORY_SGD + i] = training->values[i];
    }
    return mc_finetune_record(job, row);
}

static int32_t train_epoch(mc_finetune_job *job, const mc_training *training,
                           modeconn_trainer *trainer)
{
    mc_relay *relay = &job->relay;
    int32_t status =
        modeconn_trainer_run(trainer, 1, relay->fn != NULL ? mc_relay_step : NULL, relay);
    if (status == MODECONN_ERROR_CANCELLED) { /* told in the method's steps */
        return cancelled(relay);
    }
    if (status < 0) {
        return status;
    }
    relay->steps_before += trainer->run.per_epoch;
    if (training->publish != NULL) {
        training->publish(training->user, job);
    }
    return record_epoch(job, training, trainer->run.history);
}

int32_t mc_finetune_train(mc_finetune_job *job, const mc_training *training)
{
    modeconn_options *options = NULL;
    modeconn_trainer *trainer = NULL;
    job->relay.part_steps = 0;
    int32_t status = training_options(job, training, &options);
    if (status == MODECONN_OK) {
        status = modeconn_trainer_create(training->model, training->data, options, &trainer);
    }
    for (int64_t epoch = 0; status == MODECONN_OK && epoch < training->epochs; epoch++) {
        status = train_epoch(job, training, trainer);
    }
    job->relay.epochs_before += training->epochs; /* a trainer counts its own from 0 */
    modeconn_trainer_destroy(trainer);
    modeconn_options_destroy(options);
    return status;
}
