/* SPDX-License-Identifier: BSD-3-Clause
 *
 * VGG-13 as the paper's code has it: ten 3x3 convolutions without bias, each with batch norm and
 * ReLU, global average pool, one linear layer. Tensors: layers.<i>.conv1, layers.<i>.bn1, linear.
 */
#include "nn/graph.h"
#include <stdio.h>

enum { LAYERS = 10 };
static const int64_t base[LAYERS] = {64, 64, 128, 128, 256, 256, 512, 512, 512, 512};
static const int strides[LAYERS] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 1};

static int32_t build(const mc_architecture *arch, modeconn_graph *graph,
                     const modeconn_options *options, int32_t *output)
{
    (void)arch;
    int64_t widths[LAYERS];
    int32_t status = mc_arch_widths(options, "widths", base, LAYERS, widths), node = 0;
    char name[32], settings[64];

    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "layers.%d.conv1", i);
        snprintf(settings, sizeof settings, "out_channels=%lld,kernel=3,stride=%d,padding=1",
                 (long long)widths[i], strides[i]);
        node = mc_graph_chain(graph, &status, "conv2d", name, settings, node);
        snprintf(name, sizeof name, "layers.%d.bn1", i);
        node = mc_graph_chain(graph, &status, "batch_norm", name, "", node);
        node = mc_graph_chain(graph, &status, "relu", NULL, "", node);
    }
    node = mc_graph_chain(graph, &status, "global_avg_pool", NULL, "", node);
    snprintf(settings, sizeof settings, "out_features=%lld",
             (long long)mc_option_i64(options, &mc_kind_model, "classes"));
    *output = mc_graph_chain(graph, &status, "linear", "linear", settings, node);
    return status;
}

static int32_t infer(const mc_architecture *arch, mc_find_shape_fn find, void *user,
                     modeconn_options *options)
{
    (void)arch;
    int64_t widths[LAYERS], shape[4] = {0, 0, 0, 0};
    int32_t status = MODECONN_OK;
    for (int i = 0; i < LAYERS && status == MODECONN_OK; i++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%d.conv1.weight", i);
        status = mc_arch_find(find, user, name, 4, shape);
        widths[i] = shape[0];
        if (status == MODECONN_OK && i == 0) {
            status = modeconn_options_set_i64(options, "channels", shape[1]);
        }
    }
    if (status == MODECONN_OK) {
        status = mc_arch_find(find, user, "linear.weight", 2, shape);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "classes", shape[0]);
    }
    return status == MODECONN_OK ? mc_arch_set_list(options, "widths", widths, LAYERS) : status;
}

const mc_architecture mc_arch_vgg13 = {
    .name = "vgg13",
    .description = "ten 3x3 convolutions with batch norm, global average pool, one linear layer",
    .build = build,
    .infer = infer,
};
