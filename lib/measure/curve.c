/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Curves: loss and accuracy [n_views][stride] along a path at t = i / (points - 1), and at points
 * between where the maximum is looked for more closely; one treatment of the statistics a point,
 * shared by all views. Arc lengths [points] are those of the path from its start.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <math.h>
#include <string.h>

static const mc_option_spec curve_options[] = {
    MC_OPT_I64("points", 2, 100001, "25", "points of the curve, both ends included"),
    MC_OPT_F64("refine_tolerance", 0, 1, "0",
               "halve the intervals beside the largest loss down to this width in t; 0 = do not"),
    MC_OPT_STR("refine_view", NULL, "", "view whose largest loss that is; empty = the first"),
    MC_OPTIONS_STATISTICS("reset"),
    MC_OPTIONS_EVALUATE,
};
const mc_option_kind mc_kind_curve = MC_OPTION_KIND("curve", curve_options);

struct modeconn_curve {
    modeconn_context *context;
    int64_t n, points, n_views;
    int64_t stride;          /* at least points: room for those of the refinement */
    const char **names;      /* [n_views] */
    double *t, *arc;         /* [points] */
    double *loss, *accuracy; /* [n_views][stride] */
    mc_provenance origin;
};

typedef struct summary_values {
    double least, largest, mean, integral;
} summary_values;

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
    made->stride = points;
    made->n_views = views;
    made->names = mc_names_copy(context, evaluator->names, views);
    made->t = mc_calloc(context, points, sizeof(double));
    made->arc = mc_calloc(context, points, sizeof(double));
    made->loss = mc_calloc(context, views * points, sizeof(double));
    made->accuracy = mc_calloc(context, views * points, sizeof(double));
    int32_t status = MODECONN_ERROR_MEMORY;
    if (made->names != NULL && made->t != NULL && made->arc != NULL && made->loss != NULL &&
        made->accuracy != NULL) {
        status = mc_provenance_init_path(&made->origin, context, path, test, &evaluator->plan,
                                         evaluator->batch_size);
    }
    if (status < 0) {
        modeconn_curve_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

typedef struct measuring {
    modeconn_curve *curve;
    mc_evaluator *evaluator;
    const modeconn_path *path;
    float *theta, *mixed;
} measuring;

/* Measures at t and puts it at index `at`, the points from there on moving up. */
static int32_t measure_at(const measuring *m, double t, int64_t at)
{
    modeconn_curve *curve = m->curve;
    size_t rest = (size_t)(curve->points - at) * sizeof(double);
    memmove(curve->t + at + 1, curve->t + at, rest);
    for (int64_t v = 0; v < curve->n_views; v++) {
        double *loss = curve->loss + v * curve->stride + at;
        double *accuracy = curve->accuracy + v * curve->stride + at;
        memmove(loss + 1, loss, rest);
        memmove(accuracy + 1, accuracy, rest);
    }
    curve->t[at] = t;
    curve->points++;
    mc_path_at(m->path, t, m->theta, m->mixed);
    return mc_evaluator_measure(m->evaluator, m->theta, m->path->points[0]->statistics, m->mixed,
                                curve->loss + at, curve->accuracy + at, curve->stride);
}

static int32_t measure_grid(const measuring *m, int64_t points)
{
    int64_t n = points - 1;
    int32_t status = MODECONN_OK;
    for (int64_t i = 0; status == MODECONN_OK && i <= n; i++) {
        /* A division of integers: a running sum would miss 1/2 and 1. */
        status = measure_at(m, (double)i / (double)n, i);
        if (status == MODECONN_ERROR_NUMERIC) {
            mc_fail_prefix(status, "at t = %lld/%lld", (long long)i, (long long)n);
        }
    }
    return status;
}

/* Halves the intervals on both sides of the largest loss of a view until they are no wider than
 * the tolerance, or nothing is between their ends. The largest loss is then at the old place or at
 * a new one, so the interval beside it has halved in any case: refinements() rounds are enough. */
static int32_t refine(const measuring *m, int64_t view, double tolerance)
{
    modeconn_curve *curve = m->curve;
    for (;;) {
        const double *loss = curve->loss + view * curve->stride;
        int64_t top = 0, before = curve->points;
        for (int64_t i = 1; i < curve->points; i++) {
            top = loss[i] > loss[top] ? i : top;
        }
        for (int64_t at = top + 1; at >= top; at--) { /* the right side first: it moves nothing */
            if (at < 1 || at >= before || curve->t[at] - curve->t[at - 1] <= tolerance) {
                continue;
            }
            double t = 0.5 * (curve->t[at - 1] + curve->t[at]);
            if (t <= curve->t[at - 1] || t >= curve->t[at]) {
                continue;
            }
            int32_t status = measure_at(m, t, at);
            if (status < 0) {
                return status == MODECONN_ERROR_NUMERIC ? mc_fail_prefix(status, "at t = %g", t)
                                                        : status;
            }
        }
        if (curve->points == before) {
            return MODECONN_OK;
        }
    }
}

/* Halvings from an interval of the grid to the tolerance. */
static int64_t refinements(int64_t points, double tolerance)
{
    int64_t rounds = 0;
    if (tolerance > 0) {
        for (double width = 1.0 / (double)(points - 1); width > tolerance; width /= 2) {
            rounds++;
        }
        rounds++; /* widths as they are rounded may need one more */
    }
    return rounds;
}

static int32_t measure_arc(modeconn_curve *curve, const modeconn_path *path)
{
    double *gram = mc_path_gram(path);
    if (gram == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < curve->points; i++) {
        curve->arc[i] = path->family->length(gram, path->n_points - 1, curve->t[i]);
    }
    mc_free(curve->context, gram);
    return MODECONN_OK;
}

static int32_t measure_points(modeconn_curve *curve, mc_evaluator *evaluator,
                              const modeconn_path *path, const modeconn_options *options,
                              int64_t refine_view)
{
    const modeconn_model *first = path->points[0];
    double tolerance = mc_option_f64(options, &mc_kind_curve, "refine_tolerance");
    measuring m = {.curve = curve, .evaluator = evaluator, .path = path};
    m.theta = mc_alloc(curve->context, first->n_theta, sizeof(float));
    m.mixed = mc_alloc(curve->context, first->n_stats, sizeof(float));
    int32_t status = m.theta == NULL || m.mixed == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    if (status == MODECONN_OK) {
        status = measure_grid(&m, mc_option_i64(options, &mc_kind_curve, "points"));
    }
    if (status == MODECONN_OK && tolerance > 0) {
        status = refine(&m, refine_view, tolerance);
    }
    if (status == MODECONN_OK) {
        status = measure_arc(curve, path);
    }
    mc_free(curve->context, m.theta);
    mc_free(curve->context, m.mixed);
    return status;
}

/* Index of "refine_view" among the views measured. */
static int32_t find_refine_view(const mc_evaluator *evaluator, const modeconn_options *options,
                                int64_t *index)
{
    const char *name = mc_option_str(options, &mc_kind_curve, "refine_view");
    *index = 0;
    for (int64_t v = 0; name[0] != '\0' && v < evaluator->n_views; v++) {
        if (strcmp(evaluator->names[v], name) == 0) {
            *index = v;
            return MODECONN_OK;
        }
    }
    return name[0] == '\0' ? MODECONN_OK
                           : mc_fail(MODECONN_ERROR_UNKNOWN,
                                     "refine_view: \"%s\" is not a view that is measured", name);
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
    int64_t refine_view = 0, points = mc_option_i64(options, &mc_kind_curve, "points");
    points += 2 * refinements(points, mc_option_f64(options, &mc_kind_curve, "refine_tolerance"));
    status = mc_evaluator_open(&evaluator, path->points[0], train, test, options, &mc_kind_curve,
                               points, progress, user);
    if (status < 0) {
        return status;
    }
    modeconn_curve *made = NULL;
    status = find_refine_view(&evaluator, options, &refine_view);
    if (status == MODECONN_OK) {
        status = curve_create(&made, &evaluator, path, test);
    }
    if (status == MODECONN_OK) {
        status = measure_points(made, &evaluator, path, options, refine_view);
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
    mc_free(context, curve->arc);
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

int32_t modeconn_curve_view_count(const modeconn_curve *curve, int64_t *count)
{
    if (curve == NULL || count == NULL) {
        return mc_null(curve == NULL ? "curve" : "count");
    }
    *count = curve->n_views;
    return MODECONN_OK;
}

int32_t modeconn_curve_view_name(const modeconn_curve *curve, int64_t index, const char **name)
{
    if (curve == NULL || name == NULL) {
        return mc_null(curve == NULL ? "curve" : "name");
    }
    if (index < 0 || index >= curve->n_views) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "view index %lld: not in 0..%lld", (long long)index,
                       (long long)(curve->n_views - 1));
    }
    *name = curve->names[index];
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
        memcpy(loss, curve->loss + v * curve->stride, size);
    }
    if (accuracy != NULL) {
        memcpy(accuracy, curve->accuracy + v * curve->stride, size);
    }
    return MODECONN_OK;
}

/* Error = 1 - accuracy, and the baselines are linear in the values: the barrier of the error is
 * that of -accuracy, which rounds nothing. */
static int32_t view_barrier(const modeconn_curve *curve, int64_t view, bool error,
                            int32_t definition, double *height)
{
    const double *loss = curve->loss + view * curve->stride;
    if (!error) {
        *height = mc_barrier(curve->t, loss, curve->points, definition);
        return MODECONN_OK;
    }
    double *negative = mc_alloc(curve->context, curve->points, sizeof(*negative));
    if (negative == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < curve->points; i++) {
        negative[i] = -curve->accuracy[view * curve->stride + i];
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

/* ---- summaries ---------------------------------------------------------------------------- */

/* Least, largest and mean value over t and integral over the arc, by the trapezoidal rule on the
 * measured points. Of the error: 1 - accuracy. */
static summary_values summarise(const modeconn_curve *curve, int64_t view, bool error)
{
    const double *values = (error ? curve->accuracy : curve->loss) + view * curve->stride;
    summary_values sum = {.least = INFINITY, .largest = -INFINITY};
    double before = 0.0;
    for (int64_t i = 0; i < curve->points; i++) {
        double value = error ? 1.0 - values[i] : values[i];
        sum.least = value < sum.least ? value : sum.least;
        sum.largest = value > sum.largest ? value : sum.largest;
        if (i > 0) {
            sum.mean += 0.5 * (value + before) * (curve->t[i] - curve->t[i - 1]);
            sum.integral += 0.5 * (value + before) * (curve->arc[i] - curve->arc[i - 1]);
        }
        before = value;
    }
    return sum;
}

static int32_t summary(const modeconn_curve *curve, const char *view, bool error, double *least,
                       double *largest, double *mean, double *integral)
{
    int64_t v = 0;
    int32_t status = find_view(curve, view, &v);
    if (status < 0) {
        return status;
    }
    summary_values found = summarise(curve, v, error);
    double *const outs[4] = {least, largest, mean, integral};
    const double values[4] = {found.least, found.largest, found.mean, found.integral};
    for (int i = 0; i < 4; i++) {
        if (outs[i] != NULL) {
            *outs[i] = values[i];
        }
    }
    return MODECONN_OK;
}

int32_t modeconn_curve_summary(const modeconn_curve *curve, const char *view, double *least,
                               double *largest, double *mean, double *integral)
{
    return summary(curve, view, false, least, largest, mean, integral);
}

int32_t modeconn_curve_error_summary(const modeconn_curve *curve, const char *view, double *least,
                                     double *largest, double *mean, double *integral)
{
    return summary(curve, view, true, least, largest, mean, integral);
}

int32_t modeconn_curve_arc(const modeconn_curve *curve, double *arc, int64_t capacity)
{
    if (curve == NULL || arc == NULL) {
        return mc_null(curve == NULL ? "curve" : "arc");
    }
    int32_t status = check_capacity(curve, capacity);
    if (status == MODECONN_OK) {
        memcpy(arc, curve->arc, (size_t)curve->points * sizeof(double));
    }
    return status;
}

/* ---- reports ------------------------------------------------------------------------------ */

static json_t *summary_json(const modeconn_curve *curve, int64_t view, bool error)
{
    summary_values found = summarise(curve, view, error);
    json_t *out = json_object();
    bool ok = mc_json_add(out, "min", mc_json_real(found.least));
    ok = mc_json_add(out, "max", mc_json_real(found.largest)) && ok;
    ok = mc_json_add(out, "mean", mc_json_real(found.mean)) && ok;
    ok = mc_json_add(out, "integral", mc_json_real(found.integral)) && ok;
    return mc_json_whole(out, ok);
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
    return mc_json_whole(out, ok);
}

static json_t *view_json(const modeconn_curve *curve, int64_t v)
{
    json_t *out = json_object(), *heights = json_object(), *summaries = json_object();
    bool ok = mc_json_add(heights, "loss", barriers_json(curve, v, false));
    ok = mc_json_add(heights, "error", barriers_json(curve, v, true)) && ok;
    int64_t at = v * curve->stride, points = curve->points;
    ok = mc_json_add(summaries, "loss", summary_json(curve, v, false)) && ok;
    ok = mc_json_add(summaries, "error", summary_json(curve, v, true)) && ok;
    ok = mc_json_add(out, "loss", mc_json_values(curve->loss + at, points)) && ok;
    ok = mc_json_add(out, "accuracy", mc_json_values(curve->accuracy + at, points)) && ok;
    ok = mc_json_add(out, "n", json_integer(curve->n)) && ok;
    ok = mc_json_add(out, "barrier", heights) && ok;
    ok = mc_json_add(out, "summary", summaries) && ok;
    return mc_json_whole(out, ok);
}

static json_t *path_json(const modeconn_curve *curve)
{
    json_t *out = mc_provenance_path(&curve->origin);
    bool ok = mc_json_add(out, "length", mc_json_real(curve->arc[curve->points - 1]));
    return mc_json_whole(out, ok);
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
    ok = mc_json_add(out, "t", mc_json_values(curve->t, curve->points)) && ok;
    ok = mc_json_add(out, "arc", mc_json_values(curve->arc, curve->points)) && ok;
    ok = mc_json_add(out, "views", views) && ok;
    ok = mc_json_add(out, "statistics", mc_provenance_statistics(&curve->origin)) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(curve->origin.batch_size)) && ok;
    ok = mc_json_add(out, "path", path_json(curve)) && ok;
    ok = mc_json_add(out, "data", mc_provenance_test(&curve->origin)) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
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
            mc_text_add_f64(&text, curve->loss[v * curve->stride + i]);
            mc_text_add(&text, ",");
            mc_text_add_f64(&text, curve->accuracy[v * curve->stride + i]);
        }
        mc_text_add(&text, "\n");
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
