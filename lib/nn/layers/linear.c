/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Linear layer over the flattened input, x [n][d], d = h * w * c, weight [o][d] (packed):
 *
 *     y = x W^T + bias,   dW = dy^T x,   dbias = sum dy,   dx = dy W
 *
 * PyTorch flattens [c][h][w]; packing moves the weight's columns to our [h][w][c].
 */
#include "nn/graph.h"
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_I64("out_features", 1, 16777216, "10", "outputs"),
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

static bool same_layout(const mc_node *node)
{
    return node->in.c == 1 || node->in.h * node->in.w == 1;
}

/* Moves row [c][hw] to [hw][c], or back. */
static void move_weight(const mc_node *node, const float *from, float *to, bool packing)
{
    int64_t c = node->in.c, hw = node->in.h * node->in.w;
    const mc_tensor_spec *weight = &node->params[0];
    for (int64_t row = 0; row < weight->size; row += c * hw) {
        const float *f = from + weight->offset + row;
        float *t = to + weight->offset + row;
        for (int64_t i = 0; i < c; i++) {
            for (int64_t p = 0; p < hw; p++) {
                int64_t theirs = i * hw + p, ours = p * c + i;
                t[packing ? ours : theirs] = f[packing ? theirs : ours];
            }
        }
    }
}

static void move(const mc_node *node, const float *from, float *to, bool packing)
{
    if (same_layout(node)) {
        memcpy(to + node->params[0].offset, from + node->params[0].offset,
               (size_t)node->params[0].size * sizeof *to);
    } else {
        move_weight(node, from, to, packing);
    }
    if (node->n_params == 2) {
        memcpy(to + node->params[1].offset, from + node->params[1].offset,
               (size_t)node->params[1].size * sizeof *to);
    }
}

static void pack(mc_pool *pool, const mc_node *node, const float *theta, float *packed)
{
    (void)pool;
    move(node, theta, packed, true);
}

static void unpack(mc_pool *pool, const mc_node *node, const float *packed, float *theta)
{
    (void)pool;
    move(node, packed, theta, false);
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    return gradients ? 2 * node->out.c : 0; /* doubles for the bias */
}

static void forward(mc_pass *pass, const mc_node *node)
{
    int64_t n = pass->n, o = node->out.c, d = mc_shape_size(node->in);
    const float *w = pass->packed + node->params[0].offset;
    float *y = mc_slot_of(pass, node)->out;
    bool bias = node->n_params == 2;

    if (bias) {
        pass->kernels->fill_rows(pass->packed + node->params[1].offset, n, o, y);
    }
    mc_gemm_parallel(pass->pool, n, o, d, (mc_matrix){mc_input_slot(pass, node, 0)->out, d, 1},
                     (mc_matrix){w, 1, d}, bias ? 1.0f : 0.0f, y, o);
}

static void backward(mc_pass *pass, const mc_node *node)
{
    int64_t n = pass->n, o = node->out.c, d = mc_shape_size(node->in);
    const float *w = pass->packed + node->params[0].offset;
    const mc_slot *slot = mc_slot_of(pass, node), *input = mc_input_slot(pass, node, 0);

    mc_gemm_parallel(pass->pool, o, d, n, (mc_matrix){slot->d_out, 1, o},
                     (mc_matrix){input->out, d, 1}, 1.0f, pass->grad + node->params[0].offset, d);
    if (node->n_params == 2) {
        double *sum = (double *)(void *)pass->shared;
        memset(sum, 0, (size_t)o * sizeof *sum);
        pass->kernels->sum_rows(slot->d_out, n, o, sum);
        for (int64_t j = 0; j < o; j++) {
            pass->grad[node->params[1].offset + j] += (float)sum[j];
        }
    }
    if (input->d_out != NULL) {
        mc_gemm_parallel(pass->pool, n, d, o, (mc_matrix){slot->d_out, o, 1}, (mc_matrix){w, d, 1},
                         slot->accumulate[0] ? 1.0f : 0.0f, input->d_out, d);
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
    .configure = configure,
    .shared = shared,
    .pack = pack,
    .unpack = unpack,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
