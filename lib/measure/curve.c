/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Curves: loss and accuracy [n_views][points] along a path at t = i / (points - 1), one treatment
 * of the statistics a point, shared by all views.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <math.h>
#include <string.h>

static const mc_option_spec curve_options[] = {
    MC_OPT_I64("points", 2, 100001, "25", "points of the curve, both ends included"),
    MC_OPTIONS_STATISTICS("reset"),
    MC_OPTIONS_EVALUATE,
};
const mc_option_kind mc_kind_curve = MC_OPTION_KIND("curve", curve_options);

struct modeconn_curve {
    modeconn_context *context;
    int64_t n, points, n_views;
    const char **names;      /* [n_views] */
    double *t;               /* [points] */
    double *loss, *accuracy; /* [n_views][points] */
    const char *family;      /* static string */
    mc_provenance origin;
};

static const struct {
    const char *name;
    int32_t definition;
} barriers[] = {
    {"linear", MODECONN_BARRIER_LINEAR},
    {"mean", MODECONN_BARRIER_MEAN},
    {"max", MODECONN_BARRIER_MAX},
    {"half", MODECONN_BARRIER_HALF},
};
enum { N_BARRIERS = sizeof(barriers) / sizeof(barriers[0]) };

static int32_t curve_create(modeconn_curve **out, const mc_evaluator *evaluator,
                            const modeconn_path *path, const modeconn_dataset *test)
{
    modeconn_context *context = evaluator->context;
    int64_t views = evaluator->n_views, points = evaluator->points;
    modeconn_curve *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(context);
    made->n = evaluator->n;
    made->points = points;
    made->n_views = views;
    made->family = path->family->name;
    made->names = mc_names_copy(context, evaluator->names, views);
    made->t = mc_calloc(context, points, sizeof(double));
    made->loss = mc_calloc(context, views * points, sizeof(double));
    made->accuracy = mc_calloc(context, views * points, sizeof(double));
    int32_t status = MODECONN_ERROR_MEMORY;
    if (made->names != NULL && made->t != NULL && made->loss != NULL && made->accuracy != NULL) {
        status = mc_provenance_init(&made->origin, context, path->points[0],
                                    path->points[path->n_points - 1], test, &evaluator->plan,
                                    evaluator->batch_size);
    }
    if (status < 0) {
        modeconn_curve_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

static int32_t measure_points(modeconn_curve *curve, mc_evaluator *evaluator,
                              const modeconn_path *path)
{
    const modeconn_model *first = path->points[0];
    int64_t n = curve->points - 1;
    float *theta = mc_alloc(curve->context, first->n_theta, sizeof(float));
    float *mixed = mc_alloc(curve->context, first->n_stats, sizeof(float));
    int32_t status = theta == NULL || mixed == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t i = 0; status == MODECONN_OK && i <= n; i++) {
        /* A division of integers: a running sum would miss 1/2 and 1. */
        curve->t[i] = (double)i / (double)n;
        mc_path_at(path, curve->t[i], theta, mixed);
        status = mc_evaluator_measure(evaluator, theta, first->statistics, mixed, curve->loss + i,
                                      curve->accuracy + i, curve->points);
        if (status == MODECONN_ERROR_NUMERIC) {
            mc_fail_prefix(status, "at t = %lld/%lld", (long long)i, (long long)n);
        }
    }
    mc_free(curve->context, theta);
    mc_free(curve->context, mixed);
    return status;
}

int32_t modeconn_curve_measure(const modeconn_path *path, const modeconn_dataset *train,
                               const modeconn_dataset *test, const modeconn_options *options,
                               modeconn_progress_fn progress, void *user, modeconn_curve **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL || test == NULL) {
        return mc_null(path == NULL ? "path" : "test");
    }
    int32_t status = mc_options_check(options, &mc_kind_curve);
    if (status < 0) {
        return status;
    }
    mc_evaluator evaluator;
    status = mc_evaluator_open(&evaluator, path->points[0], train, test, options, &mc_kind_curve,
                               mc_option_i64(options, &mc_kind_curve, "points"), progress, user);
    if (status < 0) {
        return status;
    }
    modeconn_curve *made = NULL;
    status = curve_create(&made, &evaluator, path, test);
    if (status == MODECONN_OK) {
        status = measure_points(made, &evaluator, path);
    }
    mc_evaluator_close(&evaluator);
    if (status < 0) {
        modeconn_curve_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

void modeconn_curve_destroy(modeconn_curve *curve)
{
    if (curve == NULL) {
        return;
    }
    modeconn_context *context = curve->context;
    mc_free(context, (void *)curve->names);
    mc_free(context, curve->t);
    mc_free(context, curve->loss);
    mc_free(context, curve->accuracy);
    mc_provenance_free(&curve->origin);
    mc_free(context, curve);
    mc_context_drop(context);
}

int32_t modeconn_curve_size(const modeconn_curve *curve, int64_t *points)
{
    if (curve == NULL || points == NULL) {
        return mc_null(curve == NULL ? "curve" : "points");
    }
    *points = curve->points;
    return MODECONN_OK;
}

static int32_t check_capacity(const modeconn_curve *curve, int64_t capacity)
{
    if (capacity >= curve->points) {
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_BUFFER, "capacity is %lld, the curve has %lld points",
                   (long long)capacity, (long long)curve->points);
}

int32_t modeconn_curve_points(const modeconn_curve *curve, double *t, int64_t capacity)
{
    if (curve == NULL || t == NULL) {
        return mc_null(curve == NULL ? "curve" : "t");
    }
    int32_t status = check_capacity(curve, capacity);
    if (status == MODECONN_OK) {
        memcpy(t, curve->t, (size_t)curve->points * sizeof(double));
    }
    return status;
}

static int32_t find_view(const modeconn_curve *curve, const char *view, int64_t *index)
{
    if (curve == NULL || view == NULL) {
        return mc_null(curve == NULL ? "curve" : "view");
    }
    for (int64_t v = 0; v < curve->n_views; v++) {
        if (strcmp(curve->names[v], view) == 0) {
            *index = v;
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no view \"%s\" in this curve", view);
}

int32_t modeconn_curve_values(const modeconn_curve *curve, const char *view, double *loss,
                              double *accuracy, int64_t capacity)
{
    int64_t v = 0;
    int32_t status = find_view(curve, view, &v);
    if (status == MODECONN_OK) {
        status = check_capacity(curve, capacity);
    }
    if (status < 0) {
        return status;
    }
    size_t size = (size_t)curve->points * sizeof(double);
    if (loss != NULL) {
        memcpy(loss, curve->loss + v * curve->points, size);
    }
    if (accuracy != NULL) {
        memcpy(accuracy, curve->accuracy + v * curve->points, size);
    }
    return MODECONN_OK;
}

/* Error = 1 - accuracy, and the baselines are linear in the values: the barrier of the error is
 * that of -accuracy, which rounds nothing. */
static int32_t view_barrier(const modeconn_curve *curve, int64_t view, bool error,
                            int32_t definition, double *height)
{
    const double *loss = curve->loss + view * curve->points;
    if (!error) {
        *height = mc_barrier(curve->t, loss, curve->points, definition);
        return MODECONN_OK;
    }
    double *negative = mc_alloc(curve->context, curve->points, sizeof(*negative));
    if (negative == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < curve->points; i++) {
        negative[i] = -curve->accuracy[view * curve->points + i];
    }
    *height = mc_barrier(curve->t, negative, curve->points, definition);
    mc_free(curve->context, negative);
    return MODECONN_OK;
}

static int32_t barrier(const modeconn_curve *curve, const char *view, bool error,
                       int32_t definition, double *height)
{
    int64_t v = 0;
    int32_t status = find_view(curve, view, &v);
    if (status < 0) {
        return status;
    }
    if (height == NULL) {
        return mc_null("height");
    }
    if (definition < MODECONN_BARRIER_LINEAR || definition > MODECONN_BARRIER_HALF) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "barrier definition %d: not in 0..3",
                       (int)definition);
    }
    double found = 0.0;
    status = view_barrier(curve, v, error, definition, &found);
    if (status == MODECONN_OK && isnan(found)) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                       "a curve of %lld points has none at t = 1/2: take an odd number",
                       (long long)curve->points);
    }
    if (status == MODECONN_OK) {
        *height = found;
    }
    return status;
}

int32_t modeconn_curve_barrier(const modeconn_curve *curve, const char *view, int32_t definition,
                               double *height)
{
    return barrier(curve, view, false, definition, height);
}

int32_t modeconn_curve_error_barrier(const modeconn_curve *curve, const char *view,
                                     int32_t definition, double *height)
{
    return barrier(curve, view, true, definition, height);
}

static json_t *values_json(const double *values, int64_t n)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < n; i++) {
        if (json_array_append_new(out, mc_json_real(values[i])) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *barriers_json(const modeconn_curve *curve, int64_t view, bool error)
{
    json_t *out = json_object();
    bool ok = true;
    for (int i = 0; i < N_BARRIERS; i++) {
        double height = 0.0;
        ok = view_barrier(curve, view, error, barriers[i].definition, &height) == MODECONN_OK &&
             mc_json_add(out, barriers[i].name, mc_json_real(height)) && ok;
    }
    if (!ok) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *view_json(const modeconn_curve *curve, int64_t v)
{
    json_t *out = json_object(), *heights = json_object();
    bool ok = mc_json_add(heights, "loss", barriers_json(curve, v, false));
    ok = mc_json_add(heights, "error", barriers_json(curve, v, true)) && ok;
    int64_t points = curve->points;
    ok = mc_json_add(out, "loss", values_json(curve->loss + v * points, points)) && ok;
    ok = mc_json_add(out, "accuracy", values_json(curve->accuracy + v * points, points)) && ok;
    ok = mc_json_add(out, "n", json_integer(curve->n)) && ok;
    ok = mc_json_add(out, "barrier", heights) && ok;
    if (!ok) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *path_json(const modeconn_curve *curve)
{
    json_t *out = json_object();
    bool ok = mc_json_add(out, "family", json_string(curve->family));
    ok = mc_json_add(out, "first", mc_provenance_subject(&curve->origin, 0)) && ok;
    ok = mc_json_add(out, "second", mc_provenance_subject(&curve->origin, 1)) && ok;
    if (!ok) {
        json_decref(out);
        return NULL;
    }
    return out;
}

int32_t modeconn_curve_json(const modeconn_curve *curve, char *buffer, int64_t capacity,
                            int64_t *needed)
{
    if (curve == NULL) {
        return mc_null("curve");
    }
    json_t *out = json_object(), *views = json_object();
    bool ok = true;
    for (int64_t v = 0; v < curve->n_views; v++) {
        ok = mc_json_add(views, curve->names[v], view_json(curve, v)) && ok;
    }
    ok = mc_json_add(out, "t", values_json(curve->t, curve->points)) && ok;
    ok = mc_json_add(out, "views", views) && ok;
    ok = mc_json_add(out, "statistics", mc_provenance_statistics(&curve->origin)) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(curve->origin.batch_size)) && ok;
    ok = mc_json_add(out, "path", path_json(curve)) && ok;
    ok = mc_json_add(out, "data", mc_provenance_test(&curve->origin)) && ok;
    if (!ok) {
        json_decref(out);
        out = NULL;
    }
    return mc_json_out(out, buffer, capacity, needed);
}

int32_t modeconn_curve_csv(const modeconn_curve *curve, char *buffer, int64_t capacity,
                           int64_t *needed)
{
    if (curve == NULL) {
        return mc_null("curve");
    }
    mc_text text;
    mc_text_init(&text, curve->context);
    mc_text_add(&text, "t");
    for (int64_t v = 0; v < curve->n_views; v++) {
        mc_text_add(&text, ",%s_loss,%s_accuracy", curve->names[v], curve->names[v]);
    }
    mc_text_add(&text, "\n");
    for (int64_t i = 0; i < curve->points; i++) {
        mc_text_add_f64(&text, curve->t[i]);
        for (int64_t v = 0; v < curve->n_views; v++) {
            mc_text_add(&text, ",");
            mc_text_add_f64(&text, curve->loss[v * curve->points + i]);
            mc_text_add(&text, ",");
            mc_text_add_f64(&text, curve->accuracy[v * curve->points + i]);
        }
        mc_text_add(&text, "\n");
    }
    int32_t status =
        text.failed ? MODECONN_ERROR_MEMORY : mc_text_out(text.data, buffer, capacity, needed);
    mc_text_free(&text);
    return status;
}
