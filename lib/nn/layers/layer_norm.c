/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layer norm: each row of x [rows][d] on its own,
 *
 *     y = gamma (x - mean) / sqrt(variance + eps) + beta      (biased variance, of the row)
 *
 * A row is an image, d = c * h * w, as PyTorch's LayerNorm([C, H, W]); or, over "channels", the
 * channels of one pixel. The backward formulas stand in lib/kernels/kernels.h. Sums over rows go
 * by chunks of a fixed size, added in order.
 *
 * PyTorch has weights of [c][h][w]; they are prepared in our [h][w][c].
 */
#include "nn/graph.h"
#include <math.h>
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_STR("over", "image|channels", "image",
               "what is normalised together: a whole image, or the channels of each pixel"),
    MC_OPT_POSITIVE("eps", "1e-5", "added to the variance"),
    MC_OPT_BOOL("affine", "1", "1: with a weight and a bias per normalised value"),
};
const mc_option_kind mc_kind_layer_norm = MC_OPTION_KIND("layer_norm", specs);

enum { PER_PIXEL }; /* place in node->constants: 1 or 0 */

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    bool pixels = strcmp(mc_option_str(options, &mc_kind_layer_norm, "over"), "channels") == 0;
    mc_shape in = node->in;
    node->out = in;
    node->constants[PER_PIXEL] = pixels ? 1.0 : 0.0;
    node->eps = mc_option_f64(options, &mc_kind_layer_norm, "eps");
    mc_tensor_spec values = {.suffix = "weight", .size = in.c, .rank = 1, .init = MC_INIT_ONE};
    memcpy(values.shape, (int64_t[4]){in.c, 1, 1, 1}, sizeof values.shape);
    if (!pixels && in.h * in.w > 1) {
        values.size = mc_shape_size(in);
        values.rank = 3;
        memcpy(values.shape, (int64_t[4]){in.c, in.h, in.w, 1}, sizeof values.shape);
    }
    if (mc_option_i64(options, &mc_kind_layer_norm, "affine")) {
        node->params[0] = values;
        node->params[1] = values;
        node->params[1].suffix = "bias";
        node->params[1].init = MC_INIT_ZERO;
        node->n_params = 2;
    }
    return MODECONN_OK;
}

static bool per_pixel(const mc_node *node)
{
    return node->constants[PER_PIXEL] != 0.0;
}

static int64_t row_size(const mc_node *node)
{
    return per_pixel(node) ? node->in.c : mc_shape_size(node->in);
}

static int64_t row_count(const mc_node *node, int64_t n)
{
    return per_pixel(node) ? n * node->in.h * node->in.w : n;
}

/* Rows of a chunk: about 64 KB of activations. */
static int64_t chunk_rows(int64_t d)
{
    int64_t rows = 16384 / d;
    return rows > 8 ? rows : 8;
}

static int64_t chunk_count(const mc_node *node, int64_t n)
{
    int64_t chunk = chunk_rows(row_size(node));
    return (row_count(node, n) + chunk - 1) / chunk;
}

/* The prepared parameters, which lie there in a pass with gradients; behind them two sums in double
 * per chunk and value of a row, for the gradients of weight and bias. */
static int64_t sums_offset(const mc_node *node)
{
    return (2 * row_size(node) + 15) / 16 * 16;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    int64_t sums = 4 * chunk_count(node, n) * row_size(node);
    return gradients && node->n_params > 0 ? sums_offset(node) + sums : 0;
}

/* Mean and 1/sqrt(variance + eps) of each row, in double. */
static int64_t saved(const mc_node *node, int64_t n)
{
    return 4 * row_count(node, n);
}

/* ---- PyTorch's order and ours -------------------------------------------------------------- */

/* Place in theta's tensors of value i of a row. */
static int64_t place_of(const mc_node *node, int64_t i)
{
    int64_t c = node->in.c, hw = row_size(node) / c;
    return i % c * hw + i / c;
}

static bool same_order(const mc_node *node)
{
    return node->in.c == 1 || row_size(node) == node->in.c;
}

/* Weight and bias, one after the other. */
static int64_t prepared(const mc_node *node)
{
    return node->n_params > 0 && !same_order(node) ? 2 * row_size(node) : 0;
}

static void prepare(mc_pass *pass, const mc_node *node, const float **gamma, const float **beta)
{
    int64_t d = row_size(node);
    *gamma = pass->theta + node->params[0].offset;
    *beta = pass->theta + node->params[1].offset;
    if (same_order(node)) {
        return;
    }
    mc_prepared *made = &pass->prepared[node - pass->graph->nodes];
    for (int64_t i = 0; i < d && made->by == NULL; i++) {
        made->data[i] = (*gamma)[place_of(node, i)];
        made->data[d + i] = (*beta)[place_of(node, i)];
    }
    made->by = pass->keeps_prepared ? &mc_layer_layer_norm : NULL;
    *gamma = made->data;
    *beta = made->data + d;
}

/* ---- the engine's -------------------------------------------------------------------------- */

typedef struct layer_norm_job {
    const mc_pass *pass;
    const mc_node *node;
    const float *x, *dy, *gamma, *beta;
    float *out;
    bool accumulate;
    double *moments; /* [rows][2] */
    double *sums;    /* [chunks][2][d] */
    int64_t rows, d, chunk;
} layer_norm_job;

static layer_norm_job job_of(mc_pass *pass, const mc_node *node)
{
    layer_norm_job job = {.pass = pass, .node = node};
    job.x = mc_input_slot(pass, node, 0)->out;
    job.moments = (double *)(void *)mc_slot_of(pass, node)->saved;
    job.rows = row_count(node, pass->n);
    job.d = row_size(node);
    job.chunk = chunk_rows(job.d);
    job.sums = (double *)(void *)(pass->shared + sums_offset(node));
    if (node->n_params > 0) {
        prepare(pass, node, &job.gamma, &job.beta);
    }
    return job;
}

static int64_t rows_of_task(const layer_norm_job *job, int64_t task)
{
    int64_t left = job->rows - task * job->chunk;
    return left < job->chunk ? left : job->chunk;
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const layer_norm_job *job = arg;
    int64_t row = task * job->chunk, at = row * job->d;
    job->pass->kernels->layer_norm(job->x + at, rows_of_task(job, task), job->d, job->gamma,
                                   job->beta, job->node->eps, job->moments + 2 * row,
                                   job->out + at);
}

static void backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const layer_norm_job *job = arg;
    int64_t row = task * job->chunk, at = row * job->d;
    double *sums = NULL, *products = NULL;
    if (job->gamma != NULL) {
        sums = job->sums + task * 2 * job->d;
        products = sums + job->d;
        memset(sums, 0, (size_t)(2 * job->d) * sizeof *sums);
    }
    job->pass->kernels->layer_norm_back(
        job->x + at, job->dy + at, job->moments + 2 * row, rows_of_task(job, task), job->d,
        job->gamma, job->accumulate, job->out != NULL ? job->out + at : NULL, sums, products);
}

static void forward(mc_pass *pass, const mc_node *node)
{
    layer_norm_job job = job_of(pass, node);
    job.out = mc_slot_of(pass, node)->out;
    mc_pool_run(pass->pool, chunk_count(node, pass->n), forward_task, &job);
}

static void backward(mc_pass *pass, const mc_node *node)
{
    layer_norm_job job = job_of(pass, node);
    int64_t chunks = chunk_count(node, pass->n);
    job.dy = mc_slot_of(pass, node)->d_out;
    job.out = mc_input_slot(pass, node, 0)->d_out;
    job.accumulate = mc_slot_of(pass, node)->accumulate[0];
    mc_pool_run(pass->pool, chunks, backward_task, &job);
    for (int32_t k = 0; k < node->n_params; k++) {
        /* The bias has the sums, the weight the products. */
        const double *sums = job.sums + (k == 0 ? job.d : 0);
        for (int64_t i = 0; i < job.d; i++) {
            double sum = 0.0;
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                sum += sums[chunk * 2 * job.d + i];
            }
            mc_add_grad(pass, &pass->grad[node->params[k].offset + place_of(node, i)], sum);
        }
    }
}

/* ---- in double, NCHW ----------------------------------------------------------------------- */

/* Where value i of a row lies, and which weight is its own. */
static int64_t plain_at(const mc_node *node, int64_t row, int64_t i)
{
    int64_t hw = node->in.h * node->in.w;
    return per_pixel(node) ? (row / hw * node->in.c + i) * hw + row % hw
                           : row * mc_shape_size(node->in) + i;
}

static void plain_moments(const mc_plain *plain, const mc_node *node, int64_t row, double *mean,
                          double *r)
{
    const double *x = plain->out[node->inputs[0]];
    int64_t d = row_size(node);
    double variance = 0.0;
    *mean = 0.0;
    for (int64_t i = 0; i < d; i++) {
        *mean += x[plain_at(node, row, i)] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        double v = x[plain_at(node, row, i)] - *mean;
        variance += v * v / (double)d;
    }
    *r = 1.0 / sqrt(variance + node->eps);
}

static double weight_at(const mc_plain *plain, const mc_node *node, int64_t i)
{
    return node->n_params > 0 ? plain->theta[node->params[0].offset + i] : 1.0;
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    double *y = plain->out[node - plain->graph->nodes];
    for (int64_t row = 0; row < row_count(node, plain->n); row++) {
        double mean, r;
        plain_moments(plain, node, row, &mean, &r);
        for (int64_t i = 0; i < row_size(node); i++) {
            int64_t at = plain_at(node, row, i);
            y[at] = (x[at] - mean) * r * weight_at(plain, node, i);
            y[at] += node->n_params > 0 ? plain->theta[node->params[1].offset + i] : 0.0;
        }
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    const double *dy = plain->d_out[node - plain->graph->nodes];
    double *dx = plain->d_out[node->inputs[0]];
    int64_t d = row_size(node);
    for (int64_t row = 0; row < row_count(node, plain->n); row++) {
        double mean, r, g = 0.0, g_hat = 0.0;
        plain_moments(plain, node, row, &mean, &r);
        for (int64_t i = 0; i < d; i++) {
            int64_t at = plain_at(node, row, i);
            double hat = (x[at] - mean) * r;
            g += dy[at] * weight_at(plain, node, i) / (double)d;
            g_hat += dy[at] * weight_at(plain, node, i) * hat / (double)d;
            if (node->n_params > 0) {
                plain->grad[node->params[0].offset + i] += dy[at] * hat;
                plain->grad[node->params[1].offset + i] += dy[at];
            }
        }
        for (int64_t i = 0; i < d && dx != NULL; i++) {
            int64_t at = plain_at(node, row, i);
            dx[at] += r * (dy[at] * weight_at(plain, node, i) - g - (x[at] - mean) * r * g_hat);
        }
    }
}

const mc_layer_type mc_layer_layer_norm = {
    .name = "layer_norm",
    .symmetry = MC_SYMMETRY_KEEPS,
    .options = &mc_kind_layer_norm,
    .n_inputs = 1,
    .keeps_input = true,
    .in_place = true,
    .configure = configure,
    .shared = shared,
    .saved = saved,
    .prepared = prepared,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
