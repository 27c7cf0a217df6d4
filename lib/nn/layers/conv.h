/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the convolution layer (conv2d.c) and its algorithms share. An algorithm is a file
 * conv_<name>.c and a row of the table in conv2d.c.
 */
#ifndef MC_CONV_H
#define MC_CONV_H

#include "nn/graph.h"

typedef struct mc_conv_algorithm mc_conv_algorithm;

/* One pass of one layer: x [rows of the input][c], y and dy [rows][o], w [o][c / groups][taps]. */
typedef struct mc_conv_job {
    mc_pass *pass;
    const mc_node *node;
    const float *x, *w, *bias, *dy; /* bias may be NULL */
    const float *scale;             /* of every output [o], NULL: 1; then bias, then relu */
    bool relu;
    float *y, *dx, *dw; /* dx NULL: not wanted; dw as pass->add_grad says */
    mc_map input;       /* x, to be read so if the algorithm reads maps */
    const mc_conv_algorithm *algorithm;
    int64_t rows;    /* of the output: n * oh * ow */
    bool accumulate; /* dx is added to */
    /* Not NULL: the batch norm behind has left its gradient to the layer to pull back, and dy is
     * that of the norm's output. */
    const mc_pull *pull;
    bool in_parts; /* somebody wants sums of what is written (mc_conv_parts()) */
    /* Of dx, as the gradient of what `summed` shows. Where it is a sum's gradient, dx is masked to
     * where `positive`, the sum, is that; NULL: it is not. */
    mc_map summed;
    const float *positive;
} mc_conv_job;

struct mc_conv_algorithm {
    const char *name;
    bool grouped; /* for layers whose channels are in groups; the others are for all other layers */
    /* Whether it can take job->input for x. */
    bool (*reads_maps)(const mc_node *node);
    /* Whether it is the better choice for n images; depends on shapes only. */
    bool (*suits)(const mc_node *node, int64_t n);
    /* Floats per worker and shared, for every batch up to n. */
    int64_t (*scratch)(const mc_node *node, int64_t n, bool gradients);
    int64_t (*shared)(const mc_node *node, int64_t n, bool gradients);
    /* Floats of the weights as forward wants them. */
    int64_t (*prepared)(const mc_node *node);
    void (*forward)(const mc_conv_job *job);
    /* The weights' gradient and, where job->dx is not NULL, the input's. */
    void (*backward)(const mc_conv_job *job);
    /* Whether both are taken together, dy then pulled back as job->pull says: for n images, or for
     * some number of them (n 0). NULL: never. */
    bool (*joins)(const mc_node *node, int64_t n);
};

/* What a task will read or write of maps soon: products touch it meanwhile, in this order. */
enum { MC_RANGES = 5 };
typedef struct mc_soon {
    mc_ahead range[MC_RANGES];
    int count;
} mc_soon;

/* Adds `count` rows of row_size floats of `data`, from row `first` on; MC_RANGES times at most. */
static inline void mc_soon_add(mc_soon *list, const float *data, int64_t first, int64_t count,
                               int64_t row_size)
{
    list->range[list->count++] = (mc_ahead){(const char *)(data + first * row_size),
                                            count * row_size * (int64_t)sizeof *data / MC_LINE};
}

extern const mc_conv_algorithm mc_conv_direct, mc_conv_grouped, mc_conv_winograd;

/* Where the weights are prepared for forward (mc_pass.prepared): `ready` if they still are. */
float *mc_conv_prepared(const mc_conv_job *job, bool *ready);

/* For an algorithm that writes y, or dx, in `count` parts of consecutive rows: whether to take the
 * sums of each by mc_conv_sum_y() or mc_conv_sum_dx() once it is written. */
bool mc_conv_parts(const mc_conv_job *job, int64_t count, int64_t channels);
/* Rows first .. first + rows - 1, channels column .. column + columns - 1: of y mean and squared
 * deviations; of dx what norm_reduce() sums up, masked before where it is to be. */
void mc_conv_sum_y(const mc_conv_job *job, int64_t part, int64_t first, int64_t rows,
                   int64_t column, int64_t columns);
void mc_conv_sum_dx(const mc_conv_job *job, int64_t part, int64_t first, int64_t rows,
                    int64_t column, int64_t columns);

/* conv_pack.c: multiplies column j of panels [k][n] by scale[j]; nothing to do where it is NULL. */
void mc_conv_scale(const mc_kernels *kernels, const float *scale, int64_t k, int64_t n,
                   float *panels);

/* conv_pack.c: weight [o][c][taps] in panels of [taps][c] by o. */
void mc_conv_pack(const mc_pass *pass, const float *weight, int64_t taps, int64_t c, int64_t o,
                  float *panels);
/* Likewise of [taps][o] by c: the taps in their own order, or for the input's gradient of a window
 * (mc_tap_place()). */
void mc_conv_pack_back(const mc_pass *pass, const float *weight, int64_t taps, int64_t c, int64_t o,
                       const mc_window *window, float *panels);

static inline int64_t mc_conv_taps(const mc_node *node)
{
    return node->window.kernel * node->window.kernel;
}

/* Room for panels of a [k][n] matrix on any instruction set, a cache line more. */
static inline int64_t mc_conv_panels(int64_t k, int64_t n)
{
    return (n + MC_LANES_MOST - 1) / MC_LANES_MOST * MC_LANES_MOST * k + 16;
}

static inline int64_t mc_at_least(int64_t value, int64_t low)
{
    return value > low ? value : low;
}

#endif
