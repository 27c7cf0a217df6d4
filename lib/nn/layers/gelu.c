/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Gaussian error linear unit y = x Phi(x), Phi the normal distribution function, or its
 * approximation by tanh (the formulas stand in lib/kernels/gelu.c).
 */
#include "nn/graph.h"
#include <math.h>
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_STR("approximate", "none|tanh", "none",
               "none: exact, by the error function; tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 "
               "x^3)))"),
};
const mc_option_kind mc_kind_gelu = MC_OPTION_KIND("gelu", specs);

enum { TANH_FORM }; /* place in node->constants: 1 or 0 */

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    const char *form = mc_option_str(options, &mc_kind_gelu, "approximate");
    node->out = node->in;
    node->constants[TANH_FORM] = strcmp(form, "tanh") == 0 ? 1.0 : 0.0;
    return MODECONN_OK;
}

static bool tanh_form(const mc_node *node)
{
    return node->constants[TANH_FORM] != 0.0;
}

enum { CHUNK = 16384 };

typedef struct gelu_job {
    const mc_pass *pass;
    const mc_node *node;
    const float *x, *dy;
    float *out;
    int64_t size;
    bool accumulate;
} gelu_job;

static int64_t size_of_task(const gelu_job *job, int64_t task)
{
    int64_t left = job->size - task * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

static void forward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const gelu_job *job = arg;
    int64_t at = task * CHUNK;
    job->pass->kernels->gelu(job->x + at, size_of_task(job, task), tanh_form(job->node),
                             job->out + at);
}

static void backward_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const gelu_job *job = arg;
    int64_t at = task * CHUNK;
    job->pass->kernels->gelu_back(job->x + at, job->dy + at, size_of_task(job, task),
                                  tanh_form(job->node), job->accumulate, job->out + at);
}

static gelu_job job_of(mc_pass *pass, const mc_node *node)
{
    gelu_job job = {.pass = pass, .node = node};
    job.x = mc_input_slot(pass, node, 0)->out;
    job.size = pass->n * mc_shape_size(node->out);
    return job;
}

static void forward(mc_pass *pass, const mc_node *node)
{
    gelu_job job = job_of(pass, node);
    job.out = mc_slot_of(pass, node)->out;
    mc_pool_run(pass->pool, (job.size + CHUNK - 1) / CHUNK, forward_task, &job);
}

static void backward(mc_pass *pass, const mc_node *node)
{
    gelu_job job = job_of(pass, node);
    job.dy = mc_slot_of(pass, node)->d_out;
    job.out = mc_input_slot(pass, node, 0)->d_out;
    job.accumulate = mc_slot_of(pass, node)->accumulate[0];
    if (job.out != NULL) {
        mc_pool_run(pass->pool, (job.size + CHUNK - 1) / CHUNK, backward_task, &job);
    }
}

/* ---- in double, as the definition has it --------------------------------------------------- */

static const double slope = 0.79788456080286535588, cubic = 0.044715; /* sqrt(2/pi) */

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    double *y = plain->out[node - plain->graph->nodes];
    for (int64_t i = 0; i < plain->n * mc_shape_size(node->out); i++) {
        double inner = slope * (x[i] + cubic * x[i] * x[i] * x[i]);
        y[i] = 0.5 * x[i] * (1.0 + (tanh_form(node) ? tanh(inner) : erf(x[i] * sqrt(0.5))));
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    const double *x = plain->out[node->inputs[0]];
    const double *dy = plain->d_out[node - plain->graph->nodes];
    double *dx = plain->d_out[node->inputs[0]];
    for (int64_t i = 0; dx != NULL && i < plain->n * mc_shape_size(node->out); i++) {
        double t = tanh(slope * (x[i] + cubic * x[i] * x[i] * x[i]));
        double by_tanh = 0.5 * (1.0 + t) +
                         0.5 * x[i] * (1.0 - t * t) * slope * (1.0 + 3.0 * cubic * x[i] * x[i]);
        double exact =
            0.5 * (1.0 + erf(x[i] * sqrt(0.5))) + 0.5 * slope * x[i] * exp(-0.5 * x[i] * x[i]);
        dx[i] += dy[i] * (tanh_form(node) ? by_tanh : exact);
    }
}

const mc_layer_type mc_layer_gelu = {
    .name = "gelu",
    .symmetry = MC_SYMMETRY_KEEPS,
    .options = &mc_kind_gelu,
    .n_inputs = 1,
    .keeps_input = true,
    .in_place = true,
    .configure = configure,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
