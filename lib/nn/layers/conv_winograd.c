/* SPDX-License-Identifier: BSD-3-Clause
 *
 * 3x3 convolution at stride 1 by the bilinear algorithms of lib/kernels/winograd.c. With F
 * frequencies (36; 18 or 9 where a dimension has 2 pixels) and tiles t of the output:
 *
 *     V = B^T x B [F][t][c],  U = G W G^T [F][c][o],  M_f = V_f U_f [t][o],  y = A^T M A
 *
 * The input's gradient is the same convolution of dy with the kernels turned by a half and c and o
 * exchanged, at padding 2 - padding. The weight's gradient is
 *
 *     D = A dy A^T [F][t][o],  dU_f = V_f^T D_f,  dW = G^T dU G
 *
 * where groups of tiles are summed apart and then in order. Tiles are worked on in blocks whose V
 * and M (or D) stay in the cache; blocks and groups depend on shapes only.
 */
#include "nn/layers/conv.h"

/* ---- how the work is cut ------------------------------------------------------------------------
 */

static mc_winograd forward_geometry(const mc_node *node)
{
    const mc_window *p = &node->window;
    return mc_winograd_of(p->h, p->w, p->oh, p->ow, p->padding);
}

static mc_winograd backward_geometry(const mc_node *node)
{
    const mc_window *p = &node->window;
    return mc_winograd_of(p->oh, p->ow, p->h, p->w, 2 - p->padding);
}

static int64_t frequencies(const mc_winograd *w)
{
    return w->freq_y * w->freq_x;
}

static int64_t tiles_per_image(const mc_winograd *w)
{
    return w->tiles_y * w->tiles_x;
}

static int64_t pairs(const mc_node *node)
{
    return node->in.c * node->out.c;
}

static bool is_possible(const mc_node *node)
{
    const mc_window *p = &node->window;
    return p->kernel == 3 && p->stride == 1 && p->padding <= 2 && p->h > 1 && p->w > 1;
}

/* Worth it when the products saved outweigh the transforms: channels enough to share a tile's
 * transform, tiles enough to share a kernel's, and little of the tiles outside the image. */
static bool suits(const mc_node *node, int64_t n)
{
    if (!is_possible(node) || node->in.c < 8 || node->out.c < 8) {
        return false;
    }
    mc_winograd w = forward_geometry(node);
    int64_t products = frequencies(&w) * tiles_per_image(&w);
    return n * tiles_per_image(&w) >= 24 && 5 * products <= 3 * 9 * node->out.h * node->out.w;
}

/* Tiles of a block: V and M of about 768 KB, but enough rows for efficient products. */
static int64_t block_tiles(const mc_node *node, const mc_winograd *w)
{
    int64_t tiles = 196608 / (frequencies(w) * (node->in.c + node->out.c));
    return tiles < 64 ? 64 : tiles > 512 ? 512 : tiles;
}

/* Groups of the weight gradient: enough for the threads, not more than 64 MB of them, and none of
 * fewer tiles than a good product wants. */
enum { MOST_GROUPS = 8 };

static int64_t weight_groups(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t groups = 16777216 / (frequencies(w) * pairs(node));
    groups = groups < 2 ? 2 : groups > MOST_GROUPS ? MOST_GROUPS : groups;
    int64_t most = (tiles + 63) / 64;
    return groups < most ? groups : most;
}

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = forward_geometry(node), back = backward_geometry(node);
    int64_t channels = node->in.c + node->out.c;
    int64_t need = block_tiles(node, &w) * frequencies(&w) * channels;
    int64_t back_need = block_tiles(node, &back) * frequencies(&back) * channels;
    return gradients ? mc_at_least(need, back_need) : need;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = forward_geometry(node), back = backward_geometry(node);
    int64_t groups = gradients ? weight_groups(node, &w, n * tiles_per_image(&w)) : 1;
    int64_t need = groups * frequencies(&w) * pairs(node);
    return gradients ? mc_at_least(need, frequencies(&back) * pairs(node)) : need;
}

/* ---- convolution of x by U: the forward pass and the input's gradient ---------------------------
 */

typedef struct product_job {
    const mc_pass *pass;
    mc_winograd w;
    const float *x, *taps, *bias;
    float *y;
    int64_t c, o; /* of x and of y */
    int64_t tiles, block;
    bool backward, accumulate; /* backward: U is [o of x][c of y] transposed, kernels turned */
    int64_t pairs;
} product_job;

enum { FILTERS = 2048 };

static void filter_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const product_job *job = arg;
    int64_t first = task * FILTERS;
    int64_t count = job->pairs - first < FILTERS ? job->pairs - first : FILTERS;
    job->pass->kernels->winograd_filter(&job->w, job->taps, job->pairs, first, count, job->backward,
                                        job->pass->shared);
}

static void product_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_kernels *kernels = job->pass->kernels;
    int64_t first = task * job->block, left = job->tiles - first;
    int64_t tiles = left < job->block ? left : job->block;
    float *v = job->pass->scratch[worker], *m = v + frequencies(&job->w) * tiles * job->c;

    kernels->winograd_input(&job->w, job->x, job->c, first, tiles, v);
    for (int64_t f = 0; f < frequencies(&job->w); f++) {
        const float *u = job->pass->shared + f * job->pairs;
        mc_matrix b = {u, job->backward ? 1 : job->o, job->backward ? job->c : 1};
        mc_gemm(tiles, job->o, job->c, (mc_matrix){v + f * tiles * job->c, job->c, 1}, b, 0.0f,
                m + f * tiles * job->o, job->o);
    }
    kernels->winograd_output(&job->w, m, job->o, first, tiles, job->bias, job->accumulate, job->y);
}

static void run_product(const mc_conv_job *conv, product_job *job)
{
    mc_pool *pool = conv->pass->pool;
    job->pass = conv->pass;
    job->taps = conv->w;
    job->pairs = pairs(conv->node);
    job->tiles = conv->pass->n * tiles_per_image(&job->w);
    job->block = block_tiles(conv->node, &job->w);
    mc_pool_run(pool, (job->pairs + FILTERS - 1) / FILTERS, filter_task, job);
    mc_pool_run(pool, (job->tiles + job->block - 1) / job->block, product_task, job);
}

static void forward(const mc_conv_job *conv)
{
    product_job job = {.w = forward_geometry(conv->node),
                       .x = conv->x,
                       .bias = conv->bias,
                       .y = conv->y,
                       .c = conv->node->in.c,
                       .o = conv->node->out.c};
    run_product(conv, &job);
}

static void backward_input(const mc_conv_job *conv)
{
    product_job job = {.w = backward_geometry(conv->node),
                       .x = conv->dy,
                       .y = conv->dx,
                       .c = conv->node->out.c,
                       .o = conv->node->in.c,
                       .backward = true,
                       .accumulate = conv->accumulate};
    run_product(conv, &job);
}

/* ---- the weight's gradient
 * ------------------------------------------------------------------------ */

typedef struct weight_job {
    const mc_conv_job *conv;
    mc_winograd w;
    int64_t tiles, block, groups, per_group, pairs;
} weight_job;

/* Sums dU [F][c][o] over the tiles of one group. */
static void group_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    int64_t c = conv->node->in.c, o = conv->node->out.c, freq = frequencies(&job->w);
    int64_t begin = task * job->per_group, end = begin + job->per_group;
    float *du = conv->pass->shared + task * freq * job->pairs;

    end = end < job->tiles ? end : job->tiles;
    for (int64_t first = begin; first < end; first += job->block) {
        int64_t tiles = end - first < job->block ? end - first : job->block;
        float *v = conv->pass->scratch[worker], *d = v + freq * tiles * c;
        kernels->winograd_input(&job->w, conv->x, c, first, tiles, v);
        kernels->winograd_cotangent(&job->w, conv->dy, o, first, tiles, d);
        for (int64_t f = 0; f < freq; f++) {
            mc_gemm(c, o, tiles, (mc_matrix){v + f * tiles * c, 1, c},
                    (mc_matrix){d + f * tiles * o, o, 1}, first == begin ? 0.0f : 1.0f,
                    du + f * job->pairs, o);
        }
    }
}

static void filter_back_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const weight_job *job = arg;
    int64_t first = task * FILTERS;
    int64_t count = job->pairs - first < FILTERS ? job->pairs - first : FILTERS;
    job->conv->pass->kernels->winograd_filter_back(&job->w, job->conv->pass->shared, job->pairs,
                                                   first, count, job->groups, job->conv->dw);
}

static void backward_weight(const mc_conv_job *conv)
{
    weight_job job = {.conv = conv, .w = forward_geometry(conv->node)};
    job.pairs = pairs(conv->node);
    job.tiles = conv->pass->n * tiles_per_image(&job.w);
    job.block = block_tiles(conv->node, &job.w);
    job.groups = weight_groups(conv->node, &job.w, job.tiles);
    job.per_group = (job.tiles + job.groups - 1) / job.groups;
    /* Rounding up can leave the last group without a tile. */
    job.groups = (job.tiles + job.per_group - 1) / job.per_group;
    mc_pool_run(conv->pass->pool, job.groups, group_task, &job);
    mc_pool_run(conv->pass->pool, (job.pairs + FILTERS - 1) / FILTERS, filter_back_task, &job);
}

const mc_conv_algorithm mc_conv_winograd = {
    "winograd", suits, scratch, shared, forward, backward_weight, backward_input,
};
