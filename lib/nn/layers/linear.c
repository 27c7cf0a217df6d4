/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Linear layer over the flattened input, x [n][d], d = h * w * c, weight [o][c][h][w]:
 *
 *     y = x W^T + bias,   dW = dy^T x,   dbias = sum dy,   dx = dy W
 *
 * with a ReLU behind it, if it alone reads y. It is the convolution whose kernel is the whole map,
 * and packs its weight as one.
 */
#include "nn/layers/conv.h"
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_I64("out_features", 1, MC_EXTENT_MOST, "10", "outputs"),
    MC_OPT_BOOL("bias", "1", "1: with a bias per output"),
};
const mc_option_kind mc_kind_linear = MC_OPTION_KIND("linear", specs);

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    int64_t o = mc_option_i64(options, &mc_kind_linear, "out_features");
    int64_t d = mc_shape_size(node->in);
    node->out = (mc_shape){o, 1, 1};
    node->params[0] = (mc_tensor_spec){
        .suffix = "weight", .rank = 2, .shape = {o, d, 1, 1}, .init = MC_INIT_FAN_IN, .fan_in = d};
    if (!mc_mul(o, d, &node->params[0].size)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "out_features %lld is too large", (long long)o);
    }
    node->n_params = 1;
    if (mc_option_i64(options, &mc_kind_linear, "bias")) {
        node->params[1] = (mc_tensor_spec){.suffix = "bias",
                                           .size = o,
                                           .rank = 1,
                                           .shape = {o, 1, 1, 1},
                                           .init = MC_INIT_FAN_IN,
                                           .fan_in = d};
        node->n_params = 2;
    }
    return MODECONN_OK;
}

/* ---- memory -------------------------------------------------------------------------------- */

/* The weight's order is the input's where either has one pixel, or one channel. */
static int64_t pixels_of(const mc_node *node)
{
    return node->in.c == 1 ? 1 : node->in.h * node->in.w;
}

/* Inputs of a pixel. */
static int64_t channels_of(const mc_node *node)
{
    return mc_shape_size(node->in) / pixels_of(node);
}

static int64_t prepared(const mc_node *node)
{
    return mc_conv_panels(mc_shape_size(node->in), node->out.c);
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    int64_t d = mc_shape_size(node->in), o = node->out.c;
    if (!gradients) {
        return 0;
    }
    int64_t work = mc_at_least(mc_conv_panels(o * pixels_of(node), channels_of(node)), 2 * o);
    work = mc_at_least(work, pixels_of(node) > 1 ? o * d : 0);
    return mc_at_least(work, prepared(node));
}

/* ---- passes -------------------------------------------------------------------------------- */

/* How a pass is cut: blocks of rows (of x, or of W) by cuts of whole panels of columns. Tasks of
 * one cut follow each other, so that it stays with the thread that has packed it. */
enum { ROWS_BLOCK = 96, COLUMNS_BLOCK = 128, MASKED_ROWS = 16 };

typedef struct linear_job {
    mc_pass *pass;
    const mc_node *node;
    const mc_slot *slot, *input;
    const float *x; /* of x, or of dy: n rows, x_row floats apart */
    float *y;       /* of what is produced, or of x */
    int64_t x_row, y_row;
    float *work;
    const float *panels;
    int64_t n, d, o, pixels, c;
    int64_t row_blocks, column_blocks;
} linear_job;

static int64_t blocks(int64_t extent, int64_t block)
{
    return (extent + block - 1) / block;
}

static linear_job job_of(mc_pass *pass, const mc_node *node)
{
    linear_job job = {.pass = pass, .node = node, .n = pass->n};
    job.slot = mc_slot_of(pass, node);
    job.input = mc_input_slot(pass, node, 0);
    job.d = mc_shape_size(node->in);
    job.o = node->out.c;
    job.pixels = pixels_of(node);
    job.c = channels_of(node);
    job.row_blocks = blocks(job.n, ROWS_BLOCK);
    job.work = pass->shared;
    return job;
}

static void point_at(linear_job *job, const float *x, int64_t x_row, float *y, int64_t y_row)
{
    job->x = x;
    job->x_row = x_row;
    job->y = y;
    job->y_row = y_row;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Block `row` and `column` of a product of all rows with a matrix of n columns. */
static void run_block(const linear_job *job, mc_product *product, int64_t row, int64_t column,
                      int64_t n)
{
    int64_t begin = column * COLUMNS_BLOCK;
    const float *x = job->x + row * ROWS_BLOCK * job->x_row;
    float *y = job->y + row * ROWS_BLOCK * job->y_row;
    product->rows = product->each = smaller(ROWS_BLOCK, job->n - row * ROWS_BLOCK);
    product->n = smaller(COLUMNS_BLOCK, n - begin);
    product->x = &x;
    product->x_step = job->x_row;
    product->y = &y;
    product->y_step = job->y_row;
    product->y_offset += begin;
    product->panels += begin * product->panel_rows;
    job->pass->kernels->product(product);
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const linear_job *job = arg;
    int64_t column = task / job->row_blocks;
    mc_product product = {.taps = 1,
                          .run = job->d,
                          .panels = job->panels,
                          .panel_rows = job->d,
                          .relu = job->node->rectify};
    if (job->node->n_params == 2) {
        product.bias = job->pass->theta + job->node->params[1].offset + column * COLUMNS_BLOCK;
    }
    run_block(job, &product, task % job->row_blocks, column, job->o);
}

static void forward(mc_pass *pass, const mc_node *node)
{
    linear_job job = job_of(pass, node);
    mc_prepared *kept = &pass->prepared[node - pass->graph->nodes];
    float *panels = pass->keeps_prepared ? kept->data : job.work;
    if (kept->by == NULL) {
        mc_conv_pack(pass, pass->theta + node->params[0].offset, job.pixels, job.c, job.o, panels);
        kept->by = pass->keeps_prepared ? &mc_layer_linear : NULL;
    }
    job.panels = panels;
    job.column_blocks = blocks(job.o, COLUMNS_BLOCK);
    point_at(&job, job.input->out, job.d, job.slot->out, job.o);
    mc_pool_run(pass->pool, job.row_blocks * job.column_blocks, forward_task, &job);
}

/* dx of one pixel, as a product with the panels [pixel][o] of that pixel's channels. */
static void input_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const linear_job *job = arg;
    int64_t row = task % job->row_blocks, column = task / job->row_blocks % job->column_blocks;
    int64_t pixel = task / job->row_blocks / job->column_blocks, panel_at = pixel * job->o;
    mc_product product = {.taps = 1,
                          .run = job->o,
                          .panel_at = &panel_at,
                          .panels = job->panels,
                          .panel_rows = job->pixels * job->o,
                          .accumulate = job->slot->accumulate[0],
                          .y_offset = pixel * job->c};
    run_block(job, &product, row, column, job->c);
}

/* dW [o][d] = dy^T x, a block of it; d in our order of the input. */
static void weight_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const linear_job *job = arg;
    int64_t k = task / job->column_blocks * ROWS_BLOCK;
    int64_t j = task % job->column_blocks * COLUMNS_BLOCK;
    bool direct = job->pixels == 1;
    float *grad = job->pass->grad + job->node->params[0].offset;
    const float *y = job->y;
    mc_outer outer = {.count = job->n,
                      .each = job->n,
                      .k = smaller(ROWS_BLOCK, job->o - k),
                      .n = smaller(COLUMNS_BLOCK, job->d - j),
                      .x = &job->x,
                      .x_step = job->x_row,
                      .d = &y,
                      .d_step = job->y_row,
                      .x_offset = k,
                      .d_offset = j,
                      .w = (direct ? grad : job->work) + k * job->d + j,
                      .w_stride = job->d,
                      .accumulate = direct && job->pass->add_grad};
    job->pass->kernels->outer(&outer);
}

/* A row of dW from [pixel][c] to PyTorch's [c][pixel]. */
static void reorder_task(void *arg, int64_t row, int worker)
{
    (void)worker;
    const linear_job *job = arg;
    int64_t c = job->c;
    const float *from = job->work + row * job->d;
    float *to = job->pass->grad + job->node->params[0].offset + row * job->d;
    for (int64_t i = 0; i < c; i++) {
        for (int64_t p = 0; p < job->pixels; p++) {
            float *at = to + i * job->pixels + p;
            *at = from[p * c + i] + (job->pass->add_grad ? *at : 0.0f);
        }
    }
}

/* Some rows of dy, where y is positive. */
static void mask_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const linear_job *job = arg;
    int64_t first = task * MASKED_ROWS, at = first * job->o;
    float *dy = job->slot->d_out + at;
    job->pass->kernels->pass_back(job->slot->out + at, dy,
                                  smaller(MASKED_ROWS, job->n - first) * job->o, false, dy);
}

static void backward_bias(const linear_job *job)
{
    double *sum = (double *)(void *)job->work;
    memset(sum, 0, (size_t)job->o * sizeof *sum);
    job->pass->kernels->sum_rows(job->slot->d_out, job->n, job->o, sum);
    for (int64_t j = 0; j < job->o; j++) {
        mc_add_grad(job->pass, job->pass->grad + job->node->params[1].offset + j, sum[j]);
    }
}

static void backward(mc_pass *pass, const mc_node *node)
{
    linear_job job = job_of(pass, node);
    if (node->rectify) {
        mc_pool_run(pass->pool, blocks(job.n, MASKED_ROWS), mask_task, &job);
    }
    job.column_blocks = blocks(job.d, COLUMNS_BLOCK);
    point_at(&job, job.slot->d_out, job.o, job.input->out, job.d);
    mc_pool_run(pass->pool, blocks(job.o, ROWS_BLOCK) * job.column_blocks, weight_task, &job);
    if (job.pixels > 1) {
        mc_pool_run(pass->pool, job.o, reorder_task, &job);
    }
    if (node->n_params == 2) {
        backward_bias(&job);
    }
    if (job.input->d_out != NULL) {
        mc_conv_pack_back(pass, pass->theta + node->params[0].offset, job.pixels, job.c, job.o,
                          NULL, job.work);
        job.panels = job.work;
        job.column_blocks = blocks(job.c, COLUMNS_BLOCK);
        point_at(&job, job.slot->d_out, job.o, job.input->d_out, job.d);
        mc_pool_run(pass->pool, job.pixels * job.column_blocks * job.row_blocks, input_task, &job);
    }
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    int64_t o = node->out.c, d = mc_shape_size(node->in);
    const double *x = plain->out[node->inputs[0]], *w = plain->theta + node->params[0].offset;
    double *y = plain->out[node - plain->graph->nodes];
    for (int64_t i = 0; i < plain->n * o; i++) {
        y[i] = node->n_params == 2 ? plain->theta[node->params[1].offset + i % o] : 0.0;
        for (int64_t k = 0; k < d; k++) {
            y[i] += x[i / o * d + k] * w[i % o * d + k];
        }
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    int64_t o = node->out.c, d = mc_shape_size(node->in);
    const double *x = plain->out[node->inputs[0]], *w = plain->theta + node->params[0].offset;
    const double *dy = plain->d_out[node - plain->graph->nodes];
    double *dx = plain->d_out[node->inputs[0]], *dw = plain->grad + node->params[0].offset;
    for (int64_t i = 0; i < plain->n * o; i++) {
        if (node->n_params == 2) {
            plain->grad[node->params[1].offset + i % o] += dy[i];
        }
        for (int64_t k = 0; k < d; k++) {
            dw[i % o * d + k] += dy[i] * x[i / o * d + k];
            if (dx != NULL) {
                dx[i / o * d + k] += dy[i] * w[i % o * d + k];
            }
        }
    }
}

const mc_layer_type mc_layer_linear = {
    .name = "linear",
    .options = &mc_kind_linear,
    .n_inputs = 1,
    .keeps_input = true,
    .can_rectify = true,
    .symmetry = MC_SYMMETRY_MIXES,
    .configure = configure,
    .shared = shared,
    .prepared = prepared,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
