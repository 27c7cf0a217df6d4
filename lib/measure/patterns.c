/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Agreement of ReLU activation patterns along a path (similarity.h of the API; Lubana et al. 2023,
 * appendix F.3). At each t three models run on the same batches: both ends, whose patterns are kept
 * for the batch as bytes [n][units], layer after layer, and gamma(t), which is counted against
 * them. Statistics are treated alike at all three. Counts are integers, so neither batches' order
 * nor threads can move a figure.
 */
#include "measure/measure.h"
#include <math.h>
#include <string.h>

static const mc_option_spec patterns_options[] = {
    MC_OPT_I64("points", 2, 100001, "11", "points of the path, both ends included"),
    MC_OPT_STR("view", NULL, "",
               "view to look at, with the cue on all samples; empty = as the test set is seen"),
    MC_OPTIONS_STATISTICS("reset"),
    MC_OPT_I64("batch_size", 1, 1048576, "100", "samples per batch"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "of the order of the statistics set (ema); -1 = the context's"),
};
const mc_option_kind mc_kind_patterns = MC_OPTION_KIND("patterns", patterns_options);

/* The models at a t: the ends, and the one that is counted against them. */
enum { FIRST, SECOND, BETWEEN, MODELS };

typedef struct looking {
    modeconn_patterns *made;
    const modeconn_path *path;
    const modeconn_model *model;
    modeconn_dataset *data;
    int64_t batch_size;
    mc_statistics_plan plan;
    mc_session *session[MODELS];
    mc_norm_mode mode[MODELS];
    float *theta[MODELS]; /* a session borrows what it is bound to */
    float *mixed;
    uint8_t *kept[2];         /* [batch][units] of each layer, patterns of the ends */
    uint32_t *active[MODELS]; /* [units] samples at which a unit is active */
    int64_t *equal[2];        /* [layers] pairs that agree */
    int64_t *whole[2];        /* [layers] samples whose patterns are equal */
    mc_batch_buffer buffer;
    mc_progress progress;
    int64_t before; /* steps before the first point */
    /* Of the pass that runs. */
    int which;
    int64_t samples, next;  /* of the batch; layer that comes next */
    const char *not_finite; /* layer that has values that are no numbers */
} looking;

/* ---- counting ------------------------------------------------------------------------------ */

static void keep_pattern(looking *run, int64_t layer, const float *values)
{
    const mc_layer_list *layers = &run->made->layers;
    int64_t begin = layers->offset[layer], units = layers->offset[layer + 1] - begin;
    uint8_t *kept = run->kept[run->which] + begin * run->batch_size;
    uint32_t *active = run->active[run->which] + begin;
    for (int64_t i = 0; i < run->samples; i++) {
        for (int64_t u = 0; u < units; u++) {
            kept[i * units + u] = values[i * units + u] > 0.0F;
            active[u] += kept[i * units + u];
        }
    }
}

static void count_pattern(looking *run, int64_t layer, const float *values)
{
    const mc_layer_list *layers = &run->made->layers;
    int64_t begin = layers->offset[layer], units = layers->offset[layer + 1] - begin;
    uint32_t *active = run->active[BETWEEN] + begin;
    for (int64_t i = 0; i < run->samples; i++) {
        const uint8_t *first = run->kept[FIRST] + begin * run->batch_size + i * units;
        const uint8_t *second = run->kept[SECOND] + begin * run->batch_size + i * units;
        int64_t equal[2] = {0, 0};
        for (int64_t u = 0; u < units; u++) {
            uint8_t on = values[i * units + u] > 0.0F;
            active[u] += on;
            equal[0] += on == first[u];
            equal[1] += on == second[u];
        }
        for (int end = 0; end < 2; end++) {
            run->equal[end][layer] += equal[end];
            run->whole[end][layer] += equal[end] == units;
        }
    }
}

static void visit(void *user, int32_t node, const float *values, int64_t rows, int64_t channels)
{
    looking *run = user;
    int64_t layer = mc_layer_list_find(&run->made->layers, node, run->next);
    if (layer < 0) {
        return;
    }
    run->next = layer + 1;
    if (!mc_all_finite(values, rows * channels)) {
        run->not_finite = run->made->layers.name[layer];
    }
    if (run->which == BETWEEN) {
        count_pattern(run, layer, values);
    } else {
        keep_pattern(run, layer, values);
    }
}

/* Mean over the units of a_u b_u + (1 - a_u)(1 - b_u). */
static double chance(const uint32_t *a, const uint32_t *b, int64_t units, int64_t n)
{
    double sum = 0.0;
    for (int64_t u = 0; u < units; u++) {
        double p = (double)a[u] / (double)n, q = (double)b[u] / (double)n;
        sum += p * q + (1.0 - p) * (1.0 - q);
    }
    return sum / (double)units;
}

static void finish_layer(const looking *run, int64_t layer, int64_t point)
{
    const modeconn_patterns *made = run->made;
    int64_t begin = made->layers.offset[layer], units = made->layers.offset[layer + 1] - begin;
    mc_pattern_figures *found = &made->figures[layer * made->points + point];
    double pairs = (double)made->n * (double)units, active = 0.0;
    for (int64_t u = 0; u < units; u++) {
        active += (double)run->active[BETWEEN][begin + u];
    }
    found->active = active / pairs;
    for (int end = 0; end < 2; end++) {
        double agreement = (double)run->equal[end][layer] / pairs;
        double expected =
            chance(run->active[end] + begin, run->active[BETWEEN] + begin, units, made->n);
        found->agreement[end] = agreement;
        found->chance[end] = expected;
        found->kappa[end] = expected < 1.0 ? (agreement - expected) / (1.0 - expected) : NAN;
        found->identical[end] = (double)run->whole[end][layer] / (double)made->n;
    }
}

/* ---- passes -------------------------------------------------------------------------------- */

static int32_t tick(void *user, int64_t samples)
{
    looking *run = user;
    int64_t points = run->made->points, done = run->progress.step + 1 - run->before;
    int64_t per_point = (run->progress.total - run->before) / points;
    (void)samples;
    return mc_progress_step(&run->progress, done > 0 ? done / per_point : 0, NAN, NAN, NAN);
}

/* Binds the session of `which` at t, its statistics treated. */
static int32_t bind_at(looking *run, int which, double t)
{
    mc_path_at(run->path, t, run->theta[which], run->mixed);
    return mc_statistics_apply(&run->plan, run->model, run->session[which], run->theta[which],
                               run->model->statistics, run->mixed, tick, run, &run->mode[which]);
}

static int32_t look_at_batch(looking *run, int64_t done)
{
    int64_t left = run->data->n - done;
    run->samples = left < run->batch_size ? left : run->batch_size;
    mc_batch batch = {run->buffer.x, run->buffer.y, run->samples};
    int32_t status =
        mc_dataset_gather(run->data, NULL, done, run->samples, run->buffer.x, run->buffer.y);
    for (int which = 0; which < MODELS && status == MODECONN_OK; which++) {
        run->which = which;
        run->next = 0;
        status =
            run->model->ops->activations(run->session[which], run->mode[which], &batch, visit, run);
        if (status == MODECONN_OK && run->not_finite != NULL) {
            static const char *const models[] = {"first end", "second end", "model between"};
            status = mc_fail(MODECONN_ERROR_NUMERIC, "%s: outputs of %s are not finite",
                             models[which], run->not_finite);
        }
        if (status == MODECONN_OK) {
            status = tick(run, 0);
        }
    }
    return status;
}

static int32_t look_at_point(looking *run, int64_t point)
{
    modeconn_patterns *made = run->made;
    size_t units = (size_t)made->layers.offset[made->layers.n];
    size_t layers = (size_t)made->layers.n;
    made->t[point] = (double)point / (double)(made->points - 1);
    for (int which = 0; which < MODELS; which++) {
        memset(run->active[which], 0, units * sizeof(*run->active[which]));
    }
    for (int end = 0; end < 2; end++) {
        memset(run->equal[end], 0, layers * sizeof(*run->equal[end]));
        memset(run->whole[end], 0, layers * sizeof(*run->whole[end]));
    }
    int32_t status = bind_at(run, BETWEEN, made->t[point]);
    for (int64_t done = 0; status == MODECONN_OK && done < made->n; done += run->batch_size) {
        status = look_at_batch(run, done);
    }
    for (int64_t layer = 0; status == MODECONN_OK && layer < made->layers.n; layer++) {
        finish_layer(run, layer, point);
    }
    return status;
}

static int32_t look(looking *run)
{
    int32_t status = bind_at(run, FIRST, 0.0);
    if (status == MODECONN_OK) {
        status = bind_at(run, SECOND, 1.0);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < run->made->points; i++) {
        status = look_at_point(run, i);
    }
    return status;
}

/* ---- memory -------------------------------------------------------------------------------- */

static int32_t allocate(looking *run)
{
    const modeconn_patterns *made = run->made;
    modeconn_context *context = made->context;
    int64_t units = made->layers.offset[made->layers.n], kept = 0;
    if (!mc_mul(units, run->batch_size, &kept)) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: %lld units of %lld samples",
                       (long long)units, (long long)run->batch_size);
    }
    run->mixed = mc_alloc(context, run->model->n_stats, sizeof(float));
    bool whole = run->mixed != NULL;
    for (int end = 0; end < 2; end++) {
        run->kept[end] = mc_alloc(context, kept, sizeof(uint8_t));
        run->equal[end] = mc_alloc(context, made->layers.n, sizeof(int64_t));
        run->whole[end] = mc_alloc(context, made->layers.n, sizeof(int64_t));
        whole =
            whole && run->kept[end] != NULL && run->equal[end] != NULL && run->whole[end] != NULL;
    }
    for (int which = 0; which < MODELS; which++) {
        run->theta[which] = mc_alloc(context, run->model->n_theta, sizeof(float));
        run->active[which] = mc_alloc(context, units, sizeof(uint32_t));
        whole = whole && run->theta[which] != NULL && run->active[which] != NULL;
    }
    return whole ? MODECONN_OK : MODECONN_ERROR_MEMORY;
}

static int32_t open_sessions(looking *run)
{
    int64_t max = mc_statistics_batch_max(&run->plan);
    max = max > run->batch_size ? max : run->batch_size;
    int32_t status = mc_batch_buffer_init(&run->buffer, run->data, run->batch_size);
    for (int which = 0; which < MODELS && status == MODECONN_OK; which++) {
        status = run->model->ops->session_create(run->model, max, 1, false, &run->session[which]);
    }
    return status;
}

static void release(looking *run)
{
    modeconn_context *context = run->model->context;
    for (int which = 0; which < MODELS; which++) {
        if (run->session[which] != NULL) {
            run->model->ops->session_destroy(run->session[which]);
        }
        mc_free(context, run->active[which]);
        mc_free(context, run->theta[which]);
    }
    for (int end = 0; end < 2; end++) {
        mc_free(context, run->kept[end]);
        mc_free(context, run->equal[end]);
        mc_free(context, run->whole[end]);
    }
    mc_free(context, run->mixed);
    if (run->buffer.context != NULL) {
        mc_batch_buffer_free(&run->buffer);
    }
    mc_statistics_plan_free(&run->plan);
    modeconn_dataset_destroy(run->data);
}

/* Batches of the whole call: statistics of both ends and of each point, three models a point. */
static int64_t count_steps(looking *run, int64_t points)
{
    int64_t statistics = 0;
    for (int64_t done = 0; run->plan.data != NULL && done < run->plan.n; statistics++) {
        done += mc_pass_batch(run->plan.n, run->plan.batch_size, done);
    }
    int64_t batches = (run->data->n + run->batch_size - 1) / run->batch_size;
    run->before = 2 * statistics;
    return run->before + points * (statistics + MODELS * batches);
}

/* ---- the handle ---------------------------------------------------------------------------- */

static int32_t create(modeconn_patterns **out, const looking *run, const modeconn_options *options)
{
    modeconn_context *context = run->model->context;
    const modeconn_path *path = run->path;
    modeconn_patterns *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(context);
    made->n = run->data->n;
    made->points = mc_option_i64(options, &mc_kind_patterns, "points");
    const char *view = mc_view_name(run->data, run->data->view);
    made->view = mc_names_copy(context, &view, 1);
    made->t = mc_calloc(context, made->points, sizeof(double));
    int32_t status = made->t == NULL || made->view == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    if (status == MODECONN_OK) {
        status = mc_layer_list_open(&made->layers, run->model, MC_LAYERS_RELU);
    }
    if (status == MODECONN_OK) {
        made->figures = mc_calloc(context, made->layers.n * made->points, sizeof(*made->figures));
        status = made->figures == NULL
                     ? MODECONN_ERROR_MEMORY
                     : mc_provenance_init_path(&made->origin, context, path, run->data, &run->plan,
                                               run->batch_size);
    }
    if (status < 0) {
        modeconn_patterns_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

static int32_t prepare(looking *run, const modeconn_dataset *train, const modeconn_dataset *test,
                       const modeconn_options *options)
{
    const mc_option_kind *kind = &mc_kind_patterns;
    int32_t status = mc_check_fit(run->model, test);
    if (status == MODECONN_OK) {
        status = mc_layer_view(test, mc_option_str(options, kind, "view"), &run->data);
    }
    if (status < 0) {
        return status;
    }
    run->batch_size = mc_option_i64(options, kind, "batch_size");
    if (run->batch_size > run->data->n) {
        run->batch_size = run->data->n;
    }
    status = mc_statistics_plan_init(&run->plan, run->model, train, options, kind);
    if (status == MODECONN_OK) {
        status = mc_statistics_check(&run->plan, run->model, run->data->n, run->batch_size);
    }
    if (status == MODECONN_OK) {
        status = create(&run->made, run, options);
    }
    if (status == MODECONN_OK) {
        status = allocate(run);
    }
    if (status == MODECONN_OK) {
        status = open_sessions(run);
    }
    return status;
}

int32_t modeconn_patterns_measure(const modeconn_path *path, const modeconn_dataset *train,
                                  const modeconn_dataset *test, const modeconn_options *options,
                                  modeconn_progress_fn progress, void *user,
                                  modeconn_patterns **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL || test == NULL) {
        return mc_null(path == NULL ? "path" : "test");
    }
    int32_t status = mc_options_check(options, &mc_kind_patterns);
    if (status < 0) {
        return status;
    }
    looking run = {.path = path, .model = path->points[0]};
    status = prepare(&run, train, test, options);
    if (status == MODECONN_OK) {
        mc_progress_init(&run.progress, progress, user, count_steps(&run, run.made->points));
        status = look(&run);
    }
    release(&run);
    if (status < 0) {
        modeconn_patterns_destroy(run.made);
        return status;
    }
    *out = run.made;
    return MODECONN_OK;
}

void modeconn_patterns_destroy(modeconn_patterns *patterns)
{
    if (patterns == NULL) {
        return;
    }
    modeconn_context *context = patterns->context;
    if (patterns->layers.context != NULL) {
        mc_layer_list_free(&patterns->layers);
    }
    mc_free(context, patterns->view);
    mc_free(context, patterns->t);
    mc_free(context, patterns->figures);
    if (patterns->origin.context != NULL) {
        mc_provenance_free(&patterns->origin);
    }
    mc_free(context, patterns);
    mc_context_drop(context);
}
