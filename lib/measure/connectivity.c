/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Mechanistic connectivity of a path (Lubana et al. 2023, Definition 5). For each view, from
 * per-sample losses l [n][points] at t_i = i / (points - 1):
 *
 *     e_i(t) = l_i(t) - ((1-t) l_i(0) + t l_i(1)),   E(t) = mean_i e_i(t)
 *
 * with a band that holds at all t at once (bootstrap.c), set against the tolerance. Both ends have
 * e = 0. The curve is that of curve.c; it is the samples behind its means that are wanted here.
 */
#include "measure/measure.h"
#include <math.h>
#include <string.h>

static const mc_option_spec connectivity_options[] = {
    MC_OPT_POSITIVE("tolerance", "0.1",
                    "largest rise of the mean loss over the line between the ends that counts as "
                    "none, nats"),
    MC_OPT_F64("minimum_loss", 0, HUGE_VAL, "0",
               "mean loss up to which an end is a minimizer, nats; 0 = the ends are not judged"),
    {"confidence", MODECONN_OPTION_F64, 0, 0.9999, true, NULL, "0.99",
     "of the band around a view's curve, as a fraction"},
    MC_OPT_I64("resamples", 100, 1000000, "2000", "resamples of the bootstrap"),
    MC_OPT_I64("points", 2, 100001, "25", "points of the path, both ends included"),
    MC_OPTIONS_STATISTICS("reset"),
    MC_OPT_I64("batch_size", 1, 1048576, "500", "samples per batch of the evaluation"),
    MC_OPT_STR("views", NULL, "", "views to ask about, e.g. \"nocue,randcue\"; empty = all"),
    MC_OPT_I64(
        "seed", -1, 9007199254740992.0, "-1",
        "of the bootstrap, and of the order of the statistics set (ema); -1 = the context's"),
};
const mc_option_kind mc_kind_connectivity = MC_OPTION_KIND("connectivity", connectivity_options);

/* ---- verdicts ------------------------------------------------------------------------------ */

int32_t mc_connectivity_verdict(const double *low, const double *high, int64_t count,
                                double tolerance, int64_t n)
{
    bool connected = true;
    if (n < MC_PROBE_SAMPLES) {
        return MODECONN_VERDICT_UNDECIDED;
    }
    for (int64_t i = 0; i < count; i++) {
        if (low[i] > tolerance) {
            return MODECONN_VERDICT_DISCONNECTED;
        }
        connected = connected && high[i] < tolerance;
    }
    return connected ? MODECONN_VERDICT_CONNECTED : MODECONN_VERDICT_UNDECIDED;
}

static int64_t largest(const double *values, int64_t n)
{
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++) {
        at = values[i] > values[at] ? i : at;
    }
    return at;
}

static void judge_view(const modeconn_connectivity *made, mc_rise *view)
{
    int64_t points = made->points;
    view->verdict =
        mc_connectivity_verdict(view->below, view->above, points, made->tolerance, made->n);
    view->at =
        largest(view->verdict == MODECONN_VERDICT_DISCONNECTED ? view->below : view->above, points);
    view->height = view->excess[largest(view->excess, points)];
    view->low = view->below[largest(view->below, points)];
    view->high = view->above[largest(view->above, points)];
}

static mc_minimizer judge_end(const modeconn_connectivity *made, const mc_path_end *end)
{
    if (made->minimum_loss <= 0.0 || made->n < MC_PROBE_SAMPLES) {
        return MC_MINIMIZER_OPEN;
    }
    if (end->low > made->minimum_loss) {
        return MC_MINIMIZER_NO;
    }
    return end->high < made->minimum_loss ? MC_MINIMIZER_YES : MC_MINIMIZER_OPEN;
}

/* How near a view comes to breaking the path, and where: by rank, then by height. */
typedef struct weakness {
    enum { SOUND, OPEN, NO_MINIMIZER, BROKEN } rank;
    double height;
    int64_t point;
} weakness;

static weakness weakness_of(const modeconn_connectivity *made, const mc_rise *view)
{
    weakness found = {SOUND, view->high, view->at};
    if (view->verdict == MODECONN_VERDICT_DISCONNECTED) {
        return (weakness){BROKEN, view->low, view->at};
    }
    if (view->verdict == MODECONN_VERDICT_UNDECIDED) {
        found.rank = OPEN;
    }
    for (int which = 0; which < 2; which++) {
        const mc_path_end *end = &view->ends[which];
        int64_t point = which == 0 ? 0 : made->points - 1;
        if (end->minimizer == MC_MINIMIZER_NO &&
            (found.rank < NO_MINIMIZER || end->low > found.height)) {
            found = (weakness){NO_MINIMIZER, end->low, point};
        } else if (end->minimizer == MC_MINIMIZER_OPEN && made->minimum_loss > 0.0 &&
                   found.rank < OPEN) {
            found = (weakness){OPEN, end->high, point};
        }
    }
    return found;
}

static void judge(modeconn_connectivity *made)
{
    weakness worst = weakness_of(made, &made->views[0]);
    for (int64_t v = 1; v < made->n_views; v++) {
        weakness found = weakness_of(made, &made->views[v]);
        if (found.rank > worst.rank || (found.rank == worst.rank && found.height > worst.height)) {
            worst = found;
            made->weakest_view = v;
        }
    }
    made->weakest_point = worst.point;
    made->verdict = worst.rank >= NO_MINIMIZER ? MODECONN_VERDICT_DISCONNECTED
                    : worst.rank == OPEN       ? MODECONN_VERDICT_UNDECIDED
                                               : MODECONN_VERDICT_CONNECTED;
}

/* ---- measuring ----------------------------------------------------------------------------- */

typedef struct measuring {
    mc_evaluator evaluator;
    modeconn_connectivity *made;
    const modeconn_path *path;
    double *loss;   /* [n_views][n][points] */
    double *column; /* [n] */
    float *theta, *mixed;
} measuring;

/* Losses of every view at point i. */
static int32_t measure_point(measuring *run, int64_t i)
{
    mc_evaluator *evaluator = &run->evaluator;
    modeconn_connectivity *made = run->made;
    const modeconn_model *model = evaluator->model;
    mc_norm_mode mode = MC_NORM_RUNNING;
    made->t[i] = (double)i / (double)(made->points - 1);
    mc_path_at(run->path, made->t[i], run->theta, run->mixed);
    int32_t status =
        mc_statistics_apply(&evaluator->plan, model, evaluator->session, run->theta,
                            model->statistics, run->mixed, mc_evaluator_tick, evaluator, &mode);
    for (int64_t v = 0; status == MODECONN_OK && v < made->n_views; v++) {
        double *to = run->loss + v * made->n * made->points + i;
        int64_t hits = 0;
        status = mc_pass_losses(model, evaluator->session, mode, evaluator->views[v],
                                evaluator->batch_size, mc_evaluator_tick, evaluator,
                                evaluator->loss, evaluator->correct);
        for (int64_t k = 0; status == MODECONN_OK && k < made->n; k++) {
            to[k * made->points] = evaluator->loss[k];
            hits += evaluator->correct[k] != 0;
        }
        made->views[v].accuracy[i] = (double)hits / (double)made->n;
    }
    return status;
}

static int32_t measure_ends(measuring *run, mc_rise *view, const double *loss)
{
    modeconn_connectivity *made = run->made;
    int32_t status = MODECONN_OK;
    for (int which = 0; which < 2 && status == MODECONN_OK; which++) {
        mc_path_end *end = &view->ends[which];
        int64_t i = which == 0 ? 0 : made->points - 1;
        for (int64_t k = 0; k < made->n; k++) {
            run->column[k] = loss[k * made->points + i];
        }
        status = mc_bootstrap_mean(made->context, &run->evaluator.progress, run->column, made->n,
                                   made->confidence, made->resamples, made->seed, &end->loss,
                                   &end->low, &end->high);
        end->accuracy = view->accuracy[i];
        end->minimizer = judge_end(made, end);
    }
    return status;
}

/* From the losses [n][points] of a view, which turn into excesses. */
static int32_t finish_view(measuring *run, int64_t v)
{
    modeconn_connectivity *made = run->made;
    mc_rise *view = &made->views[v];
    int64_t points = made->points;
    double *loss = run->loss + v * made->n * points;
    int32_t status = measure_ends(run, view, loss);
    for (int64_t i = 0; i < points; i++) {
        double sum = 0.0;
        for (int64_t k = 0; k < made->n; k++) {
            sum += loss[k * points + i];
        }
        view->loss[i] = sum / (double)made->n;
    }
    for (int64_t k = 0; k < made->n; k++) {
        double *row = loss + k * points, first = row[0], last = row[points - 1];
        for (int64_t i = 0; i < points; i++) {
            bool inside = i > 0 && i < points - 1;
            row[i] = inside ? row[i] - ((1.0 - made->t[i]) * first + made->t[i] * last) : 0.0;
        }
    }
    if (status == MODECONN_OK) {
        status = mc_bootstrap_band(made->context, &run->evaluator.progress, loss, made->n, points,
                                   made->confidence, made->resamples, made->seed, view->excess,
                                   view->below, view->above);
    }
    judge_view(made, view);
    return status;
}

static int32_t allocate_losses(measuring *run)
{
    const modeconn_connectivity *made = run->made;
    const modeconn_model *model = run->evaluator.model;
    int64_t count = 0;
    if (!mc_mul(made->n, made->points, &count) || !mc_mul(count, made->n_views, &count)) {
        return mc_fail(MODECONN_ERROR_MEMORY,
                       "out of memory: losses of %lld samples at %lld points", (long long)made->n,
                       (long long)made->points);
    }
    run->loss = mc_alloc(made->context, count, sizeof(double));
    run->column = mc_alloc(made->context, made->n, sizeof(double));
    run->theta = mc_alloc(made->context, model->n_theta, sizeof(float));
    run->mixed = mc_alloc(made->context, model->n_stats, sizeof(float));
    return run->loss == NULL || run->column == NULL || run->theta == NULL || run->mixed == NULL
               ? MODECONN_ERROR_MEMORY
               : MODECONN_OK;
}

static int32_t measure(measuring *run)
{
    modeconn_connectivity *made = run->made;
    int32_t status = allocate_losses(run);
    for (int64_t i = 0; status == MODECONN_OK && i < made->points; i++) {
        status = measure_point(run, i);
        if (status == MODECONN_ERROR_NUMERIC) {
            mc_fail_prefix(status, "at t = %lld/%lld", (long long)i, (long long)(made->points - 1));
        }
    }
    for (int64_t v = 0; status == MODECONN_OK && v < made->n_views; v++) {
        status = finish_view(run, v);
    }
    if (status == MODECONN_OK) {
        judge(made);
    }
    mc_free(made->context, run->loss);
    mc_free(made->context, run->column);
    mc_free(made->context, run->theta);
    mc_free(made->context, run->mixed);
    return status;
}

/* ---- the handle ---------------------------------------------------------------------------- */

enum { ARRAYS = 5 }; /* of a view */

static int32_t allocate_views(modeconn_connectivity *made, const mc_evaluator *evaluator)
{
    int64_t points = made->points;
    made->t = mc_calloc(made->context, points, sizeof(double));
    made->names = mc_names_copy(made->context, evaluator->names, made->n_views);
    made->views = mc_calloc(made->context, made->n_views, sizeof(*made->views));
    made->values = mc_calloc(made->context, made->n_views * ARRAYS * points, sizeof(double));
    if (made->names == NULL || made->t == NULL || made->views == NULL || made->values == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t v = 0; v < made->n_views; v++) {
        double *values = made->values + v * ARRAYS * points;
        made->views[v] = (mc_rise){.view = made->names[v],
                                   .loss = values,
                                   .accuracy = values + points,
                                   .excess = values + 2 * points,
                                   .below = values + 3 * points,
                                   .above = values + 4 * points};
    }
    return MODECONN_OK;
}

static int32_t create(modeconn_connectivity **out, const mc_evaluator *evaluator,
                      const modeconn_path *path, const modeconn_dataset *test,
                      const modeconn_options *options)
{
    const mc_option_kind *kind = &mc_kind_connectivity;
    modeconn_context *context = evaluator->context;
    modeconn_connectivity *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(context);
    made->n = evaluator->n;
    made->points = evaluator->points;
    made->n_views = evaluator->n_views;
    made->tolerance = mc_option_f64(options, kind, "tolerance");
    made->minimum_loss = mc_option_f64(options, kind, "minimum_loss");
    made->confidence = mc_option_f64(options, kind, "confidence");
    made->resamples = mc_option_i64(options, kind, "resamples");
    made->seed = mc_seed(context, mc_option_i64(options, kind, "seed"));
    int32_t status = allocate_views(made, evaluator);
    if (status == MODECONN_OK) {
        status = mc_provenance_init_path(&made->origin, context, path, test, &evaluator->plan,
                                         evaluator->batch_size);
    }
    if (status < 0) {
        modeconn_connectivity_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

/* One view alone has nothing counterfactual. */
static int32_t check_views(const modeconn_dataset *test)
{
    int64_t views = 0;
    int32_t status = modeconn_dataset_view_count(test, &views);
    if (status == MODECONN_OK && views < 2) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                       "the dataset %s has no counterfactual view (no cue), so there is no "
                       "attribute to intervene on",
                       test->store->source);
    }
    return status;
}

int32_t modeconn_connectivity_measure(const modeconn_path *path, const modeconn_dataset *train,
                                      const modeconn_dataset *test, const modeconn_options *options,
                                      modeconn_progress_fn progress, void *user,
                                      modeconn_connectivity **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL || test == NULL) {
        return mc_null(path == NULL ? "path" : "test");
    }
    int32_t status = mc_options_check(options, &mc_kind_connectivity);
    if (status == MODECONN_OK) {
        status = check_views(test);
    }
    if (status < 0) {
        return status;
    }
    measuring run = {.path = path};
    status = mc_evaluator_open(
        &run.evaluator, path->points[0], train, test, options, &mc_kind_connectivity,
        mc_option_i64(options, &mc_kind_connectivity, "points"), progress, user);
    if (status < 0) {
        return status;
    }
    status = create(&run.made, &run.evaluator, path, test, options);
    if (status == MODECONN_OK) {
        status = measure(&run);
    }
    mc_evaluator_close(&run.evaluator);
    if (status < 0) {
        modeconn_connectivity_destroy(run.made);
        return status;
    }
    *out = run.made;
    return MODECONN_OK;
}

void modeconn_connectivity_destroy(modeconn_connectivity *connectivity)
{
    if (connectivity == NULL) {
        return;
    }
    modeconn_context *context = connectivity->context;
    mc_free(context, connectivity->t);
    mc_free(context, connectivity->names);
    mc_free(context, connectivity->views);
    mc_free(context, connectivity->values);
    mc_provenance_free(&connectivity->origin);
    mc_free(context, connectivity);
    mc_context_drop(context);
}
