/* SPDX-License-Identifier: BSD-3-Clause
 *
 * y = max(0, x), dx = dy where y > 0. A ReLU that alone reads a layer able to rectify is done by
 * that layer (node->forwarded): its slot then is the layer's.
 */
#include "nn/graph.h"

const mc_option_kind mc_kind_relu = {"relu", NULL, 0};

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    (void)options;
    node->out = node->in;
    return MODECONN_OK;
}

enum { CHUNK = 65536 };

typedef struct relu_job {
    const mc_pass *pass;
    const float *x, *y, *dy;
    float *out;
    int64_t size;
    bool accumulate;
} relu_job;

static int64_t size_of_task(const relu_job *job, int64_t task)
{
    int64_t left = job->size - task * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const relu_job *job = arg;
    int64_t at = task * CHUNK;
    mc_map x = {.x = job->x + at, .c = size_of_task(job, task)};
    job->pass->kernels->add(&x, NULL, 1, true, job->out + at);
}

static void backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const relu_job *job = arg;
    int64_t at = task * CHUNK;
    job->pass->kernels->pass_back(job->y + at, job->dy + at, size_of_task(job, task),
                                  job->accumulate, job->out + at);
}

static void run(mc_pass *pass, mc_task_fn fn, relu_job *job)
{
    mc_pool_run(pass->pool, (job->size + CHUNK - 1) / CHUNK, fn, job);
}

static void forward(mc_pass *pass, const mc_node *node)
{
    if (node->forwarded) {
        return;
    }
    relu_job job = {.pass = pass, .size = pass->n * mc_shape_size(node->out)};
    job.x = mc_input_slot(pass, node, 0)->out;
    job.out = mc_slot_of(pass, node)->out;
    run(pass, forward_task, &job);
}

static void backward(mc_pass *pass, const mc_node *node)
{
    mc_slot *slot = mc_slot_of(pass, node);
    relu_job job = {.pass = pass, .size = pass->n * mc_shape_size(node->out)};
    job.y = slot->out;
    job.dy = slot->d_out;
    job.out = mc_input_slot(pass, node, 0)->d_out;
    job.accumulate = slot->accumulate[0];
    if (!node->forwarded && job.out != NULL) {
        run(pass, backward_task, &job);
    }
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    double *y = plain->out[node - plain->graph->nodes];
    for (int64_t i = 0; i < plain->n * mc_shape_size(node->out); i++) {
        y[i] = x[i] > 0.0 ? x[i] : 0.0;
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    const double *dy = plain->d_out[node - plain->graph->nodes];
    double *dx = plain->d_out[node->inputs[0]];
    for (int64_t i = 0; dx != NULL && i < plain->n * mc_shape_size(node->out); i++) {
        dx[i] += x[i] > 0.0 ? dy[i] : 0.0;
    }
}

const mc_layer_type mc_layer_relu = {
    .name = "relu",
    .options = &mc_kind_relu,
    .n_inputs = 1,
    .keeps_output = true,
    .in_place = true,
    .symmetry = MC_SYMMETRY_KEEPS,
    .configure = configure,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
