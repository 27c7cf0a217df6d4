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
enum { MOST_TILES = 512 };

static int64_t block_most(const mc_node *node, const mc_winograd *w)
{
    int64_t block = 196608 / (frequencies(w) * (node->in.c + node->out.c));
    return block < 64 ? 64 : block > MOST_TILES ? MOST_TILES : block;
}

/* Blocks of equal size. */
static int64_t block_tiles(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t most = block_most(node, w), blocks = (tiles + most - 1) / most;
    return (tiles + blocks - 1) / blocks;
}

/* Rows and planes must not lie a power of two apart: they would share the cache's sets. */
static int64_t padded_row(int64_t c)
{
    return c % 64 == 0 ? c + 16 : c;
}

static mc_planes planes_at(float *data, int64_t tiles, int64_t c)
{
    return (mc_planes){data, tiles * padded_row(c) + 16, padded_row(c)};
}

static int64_t planes_size(const mc_winograd *w, int64_t tiles, int64_t c)
{
    return frequencies(w) * (tiles * padded_row(c) + 16);
}

/* How the weight gradient is cut: groups of tiles, summed apart, none of fewer tiles than a good
 * product wants; or, where their sums would be large, slabs of outputs, which each transform the
 * input anew. */
typedef struct weight_cut {
    int64_t groups, slabs, slab;
} weight_cut;
enum { MOST_GROUPS = 8, FEW_GROUPS = 4, SLABS = 4, SLAB_UNIT = 2 * MC_LANES_MOST };
enum { SUMS_MOST = 8388608 }; /* floats of all groups */

static weight_cut weight_cut_of(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t o = node->out.c, groups = SUMS_MOST / (frequencies(w) * pairs(node));
    if (groups < FEW_GROUPS) {
        int64_t slab = (o / SLABS + SLAB_UNIT - 1) / SLAB_UNIT * SLAB_UNIT;
        slab = slab < SLAB_UNIT ? SLAB_UNIT : slab;
        return (weight_cut){1, (o + slab - 1) / slab, slab};
    }
    int64_t most = (tiles + 63) / 64;
    groups = groups > MOST_GROUPS ? MOST_GROUPS : groups;
    return (weight_cut){groups < most ? groups : most, 1, o};
}

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = forward_geometry(node), back = backward_geometry(node);
    int64_t c = node->in.c, o = node->out.c;
    int64_t tiles = block_most(node, &w), back_tiles = block_most(node, &back);
    int64_t need = planes_size(&w, tiles, c) + planes_size(&w, tiles, o);
    int64_t back_need = planes_size(&back, back_tiles, c) + planes_size(&back, back_tiles, o);
    return gradients ? mc_at_least(need, back_need) : need;
}

static int64_t prepared(const mc_node *node)
{
    mc_winograd w = forward_geometry(node);
    return is_possible(node) ? frequencies(&w) * mc_conv_panels(node->in.c, node->out.c) : 0;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = forward_geometry(node), back = backward_geometry(node);
    int64_t c = node->in.c, o = node->out.c;
    int64_t need = 0;
    if (gradients) {
        int64_t groups = weight_cut_of(node, &w, n * tiles_per_image(&w)).groups;
        need = mc_at_least(need, groups * frequencies(&w) * pairs(node));
        need = mc_at_least(need, frequencies(&back) * mc_conv_panels(o, c));
    }
    return need;
}

/* ---- convolution of x by U: the forward pass and the input's gradient ---------------------------
 */

typedef struct product_job {
    const mc_pass *pass;
    mc_winograd w;
    mc_map x;
    const float *weight, *scale, *bias;
    bool relu;
    float *y;
    int64_t c, o; /* the layer's */
    int64_t tiles, block;
    bool backward, accumulate; /* backward: x is dy, y is dx */
    mc_planes u;
} product_job;

static int64_t columns_of(const product_job *job)
{
    return job->backward ? job->c : job->o;
}

enum { FILTER_ROWS = 16 };

static void filter_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const product_job *job = arg;
    int64_t first = task * FILTER_ROWS, left = job->x.c - first;
    job->pass->kernels->winograd_filter(&job->w, job->weight, job->c, job->o, job->backward, first,
                                        left < FILTER_ROWS ? left : FILTER_ROWS, job->u);
}

static void point_at(mc_planes planes, int64_t tiles, float **rows)
{
    for (int64_t t = 0; t < tiles; t++) {
        rows[t] = planes.data + t * planes.row;
    }
}

static void product_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_kernels *kernels = job->pass->kernels;
    int64_t first = task * job->block, left = job->tiles - first;
    int64_t tiles = left < job->block ? left : job->block, n = columns_of(job);
    mc_planes v = planes_at(job->pass->scratch[worker], tiles, job->x.c);
    mc_planes m = planes_at(v.data + frequencies(&job->w) * v.plane, tiles, n);
    float *v_rows[MOST_TILES], *m_rows[MOST_TILES];

    kernels->winograd_input(&job->w, &job->x, first, tiles, v);
    point_at(v, tiles, v_rows);
    point_at(m, tiles, m_rows);
    mc_product product = {.rows = tiles,
                          .taps = 1,
                          .run = job->x.c,
                          .n = n,
                          .x = (const float *const *)v_rows,
                          .panel_rows = job->u.row,
                          .y = m_rows};
    for (int64_t f = 0; f < frequencies(&job->w); f++) {
        product.x_offset = f * v.plane;
        product.y_offset = f * m.plane;
        product.panels = job->u.data + f * job->u.plane;
        kernels->product(&product);
    }
    kernels->winograd_output(&job->w, m, n, first, tiles, job->bias, job->accumulate, job->relu,
                             job->y);
}

static void run_product(const mc_conv_job *conv, product_job *job)
{
    mc_pool *pool = conv->pass->pool;
    int64_t k = job->x.c;
    bool ready = false;
    float *u = job->backward ? conv->pass->shared : mc_conv_prepared(conv, &ready);
    job->pass = conv->pass;
    job->weight = conv->w;
    job->c = conv->node->in.c;
    job->o = conv->node->out.c;
    job->tiles = conv->pass->n * tiles_per_image(&job->w);
    job->block = block_tiles(conv->node, &job->w, job->tiles);
    job->u = (mc_planes){u, mc_conv_panels(k, columns_of(job)), k};
    if (!ready) {
        mc_pool_run(pool, (k + FILTER_ROWS - 1) / FILTER_ROWS, filter_task, job);
        for (int64_t f = 0; f < frequencies(&job->w); f++) {
            mc_conv_scale(conv->pass->kernels, job->scale, k, columns_of(job),
                          u + f * job->u.plane);
        }
    }
    mc_pool_run(pool, (job->tiles + job->block - 1) / job->block, product_task, job);
}

static void forward(const mc_conv_job *conv)
{
    product_job job = {.w = forward_geometry(conv->node),
                       .x = conv->input,
                       .scale = conv->scale,
                       .bias = conv->bias,
                       .relu = conv->relu,
                       .y = conv->y};
    run_product(conv, &job);
}

static void backward_input(const mc_conv_job *conv)
{
    product_job job = {.w = backward_geometry(conv->node),
                       .x = {.x = conv->dy, .c = conv->node->out.c},
                       .y = conv->dx,
                       .backward = true,
                       .accumulate = conv->accumulate};
    run_product(conv, &job);
}

/* ---- the weight's gradient
 * ------------------------------------------------------------------------ */

typedef struct weight_job {
    const mc_conv_job *conv;
    mc_winograd w;
    int64_t tiles, block, per_group, pairs;
    weight_cut cut;
} weight_job;

/* Sums a slab of dU [F][c][o] over the tiles of one group. */
static void sum_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    int64_t c = conv->node->in.c, o = conv->node->out.c, freq = frequencies(&job->w);
    int64_t group = task / job->cut.slabs, slab = task % job->cut.slabs * job->cut.slab;
    int64_t count = o - slab < job->cut.slab ? o - slab : job->cut.slab;
    int64_t begin = group * job->per_group, end = begin + job->per_group;
    float *v_rows[MOST_TILES], *d_rows[MOST_TILES];

    end = end < job->tiles ? end : job->tiles;
    for (int64_t first = begin; first < end; first += job->block) {
        int64_t tiles = end - first < job->block ? end - first : job->block;
        mc_planes v = planes_at(conv->pass->scratch[worker], tiles, c);
        mc_planes d = planes_at(v.data + freq * v.plane, tiles, count);
        kernels->winograd_input(&job->w, &conv->input, first, tiles, v);
        kernels->winograd_cotangent(&job->w, conv->dy + slab, o, count, first, tiles, d);
        point_at(v, tiles, v_rows);
        point_at(d, tiles, d_rows);
        for (int64_t f = 0; f < freq; f++) {
            mc_outer outer = {.count = tiles,
                              .k = c,
                              .n = count,
                              .x = (const float *const *)v_rows,
                              .d = (const float *const *)d_rows,
                              .x_offset = f * v.plane,
                              .d_offset = f * d.plane,
                              .w = conv->pass->shared + (group * freq + f) * job->pairs + slab,
                              .w_stride = o,
                              .accumulate = first > begin};
            kernels->outer(&outer);
        }
    }
}

static void filter_back_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    int64_t c = conv->node->in.c, first = task * FILTER_ROWS, left = c - first;
    conv->pass->kernels->winograd_filter_back(&job->w, conv->pass->shared, c, conv->node->out.c,
                                              first, left < FILTER_ROWS ? left : FILTER_ROWS,
                                              job->cut.groups, conv->pass->add_grad, conv->dw);
}

static void backward_weight(const mc_conv_job *conv)
{
    weight_job job = {.conv = conv, .w = forward_geometry(conv->node)};
    job.pairs = pairs(conv->node);
    job.tiles = conv->pass->n * tiles_per_image(&job.w);
    job.block = block_tiles(conv->node, &job.w, job.tiles);
    job.cut = weight_cut_of(conv->node, &job.w, job.tiles);
    job.per_group = (job.tiles + job.cut.groups - 1) / job.cut.groups;
    /* Rounding up can leave the last group without a tile. */
    job.cut.groups = (job.tiles + job.per_group - 1) / job.per_group;
    mc_pool_run(conv->pass->pool, job.cut.groups * job.cut.slabs, sum_task, &job);
    mc_pool_run(conv->pass->pool, (conv->node->in.c + FILTER_ROWS - 1) / FILTER_ROWS,
                filter_back_task, &job);
}

const mc_conv_algorithm mc_conv_winograd = {
    "winograd", is_possible, suits,           scratch,        shared,
    prepared,   forward,     backward_weight, backward_input,
};
