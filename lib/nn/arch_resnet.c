/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ResNet-18 with the CIFAR stem (3x3, stride 1, no max-pool): four stages of two basic blocks,
 * projection shortcut where stride or width changes. Tensors: conv1, bn1, layer<l>.<b>.conv1,
 * bn1, conv2, bn2, shortcut_conv, shortcut_bn, linear.
 */
#include "nn/graph.h"
#include <stdio.h>

enum { STAGES = 4, BLOCKS = 2 };
static const int64_t base[STAGES] = {64, 128, 256, 512};

/* What every step of the builder works on. */
typedef struct builder {
    modeconn_graph *graph;
    int32_t status;
} builder;

/* Convolution without bias, then batch norm; `prefix` "layer1.0.", `suffix` "1" or as given. */
static int32_t conv_bn(builder *b, const char *prefix, const char *conv, const char *bn,
                       int64_t width, int kernel, int stride, int32_t input)
{
    char name[128], settings[80];
    snprintf(name, sizeof name, "%s%s", prefix, conv);
    snprintf(settings, sizeof settings, "out_channels=%lld,kernel=%d,stride=%d,padding=%d",
             (long long)width, kernel, stride, kernel / 2);
    int32_t node = mc_graph_chain(b->graph, &b->status, "conv2d", name, settings, input);
    snprintf(name, sizeof name, "%s%s", prefix, bn);
    return mc_graph_chain(b->graph, &b->status, "batch_norm", name, "", node);
}

static int32_t basic_block(builder *b, const char *prefix, int64_t width, int stride, bool project,
                           int32_t input)
{
    int32_t node = conv_bn(b, prefix, "conv1", "bn1", width, 3, stride, input);
    node = mc_graph_chain(b->graph, &b->status, "relu", NULL, "", node);
    node = conv_bn(b, prefix, "conv2", "bn2", width, 3, 1, node);
    int32_t sum[2] = {node, input};
    if (project) {
        sum[1] = conv_bn(b, prefix, "shortcut_conv", "shortcut_bn", width, 1, stride, input);
    }
    if (b->status == MODECONN_OK) {
        b->status = modeconn_graph_add(b->graph, "add", NULL, "", sum, 2, &node);
    }
    return mc_graph_chain(b->graph, &b->status, "relu", NULL, "", node);
}

static int32_t build(modeconn_graph *graph, const modeconn_options *options, int32_t *output)
{
    int64_t widths[STAGES];
    builder b = {graph, mc_arch_widths(options, "widths", base, STAGES, widths)};
    int32_t node = conv_bn(&b, "", "conv1", "bn1", b.status < 0 ? 1 : widths[0], 3, 1, 0);
    char text[64];

    node = mc_graph_chain(graph, &b.status, "relu", NULL, "", node);
    for (int s = 0; s < STAGES && b.status == MODECONN_OK; s++) {
        for (int k = 0; k < BLOCKS; k++) {
            int stride = s > 0 && k == 0 ? 2 : 1;
            bool project = stride != 1 || (k == 0 && s > 0 && widths[s] != widths[s - 1]);
            snprintf(text, sizeof text, "layer%d.%d.", s + 1, k);
            node = basic_block(&b, text, widths[s], stride, project, node);
        }
    }
    node = mc_graph_chain(graph, &b.status, "global_avg_pool", NULL, "", node);
    snprintf(text, sizeof text, "out_features=%lld",
             (long long)mc_option_i64(options, &mc_kind_model, "classes"));
    *output = mc_graph_chain(graph, &b.status, "linear", "linear", text, node);
    return b.status;
}

static int32_t infer(mc_find_shape_fn find, void *user, modeconn_options *options)
{
    int64_t widths[STAGES], shape[4];
    int32_t status = mc_arch_find(find, user, "conv1.weight", 4, shape);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "channels", shape[1]);
    }
    for (int s = 0; s < STAGES && status == MODECONN_OK; s++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d.0.conv1.weight", s + 1);
        status = mc_arch_find(find, user, name, 4, shape);
        widths[s] = shape[0];
    }
    if (status == MODECONN_OK) {
        status = mc_arch_find(find, user, "linear.weight", 2, shape);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "classes", shape[0]);
    }
    return status == MODECONN_OK ? mc_arch_set_list(options, "widths", widths, STAGES) : status;
}

const mc_architecture mc_arch_resnet18 = {
    "resnet18",
    "ResNet-18 with the CIFAR stem: four stages of two basic blocks",
    build,
    infer,
};
