/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A run of gradient descent: what training and fitting a path have in common. Update k = epoch *
 * per_epoch + step; batch `step` of an epoch is samples step * batch_size ... of a permutation
 * drawn from (seed, epoch). Position and sums live in the run, so one that was cancelled in the
 * middle of an epoch goes on bit for bit. A loss or a parameter that is not finite leads back to
 * the start of the epoch.
 */
#include "train/train.h"
#include <math.h>
#include <string.h>

const char *const mc_history_sgd[] = {"loss", "accuracy", "learning_rate", MC_SPEED_COLUMN};

/* ---- creation ---------------------------------------------------------------------------- */

/* Every key as "key=value\n", the seed resolved, so that a saved run can name what differs. */
static int32_t tell_options(mc_run *run, const modeconn_options *options,
                            const mc_option_kind *kind)
{
    mc_text text;
    mc_text_init(&text, run->context);
    for (int64_t i = 0; i < kind->n_specs; i++) {
        mc_text_add_option(&text, options, kind, i, run->seed);
        mc_text_add(&text, "\n");
    }
    run->options = mc_text_take(&text);
    return run->options != NULL ? MODECONN_OK : MODECONN_ERROR_MEMORY;
}

static int32_t configure(mc_run *run, const modeconn_options *options, const mc_option_kind *kind)
{
    int64_t batch_size = mc_option_i64(options, kind, "batch_size");
    run->batch_size = batch_size < run->n ? batch_size : run->n;
    run->per_epoch = (run->n + run->batch_size - 1) / run->batch_size;
    run->epochs = mc_option_i64(options, kind, "epochs");
    run->seed = mc_seed(run->context, mc_option_i64(options, kind, "seed"));
    run->sgd.momentum = mc_option_f64(options, kind, "momentum");
    run->sgd.weight_decay = mc_option_f64(options, kind, "weight_decay");
    run->sgd.nesterov = mc_option_i64(options, kind, "nesterov") != 0;
    int32_t status = mc_check_batch(run->model, run->n - (run->per_epoch - 1) * run->batch_size,
                                    run->n, run->batch_size);
    if (status == MODECONN_OK) {
        status = mc_schedule_init(&run->schedule, options, kind, run->epochs, run->per_epoch);
    }
    if (status == MODECONN_OK) {
        status = tell_options(run, options, kind);
    }
    return status;
}

static int32_t allocate(mc_run *run, const modeconn_dataset *dataset)
{
    bool adds =
        run->job->adds && !run->sgd.nesterov && run->model->n_theta > run->context->kept_most;
    if (!adds) {
        run->grad = mc_alloc(run->context, run->model->n_theta, sizeof(float));
    }
    run->order = mc_alloc(run->context, run->n, sizeof(int64_t));
    run->loss = mc_alloc(run->context, run->batch_size, sizeof(double));
    run->correct = mc_alloc(run->context, run->batch_size, sizeof(uint8_t));
    if ((run->grad == NULL && !adds) || run->order == NULL || run->loss == NULL ||
        run->correct == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = mc_history_create(run->context, mc_history_sgd, MC_HISTORY_SGD, &run->history);
    if (status == MODECONN_OK) {
        status = mc_batch_buffer_init(&run->buffer, dataset, run->batch_size);
    }
    if (status == MODECONN_OK) {
        status =
            run->model->ops->session_create(run->model, run->batch_size, 1, true, &run->session);
    }
    return status;
}

int32_t mc_run_init(mc_run *run, const modeconn_dataset *dataset, const modeconn_options *options,
                    const mc_option_kind *kind)
{
    int32_t status = configure(run, options, kind);
    return status == MODECONN_OK ? allocate(run, dataset) : status;
}

void mc_run_free(mc_run *run)
{
    if (run->session != NULL) {
        run->model->ops->session_destroy(run->session);
    }
    mc_batch_buffer_free(&run->buffer);
    modeconn_history_destroy(run->history);
    mc_free(run->context, run->options);
    mc_free(run->context, run->grad);
    mc_free(run->context, run->order);
    mc_free(run->context, run->loss);
    mc_free(run->context, run->correct);
}

/* ---- epochs ------------------------------------------------------------------------------ */

int64_t mc_run_update(const mc_run *run)
{
    return run->epoch * run->per_epoch + run->step;
}

double mc_run_rate(const mc_run *run)
{
    return mc_schedule_rate(&run->schedule, mc_run_update(run));
}

/* One update; the position moves only if it succeeds. */
static int32_t run_step(mc_run *run)
{
    double started = mc_seconds();
    int64_t first = run->step * run->batch_size, left = run->n - first;
    mc_batch batch = {run->buffer.x, run->buffer.y,
                      left < run->batch_size ? left : run->batch_size};
    int32_t status = run->job->step(run->owner, run->order + first, &batch);
    if (status < 0) {
        return status;
    }
    for (int64_t i = 0; i < batch.n; i++) {
        run->loss_sum += run->loss[i];
        run->hits += run->correct[i];
    }
    run->step++;
    run->seconds += mc_seconds() - started;
    return MODECONN_OK;
}

/* Records a whole epoch and moves to the next. Where the record cannot be allocated the position
 * stays at the epoch's end, and the next call begins with this. */
static int32_t finish_epoch(mc_run *run)
{
    int64_t last = (run->epoch + 1) * run->per_epoch - 1;
    double row[MC_HISTORY_SGD];
    int32_t status = run->job->check(run->owner);
    if (status < 0) {
        return status;
    }
    row[MC_HISTORY_LOSS] = run->loss_sum / (double)run->n;
    row[MC_HISTORY_ACCURACY] = (double)run->hits / (double)run->n;
    row[MC_HISTORY_RATE] = mc_schedule_rate(&run->schedule, last);
    row[MC_HISTORY_SPEED] = run->seconds > 0 ? (double)run->n / run->seconds : NAN;
    status = mc_history_append(run->history, row);
    if (status < 0) {
        return status;
    }
    run->epoch++;
    run->step = 0;
    return MODECONN_OK;
}

/* The rest of the running epoch. */
static int32_t run_epoch(mc_run *run, mc_progress *progress)
{
    if (run->step == 0) {
        run->loss_sum = run->seconds = 0;
        run->hits = 0;
        run->job->keep(run->owner);
    }
    mc_random_permutation(run->seed, run->job->shuffle, (uint64_t)run->epoch, run->n, run->order);
    for (int64_t step = run->step; step < run->per_epoch; step++) {
        int64_t done = (step + 1) * run->batch_size;
        double seen = (double)(done < run->n ? done : run->n);
        double rate = mc_run_rate(run);
        int32_t status = run_step(run);
        if (status == MODECONN_OK && run->step == run->per_epoch) {
            status = finish_epoch(run);
        }
        if (status == MODECONN_OK) {
            status = mc_progress_step(progress, run->epoch, run->loss_sum / seen,
                                      (double)run->hits / seen, rate);
        }
        if (status < 0) {
            return status;
        }
    }
    return MODECONN_OK;
}

/* Names the place, which is lost then. */
static int32_t restore_start(mc_run *run, int32_t status)
{
    status = mc_fail_prefix(status, "%s, epoch %lld, step %lld, learning rate %g", run->job->name,
                            (long long)run->epoch, (long long)run->step, mc_run_rate(run));
    run->job->restore(run->owner);
    run->step = 0;
    return status;
}

int32_t mc_run_epochs(mc_run *run, int64_t epochs, modeconn_progress_fn progress_fn, void *user,
                      modeconn_history **record)
{
    mc_progress progress;
    int32_t status = MODECONN_OK;
    *record = NULL;
    if (epochs < -1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epochs is %lld, at least -1 is needed",
                       (long long)epochs);
    }
    int64_t left = run->epochs - run->epoch;
    int64_t target = run->epoch + (epochs == -1 || epochs > left ? left : epochs);
    mc_progress_init(&progress, progress_fn, user,
                     (target - run->epoch) * run->per_epoch - run->step);
    if (run->epoch < target && run->step == run->per_epoch) {
        status = finish_epoch(run);
    }
    while (status == MODECONN_OK && run->epoch < target) {
        status = run_epoch(run, &progress);
    }
    if (status == MODECONN_ERROR_NUMERIC) {
        status = restore_start(run, status);
    }
    int32_t copied = mc_history_clone(run->history, record);
    return status < 0 ? status : copied;
}

int32_t mc_run_told(const mc_run *run, int64_t *done, int64_t *total)
{
    if (done != NULL) {
        *done = run->epoch;
    }
    if (total != NULL) {
        *total = run->epochs;
    }
    return MODECONN_OK;
}
