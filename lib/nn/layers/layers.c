/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of layers, the input layer, and what window layers share. To add a layer: a file
 * beside this one, a row here, its options in lib/tables.c.
 */
#include "nn/graph.h"

const mc_layer_type mc_layer_input = {.name = "input"};

const mc_layer_type *const mc_layers[] = {
    &mc_layer_conv2d,
    &mc_layer_batch_norm,
    &mc_layer_relu,
    &mc_layer_add,
    &mc_layer_avg_pool,
    &mc_layer_max_pool,
    &mc_layer_global_avg_pool,
    &mc_layer_linear,
    &mc_layer_layer_norm,
    &mc_layer_gelu,
    &mc_layer_mean_margin,
};
const int64_t mc_layers_count = (int64_t)(sizeof(mc_layers) / sizeof(mc_layers[0]));

int64_t mc_window_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t padding)
{
    return extent + 2 * padding < kernel ? 0 : (extent + 2 * padding - kernel) / stride + 1;
}

int32_t mc_window_configure(mc_node *node, int64_t kernel, int64_t stride, int64_t padding)
{
    mc_window window = {node->in.c, node->in.h, node->in.w, 0, 0, kernel, stride, padding};
    window.oh = mc_window_extent(window.h, kernel, stride, padding);
    window.ow = mc_window_extent(window.w, kernel, stride, padding);
    if (window.oh == 0 || window.ow == 0) {
        return mc_fail(MODECONN_ERROR_SHAPE,
                       "a %lldx%lld window does not fit a %lldx%lld input with padding %lld",
                       (long long)kernel, (long long)kernel, (long long)window.h,
                       (long long)window.w, (long long)padding);
    }
    node->window = window;
    node->out = (mc_shape){node->in.c, window.oh, window.ow};
    return MODECONN_OK;
}
