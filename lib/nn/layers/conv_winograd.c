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
 * There are two ways through it, chosen by shapes only:
 *
 * by blocks: tiles are worked on in blocks whose V and M (or D) stay in the cache; U is made first,
 * by all, and read by every block. Weight gradients are summed over groups of blocks, apart and
 * then in order.
 *
 * by panels, where kernels are many for few tiles: V is made first, by all; then each panel of
 * output channels is one worker's, who makes the U that it needs, a slice of input channels at a
 * time, in the cache (or sums a slice of dU there), so that neither is ever written to memory.
 */
#include "nn/layers/conv.h"

/* ---- how the work is cut --------------------------------------------------------------------- */

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

/* Tiles of a block. Where U leaves room in the second cache, V and M of half a megabyte stay beside
 * it; where it does not, more tiles share each reading of it. */
enum { U_MOST = 262144, BLOCK_MOST = 131072, LEAST_TILES = 24, MOST_TILES = 512, SHARE_TILES = 96 };

static int64_t block_most(const mc_node *node, const mc_winograd *w)
{
    if (frequencies(w) * pairs(node) > U_MOST) {
        return SHARE_TILES;
    }
    int64_t block = BLOCK_MOST / (frequencies(w) * (node->in.c + node->out.c));
    return block < LEAST_TILES ? LEAST_TILES : block > MOST_TILES ? MOST_TILES : block;
}

/* Blocks of equal size, of whole rows of tiles where one fits. */
static int64_t block_tiles(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t most = block_most(node, w), blocks = (tiles + most - 1) / most;
    int64_t block = (tiles + blocks - 1) / blocks, row = w->tiles_x;
    return block < row ? block : block / row * row;
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

/* By panels of PANEL output channels, slices of whole vectors of input channels whose U is about a
 * megabyte. All of V must not be large: more tiles would be better off by blocks. */
enum { PANEL = 4 * MC_LANES_MOST, SLICE = 262144, V_MOST = 4194304, FEW_TILES = 192 };

static int64_t slice_of(const mc_winograd *w, int64_t k)
{
    int64_t slice = SLICE / (frequencies(w) * PANEL) / MC_LANES_MOST * MC_LANES_MOST;
    return slice < k ? slice : k;
}

/* Most of up to `tiles` tiles, of k inputs and n outputs, that are worked on by panels. A block
 * reads all of U, k n numbers, a panel all of V: panels pay where tiles / SHARE_TILES * k n exceeds
 * tiles (k + n), all the more as they need no memory for U; and where blocks would be too few to
 * share out. */
static int64_t panel_tiles(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n)
{
    int64_t most = V_MOST / (frequencies(w) * padded_row(k));
    bool many = k * n > 160 * (k + n);
    if (!many && most > FEW_TILES) {
        most = FEW_TILES;
    }
    return n < 2 * PANEL ? 0 : tiles < most ? tiles : most;
}

static bool by_panels(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n)
{
    return panel_tiles(w, tiles, k, n) == tiles;
}

/* U or dU of a panel, and M or D of all tiles. */
static int64_t panel_scratch(const mc_winograd *w, int64_t tiles, int64_t k)
{
    return frequencies(w) * (slice_of(w, k) * PANEL + 16) + planes_size(w, tiles, PANEL);
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

/* What a product of up to `tiles` tiles, of k by n channels, needs of each worker's memory and of
 * the shared one; with U where nobody keeps it. */
static int64_t product_scratch(const mc_node *node, const mc_winograd *w, int64_t tiles, int64_t k,
                               int64_t n)
{
    int64_t block = block_most(node, w), panels = panel_tiles(w, tiles, k, n);
    int64_t by_blocks = panels < tiles ? planes_size(w, block, k) + planes_size(w, block, n) : 0;
    return mc_at_least(by_blocks, panels > 0 ? panel_scratch(w, panels, k) : 0);
}

static int64_t product_shared(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n,
                              bool with_u)
{
    int64_t panels = panel_tiles(w, tiles, k, n), v = planes_size(w, panels, k);
    return mc_at_least(panels > 0 ? v : 0,
                       with_u && panels < tiles ? frequencies(w) * mc_conv_panels(k, n) : 0);
}

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = forward_geometry(node), back = backward_geometry(node);
    int64_t c = node->in.c, o = node->out.c;
    int64_t need = product_scratch(node, &w, n * tiles_per_image(&w), c, o);
    int64_t back_need = product_scratch(node, &back, n * tiles_per_image(&back), o, c);
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
    int64_t c = node->in.c, o = node->out.c, tiles = n * tiles_per_image(&w);
    int64_t need = product_shared(&w, tiles, c, o, gradients);
    if (gradients) {
        need = mc_at_least(need, product_shared(&back, n * tiles_per_image(&back), o, c, true));
        if (!by_panels(&w, tiles, c, o)) {
            int64_t groups = weight_cut_of(node, &w, tiles).groups;
            need = mc_at_least(need, groups * frequencies(&w) * pairs(node));
        }
    }
    return need;
}

/* ---- convolution of x by U: the forward pass and the input's gradient ------------------------ */

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
    mc_planes u, v;            /* v: of all tiles, by panels */
    bool kept;                 /* u is there for all panels */
    bool in_parts;             /* sums of what is written are wanted */
    const mc_conv_job *conv;
} product_job;

static int64_t columns_of(const product_job *job)
{
    return job->backward ? job->c : job->o;
}

enum { FILTER_ROWS = 16 };

/* Rows row .. row + rows - 1 of the product's kernels, all columns. */
static mc_filter filter_of(const product_job *job, int64_t row, int64_t rows)
{
    int64_t left = job->x.c - row;
    return (mc_filter){job->weight, job->c,         job->backward, row, left < rows ? left : rows,
                       0,           columns_of(job)};
}

static void filter_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const product_job *job = arg;
    mc_filter filter = filter_of(job, task * FILTER_ROWS, FILTER_ROWS);
    job->pass->kernels->winograd_filter(&job->w, &filter, job->u, filter.row);
}

/* Most tiles that panels take (panel_tiles()): of 9 frequencies, of more than 160 channels. */
enum { MOST_ROWS = V_MOST / (9 * 160) };

static void point_at(mc_planes planes, int64_t tiles, float **rows)
{
    for (int64_t t = 0; t < tiles; t++) {
        rows[t] = planes.data + t * planes.row;
    }
}

/* Tiles first .. first + tiles - 1, whole rows of them, have become part `part` of the result. */
static void sum_up(const product_job *job, int64_t part, int64_t first, int64_t tiles,
                   int64_t column, int64_t columns)
{
    const mc_winograd *w = &job->w;
    int64_t ends[2] = {first / w->tiles_x, (first + tiles) / w->tiles_x};
    for (int i = 0; i < 2; i++) {
        int64_t image = ends[i] / w->tiles_y, y = ends[i] % w->tiles_y * w->out_y;
        ends[i] = (image * w->oh + y) * w->ow;
    }
    (job->backward ? mc_conv_sum_dx : mc_conv_sum_y)(job->conv, part, ends[0], ends[1] - ends[0],
                                                     column, columns);
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
    kernels->winograd_output(&job->w, m, n, n, first, tiles, job->bias, job->accumulate, job->relu,
                             job->y);
    if (job->in_parts) {
        sum_up(job, task, first, tiles, 0, n);
    }
}

/* All of V, some tiles a task. */
typedef struct input_job {
    const mc_kernels *kernels;
    const mc_winograd *w;
    const mc_map *x;
    int64_t tiles;
    mc_planes v;
} input_job;
enum { INPUT_TILES = 8 };

static void input_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const input_job *job = arg;
    int64_t first = task * INPUT_TILES, left = job->tiles - first;
    mc_planes v = job->v;
    v.data += first * v.row;
    job->kernels->winograd_input(job->w, job->x, first, left < INPUT_TILES ? left : INPUT_TILES, v);
}

static mc_planes make_v(const mc_pass *pass, const mc_winograd *w, const mc_map *x, int64_t tiles)
{
    input_job job = {pass->kernels, w, x, tiles, planes_at(pass->shared, tiles, x->c)};
    mc_pool_run(pass->pool, (tiles + INPUT_TILES - 1) / INPUT_TILES, input_task, &job);
    return job.v;
}

/* M of one panel, U made or kept slice by slice of input channels, and its outputs. */
static void panel_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_kernels *kernels = job->pass->kernels;
    int64_t columns = columns_of(job), column = task * PANEL, k = job->x.c;
    int64_t n = columns - column < PANEL ? columns - column : PANEL;
    int64_t slice = job->kept ? k : slice_of(&job->w, k);
    mc_planes m = planes_at(job->pass->scratch[worker], job->tiles, PANEL), u = job->u;
    float *v_rows[MOST_ROWS], *m_rows[MOST_ROWS];

    if (!job->kept) {
        u = (mc_planes){m.data + frequencies(&job->w) * m.plane, slice * PANEL + 16, slice};
    }
    point_at(job->v, job->tiles, v_rows);
    point_at(m, job->tiles, m_rows);
    for (int64_t row = 0; row < k; row += slice) {
        mc_filter filter = filter_of(job, row, slice);
        filter.column = column;
        filter.columns = n;
        if (!job->kept) {
            kernels->winograd_filter(&job->w, &filter, u, 0);
        }
        mc_product product = {.rows = job->tiles,
                              .taps = 1,
                              .run = filter.rows,
                              .n = n,
                              .x = (const float *const *)v_rows,
                              .panel_rows = u.row,
                              .accumulate = row > 0,
                              .y = m_rows};
        for (int64_t f = 0; f < frequencies(&job->w); f++) {
            product.x_offset = f * job->v.plane + row;
            product.y_offset = f * m.plane;
            product.panels = u.data + f * u.plane + (job->kept ? column * u.row : 0);
            kernels->product(&product);
        }
    }
    kernels->winograd_output(&job->w, m, columns, n, 0, job->tiles,
                             job->bias != NULL ? job->bias + column : NULL, job->accumulate,
                             job->relu, job->y + column);
    if (job->in_parts) {
        sum_up(job, 0, 0, job->tiles, column, n);
    }
}

/* All of U, by all workers. */
static void make_u(product_job *job, int64_t k)
{
    mc_pool_run(job->pass->pool, (k + FILTER_ROWS - 1) / FILTER_ROWS, filter_task, job);
    for (int64_t f = 0; f < frequencies(&job->w); f++) {
        mc_conv_scale(job->pass->kernels, job->scale, k, columns_of(job),
                      job->u.data + f * job->u.plane);
    }
}

static void run_product(const mc_conv_job *conv, product_job *job)
{
    mc_pool *pool = conv->pass->pool;
    int64_t k = job->x.c, n;
    bool ready = false;
    float *u = job->backward ? conv->pass->shared : mc_conv_prepared(conv, &ready);
    job->pass = conv->pass;
    job->conv = conv;
    job->weight = conv->w;
    job->c = conv->node->in.c;
    job->o = conv->node->out.c;
    job->tiles = conv->pass->n * tiles_per_image(&job->w);
    n = columns_of(job);
    job->u = (mc_planes){u, mc_conv_panels(k, n), k};
    bool panels = by_panels(&job->w, job->tiles, k, n);
    job->kept = conv->pass->keeps_prepared || !panels;
    if (job->kept && !ready) {
        make_u(job, k);
    }
    if (panels) {
        job->v = make_v(conv->pass, &job->w, &job->x, job->tiles);
        job->in_parts = mc_conv_parts(conv, 1, n);
        mc_pool_run(pool, (n + PANEL - 1) / PANEL, panel_task, job);
    } else {
        job->block = block_tiles(conv->node, &job->w, job->tiles);
        int64_t blocks = (job->tiles + job->block - 1) / job->block;
        job->in_parts = job->block % job->w.tiles_x == 0 && mc_conv_parts(conv, blocks, n);
        mc_pool_run(pool, blocks, product_task, job);
    }
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

/* ---- the weight's gradient ------------------------------------------------------------------- */

typedef struct weight_job {
    const mc_conv_job *conv;
    mc_winograd w;
    int64_t tiles, block, per_group, pairs;
    weight_cut cut;
    mc_planes v; /* of all tiles, by panels */
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
    int64_t c = conv->node->in.c, o = conv->node->out.c, first = task * FILTER_ROWS;
    int64_t left = c - first;
    mc_filter filter = {NULL, c, false, first, left < FILTER_ROWS ? left : FILTER_ROWS, 0, o};
    mc_planes du = {conv->pass->shared + first * o, job->pairs, o};
    conv->pass->kernels->winograd_filter_back(&job->w, &filter, du, job->cut.groups,
                                              frequencies(&job->w) * job->pairs,
                                              conv->pass->add_grad, conv->dw);
}

/* D of one panel, dU slice by slice of input channels, and the gradients of its kernels. */
static void weight_panel_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    int64_t c = conv->node->in.c, o = conv->node->out.c, column = task * PANEL;
    int64_t n = o - column < PANEL ? o - column : PANEL, slice = slice_of(&job->w, c);
    mc_planes d = planes_at(conv->pass->scratch[worker], job->tiles, PANEL);
    mc_planes du = {d.data + frequencies(&job->w) * d.plane, slice * PANEL + 16, PANEL};
    float *v_rows[MOST_ROWS], *d_rows[MOST_ROWS];

    kernels->winograd_cotangent(&job->w, conv->dy + column, o, n, 0, job->tiles, d);
    point_at(job->v, job->tiles, v_rows);
    point_at(d, job->tiles, d_rows);
    for (int64_t row = 0; row < c; row += slice) {
        mc_filter filter = {NULL, c, false, row, c - row < slice ? c - row : slice, column, n};
        for (int64_t f = 0; f < frequencies(&job->w); f++) {
            mc_outer outer = {.count = job->tiles,
                              .k = filter.rows,
                              .n = n,
                              .x = (const float *const *)v_rows,
                              .d = (const float *const *)d_rows,
                              .x_offset = f * job->v.plane + row,
                              .d_offset = f * d.plane,
                              .w = du.data + f * du.plane,
                              .w_stride = du.row};
            kernels->outer(&outer);
        }
        kernels->winograd_filter_back(&job->w, &filter, du, 1, 0, conv->pass->add_grad, conv->dw);
    }
}

static void backward_weight(const mc_conv_job *conv)
{
    weight_job job = {.conv = conv, .w = forward_geometry(conv->node)};
    mc_pool *pool = conv->pass->pool;
    int64_t c = conv->node->in.c, o = conv->node->out.c;
    job.tiles = conv->pass->n * tiles_per_image(&job.w);
    if (by_panels(&job.w, job.tiles, c, o)) {
        job.v = make_v(conv->pass, &job.w, &conv->input, job.tiles);
        mc_pool_run(pool, (o + PANEL - 1) / PANEL, weight_panel_task, &job);
        return;
    }
    job.pairs = pairs(conv->node);
    job.block = block_tiles(conv->node, &job.w, job.tiles);
    job.cut = weight_cut_of(conv->node, &job.w, job.tiles);
    job.per_group = (job.tiles + job.cut.groups - 1) / job.cut.groups;
    /* Rounding up can leave the last group without a tile. */
    job.cut.groups = (job.tiles + job.per_group - 1) / job.per_group;
    mc_pool_run(pool, job.cut.groups * job.cut.slabs, sum_task, &job);
    mc_pool_run(pool, (c + FILTER_ROWS - 1) / FILTER_ROWS, filter_back_task, &job);
}

const mc_conv_algorithm mc_conv_winograd = {
    "winograd", false,    is_possible, suits,           scratch,
    shared,     prepared, forward,     backward_weight, backward_input,
};
