/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The weight's gradient in the Winograd domain (conv_winograd.h).
 */
#include "nn/layers/conv_winograd.h"

void mc_sum_frequency(const mc_winograd_weight *job, const mc_winograd_sums *sums, int64_t f)
{
    const mc_planes *v = &sums->v, *d = &sums->d;
    int64_t first, rows = mc_tiles_at(&job->w, sums->tiles, f, &first);
    const float *v_data = v->data, *d_data = d->data;
    mc_outer outer = {.count = rows,
                      .k = mc_v_phases(&job->w, f) * job->conv->node->in.c,
                      .n = sums->count,
                      .each = sums->tiles->count,
                      .x = &v_data,
                      .d = &d_data,
                      .x_step = v->row,
                      .d_step = d->row,
                      .x_offset = f * v->plane + first * v->row,
                      .d_offset = f * d->plane + first * d->row,
                      .w = sums->du + f * job->du.plane + sums->slab,
                      .w_stride = job->conv->node->out.c,
                      .accumulate = sums->accumulate,
                      .ahead = mc_soon_next(sums->soon)};
    outer.ranges = outer.ahead != NULL;
    job->conv->pass->kernels->outer(&outer);
}

/* A block's sums, to be split by frequencies; who is not the task itself touches nothing ahead. */
typedef struct block_sums {
    const mc_winograd_weight *job;
    const mc_winograd_sums *sums;
    int worker;
} block_sums;

static void sum_piece(void *arg, int64_t f, int number)
{
    const block_sums *p = arg;
    mc_winograd_sums sums = *p->sums;
    mc_soon nothing = {.count = 0};
    if (number != p->worker) {
        sums.soon = &nothing;
    }
    mc_sum_frequency(p->job, &sums, f);
}

/* A block's part of dU; `sums` says which outputs of it, and where to. */
static void sum_block(const mc_winograd_weight *job, const mc_winograd_block *block,
                      mc_winograd_sums sums, int worker)
{
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t c = conv->node->in.c, o = conv->node->out.c, tiles = block->tiles;
    float *to = block->memory;
    mc_tiles here = mc_tiles_of(w, block->first, tiles);

    sums.tiles = &here;
    sums.v = mc_planes_at(to, tiles, mc_v_phases(w, 0), c);
    sums.d = mc_planes_at(to + mc_v_size(w, tiles, c), tiles, 1, sums.count);
    sums.soon = block->soon;
    kernels->winograd_input(w, &conv->input, &here, sums.v);
    kernels->winograd_cotangent(w, conv->dy + sums.slab, NULL, o, sums.count, &here, sums.d);
    int64_t frequencies = mc_winograd_frequencies(w);
    if (mc_worth_splitting(tiles, c, sums.count)) {
        block_sums pieces = {job, &sums, worker};
        mc_pool_split(conv->pass->pool, worker, frequencies, sum_piece, &pieces);
    } else {
        for (int64_t f = 0; f < frequencies; f++) {
            mc_sum_frequency(job, &sums, f);
        }
    }
}

/* Sums a slab of dU [F][phases][c][o] over the tiles of one group. */
static void sum_task(void *arg, int64_t task, int worker)
{
    const mc_winograd_weight *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_winograd *w = &job->w;
    int64_t c = conv->node->in.c, o = conv->node->out.c;
    int64_t group = task / job->cut.slabs, slab = task % job->cut.slabs * job->cut.slab;
    int64_t begin = group * job->per_group, end = begin + job->per_group;
    mc_winograd_sums sums = {.slab = slab,
                             .count = o - slab < job->cut.slab ? o - slab : job->cut.slab,
                             .du = job->du.data + group * mc_sums_size(w, conv->node)};

    end = end < job->tiles ? end : job->tiles;
    for (int64_t first = begin; first < end; first += job->block) {
        int64_t tiles = end - first < job->block ? end - first : job->block;
        mc_soon list = {.count = 0};
        mc_winograd_block block = {first, tiles, conv->pass->scratch[worker], &list};
        if (first + tiles < end) {
            mc_soon_inputs(&list, w, first + tiles, tiles, conv->input.x, c);
            mc_soon_outputs(&list, w, first + tiles, tiles, conv->dy, o);
        }
        sums.accumulate = first > begin;
        sum_block(job, &block, sums, worker);
    }
}

static void filter_back_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const mc_winograd_weight *job = arg;
    const mc_conv_job *conv = job->conv;
    int64_t c = conv->node->in.c, o = conv->node->out.c, first = task * MC_FILTER_ROWS;
    int64_t left = c - first;
    mc_filter filter = {NULL, c, MC_FORWARD, first, left < MC_FILTER_ROWS ? left : MC_FILTER_ROWS,
                        0,    o};
    mc_planes du = job->du;
    du.data += first * o;
    conv->pass->kernels->winograd_filter_back(&job->w, &filter, du, job->cut.groups,
                                              mc_sums_size(&job->w, conv->node),
                                              conv->pass->add_grad, conv->dw);
}

/* A slice of a panel's dU, to be split by frequencies. */
typedef struct panel_sums {
    const mc_winograd_weight *job;
    const mc_tiles *tiles;
    const mc_filter *filter;
    mc_planes d, du;
} panel_sums;

static void panel_piece(void *arg, int64_t f, int number)
{
    (void)number;
    const panel_sums *p = arg;
    const mc_winograd_weight *job = p->job;
    const mc_planes *v = &job->v, *d = &p->d, *du = &p->du;
    const float *v_data = v->data, *d_data = d->data;
    int64_t first, rows = mc_tiles_at(&job->w, p->tiles, f, &first);
    for (int64_t phase = 0; phase < mc_v_phases(&job->w, f); phase++) {
        mc_outer outer = {.count = rows,
                          .k = p->filter->rows,
                          .n = p->filter->columns,
                          .each = job->tiles,
                          .x = &v_data,
                          .d = &d_data,
                          .x_step = v->row,
                          .d_step = d->row,
                          .x_offset =
                              f * v->plane + first * v->row + phase * v->phase + p->filter->row,
                          .d_offset = f * d->plane + first * d->row,
                          .w = du->data + f * du->plane + phase * du->phase,
                          .w_stride = du->row};
        job->conv->pass->kernels->outer(&outer);
    }
}

/* D of one panel, dU slice by slice of input channels, and the gradients of its kernels. */
static void weight_panel_task(void *arg, int64_t task, int worker)
{
    const mc_winograd_weight *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t c = conv->node->in.c, o = conv->node->out.c, column = task * MC_PANEL;
    int64_t n = o - column < MC_PANEL ? o - column : MC_PANEL, slice = mc_sums_slice(w, c);
    float *to = conv->pass->scratch[worker];
    mc_planes d = mc_planes_at(to, job->tiles, 1, MC_PANEL);
    mc_tiles tiles = mc_tiles_of(w, 0, job->tiles);
    mc_planes du = {to + mc_m_size(w, job->tiles, MC_PANEL), mc_u_plane(w, slice, MC_PANEL),
                    MC_PANEL, slice * MC_PANEL};

    kernels->winograd_cotangent(w, conv->dy + column, NULL, o, n, &tiles, d);
    for (int64_t row = 0; row < c; row += slice) {
        mc_filter filter = {NULL, c, MC_FORWARD, row, c - row < slice ? c - row : slice, column, n};
        panel_sums pieces = {job, &tiles, &filter, d, du};
        mc_pool_split(conv->pass->pool, worker, mc_winograd_frequencies(w), panel_piece, &pieces);
        kernels->winograd_filter_back(w, &filter, du, 1, 0, conv->pass->add_grad, conv->dw);
    }
}

mc_winograd_weight mc_winograd_weight_of(const mc_conv_job *conv)
{
    mc_winograd_weight job = {.conv = conv, .w = mc_winograd_of(&conv->node->window, false)};
    int64_t pairs = mc_channel_pairs(conv->node);
    job.tiles = conv->pass->n * mc_image_tiles(&job.w);
    job.du = (mc_planes){conv->pass->shared, mc_winograd_most_phases(&job.w) * pairs,
                         conv->node->out.c, pairs};
    return job;
}

void mc_winograd_sums_back(mc_winograd_weight *job)
{
    mc_pool_run(job->conv->pass->pool,
                (job->conv->node->in.c + MC_FILTER_ROWS - 1) / MC_FILTER_ROWS, filter_back_task,
                job);
}

mc_work mc_winograd_weight_work(mc_winograd_weight *job)
{
    job->block = mc_block_tiles(job->conv->node, &job->w, job->tiles);
    job->cut = mc_weight_cut_of(job->conv->node, &job->w, job->tiles);
    job->per_group = (job->tiles + job->cut.groups - 1) / job->cut.groups;
    /* Rounding up can leave the last group without a tile. */
    job->cut.groups = (job->tiles + job->per_group - 1) / job->per_group;
    return (mc_work){job->cut.groups * job->cut.slabs, sum_task, job};
}

void mc_winograd_weight_panels(mc_winograd_weight *job)
{
    const mc_conv_job *conv = job->conv;
    job->v = mc_make_v(conv->pass, &job->w, &conv->input, job->tiles);
    mc_pool_run(conv->pass->pool, (conv->node->out.c + MC_PANEL - 1) / MC_PANEL, weight_panel_task,
                job);
}
