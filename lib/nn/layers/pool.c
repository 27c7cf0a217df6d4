/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pooling over windows of [n][h][w][c], channel by channel. Average: padding counts as zeros (as
 * PyTorch's count_include_pad). Maximum: padding never wins, ties go to the first position; the
 * winner's place in the image is kept for the way back. Global average: one window an image.
 */
#include "nn/graph.h"
#include <math.h>
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_I64("kernel", 1, 4096, "2", "height and width of the window, pixels"),
    MC_OPT_I64("stride", 0, 4096, "0", "step of the window, pixels; 0 = the kernel's size"),
    MC_OPT_I64("padding", 0, 2048, "0", "pixels around the image, at most half the kernel"),
};
const mc_option_kind mc_kind_avg_pool = MC_OPTION_KIND("avg_pool", specs);
const mc_option_kind mc_kind_max_pool = MC_OPTION_KIND("max_pool", specs);
const mc_option_kind mc_kind_global_avg_pool = {"global_avg_pool", NULL, 0};

static int32_t configure_window(mc_node *node, const modeconn_options *options,
                                const mc_option_kind *kind)
{
    int64_t kernel = mc_option_i64(options, kind, "kernel");
    int64_t stride = mc_option_i64(options, kind, "stride");
    int64_t padding = mc_option_i64(options, kind, "padding");
    if (padding > kernel / 2) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "padding %lld is more than half the kernel %lld",
                       (long long)padding, (long long)kernel);
    }
    return mc_window_configure(node, kernel, stride > 0 ? stride : kernel, padding);
}

static int32_t configure_avg(mc_node *node, const modeconn_options *options)
{
    return configure_window(node, options, &mc_kind_avg_pool);
}

static int32_t configure_max(mc_node *node, const modeconn_options *options)
{
    return configure_window(node, options, &mc_kind_max_pool);
}

static int32_t configure_global(mc_node *node, const modeconn_options *options)
{
    (void)options;
    node->out = (mc_shape){node->in.c, 1, 1};
    return MODECONN_OK;
}

/* The winners' places, one per output. */
static int64_t saved_max(const mc_node *node, int64_t n)
{
    return n * mc_shape_size(node->out);
}

/* A task is an image: windows overlap inside it only. */
typedef struct pool_job {
    const mc_pass *pass;
    const mc_node *node;
    const float *x, *dy;
    float *y, *dx, *winner;
    bool accumulate;
} pool_job;

static pool_job job_of(mc_pass *pass, const mc_node *node)
{
    const mc_slot *slot = mc_slot_of(pass, node), *input = mc_input_slot(pass, node, 0);
    pool_job job = {pass,      node,         input->out,  slot->d_out,
                    slot->out, input->d_out, slot->saved, slot->accumulate[0]};
    return job;
}

/* The part of the window at (oy, ox) that lies in the image. */
typedef struct span {
    int64_t y0, y1, x0, x1;
} span;

static span span_of(const mc_window *p, int64_t pixel)
{
    int64_t y = pixel / p->ow * p->stride - p->padding;
    int64_t x = pixel % p->ow * p->stride - p->padding;
    span s = {y > 0 ? y : 0, y + p->kernel < p->h ? y + p->kernel : p->h, x > 0 ? x : 0,
              x + p->kernel < p->w ? x + p->kernel : p->w};
    return s;
}

static void avg_image(void *arg, int64_t image, int worker)
{
    (void)worker;
    const pool_job *job = arg;
    const mc_window *p = &job->node->window;
    const float *x = job->x + image * p->h * p->w * p->c;
    float *y = job->y + image * p->oh * p->ow * p->c;
    float scale = 1.0f / (float)(p->kernel * p->kernel);

    for (int64_t pixel = 0; pixel < p->oh * p->ow; pixel++, y += p->c) {
        span s = span_of(p, pixel);
        job->pass->kernels->window_sum(x + (s.y0 * p->w + s.x0) * p->c, s.y1 - s.y0, p->w * p->c,
                                       s.x1 - s.x0, p->c, scale, y);
    }
}

static void avg_image_back(void *arg, int64_t image, int worker)
{
    (void)worker;
    const pool_job *job = arg;
    const mc_window *p = &job->node->window;
    const float *dy = job->dy + image * p->oh * p->ow * p->c;
    float *dx = job->dx + image * p->h * p->w * p->c;
    float scale = 1.0f / (float)(p->kernel * p->kernel);

    if (!job->accumulate) {
        memset(dx, 0, (size_t)(p->h * p->w * p->c) * sizeof *dx);
    }
    for (int64_t pixel = 0; pixel < p->oh * p->ow; pixel++, dy += p->c) {
        span s = span_of(p, pixel);
        for (int64_t at = s.y0 * p->w; at < s.y1 * p->w; at += p->w) {
            for (int64_t v = (at + s.x0) * p->c; v < (at + s.x1) * p->c; v += p->c) {
                for (int64_t i = 0; i < p->c; i++) {
                    dx[v + i] += dy[i] * scale;
                }
            }
        }
    }
}

static void max_image(void *arg, int64_t image, int worker)
{
    (void)worker;
    const pool_job *job = arg;
    const mc_window *p = &job->node->window;
    const float *x = job->x + image * p->h * p->w * p->c;
    int64_t first = image * p->oh * p->ow * p->c;

    for (int64_t out = 0; out < p->oh * p->ow * p->c; out++) {
        span s = span_of(p, out / p->c);
        int64_t best = (s.y0 * p->w + s.x0) * p->c + out % p->c;
        for (int64_t y = s.y0; y < s.y1; y++) {
            for (int64_t v = s.x0; v < s.x1; v++) {
                int64_t at = (y * p->w + v) * p->c + out % p->c;
                /* The second test lets a NaN win, so that it is not lost. */
                best = x[at] > x[best] || isnan(x[at]) ? at : best;
            }
        }
        job->y[first + out] = x[best];
        int32_t place = (int32_t)best;
        memcpy(&job->winner[first + out], &place, sizeof place);
    }
}

static void max_image_back(void *arg, int64_t image, int worker)
{
    (void)worker;
    const pool_job *job = arg;
    const mc_window *p = &job->node->window;
    float *dx = job->dx + image * p->h * p->w * p->c;
    int64_t first = image * p->oh * p->ow * p->c;

    if (!job->accumulate) {
        memset(dx, 0, (size_t)(p->h * p->w * p->c) * sizeof *dx);
    }
    for (int64_t out = first; out < first + p->oh * p->ow * p->c; out++) {
        int32_t place;
        memcpy(&place, &job->winner[out], sizeof place);
        dx[place] += job->dy[out];
    }
}

static void global_image(void *arg, int64_t image, int worker)
{
    (void)worker;
    const pool_job *job = arg;
    int64_t c = job->node->in.c, hw = job->node->in.h * job->node->in.w;
    job->pass->kernels->window_sum(job->x + image * hw * c, 1, hw * c, hw, c, 1.0f / (float)hw,
                                   job->y + image * c);
}

static void global_image_back(void *arg, int64_t image, int worker)
{
    (void)worker;
    const pool_job *job = arg;
    int64_t c = job->node->in.c, hw = job->node->in.h * job->node->in.w;
    job->pass->kernels->mean_back(job->dy + image * c, hw, c, job->accumulate,
                                  job->dx + image * hw * c);
}

static void run(mc_pass *pass, const mc_node *node, mc_task_fn fn)
{
    pool_job job = job_of(pass, node);
    mc_pool_run(pass->pool, pass->n, fn, &job);
}

static void run_back(mc_pass *pass, const mc_node *node, mc_task_fn fn)
{
    if (mc_input_slot(pass, node, 0)->d_out != NULL) {
        run(pass, node, fn);
    }
}

static void forward_avg(mc_pass *pass, const mc_node *node)
{
    run(pass, node, avg_image);
}

static void backward_avg(mc_pass *pass, const mc_node *node)
{
    run_back(pass, node, avg_image_back);
}

static void forward_max(mc_pass *pass, const mc_node *node)
{
    run(pass, node, max_image);
}

static void backward_max(mc_pass *pass, const mc_node *node)
{
    run_back(pass, node, max_image_back);
}

static void forward_global(mc_pass *pass, const mc_node *node)
{
    run(pass, node, global_image);
}

static void backward_global(mc_pass *pass, const mc_node *node)
{
    run_back(pass, node, global_image_back);
}

/* ---- in double: a plane [h][w] of one channel of one image at a time ----------------------- */

typedef void (*plane_fn)(const mc_window *p, const double *x, double *y, const double *dy,
                         double *dx);

static void each_plane(mc_plain *plain, const mc_node *node, plane_fn fn, bool back)
{
    int64_t self = node - plain->graph->nodes, input = node->inputs[0];
    int64_t in = node->in.h * node->in.w, out = node->out.h * node->out.w;
    /* Kernel 0: the window is the whole image. */
    mc_window whole = {1, node->in.h, node->in.w, 1, 1, 0, 1, 0};
    const mc_window *p = node->type == &mc_layer_global_avg_pool ? &whole : &node->window;
    if (back && plain->d_out[input] == NULL) {
        return;
    }
    for (int64_t k = 0; k < plain->n * node->in.c; k++) {
        fn(p, plain->out[input] + k * in, plain->out[self] + k * out,
           back ? plain->d_out[self] + k * out : NULL, back ? plain->d_out[input] + k * in : NULL);
    }
}

static void plane_avg(const mc_window *p, const double *x, double *y, const double *dy, double *dx)
{
    for (int64_t out = 0; out < p->oh * p->ow; out++) {
        span s = p->kernel > 0 ? span_of(p, out) : (span){0, p->h, 0, p->w};
        double count = (double)(p->kernel > 0 ? p->kernel * p->kernel : p->h * p->w);
        double sum = 0.0;
        for (int64_t v = s.y0; v < s.y1; v++) {
            for (int64_t u = s.x0; u < s.x1; u++) {
                sum += x[v * p->w + u];
                if (dx != NULL) {
                    dx[v * p->w + u] += dy[out] / count;
                }
            }
        }
        if (dx == NULL) {
            y[out] = sum / count;
        }
    }
}

static void plane_max(const mc_window *p, const double *x, double *y, const double *dy, double *dx)
{
    for (int64_t out = 0; out < p->oh * p->ow; out++) {
        span s = span_of(p, out);
        int64_t best = s.y0 * p->w + s.x0;
        for (int64_t v = s.y0; v < s.y1; v++) {
            for (int64_t u = s.x0; u < s.x1; u++) {
                best = x[v * p->w + u] > x[best] ? v * p->w + u : best;
            }
        }
        if (dx != NULL) {
            dx[best] += dy[out];
        } else {
            y[out] = x[best];
        }
    }
}

static void plain_forward_avg(mc_plain *plain, const mc_node *node)
{
    each_plane(plain, node, plane_avg, false);
}

static void plain_backward_avg(mc_plain *plain, const mc_node *node)
{
    each_plane(plain, node, plane_avg, true);
}

static void plain_forward_max(mc_plain *plain, const mc_node *node)
{
    each_plane(plain, node, plane_max, false);
}

static void plain_backward_max(mc_plain *plain, const mc_node *node)
{
    each_plane(plain, node, plane_max, true);
}

const mc_layer_type mc_layer_avg_pool = {
    .name = "avg_pool",
    .options = &mc_kind_avg_pool,
    .n_inputs = 1,
    .symmetry = MC_SYMMETRY_POOLS,
    .configure = configure_avg,
    .forward = forward_avg,
    .backward = backward_avg,
    .plain_forward = plain_forward_avg,
    .plain_backward = plain_backward_avg,
};

const mc_layer_type mc_layer_max_pool = {
    .name = "max_pool",
    .options = &mc_kind_max_pool,
    .n_inputs = 1,
    .symmetry = MC_SYMMETRY_POOLS,
    .configure = configure_max,
    .saved = saved_max,
    .forward = forward_max,
    .backward = backward_max,
    .plain_forward = plain_forward_max,
    .plain_backward = plain_backward_max,
};

const mc_layer_type mc_layer_global_avg_pool = {
    .name = "global_avg_pool",
    .options = &mc_kind_global_avg_pool,
    .n_inputs = 1,
    .symmetry = MC_SYMMETRY_POOLS,
    .configure = configure_global,
    .forward = forward_global,
    .backward = backward_global,
    .plain_forward = plain_forward_avg,
    .plain_backward = plain_backward_avg,
};
