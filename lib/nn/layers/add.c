/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Residual sum y = a + b of two nodes of one shape, with an optional ReLU behind it.
 */
#include "nn/graph.h"

const mc_option_kind mc_kind_add = {"add", NULL, 0};

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    (void)options;
    node->out = node->in; /* graph.c has compared the shapes */
    return MODECONN_OK;
}

enum { CHUNK = 65536 };

typedef struct add_job {
    const mc_pass *pass;
    const float *a, *b, *y, *dy;
    float *out;
    int64_t size;
    bool relu, accumulate;
} add_job;

static int64_t size_of_task(const add_job *job, int64_t task)
{
    int64_t left = job->size - task * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const add_job *job = arg;
    int64_t at = task * CHUNK;
    job->pass->kernels->add(job->a + at, job->b + at, size_of_task(job, task), job->relu,
                            job->out + at);
}

static void backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const add_job *job = arg;
    int64_t at = task * CHUNK;
    job->pass->kernels->pass_back(job->relu ? job->y + at : NULL, job->dy + at,
                                  size_of_task(job, task), job->accumulate, job->out + at);
}

static add_job job_of(mc_pass *pass, const mc_node *node)
{
    add_job job = {.pass = pass, .relu = node->rectify};
    const mc_slot *slot = mc_slot_of(pass, node);
    job.size = pass->n * mc_shape_size(node->out);
    job.y = slot->out;
    job.dy = slot->d_out;
    return job;
}

static void forward(mc_pass *pass, const mc_node *node)
{
    add_job job = job_of(pass, node);
    job.a = mc_input_slot(pass, node, 0)->out;
    job.b = mc_input_slot(pass, node, 1)->out;
    job.out = mc_slot_of(pass, node)->out;
    mc_pool_run(pass->pool, (job.size + CHUNK - 1) / CHUNK, forward_task, &job);
}

static void backward(mc_pass *pass, const mc_node *node)
{
    add_job job = job_of(pass, node);
    for (int which = 0; which < 2; which++) {
        job.out = mc_input_slot(pass, node, which)->d_out;
        job.accumulate = mc_slot_of(pass, node)->accumulate[which];
        if (job.out != NULL) {
            mc_pool_run(pass->pool, (job.size + CHUNK - 1) / CHUNK, backward_task, &job);
        }
    }
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    const double *a = plain->out[node->inputs[0]], *b = plain->out[node->inputs[1]];
    double *y = plain->out[node - plain->graph->nodes];
    for (int64_t i = 0; i < plain->n * mc_shape_size(node->out); i++) {
        y[i] = a[i] + b[i];
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    const double *dy = plain->d_out[node - plain->graph->nodes];
    for (int which = 0; which < 2; which++) {
        double *dx = plain->d_out[node->inputs[which]];
        for (int64_t i = 0; dx != NULL && i < plain->n * mc_shape_size(node->out); i++) {
            dx[i] += dy[i];
        }
    }
}

const mc_layer_type mc_layer_add = {
    .name = "add",
    .options = &mc_kind_add,
    .n_inputs = 2,
    .can_rectify = true,
    .symmetry = MC_SYMMETRY_JOINS,
    .configure = configure,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
