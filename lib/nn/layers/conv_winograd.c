/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The convolution in the Winograd domain (conv_winograd.h): its products, x by U, which are the
 * forward pass and the input's gradient.
 */
#include "nn/layers/conv_winograd.h"

static int64_t columns_of(const mc_winograd_product *job)
{
    return job->way == MC_FORWARD ? job->o : job->c;
}

/* Rows row .. row + rows - 1 of the product's kernels, all columns. */
static mc_filter filter_of(const mc_winograd_product *job, int64_t row, int64_t rows)
{
    int64_t left = job->x.c - row;
    return (mc_filter){job->weight, job->c,         job->way, row, left < rows ? left : rows,
                       0,           columns_of(job)};
}

static void filter_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const mc_winograd_product *job = arg;
    mc_filter filter = filter_of(job, task * MC_FILTER_ROWS, MC_FILTER_ROWS);
    job->pass->kernels->winograd_filter(&job->w, &filter, job->u, filter.row);
}

/* Tiles first .. first + tiles - 1, whole rows of them, have become part `part` of the result. */
static void sum_up(const mc_winograd_product *job, int64_t part, int64_t first, int64_t tiles,
                   int64_t column, int64_t columns)
{
    const mc_winograd *w = &job->w;
    int64_t begin = mc_output_row(w, first / w->x.tiles) * w->x.to;
    int64_t end = mc_output_row(w, (first + tiles) / w->x.tiles) * w->x.to;
    (job->way == MC_FORWARD ? mc_conv_sum_y : mc_conv_sum_dx)(job->conv, part, begin, end - begin,
                                                              column, columns);
}

/* A product of some tiles, or of some input channels of it: V, `rows` channels from v_row on, by U,
 * whose panels from `column` on give n outputs. */
typedef struct factors {
    const mc_tiles *tiles;
    mc_planes v, u, m;
    int64_t v_row, rows, column, n;
    mc_soon *soon;
} factors;

/* M at frequency f, added to behind the first channels: columns begin .. end - 1, whole panels, or
 * as many as there are. */
static void multiply_at(const mc_winograd_product *job, const factors *a, int64_t f, int64_t begin,
                        int64_t end)
{
    const float *v_data = a->v.data;
    float *m_data = a->m.data;
    const int64_t phase = a->v.phase, u_row = a->u.row;
    const int64_t v_at[] = {a->v_row, a->v_row + phase, a->v_row + 2 * phase, a->v_row + 3 * phase};
    const int64_t u_at[] = {0, u_row, 2 * u_row, 3 * u_row};
    mc_product product = {.each = a->tiles->count,
                          .x = &v_data,
                          .x_step = a->v.row,
                          .x_at = v_at,
                          .panel_at = u_at,
                          .accumulate = a->v_row > 0,
                          .y = &m_data,
                          .y_step = a->m.row};
    int64_t n = mc_m_phases(&job->w, f) * a->n, first;
    end = end < n ? end : n;
    product.rows = mc_tiles_at(&job->w, a->tiles, f, &first);
    if (product.rows == 0 || begin >= end) {
        return;
    }
    product.taps = mc_v_phases(&job->w, f);
    product.run = a->rows;
    if (a->rows == phase && a->rows == u_row) { /* phases follow each other: one long term */
        product.run = product.taps * a->rows;
        product.taps = 1;
    }
    product.n = end - begin;
    product.x_offset = f * a->v.plane + first * a->v.row;
    product.y_offset = f * a->m.plane + first * a->m.row + begin;
    product.panel_rows = mc_v_phases(&job->w, f) * u_row;
    product.panels = a->u.data + f * a->u.plane + (a->column + begin) * product.panel_rows;
    /* Then the kernels of the next frequency, which may be in the third cache. */
    mc_ahead next = {(const char *)(product.panels + a->u.plane),
                     product.panel_rows * product.n * (int64_t)sizeof(float) / MC_LINE};
    product.ahead = mc_soon_next(a->soon);
    if (product.ahead == NULL && f + 1 < mc_winograd_frequencies(&job->w)) {
        product.ahead = &next;
    }
    product.ranges = product.ahead != NULL;
    job->pass->kernels->product(&product);
}

/* A block's product, to be split by frequencies and parts of their panels. M of a frequency is in
 * the place of V of the one before, which all parts read: each waits for the parts of that one. Who
 * is not the task itself touches nothing ahead but kernels. */
typedef struct block_product {
    const mc_winograd_product *job;
    const factors *a;
    int64_t parts;
    int worker;
    _Atomic int64_t done;
} block_product;

/* Columns of a part: whole panels of any instruction set. */
enum { PART = 4 * MC_LANES_MOST };

static void block_piece(void *arg, int64_t piece, int number)
{
    block_product *p = arg;
    factors a = *p->a;
    mc_soon nothing = {.count = 0};
    if (number != p->worker) {
        a.soon = &nothing;
    }
    mc_wait_for(&p->done, piece / p->parts * p->parts);
    int64_t part = piece % p->parts;
    multiply_at(p->job, &a, piece / p->parts, part * PART, (part + 1) * PART);
    atomic_fetch_add(&p->done, 1);
}

/* Some tiles, by blocks: part `part` of the result. */
static void product_block(const mc_winograd_product *job, const mc_winograd_block *block,
                          int64_t part, int worker)
{
    const mc_kernels *kernels = job->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t tiles = block->tiles, k = job->x.c, n = columns_of(job);
    mc_tiles here = mc_tiles_of(w, block->first, tiles);
    mc_plane_pair planes =
        mc_plane_pair_at(block->memory, tiles, mc_v_phases(w, 0), k, mc_m_phases(w, 0), n);
    factors a = {.tiles = &here,
                 .v = planes.v,
                 .u = job->u,
                 .m = planes.m,
                 .rows = k,
                 .n = n,
                 .soon = block->soon};

    kernels->winograd_input(w, &job->x, &here, a.v);
    int64_t frequencies = mc_winograd_frequencies(w), all = mc_m_phases(w, 0) * n;
    int64_t parts = (all + PART - 1) / PART;
    if (parts > 1 && mc_worth_splitting(tiles, k, n)) {
        block_product pieces = {job, &a, parts, worker, 0};
        mc_pool_split(job->pass->pool, worker, frequencies * parts, block_piece, &pieces);
    } else {
        for (int64_t f = 0; f < frequencies; f++) {
            multiply_at(job, &a, f, 0, all);
        }
    }
    kernels->winograd_output(w, a.m, n, n, &here, job->bias, job->accumulate, job->relu, job->y);
    if (job->in_parts) {
        sum_up(job, part, block->first, tiles, 0, n);
    }
}

static void product_task(void *arg, int64_t task, int worker)
{
    const mc_winograd_product *job = arg;
    const mc_winograd *w = &job->w;
    int64_t first = task * job->block, left = job->tiles - first;
    int64_t tiles = left < job->block ? left : job->block, n = columns_of(job);
    mc_soon list = {.count = 0};
    mc_winograd_block block = {first, tiles, job->pass->scratch[worker], &list};

    mc_soon_outputs(&list, w, first, tiles, job->y, n);
    if (job->in_parts && job->way != MC_FORWARD) {
        mc_soon_outputs(&list, w, first, tiles, job->conv->summed.x, n);
        if (job->conv->positive != NULL) {
            mc_soon_outputs(&list, w, first, tiles, job->conv->positive, n);
        }
    }
    if (first + tiles < job->tiles) {
        mc_soon_inputs(&list, w, first + tiles, tiles, job->x.x, job->x.c);
    }
    product_block(job, &block, task, worker);
}

/* A panel's product, to be split by frequencies. */
typedef struct panel_product {
    const mc_winograd_product *job;
    const factors *a;
} panel_product;

static void panel_piece(void *arg, int64_t f, int number)
{
    (void)number;
    const panel_product *p = arg;
    multiply_at(p->job, p->a, f, 0, mc_m_phases(&p->job->w, 0) * p->a->n);
}

/* M of one panel, U made or kept slice by slice of input channels, and its outputs. */
static void panel_task(void *arg, int64_t task, int worker)
{
    const mc_winograd_product *job = arg;
    const mc_kernels *kernels = job->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t panel = mc_panel_channels(w), columns = columns_of(job), column = task * panel,
            k = job->x.c;
    int64_t slice = job->kept ? k : mc_panel_slice(w, k);
    float *to = job->pass->scratch[worker];
    mc_tiles tiles = mc_tiles_of(w, 0, job->tiles);
    mc_soon nothing = {.count = 0};
    factors a = {.tiles = &tiles,
                 .v = job->v,
                 .u = job->u,
                 .m = mc_planes_at(to, job->tiles, mc_m_phases(w, 0), panel),
                 .column = job->kept ? column : 0,
                 .n = columns - column < panel ? columns - column : panel,
                 .soon = &nothing};

    a.m.phase = a.n;
    if (!job->kept) {
        a.u = (mc_planes){to + mc_m_size(w, job->tiles, panel), mc_u_plane(w, slice, panel), slice,
                          0};
    }
    for (int64_t row = 0; row < k; row += slice) {
        mc_filter filter = filter_of(job, row, slice);
        filter.column = column;
        filter.columns = a.n;
        a.v_row = row;
        a.rows = filter.rows;
        if (!job->kept) {
            kernels->winograd_filter(w, &filter, a.u, 0);
        }
        panel_product product = {job, &a};
        mc_pool_split(job->pass->pool, worker, mc_winograd_frequencies(w), panel_piece, &product);
    }
    kernels->winograd_output(w, a.m, columns, a.n, &tiles,
                             job->bias != NULL ? job->bias + column : NULL, job->accumulate,
                             job->relu, job->y + column);
    if (job->in_parts) {
        sum_up(job, 0, 0, job->tiles, column, a.n);
    }
}

void mc_make_u(mc_winograd_product *job)
{
    int64_t k = job->x.c;
    mc_pool_run(job->pass->pool, (k + MC_FILTER_ROWS - 1) / MC_FILTER_ROWS, filter_task, job);
    for (int64_t f = 0; f < mc_winograd_frequencies(&job->w); f++) {
        mc_conv_scale(job->pass->kernels, job->scale, mc_v_phases(&job->w, f) * k, columns_of(job),
                      job->u.data + f * job->u.plane);
    }
}

void mc_winograd_product_of(const mc_conv_job *conv, mc_winograd_product *job, float *u)
{
    job->pass = conv->pass;
    job->conv = conv;
    job->weight = conv->w;
    job->c = conv->node->in.c;
    job->o = conv->node->out.c;
    job->tiles = conv->pass->n * mc_image_tiles(&job->w);
    job->u = (mc_planes){u, mc_u_plane(&job->w, job->x.c, columns_of(job)), job->x.c, 0};
}

static bool by_panels(const mc_winograd_product *job)
{
    return mc_by_panels(&job->w, job->tiles, job->x.c, columns_of(job));
}

/* With U made. */
static mc_work by_blocks(mc_winograd_product *job)
{
    job->block = mc_block_tiles(job->conv->node, &job->w, job->tiles);
    int64_t blocks = (job->tiles + job->block - 1) / job->block;
    job->in_parts =
        job->block % job->w.x.tiles == 0 && mc_conv_parts(job->conv, blocks, columns_of(job));
    return (mc_work){blocks, product_task, job};
}

/* With U made if it is kept. */
static void run_panels(mc_winograd_product *job)
{
    int64_t n = columns_of(job), panel = mc_panel_channels(&job->w);
    job->v = mc_make_v(job->pass, &job->w, &job->x, job->tiles);
    job->in_parts = mc_conv_parts(job->conv, 1, n);
    mc_pool_run(job->pass->pool, (n + panel - 1) / panel, panel_task, job);
}

static void forward(const mc_conv_job *conv)
{
    mc_winograd_product job = {.w = mc_winograd_of(&conv->node->window, false),
                               .x = conv->input,
                               .scale = conv->scale,
                               .bias = conv->bias,
                               .relu = conv->relu,
                               .y = conv->y};
    bool ready;
    mc_winograd_product_of(conv, &job, mc_conv_prepared(conv, &ready));
    /* Gradients are never taken where U is kept: a panel's columns going up would not follow each
     * other in it. */
    bool panels = by_panels(&job);
    job.kept = conv->pass->keeps_prepared || !panels;
    if (job.kept && !ready) {
        mc_make_u(&job);
    }
    if (panels) {
        run_panels(&job);
    } else {
        mc_work work = by_blocks(&job);
        mc_pool_run(conv->pass->pool, work.n, work.fn, work.arg);
    }
}

static void backward_weight(mc_winograd_weight *job)
{
    const mc_node *node = job->conv->node;
    if (mc_sums_by_panels(&job->w, job->tiles, node->in.c, node->out.c)) {
        mc_winograd_weight_panels(job);
        return;
    }
    mc_work work = mc_winograd_weight_work(job);
    mc_pool_run(job->conv->pass->pool, work.n, work.fn, work.arg);
    mc_winograd_sums_back(job);
}

static void backward_input(mc_winograd_product *job)
{
    mc_winograd_product_of(job->conv, job, job->conv->pass->shared);
    if (by_panels(job)) {
        run_panels(job);
        return;
    }
    mc_make_u(job);
    mc_work work = by_blocks(job);
    mc_pool_run(job->pass->pool, work.n, work.fn, work.arg);
}

/* Side by side: who has done with the weight's groups, which are few, goes on with the input's. */
static void backward_beside(mc_winograd_weight *weight, mc_winograd_product *input)
{
    const mc_conv_job *conv = weight->conv;
    mc_work works[MC_WORKS] = {mc_winograd_weight_work(weight)};
    int64_t sums = weight->cut.groups * mc_sums_size(&weight->w, conv->node);
    mc_winograd_product_of(conv, input, conv->pass->shared + sums);
    mc_make_u(input);
    works[1] = by_blocks(input);
    mc_pool_run_all(conv->pass->pool, works, MC_WORKS);
    mc_winograd_sums_back(weight);
}

static void backward(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    mc_winograd_weight weight = mc_winograd_weight_of(conv);
    mc_winograd_product input = {.conv = conv,
                                 .w = mc_winograd_of(&node->window, true),
                                 .x = {.x = conv->dy, .c = node->out.c},
                                 .y = conv->dx,
                                 .way = MC_TURNED,
                                 .accumulate = conv->accumulate};
    if (conv->dx == NULL) {
        backward_weight(&weight);
    } else if (mc_conv_winograd_joins(node, conv->pass->n)) {
        mc_conv_winograd_both(conv);
    } else if (mc_gradients_beside(node, conv->pass->n)) {
        backward_beside(&weight, &input);
    } else {
        backward_weight(&weight);
        backward_input(&input);
    }
}

const mc_conv_algorithm mc_conv_winograd = {
    .name = "winograd",
    .reads_maps = mc_conv_winograd_possible,
    .suits = mc_conv_winograd_suits,
    .scratch = mc_conv_winograd_scratch,
    .shared = mc_conv_winograd_shared,
    .prepared = mc_conv_winograd_prepared,
    .forward = forward,
    .backward = backward,
    .joins = mc_conv_winograd_joins,
};
