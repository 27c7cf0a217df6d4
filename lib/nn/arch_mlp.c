/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Multi-layer perceptron: flattened image, hidden layers with ReLU, linear output. Tensors:
 * layers.<i>.weight and bias, linear.weight and bias.
 */
#include "nn/graph.h"
#include <stdio.h>

static int32_t build(const mc_architecture *arch, modeconn_graph *graph,
                     const modeconn_options *options, int32_t *output)
{
    (void)arch;
    int64_t hidden[MC_LIST_MAX], count;
    int32_t node = 0;
    char name[32], settings[64];
    int32_t status = mc_parse_list(mc_option_str(options, &mc_kind_model, "hidden"), "hidden",
                                   hidden, MC_LIST_MAX, &count);

    for (int64_t i = 0; i < count && status == MODECONN_OK; i++) {
        snprintf(name, sizeof name, "layers.%lld", (long long)i);
        snprintf(settings, sizeof settings, "out_features=%lld", (long long)hidden[i]);
        node = mc_graph_chain(graph, &status, "linear", name, settings, node);
        node = mc_graph_chain(graph, &status, "relu", NULL, "", node);
    }
    snprintf(settings, sizeof settings, "out_features=%lld",
             (long long)mc_option_i64(options, &mc_kind_model, "classes"));
    *output = mc_graph_chain(graph, &status, "linear", "linear", settings, node);
    return status;
}

static int32_t infer(const mc_architecture *arch, mc_find_shape_fn find, void *user,
                     modeconn_options *options)
{
    (void)arch;
    int64_t hidden[MC_LIST_MAX], count = 0, shape[4], inputs;
    int32_t rank;
    char name[32];

    for (; count < MC_LIST_MAX; count++) {
        snprintf(name, sizeof name, "layers.%lld.weight", (long long)count);
        if (!find(user, name, &rank, shape) || rank != 2) {
            break;
        }
        hidden[count] = shape[0];
        inputs = count == 0 ? shape[1] : inputs;
    }
    int32_t status = mc_arch_find(find, user, "linear.weight", 2, shape);
    if (status == MODECONN_OK) {
        status = mc_arch_infer_channels(count == 0 ? shape[1] : inputs, options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "classes", shape[0]);
    }
    return status == MODECONN_OK ? mc_arch_set_list(options, "hidden", hidden, count) : status;
}

const mc_architecture mc_arch_mlp = {
    .name = "mlp",
    .description = "fully connected ReLU layers of the sizes in \"hidden\"",
    .build = build,
    .infer = infer,
};
