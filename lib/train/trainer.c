/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Training a model in place: a run of gradient descent (run.c).
 */
#include "train/train.h"
#include <math.h>
#include <string.h>

static const mc_option_spec train_specs[] = {
    MC_OPTIONS_RUN("100", "256", "40"),
    MC_OPT_BOOL("reference", "0", "1: the cosine of the paper's code, one update late"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of the samples' order; -1 = the context's"),
};
const mc_option_kind mc_kind_train = MC_OPTION_KIND("train", train_specs);

/* ---- epochs ------------------------------------------------------------------------------ */

static void copy(float *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(float));
}

static void keep_start(void *owner)
{
    const modeconn_trainer *trainer = owner;
    const modeconn_model *model = trainer->model;
    copy(trainer->start_theta, model->theta, model->n_theta);
    copy(trainer->start_statistics, model->statistics, model->n_stats);
}

static void restore_start(void *owner)
{
    const modeconn_trainer *trainer = owner;
    modeconn_model *model = trainer->model;
    copy(model->theta, trainer->start_theta, model->n_theta);
    copy(model->statistics, trainer->start_statistics, model->n_stats);
    memset(trainer->velocity, 0, (size_t)model->n_theta * sizeof(float));
}

/* Before the gradient is added to it. */
static void prepare_velocity(void *user)
{
    modeconn_trainer *trainer = user;
    modeconn_model *model = trainer->model;
    mc_sgd_prepare(trainer->run.context, &trainer->run.sgd, mc_run_update(&trainer->run) == 0,
                   model->n_theta, model->theta, trainer->velocity);
}

int32_t mc_trainer_gradient(modeconn_trainer *trainer, const mc_batch *batch)
{
    const modeconn_model *model = trainer->model;
    mc_run *run = &trainer->run;
    if (run->grad != NULL) {
        return model->ops->gradient(run->session, batch, 1.0, run->loss, run->correct, run->grad,
                                    model->statistics);
    }
    return model->ops->gradient_added(run->session, batch, run->loss, run->correct,
                                      prepare_velocity, trainer, trainer->velocity,
                                      model->statistics);
}

void mc_trainer_update(modeconn_trainer *trainer, double rate)
{
    modeconn_model *model = trainer->model;
    mc_run *run = &trainer->run;
    if (run->grad != NULL) {
        mc_sgd_step(run->context, &run->sgd, rate, mc_run_update(run) == 0, model->n_theta,
                    model->theta, trainer->velocity, run->grad);
    } else {
        mc_sgd_move(run->context, rate, model->n_theta, model->theta, trainer->velocity);
    }
}

static int32_t train_step(void *owner, const int64_t *samples, const mc_batch *batch)
{
    modeconn_trainer *trainer = owner;
    modeconn_model *model = trainer->model;
    mc_run *run = &trainer->run;
    int32_t status = mc_dataset_gather_training(trainer->dataset, samples, batch->n, run->seed,
                                                run->epoch, run->buffer.x, run->buffer.y);
    if (status == MODECONN_OK) {
        status = model->ops->bind(run->session, model->theta, NULL);
    }
    if (status == MODECONN_OK) {
        status = mc_trainer_gradient(trainer, batch);
    }
    if (status == MODECONN_OK) {
        mc_trainer_update(trainer, mc_run_rate(run));
    }
    return status;
}

static int32_t check_model(void *owner)
{
    const modeconn_trainer *trainer = owner;
    return mc_model_check_finite(trainer->model, trainer->model->theta, trainer->model->statistics);
}

static const mc_run_job training = {.name = "training",
                                    .shuffle = MC_STREAM_SHUFFLE,
                                    .adds = true,
                                    .step = train_step,
                                    .check = check_model,
                                    .keep = keep_start,
                                    .restore = restore_start};

/* ---- public calls ------------------------------------------------------------------------ */

static int32_t prepare(modeconn_trainer *trainer, const modeconn_options *options)
{
    const modeconn_context *context = trainer->run.context;
    int64_t n_theta = trainer->model->n_theta;
    int32_t status = mc_run_init(&trainer->run, trainer->dataset, options, &mc_kind_train);
    if (status < 0) {
        return status;
    }
    trainer->run.schedule.reference = mc_option_i64(options, &mc_kind_train, "reference") != 0;
    trainer->velocity = mc_calloc(context, n_theta, sizeof(float));
    trainer->start_theta = mc_alloc(context, n_theta, sizeof(float));
    trainer->start_statistics = mc_alloc(context, trainer->model->n_stats, sizeof(float));
    bool all = trainer->velocity != NULL && trainer->start_theta != NULL &&
               trainer->start_statistics != NULL;
    return all ? MODECONN_OK : MODECONN_ERROR_MEMORY;
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
    trainer->model = mc_model_take(model);
    trainer->dataset = mc_dataset_take(dataset);
    trainer->run = (mc_run){.job = &training,
                            .owner = trainer,
                            .context = mc_context_take(model->context),
                            .model = model,
                            .n = dataset->n};
    status = prepare(trainer, options);
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
    modeconn_context *context = trainer->run.context;
    mc_run_free(&trainer->run);
    mc_free(context, trainer->velocity);
    mc_free(context, trainer->start_theta);
    mc_free(context, trainer->start_statistics);
    modeconn_dataset_destroy(trainer->dataset);
    modeconn_model_destroy(trainer->model);
    mc_free(context, trainer);
    mc_context_drop(context);
}

int32_t modeconn_trainer_run(modeconn_trainer *trainer, int64_t epochs,
                             modeconn_progress_fn progress, void *user)
{
    modeconn_history *record = NULL;
    if (trainer == NULL) {
        return mc_null("trainer");
    }
    int32_t status = mc_run_epochs(&trainer->run, epochs, progress, user, &record);
    mc_model_changed(trainer->model);
    if (record != NULL) {
        mc_model_set_history(trainer->model, record);
    }
    return status;
}

int32_t modeconn_trainer_epochs(const modeconn_trainer *trainer, int64_t *done, int64_t *total)
{
    return trainer == NULL ? mc_null("trainer") : mc_run_told(&trainer->run, done, total);
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
