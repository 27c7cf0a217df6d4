/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A graph as JSON text and back, for files and copies:
 *
 *     {"input": [c, h, w], "layers": [{"type", "name", "settings", "inputs": [...]}, ...]}
 */
#include "io/io.h"
#include "nn/graph.h"
#include <string.h>

static json_t *describe_node(const mc_node *node)
{
    json_t *inputs = json_array();
    for (int32_t k = 0; k < node->n_inputs; k++) {
        json_array_append_new(inputs, json_integer(node->inputs[k]));
    }
    return json_pack("{s:s, s:s*, s:s, s:o}", "type", node->type->name, "name", node->name,
                     "settings", node->settings, "inputs", inputs);
}

int32_t mc_graph_describe(const modeconn_graph *graph, char **text)
{
    mc_shape in = graph->nodes[0].out;
    json_t *layers = json_array();
    bool failed = layers == NULL;
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        failed = json_array_append_new(layers, describe_node(&graph->nodes[i])) != 0 || failed;
    }
    json_t *root = json_pack("{s:[I,I,I], s:o}", "input", (json_int_t)in.c, (json_int_t)in.h,
                             (json_int_t)in.w, "layers", layers);
    int64_t needed = 0;
    int32_t status = failed || root == NULL
                         ? mc_fail(MODECONN_ERROR_MEMORY, "out of memory: describing a graph")
                         : mc_json_out(json_incref(root), NULL, 0, &needed);
    *text = NULL;
    if (status == MODECONN_OK) {
        *text = mc_alloc(graph->context, needed, 1);
        status = *text == NULL ? MODECONN_ERROR_MEMORY
                               : mc_json_out(json_incref(root), *text, needed, NULL);
    }
    json_decref(root);
    if (status < 0) {
        mc_free(graph->context, *text);
        *text = NULL;
    }
    return status;
}

static int32_t parse_node(modeconn_graph *graph, const json_t *layer)
{
    const char *type, *name = NULL, *settings = "";
    json_t *list;
    int32_t inputs[MC_NODE_INPUTS], node;
    json_error_t error;

    if (json_unpack_ex((json_t *)(uintptr_t)layer, &error, 0, "{s:s, s?s, s?s, s:o}", "type", &type,
                       "name", &name, "settings", &settings, "inputs", &list) != 0 ||
        !json_is_array(list) || json_array_size(list) > MC_NODE_INPUTS) {
        return mc_fail(MODECONN_ERROR_FORMAT, "layer %d of the graph is damaged", graph->n_nodes);
    }
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *input = json_array_get(list, k);
        json_int_t value = json_integer_value(input);
        bool is_node = json_is_integer(input) && value >= 0 && value <= INT32_MAX;
        inputs[k] = is_node ? (int32_t)value : -1;
    }
    return modeconn_graph_add(graph, type, name, settings, inputs, (int64_t)json_array_size(list),
                              &node);
}

int32_t mc_graph_parse(modeconn_context *context, const char *text, modeconn_graph **out)
{
    json_int_t c, h, w;
    json_t *layers;
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    modeconn_graph *graph = NULL;
    int32_t status = MODECONN_OK;

    *out = NULL;
    if (root == NULL || json_unpack_ex(root, &error, 0, "{s:[I,I,I], s:o}", "input", &c, &h, &w,
                                       "layers", &layers) != 0) {
        status = mc_fail(MODECONN_ERROR_FORMAT, "the description of the graph is damaged: %s",
                         error.text);
    }
    if (status == MODECONN_OK) {
        status = modeconn_graph_create(context, c, h, w, &graph);
    }
    for (size_t i = 0; status == MODECONN_OK && i < json_array_size(layers); i++) {
        status = parse_node(graph, json_array_get(layers, i));
    }
    json_decref(root);
    if (status < 0) {
        modeconn_graph_destroy(graph);
        return status;
    }
    *out = graph;
    return MODECONN_OK;
}
