/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is recorded of each epoch on request: how far theta is from theta_C, and the barrier of the
 * loss on the straight line between them (finetune.h). The samples are the first of either set.
 */
#include "finetune/finetune.h"
#include <math.h>

static const char *const barrier_columns[2] = {"barrier_clean", "barrier_cue"};

static int32_t open_sets(mc_track *track, const mc_finetune_job *job)
{
    const modeconn_dataset *given[2] = {job->clean, job->cued};
    int64_t limit = mc_finetune_i64(job, "track_samples");
    int32_t status = MODECONN_OK;
    for (int i = 0; i < 2 && given[i] != NULL && status == MODECONN_OK; i++) {
        status = mc_check_fit(job->origin, given[i]);
        if (status < 0) {
            return mc_fail_prefix(status, "%s", i == 0 ? "clean data" : "cue data");
        }
        int64_t n = limit > 0 && limit < given[i]->n ? limit : given[i]->n;
        status = mc_dataset_first(given[i], n, &track->sets[i]);
        if (status == MODECONN_OK) {
            track->n_sets++;
            track->columns[track->n_columns++] = barrier_columns[i];
        }
    }
    return status;
}

static int32_t plan_statistics(mc_track *track)
{
    const modeconn_dataset *clean = track->sets[0];
    track->plan = (mc_statistics_plan){.policy = "keep"};
    if (track->origin->n_stats == 0) {
        return MODECONN_OK;
    }
    track->plan = (mc_statistics_plan){
        .policy = "reset", .data = clean, .n = clean->n, .batch_size = track->batch_size};
    int32_t status = mc_check_batch(track->origin, mc_pass_batch(clean->n, track->batch_size, 0),
                                    clean->n, track->batch_size);
    return status < 0 ? mc_fail_prefix(status, "track_barrier") : status;
}

static int32_t allocate(mc_track *track)
{
    const modeconn_model *model = track->origin;
    int64_t largest = track->sets[0]->n, batch = mc_statistics_batch_max(&track->plan);
    if (track->n_sets == 2 && track->sets[1]->n > largest) {
        largest = track->sets[1]->n;
    }
    track->theta = mc_alloc(track->context, model->n_theta, sizeof(float));
    track->mixed = mc_alloc(track->context, model->n_stats, sizeof(float));
    track->loss = mc_alloc(track->context, largest, sizeof(double));
    track->values[0] = mc_alloc(track->context, track->points, sizeof(double));
    track->values[1] = mc_alloc(track->context, track->points, sizeof(double));
    if (track->theta == NULL || track->mixed == NULL || track->loss == NULL ||
        track->values[0] == NULL || track->values[1] == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    batch = batch > track->batch_size ? batch : track->batch_size;
    batch = batch < largest ? batch : largest;
    return model->ops->session_create(model, batch, 1, false, &track->session);
}

int32_t mc_track_open(mc_track *track, const mc_finetune_job *job)
{
    *track = (mc_track){.context = job->origin->context, .origin = job->origin};
    track->distance = mc_finetune_i64(job, "track_distance") != 0;
    track->points = mc_finetune_i64(job, "track_barrier");
    track->batch_size = mc_finetune_i64(job, "batch_size");
    if (track->distance) {
        track->columns[track->n_columns++] = "distance";
    }
    if (track->points == 0) {
        return MODECONN_OK;
    }
    if (track->points < 3) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "track_barrier is %lld: at least 3 points, or 0 for none",
                       (long long)track->points);
    }
    int32_t status = open_sets(track, job);
    if (status == MODECONN_OK) {
        status = plan_statistics(track);
    }
    if (status == MODECONN_OK) {
        status = allocate(track);
    }
    if (status < 0) {
        mc_track_close(track);
    }
    return status;
}

void mc_track_close(mc_track *track)
{
    if (track->session != NULL) {
        track->origin->ops->session_destroy(track->session);
    }
    modeconn_dataset_destroy(track->sets[0]);
    modeconn_dataset_destroy(track->sets[1]);
    mc_free(track->context, track->theta);
    mc_free(track->context, track->mixed);
    mc_free(track->context, track->loss);
    mc_free(track->context, track->values[0]);
    mc_free(track->context, track->values[1]);
    *track = (mc_track){.context = track->context};
}

static double distance(const modeconn_model *a, const modeconn_model *b)
{
    double sum = 0;
    for (int64_t i = 0; i < a->n_theta; i++) {
        double d = (double)b->theta[i] - (double)a->theta[i];
        sum += d * d;
    }
    return sqrt(sum);
}

/* Mean losses of both sets at point i. */
static int32_t measure_point(mc_track *track, const modeconn_model *tuned, int64_t i,
                             mc_relay *relay)
{
    const modeconn_model *origin = track->origin;
    double t = (double)i / (double)(track->points - 1);
    mc_norm_mode mode = MC_NORM_RUNNING;
    mc_interpolate(track->context, t, origin->theta, tuned->theta, origin->n_theta, track->theta);
    mc_interpolate(track->context, t, origin->statistics, tuned->statistics, origin->n_stats,
                   track->mixed);
    int32_t status =
        mc_statistics_apply(&track->plan, origin, track->session, track->theta, origin->statistics,
                            track->mixed, mc_relay_poll, relay, &mode);
    for (int set = 0; status == MODECONN_OK && set < track->n_sets; set++) {
        status = mc_pass_losses(origin, track->session, mode, track->sets[set], track->batch_size,
                                mc_relay_poll, relay, track->loss, NULL);
        if (status == MODECONN_OK) {
            track->values[set][i] = mc_mean(track->loss, track->sets[set]->n);
        }
    }
    return status < 0 ? mc_fail_prefix(status, "track_barrier, t = %g", t) : status;
}

/* sup_t [L(t) - ((1-t) L(0) + t L(1))]; both ends give 0. */
static double height(const double *values, int64_t points)
{
    double highest = 0;
    for (int64_t i = 1; i < points - 1; i++) {
        double t = (double)i / (double)(points - 1);
        highest = fmax(highest, values[i] - ((1 - t) * values[0] + t * values[points - 1]));
    }
    return highest;
}

int32_t mc_track_epoch(mc_track *track, const modeconn_model *tuned, mc_relay *relay,
                       double *values)
{
    int64_t column = 0;
    if (track->distance) {
        values[column++] = distance(track->origin, tuned);
    }
    for (int64_t i = 0; i < track->points; i++) {
        int32_t status = measure_point(track, tuned, i, relay);
        if (status < 0) {
            return status;
        }
    }
    for (int set = 0; set < track->n_sets; set++) {
        values[column++] = height(track->values[set], track->points);
    }
    return MODECONN_OK;
}
