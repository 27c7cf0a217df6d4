/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths gamma(t) = sum_k w_k(t) P_k over control points P_k, each a snapshot of a model. Weights
 * and sums are taken in double and rounded to float once; theta is [n_theta], statistics
 * [n_stats].
 */
#include "path/path.h"
#include <math.h>
#include <string.h>

#define CHUNK 16384

const mc_path_family *const mc_path_families[] = {&mc_path_linear, &mc_path_bezier, &mc_path_chain};
const int64_t mc_path_families_count =
    (int64_t)(sizeof(mc_path_families) / sizeof(mc_path_families[0]));

/* ---- public calls ------------------------------------------------------------------------- */

static void path_free(modeconn_path *path)
{
    modeconn_context *context = path->context;
    for (int64_t i = 0; i < path->n_points; i++) {
        modeconn_model_destroy(path->points[i]);
    }
    mc_path_set_record(path, NULL, NULL);
    mc_free(context, path->points);
    mc_free(context, path);
    mc_context_drop(context);
}

void modeconn_path_destroy(modeconn_path *path)
{
    if (path != NULL && mc_ref_drop(&path->ref)) {
        path_free(path);
    }
}

int32_t modeconn_path_family(const modeconn_path *path, const char **family)
{
    if (path == NULL) {
        return mc_null("path");
    }
    if (family == NULL) {
        return mc_null("family");
    }
    *family = path->family->name;
    return MODECONN_OK;
}

static int32_t check_t(double t)
{
    if (t >= 0 && t <= 1) {
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_ARGUMENT, "t is %.15g, not in [0, 1]", t);
}

int32_t modeconn_path_parameters(const modeconn_path *path, double t, float *theta, int64_t count)
{
    if (path == NULL) {
        return mc_null("path");
    }
    if (theta == NULL) {
        return mc_null("theta");
    }
    if (count != path->points[0]->n_theta) {
        return mc_fail(MODECONN_ERROR_SHAPE, "count is %lld, the path has %lld parameters",
                       (long long)count, (long long)path->points[0]->n_theta);
    }
    int32_t status = check_t(t);
    if (status == MODECONN_OK) {
        mc_path_at(path, t, theta, NULL);
    }
    return status;
}

int32_t modeconn_path_model(const modeconn_path *path, double t, modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL) {
        return mc_null("path");
    }
    int32_t status = check_t(t);
    if (status == MODECONN_OK) {
        status = mc_model_clone_empty(path->points[0], out);
    }
    if (status == MODECONN_OK) {
        mc_path_at(path, t, (*out)->theta, (*out)->statistics);
    }
    return status;
}

/* ---- inside the library ------------------------------------------------------------------- */

static int32_t snapshot(const modeconn_model *point, bool named, modeconn_model **out)
{
    if (named) {
        return modeconn_model_clone(point, out);
    }
    int32_t status = mc_model_clone_empty(point, out);
    if (status == MODECONN_OK) {
        memcpy((*out)->theta, point->theta, (size_t)point->n_theta * sizeof(float));
        memcpy((*out)->statistics, point->statistics, (size_t)point->n_stats * sizeof(float));
    }
    return status;
}

int32_t mc_path_create(const mc_path_family *family, const modeconn_model *const *points,
                       int64_t n_points, mc_path_names names, modeconn_path **out)
{
    *out = NULL;
    for (int64_t i = 1; i < n_points; i++) {
        int32_t status = mc_model_same_shape(points[0], points[i]);
        if (status < 0) {
            return status;
        }
    }
    modeconn_path *path = mc_calloc(points[0]->context, 1, sizeof(*path));
    if (path == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&path->ref);
    path->context = mc_context_take(points[0]->context);
    path->family = family;
    path->points = mc_calloc(path->context, n_points, sizeof(*path->points));
    int32_t status = path->points == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t i = 0; status == MODECONN_OK && i < n_points; i++) {
        bool named =
            i == 0 || names == MC_NAMES_ALL || (i == n_points - 1 && names == MC_NAMES_ENDS);
        status = snapshot(points[i], named, &path->points[i]);
        path->n_points += status == MODECONN_OK;
    }
    if (status < 0) {
        path_free(path);
        return status;
    }
    *out = path;
    return MODECONN_OK;
}

void mc_path_at(const modeconn_path *path, double t, float *theta, float *statistics)
{
    const modeconn_model *first = path->points[0];
    const float *parts[MC_PATH_POINTS_MAX];
    double w[MC_PATH_POINTS_MAX];

    path->family->weights(t, path->n_points, w);
    for (int64_t i = 0; i < path->n_points; i++) {
        parts[i] = path->points[i]->theta;
    }
    mc_combine(path->context, path->n_points, w, parts, first->n_theta, theta);
    if (statistics == NULL) {
        return;
    }
    for (int64_t i = 0; i < path->n_points; i++) {
        parts[i] = path->points[i]->statistics;
    }
    mc_combine(path->context, path->n_points, w, parts, first->n_stats, statistics);
}

typedef struct combine_job {
    int64_t count, n;
    const double *w;
    const float *const *p;
    float *out;
} combine_job;

static void combine_chunk(void *arg, int64_t task, int worker)
{
    const combine_job *job = arg;
    int64_t begin = task * CHUNK;
    int64_t end = begin + CHUNK < job->n ? begin + CHUNK : job->n;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        double sum = job->w[0] * (double)job->p[0][i]; /* not 0 + ..., which would lose a -0 */
        for (int64_t k = 1; k < job->count; k++) {
            sum += job->w[k] * (double)job->p[k][i];
        }
        job->out[i] = (float)sum;
    }
}

/* The point whose weight alone is not zero and is 1, or -1. */
static int64_t only_point(int64_t count, const double *w)
{
    int64_t only = -1;
    for (int64_t k = 0; k < count; k++) {
        if (w[k] == 0) {
            continue;
        }
        if (w[k] != 1 || only >= 0) {
            return -1;
        }
        only = k;
    }
    return only;
}

void mc_combine(modeconn_context *context, int64_t count, const double *w, const float *const *p,
                int64_t n, float *out)
{
    combine_job job = {count, n, w, p, out};
    int64_t only = only_point(count, w);
    if (only >= 0) { /* 0 + 1 * x would turn -0 into 0 */
        memmove(out, p[only], (size_t)n * sizeof(float));
    } else {
        mc_pool_run(context->pool, (n + CHUNK - 1) / CHUNK, combine_chunk, &job);
    }
}

void mc_interpolate(modeconn_context *context, double t, const float *a, const float *b, int64_t n,
                    float *out)
{
    const double w[2] = {1 - t, t};
    const float *const p[2] = {a, b};
    mc_combine(context, 2, w, p, n, out);
}
