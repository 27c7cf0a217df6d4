/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The network of the theory (Lubana et al., appendix F.3): one hidden layer of N rectified units
 * without biases and a fixed output layer,
 *
 *     f(x; W) = (1/N) 1^T max(0, W^T x)
 *
 * for labels y in {0, 1} and minimizers that interpolate, f(x_i) = y_i. Tensor: layers.0.weight
 * [N][d], the transpose of W.
 *
 * The paper needs no loss but one that interpolation minimizes; everything here measures the
 * cross-entropy of two logits. They are (-m/2, m/2) with m = s (f - 1/2): f is never negative, so
 * the threshold lies half-way between the labels, and a sample is classified rightly exactly if f
 * is on its label's side. At f = y a sample's loss is log(1 + exp(-s/2)), 0.0067 nats at
 * s = "logit_scale" = 10, and its gradient 150 times smaller than that of a wrong one. What this
 * changes: minimizers have f = 0 on class 0, as in the theory, but f of 1 and more on class 1,
 * which the cross-entropy never stops to reward; it separates where the theory interpolates.
 *
 * f scales with x, as there are no biases, and is convex in x, as all output weights are positive.
 * So on a ray from the origin the class changes at most once, unless a coordinate of x is constant;
 * and the inputs of class 0 form a convex set: along a line the classes can be 1, 0, 1 but never
 * 0, 1, 0, however many units there are. The gradient of a weight is of order s/N.
 */
#include "nn/graph.h"
#include <stdio.h>

static const int64_t base[1] = {512};

static int32_t build(const mc_architecture *arch, modeconn_graph *graph,
                     const modeconn_options *options, int32_t *output)
{
    (void)arch;
    int64_t units = 0, classes = mc_option_i64(options, &mc_kind_model, "classes");
    char settings[64], scale[MC_F64_TEXT];
    if (classes != 2) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "it tells 2 classes apart, not %lld",
                       (long long)classes);
    }
    int32_t status = mc_arch_widths(options, "widths", base, 1, &units);
    snprintf(settings, sizeof settings, "out_features=%lld,bias=0", (long long)units);
    int32_t node = mc_graph_chain(graph, &status, "linear", "layers.0", settings, 0);
    node = mc_graph_chain(graph, &status, "relu", NULL, "", node);
    mc_format_f64(scale, mc_option_f64(options, &mc_kind_model, "logit_scale"));
    snprintf(settings, sizeof settings, "scale=%s,threshold=0.5", scale);
    *output = mc_graph_chain(graph, &status, "mean_margin", NULL, settings, node);
    return status;
}

static int32_t infer(const mc_architecture *arch, mc_find_shape_fn find, void *user,
                     modeconn_options *options)
{
    (void)arch;
    int64_t shape[4] = {0, 0, 0, 0};
    int32_t status = mc_arch_find(find, user, "layers.0.weight", 2, shape);
    if (status == MODECONN_OK) {
        status = mc_arch_infer_channels(shape[1], options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "classes", 2);
    }
    return status == MODECONN_OK ? mc_arch_set_list(options, "widths", shape, 1) : status;
}

const mc_architecture mc_arch_theory = {
    .name = "theory",
    .description =
        "the theory's network: one hidden ReLU layer without biases, outputs averaged; two classes",
    .build = build,
    .infer = infer,
};
