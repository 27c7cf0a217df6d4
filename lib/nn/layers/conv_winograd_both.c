/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Both gradients of the convolution in the Winograd domain (conv_winograd.h) in one go, block by
 * block, for layers that have more pixels than channels. Both are made of the same transformed
 * gradient D; the input's is the transpose of what the forward pass does,
 *
 *     dU_f = V_f^T D_f,  dx = sum over tiles B (D_f U_f^T) B^T
 *
 * so each dy, x and what a batch norm behind the layer still has to do to dy comes from memory and
 * is transformed once, and a frequency's D is in the first cache for its second product.
 *
 * Groups of images are few, as their sums are kept apart. So a group's last blocks, which have to
 * wait for its others, are a task of their own for whoever has time.
 */
#include "nn/layers/conv_winograd.h"

typedef struct both_job {
    mc_winograd_weight weight;
    mc_winograd_product product;
    mc_joint_cut cut;
    int64_t blocks;                    /* of a group */
    atomic_flag half[MC_JOINT_GROUPS]; /* one of a group's two tasks has been here */
} both_job;

/* Of a group's blocks those of its last task. */
enum { LAST_OF = 4 };

/* Rows of tiles row .. row + rows - 1. */
typedef struct block {
    int64_t row, rows;
    bool first, last; /* of the group */
} block;

/* What the block wants besides planes: where dx goes, then what the next one reads. */
static mc_soon soon_of(const both_job *job, const block *b)
{
    const mc_conv_job *conv = job->weight.conv;
    const mc_winograd *w = &job->weight.w;
    int64_t c = conv->node->in.c, o = conv->node->out.c;
    int64_t first = b->row * w->x.tiles, tiles = b->rows * w->x.tiles, next = first + tiles;
    mc_soon list = {.count = 0};
    mc_soon_inputs(&list, w, first, tiles, conv->dx, c);
    if (job->product.in_parts && conv->summed.x != conv->input.x) {
        mc_soon_inputs(&list, w, first, tiles, conv->summed.x, c);
    }
    if (!b->last) {
        mc_soon_outputs(&list, w, next, tiles, conv->dy, o);
        if (conv->pull != NULL) {
            mc_soon_outputs(&list, w, next, tiles, conv->pull->x.x, o);
        }
        mc_soon_inputs(&list, w, next, tiles, conv->input.x, c);
    }
    return list;
}

/* M_f = D_f U_f^T, a column a phase and channel of the input. */
static void multiply(const both_job *job, const mc_winograd_sums *a, mc_planes m, int64_t f)
{
    const mc_winograd_product *product = &job->product;
    const float *d = a->d.data;
    float *to = m.data;
    int64_t first, rows = mc_tiles_at(&product->w, a->tiles, f, &first);
    mc_product p = {.rows = rows,
                    .each = a->tiles->count,
                    .n = mc_v_phases(&product->w, f) * product->c,
                    .taps = 1,
                    .run = product->o,
                    .x = &d,
                    .x_step = a->d.row,
                    .x_offset = f * a->d.plane + first * a->d.row,
                    .panels = product->u.data + f * product->u.plane,
                    .panel_rows = product->o,
                    .y = &to,
                    .y_step = m.row,
                    .y_offset = f * m.plane + first * m.row,
                    .ahead = mc_soon_next(a->soon)};
    p.ranges = p.ahead != NULL;
    if (rows > 0) {
        product->pass->kernels->product(&p);
    }
}

/* Both gradients of a block. */
static void both_block(const both_job *job, const block *b, float *memory, float *du)
{
    const mc_conv_job *conv = job->weight.conv;
    const mc_kernels *kernels = conv->pass->kernels;
    const mc_winograd *w = &job->weight.w;
    int64_t c = conv->node->in.c, o = conv->node->out.c, phases = mc_v_phases(w, 0);
    int64_t first = b->row * w->x.tiles, tiles = b->rows * w->x.tiles;
    mc_tiles here = mc_tiles_of(w, first, tiles);
    mc_soon soon = soon_of(job, b);

    mc_plane_pair planes =
        mc_plane_pair_at(memory + mc_m_size(w, tiles, o), tiles, phases, c, phases, c);
    mc_winograd_sums sums = {.tiles = &here,
                             .v = planes.v,
                             .d = mc_planes_at(memory, tiles, 1, o),
                             .count = o,
                             .accumulate = !b->first,
                             .du = du,
                             .soon = &soon};
    kernels->winograd_input(w, &conv->input, &here, sums.v);
    kernels->winograd_cotangent(w, conv->dy, conv->pull, o, o, &here, sums.d);
    for (int64_t f = 0; f < mc_winograd_frequencies(w); f++) {
        mc_sum_frequency(&job->weight, &sums, f);
        multiply(job, &sums, planes.m, f);
    }
    kernels->winograd_input_back(w, planes.m, c, &here, conv->accumulate, conv->dx);
}

/* Blocks from .. to - 1 of a group, or as many as it has. */
static void run_blocks(const both_job *job, int64_t group, int64_t from, int64_t to, int worker)
{
    const mc_conv_job *conv = job->weight.conv;
    const mc_winograd *w = &job->weight.w;
    int64_t image = group * job->cut.group, left = conv->pass->n - image;
    int64_t begin = image * w->y.tiles;
    int64_t end = begin + (left < job->cut.group ? left : job->cut.group) * w->y.tiles;
    float *du = job->weight.du.data + group * mc_sums_size(w, conv->node);

    for (int64_t at = from; at < to && begin + at * job->cut.rows < end; at++) {
        int64_t row = begin + at * job->cut.rows;
        int64_t rows = end - row < job->cut.rows ? end - row : job->cut.rows;
        block b = {row, rows, row == begin, row + rows == end};
        both_block(job, &b, conv->pass->scratch[worker], du);
        if (job->product.in_parts) { /* of rows that no window to come has */
            int64_t done = mc_input_row(w, row) * w->x.from;
            mc_conv_sum_dx(conv, group * job->blocks + at, done,
                           mc_input_row(w, row + rows) * w->x.from - done, 0, conv->node->in.c);
        }
    }
}

/* The last blocks, by whoever comes here second: the others are done then. */
static void last_task(void *arg, int64_t group, int worker)
{
    both_job *job = arg;
    if (atomic_flag_test_and_set(&job->half[group])) {
        run_blocks(job, group, job->blocks - job->blocks / LAST_OF, job->blocks, worker);
    }
}

static void first_task(void *arg, int64_t group, int worker)
{
    const both_job *job = arg;
    run_blocks(job, group, 0, job->blocks - job->blocks / LAST_OF, worker);
    last_task(arg, group, worker);
}

/* Blocks of so many images. */
static int64_t blocks_of(const both_job *job, int64_t images)
{
    return (images * job->weight.w.y.tiles + job->cut.rows - 1) / job->cut.rows;
}

void mc_conv_winograd_both(const mc_conv_job *conv)
{
    mc_pass *pass = conv->pass;
    both_job job = {.weight = mc_winograd_weight_of(conv),
                    .cut = mc_joint_cut_of(conv->node, pass->n)};
    job.weight.cut = (mc_weight_cut){job.cut.groups, 1, conv->node->out.c};
    job.product = (mc_winograd_product){
        .w = job.weight.w, .x = {.c = conv->node->out.c}, .way = MC_TRANSPOSED};
    mc_winograd_product_of(conv, &job.product,
                           pass->shared + job.cut.groups * mc_sums_size(&job.weight.w, conv->node));
    job.blocks = blocks_of(&job, job.cut.group);
    int64_t others = job.cut.groups - 1;
    int64_t parts = others * job.blocks + blocks_of(&job, pass->n - others * job.cut.group);
    job.product.in_parts = mc_conv_parts(conv, parts, conv->node->in.c);
    mc_make_u(&job.product);
    for (int64_t group = 0; group < job.cut.groups; group++) {
        atomic_flag_clear(&job.half[group]);
    }
    mc_work works[] = {{job.cut.groups, first_task, &job}, {job.cut.groups, last_task, &job}};
    mc_pool_run_all(pass->pool, works, MC_WORKS);
    mc_winograd_sums_back(&job.weight);
}
