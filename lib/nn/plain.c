/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The whole graph in double from the layers' plain twins: NCHW, parameters as PyTorch has them,
 * one buffer a node, sums in index order. The reference for tests; never fast.
 */
#include "nn/graph.h"
#include <string.h>

static int64_t node_size(const mc_plain *plain, int32_t node)
{
    return plain->n * mc_shape_size(plain->graph->nodes[node].out);
}

int32_t mc_plain_create(const modeconn_graph *graph, int64_t n, mc_plain **out)
{
    modeconn_context *context = graph->context;
    mc_plain *plain = mc_calloc(context, 1, sizeof *plain);
    *out = NULL;
    if (plain == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    plain->graph = graph;
    plain->n = n;
    plain->out = mc_calloc(context, graph->n_nodes, sizeof *plain->out);
    plain->d_out = mc_calloc(context, graph->n_nodes, sizeof *plain->d_out);
    plain->moment = mc_calloc(context, graph->n_nodes, sizeof *plain->moment);
    bool failed = plain->out == NULL || plain->d_out == NULL || plain->moment == NULL;
    for (int32_t i = 0; i < graph->n_nodes && !failed; i++) {
        plain->out[i] = mc_calloc(context, node_size(plain, i), sizeof(double));
        failed = plain->out[i] == NULL;
        if (!failed && i > 0) {
            plain->d_out[i] = mc_calloc(context, node_size(plain, i), sizeof(double));
            plain->moment[i] = mc_calloc(context, 2 * graph->nodes[i].out.c, sizeof(double));
            failed = plain->d_out[i] == NULL || plain->moment[i] == NULL;
        }
    }
    if (failed) {
        mc_plain_free(plain);
        return MODECONN_ERROR_MEMORY;
    }
    *out = plain;
    return MODECONN_OK;
}

static void free_all(const mc_plain *plain, double **buffers)
{
    for (int32_t i = 0; buffers != NULL && i < plain->graph->n_nodes; i++) {
        mc_free(plain->graph->context, buffers[i]);
    }
    mc_free(plain->graph->context, buffers);
}

void mc_plain_free(mc_plain *plain)
{
    if (plain != NULL) {
        free_all(plain, plain->out);
        free_all(plain, plain->d_out);
        free_all(plain, plain->moment);
        mc_free(plain->graph->context, plain);
    }
}

void mc_plain_forward(mc_plain *plain, const double *theta, const double *statistics,
                      mc_norm_mode mode, const double *x)
{
    plain->theta = theta;
    plain->statistics = statistics;
    plain->mode = mode;
    memcpy(plain->out[0], x, (size_t)node_size(plain, 0) * sizeof *x);
    for (int32_t i = 1; i < plain->graph->n_nodes; i++) {
        plain->graph->nodes[i].type->plain_forward(plain, &plain->graph->nodes[i]);
        if (plain->visit != NULL) {
            plain->visit(plain->visit_user, i, plain->out[i], node_size(plain, i));
        }
    }
}

void mc_plain_backward(mc_plain *plain, const double *d_logits, const double *d_representation,
                       double *grad)
{
    const modeconn_graph *graph = plain->graph;
    const double *cotangents[2] = {d_logits, d_representation};
    int32_t nodes[2] = {graph->output, mc_representation_node(graph)};

    plain->grad = grad;
    memset(grad, 0, (size_t)graph->n_theta * sizeof *grad);
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        memset(plain->d_out[i], 0, (size_t)node_size(plain, i) * sizeof(double));
    }
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; cotangents[k] != NULL && i < node_size(plain, nodes[k]); i++) {
            plain->d_out[nodes[k]][i] += cotangents[k][i];
        }
    }
    for (int32_t i = graph->n_nodes - 1; i > 0; i--) {
        graph->nodes[i].type->plain_backward(plain, &graph->nodes[i]);
    }
}

const double *mc_plain_logits(const mc_plain *plain)
{
    return plain->out[plain->graph->output];
}

const double *mc_plain_representation(const mc_plain *plain)
{
    return plain->out[mc_representation_node(plain->graph)];
}
