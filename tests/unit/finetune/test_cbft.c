/* SPDX-License-Identifier: BSD-3-Clause
 *
 * CBFT against a twin in double: a one-hidden-layer net whose every gradient is a central
 * difference of the formulas of lib/finetune/cbft.c, followed through whole epochs (shuffles, short
 * batches, draws of t, both schedules, momentum and decay, rates, history). Then what the twin
 * cannot show: batch norm's running statistics, threads, batches that are too small.
 */
#include "finetune/finetune.h"
#include "train/small.h"

enum {
    IN = 4,
    HIDDEN = 5,
    CLASSES = 3,
    N_CLEAN = 6,
    N_CUE = 13,
    BATCH = 4,
    EPOCHS = 3,
    STEPS = 2,
    N_THETA = HIDDEN * IN + HIDDEN + CLASSES * HIDDEN + CLASSES
};

/* ---- the twin ------------------------------------------------------------------------------ */

typedef struct samples {
    double x[N_CUE][IN];
    int32_t y[N_CUE];
    int n;
} samples;

typedef struct config {
    bool joint, clipped, nesterov, reference;
    double kappa, lambda, barrier_weight, momentum, weight_decay;
    int invariance_from, barrier_from;
    int hold; /* epochs; 0: the default */
} config;

typedef struct twin {
    const config *c;
    double origin[N_THETA], theta[N_THETA], velocity[N_THETA];
    samples clean, cue; /* of the step */
    double t;
    bool with_invariance, first;
} twin;

/* theta: W1 [HIDDEN][IN], b1, W2 [CLASSES][HIDDEN], b2, as the model's blocks come. */
static void forward(const double *theta, const double *x, double *z, double *logits)
{
    const double *w1 = theta, *b1 = w1 + HIDDEN * IN, *w2 = b1 + HIDDEN,
                 *b2 = w2 + CLASSES * HIDDEN;
    for (int i = 0; i < HIDDEN; i++) {
        z[i] = b1[i];
        for (int j = 0; j < IN; j++) {
            z[i] += w1[i * IN + j] * x[j];
        }
        z[i] = fmax(z[i], 0);
    }
    for (int k = 0; k < CLASSES; k++) {
        logits[k] = b2[k];
        for (int i = 0; i < HIDDEN; i++) {
            logits[k] += w2[k * HIDDEN + i] * z[i];
        }
    }
}

static double mean_ce(const double *theta, const samples *data)
{
    double sum = 0, z[HIDDEN], logits[CLASSES];
    for (int i = 0; i < data->n; i++) {
        double total = 0;
        forward(theta, data->x[i], z, logits);
        for (int k = 0; k < CLASSES; k++) {
            total += exp(logits[k] - logits[data->y[i]]);
        }
        sum += log(total);
    }
    return sum / data->n;
}

static int class_unit(const double *theta, const samples *data, int k, double *unit)
{
    double z[HIDDEN], logits[CLASSES], length = 0;
    int count = 0;
    memset(unit, 0, HIDDEN * sizeof(*unit));
    for (int i = 0; i < data->n; i++) {
        if (data->y[i] != k) {
            continue;
        }
        forward(theta, data->x[i], z, logits);
        for (int j = 0; j < HIDDEN; j++) {
            unit[j] += z[j];
        }
        count++;
    }
    for (int j = 0; j < HIDDEN && count > 0; j++) {
        unit[j] /= count;
        length += unit[j] * unit[j];
    }
    for (int j = 0; j < HIDDEN; j++) {
        unit[j] /= fmax(sqrt(length), 1e-12);
    }
    return count;
}

static double invariance(const double *theta, const twin *w)
{
    double sum = 0, a[HIDDEN], b[HIDDEN];
    for (int k = 0; k < CLASSES; k++) {
        if (class_unit(theta, &w->clean, k, a) == 0 || class_unit(theta, &w->cue, k, b) == 0) {
            continue;
        }
        for (int j = 0; j < HIDDEN; j++) {
            sum += (a[j] - b[j]) * (a[j] - b[j]);
        }
    }
    return sum;
}

static double barrier(const double *theta, const twin *w)
{
    double mix[N_THETA];
    for (int i = 0; i < N_THETA; i++) {
        mix[i] = w->t * w->origin[i] + (1 - w->t) * theta[i];
    }
    return fabs(w->c->kappa - mean_ce(mix, &w->cue));
}

static double weighted_barrier(const double *theta, const twin *w)
{
    return w->c->barrier_weight * barrier(theta, w);
}

static double rest(const double *theta, const twin *w)
{
    double loss = mean_ce(theta, &w->clean);
    if (w->with_invariance) {
        loss += w->c->lambda / CLASSES * invariance(theta, w);
    }
    return loss;
}

static double sum_of_both(const double *theta, const twin *w)
{
    return rest(theta, w) + weighted_barrier(theta, w);
}

static void twin_update(twin *w, double (*f)(const double *, const twin *), double rate)
{
    double g[N_THETA], at[N_THETA];
    memcpy(at, w->theta, sizeof(at));
    for (int i = 0; i < N_THETA; i++) {
        const double h = 1e-6;
        at[i] = w->theta[i] + h;
        g[i] = f(at, w);
        at[i] = w->theta[i] - h;
        g[i] = (g[i] - f(at, w)) / (2 * h) + w->c->weight_decay * w->theta[i];
        at[i] = w->theta[i];
    }
    for (int i = 0; i < N_THETA; i++) {
        w->velocity[i] = w->first ? g[i] : w->c->momentum * w->velocity[i] + g[i];
        w->theta[i] -=
            rate * (w->c->nesterov ? g[i] + w->c->momentum * w->velocity[i] : w->velocity[i]);
    }
    w->first = false;
}

static void take(const modeconn_dataset *data, int32_t stream, uint64_t seed, int epoch, int step,
                 samples *out)
{
    int64_t order[N_CUE], n = data->n;
    mc_random_permutation(seed, (uint32_t)stream, (uint64_t)epoch, n, order);
    out->n = 0;
    for (int64_t i = step * BATCH; i < n && i < (step + 1) * BATCH; i++) {
        float x[IN];
        OK(modeconn_dataset_read(data, &order[i], 1, x, &out->y[out->n]));
        for (int j = 0; j < IN; j++) {
            out->x[out->n][j] = (double)x[j];
        }
        out->n++;
    }
}

static double twin_rate(const config *c, double rate, int k)
{
    int hold = c->hold > 0 ? c->hold : c->reference ? 2 : 0;
    int position = k > hold * STEPS ? k - hold * STEPS - c->reference : 0;
    return rate / 2 * (1 + cos(acos(-1.0) * position / (EPOCHS * STEPS)));
}

/* Means over the epoch's steps: loss, ce, barrier, invariance. */
static void twin_epoch(twin *w, const modeconn_dataset *clean, const modeconn_dataset *cue,
                       uint64_t seed, double rate, int epoch, double row[4])
{
    bool with_barrier = w->c->barrier_weight > 0 && epoch >= w->c->barrier_from;
    memset(row, 0, 4 * sizeof(*row));
    w->with_invariance = epoch >= w->c->invariance_from;
    for (int step = 0; step < STEPS; step++) {
        int k = epoch * STEPS + step;
        double at = twin_rate(w->c, rate, k), high = 0;
        take(clean, MC_STREAM_SHUFFLE, seed, epoch, step, &w->clean);
        take(cue, MC_STREAM_CBFT_SHUFFLE, seed, epoch, step, &w->cue);
        w->t = mc_cbft_draw_t(seed, &(mc_draw){w->c->clipped, 0.5, 0.5}, k);
        if (with_barrier) {
            high = barrier(w->theta, w);
        }
        if (with_barrier && !w->c->joint) {
            twin_update(w, weighted_barrier, at);
        }
        row[0] += (rest(w->theta, w) + w->c->barrier_weight * high) / STEPS;
        row[1] += mean_ce(w->theta, &w->clean) / STEPS;
        row[2] += high / STEPS;
        row[3] += invariance(w->theta, w) / STEPS;
        twin_update(w, with_barrier && w->c->joint ? sum_of_both : rest, at);
    }
    if (!with_barrier) {
        row[2] = NAN;
    }
    if (w->c->reference && !w->with_invariance) {
        row[3] = NAN;
    }
}

/* ---- against the twin ----------------------------------------------------------------------- */

static const config configs[] = {
    /* joint clipped nesterov reference kappa lambda weight momentum decay invariance barrier hold
     */
    {false, false, false, false, 0.4, 1, 1, 0, 0, 0, 0, 0}, /* the loss is above kappa ... */
    {false, false, false, false, 3.0, 1, 1, 0, 0, 0, 0, 0}, /* ... and below */
    {true, false, false, false, 3.0, 1, 1, 0, 0, 0, 0, 0},
    {true, true, false, false, 0.4, 5, 2, 0.9, 1e-2, 0, 0, 0},
    {false, true, true, false, 3.0, 5, 0.5, 0.9, 1e-2, 1, 1, 0},
    {false, false, false, true, 1.0, 1, 1, 0.9, 1e-4, 1, 0, 0},
    {false, true, false, true, 1.0, 1, 1, 0.9, 1e-4, 1, 0, 0},   /* the paper's code */
    {false, false, false, false, 1.0, 1, 0, 0.9, 1e-4, 1, 0, 0}, /* no barrier term */
    {true, false, false, false, 1.0, 0, 1, 0.9, 1e-4, 0, 2, 0},
    {true, false, false, false, 1.0, 2, 1, 0.9, 1e-4, 0, 0, 1},
};

static modeconn_options *cbft_options(const config *c, double rate)
{
    char text[512];
    snprintf(text, sizeof(text),
             "epochs=%d,batch_size=%d,learning_rate=%g,momentum=%g,nesterov=%d,weight_decay=%g,"
             "kappa=%g,lambda=%g,barrier_weight=%g,schedule=%s,draw=%s,invariance_from=%d,"
             "barrier_from=%d,reference=%d,hold_epochs=%d,seed=17",
             EPOCHS, BATCH, rate, c->momentum, c->nesterov, c->weight_decay, c->kappa, c->lambda,
             c->barrier_weight, c->joint ? "joint" : "alternating",
             c->clipped ? "clipped" : "truncated", c->invariance_from, c->barrier_from,
             c->reference, c->hold > 0 ? c->hold : -1);
    return options_of("finetune", text);
}

static void compare_row(const modeconn_model *tuned, int epoch, const double row[4], double rate)
{
    static const char *const columns[] = {"loss", "loss_ce", "loss_barrier", "loss_invariance"};
    modeconn_history *history = NULL;
    double value;
    OK(modeconn_model_history(tuned, &history));
    for (int i = 0; i < 4; i++) {
        OK(modeconn_history_value(history, columns[i], epoch, &value));
        if (isnan(row[i])) {
            ck_assert(isnan(value));
        } else {
            ck_assert_msg(fabs(value - row[i]) < 1e-5, "%s of epoch %d: %.9g is not %.9g",
                          columns[i], epoch, value, row[i]);
        }
    }
    OK(modeconn_history_value(history, "learning_rate", epoch, &value));
    ck_assert_double_eq_tol(value, rate, 1e-15);
    OK(modeconn_history_value(history, "accuracy", epoch, &value));
    ck_assert(value >= 0 && value <= 1);
    modeconn_history_destroy(history);
}

START_TEST(follows_the_twin)
{
    const config *c = &configs[_i];
    const double rate = 0.1;
    modeconn_context *context = small_context(2);
    modeconn_dataset *clean = small_points(context, N_CLEAN, 1);
    modeconn_dataset *cue = small_points(context, N_CUE, 2);
    modeconn_model *model = small_model(context, "mlp", "5", clean), *tuned = NULL;
    modeconn_options *options = cbft_options(c, rate);
    twin w = {.c = c, .first = true};
    double moved = 0, away = 0;

    ck_assert_int_eq(model->n_theta, N_THETA);
    for (int i = 0; i < N_THETA; i++) {
        w.origin[i] = w.theta[i] = (double)model->theta[i];
    }
    OK(modeconn_finetune(model, clean, cue, options, NULL, NULL, &tuned));
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        double row[4];
        twin_epoch(&w, clean, cue, 17, rate, epoch, row);
        compare_row(tuned, epoch, row, twin_rate(c, rate, (epoch + 1) * STEPS - 1));
    }
    for (int i = 0; i < N_THETA; i++) {
        moved += pow(w.theta[i] - w.origin[i], 2);
        away += pow((double)tuned->theta[i] - w.theta[i], 2);
    }
    ck_assert_double_gt(sqrt(moved), 0.02);
    ck_assert_msg(sqrt(away) < 1e-5 * sqrt(moved), "%g of %g away from the twin", sqrt(away),
                  sqrt(moved));
    modeconn_options_destroy(options);
    modeconn_model_destroy(tuned);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(clean);
    modeconn_context_destroy(context);
}
END_TEST

/* One joint step with kappa far below the loss, far above it, and without L_B: the barrier term
 * pushes with the same gradient in opposite directions, down where the loss is above kappa. */
START_TEST(sign_of_the_barrier)
{
    static const char *const terms[] = {"kappa=0", "kappa=1000", "barrier_weight=0"};
    modeconn_context *context = small_context(1);
    modeconn_dataset *clean = small_points(context, BATCH, 1);
    modeconn_dataset *cue = small_points(context, BATCH, 2);
    modeconn_model *model = small_model(context, "mlp", "5", clean), *tuned[3];
    double moved = 0, loss[3];
    for (int i = 0; i < 3; i++) {
        char text[160];
        snprintf(text, sizeof(text),
                 "epochs=1,batch_size=%d,learning_rate=0.1,momentum=0,weight_decay=0,"
                 "schedule=joint,seed=3,%s",
                 BATCH, terms[i]);
        modeconn_options *options = options_of("finetune", text);
        OK(modeconn_finetune(model, clean, cue, options, NULL, NULL, &tuned[i]));
        modeconn_options_destroy(options);
        modeconn_evaluation *made = NULL;
        OK(modeconn_evaluate(tuned[i], NULL, cue, NULL, NULL, NULL, &made));
        OK(modeconn_evaluation_get(made, "nocue", &loss[i], NULL));
        modeconn_evaluation_destroy(made);
    }
    for (int i = 0; i < N_THETA; i++) {
        double none = (double)tuned[2]->theta[i], down = (double)tuned[0]->theta[i] - none;
        double up = (double)tuned[1]->theta[i] - none;
        ck_assert_double_eq_tol(down, -up, 1e-6);
        moved += fabs(down);
    }
    ck_assert_double_gt(moved, 1e-3);
    ck_assert(loss[0] < loss[2] && loss[2] < loss[1]);
    for (int i = 0; i < 3; i++) {
        modeconn_model_destroy(tuned[i]);
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(clean);
    modeconn_context_destroy(context);
}
END_TEST

/* ---- with batch norm ------------------------------------------------------------------------ */

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *clean, *cue;
    modeconn_model *model;
} setting;

static setting make(int64_t threads, int64_t n_clean, int64_t n_cue)
{
    setting s = {.context = small_context(threads)};
    s.clean = small_shapes(s.context, n_clean, "nocue");
    s.cue = small_shapes(s.context, n_cue, "cue");
    s.model = small_model(s.context, "vgg13", "0.05", s.clean);
    return s;
}

static modeconn_model *tune(const setting *s, const char *text)
{
    modeconn_options *options = options_of("finetune", text);
    modeconn_model *tuned = NULL;
    OK(modeconn_finetune(s->model, s->clean, s->cue, options, NULL, NULL, &tuned));
    modeconn_options_destroy(options);
    return tuned;
}

static void destroy(setting *s)
{
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->cue);
    modeconn_dataset_destroy(s->clean);
    modeconn_context_destroy(s->context);
}

/* One joint step: its passes at theta update the running statistics with the clean, then the cue
 * batch; the pass of the interpolated model does not. */
START_TEST(running_statistics)
{
    setting s = make(2, 20, 20);
    modeconn_model *with =
        tune(&s, "schedule=joint,epochs=1,batch_size=20,kappa=3,invariance_from=0,seed=2");
    modeconn_model *without =
        tune(&s, "schedule=joint,epochs=1,batch_size=20,barrier_weight=0,invariance_from=0,seed=2");
    const modeconn_dataset *data[2] = {s.clean, s.cue};
    const uint32_t streams[2] = {MC_STREAM_SHUFFLE, MC_STREAM_CBFT_SHUFFLE};
    int64_t n = s.model->n_stats, order[20];
    mc_batch_buffer buffer;
    mc_session *session = NULL;
    float *expected = malloc((size_t)n * sizeof(*expected));
    ck_assert_ptr_nonnull(expected);

    ck_assert_int_eq(memcmp(with->statistics, without->statistics, (size_t)n * sizeof(float)), 0);
    ck_assert_int_ne(memcmp(with->theta, without->theta, (size_t)with->n_theta * sizeof(float)), 0);
    memcpy(expected, s.model->statistics, (size_t)n * sizeof(float));
    OK(mc_batch_buffer_init(&buffer, s.clean, 20));
    OK(s.model->ops->session_create(s.model, 20, 1, false, &session));
    OK(s.model->ops->bind(session, s.model->theta, NULL));
    for (int which = 0; which < 2; which++) {
        mc_batch batch = {buffer.x, buffer.y, 20};
        mc_random_permutation(2, streams[which], 0, 20, order);
        OK(modeconn_dataset_read(data[which], order, 20, buffer.x, buffer.y));
        OK(s.model->ops->statistics_ema(session, &batch, expected));
    }
    for (int64_t i = 0; i < n; i++) {
        ck_assert_msg(fabsf(with->statistics[i] - expected[i]) <= 1e-5F * (1 + fabsf(expected[i])),
                      "statistic %lld: %g is not %g", (long long)i, (double)with->statistics[i],
                      (double)expected[i]);
    }
    s.model->ops->session_destroy(session);
    mc_batch_buffer_free(&buffer);
    free(expected);
    modeconn_model_destroy(without);
    modeconn_model_destroy(with);
    destroy(&s);
}
END_TEST

START_TEST(threads)
{
    static const char *const settings[] = {
        "epochs=2,batch_size=16,learning_rate=0.05",
        "epochs=2,batch_size=16,learning_rate=0.05,schedule=joint"};
    setting one = make(1, 40, 60);
    modeconn_model *first = tune(&one, settings[_i]);
    static const int64_t counts[] = {2, 3, 8};
    for (int i = 0; i < 3; i++) {
        setting more = make(counts[i], 40, 60);
        modeconn_model *again = tune(&more, settings[_i]);
        ck_assert(small_equal(first, again));
        modeconn_model_destroy(again);
        destroy(&more);
    }
    modeconn_model_destroy(first);
    destroy(&one);
}
END_TEST

/* A batch of one sample is refused where batch norm sees single values (9x9 ends in 1x1 maps), but
 * only if it is used: the shorter set ends the epoch. */
START_TEST(single_value)
{
    static const int64_t sizes[][2] = {{17, 40}, {16, 9}, {16, 17}, {24, 17}};
    static const char *const culprits[] = {"clean data", "cue data", NULL, "cue data"};
    modeconn_options *options = options_of("finetune", "epochs=1,batch_size=8");
    for (int i = 0; i < 4; i++) {
        setting s = make(1, sizes[i][0], sizes[i][1]);
        modeconn_model *tuned = NULL;
        if (culprits[i] == NULL) {
            OK(modeconn_finetune(s.model, s.clean, s.cue, options, NULL, NULL, &tuned));
        } else {
            FAILS(modeconn_finetune(s.model, s.clean, s.cue, options, NULL, NULL, &tuned),
                  MODECONN_ERROR_UNSUPPORTED, culprits[i]);
        }
        modeconn_model_destroy(tuned);
        destroy(&s);
    }
    modeconn_options_destroy(options);
}
END_TEST

/* The reference's cosine counts the clean data's batches, also where the cue data end the epoch. */
START_TEST(reference_horizon)
{
    setting s = make(1, 24, 16); /* 3 and 2 batches */
    modeconn_model *tuned =
        tune(&s, "epochs=4,batch_size=8,learning_rate=0.01,reference=1,draw=clipped");
    modeconn_history *history = NULL;
    double rate = 0;
    OK(modeconn_model_history(tuned, &history));
    OK(modeconn_history_value(history, "learning_rate", 1, &rate));
    ck_assert_double_eq_tol(rate, 0.01, 1e-15);
    OK(modeconn_history_value(history, "learning_rate", 3, &rate));
    /* Update 7: 3 after the hold of 4, one late, of 4 x 3. */
    ck_assert_double_eq_tol(rate, 0.005 * (1 + cos(acos(-1.0) * 2 / 12)), 1e-15);
    modeconn_history_destroy(history);
    modeconn_model_destroy(tuned);
    destroy(&s);
}
END_TEST

/* Before L_I counts, the reference's statistics see the clean batches alone. */
START_TEST(reference_statistics)
{
    setting s = make(1, 20, 20);
    const char *common = "epochs=1,batch_size=20,barrier_weight=0,momentum=0,seed=2";
    char text[160];
    snprintf(text, sizeof(text), "%s,reference=1", common);
    modeconn_model *reference = tune(&s, text), *ours = tune(&s, common), *naive = NULL;
    snprintf(text, sizeof(text), "%s,method=naive", common);
    naive = tune(&s, text);
    size_t size = (size_t)s.model->n_stats * sizeof(float);
    ck_assert_int_eq(memcmp(reference->statistics, naive->statistics, size), 0);
    ck_assert_int_ne(memcmp(ours->statistics, naive->statistics, size), 0);
    ck_assert(small_equal(reference, naive)); /* without L_B and L_I nothing else is left */
    modeconn_model_destroy(naive);
    modeconn_model_destroy(ours);
    modeconn_model_destroy(reference);
    destroy(&s);
}
END_TEST

/* A clipped law must stay in [0, 1]. */
START_TEST(law_of_t)
{
    setting s = make(1, 20, 20);
    modeconn_model *tuned = NULL;
    modeconn_options *options =
        options_of("finetune", "epochs=1,draw=clipped,draw_deviation=0.5,draw_clip=1.01");
    FAILS(modeconn_finetune(s.model, s.clean, s.cue, options, NULL, NULL, &tuned),
          MODECONN_ERROR_ARGUMENT, "draw_clip 1.01");
    OK(modeconn_options_set_f64(options, "draw_clip", 1.0));
    OK(modeconn_finetune(s.model, s.clean, s.cue, options, NULL, NULL, &tuned));
    modeconn_model_destroy(tuned);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

/* A model that is one linear layer: its representation is the image, which has no gradient, so L_I
 * counts in the loss and moves nothing. */
START_TEST(representation_is_the_image)
{
    static const char *const settings[] = {"lambda=0", "lambda=7"};
    modeconn_context *context = small_context(2);
    modeconn_dataset *clean = small_points(context, N_CLEAN, 1);
    modeconn_dataset *cue = small_points(context, N_CUE, 2);
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL, *tuned[2];
    int32_t node = 0;
    double loss[2], invariance_term[2];
    OK(modeconn_graph_create(context, 1, 2, 2, &graph));
    OK(modeconn_graph_add(graph, "linear", "l", "out_features=3", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 3, &model));
    for (int i = 0; i < 2; i++) {
        char text[120];
        modeconn_history *history = NULL;
        snprintf(text, sizeof(text), "epochs=2,batch_size=4,invariance_from=0,seed=17,%s",
                 settings[i]);
        modeconn_options *options = options_of("finetune", text);
        OK(modeconn_finetune(model, clean, cue, options, NULL, NULL, &tuned[i]));
        OK(modeconn_model_history(tuned[i], &history));
        OK(modeconn_history_value(history, "loss", 1, &loss[i]));
        OK(modeconn_history_value(history, "loss_invariance", 1, &invariance_term[i]));
        modeconn_history_destroy(history);
        modeconn_options_destroy(options);
    }
    ck_assert(small_equal(tuned[0], tuned[1]));
    ck_assert(!small_equal(tuned[0], model));
    ck_assert_double_gt(invariance_term[0], 1e-3);
    ck_assert_double_eq(invariance_term[0], invariance_term[1]);
    ck_assert_double_eq_tol(loss[1] - loss[0], 7.0 / 3 * invariance_term[0], 1e-12);
    for (int i = 0; i < 2; i++) {
        modeconn_model_destroy(tuned[i]);
    }
    modeconn_model_destroy(model);
    modeconn_graph_destroy(graph);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(clean);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, follows_the_twin, 0, (int)(sizeof(configs) / sizeof(configs[0])));
    tcase_add_test(tests, sign_of_the_barrier);
    tcase_add_test(tests, running_statistics);
    tcase_add_loop_test(tests, threads, 0, 2);
    tcase_add_test(tests, single_value);
    tcase_add_test(tests, reference_horizon);
    tcase_add_test(tests, reference_statistics);
    tcase_add_test(tests, law_of_t);
    tcase_add_test(tests, representation_is_the_image);
}

int main(void)
{
    return unit_run("finetune/cbft", add);
}
