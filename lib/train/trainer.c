/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The training loop. Update k = epoch * per_epoch + step; batch `step` of an epoch is samples
 * step * batch_size ... of a permutation drawn from (seed, epoch). Position and sums live in the
 * trainer, so a run that was cancelled in the middle of an epoch goes on bit for bit.
 */
#include "train/train.h"
#include <math.h>
#include <string.h>

static const mc_option_spec train_specs[] = {
    MC_OPT_I64("epochs", 1, 1000000, "100", "passes over the data"),
    MC_OPT_I64("batch_size", 1, 1048576, "256", "samples per update; a short last batch is kept"),
    MC_OPT_POSITIVE("learning_rate", "0.1", "rate of the first update"),
    MC_OPTIONS_SGD,
    MC_OPT_STR("schedule", "constant|step|cosine", "step", "how the rate changes"),
    MC_OPT_I64("step_epochs", 1, 1000000, "40", "step: epochs between two drops of the rate"),
    MC_OPT_POSITIVE("step_factor", "0.1", "step: factor of each drop"),
    MC_OPT_STR(
        "milestones", NULL, "",
        "step: drops at these shares of the run (\"0.4,0.8\") or epochs (\"40,80\") instead"),
    MC_OPT_F64("warmup_epochs", 0, 1000000, "0",
               "epochs over which the rate rises linearly from 0"),
    MC_OPT_BOOL("reference", "0", "1: the cosine of the paper's code, one update late"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of the samples' order; -1 = the context's"),
};
const mc_option_kind mc_kind_train = MC_OPTION_KIND("train", train_specs);

const char *const mc_history_sgd[] = {"loss", "accuracy", "learning_rate", MC_SPEED_COLUMN};

/* ---- creation ---------------------------------------------------------------------------- */

static int32_t configure_schedule(modeconn_trainer *trainer, const modeconn_options *options)
{
    mc_schedule *schedule = &trainer->schedule;
    const char *milestones = mc_option_str(options, &mc_kind_train, "milestones");
    double warmup = mc_option_f64(options, &mc_kind_train, "warmup_epochs");

    schedule->rate = mc_option_f64(options, &mc_kind_train, "learning_rate");
    schedule->factor = mc_option_f64(options, &mc_kind_train, "step_factor");
    schedule->reference = mc_option_i64(options, &mc_kind_train, "reference") != 0;
    schedule->per_epoch = trainer->per_epoch;
    if (!mc_mul(trainer->epochs, trainer->per_epoch, &schedule->total)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epochs: %lld of %lld updates are too many",
                       (long long)trainer->epochs, (long long)trainer->per_epoch);
    }
    if (warmup > (double)trainer->epochs) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "warmup_epochs %g is longer than the %lld epochs",
                       warmup, (long long)trainer->epochs);
    }
    schedule->warmup = llround(warmup * (double)trainer->per_epoch);
    if (milestones[0] == '\0' && !mc_mul(mc_option_i64(options, &mc_kind_train, "step_epochs"),
                                         trainer->per_epoch, &schedule->every)) {
        schedule->every = INT64_MAX; /* later than any update */
    }
    int32_t status = mc_schedule_milestones(schedule, milestones);
    if (status == MODECONN_OK) {
        status = mc_schedule_find(mc_option_str(options, &mc_kind_train, "schedule"), schedule);
    }
    return status;
}

static int32_t configure(modeconn_trainer *trainer, const modeconn_options *options)
{
    int64_t n = trainer->dataset->n;
    int64_t batch_size = mc_option_i64(options, &mc_kind_train, "batch_size");

    trainer->n = n;
    trainer->batch_size = batch_size < n ? batch_size : n;
    trainer->per_epoch = (n + trainer->batch_size - 1) / trainer->batch_size;
    trainer->epochs = mc_option_i64(options, &mc_kind_train, "epochs");
    trainer->seed = mc_seed(trainer->context, mc_option_i64(options, &mc_kind_train, "seed"));
    trainer->sgd.momentum = mc_option_f64(options, &mc_kind_train, "momentum");
    trainer->sgd.weight_decay = mc_option_f64(options, &mc_kind_train, "weight_decay");
    trainer->sgd.nesterov = mc_option_i64(options, &mc_kind_train, "nesterov") != 0;
    int32_t status = mc_check_batch(
        trainer->model, n - (trainer->per_epoch - 1) * trainer->batch_size, n, trainer->batch_size);
    if (status == MODECONN_OK) {
        status = configure_schedule(trainer, options);
    }
    if (status == MODECONN_OK) {
        status = mc_options_text(trainer->context, options, &mc_kind_train, trainer->seed,
                                 &trainer->options);
    }
    return status;
}

static int32_t allocate(modeconn_trainer *trainer)
{
    const modeconn_context *context = trainer->context;
    int64_t n_theta = trainer->model->n_theta, n_stats = trainer->model->n_stats;

    trainer->velocity = mc_calloc(context, n_theta, sizeof(float));
    trainer->grad = mc_alloc(context, n_theta, sizeof(float));
    trainer->start_theta = mc_alloc(context, n_theta, sizeof(float));
    trainer->start_statistics = mc_alloc(context, n_stats, sizeof(float));
    trainer->start_velocity = mc_alloc(context, n_theta, sizeof(float));
    trainer->order = mc_alloc(context, trainer->n, sizeof(int64_t));
    trainer->loss = mc_alloc(context, trainer->batch_size, sizeof(double));
    trainer->correct = mc_alloc(context, trainer->batch_size, sizeof(uint8_t));
    if (trainer->velocity == NULL || trainer->grad == NULL || trainer->start_theta == NULL ||
        trainer->start_statistics == NULL || trainer->start_velocity == NULL ||
        trainer->order == NULL || trainer->loss == NULL || trainer->correct == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = mc_history_create(trainer->model->context, mc_history_sgd, MC_HISTORY_SGD,
                                       &trainer->history);
    if (status == MODECONN_OK) {
        status = mc_batch_buffer_init(&trainer->buffer, trainer->dataset, trainer->batch_size);
    }
    if (status == MODECONN_OK) {
        status = trainer->model->ops->session_create(trainer->model, trainer->batch_size, 1, true,
                                                     &trainer->session);
    }
    return status;
}

int32_t modeconn_trainer_create(modeconn_model *model, const modeconn_dataset *dataset,
                                const modeconn_options *options, modeconn_trainer **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL) {
        return mc_null("model");
    }
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    int32_t status = mc_options_check(options, &mc_kind_train);
    if (status == MODECONN_OK) {
        status = mc_check_fit(model, dataset);
    }
    if (status < 0) {
        return status;
    }

    modeconn_trainer *trainer = mc_calloc(model->context, 1, sizeof(*trainer));
    if (trainer == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    trainer->context = mc_context_take(model->context);
    trainer->model = mc_model_take(model);
    trainer->dataset = mc_dataset_take(dataset);
    status = configure(trainer, options);
    if (status == MODECONN_OK) {
        status = allocate(trainer);
    }
    if (status < 0) {
        modeconn_trainer_destroy(trainer);
        return status;
    }
    *out = trainer;
    return MODECONN_OK;
}

void modeconn_trainer_destroy(modeconn_trainer *trainer)
{
    if (trainer == NULL) {
        return;
    }
    modeconn_context *context = trainer->context;
    if (trainer->session != NULL) {
        trainer->model->ops->session_destroy(trainer->session);
    }
    mc_batch_buffer_free(&trainer->buffer);
    modeconn_history_destroy(trainer->history);
    mc_free(context, trainer->options);
    mc_free(context, trainer->velocity);
    mc_free(context, trainer->grad);
    mc_free(context, trainer->start_theta);
    mc_free(context, trainer->start_statistics);
    mc_free(context, trainer->start_velocity);
    mc_free(context, trainer->order);
    mc_free(context, trainer->loss);
    mc_free(context, trainer->correct);
    modeconn_dataset_destroy(trainer->dataset);
    modeconn_model_destroy(trainer->model);
    mc_free(context, trainer);
    mc_context_drop(context);
}

/* ---- epochs ------------------------------------------------------------------------------ */

static void copy(float *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(float));
}

static void start_epoch(modeconn_trainer *trainer)
{
    const modeconn_model *model = trainer->model;
    trainer->hits = 0;
    trainer->loss_sum = 0;
    trainer->seconds = 0;
    copy(trainer->start_theta, model->theta, model->n_theta);
    copy(trainer->start_statistics, model->statistics, model->n_stats);
    copy(trainer->start_velocity, trainer->velocity, model->n_theta);
}

/* Back to the start of the epoch; returns `status` with the place put before its text. */
static int32_t restore_epoch(modeconn_trainer *trainer, int32_t status)
{
    modeconn_model *model = trainer->model;
    status = mc_fail_prefix(
        status, "training, epoch %lld, step %lld, learning rate %g", (long long)trainer->epoch,
        (long long)trainer->step,
        mc_schedule_rate(&trainer->schedule, trainer->epoch * trainer->per_epoch + trainer->step));
    copy(model->theta, trainer->start_theta, model->n_theta);
    copy(model->statistics, trainer->start_statistics, model->n_stats);
    copy(trainer->velocity, trainer->start_velocity, model->n_theta);
    trainer->step = 0;
    return status;
}

/* One update; the position moves only if it succeeds. */
static int32_t train_step(modeconn_trainer *trainer)
{
    modeconn_model *model = trainer->model;
    double started = mc_seconds();
    int64_t update = trainer->epoch * trainer->per_epoch + trainer->step;
    int64_t first = trainer->step * trainer->batch_size;
    int64_t left = trainer->n - first;
    mc_batch batch = {trainer->buffer.x, trainer->buffer.y,
                      left < trainer->batch_size ? left : trainer->batch_size};

    int32_t status =
        mc_dataset_gather_training(trainer->dataset, trainer->order + first, batch.n, trainer->seed,
                                   trainer->epoch, trainer->buffer.x, trainer->buffer.y);
    if (status == MODECONN_OK) {
        status = model->ops->bind(trainer->session, model->theta, NULL);
    }
    if (status == MODECONN_OK) {
        status = model->ops->gradient(trainer->session, &batch, 1.0, trainer->loss,
                                      trainer->correct, trainer->grad, model->statistics);
    }
    if (status < 0) {
        return status;
    }
    mc_sgd_step(trainer->context, &trainer->sgd, mc_schedule_rate(&trainer->schedule, update),
                update == 0, model->n_theta, model->theta, trainer->velocity, trainer->grad);
    for (int64_t i = 0; i < batch.n; i++) {
        trainer->loss_sum += trainer->loss[i];
        trainer->hits += trainer->correct[i];
    }
    trainer->step++;
    trainer->seconds += mc_seconds() - started;
    return MODECONN_OK;
}

/* Records a whole epoch and moves to the next. Where the record cannot be allocated the position
 * stays at the epoch's end, and the next run begins with this. */
static int32_t finish_epoch(modeconn_trainer *trainer)
{
    modeconn_model *model = trainer->model;
    int64_t last = (trainer->epoch + 1) * trainer->per_epoch - 1;
    double row[MC_HISTORY_SGD];
    int32_t status = mc_model_check_finite(model, model->theta, model->statistics);
    if (status < 0) {
        return status;
    }
    row[MC_HISTORY_LOSS] = trainer->loss_sum / (double)trainer->n;
    row[MC_HISTORY_ACCURACY] = (double)trainer->hits / (double)trainer->n;
    row[MC_HISTORY_RATE] = mc_schedule_rate(&trainer->schedule, last);
    row[MC_HISTORY_SPEED] = trainer->seconds > 0 ? (double)trainer->n / trainer->seconds : NAN;
    status = mc_history_append(trainer->history, row);
    if (status < 0) {
        return status;
    }
    trainer->epoch++;
    trainer->step = 0;
    return MODECONN_OK;
}

/* The rest of the running epoch. */
static int32_t run_epoch(modeconn_trainer *trainer, mc_progress *progress)
{
    if (trainer->step == 0) {
        start_epoch(trainer);
    }
    mc_random_permutation(trainer->seed, MC_STREAM_SHUFFLE, (uint64_t)trainer->epoch, trainer->n,
                          trainer->order);
    for (int64_t step = trainer->step; step < trainer->per_epoch; step++) {
        int64_t done = (step + 1) * trainer->batch_size;
        double seen = (double)(done < trainer->n ? done : trainer->n);
        double rate =
            mc_schedule_rate(&trainer->schedule, trainer->epoch * trainer->per_epoch + step);
        int32_t status = train_step(trainer);
        if (status == MODECONN_OK && trainer->step == trainer->per_epoch) {
            status = finish_epoch(trainer);
        }
        if (status == MODECONN_OK) {
            status = mc_progress_step(progress, trainer->epoch, trainer->loss_sum / seen,
                                      (double)trainer->hits / seen, rate);
        }
        if (status < 0) {
            return status;
        }
    }
    return MODECONN_OK;
}

/* The model gets a copy of the record, which later epochs do not change. */
static int32_t publish_history(modeconn_trainer *trainer)
{
    modeconn_history *history = NULL;
    int32_t status = mc_history_clone(trainer->history, &history);
    if (status == MODECONN_OK) {
        mc_model_set_history(trainer->model, history);
    }
    return status;
}

int32_t modeconn_trainer_run(modeconn_trainer *trainer, int64_t epochs,
                             modeconn_progress_fn progress_fn, void *user)
{
    mc_progress progress;
    int32_t status = MODECONN_OK;

    if (trainer == NULL) {
        return mc_null("trainer");
    }
    if (epochs < -1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epochs is %lld, at least -1 is needed",
                       (long long)epochs);
    }
    int64_t left = trainer->epochs - trainer->epoch;
    int64_t target = trainer->epoch + (epochs == -1 || epochs > left ? left : epochs);
    mc_progress_init(&progress, progress_fn, user,
                     (target - trainer->epoch) * trainer->per_epoch - trainer->step);
    if (trainer->epoch < target && trainer->step == trainer->per_epoch) {
        status = finish_epoch(trainer);
    }
    while (status == MODECONN_OK && trainer->epoch < target) {
        status = run_epoch(trainer, &progress);
    }
    if (status == MODECONN_ERROR_NUMERIC) {
        status = restore_epoch(trainer, status);
    }
    mc_model_changed(trainer->model);

    int32_t published = publish_history(trainer);
    return status < 0 ? status : published;
}

int32_t modeconn_trainer_epochs(const modeconn_trainer *trainer, int64_t *done, int64_t *total)
{
    if (trainer == NULL) {
        return mc_null("trainer");
    }
    if (done != NULL) {
        *done = trainer->epoch;
    }
    if (total != NULL) {
        *total = trainer->epochs;
    }
    return MODECONN_OK;
}

int32_t modeconn_train(modeconn_model *model, const modeconn_dataset *dataset,
                       const modeconn_options *options, modeconn_progress_fn progress, void *user)
{
    modeconn_trainer *trainer = NULL;
    int32_t status = modeconn_trainer_create(model, dataset, options, &trainer);
    if (status == MODECONN_OK) {
        status = modeconn_trainer_run(trainer, -1, progress, user);
    }
    modeconn_trainer_destroy(trainer);
    return status;
}
