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

/* Rows of a task: about 64 KB of an activation. */
static int64_t chunk_rows(int64_t c)
{
    return c < 16384 ? 16384 / c : 1;
}

typedef struct add_job {
    const mc_pass *pass;
    mc_map a, b;
    const float *y, *dy;
    float *out;
    int64_t rows, c, chunk;
    bool relu, accumulate;
} add_job;

static add_job job_of(mc_pass *pass, const mc_node *node)
{
    const mc_slot *slot = mc_slot_of(pass, node);
    add_job job = {.pass = pass, .relu = node->rectify, .c = node->out.c};
    job.rows = mc_rows(pass, node->out);
    job.chunk = chunk_rows(job.c);
    job.y = slot->out;
    job.dy = slot->d_out;
    return job;
}

static void run(mc_pass *pass, mc_task_fn fn, add_job *job)
{
    mc_pool_run(pass->pool, (job->rows + job->chunk - 1) / job->chunk, fn, job);
}

static int64_t rows_of_task(const add_job *job, int64_t task)
{
    int64_t left = job->rows - task * job->chunk;
    return left < job->chunk ? left : job->chunk;
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const add_job *job = arg;
    int64_t at = task * job->chunk * job->c;
    mc_map a = job->a, b = job->b;
    a.x += at;
    b.x += at;
    job->pass->kernels->add(&a, &b, rows_of_task(job, task), job->relu, job->out + at);
}

static void backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const add_job *job = arg;
    int64_t at = task * job->chunk * job->c;
    job->pass->kernels->pass_back(job->relu ? job->y + at : NULL, job->dy + at,
                                  rows_of_task(job, task) * job->c, job->accumulate, job->out + at);
}

/* Batch norms before the sum are applied while it is made. */
static void forward(mc_pass *pass, const mc_node *node)
{
    add_job job = job_of(pass, node);
    mc_lazy_input(pass, node, 0, &job.a);
    mc_lazy_input(pass, node, 1, &job.b);
    job.out = mc_slot_of(pass, node)->out;
    run(pass, forward_task, &job);
}

/* Both inputs have the same gradient. Where the plan gives an input the sum's own memory for it, it
 * is masked there; the others get copies. */
static void backward(mc_pass *pass, const mc_node *node)
{
    add_job job = job_of(pass, node);
    const mc_slot *slot = mc_slot_of(pass, node);
    /* A convolution may have masked what it gave (conv2d.c). */
    job.relu = job.relu && pass->parts.masked != node - pass->graph->nodes;
    for (int which = 0; which < 2; which++) {
        job.out = mc_input_slot(pass, node, which)->d_out;
        job.accumulate = slot->accumulate[which];
        if (job.out == slot->d_out) {
            job.accumulate = false;
        }
        if (job.out != NULL && (job.out != slot->d_out || job.relu)) {
            run(pass, backward_task, &job);
        }
        /* Masked once is masked. */
        job.relu = job.relu && job.out != slot->d_out;
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
