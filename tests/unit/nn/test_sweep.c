/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random small graphs against the double twin, on every instruction set of this machine, and the
 * same bits for 1, 2, 3 and 8 threads: outputs, losses, all gradients, running and pooled
 * statistics. `make sweep` runs many more:
 *
 *   MODECONN_SWEEP_SEED     first seed (default 1)
 *   MODECONN_SWEEP_CASES    graphs in all (default 60)
 *   MODECONN_SWEEP_VERBOSE  1: a line a graph, with its distances as shares of the limits
 *
 * Limits are relative L2: 2e-6 for what a forward pass gives, 4e-6 for the gradient of each tensor;
 * for logits that happen to be small, of the size that such sums usually have (usual_size()).
 * Behind rectifiers and norms rounding is amplified by as much as the graph is ill conditioned
 * there (batch norm over two values has hardly a gradient left). How much that is the twin itself
 * says: parameters and images are moved by a relative 1e-6 at random, twice, and eight times the
 * more that this does to a result is allowed on top of the limit. A rectifier or maximum that hangs
 * on rounding decides about whole terms of a gradient: such images are drawn anew.
 */
#include "isas.h"
#include "sweep.h"

enum { THREADS = 4, ATTEMPTS = 12, NUDGES = 2, TENSOR_NAME = 64 };

static const int threads_of[THREADS] = {1, 2, 3, 8};
static const double forward_limit = 2e-6, gradient_limit = 4e-6;
static const double ulp = 0x1p-23;
static const double nudge = 1e-6, amplified = 8.0, kink = 2e-5, logit_most = 2.0;

static int64_t setting(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    int64_t value = otherwise;
    ck_assert_msg(text == NULL || mc_parse_i64(text, &value), "%s: %s is no number", name, text);
    return value;
}

/* ---- what the engine gives ------------------------------------------------------------------- */

/* All results of a case, one after the other in memory, so that memcmp() compares them. */
typedef struct results {
    float *all;
    size_t bytes;
    float *logits[2], *representation[2]; /* by mc_norm_mode */
    float *grad, *running, *pooled;
    double *loss;
} results;

static results results_of(const modeconn_model *model, int64_t n)
{
    int64_t logits = n * model->classes, width = n * model->representation_width;
    int64_t floats = 2 * (logits + width) + model->n_theta + 2 * model->n_stats;
    results r = {.bytes = (size_t)(2 * n + floats) * sizeof(float)};
    r.all = twin_alloc(2 * n + floats, sizeof(float));
    r.loss = (double *)(void *)r.all;
    r.logits[0] = r.all + 2 * n;
    r.logits[1] = r.logits[0] + logits;
    r.representation[0] = r.logits[1] + logits;
    r.representation[1] = r.representation[0] + width;
    r.grad = r.representation[1] + width;
    r.running = r.grad + model->n_theta;
    r.pooled = r.running + model->n_stats;
    return r;
}

/* Other images, more of them than the case has: leftovers must not matter. */
static void soil(const twin *t, mc_session *session, int64_t max)
{
    const modeconn_model *model = t->model;
    float *x = twin_alloc(max * t->pixels, sizeof(float));
    float *grad = twin_alloc(model->n_theta, sizeof(float));
    int32_t *y = twin_alloc(max, sizeof(int32_t));
    mc_batch batch = {x, y, max};
    for (int64_t i = 0; i < max * t->pixels; i++) {
        x[i] = 100.0f * (float)twin_random(99, i % 4099);
    }
    OK(model->ops->gradient(session, &batch, 1.0, NULL, NULL, grad, NULL));
    free(x);
    free(grad);
    free(y);
}

static results run_engine(const twin *t, modeconn_model *model, int64_t extra)
{
    const mc_model_ops *ops = model->ops;
    mc_batch batch = {t->x, t->y, t->n};
    results r = results_of(model, t->n);
    mc_session *session;

    OK(ops->session_create(model, t->n + extra, 1, true, &session));
    OK(ops->bind(session, t->model->theta, t->model->statistics));
    soil(t, session, t->n + extra);
    for (int mode = 0; mode < 2; mode++) {
        OK(ops->outputs(session, mode == 0 ? MC_NORM_BATCH : MC_NORM_RUNNING, &batch,
                        r.logits[mode], r.representation[mode]));
    }
    OK(ops->statistics_begin(session));
    OK(ops->statistics_add(session, &batch));
    OK(ops->statistics_finish(session, r.pooled));
    memcpy(r.running, t->model->statistics, (size_t)model->n_stats * sizeof(float));
    OK(ops->gradient(session, &batch, 1.0, r.loss, NULL, r.grad, r.running));
    ops->session_destroy(session);
    return r;
}

/* ---- what the twin gives --------------------------------------------------------------------- */

/* Losses [n] and cotangents of their mean from logits. */
static void softmax(const twin *t, const double *logits, double *loss, double *d)
{
    int64_t classes = t->model->classes;
    for (int64_t i = 0; i < t->n; i++, logits += classes, d += classes) {
        double total = 0.0, top = logits[0];
        for (int64_t j = 1; j < classes; j++) {
            top = logits[j] > top ? logits[j] : top;
        }
        for (int64_t j = 0; j < classes; j++) {
            total += exp(logits[j] - top);
        }
        loss[i] = log(total) - (logits[t->y[i]] - top);
        for (int64_t j = 0; j < classes; j++) {
            d[j] = (exp(logits[j] - top) / total - (j == t->y[i] ? 1.0 : 0.0)) / (double)t->n;
        }
    }
}

/* The same results in double, in the same order as in `results`. */
typedef struct exact {
    double *logits[2], *representation[2], *grad, *running, *pooled, *loss;
    double *all;
} exact;

static exact exact_of(const modeconn_model *model, int64_t n)
{
    int64_t logits = n * model->classes, width = n * model->representation_width;
    exact e;
    e.all =
        twin_alloc(n + 2 * (logits + width) + model->n_theta + 2 * model->n_stats, sizeof(double));
    e.loss = e.all;
    e.logits[0] = e.loss + n;
    e.logits[1] = e.logits[0] + logits;
    e.representation[0] = e.logits[1] + logits;
    e.representation[1] = e.representation[0] + width;
    e.grad = e.representation[1] + width;
    e.running = e.grad + model->n_theta;
    e.pooled = e.running + model->n_stats;
    return e;
}

static void copy_outputs(const mc_plain *plain, const modeconn_model *model, int mode, exact *e)
{
    memcpy(e->logits[mode], mc_plain_logits(plain),
           (size_t)(plain->n * model->classes) * sizeof(double));
    memcpy(e->representation[mode], mc_plain_representation(plain),
           (size_t)(plain->n * model->representation_width) * sizeof(double));
}

/* Statistics of the batch, unbiased, and the running ones after it. */
static void statistics(const mc_plain *plain, const double *before, exact *e)
{
    for (int32_t i = 1; i < plain->graph->n_nodes; i++) {
        const mc_node *node = &plain->graph->nodes[i];
        double count = (double)(plain->n * node->out.h * node->out.w), m = node->momentum;
        for (int64_t c = 0; node->n_stats > 0 && c < node->out.c; c++) {
            int64_t mean = node->stats[0].offset + c, variance = node->stats[1].offset + c;
            e->pooled[mean] = plain->moment[i][c];
            e->pooled[variance] = plain->moment[i][node->out.c + c] * count / (count - 1.0);
            e->running[mean] = (1.0 - m) * before[mean] + m * e->pooled[mean];
            e->running[variance] = (1.0 - m) * before[variance] + m * e->pooled[variance];
        }
    }
}

static exact run_twin(const twin *t, mc_plain *plain, const double *theta, const double *x)
{
    exact e = exact_of(t->model, t->n);
    double *d = twin_alloc(t->n * t->model->classes, sizeof(double));
    mc_plain_forward(plain, theta, t->stats64, MC_NORM_RUNNING, x);
    copy_outputs(plain, t->model, 1, &e);
    mc_plain_forward(plain, theta, t->stats64, MC_NORM_BATCH, x);
    copy_outputs(plain, t->model, 0, &e);
    statistics(plain, t->stats64, &e);
    softmax(t, e.logits[0], e.loss, d);
    mc_plain_backward(plain, d, NULL, e.grad);
    free(d);
    return e;
}

/* What every layer gives, moved by an ulp: a norm behind it may blow up those of single
 * values though it takes no notice of parameters that move all alike. */
static void round_output(void *seed, int32_t node, double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        values[i] *= 1.0 + ulp * twin_random(*(uint64_t *)seed + (uint64_t)node, i);
    }
}

/* As run_twin(), everything that goes in moved by a relative 1e-6, and outputs by rounding. */
static exact run_nudged(const twin *t, mc_plain *plain, uint64_t seed)
{
    int64_t values = t->n * t->pixels;
    double *theta = twin_alloc(t->model->n_theta, sizeof(double));
    double *x = twin_alloc(values, sizeof(double));
    for (int64_t i = 0; i < t->model->n_theta; i++) {
        theta[i] = t->theta64[i] * (1.0 + nudge * twin_random(seed, i));
    }
    for (int64_t i = 0; i < values; i++) {
        x[i] = t->x64[i] * (1.0 + nudge * twin_random(seed + 1, i));
    }
    uint64_t rounds = 1000 * seed;
    plain->visit = round_output;
    plain->visit_user = &rounds;
    exact e = run_twin(t, plain, theta, x);
    plain->visit = NULL;
    free(theta);
    free(x);
    return e;
}

/* ---- kinks ----------------------------------------------------------------------------------- */

static double size_of(const double *values, int64_t n)
{
    double square = 0.0;
    for (int64_t i = 0; i < n; i++) {
        square += values[i] * values[i];
    }
    return sqrt(square);
}

/* Whether the largest value of some window leads by less than `least`, but for equal zeros, where
 * every engine takes the first. */
static bool window_is_close(const mc_window *p, const double *plane, double least)
{
    for (int64_t out = 0; out < p->oh * p->ow; out++) {
        int64_t y = out / p->ow * p->stride - p->padding, x = out % p->ow * p->stride - p->padding;
        double best = -HUGE_VAL, second = -HUGE_VAL;
        for (int64_t v = y < 0 ? 0 : y; v < y + p->kernel && v < p->h; v++) {
            for (int64_t u = x < 0 ? 0 : x; u < x + p->kernel && u < p->w; u++) {
                double value = plane[v * p->w + u];
                second = value > best ? best : value > second ? value : second;
                best = value > best ? value : best;
            }
        }
        if (best - second < least && !(best == 0.0 && second == 0.0)) {
            return true;
        }
    }
    return false;
}

static bool node_hangs_on_rounding(const mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    int64_t plane = node->in.h * node->in.w, n = plain->n * mc_shape_size(node->in);
    double least = kink * size_of(x, n) / sqrt((double)n);
    bool close = false;
    if (strcmp(node->type->name, "relu") == 0) {
        for (int64_t i = 0; i < n && !close; i++) {
            close = fabs(x[i]) < least && x[i] != 0.0;
        }
    } else if (strcmp(node->type->name, "max_pool") == 0) {
        for (int64_t i = 0; i < plain->n * node->in.c && !close; i++) {
            close = window_is_close(&node->window, x + i * plane, least);
        }
    }
    return close;
}

/* A loss that is sure of a label has a cotangent of 1 less a number near 1, so rounding of large
 * logits is amplified in every gradient: smaller images, where that makes logits smaller. */
static void calm(twin *t, mc_plain *plain)
{
    const double *logits = mc_plain_logits(plain);
    double most = 0.0;
    for (int64_t i = 0; i < t->n * t->model->classes; i++) {
        most = fabs(logits[i]) > most ? fabs(logits[i]) : most;
    }
    for (int64_t i = 0; most > logit_most && i < t->n * t->pixels; i++) {
        t->x[i] *= (float)(logit_most / most);
        t->x64[i] = (double)t->x[i];
    }
    mc_plain_forward(plain, t->theta64, t->stats64, MC_NORM_BATCH, t->x64);
}

/* Images of attempt `a`, until no node hangs on rounding; false if all attempts have one. */
static bool draw_images(twin *t, mc_plain *plain, uint64_t seed)
{
    for (uint64_t a = 0; a < ATTEMPTS; a++) {
        bool close = false;
        for (int64_t i = 0; i < t->n * t->pixels; i++) {
            t->x[i] = (float)twin_random(seed + 1000 * a, i);
            t->x64[i] = (double)t->x[i];
        }
        mc_plain_forward(plain, t->theta64, t->stats64, MC_NORM_BATCH, t->x64);
        calm(t, plain);
        for (int32_t i = 1; i < plain->graph->n_nodes && !close; i++) {
            close = node_hangs_on_rounding(plain, &plain->graph->nodes[i]);
        }
        if (!close) {
            return true;
        }
    }
    return false;
}

/* ---- comparison ------------------------------------------------------------------------------ */

typedef struct judge {
    const char *text, *isa;
    bool exact;      /* nothing is allowed on top of the limits */
    double floor;    /* size below which a gradient is rounding of larger ones */
    double worst[2]; /* largest share of a limit: forward, gradient */
    char where[2][TENSOR_NAME];
} judge;

static double most_moved(const double *right, const double *const nudged[NUDGES], int64_t n)
{
    double most = 0.0;
    for (int k = 0; k < NUDGES; k++) {
        double moved = 0.0;
        for (int64_t i = 0; i < n; i++) {
            moved += (nudged[k][i] - right[i]) * (nudged[k][i] - right[i]);
        }
        most = moved > most ? moved : most;
    }
    return sqrt(most);
}

static void compare(judge *j, int kind, const char *name, const float *value, const double *right,
                    const double *const nudged[NUDGES], int64_t n)
{
    double apart = 0.0, size = size_of(right, n);
    double limit = (kind == 0 ? forward_limit : gradient_limit) * size + j->floor;
    for (int64_t i = 0; i < n; i++) {
        apart += ((double)value[i] - right[i]) * ((double)value[i] - right[i]);
    }
    if (!j->exact) {
        limit += amplified * most_moved(right, nudged, n);
    }
    /* Not a number must not pass. */
    ck_assert_msg(sqrt(apart) <= limit, "%s | %s: %s is off by %.3g of %.3g, %.3g allowed", j->text,
                  j->isa, name, sqrt(apart), size, limit);
    if (limit > 0.0 && sqrt(apart) / limit > j->worst[kind]) {
        j->worst[kind] = sqrt(apart) / limit;
        snprintf(j->where[kind], TENSOR_NAME, "%s", name);
    }
}

/* n values that stand at `right` in the twin's results, and at the same place in the others'. */
static void compare_at(judge *j, int kind, const char *name, const float *value, const exact *e,
                       const double *right, int64_t n)
{
    const double *nudged[NUDGES];
    for (int k = 0; k < NUDGES; k++) {
        nudged[k] = e[1 + k].all + (right - e->all);
    }
    compare(j, kind, name, value, right, nudged, n);
}

static void compare_statistics(judge *j, const modeconn_model *model, const float *value,
                               const exact *e, const double *right)
{
    for (int64_t k = 0; k < model->n_blocks_stats; k++) {
        const mc_block *b = &model->blocks[model->n_blocks_theta + k];
        /* A mean, the first of each pair of blocks, is known to a share of the values' spread. */
        double variance = 0.0;
        for (int64_t i = 0; k % 2 == 0 && i < b->size; i++) {
            variance += e->pooled[b[1].offset + i];
        }
        j->floor = forward_limit * sqrt(variance);
        compare_at(j, 0, b->name, value + b->offset, e, right + b->offset, b->size);
    }
}

/* Per-sample losses, to the size of their logits, whose differences they are. A single loss may
 * happen not to move when everything is nudged: it may be off by what a typical one moves. */
static void compare_losses(const judge *j, int64_t classes, int64_t n, const double *value,
                           const exact *e)
{
    const double *all[NUDGES] = {e[1].loss, e[2].loss};
    double typical = most_moved(e->loss, all, n) / sqrt((double)n);
    for (int64_t i = 0; i < n; i++) {
        const double right = e->loss[i], *nudged[NUDGES] = {&e[1].loss[i], &e[2].loss[i]};
        double limit = forward_limit * (1.0 + size_of(e->logits[0] + i * classes, classes));
        limit += j->exact ? 0.0 : amplified * fmax(typical, most_moved(&right, nudged, 1));

        ck_assert_msg(fabs(value[i] - right) <= limit, "%s | %s: loss %d is %.9g, exactly %.9g",
                      j->text, j->isa, (int)i, value[i], right);
    }
}

/* What rounding leaves of a gradient that is zero in exact numbers, as that of a bias before batch
 * norm: some units in the last place of the terms of its sum, all in one direction; more of them
 * for a bias and for a norm's parameters, whose terms are differences themselves. Below 4e-6 of
 * the gradient unless its terms cancel. `plain` has just
 * run backward. */
static double rounding_of(const mc_plain *plain, int64_t offset, bool strict)
{
    int32_t i = plain->graph->n_nodes - 1;
    while (plain->graph->nodes[i].n_params == 0 ||
           plain->graph->nodes[i].params[0].offset > offset) {
        i--;
    }
    const mc_node *node = &plain->graph->nodes[i];
    bool vector = node->n_stats > 0 || node->params[0].offset != offset;
    int64_t inputs = plain->n * mc_shape_size(node->in);
    double rows = (double)(plain->n * node->out.h * node->out.w);
    double x = size_of(plain->out[node->inputs[0]], inputs) / sqrt((double)inputs);
    double dy = size_of(plain->d_out[i], plain->n * mc_shape_size(node->out));
    return ulp * sqrt(rows) * dy * (vector ? 64.0 : strict ? 2.0 * x : 8.0 * x);
}

/* Size that the logits would have, were the terms of a linear layer's sums independent. A few
 * outputs can happen to be smaller; rounding of what they are made of is not. */
static double usual_size(const mc_plain *plain, const double *theta)
{
    const mc_node *node = &plain->graph->nodes[plain->graph->n_nodes - 1];
    int64_t d = mc_shape_size(node->in);
    const double *x = plain->out[node->inputs[0]];
    double square = 0.0;
    if (strcmp(node->type->name, "linear") == 0) {
        for (int64_t i = 0; i < plain->n * d * node->out.c; i++) {
            int64_t image = i / (d * node->out.c), weight = i % (d * node->out.c);
            double term = theta[node->params[0].offset + weight] * x[image * d + weight % d];
            square += term * term;
        }
    }
    return sqrt(square);
}

/* What a forward pass gives, in one mode. */
static void compare_outputs(judge *j, const twin *t, const results *r, const exact *e,
                            const mc_plain *plain, int mode, const char *logits,
                            const char *representation)
{
    int64_t n = t->n * t->model->classes, width = t->n * t->model->representation_width;
    double usual = j->exact ? usual_size(plain, t->theta64) : 0.0;
    j->floor = forward_limit * fmax(0.0, usual - size_of(e->logits[mode], n));
    compare_at(j, 0, logits, r->logits[mode], e, e->logits[mode], n);
    j->floor = 0.0;
    compare_at(j, 0, representation, r->representation[mode], e, e->representation[mode], width);
}

/* The twin's results e[0], and e[1], e[2] of what was moved. */
static void compare_all(judge *j, const modeconn_model *model, const twin *t, const results *r,
                        const exact e[1 + NUDGES], const mc_plain *plain, bool gradients)
{
    const int64_t n = t->n;
    compare_outputs(j, t, r, e, plain, 0, "logits", "outputs");
    compare_outputs(j, t, r, e, plain, 1, "logits on running statistics",
                    "outputs on running statistics");
    compare_statistics(j, model, r->running, e, e->running);
    compare_statistics(j, model, r->pooled, e, e->pooled);
    compare_losses(j, model->classes, n, r->loss, e);
    for (int64_t k = 0; k < model->n_blocks_theta && gradients; k++) {
        const mc_block *b = &model->blocks[k];
        j->floor = rounding_of(plain, b->offset, j->exact);
        compare_at(j, 1, b->name, r->grad + b->offset, e, e->grad + b->offset, b->size);
    }
}

/* ---- the sweep ------------------------------------------------------------------------------- */

static modeconn_context *contexts[ISAS][THREADS], *of_twins;

static void make_contexts(void)
{
    for (int i = 0; i < ISAS; i++) {
        for (int k = 0; k < THREADS; k++) {
            contexts[i][k] = isa_context(i, threads_of[k]);
        }
    }
    of_twins = context_of("threads=1");
    ck_assert_ptr_nonnull(of_twins);
}

static void free_contexts(void)
{
    for (int i = 0; i < ISAS; i++) {
        for (int k = 0; k < THREADS; k++) {
            modeconn_context_destroy(contexts[i][k]);
        }
    }
    modeconn_context_destroy(of_twins);
}

/* One instruction set: one thread against the twin, the others against one thread. */
static void check_isa(const twin *t, int isa, uint64_t seed, uint64_t index, int64_t extra,
                      const exact *e, const mc_plain *plain, bool gradients, judge *j)
{
    results one = {.all = NULL};
    for (int k = 0; k < THREADS; k++) {
        sweep s;
        modeconn_model *model = sweep_model(contexts[isa][k], seed, index, &s);
        results r = run_engine(t, model, extra);
        if (k == 0) {
            compare_all(j, model, t, &r, e, plain, gradients);
            one = r;
        } else {
            ck_assert_msg(memcmp(one.all, r.all, r.bytes) == 0, "%s | %s: %d threads: other bits",
                          j->text, j->isa, threads_of[k]);
            free(r.all);
        }
        modeconn_model_destroy(model);
    }
    free(one.all);
}

/* Returns whether gradients were compared. */
static bool check_case(uint64_t seed, uint64_t index, bool verbose)
{
    static const int64_t extras[] = {0, 0, 1, 7, 16};
    sweep s;
    twin t;
    mc_plain *plain;
    modeconn_model *model = sweep_model(of_twins, seed, index, &s);
    int64_t extra = SWEEP_PICK(&s, extras);
    twin_init(&t, model, s.n, seed + index);
    OK(mc_plain_create(model->graph, s.n, &plain));
    bool gradients = draw_images(&t, plain, seed + index);
    exact e[1 + NUDGES];
    for (int k = 1; k <= NUDGES; k++) {
        e[k] = s.exact ? exact_of(model, s.n) : run_nudged(&t, plain, 70 + 2 * (uint64_t)k);
    }
    e[0] = run_twin(&t, plain, t.theta64, t.x64);

    for (int isa = 0; isa < ISAS; isa++) {
        judge j = {.text = s.text, .isa = isas[isa], .exact = s.exact};
        if (contexts[isa][0] == NULL) {
            continue;
        }
        check_isa(&t, isa, seed, index, extra, e, plain, gradients, &j);
        if (verbose) {
            printf("%.2f %.2f  %s %s | %s | %s\n", j.worst[0], j.worst[1], j.where[0], j.where[1],
                   isas[isa], s.text);
        }
    }
    for (int k = 0; k <= NUDGES; k++) {
        free(e[k].all);
    }
    mc_plain_free(plain);
    twin_free(&t);
    return gradients;
}

START_TEST(test_sweep)
{
    uint64_t seed = (uint64_t)setting("MODECONN_SWEEP_SEED", 1);
    int64_t cases = setting("MODECONN_SWEEP_CASES", 60), compared = 0;
    bool verbose = setting("MODECONN_SWEEP_VERBOSE", 0) != 0;

    make_contexts();
    for (int64_t i = 0; i < cases; i++) {
        compared += check_case(seed, (uint64_t)i, verbose);
    }
    free_contexts();
    printf("seed %llu: %d graphs, %d of them with gradients\n", (unsigned long long)seed,
           (int)cases, (int)compared);
    ck_assert_int_ge(10 * compared, 8 * cases);
}
END_TEST

START_TEST(test_512_channels)
{
    make_contexts();
    ck_assert(check_case(1, (uint64_t)(SWEEP_WIDE + _i), false));
    free_contexts();
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_sweep);
    tcase_add_loop_test(tests, test_512_channels, 0, SWEEP_WIDES);
    tcase_set_timeout(tests, 0); /* as long as the environment asks for; meson has a limit */
}

int main(void)
{
    return unit_run("nn sweep", add);
}
