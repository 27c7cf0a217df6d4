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
    MC_OPT_I64("epochs", 1, 1000000, "15", "passes over the data"),
    MC_OPT_I64("batch_size", 1, 1048576, "128", "samples per update; a short last batch is kept"),
    MC_OPT_POSITIVE("learning_rate", "0.1", "rate of the first update"),
    MC_OPTIONS_SGD,
    MC_OPT_STR("schedule", "constant|step|cosine", "step", "how the rate changes"),
    MC_OPT_I64("step_epochs", 1, 1000000, "10", "step: epochs between two drops of the rate"),
    MC_OPT_POSITIVE("step_factor", "0.1", "step: factor of each drop"),
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

static int32_t text_failed(const char *list)
{
    return mc_fail(MODECONN_ERROR_ARGUMENT, "views \"%s\": a name twice, or more than %d", list,
                   MC_FIT_VIEWS_MAX);
}

static int32_t add_view(modeconn_fitter *run, const modeconn_dataset *data, const char *name,
                        const char *list)
{
    mc_view view;
    int32_t status = mc_view_find(data, name, &view);
    for (int64_t i = 0; status == MODECONN_OK && i < run->n_views; i++) {
        status = run->views[i]->view == view ? text_failed(list) : MODECONN_OK;
    }
    if (status == MODECONN_OK && run->n_views == MC_FIT_VIEWS_MAX) {
        status = text_failed(list);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_view(data, name, 1.0, &run->views[run->n_views]);
    }
    run->n_views += status == MODECONN_OK;
    return status;
}

static int32_t open_views(modeconn_fitter *run, const modeconn_dataset *data, const char *list)
{
    if (list[0] == '\0') {
        list = data->cue != NULL ? "cue" : "nocue";
    }
    char *copy = mc_strdup(run->context, list);
    if (copy == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = MODECONN_OK;
    for (char *name = copy; name != NULL && status == MODECONN_OK;) {
        char *comma = strchr(name, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        status = add_view(run, data, name, list);
        name = comma != NULL ? comma + 1 : NULL;
    }
    mc_free(run->context, copy);
    if (status == MODECONN_OK && !mc_mul(data->n, run->n_views, &run->n)) {
        status = mc_fail(MODECONN_ERROR_ARGUMENT, "views \"%s\": too many samples", list);
    }
    return status;
}

static int32_t configure(modeconn_fitter *run, const modeconn_options *options)
{
    const mc_option_kind *kind = &mc_kind_path_fit;
    int64_t batch_size = mc_option_i64(options, kind, "batch_size");
    const char *decay = mc_option_str(options, kind, "decay");
    mc_schedule *schedule = &run->schedule;

    run->batch_size = batch_size < run->n ? batch_size : run->n;
    run->per_epoch = (run->n + run->batch_size - 1) / run->batch_size;
    run->epochs = mc_option_i64(options, kind, "epochs");
    run->seed = mc_seed(run->context, mc_option_i64(options, kind, "seed"));
    run->reference = strcmp(mc_option_str(options, kind, "mode"), "reference") == 0;
    run->arc = strcmp(mc_option_str(options, kind, "t_law"), "arc") == 0;
    run->decay_curve =
        strcmp(decay, "curve") == 0 || (strcmp(decay, "auto") == 0 && !run->reference);
    run->weight_decay = mc_option_f64(options, kind, "weight_decay");
    run->sgd.momentum = mc_option_f64(options, kind, "momentum");
    run->sgd.nesterov = mc_option_i64(options, kind, "nesterov") != 0;
    run->sgd.weight_decay = run->decay_curve ? 0 : run->weight_decay;
    schedule->rate = mc_option_f64(options, kind, "learning_rate");
    schedule->factor = mc_option_f64(options, kind, "step_factor");
    schedule->per_epoch = run->per_epoch;
    if (!mc_mul(run->epochs, run->per_epoch, &schedule->total)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epochs: %lld of %lld updates are too many",
                       (long long)run->epochs, (long long)run->per_epoch);
    }
    if (!mc_mul(mc_option_i64(options, kind, "step_epochs"), run->per_epoch, &schedule->every)) {
        schedule->every = INT64_MAX; /* later than any update */
    }
    int32_t status = mc_schedule_find(mc_option_str(options, kind, "schedule"), schedule);
    if (status == MODECONN_OK) {
        status =
            mc_check_batch(run->path->points[0], run->n - (run->per_epoch - 1) * run->batch_size,
                           run->n, run->batch_size);
    }
    return status;
}

static int32_t allocate(modeconn_fitter *run)
{
    const modeconn_model *model = run->path->points[0];
    int64_t n = model->n_theta, points = run->path->n_points;
    run->theta = mc_alloc(run->context, n, sizeof(float));
    run->grad = mc_alloc(run->context, n, sizeof(float));
    run->scaled = mc_alloc(run->context, n, sizeof(float));
    run->order = mc_alloc(run->context, run->n, sizeof(int64_t));
    run->loss = mc_alloc(run->context, run->batch_size, sizeof(double));
    run->correct = mc_alloc(run->context, run->batch_size, 1);
    run->velocity = mc_calloc(run->context, points, sizeof(*run->velocity));
    if (run->theta == NULL || run->grad == NULL || run->scaled == NULL || run->order == NULL ||
        run->loss == NULL || run->correct == NULL || run->velocity == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 1; i < points - 1; i++) {
        run->velocity[i] = mc_calloc(run->context, n, sizeof(float));
        if (run->velocity[i] == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
    }
    int32_t status = mc_history_create(run->context, mc_history_sgd, MC_HISTORY_SGD, &run->history);
    if (status == MODECONN_OK) {
        status = mc_batch_buffer_init(&run->buffer, run->views[0], run->batch_size);
    }
    if (status == MODECONN_OK) {
        status = model->ops->session_create(model, run->batch_size, 1, true, &run->session);
    }
    return status;
}

void modeconn_fitter_destroy(modeconn_fitter *fitter)
{
    if (fitter == NULL) {
        return;
    }
    modeconn_context *context = fitter->context;
    if (fitter->session != NULL) {
        fitter->path->points[0]->ops->session_destroy(fitter->session);
    }
    for (int64_t i = 0; fitter->velocity != NULL && i < fitter->path->n_points; i++) {
        mc_free(context, fitter->velocity[i]);
    }
    for (int64_t i = 0; i < fitter->n_views; i++) {
        modeconn_dataset_destroy(fitter->views[i]);
    }
    mc_batch_buffer_free(&fitter->buffer);
    modeconn_history_destroy(fitter->history);
    modeconn_path_destroy(fitter->path);
    mc_free(context, fitter->options);
    mc_free(context, fitter->velocity);
    mc_free(context, fitter->theta);
    mc_free(context, fitter->grad);
    mc_free(context, fitter->scaled);
    mc_free(context, fitter->order);
    mc_free(context, fitter->loss);
    mc_free(context, fitter->correct);
    mc_free(context, fitter);
    mc_context_drop(context);
}

/* Sample s of the union is sample s mod N of view s / N. */
static int32_t gather(modeconn_fitter *run, mc_batch *batch)
{
    const mc_store *store = run->views[0]->store;
    int64_t pixels = store->channels * store->height * store->width;
    int64_t begin = run->step * run->batch_size, each = run->views[0]->n;
    int64_t left = run->n - begin;
    int32_t status = MODECONN_OK;
    *batch =
        (mc_batch){run->buffer.x, run->buffer.y, left < run->batch_size ? left : run->batch_size};
    if (run->n_views == 1) {
        return mc_dataset_gather_training(run->views[0], run->order + begin, batch->n, run->seed,
                                          run->epoch, run->buffer.x, run->buffer.y);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < batch->n; i++) {
        int64_t sample = run->order[begin + i] % each;
        status = mc_dataset_gather_training(run->views[run->order[begin + i] / each], &sample, 1,
                                            run->seed, run->epoch, run->buffer.x + i * pixels,
                                            run->buffer.y + i);
    }
    return status;
}

static int32_t draw_t(const modeconn_fitter *run, int64_t update, double *t)
{
    *t = mc_random_f64(run->seed, MC_STREAM_PATH_T, (uint64_t)update, 0);
    if (run->arc) {
        double *gram = mc_path_gram(run->path);
        if (gram == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        *t = mc_path_arc(run->path, gram, *t);
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

/* One update; the position moves only if it succeeds. */
static int32_t fit_step(modeconn_fitter *run)
{
    const modeconn_model *model = run->path->points[0];
    int64_t number = run->epoch * run->per_epoch + run->step;
    double t = 0, started = mc_seconds();
    mc_path_update update = {.sgd = run->sgd,
                             .rate = mc_schedule_rate(&run->schedule, number),
                             .curve_decay = run->decay_curve ? run->weight_decay : 0,
                             .reference = run->reference,
                             .first = number == 0};
    mc_batch batch;
    int32_t status = draw_t(run, number, &t);
    if (status == MODECONN_OK) {
        status = gather(run, &batch);
    }
    if (status < 0) {
        return status;
    }
    mc_path_at(run->path, t, run->theta, NULL);
    status = model->ops->bind(run->session, run->theta, NULL);
    if (status == MODECONN_OK) {
        status = model->ops->gradient(run->session, &batch, 1.0, run->loss, run->correct, run->grad,
                                      NULL);
    }
    if (status < 0) {
        return mc_fail_prefix(status, "path fit, epoch %lld, step %lld, t %g, learning rate %g",
                              (long long)run->epoch, (long long)run->step, t, update.rate);
    }
    mc_path_step(run->path, &update, t, run->theta, run->grad, run->scaled, run->velocity);
    for (int64_t i = 0; i < batch.n; i++) {
        run->loss_sum += run->loss[i];
        run->hits += run->correct[i];
    }
    run->step++;
    run->seconds += mc_seconds() - started;
    return MODECONN_OK;
}

/* Records a whole epoch and moves to the next; where that fails the position stays at its end. */
static int32_t finish_epoch(modeconn_fitter *run)
{
    double row[MC_HISTORY_SGD];
    for (int64_t i = 1; i < run->path->n_points - 1; i++) {
        const modeconn_model *point = run->path->points[i];
        int32_t status = mc_model_check_finite(point, point->theta, NULL);
        if (status < 0) {
            return mc_fail_prefix(status, "path fit, control point %lld, after epoch %lld",
                                  (long long)i, (long long)run->epoch);
        }
    }
    row[MC_HISTORY_LOSS] = run->loss_sum / (double)run->n;
    row[MC_HISTORY_ACCURACY] = (double)run->hits / (double)run->n;
    row[MC_HISTORY_RATE] = mc_schedule_rate(&run->schedule, (run->epoch + 1) * run->per_epoch - 1);
    row[MC_HISTORY_SPEED] = run->seconds > 0 ? (double)run->n / run->seconds : NAN;
    int32_t status = mc_history_append(run->history, row);
    if (status < 0) {
        return status;
    }
    run->epoch++;
    run->step = 0;
    return MODECONN_OK;
}

/* The rest of the running epoch. */
static int32_t run_epoch(modeconn_fitter *run, mc_progress *progress)
{
    if (run->step == 0) {
        run->loss_sum = run->seconds = 0;
        run->hits = 0;
    }
    mc_random_permutation(run->seed, MC_STREAM_PATH_SHUFFLE, (uint64_t)run->epoch, run->n,
                          run->order);
    for (int64_t step = run->step; step < run->per_epoch; step++) {
        int64_t done = (step + 1) * run->batch_size;
        double seen = (double)(done < run->n ? done : run->n);
        double rate = mc_schedule_rate(&run->schedule, run->epoch * run->per_epoch + step);
        int32_t status = fit_step(run);
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
    modeconn_fitter *run = mc_calloc(path->context, 1, sizeof(*run));
    if (run == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    run->context = mc_context_take(path->context);
    mc_ref_take(&path->ref);
    run->path = path;
    status = open_views(run, dataset, mc_option_str(options, &mc_kind_path_fit, "views"));
    if (status == MODECONN_OK) {
        status = configure(run, options);
    }
    if (status == MODECONN_OK) {
        status =
            mc_options_text(run->context, options, &mc_kind_path_fit, run->seed, &run->options);
    }
    if (status == MODECONN_OK) {
        status = allocate(run);
    }
    if (status < 0) {
        modeconn_fitter_destroy(run);
        return status;
    }
    *out = run;
    return MODECONN_OK;
}

/* The path gets a copy of the record, which later epochs do not change. */
static int32_t publish_history(modeconn_fitter *run)
{
    modeconn_history *history = NULL;
    int32_t status = mc_history_clone(run->history, &history);
    if (status == MODECONN_OK) {
        mc_path_set_history(run->path, history);
    }
    return status;
}

int32_t modeconn_fitter_run(modeconn_fitter *fitter, int64_t epochs,
                            modeconn_progress_fn progress_fn, void *user)
{
    mc_progress progress;
    int32_t status = MODECONN_OK;
    if (fitter == NULL) {
        return mc_null("fitter");
    }
    if (epochs < -1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epochs is %lld, at least -1 is needed",
                       (long long)epochs);
    }
    int64_t left = fitter->epochs - fitter->epoch;
    int64_t target = fitter->epoch + (epochs == -1 || epochs > left ? left : epochs);
    mc_progress_init(&progress, progress_fn, user,
                     (target - fitter->epoch) * fitter->per_epoch - fitter->step);
    if (fitter->epoch < target && fitter->step == fitter->per_epoch) {
        status = finish_epoch(fitter);
    }
    while (status == MODECONN_OK && fitter->epoch < target) {
        status = run_epoch(fitter, &progress);
    }
    int32_t published = publish_history(fitter);
    return status < 0 ? status : published;
}

int32_t modeconn_fitter_epochs(const modeconn_fitter *fitter, int64_t *done, int64_t *total)
{
    if (fitter == NULL) {
        return mc_null("fitter");
    }
    if (done != NULL) {
        *done = fitter->epoch;
    }
    if (total != NULL) {
        *total = fitter->epochs;
    }
    return MODECONN_OK;
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

void mc_path_set_history(modeconn_path *path, modeconn_history *history)
{
    modeconn_history_destroy(path->history);
    path->history = history;
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
