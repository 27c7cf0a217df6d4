/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connectivity-based fine-tuning (Lubana et al. 2023). A step takes batch j of the clean data and
 * batch j of the cue data, each in its own order drawn anew every epoch; the shorter set ends the
 * epoch. With theta_C the origin, mix = t theta_C + (1-t) theta and K classes it lowers
 *
 *     w L_B,  L_B = | kappa - L_CE(cue; mix) |:  d/dtheta = w (1-t) sign(L_CE - kappa) dL_CE/dmix
 *     L_CE(clean; theta) + lambda/K L_I(clean, cue; theta)
 *
 * one after the other ("alternating": two updates of one velocity at one rate, weight decay in
 * both) or summed ("joint"). The model at mix normalises with its batch and leaves the running
 * statistics alone; those see the clean batch, then the cue batch, at theta, in every epoch (also
 * before L_I counts, so that they are made in one way throughout). The reference passes the clean
 * batch alone before L_I counts.
 *
 * Rates: cosine over all steps of the run, held for hold_epochs before. The reference counts the
 * steps of the clean data (also where the cue data are fewer), holds the rate for two epochs and
 * then follows the cosine from its start, one step late, so it ends above 0.
 */
#include "finetune/finetune.h"
#include <math.h>
#include <string.h>

enum { REFERENCE_HOLD = 2 };

enum { CLEAN, CUE };
enum { LOSS_CE = MC_HISTORY_SGD, LOSS_BARRIER, LOSS_INVARIANCE, N_COLUMNS };

typedef struct cbft {
    mc_finetune_job *job;
    modeconn_context *context;
    const mc_model_ops *ops;
    mc_sgd sgd;
    mc_schedule schedule;
    uint64_t seed;
    bool joint, reference;
    mc_draw law;
    int64_t hold; /* steps at the full rate */
    double kappa, lambda, barrier_weight;
    int64_t epochs, invariance_from, barrier_from;
    int64_t steps; /* of an epoch */

    const modeconn_dataset *data[2];
    int64_t batch_size[2];
    mc_batch_buffer buffer[2];
    int64_t *order[2]; /* [n] of the running epoch */
    mc_session *session;
    mc_cbft_objective objective;
    float *mix, *velocity, *grad, *barrier_grad; /* [n_theta] */
    double *loss;                                /* [largest batch] */
    uint8_t *correct;                            /* likewise */
    int64_t updates;

    /* Sums over the steps of the running epoch. */
    double sum_loss, sum_ce, sum_barrier, sum_invariance, seconds;
    int64_t hits, seen[2];
} cbft;

/* ---- set-up ------------------------------------------------------------------------------- */

/* Steps of an epoch, and that the batches it uses are large enough. */
static int32_t configure_batches(cbft *run)
{
    static const char *const names[2] = {"clean data", "cue data"};
    int64_t batch_size = mc_finetune_i64(run->job, "batch_size");
    int64_t batches[2];

    for (int which = 0; which < 2; which++) {
        int64_t n = run->data[which]->n;
        run->batch_size[which] = batch_size < n ? batch_size : n;
        batches[which] = (n + run->batch_size[which] - 1) / run->batch_size[which];
    }
    run->steps = batches[CLEAN] < batches[CUE] ? batches[CLEAN] : batches[CUE];
    for (int which = 0; which < 2; which++) {
        int64_t n = run->data[which]->n, size = run->batch_size[which];
        int64_t left = n - (run->steps - 1) * size;
        int32_t status = mc_check_batch(run->job->tuned, left < size ? left : size, n, size);
        if (status < 0) {
            return mc_fail_prefix(status, "%s", names[which]);
        }
    }
    return MODECONN_OK;
}

/* A count of steps; the product is an error that names the option. */
static int32_t steps_of(const char *option, int64_t epochs, int64_t per_epoch, int64_t *steps)
{
    if (mc_mul(epochs, per_epoch, steps)) {
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_ARGUMENT, "%s: %lld of %lld steps are too many", option,
                   (long long)epochs, (long long)per_epoch);
}

static int32_t configure_rates(cbft *run)
{
    const mc_finetune_job *job = run->job;
    int64_t hold = mc_finetune_i64(job, "hold_epochs");
    int64_t size = run->batch_size[CLEAN];
    int64_t clean_steps = (run->data[CLEAN]->n + size - 1) / size;
    run->reference = mc_finetune_i64(job, "reference") != 0;
    run->schedule.rate = mc_finetune_f64(job, "learning_rate");
    run->schedule.reference = run->reference;
    run->schedule.per_epoch = run->steps;
    hold = hold >= 0 ? hold : run->reference ? REFERENCE_HOLD : 0;
    int32_t status = steps_of("epochs", run->epochs, run->steps, &run->job->relay.total);
    if (status == MODECONN_OK) {
        status = steps_of("epochs", run->epochs, run->reference ? clean_steps : run->steps,
                          &run->schedule.total);
    }
    if (status == MODECONN_OK) {
        status = steps_of("hold_epochs", hold, run->steps, &run->hold);
    }
    return status < 0 ? status : mc_schedule_find("cosine", &run->schedule);
}

static int32_t configure(cbft *run)
{
    const mc_finetune_job *job = run->job;
    run->sgd.momentum = mc_finetune_f64(job, "momentum");
    run->sgd.weight_decay = mc_finetune_f64(job, "weight_decay");
    run->sgd.nesterov = mc_finetune_i64(job, "nesterov") != 0;
    run->kappa = mc_finetune_f64(job, "kappa");
    run->lambda = mc_finetune_f64(job, "lambda");
    run->barrier_weight = mc_finetune_f64(job, "barrier_weight");
    run->joint = mc_finetune_is(job, "schedule", "joint");
    run->law = (mc_draw){.clipped = mc_finetune_is(job, "draw", "clipped"),
                         .deviation = mc_finetune_f64(job, "draw_deviation"),
                         .clip = mc_finetune_f64(job, "draw_clip")};
    run->epochs = mc_finetune_i64(job, "epochs");
    run->invariance_from = mc_finetune_i64(job, "invariance_from");
    run->barrier_from = mc_finetune_i64(job, "barrier_from");
    run->seed = mc_seed(run->context, mc_finetune_i64(job, "seed"));
    if (run->ops->pair_gradient == NULL || job->tuned->representation_width == 0) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                       "cbft: %s has no penultimate representation for the invariance term",
                       job->tuned->architecture);
    }
    if (run->law.clipped && run->law.deviation * run->law.clip > 0.5) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "draw_deviation %g times draw_clip %g exceed 1/2: t would leave [0, 1]",
                       run->law.deviation, run->law.clip);
    }
    int32_t status = configure_batches(run);
    return status < 0 ? status : configure_rates(run);
}

static int32_t allocate(cbft *run)
{
    const modeconn_model *model = run->job->tuned;
    int64_t largest = 0;
    int32_t status = MODECONN_OK;

    for (int which = 0; which < 2; which++) {
        status =
            mc_batch_buffer_init(&run->buffer[which], run->data[which], run->batch_size[which]);
        if (status < 0) {
            return status;
        }
        run->order[which] = mc_alloc(run->context, run->data[which]->n, sizeof(int64_t));
        if (run->order[which] == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        if (run->batch_size[which] > largest) {
            largest = run->batch_size[which];
        }
    }
    run->mix = mc_alloc(run->context, model->n_theta, sizeof(float));
    run->velocity = mc_calloc(run->context, model->n_theta, sizeof(float));
    run->grad = mc_alloc(run->context, model->n_theta, sizeof(float));
    run->barrier_grad = mc_alloc(run->context, model->n_theta, sizeof(float));
    run->loss = mc_alloc(run->context, largest, sizeof(double));
    run->correct = mc_alloc(run->context, largest, sizeof(uint8_t));
    if (run->mix == NULL || run->velocity == NULL || run->grad == NULL ||
        run->barrier_grad == NULL || run->loss == NULL || run->correct == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    status = mc_cbft_objective_init(&run->objective, model);
    if (status == MODECONN_OK) {
        status = run->ops->session_create(model, largest, 2, true, &run->session);
    }
    return status;
}

static void release(cbft *run)
{
    if (run->session != NULL) {
        run->ops->session_destroy(run->session);
    }
    for (int which = 0; which < 2; which++) {
        mc_batch_buffer_free(&run->buffer[which]);
        mc_free(run->context, run->order[which]);
    }
    mc_cbft_objective_free(&run->objective);
    mc_free(run->context, run->mix);
    mc_free(run->context, run->velocity);
    mc_free(run->context, run->grad);
    mc_free(run->context, run->barrier_grad);
    mc_free(run->context, run->loss);
    mc_free(run->context, run->correct);
}

/* ---- one step ----------------------------------------------------------------------------- */

static double step_rate(const cbft *run, int64_t step)
{
    return mc_schedule_rate(&run->schedule, step > run->hold ? step - run->hold : 0);
}

static int32_t gather(cbft *run, int which, int64_t epoch, int64_t step, mc_batch *out)
{
    int64_t first = step * run->batch_size[which];
    int64_t left = run->data[which]->n - first;
    mc_batch batch = {run->buffer[which].x, run->buffer[which].y,
                      left < run->batch_size[which] ? left : run->batch_size[which]};
    run->seen[which] += batch.n;
    *out = batch;
    return mc_dataset_gather_training(run->data[which], run->order[which] + first, batch.n,
                                      run->seed, epoch, run->buffer[which].x, run->buffer[which].y);
}

/* L_B, and its gradient by theta without the sign, which only the loss tells. */
static int32_t barrier_gradient(cbft *run, const mc_batch *cue, double t, double *value,
                                float *sign)
{
    const modeconn_model *model = run->job->tuned;
    mc_interpolate(run->context, t, model->theta, run->job->origin->theta, model->n_theta,
                   run->mix);
    int32_t status = run->ops->bind(run->session, run->mix, NULL);
    if (status == MODECONN_OK) {
        status = run->ops->gradient(run->session, cue, run->barrier_weight * (1 - t), run->loss,
                                    NULL, run->barrier_grad, NULL);
    }
    if (status < 0) {
        return mc_fail_prefix(status, "barrier term at t = %g", t);
    }
    double excess = mc_mean(run->loss, cue->n) - run->kappa;
    *value = fabs(excess);
    *sign = (float)((excess > 0) - (excess < 0));
    return MODECONN_OK;
}

/* L_CE + lambda/K L_I at theta, and its gradient. */
static int32_t rest_gradient(cbft *run, const mc_batch *clean, const mc_batch *cue)
{
    modeconn_model *model = run->job->tuned;
    int32_t status = run->ops->bind(run->session, model->theta, NULL);
    if (status == MODECONN_OK) {
        status = run->ops->pair_gradient(run->session, clean, cue, mc_cbft_objective_pair,
                                         &run->objective, run->grad, model->statistics);
    }
    return status;
}

/* The reference before L_I counts: L_CE alone; the cue batch is not passed at theta. */
static int32_t clean_gradient(cbft *run, const mc_batch *clean)
{
    modeconn_model *model = run->job->tuned;
    mc_cbft_objective *objective = &run->objective;
    int32_t status = run->ops->bind(run->session, model->theta, NULL);
    if (status == MODECONN_OK) {
        status = run->ops->gradient(run->session, clean, 1.0, run->loss, run->correct, run->grad,
                                    model->statistics);
    }
    if (status < 0) {
        return status;
    }
    objective->loss_ce = mc_mean(run->loss, clean->n);
    objective->loss_invariance = NAN;
    objective->hits = 0;
    for (int64_t i = 0; i < clean->n; i++) {
        objective->hits += run->correct[i];
    }
    return MODECONN_OK;
}

static void update(cbft *run, double rate, const float *grad)
{
    modeconn_model *model = run->job->tuned;
    mc_sgd_step(run->context, &run->sgd, rate, run->updates == 0, model->n_theta, model->theta,
                run->velocity, grad);
    run->updates++;
}

/* The sign is -1, 0 or 1: exact. */
static void apply_sign(int64_t n, float sign, float *grad)
{
    for (int64_t i = 0; i < n; i++) {
        grad[i] *= sign;
    }
}

static void add(int64_t n, const float *from, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] += from[i];
    }
}

static int32_t cbft_step(cbft *run, int64_t epoch, int64_t step)
{
    int64_t n_theta = run->job->tuned->n_theta;
    int64_t global = epoch * run->steps + step;
    bool with_barrier = run->barrier_weight > 0 && epoch >= run->barrier_from;
    bool with_invariance = epoch >= run->invariance_from;
    double rate = step_rate(run, global), barrier = 0, started = mc_seconds();
    float sign = 0;
    mc_batch clean, cue;
    int32_t status = gather(run, CLEAN, epoch, step, &clean);
    if (status == MODECONN_OK) {
        status = gather(run, CUE, epoch, step, &cue);
    }

    run->objective.weight = with_invariance ? run->lambda / (double)run->job->tuned->classes : 0;
    if (status == MODECONN_OK && with_barrier) {
        status = barrier_gradient(run, &cue, mc_cbft_draw_t(run->seed, &run->law, global), &barrier,
                                  &sign);
    }
    if (status == MODECONN_OK && with_barrier) {
        apply_sign(n_theta, sign, run->barrier_grad);
        if (!run->joint) {
            update(run, rate, run->barrier_grad);
        }
    }
    if (status == MODECONN_OK) {
        status = run->reference && !with_invariance ? clean_gradient(run, &clean)
                                                    : rest_gradient(run, &clean, &cue);
    }
    if (status < 0) {
        return mc_fail_prefix(status, "cbft, epoch %lld, step %lld, learning rate %g",
                              (long long)epoch, (long long)step, rate);
    }
    if (with_barrier && run->joint) {
        add(n_theta, run->barrier_grad, run->grad);
    }
    update(run, rate, run->grad);

    run->sum_ce += run->objective.loss_ce;
    run->sum_barrier += barrier;
    run->sum_invariance += run->objective.loss_invariance;
    run->sum_loss += run->objective.loss_ce + run->barrier_weight * barrier;
    if (with_invariance) {
        run->sum_loss += run->objective.weight * run->objective.loss_invariance;
    }
    run->hits += run->objective.hits;
    run->seconds += mc_seconds() - started;
    return MODECONN_OK;
}

/* ---- the run ------------------------------------------------------------------------------ */

static void start_epoch(cbft *run, int64_t epoch)
{
    mc_random_permutation(run->seed, MC_STREAM_SHUFFLE, (uint64_t)epoch, run->data[CLEAN]->n,
                          run->order[CLEAN]);
    mc_random_permutation(run->seed, MC_STREAM_CBFT_SHUFFLE, (uint64_t)epoch, run->data[CUE]->n,
                          run->order[CUE]);
    run->sum_loss = run->sum_ce = run->sum_barrier = run->sum_invariance = run->seconds = 0;
    run->hits = run->seen[CLEAN] = run->seen[CUE] = 0;
}

static int32_t finish_epoch(cbft *run, int64_t epoch)
{
    const modeconn_model *model = run->job->tuned;
    bool with_barrier = run->barrier_weight > 0 && epoch >= run->barrier_from;
    double steps = (double)run->steps, row[N_COLUMNS];
    int32_t status = mc_model_check_finite(model, model->theta, model->statistics);
    if (status < 0) {
        return mc_fail_prefix(status, "cbft, after epoch %lld", (long long)epoch);
    }
    row[MC_HISTORY_LOSS] = run->sum_loss / steps;
    row[MC_HISTORY_ACCURACY] = (double)run->hits / (double)run->seen[CLEAN];
    row[MC_HISTORY_RATE] = step_rate(run, (epoch + 1) * run->steps - 1);
    row[MC_HISTORY_SPEED] =
        run->seconds > 0 ? (double)(run->seen[CLEAN] + run->seen[CUE]) / run->seconds : NAN;
    row[LOSS_CE] = run->sum_ce / steps;
    row[LOSS_BARRIER] = with_barrier ? run->sum_barrier / steps : NAN;
    row[LOSS_INVARIANCE] = run->sum_invariance / steps;
    return mc_finetune_record(run->job, row);
}

static int32_t run_epochs(cbft *run)
{
    mc_progress progress;
    mc_relay *relay = &run->job->relay;
    relay->last_part = true;
    mc_progress_init(&progress, relay->fn != NULL ? mc_relay_step : NULL, relay, relay->total);
    for (int64_t epoch = 0; epoch < run->epochs; epoch++) {
        start_epoch(run, epoch);
        for (int64_t step = 0; step < run->steps; step++) {
            int32_t status = cbft_step(run, epoch, step);
            bool whole = step + 1 == run->steps;
            if (status == MODECONN_OK && whole) {
                status = finish_epoch(run, epoch);
            }
            if (status == MODECONN_OK) {
                status =
                    mc_progress_step(&progress, epoch + whole, run->sum_loss / (double)(step + 1),
                                     (double)run->hits / (double)run->seen[CLEAN],
                                     step_rate(run, epoch * run->steps + step));
            }
            if (status < 0) {
                return status;
            }
        }
    }
    return MODECONN_OK;
}

int32_t mc_finetune_cbft(mc_finetune_job *job)
{
    cbft run = {.job = job,
                .context = job->tuned->context,
                .ops = job->tuned->ops,
                .data = {job->clean, job->cued}};
    int32_t status = configure(&run);
    if (status == MODECONN_OK) {
        status = allocate(&run);
    }
    if (status == MODECONN_OK) {
        status = run_epochs(&run);
    }
    release(&run);
    return status;
}
