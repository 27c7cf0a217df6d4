/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The graph engine behind the interface of nn.h: a session holds bound parameters, one or two
 * planned passes and, while statistics are pooled, their running sums.
 */
#include "nn/graph.h"
#include <math.h>
#include <string.h>

struct mc_session {
    const modeconn_model *model;
    modeconn_context *context;
    const modeconn_graph *graph;
    int64_t max;
    int passes;
    bool gradients;
    mc_pass pass[2];
    float *statistics;    /* [n_stats] */
    float *cotangents[2]; /* [max][classes + representation] */
    double *pooled;       /* per statistic: mean, or sum of squared deviations */
    double pooled_images; /* images seen; a channel's count is that times h * w */
};

static int64_t smallest_batch(const modeconn_model *model, const char **layer)
{
    for (int32_t i = 0; i < model->graph->n_nodes; i++) {
        const mc_node *node = &model->graph->nodes[i];
        if (node->n_stats > 0 && node->out.h * node->out.w == 1) {
            *layer = node->name;
            return 2;
        }
    }
    *layer = NULL;
    return 1;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void session_destroy(mc_session *session)
{
    if (session == NULL) {
        return;
    }
    modeconn_context *context = session->context;
    for (int k = 0; k < 2; k++) {
        mc_pass_free(&session->pass[k]);
        mc_free(context, session->cotangents[k]);
    }
    mc_free(context, session->statistics);
    mc_free(context, session->pooled);
    mc_free(context, session);
}

static int32_t allocate(mc_session *s)
{
    int64_t width = s->model->classes + s->model->representation_width;
    s->statistics = mc_alloc(s->context, s->graph->n_stats, sizeof(float));
    s->pooled = mc_alloc(s->context, s->graph->n_stats, sizeof(double));
    if (s->statistics == NULL || s->pooled == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int k = 0; k < s->passes; k++) {
        int32_t status = mc_pass_create(s->context, s->graph, s->max, s->gradients, &s->pass[k]);
        if (status < 0) {
            return status;
        }
        s->pass[k].statistics = s->statistics;
        if (s->gradients) {
            s->cotangents[k] = mc_alloc(s->context, s->max * width, sizeof(float));
            if (s->cotangents[k] == NULL) {
                return MODECONN_ERROR_MEMORY;
            }
        }
    }
    return MODECONN_OK;
}

/* Far above what a pass takes for each value of its layers' outputs: the value, its gradient, tiles
 * of 36 or 81 numbers for 16. Beyond this sum, sizes could leave int64 before any memory is asked
 * for. */
enum { FLOATS_A_VALUE = 1024 };

static int32_t check_size(const modeconn_graph *graph, int64_t max_batch)
{
    int64_t values = 0, most = INT64_MAX / FLOATS_A_VALUE / (int64_t)sizeof(double);
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        values += mc_shape_size(graph->nodes[i].out);
    }
    return max_batch <= most / values
               ? MODECONN_OK
               : mc_fail(MODECONN_ERROR_MEMORY,
                         "out of memory: a batch of %lld samples, of %lld values in all layers",
                         (long long)max_batch, (long long)values);
}

static int32_t session_create(const modeconn_model *model, int64_t max_batch, int passes,
                              bool gradients, mc_session **out)
{
    *out = NULL;
    int32_t status = check_size(model->graph, max_batch);
    if (status < 0) {
        return status;
    }
    mc_session *session = mc_calloc(model->context, 1, sizeof *session);
    if (session == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    session->model = model;
    session->context = model->context;
    session->graph = model->graph;
    session->max = max_batch;
    session->passes = passes;
    session->gradients = gradients;
    status = allocate(session);
    if (status < 0) {
        session_destroy(session);
        return status;
    }
    *out = session;
    return MODECONN_OK;
}

static int32_t bind(mc_session *session, const float *theta, const float *statistics)
{
    for (int k = 0; k < session->passes; k++) {
        session->pass[k].theta = theta;
        mc_pass_rebound(&session->pass[k]);
    }
    if (statistics != NULL) {
        memcpy(session->statistics, statistics,
               (size_t)session->graph->n_stats * sizeof *statistics);
    }
    return MODECONN_OK;
}

/* ---- forward --------------------------------------------------------------------------------- */

static int32_t check_batch(const mc_session *session, mc_norm_mode mode, int64_t n)
{
    const char *layer;
    if (mode == MC_NORM_BATCH && n < smallest_batch(session->model, &layer)) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                       "batch norm %s sees a single value per channel in a batch of %lld sample: "
                       "it has no variance in training mode",
                       layer, (long long)n);
    }
    return MODECONN_OK;
}

static const float *logits_of(const mc_pass *pass)
{
    return pass->slots[pass->graph->output].out;
}

static const float *representation_of(const mc_pass *pass)
{
    return pass->slots[mc_representation_node(pass->graph)].out;
}

/* Losses and hits of the pass that has just run; returns the mean loss. */
static double losses_of(const mc_pass *pass, int64_t classes, const int32_t *y, double *loss,
                        uint8_t *correct)
{
    double sum = 0.0;
    for (int64_t i = 0; i < pass->n; i++) {
        int64_t best;
        double value = mc_cross_entropy(logits_of(pass) + i * classes, classes, y[i], &best);
        sum += value;
        if (loss != NULL) {
            loss[i] = value;
        }
        if (correct != NULL) {
            correct[i] = best == y[i];
        }
    }
    return sum / (double)pass->n;
}

static int32_t evaluate(mc_session *session, mc_norm_mode mode, const mc_batch *batch, double *loss,
                        uint8_t *correct)
{
    int32_t status = check_batch(session, mode, batch->n);
    if (status == MODECONN_OK) {
        mc_pass_forward(&session->pass[0], batch->x, batch->n, mode);
        losses_of(&session->pass[0], session->model->classes, batch->y, loss, correct);
    }
    return status;
}

/* The representation in PyTorch's flattening: [c][h][w] of a node that we hold as [h][w][c]. */
static void copy_flat(const float *from, mc_shape shape, int64_t n, bool to_nchw, float *to)
{
    int64_t c = shape.c, hw = shape.h * shape.w;
    for (int64_t k = 0; k < n; k++, from += c * hw, to += c * hw) {
        for (int64_t i = 0; i < c; i++) {
            for (int64_t p = 0; p < hw; p++) {
                int64_t nchw = i * hw + p, nhwc = p * c + i;
                to[to_nchw ? nchw : nhwc] = from[to_nchw ? nhwc : nchw];
            }
        }
    }
}

static int32_t outputs(mc_session *session, mc_norm_mode mode, const mc_batch *batch, float *logits,
                       float *representation)
{
    const mc_pass *pass = &session->pass[0];
    int32_t status = check_batch(session, mode, batch->n);
    if (status < 0) {
        return status;
    }
    mc_pass_forward(&session->pass[0], batch->x, batch->n, mode);
    if (logits != NULL) {
        memcpy(logits, logits_of(pass),
               (size_t)(batch->n * session->model->classes) * sizeof *logits);
    }
    if (representation != NULL) {
        mc_shape shape = session->graph->nodes[mc_representation_node(session->graph)].out;
        copy_flat(representation_of(pass), shape, batch->n, true, representation);
    }
    return MODECONN_OK;
}

static int32_t activations(mc_session *session, mc_norm_mode mode, const mc_batch *batch,
                           mc_visit_fn visit, void *user)
{
    mc_pass *pass = &session->pass[0];
    int32_t status = check_batch(session, mode, batch->n);
    if (status == MODECONN_OK) {
        pass->visit = visit;
        pass->visit_user = user;
        mc_pass_forward(pass, batch->x, batch->n, mode);
        pass->visit = NULL;
    }
    return status;
}

/* ---- statistics ---------------------------------------------------------------------------- */

/* Values that a channel of batch norm `node` saw in `images` images. */
static double channel_count(const mc_node *node, double images)
{
    return images * (double)(node->out.h * node->out.w);
}

/* running += momentum * (batch - running), the variance unbiased. */
static void update_running(const mc_pass *pass, float *running)
{
    for (int32_t i = 0; i < pass->graph->n_nodes; i++) {
        const mc_node *node = &pass->graph->nodes[i];
        if (node->n_stats == 0) {
            continue;
        }
        double count = channel_count(node, (double)pass->n), m = node->momentum;
        const double *moment = pass->slots[i].moment;
        float *mean = running + node->stats[0].offset, *variance = running + node->stats[1].offset;
        for (int64_t c = 0; c < node->out.c; c++) {
            double unbiased = moment[node->out.c + c] * count / (count - 1.0);
            mean[c] = (float)((1.0 - m) * (double)mean[c] + m * moment[c]);
            variance[c] = (float)((1.0 - m) * (double)variance[c] + m * unbiased);
        }
    }
}

static int32_t statistics_begin(mc_session *session)
{
    memset(session->pooled, 0, (size_t)session->graph->n_stats * sizeof *session->pooled);
    session->pooled_images = 0.0;
    return MODECONN_OK;
}

/* Joins a batch to the pool: with counts a, b and means ma, mb, the squared deviations add up to
 * Sa + Sb + (mb - ma)^2 a b / (a + b) (law of total variance). */
static int32_t statistics_add(mc_session *session, const mc_batch *batch)
{
    mc_pass *pass = &session->pass[0];
    int32_t status = check_batch(session, MC_NORM_BATCH, batch->n);
    if (status < 0) {
        return status;
    }
    mc_pass_forward(pass, batch->x, batch->n, MC_NORM_BATCH);
    for (int32_t i = 0; i < session->graph->n_nodes; i++) {
        const mc_node *node = &session->graph->nodes[i];
        if (node->n_stats == 0) {
            continue;
        }
        double a = channel_count(node, session->pooled_images);
        double b = channel_count(node, (double)batch->n);
        const double *moment = pass->slots[i].moment;
        double *mean = session->pooled + node->stats[0].offset;
        double *squares = session->pooled + node->stats[1].offset;
        for (int64_t c = 0; c < node->out.c; c++) {
            double d = moment[c] - mean[c];
            mean[c] += d * b / (a + b);
            squares[c] += moment[node->out.c + c] * b + d * d * a * b / (a + b);
        }
    }
    session->pooled_images += (double)batch->n;
    return MODECONN_OK;
}

static int32_t statistics_finish(mc_session *session, float *statistics)
{
    for (int32_t i = 0; i < session->graph->n_nodes; i++) {
        const mc_node *node = &session->graph->nodes[i];
        double count = channel_count(node, session->pooled_images);
        for (int64_t c = 0; node->n_stats > 0 && c < node->out.c; c++) {
            int64_t mean = node->stats[0].offset + c, variance = node->stats[1].offset + c;
            statistics[mean] = (float)session->pooled[mean];
            statistics[variance] = (float)(session->pooled[variance] / (count - 1.0));
        }
    }
    return MODECONN_OK;
}

static int32_t statistics_ema(mc_session *session, const mc_batch *batch, float *running)
{
    int32_t status = check_batch(session, MC_NORM_BATCH, batch->n);
    if (status == MODECONN_OK) {
        mc_pass_forward(&session->pass[0], batch->x, batch->n, MC_NORM_BATCH);
        update_running(&session->pass[0], running);
    }
    return status;
}

/* ---- gradients ----------------------------------------------------------------------------- */

/* Forward, up to the cotangents of the logits. */
static int32_t losses_and_cotangents(mc_session *session, const mc_batch *batch, double scale,
                                     double *loss, uint8_t *correct, float *running)
{
    mc_pass *pass = &session->pass[0];
    int64_t classes = session->model->classes;
    int32_t status = check_batch(session, MC_NORM_BATCH, batch->n);
    if (status < 0) {
        return status;
    }
    mc_pass_forward(pass, batch->x, batch->n, MC_NORM_BATCH);
    double mean = losses_of(pass, classes, batch->y, loss, correct);
    if (!isfinite(mean)) {
        return mc_fail(MODECONN_ERROR_NUMERIC, "the loss of a batch is %s", mc_not_finite(mean));
    }
    for (int64_t i = 0; i < batch->n; i++) {
        mc_cross_entropy_back(logits_of(pass) + i * classes, classes, batch->y[i],
                              scale / (double)batch->n, session->cotangents[0] + i * classes);
    }
    if (running != NULL) {
        update_running(pass, running);
    }
    return MODECONN_OK;
}

static void pull_back(mc_session *session, bool add, float *grad)
{
    mc_pass *pass = &session->pass[0];
    pass->grad = grad;
    pass->add_grad = add;
    mc_pass_backward(pass, session->cotangents[0], NULL);
}

static int32_t gradient(mc_session *session, const mc_batch *batch, double scale, double *loss,
                        uint8_t *correct, float *grad, float *running)
{
    int32_t status = losses_and_cotangents(session, batch, scale, loss, correct, running);
    if (status == MODECONN_OK) {
        pull_back(session, false, grad);
    }
    return status;
}

static int32_t gradient_added(mc_session *session, const mc_batch *batch, double *loss,
                              uint8_t *correct, void (*prepare)(void *user), void *user, float *to,
                              float *running)
{
    int32_t status = losses_and_cotangents(session, batch, 1.0, loss, correct, running);
    if (status == MODECONN_OK) {
        prepare(user);
        pull_back(session, true, to);
    }
    return status;
}

static int32_t pair_gradient(mc_session *session, const mc_batch *a, const mc_batch *b,
                             mc_pair_fn fn, void *user, float *grad, float *running)
{
    const mc_batch *batch[2] = {a, b};
    mc_pair pair = {.classes = session->model->classes,
                    .width = session->model->representation_width};
    int32_t status = MODECONN_OK;

    for (int k = 0; k < 2 && status == MODECONN_OK; k++) {
        status = check_batch(session, MC_NORM_BATCH, batch[k]->n);
    }
    if (status < 0) {
        return status;
    }
    for (int k = 0; k < 2; k++) {
        mc_pass *pass = &session->pass[k];
        int64_t size = batch[k]->n * (pair.classes + pair.width);
        mc_pass_forward(pass, batch[k]->x, batch[k]->n, MC_NORM_BATCH);
        pair.n[k] = batch[k]->n;
        pair.y[k] = batch[k]->y;
        pair.logits[k] = logits_of(pass);
        pair.representation[k] = representation_of(pass);
        memset(session->cotangents[k], 0, (size_t)size * sizeof(float));
        pair.d_logits[k] = session->cotangents[k];
        pair.d_representation[k] = session->cotangents[k] + batch[k]->n * pair.classes;
    }
    status = fn(user, &pair);
    if (status != MODECONN_OK) {
        return status;
    }
    for (int k = 0; k < 2; k++) {
        if (running != NULL) {
            update_running(&session->pass[k], running);
        }
        session->pass[k].grad = grad;
        session->pass[k].add_grad = k > 0;
        mc_pass_backward(&session->pass[k], pair.d_logits[k], pair.d_representation[k]);
    }
    return MODECONN_OK;
}

const mc_model_ops mc_graph_ops = {
    .session_create = session_create,
    .session_destroy = session_destroy,
    .bind = bind,
    .evaluate = evaluate,
    .outputs = outputs,
    .activations = activations,
    .gradient = gradient,
    .gradient_added = gradient_added,
    .pair_gradient = pair_gradient,
    .statistics_begin = statistics_begin,
    .statistics_add = statistics_add,
    .statistics_finish = statistics_finish,
    .statistics_ema = statistics_ema,
    .smallest_batch = smallest_batch,
};
