/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A weight [o][c][taps] in the panels that products want (kernels.h): of [taps][c] rows by outputs
 * forward, of [taps][o] rows by inputs for the input's gradient. The weight is read in its own
 * order; what is scattered are the writes, into few enough lines for the first cache. Forward that
 * is a kernel, which transposes squares.
 */
#include "nn/layers/conv_window.h"
#include <string.h>

typedef struct pack_job {
    const mc_kernels *kernels;
    const float *w;
    int64_t taps, c, o;
    const mc_window *window; /* backward, NULL: taps in their own order */
    float *panels;
} pack_job;

/* Outputs of a task, backward. */
enum { PACK_OUTPUTS = 32 };

/* The widest panel `task`, or the narrower ones in its place. */
static void pack_forward(void *arg, int64_t task, int worker)
{
    (void)worker;
    const pack_job *job = arg;
    int64_t most = job->kernels->lanes * job->kernels->vectors, first = task * most;
    job->kernels->pack_panels(job->w, job->o, job->c, job->taps, first,
                              mc_smaller(most, job->o - first), job->panels);
}

static int64_t place_of(const pack_job *job, int64_t t)
{
    if (job->window == NULL) {
        return t;
    }
    int64_t k = job->window->kernel, stride = job->window->stride;
    return mc_tap_place(k, stride, t / k) * k + mc_tap_place(k, stride, t % k);
}

/* A line of a panel: the first of up to `width` inputs, which lie `taps` apart. */
static void pack_line(const float *from, int64_t taps, int64_t used, int64_t width, float *to)
{
    if (taps == 1) { /* a known distance makes copies of it */
        memcpy(to, from, (size_t)used * sizeof *to);
    } else {
        for (int64_t l = 0; l < used; l++) {
            to[l] = from[l * taps];
        }
    }
    memset(to + used, 0, (size_t)(width - used) * sizeof *to);
}

static int64_t output_chunks(const pack_job *job)
{
    return mc_quotient_up(job->o, PACK_OUTPUTS);
}

/* Some outputs of the widest panel `task / chunks`, or of the narrower ones in its place. */
static void pack_backward(void *arg, int64_t task, int worker)
{
    (void)worker;
    const pack_job *job = arg;
    int64_t most = job->kernels->lanes * job->kernels->vectors, chunks = output_chunks(job);
    int64_t first = task % chunks * PACK_OUTPUTS, end = mc_smaller(first + PACK_OUTPUTS, job->o);
    int64_t column = task / chunks * most, columns = mc_smaller(column + most, job->c);
    for (int64_t j = column, width; j < columns; j += width) {
        width = mc_panel_width(job->kernels, job->c - j);
        int64_t used = mc_smaller(width, job->c - j);
        for (int64_t t = 0; t < job->taps; t++) {
            float *to = job->panels + (j * job->taps + place_of(job, t) * width) * job->o;
            for (int64_t i = first; i < end; i++) {
                pack_line(job->w + (i * job->c + j) * job->taps + t, job->taps, used, width,
                          to + i * width);
            }
        }
    }
}

void mc_conv_pack(const mc_pass *pass, const float *weight, int64_t taps, int64_t c, int64_t o,
                  float *panels)
{
    pack_job job = {pass->kernels, weight, taps, c, o, NULL, panels};
    mc_pool_run(pass->pool, mc_quotient_up(o, pass->kernels->lanes * pass->kernels->vectors),
                pack_forward, &job);
}

void mc_conv_pack_back(const mc_pass *pass, const float *weight, int64_t taps, int64_t c, int64_t o,
                       const mc_window *window, float *panels)
{
    pack_job job = {pass->kernels, weight, taps, c, o, window, panels};
    int64_t columns = mc_quotient_up(c, pass->kernels->lanes * pass->kernels->vectors);
    mc_pool_run(pass->pool, columns * output_chunks(&job), pack_backward, &job);
}

void mc_conv_scale(const mc_kernels *kernels, const float *scale, int64_t k, int64_t n,
                   float *panels)
{
    if (scale == NULL) {
        return;
    }
    for (int64_t j = 0, width; j < n; j += width) {
        width = mc_panel_width(kernels, n - j);
        float *panel = panels + j * k;
        for (int64_t i = 0; i < k; i++) {
            for (int64_t l = 0; l < mc_smaller(width, n - j); l++) {
                panel[i * width + l] *= scale[j + l];
            }
        }
    }
}
