/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Building graphs: nodes in the order they are added, each reading earlier ones.
 */
#include "nn/graph.h"
#include <stdio.h>
#include <string.h>

/* With MC_EXTENT_MOST, and no more than INT32_MAX values of a sample at any node, products of sizes
 * stay inside int64. */
enum { MAX_NODES = 1 << 16 };

static const mc_layer_type *find_layer(const char *name)
{
    for (int64_t i = 0; i < mc_layers_count; i++) {
        if (strcmp(mc_layers[i]->name, name) == 0) {
            return mc_layers[i];
        }
    }
    return NULL;
}

static void free_node(const modeconn_context *context, mc_node *node)
{
    mc_free(context, node->name);
    mc_free(context, node->settings);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* Where the node with parameters of that name stands in `named`, or would stand. Twice as many
 * places as nodes, a power of two: a search ends, and soon, for names come from files and the key,
 * the graph's address, does not. */
static int32_t *find_named(const modeconn_graph *key, const mc_node *nodes, int32_t *named,
                           int32_t capacity, const char *name)
{
    uint64_t mask = 2 * (uint64_t)capacity - 1, at = mc_hash_keyed((uintptr_t)key, name);
    while (named[at & mask] != 0 && strcmp(nodes[named[at & mask]].name, name) != 0) {
        at++;
    }
    return &named[at & mask];
}

static int32_t grow(modeconn_graph *graph)
{
    if (graph->n_nodes < graph->capacity) {
        return MODECONN_OK;
    }
    int32_t capacity = graph->capacity == 0 ? 64 : 2 * graph->capacity;
    mc_node *nodes = mc_calloc(graph->context, capacity, sizeof *nodes);
    int32_t *named = mc_calloc(graph->context, 2 * (int64_t)capacity, sizeof *named);
    if (nodes == NULL || named == NULL) {
        mc_free(graph->context, nodes);
        mc_free(graph->context, named);
        return MODECONN_ERROR_MEMORY;
    }
    if (graph->nodes != NULL) {
        memcpy(nodes, graph->nodes, (size_t)graph->n_nodes * sizeof *nodes);
    }
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        if (nodes[i].n_params > 0) {
            *find_named(graph, nodes, named, capacity, nodes[i].name) = i;
        }
    }
    mc_free(graph->context, graph->nodes);
    mc_free(graph->context, graph->named);
    graph->nodes = nodes;
    graph->named = named;
    graph->capacity = capacity;
    return MODECONN_OK;
}

int32_t modeconn_graph_create(modeconn_context *context, int64_t channels, int64_t height,
                              int64_t width, modeconn_graph **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL) {
        return mc_null("context");
    }
    if (channels < 1 || height < 1 || width < 1 || channels > MC_EXTENT_MOST ||
        height > MC_EXTENT_MOST || width > MC_EXTENT_MOST) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "input %lldx%lldx%lld: each extent must be in [1, %d]", (long long)channels,
                       (long long)height, (long long)width, MC_EXTENT_MOST);
    }
    if (channels * height * width > INT32_MAX) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "input %lldx%lldx%lld is too large",
                       (long long)channels, (long long)height, (long long)width);
    }
    modeconn_graph *graph = mc_calloc(context, 1, sizeof *graph);
    if (graph == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&graph->ref);
    graph->context = mc_context_take(context);
    if (grow(graph) < 0) {
        modeconn_graph_destroy(graph);
        return MODECONN_ERROR_MEMORY;
    }
    graph->nodes[0].type = &mc_layer_input;
    graph->nodes[0].out = (mc_shape){channels, height, width};
    graph->n_nodes = 1;
    *out = graph;
    return MODECONN_OK;
}

modeconn_graph *mc_graph_take(modeconn_graph *graph)
{
    mc_ref_take(&graph->ref);
    return graph;
}

void modeconn_graph_destroy(modeconn_graph *graph)
{
    if (graph == NULL || !mc_ref_drop(&graph->ref)) {
        return;
    }
    modeconn_context *context = graph->context;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        free_node(context, &graph->nodes[i]);
    }
    mc_free(context, graph->nodes);
    mc_free(context, graph->named);
    mc_free(context, graph);
    mc_context_drop(context);
}

static int32_t check_inputs(const modeconn_graph *graph, const mc_layer_type *type,
                            const int32_t *inputs, int64_t n_inputs)
{
    if (n_inputs != type->n_inputs) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "it takes %d inputs, not %lld", type->n_inputs,
                       (long long)n_inputs);
    }
    for (int64_t i = 0; i < n_inputs; i++) {
        if (inputs[i] < 0 || inputs[i] >= graph->n_nodes) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "input node %d: the graph has nodes 0 to %d",
                           inputs[i], graph->n_nodes - 1);
        }
    }
    for (int64_t i = 1; i < n_inputs; i++) {
        mc_shape a = graph->nodes[inputs[0]].out, b = graph->nodes[inputs[i]].out;
        if (a.c != b.c || a.h != b.h || a.w != b.w) {
            return mc_fail(MODECONN_ERROR_SHAPE, "inputs %lldx%lldx%lld and %lldx%lldx%lld differ",
                           (long long)a.c, (long long)a.h, (long long)a.w, (long long)b.c,
                           (long long)b.h, (long long)b.w);
        }
    }
    return MODECONN_OK;
}

static int32_t check_name(const modeconn_graph *graph, const mc_node *node)
{
    if (node->name != NULL && !mc_utf8_valid(node->name)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "the name is not UTF-8, as it must be in a file");
    }
    if (node->n_params == 0) {
        return MODECONN_OK;
    }
    if (node->name == NULL || node->name[0] == '\0') {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "it needs a name for its parameters");
    }
    if (strcmp(node->name, "__metadata__") == 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "safetensors files keep that name for themselves");
    }
    if (*find_named(graph, graph->nodes, graph->named, graph->capacity, node->name) != 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "the graph already has a layer of that name");
    }
    return MODECONN_OK;
}

/* Everything of a new node but its place in the graph; frees what it made on failure. */
static int32_t make_node(const modeconn_graph *graph, const mc_layer_type *type, const char *name,
                         const char *settings, const int32_t *inputs, mc_node *node)
{
    modeconn_context *context = graph->context;
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(context, type->name, &options);

    *node = (mc_node){.type = type, .n_inputs = type->n_inputs, .groups = 1};
    memcpy(node->inputs, inputs, (size_t)type->n_inputs * sizeof *inputs);
    node->in = graph->nodes[inputs[0]].out;
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, settings);
    }
    if (status == MODECONN_OK) {
        status = type->configure(node, options);
    }
    modeconn_options_destroy(options);
    if (status == MODECONN_OK &&
        (node->out.c > MC_EXTENT_MOST || mc_shape_size(node->out) > INT32_MAX)) {
        status = mc_fail(MODECONN_ERROR_SHAPE, "output %lldx%lldx%lld is too large",
                         (long long)node->out.c, (long long)node->out.h, (long long)node->out.w);
    }
    if (status < 0) {
        return status;
    }
    node->settings = mc_strdup(context, settings);
    node->name = name != NULL ? mc_strdup(context, name) : NULL;
    status = node->settings == NULL || (name != NULL && node->name == NULL)
                 ? MODECONN_ERROR_MEMORY
                 : check_name(graph, node);
    if (status < 0) {
        free_node(context, node);
    }
    return status;
}

/* The offsets of a new node's tensors; false, with the graph as it was, where they overflow. */
static bool place_tensors(modeconn_graph *graph, mc_node *node)
{
    int64_t n_theta = graph->n_theta, n_stats = graph->n_stats;
    for (int32_t i = 0; i < node->n_params; i++) {
        node->params[i].offset = n_theta;
        if (__builtin_add_overflow(n_theta, node->params[i].size, &n_theta)) {
            return false;
        }
    }
    for (int32_t i = 0; i < node->n_stats; i++) {
        node->stats[i].offset = n_stats;
        if (__builtin_add_overflow(n_stats, node->stats[i].size, &n_stats)) {
            return false;
        }
    }
    graph->n_theta = n_theta;
    graph->n_stats = n_stats;
    return true;
}

/* A node for which grow() has made room. */
static void append(modeconn_graph *graph, const mc_node *made)
{
    int32_t node = graph->n_nodes++;
    graph->nodes[node] = *made;
    for (int32_t k = 0; k < made->n_inputs; k++) {
        mc_node *input = &graph->nodes[made->inputs[k]];
        input->n_readers++;
        input->first_reader = input->first_reader > 0 ? input->first_reader : node;
        if (input->last_reader != node) {
            input->reader_before = input->last_reader;
            input->last_reader = node;
        }
    }
    if (made->n_params > 0) {
        *find_named(graph, graph->nodes, graph->named, graph->capacity, made->name) = node;
    }
}

static int32_t add_layer(modeconn_graph *graph, const mc_layer_type *layer, const char *name,
                         const char *settings, const int32_t *inputs, int64_t n_inputs,
                         int32_t *node)
{
    if (graph->n_nodes == MAX_NODES) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "the graph has %d nodes, the most there can be",
                       MAX_NODES);
    }
    int32_t status = check_inputs(graph, layer, inputs, n_inputs);
    mc_node made;
    if (status == MODECONN_OK) {
        status = make_node(graph, layer, name, settings, inputs, &made);
    }
    if (status < 0) {
        return status;
    }
    if (grow(graph) < 0) {
        status = MODECONN_ERROR_MEMORY;
    } else if (!place_tensors(graph, &made)) {
        status = mc_fail(MODECONN_ERROR_SHAPE, "the graph has more than 2^63 parameters");
    }
    if (status < 0) {
        free_node(graph->context, &made);
        return status;
    }
    *node = graph->n_nodes;
    append(graph, &made);
    return MODECONN_OK;
}

int32_t modeconn_graph_add(modeconn_graph *graph, const char *type, const char *name,
                           const char *settings, const int32_t *inputs, int64_t n_inputs,
                           int32_t *node)
{
    if (graph == NULL || type == NULL || inputs == NULL || node == NULL) {
        return mc_null(graph == NULL    ? "graph"
                       : type == NULL   ? "type"
                       : inputs == NULL ? "inputs"
                                        : "node");
    }
    const mc_layer_type *layer = find_layer(type);
    if (layer == NULL) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "there is no layer type %s", type);
    }
    const int32_t status =
        add_layer(graph, layer, name, settings != NULL ? settings : "", inputs, n_inputs, node);
    if (status < 0) {
        return name != NULL ? mc_fail_prefix(status, "layer %s (%s)", name, type)
                            : mc_fail_prefix(status, "%s layer", type);
    }
    return MODECONN_OK;
}

int32_t modeconn_graph_shape(const modeconn_graph *graph, int32_t node, int64_t *channels,
                             int64_t *height, int64_t *width)
{
    if (graph == NULL) {
        return mc_null("graph");
    }
    if (node < 0 || node >= graph->n_nodes) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "node %d: the graph has nodes 0 to %d", node,
                       graph->n_nodes - 1);
    }
    mc_shape shape = graph->nodes[node].out;
    if (channels != NULL) {
        *channels = shape.c;
    }
    if (height != NULL) {
        *height = shape.h;
    }
    if (width != NULL) {
        *width = shape.w;
    }
    return MODECONN_OK;
}

static bool same_layer(const mc_node *a, const mc_node *b)
{
    const mc_window *p = &a->window, *q = &b->window;
    return a->type == b->type && a->n_inputs == b->n_inputs &&
           memcmp(a->inputs, b->inputs, sizeof a->inputs) == 0 && a->out.c == b->out.c &&
           a->out.h == b->out.h && a->out.w == b->out.w && p->kernel == q->kernel &&
           p->stride == q->stride && p->padding == q->padding && a->groups == b->groups &&
           a->eps == b->eps && a->momentum == b->momentum && a->constants[0] == b->constants[0] &&
           a->constants[1] == b->constants[1];
}

int32_t mc_graph_same_layers(const modeconn_graph *a, const modeconn_graph *b)
{
    int32_t count = a->n_nodes < b->n_nodes ? a->n_nodes : b->n_nodes;
    for (int32_t i = 0; i < count; i++) {
        const mc_node *p = &a->nodes[i], *q = &b->nodes[i];
        if (!same_layer(p, q)) {
            return mc_fail(MODECONN_ERROR_SHAPE,
                           "the models differ in node %d: %s %s (%s) and %s %s (%s)", i,
                           p->type->name, p->name != NULL ? p->name : "",
                           p->settings != NULL ? p->settings : "", q->type->name,
                           q->name != NULL ? q->name : "", q->settings != NULL ? q->settings : "");
        }
    }
    if (a->n_nodes != b->n_nodes) {
        return mc_fail(MODECONN_ERROR_SHAPE, "the models differ: %d and %d layers", a->n_nodes - 1,
                       b->n_nodes - 1);
    }
    return MODECONN_OK;
}

int32_t mc_graph_check_output(const modeconn_graph *graph, int32_t output)
{
    if (output < 1 || output >= graph->n_nodes) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "output node %d: the graph has nodes 1 to %d",
                       output, graph->n_nodes - 1);
    }
    mc_shape out = graph->nodes[output].out;
    if (out.h != 1 || out.w != 1) {
        return mc_fail(MODECONN_ERROR_SHAPE,
                       "output node %d is %lldx%lldx%lld: logits have height and width 1", output,
                       (long long)out.c, (long long)out.h, (long long)out.w);
    }
    if (graph->n_theta == 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "the graph has no parameters");
    }
    /* A node that led elsewhere would have no gradient; with none, the output is the last node. */
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        if ((graph->nodes[i].n_readers > 0) == (i == output)) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "node %d (%s) does not lead to the output %d",
                           i, graph->nodes[i].type->name, output);
        }
    }
    return MODECONN_OK;
}

int32_t mc_graph_chain(modeconn_graph *graph, int32_t *status, const char *type, const char *name,
                       const char *settings, int32_t input)
{
    int32_t node = input;
    if (*status == MODECONN_OK) {
        *status = modeconn_graph_add(graph, type, name, settings, &input, 1, &node);
    }
    return node;
}
