/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Batch norm over the rows of x [rows][c], per channel, with an optional ReLU behind it:
 *
 *     y = gamma (x - mean) / sqrt(variance + eps) + beta
 *
 * mean and variance are the batch's (biased variance; kept in slot->moment) or the bound running
 * statistics. With r = 1/sqrt(variance + eps), N rows, g = dy (masked by the ReLU), xhat = (x -
 * mean) r:
 *
 *     dbeta = sum g,   dgamma = sum g xhat
 *     dx = gamma r (g - dbeta / N - xhat dgamma / N)       = a g + p x + q per channel
 *
 * Sums are taken over chunks of rows of a fixed size and added in order.
 */
#include "nn/graph.h"
#include <math.h>
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_POSITIVE("eps", "1e-5", "added to the variance"),
    MC_OPT_F64("momentum", 0, 1, "0.1", "weight of a batch in the running statistics"),
};
const mc_option_kind mc_kind_batch_norm = MC_OPTION_KIND("batch_norm", specs);

static mc_tensor_spec per_channel(const char *suffix, int64_t c, mc_init init)
{
    mc_tensor_spec spec = {
        .suffix = suffix, .size = c, .rank = 1, .shape = {c, 1, 1, 1}, .init = init};
    return spec;
}

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    int64_t c = node->in.c;
    node->out = node->in;
    node->eps = mc_option_f64(options, &mc_kind_batch_norm, "eps");
    node->momentum = mc_option_f64(options, &mc_kind_batch_norm, "momentum");
    node->params[0] = per_channel("weight", c, MC_INIT_ONE);
    node->params[1] = per_channel("bias", c, MC_INIT_ZERO);
    node->stats[0] = per_channel("running_mean", c, MC_INIT_ZERO);
    node->stats[1] = per_channel("running_var", c, MC_INIT_ONE);
    node->n_params = 2;
    node->n_stats = 2;
    return MODECONN_OK;
}

/* Rows of a chunk: about 64 KB of activations. */
static int64_t chunk_rows(int64_t c)
{
    int64_t rows = 16384 / c;
    return rows > 32 ? rows : 32;
}

static int64_t chunk_count(const mc_node *node, int64_t n)
{
    int64_t rows = n * node->out.h * node->out.w, chunk = chunk_rows(node->out.c);
    return (rows + chunk - 1) / chunk;
}

/* Doubles of a chunk: its rows, and two sums per channel. */
static int64_t part_size(int64_t c)
{
    return 1 + 2 * c;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    (void)gradients;
    return chunk_count(node, n) * part_size(node->out.c) * 2;
}

/* Per channel: scale, offset and mean of the forward map, and a, p, q of the backward one. */
static int64_t saved(const mc_node *node, int64_t n)
{
    (void)n;
    return 6 * node->out.c;
}

typedef struct norm_job {
    const mc_pass *pass;
    const mc_node *node;
    const float *x, *dy, *coefficients;
    float *out;
    bool accumulate;
    double *sums; /* of the chunks, part_size() apart; gradients' leave the rows out */
    int64_t rows, c, chunk;
} norm_job;

static norm_job job_of(mc_pass *pass, const mc_node *node)
{
    norm_job job = {.pass = pass, .node = node};
    job.x = mc_input_slot(pass, node, 0)->out;
    job.rows = mc_rows(pass, node->out);
    job.c = node->out.c;
    job.chunk = chunk_rows(job.c);
    job.sums = (double *)(void *)pass->shared;
    job.coefficients = mc_slot_of(pass, node)->saved;
    return job;
}

static int64_t rows_of_task(const norm_job *job, int64_t task)
{
    int64_t left = job->rows - task * job->chunk;
    return left < job->chunk ? left : job->chunk;
}

static int64_t run_chunks(mc_pass *pass, mc_task_fn fn, norm_job *job)
{
    int64_t chunks = (job->rows + job->chunk - 1) / job->chunk;
    mc_pool_run(pass->pool, chunks, fn, job);
    return chunks;
}

/* Rows whose mean the moments are taken about; channels at a time. */
enum { SHIFT_ROWS = 8, SHIFT_CHANNELS = 256 };

void mc_row_moments(const mc_kernels *kernels, const float *x, int64_t rows, int64_t c,
                    int64_t step, double *mean, double *square)
{
    const int64_t few = rows < SHIFT_ROWS ? rows : SHIFT_ROWS;
    float shift[SHIFT_CHANNELS];
    memset(mean, 0, (size_t)c * sizeof *mean);
    memset(square, 0, (size_t)c * sizeof *square);
    for (int64_t first = 0; first < c; first += SHIFT_CHANNELS) {
        int64_t count = c - first < SHIFT_CHANNELS ? c - first : SHIFT_CHANNELS;
        kernels->window_sum(x + first, few, rows / few * step, 1, count, 1.0f / (float)few, shift);
        kernels->moments(x + first, rows, count, step, shift, mean + first, square + first);
        for (int64_t i = first; i < first + count; i++) {
            double d = mean[i] / (double)rows, left = square[i] - mean[i] * d;
            square[i] = left < 0.0 ? 0.0 : left; /* NaN stays NaN */
            mean[i] = (double)shift[i - first] + d;
        }
    }
}

static void moments_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *job = arg;
    int64_t rows = rows_of_task(job, task);
    double *part = job->sums + task * part_size(job->c);
    part[0] = (double)rows;
    mc_row_moments(job->pass->kernels, job->x + task * job->chunk * job->c, rows, job->c, job->c,
                   part + 1, part + 1 + job->c);
}

/* Mean and biased variance from those of the parts: with counts a, b and means ma, mb the squared
 * deviations add up to Sa + Sb + (mb - ma)^2 a b / (a + b). */
static void join_parts(const mc_parts *parts, int64_t c, double *mean, double *variance)
{
    double count = 0.0;
    memset(mean, 0, (size_t)c * sizeof *mean);
    memset(variance, 0, (size_t)c * sizeof *variance);
    for (int64_t k = 0; k < parts->count; k++) {
        const double *part = parts->data + k * parts->stride;
        double rows = part[0], share = rows / (count + rows);
        for (int64_t i = 0; i < c; i++) {
            double d = part[1 + i] - mean[i];
            mean[i] += d * share;
            variance[i] += part[1 + c + i] + d * d * share * count;
        }
        count += rows;
    }
    for (int64_t i = 0; i < c; i++) {
        variance[i] /= count;
    }
}

/* Mean and biased variance of the batch; from the convolution before, where it has taken them. */
static void batch_moments(mc_pass *pass, norm_job *job, double *mean, double *variance)
{
    mc_parts own = {.stride = part_size(job->c), .data = job->sums};
    const mc_parts *parts = &pass->parts;
    if (parts->of == 0 || parts->of != job->node->inputs[0]) {
        own.count = run_chunks(pass, moments_task, job);
        parts = &own;
    }
    join_parts(parts, job->c, mean, variance);
}

static void affine_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *job = arg;
    int64_t at = task * job->chunk * job->c;
    job->pass->kernels->affine(job->x + at, rows_of_task(job, task), job->c, job->coefficients,
                               job->coefficients + job->c, job->node->rectify, job->out + at);
}

/* scale, offset and mean from slot->moment. */
static void set_map(mc_pass *pass, const mc_node *node)
{
    mc_slot *slot = mc_slot_of(pass, node);
    int64_t c = node->out.c;
    const float *gamma = pass->theta + node->params[0].offset;
    const float *beta = pass->theta + node->params[1].offset;
    for (int64_t i = 0; i < c; i++) {
        double scale = (double)gamma[i] / sqrt(slot->moment[c + i] + node->eps);
        slot->saved[i] = (float)scale;
        slot->saved[c + i] = (float)((double)beta[i] - slot->moment[i] * scale);
        slot->saved[2 * c + i] = (float)slot->moment[i];
    }
}

void mc_norm_running(mc_pass *pass, const mc_node *node)
{
    double *moment = mc_slot_of(pass, node)->moment;
    for (int64_t i = 0; i < node->out.c; i++) {
        moment[i] = (double)pass->statistics[node->stats[0].offset + i];
        moment[node->out.c + i] = (double)pass->statistics[node->stats[1].offset + i];
    }
    set_map(pass, node);
}

static void forward(mc_pass *pass, const mc_node *node)
{
    mc_slot *slot = mc_slot_of(pass, node);
    norm_job job = job_of(pass, node);
    if (mc_is_folded(pass, &pass->graph->nodes[node->inputs[0]])) {
        return;
    }
    if (pass->mode == MC_NORM_BATCH && !pass->making_again) {
        batch_moments(pass, &job, slot->moment, slot->moment + job.c);
        set_map(pass, node);
    } else if (pass->mode != MC_NORM_BATCH) {
        mc_norm_running(pass, node);
    }
    if (!mc_is_lazy(pass, node)) {
        job.out = slot->out;
        run_chunks(pass, affine_task, &job);
    }
}

const mc_node *mc_lazy_input(const mc_pass *pass, const mc_node *node, int which, mc_map *map)
{
    const mc_node *input = &pass->graph->nodes[node->inputs[which]];
    *map = (mc_map){.x = pass->slots[node->inputs[which]].out, .c = input->out.c};
    if (input->forwarded) {
        input = &pass->graph->nodes[input->inputs[0]];
    }
    if (!mc_is_lazy(pass, input)) {
        return NULL;
    }
    map->scale = pass->slots[input - pass->graph->nodes].saved;
    map->offset = map->scale + map->c;
    map->mean = map->offset + map->c;
    map->relu = input->rectify;
    return input;
}

static mc_map map_at(const norm_job *job, int64_t at)
{
    const float *scale = job->coefficients;
    return (mc_map){.x = job->x + at,
                    .scale = scale,
                    .offset = scale + job->c,
                    .mean = scale + 2 * job->c,
                    .relu = job->node->rectify,
                    .c = job->c};
}

static void reduce_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *job = arg;
    int64_t at = task * job->chunk * job->c;
    double *sums = job->sums + task * part_size(job->c) + 1;
    memset(sums, 0, (size_t)(2 * job->c) * sizeof *sums);
    mc_map x = map_at(job, at);
    job->pass->kernels->norm_reduce(&x, job->dy + at, rows_of_task(job, task), job->c, sums,
                                    sums + job->c);
}

/* Both sums [2][c]; from the convolution that gave the gradient, where it has taken them. */
static const double *reduce(mc_pass *pass, norm_job *job)
{
    mc_parts own = {.stride = part_size(job->c), .data = job->sums};
    const mc_parts *parts = &pass->parts;
    if (parts->of == 0 || parts->of != job->node - pass->graph->nodes) {
        own.count = run_chunks(pass, reduce_task, job);
        parts = &own;
    }
    for (int64_t k = 1; k < parts->count; k++) {
        for (int64_t i = 1; i <= 2 * job->c; i++) {
            parts->data[i] += parts->data[k * parts->stride + i];
        }
    }
    return parts->data + 1;
}

static mc_pull pull_at(const norm_job *job, int64_t at)
{
    const float *a = job->coefficients + 3 * job->c;
    return (mc_pull){map_at(job, at), a, a + job->c, a + 2 * job->c};
}

static void apply_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const norm_job *job = arg;
    int64_t at = task * job->chunk * job->c;
    mc_pull pull = pull_at(job, at);
    job->pass->kernels->norm_apply(&pull, job->dy + at, rows_of_task(job, task), job->accumulate,
                                   job->out + at);
}

mc_pull mc_norm_pull(mc_pass *pass, const mc_node *norm)
{
    norm_job job = job_of(pass, norm);
    return pull_at(&job, 0);
}

static void backward(mc_pass *pass, const mc_node *node)
{
    mc_slot *slot = mc_slot_of(pass, node);
    norm_job job = job_of(pass, node);
    const float *gamma = pass->theta + node->params[0].offset;
    float *d_gamma = pass->grad + node->params[0].offset;
    float *d_beta = pass->grad + node->params[1].offset;
    const double *mean = slot->moment, *variance = slot->moment + job.c;
    const float *near = slot->saved + 2 * job.c; /* the mean in float: sums are about that */
    float *a = slot->saved + 3 * job.c, *p = a + job.c, *q = p + job.c;

    job.dy = slot->d_out;
    job.out = mc_input_slot(pass, node, 0)->d_out;
    job.accumulate = slot->accumulate[0];
    const double *sums = reduce(pass, &job);
    for (int64_t i = 0; i < job.c; i++) {
        double r = 1.0 / sqrt(variance[i] + node->eps);
        double sum = sums[i];
        double product = (sums[job.c + i] - (mean[i] - (double)near[i]) * sum) * r;
        mc_add_grad(pass, d_beta + i, sum);
        mc_add_grad(pass, d_gamma + i, product);
        double scale = (double)gamma[i] * r, n = (double)job.rows;
        a[i] = (float)scale;
        p[i] = (float)(-scale * r * product / n);
        q[i] = (float)(-scale * sum / n + scale * r * product / n * mean[i]);
    }
    if (job.out != NULL && !mc_conv_pulls_back(pass, &pass->graph->nodes[node->inputs[0]])) {
        run_chunks(pass, apply_task, &job);
    }
}

/* ---- in double, straight from the definition ------------------------------------------------- */

/* Index of value v of channel i in [n][c][hw]. */
static int64_t value_index(int64_t v, int64_t i, int64_t c, int64_t hw)
{
    return (v / hw * c + i) * hw + v % hw;
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    int64_t self = node - plain->graph->nodes, c = node->out.c, hw = node->out.h * node->out.w;
    int64_t count = plain->n * hw;
    const double *x = plain->out[node->inputs[0]];
    double *y = plain->out[self], *moment = plain->moment[self];

    for (int64_t i = 0; i < c; i++) {
        double mean = 0.0, variance = 0.0;
        if (plain->mode == MC_NORM_BATCH) {
            for (int64_t v = 0; v < count; v++) {
                mean += x[value_index(v, i, c, hw)] / (double)count;
            }
            for (int64_t v = 0; v < count; v++) {
                double d = x[value_index(v, i, c, hw)] - mean;
                variance += d * d / (double)count;
            }
        } else {
            mean = plain->statistics[node->stats[0].offset + i];
            variance = plain->statistics[node->stats[1].offset + i];
        }
        moment[i] = mean;
        moment[c + i] = variance;
        double scale = plain->theta[node->params[0].offset + i] / sqrt(variance + node->eps);
        for (int64_t v = 0; v < count; v++) {
            int64_t at = value_index(v, i, c, hw);
            y[at] = (x[at] - mean) * scale + plain->theta[node->params[1].offset + i];
        }
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    int64_t self = node - plain->graph->nodes, c = node->out.c, hw = node->out.h * node->out.w;
    int64_t count = plain->n * hw;
    const double *x = plain->out[node->inputs[0]], *dy = plain->d_out[self];
    const double *moment = plain->moment[self];
    double *dx = plain->d_out[node->inputs[0]];

    for (int64_t i = 0; i < c; i++) {
        double r = 1.0 / sqrt(moment[c + i] + node->eps), sum = 0.0, product = 0.0;
        for (int64_t v = 0; v < count; v++) {
            int64_t at = value_index(v, i, c, hw);
            sum += dy[at];
            product += dy[at] * (x[at] - moment[i]) * r;
        }
        plain->grad[node->params[1].offset + i] += sum;
        plain->grad[node->params[0].offset + i] += product;
        double scale = plain->theta[node->params[0].offset + i] * r;
        for (int64_t v = 0; v < count && dx != NULL; v++) {
            int64_t at = value_index(v, i, c, hw);
            double hat = (x[at] - moment[i]) * r;
            dx[at] += scale * (dy[at] - sum / (double)count - hat * product / (double)count);
        }
    }
}

const mc_layer_type mc_layer_batch_norm = {
    .name = "batch_norm",
    .options = &mc_kind_batch_norm,
    .n_inputs = 1,
    .can_rectify = true,
    .masks_by_input = true,
    .keeps_input = true,
    .in_place = true,
    .symmetry = MC_SYMMETRY_KEEPS,
    .configure = configure,
    .shared = shared,
    .saved = saved,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
