/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fitting a path: stochastic gradient descent on E_t L(gamma(t)) over the control points between
 * the ends. With one t a batch and g = dL/dtheta at gamma(t), control point i has the gradient
 * w_i(t) g (mode curve); the paper's code (mode reference) takes g itself, at the rate scaled by
 * w_i(t): 2t(1-t) for its midpoint. The ends are never written.
 */
#include "path/path.h"
#include <math.h>
#include <string.h>

static const mc_option_spec fit_specs[] = {
    MC_OPTIONS_RUN("15", "128", "10"),
    MC_OPT_STR("mode", "curve|reference", "curve",
               "gradient of the curve objective, or the steps of the paper's code"),
    MC_OPT_STR("decay", "auto|curve|points", "auto",
               "what weight decay shrinks: gamma(t), or the control points; auto = by the mode"),
    MC_OPT_STR("t_law", "uniform|arc", "uniform", "law of t: uniform in t, or in arc length"),
    MC_OPT_STR("views", NULL, "",
               "views to fit on, with the cue on all samples, e.g. \"cue,nocue\"; empty = cue, or "
               "nocue without a cue"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of t and of the samples' order; -1 = the context's"),
};
const mc_option_kind mc_kind_path_fit = MC_OPTION_KIND("path_fit", fit_specs);

/* ---- creation ----------------------------------------------------------------------------- */

static int32_t open_views(modeconn_fitter *fitter, const modeconn_dataset *data, const char *list)
{
    if (list[0] == '\0') {
        list = data->cue != NULL ? "cue" : "nocue";
    }
    int32_t status = mc_views_open(data, list, &fitter->n_views, &fitter->views);
    if (status == MODECONN_OK && !mc_mul(data->n, fitter->n_views, &fitter->run.n)) {
        status = mc_fail(MODECONN_ERROR_ARGUMENT, "views \"%s\": too many samples", list);
    }
    return status;
}

static int32_t configure(modeconn_fitter *fitter, const modeconn_options *options)
{
    const mc_option_kind *kind = &mc_kind_path_fit;
    const char *decay = mc_option_str(options, kind, "decay");
    int32_t status = mc_run_init(&fitter->run, fitter->views[0], options, kind);
    fitter->reference = strcmp(mc_option_str(options, kind, "mode"), "reference") == 0;
    fitter->arc = strcmp(mc_option_str(options, kind, "t_law"), "arc") == 0;
    if (strcmp(decay, "curve") == 0 || (strcmp(decay, "auto") == 0 && !fitter->reference)) {
        fitter->curve_decay = fitter->run.sgd.weight_decay;
        fitter->run.sgd.weight_decay = 0;
    }
    return status;
}

/* What the fit was told, on a line as modeconn_options_parse() takes it. */
static char *settings_line(const modeconn_fitter *fitter)
{
    char *line = mc_strdup(fitter->run.context, fitter->run.options);
    for (char *at = line; at != NULL && *at != '\0'; at++) {
        if (*at == '\n') {
            *at = at[1] != '\0' ? ',' : '\0';
        }
    }
    return line;
}

static int32_t tell(modeconn_fitter *fitter)
{
    const modeconn_context *context = fitter->run.context;
    char *line = settings_line(fitter);
    int32_t status = line != NULL ? MODECONN_OK : MODECONN_ERROR_MEMORY;
    mc_text text;
    mc_text_init(&text, context);
    if (line != NULL) {
        mc_text_add(&text, "{\"settings\": ");
        mc_text_add_json(&text, line);
        mc_text_add(&text, ", \"data\": [");
    }
    for (int64_t v = 0; v < fitter->n_views && status == MODECONN_OK; v++) {
        char *view = NULL;
        status = mc_dataset_describe(fitter->views[v], context, &view);
        if (status == MODECONN_OK) {
            mc_text_add(&text, "%s%s", v > 0 ? ", " : "", view);
        }
        mc_free(context, view);
    }
    mc_text_add(&text, "]}");
    mc_free(context, line);
    fitter->told = mc_text_take(&text);
    return status == MODECONN_OK && fitter->told == NULL ? MODECONN_ERROR_MEMORY : status;
}

static int32_t allocate(modeconn_fitter *fitter)
{
    const modeconn_context *context = fitter->run.context;
    int64_t n = fitter->run.model->n_theta, points = fitter->path->n_points;
    fitter->theta = mc_alloc(context, n, sizeof(float));
    fitter->scaled = mc_alloc(context, n, sizeof(float));
    bool all = fitter->theta != NULL && fitter->scaled != NULL;
    for (int64_t i = 1; i < points - 1 && all; i++) {
        fitter->velocity[i] = mc_calloc(context, n, sizeof(float));
        fitter->start[i] = mc_alloc(context, n, sizeof(float));
        all = fitter->velocity[i] != NULL && fitter->start[i] != NULL;
    }
    return all ? MODECONN_OK : MODECONN_ERROR_MEMORY;
}

void modeconn_fitter_destroy(modeconn_fitter *fitter)
{
    if (fitter == NULL) {
        return;
    }
    modeconn_context *context = fitter->run.context;
    mc_run_free(&fitter->run);
    for (int64_t i = 0; i < fitter->path->n_points; i++) {
        mc_free(context, fitter->velocity[i]);
        mc_free(context, fitter->start[i]);
    }
    mc_views_close(fitter->n_views, fitter->views);
    modeconn_path_destroy(fitter->path);
    mc_free(context, fitter->theta);
    mc_free(context, fitter->scaled);
    mc_free(context, fitter->told);
    mc_free(context, fitter);
    mc_context_drop(context);
}

/* ---- updates ------------------------------------------------------------------------------ */

/* Sample s of the union is sample s mod N of view s / N. */
static int32_t gather(modeconn_fitter *fitter, const int64_t *samples, int64_t n)
{
    const mc_run *run = &fitter->run;
    const mc_store *store = fitter->views[0]->store;
    int64_t pixels = store->channels * store->height * store->width;
    int64_t each = fitter->views[0]->n;
    int32_t status = MODECONN_OK;
    if (fitter->n_views == 1) {
        return mc_dataset_gather_training(fitter->views[0], samples, n, run->seed, run->epoch,
                                          run->buffer.x, run->buffer.y);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < n; i++) {
        int64_t sample = samples[i] % each;
        status =
            mc_dataset_gather_training(fitter->views[samples[i] / each], &sample, 1, run->seed,
                                       run->epoch, run->buffer.x + i * pixels, run->buffer.y + i);
    }
    return status;
}

static int32_t draw_t(const modeconn_fitter *fitter, double *t)
{
    const mc_run *run = &fitter->run;
    *t = mc_random_f64(run->seed, MC_STREAM_PATH_T, (uint64_t)mc_run_update(run), 0);
    if (fitter->arc) {
        double *gram = mc_path_gram(fitter->path);
        if (gram == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        *t = mc_path_arc(fitter->path, gram, *t);
        mc_free(run->context, gram);
    }
    return MODECONN_OK;
}

void mc_path_step(modeconn_path *path, const mc_path_update *update, double t, const float *theta,
                  const float *grad, float *scaled, float *const *velocity)
{
    int64_t n = path->points[0]->n_theta;
    const float *const parts[2] = {grad, theta};
    double w[MC_PATH_POINTS_MAX];
    path->family->weights(t, path->n_points, w);
    for (int64_t i = 1; i < path->n_points - 1; i++) {
        double factor = update->reference ? 1 : w[i];
        const double mix[2] = {factor, factor * update->curve_decay};
        mc_combine(path->context, 2, mix, parts, n, scaled);
        mc_sgd_step(path->context, &update->sgd,
                    update->reference ? update->rate * w[i] : update->rate, update->first, n,
                    path->points[i]->theta, velocity[i], scaled);
        mc_model_changed(path->points[i]);
    }
}

static int32_t fit_step(void *owner, const int64_t *samples, const mc_batch *batch)
{
    modeconn_fitter *fitter = owner;
    mc_run *run = &fitter->run;
    double t = 0;
    mc_path_update update = {.sgd = run->sgd,
                             .rate = mc_run_rate(run),
                             .curve_decay = fitter->curve_decay,
                             .reference = fitter->reference,
                             .first = mc_run_update(run) == 0};
    int32_t status = draw_t(fitter, &t);
    if (status == MODECONN_OK) {
        status = gather(fitter, samples, batch->n);
    }
    if (status < 0) {
        return status;
    }
    mc_path_at(fitter->path, t, fitter->theta, NULL);
    status = run->model->ops->bind(run->session, fitter->theta, NULL);
    if (status == MODECONN_OK) {
        status = run->model->ops->gradient(run->session, batch, 1.0, run->loss, run->correct,
                                           run->grad, NULL);
    }
    if (status < 0) {
        return mc_fail_prefix(status, "at t = %g", t);
    }
    mc_path_step(fitter->path, &update, t, fitter->theta, run->grad, fitter->scaled,
                 fitter->velocity);
    return MODECONN_OK;
}

static int32_t check_points(void *owner)
{
    const modeconn_fitter *fitter = owner;
    int32_t status = MODECONN_OK;
    for (int64_t i = 1; status == MODECONN_OK && i < fitter->path->n_points - 1; i++) {
        const modeconn_model *point = fitter->path->points[i];
        status = mc_model_check_finite(point, point->theta, NULL);
        if (status < 0) {
            status = mc_fail_prefix(status, "control point %lld", (long long)i);
        }
    }
    return status;
}

static void keep_start(void *owner)
{
    const modeconn_fitter *fitter = owner;
    size_t bytes = (size_t)fitter->run.model->n_theta * sizeof(float);
    for (int64_t i = 1; i < fitter->path->n_points - 1; i++) {
        memcpy(fitter->start[i], fitter->path->points[i]->theta, bytes);
    }
}

static void restore_start(void *owner)
{
    const modeconn_fitter *fitter = owner;
    size_t bytes = (size_t)fitter->run.model->n_theta * sizeof(float);
    for (int64_t i = 1; i < fitter->path->n_points - 1; i++) {
        memcpy(fitter->path->points[i]->theta, fitter->start[i], bytes);
        memset(fitter->velocity[i], 0, bytes);
        mc_model_changed(fitter->path->points[i]);
    }
}

static const mc_run_job fitting = {.name = "path fit",
                                   .shuffle = MC_STREAM_PATH_SHUFFLE,
                                   .step = fit_step,
                                   .check = check_points,
                                   .keep = keep_start,
                                   .restore = restore_start};

/* ---- public calls ------------------------------------------------------------------------- */

static int32_t check_arguments(const modeconn_path *path, const modeconn_dataset *dataset,
                               const modeconn_options *options)
{
    if (path == NULL || dataset == NULL) {
        return mc_null(path == NULL ? "path" : "dataset");
    }
    int32_t status = mc_options_check(options, &mc_kind_path_fit);
    if (status == MODECONN_OK && path->n_points < 3) {
        status = mc_fail(MODECONN_ERROR_UNSUPPORTED,
                         "a path of family %s with %lld control points has none to fit",
                         path->family->name, (long long)path->n_points);
    }
    return status == MODECONN_OK ? mc_check_fit(path->points[0], dataset) : status;
}

int32_t modeconn_fitter_create(modeconn_path *path, const modeconn_dataset *dataset,
                               const modeconn_options *options, modeconn_fitter **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    int32_t status = check_arguments(path, dataset, options);
    if (status < 0) {
        return status;
    }
    modeconn_fitter *fitter = mc_calloc(path->context, 1, sizeof(*fitter));
    if (fitter == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_take(&path->ref);
    fitter->path = path;
    fitter->run = (mc_run){.job = &fitting,
                           .owner = fitter,
                           .context = mc_context_take(path->context),
                           .model = path->points[0]};
    status = open_views(fitter, dataset, mc_option_str(options, &mc_kind_path_fit, "views"));
    if (status == MODECONN_OK) {
        status = configure(fitter, options);
    }
    if (status == MODECONN_OK) {
        status = tell(fitter);
    }
    if (status == MODECONN_OK) {
        status = allocate(fitter);
    }
    if (status < 0) {
        modeconn_fitter_destroy(fitter);
        return status;
    }
    *out = fitter;
    return MODECONN_OK;
}

int32_t modeconn_fitter_run(modeconn_fitter *fitter, int64_t epochs, modeconn_progress_fn progress,
                            void *user)
{
    modeconn_history *record = NULL;
    if (fitter == NULL) {
        return mc_null("fitter");
    }
    char *fit = mc_strdup(fitter->run.context, fitter->told);
    if (fit == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = mc_run_epochs(&fitter->run, epochs, progress, user, &record);
    if (record != NULL) {
        mc_path_set_record(fitter->path, record, fit);
    } else {
        mc_free(fitter->run.context, fit);
    }
    return status;
}

int32_t modeconn_fitter_epochs(const modeconn_fitter *fitter, int64_t *done, int64_t *total)
{
    return fitter == NULL ? mc_null("fitter") : mc_run_told(&fitter->run, done, total);
}

int32_t modeconn_path_fit(modeconn_path *path, const modeconn_dataset *dataset,
                          const modeconn_options *options, modeconn_progress_fn progress,
                          void *user)
{
    modeconn_fitter *fitter = NULL;
    int32_t status = modeconn_fitter_create(path, dataset, options, &fitter);
    if (status == MODECONN_OK) {
        status = modeconn_fitter_run(fitter, -1, progress, user);
    }
    modeconn_fitter_destroy(fitter);
    return status;
}

void mc_path_set_record(modeconn_path *path, modeconn_history *history, char *fit)
{
    modeconn_history_destroy(path->history);
    mc_free(path->context, path->fit);
    path->history = history;
    path->fit = fit;
}

int32_t modeconn_path_history(const modeconn_path *path, modeconn_history **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL) {
        return mc_null("path");
    }
    if (path->history == NULL) {
        return mc_history_create(path->context, mc_history_sgd, MC_HISTORY_SGD, out);
    }
    *out = mc_history_take(path->history);
    return MODECONN_OK;
}
