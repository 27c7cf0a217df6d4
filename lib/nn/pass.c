/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Running a planned pass forward and back.
 */
#include "nn/graph.h"
#include <string.h>

typedef struct input_job {
    const float *x;
    float *out;
    mc_shape shape;
} input_job;

/* One image [c][h][w] to [h][w][c]. */
static void input_task(void *arg, int64_t image, int worker)
{
    (void)worker;
    const input_job *job = arg;
    int64_t c = job->shape.c, hw = job->shape.h * job->shape.w;
    const float *x = job->x + image * c * hw;
    float *out = job->out + image * c * hw;
    for (int64_t i = 0; i < c; i++) {
        for (int64_t p = 0; p < hw; p++) {
            out[p * c + i] = x[i * hw + p];
        }
    }
}

void mc_pass_forward(mc_pass *pass, const float *x, int64_t n, mc_norm_mode mode)
{
    const modeconn_graph *graph = pass->graph;
    input_job input = {x, pass->slots[0].out, graph->nodes[0].out};
    pass->n = n;
    pass->mode = mode;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        pass->slots[i].out = pass->slots[i].forward_out;
        pass->slots[i].lost = pass->slots[i].again_out != NULL;
    }
    mc_pool_run(pass->pool, n, input_task, &input);
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        node->type->forward(pass, node);
        if (pass->visit != NULL) {
            pass->visit(pass->visit_user, i, pass->slots[i].out, mc_rows(pass, node->out),
                        node->out.c);
        }
    }
}

static void set_cotangent(mc_pass *pass, int32_t node, const float *d)
{
    int64_t size = pass->n * mc_shape_size(pass->graph->nodes[node].out);
    memcpy(pass->slots[node].d_out, d, (size_t)size * sizeof *d);
}

/* Makes the output of node i again where the plan says so and it has not been: the node that made
 * it runs once more, for itself and for the ReLU that it does. */
static void make_again(mc_pass *pass, int32_t i)
{
    const modeconn_graph *graph = pass->graph;
    if (!pass->slots[i].lost) {
        return;
    }
    while (graph->nodes[i].forwarded) {
        i = graph->nodes[i].inputs[0];
    }
    const mc_node *node = &graph->nodes[i];
    for (int32_t k = 0; k < node->n_inputs; k++) {
        make_again(pass, node->inputs[k]);
    }
    mc_slot *own = &pass->slots[i], *relu = node->rectify ? &pass->slots[node->last_reader] : own;
    own->out = relu->out = own->again_out;
    own->lost = relu->lost = false;
    pass->making_again = true;
    node->type->forward(pass, node);
    pass->making_again = false;
}

static void backward_node(mc_pass *pass, int32_t i)
{
    const mc_node *node = &pass->graph->nodes[i];
    if (mc_reads_output_back(node)) {
        make_again(pass, i);
    }
    for (int32_t k = 0; k < node->n_inputs && mc_reads_inputs_back(node); k++) {
        make_again(pass, node->inputs[k]);
    }
    node->type->backward(pass, node);
}

void mc_pass_backward(mc_pass *pass, const float *d_logits, const float *d_representation)
{
    const modeconn_graph *graph = pass->graph;
    int64_t size = pass->n * mc_shape_size(graph->nodes[graph->output].out);
    if (d_logits != NULL) {
        set_cotangent(pass, graph->output, d_logits);
    } else {
        memset(pass->slots[graph->output].d_out, 0, (size_t)size * sizeof(float));
    }
    /* Nobody asks for the image's gradient, also where the image is the representation. */
    if (d_representation != NULL && pass->slots[mc_representation_node(graph)].d_out != NULL) {
        set_cotangent(pass, mc_representation_node(graph), d_representation);
    }
    /* The output is the last node, so it is the first to write the representation's gradient. */
    pass->slots[graph->output].accumulate[0] = d_representation != NULL;
    for (int32_t i = graph->n_nodes - 1; i > 0; i--) {
        backward_node(pass, i);
    }
}
