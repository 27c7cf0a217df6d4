/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ResNets with the CIFAR stem (3x3, stride 1, no max-pool): stages of residual blocks, the first
 * block of each stage but the first at stride 2, a projection where stride or channels change.
 * A basic block is 3x3, 3x3; a bottleneck is 1x1, 3x3 (with the stride), 1x1 to four times the
 * stage's width. Tensors: conv1, bn1, layer<l>.<b>.conv1, bn1, conv2, bn2 (conv3, bn3),
 * shortcut_conv, shortcut_bn, linear.
 *
 * Depth d in a name counts the layers with weights: 2 + convolutions of the blocks. The paper's
 * code makes bottlenecks of the same block counts: its ResNet34 of bottlenecks is resnet50.
 */
#include "nn/graph.h"
#include <stdio.h>

enum { STAGES = 4, EXPANSION = 4 };

typedef struct resnet {
    int stages, blocks[STAGES];
    int64_t widths[STAGES];
    bool bottleneck;
} resnet;

static const resnet plan18 = {4, {2, 2, 2, 2}, {64, 128, 256, 512}, false};
static const resnet plan34 = {4, {3, 4, 6, 3}, {64, 128, 256, 512}, false};
static const resnet plan50 = {4, {3, 4, 6, 3}, {64, 128, 256, 512}, true};
static const resnet plan56 = {3, {9, 9, 9}, {16, 32, 64}, false};
static const resnet plan18_bottleneck = {4, {2, 2, 2, 2}, {64, 128, 256, 512}, true};
static const resnet plan56_bottleneck = {3, {9, 9, 9}, {16, 32, 64}, true};

/* What every step of the builder works on. */
typedef struct builder {
    modeconn_graph *graph;
    int32_t status;
} builder;

/* Convolution without bias, named `prefix` ("layer1.0.") and `conv`, then batch norm, `bn`. */
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

static int32_t conv_bn_relu(builder *b, const char *prefix, const char *conv, const char *bn,
                            int64_t width, int kernel, int stride, int32_t input)
{
    int32_t node = conv_bn(b, prefix, conv, bn, width, kernel, stride, input);
    return mc_graph_chain(b->graph, &b->status, "relu", NULL, "", node);
}

/* The two or three convolutions of a block, up to the sum. */
static int32_t residual(builder *b, const char *prefix, const resnet *plan, int64_t width,
                        int stride, int32_t input)
{
    if (!plan->bottleneck) {
        int32_t node = conv_bn_relu(b, prefix, "conv1", "bn1", width, 3, stride, input);
        return conv_bn(b, prefix, "conv2", "bn2", width, 3, 1, node);
    }
    int32_t node = conv_bn_relu(b, prefix, "conv1", "bn1", width, 1, 1, input);
    node = conv_bn_relu(b, prefix, "conv2", "bn2", width, 3, stride, node);
    return conv_bn(b, prefix, "conv3", "bn3", EXPANSION * width, 1, 1, node);
}

/* `channels` counts the input's channels, then the output's. */
static int32_t block(builder *b, const char *prefix, const resnet *plan, int64_t width, int stride,
                     int64_t *channels, int32_t input)
{
    int64_t out = plan->bottleneck ? EXPANSION * width : width;
    int32_t node = -1, sum[2] = {residual(b, prefix, plan, width, stride, input), input};
    if (stride != 1 || *channels != out) {
        sum[1] = conv_bn(b, prefix, "shortcut_conv", "shortcut_bn", out, 1, stride, input);
    }
    if (b->status == MODECONN_OK) {
        b->status = modeconn_graph_add(b->graph, "add", NULL, "", sum, 2, &node);
    }
    *channels = out;
    return mc_graph_chain(b->graph, &b->status, "relu", NULL, "", node);
}

static int32_t build(const mc_architecture *arch, modeconn_graph *graph,
                     const modeconn_options *options, int32_t *output)
{
    const resnet *plan = arch->plan;
    int64_t widths[STAGES] = {1};
    builder b = {graph, mc_arch_widths(options, "widths", plan->widths, plan->stages, widths)};
    int32_t node = conv_bn_relu(&b, "", "conv1", "bn1", widths[0], 3, 1, 0);
    int64_t channels = widths[0];
    char text[64];

    for (int s = 0; s < plan->stages; s++) {
        for (int k = 0; k < plan->blocks[s] && b.status == MODECONN_OK; k++) {
            snprintf(text, sizeof text, "layer%d.%d.", s + 1, k);
            node = block(&b, text, plan, widths[s], s > 0 && k == 0 ? 2 : 1, &channels, node);
        }
    }
    node = mc_graph_chain(graph, &b.status, "global_avg_pool", NULL, "", node);
    snprintf(text, sizeof text, "out_features=%lld",
             (long long)mc_option_i64(options, &mc_kind_model, "classes"));
    *output = mc_graph_chain(graph, &b.status, "linear", "linear", text, node);
    return b.status;
}

static int32_t infer(const mc_architecture *arch, mc_find_shape_fn find, void *user,
                     modeconn_options *options)
{
    const resnet *plan = arch->plan;
    int64_t widths[STAGES], shape[4];
    int32_t status = mc_arch_find(find, user, "conv1.weight", 4, shape);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "channels", shape[1]);
    }
    for (int s = 0; s < plan->stages && status == MODECONN_OK; s++) {
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
    return status == MODECONN_OK ? mc_arch_set_list(options, "widths", widths, plan->stages)
                                 : status;
}

const mc_architecture mc_arch_resnet18 = {
    .name = "resnet18",
    .description = "ResNet-18 with the CIFAR stem: four stages of two basic blocks",
    .build = build,
    .infer = infer,
    .plan = &plan18,
};

const mc_architecture mc_arch_resnet34 = {
    .name = "resnet34",
    .description = "ResNet-34 with the CIFAR stem: stages of 3, 4, 6 and 3 basic blocks",
    .build = build,
    .infer = infer,
    .plan = &plan34,
};

const mc_architecture mc_arch_resnet50 = {
    .name = "resnet50",
    .description = "ResNet-50 with the CIFAR stem: stages of 3, 4, 6 and 3 bottlenecks",
    .build = build,
    .infer = infer,
    .plan = &plan50,
};

const mc_architecture mc_arch_resnet56 = {
    .name = "resnet56",
    .description = "ResNet-56 for CIFAR: three stages of nine basic blocks, 16, 32 and 64 channels",
    .build = build,
    .infer = infer,
    .plan = &plan56,
};

const mc_architecture mc_arch_resnet18_bottleneck = {
    .name = "resnet18_bottleneck",
    .description = "the blocks of resnet18 as bottlenecks",
    .build = build,
    .infer = infer,
    .plan = &plan18_bottleneck,
};

const mc_architecture mc_arch_resnet56_bottleneck = {
    .name = "resnet56_bottleneck",
    .description = "the blocks of resnet56 as bottlenecks",
    .build = build,
    .infer = infer,
    .plan = &plan56_bottleneck,
};
