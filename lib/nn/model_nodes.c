/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the folders above may know of a model's nodes without its graph: which outputs are those of
 * activations, what to call them, and where the last layer's parameters lie.
 */
#include "nn/graph.h"

/* An activation of an architecture has no name; it is known by the layer that it follows. */
static const char *name_of(const modeconn_graph *graph, int32_t node)
{
    while (node > 0 && graph->nodes[node].name == NULL) {
        node = graph->nodes[node].inputs[0];
    }
    return graph->nodes[node].name != NULL ? graph->nodes[node].name : "";
}

bool mc_model_node(const modeconn_model *model, int32_t node, mc_node_info *info)
{
    const modeconn_graph *graph = model->graph;
    if (graph == NULL || node < 0 || node >= graph->n_nodes) {
        return false;
    }
    const mc_node *at = &graph->nodes[node];
    *info = (mc_node_info){.name = name_of(graph, node),
                           .relu = at->type == &mc_layer_relu,
                           .activation = at->type == &mc_layer_relu || at->type == &mc_layer_gelu,
                           .representation = node == mc_representation_node(graph),
                           .channels = at->out.c,
                           .height = at->out.h,
                           .width = at->out.w};
    return true;
}

int32_t mc_model_head(const modeconn_model *model, int64_t *weight, int64_t *bias)
{
    const modeconn_graph *graph = model->graph;
    const mc_node *last = graph != NULL ? &graph->nodes[graph->output] : NULL;
    if (last == NULL || last->type != &mc_layer_linear) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "the last layer of %s is not linear",
                       model->architecture);
    }
    *weight = last->params[0].offset;
    *bias = last->n_params == 2 ? last->params[1].offset : -1;
    return MODECONN_OK;
}
