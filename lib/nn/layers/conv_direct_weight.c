/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The direct convolution's weight gradient, dW[t] = sum_p x[p s - padding + t]^T dy[p]: a sum of
 * outer products of a pixel of dy and the run of numbers that one row of the kernel reads for it.
 *
 * Slabs of input channels are so thin that their sums stay in the cache, and groups of tiles are
 * summed apart where slabs are too few for all workers; then the groups' sums are added, in order:
 *
 *     sums [groups][slabs][taps][slab][o]    to    dW [o][c][taps]
 *
 * Wide kernels of one tap on few pixels do without sums.
 */
#include "nn/layers/conv_window.h"
#include <string.h>

/* Floats of a slab's sums; multiples of channels that fill the blocks of outer products, of a row
 * of the kernel or, with few pixels, of one tap (product.c). */
enum { SUMS_MOST = 172032, SLAB_STEP = 16, SLAB_STEP_FEW = 12 };

typedef struct weight_cut {
    int64_t slab, slabs, groups; /* channels of a slab; most groups */
} weight_cut;

static weight_cut weight_cut_of(const mc_node *node)
{
    int64_t c = node->in.c, per_channel = mc_conv_taps(node) * node->out.c;
    bool few = mc_few_outputs(node);
    int64_t step = few ? SLAB_STEP_FEW : SLAB_STEP;
    int64_t most = mc_at_least(SUMS_MOST / per_channel / step * step, step);
    if (few) {
        /* Nothing is copied for a slab, and rows are too few for groups. */
        most = mc_smaller(most, mc_at_least(mc_quotient_up(c, MC_TILE_TASKS), 2 * step));
    }
    weight_cut cut = {.slab = c, .slabs = mc_quotient_up(c, most)};
    if (cut.slabs > 1) {
        cut.slab = mc_quotient_up(mc_quotient_up(c, cut.slabs), step) * step;
        cut.slabs = mc_quotient_up(c, cut.slab);
    }
    cut.groups = mc_quotient_up(MC_TILE_TASKS, cut.slabs);
    return cut;
}

/* Of wide layers on few pixels the sums are larger than what is summed. With one tap they have the
 * gradient's own shape, dW [o][c] = dy^T x, and are added up in its place, blocks of it as tasks.
 * There have to be enough of these, and few enough rows that to add to a velocity (pass->add_grad)
 * tile by tile rounds little. Rows of x are copied, that they are equally spaced and not a power of
 * two apart. */
enum { ONE_INPUTS = 128, ONE_OUTPUTS = 192, ONE_ROWS_MOST = 4096 };
enum { ONE_STEP = ONE_INPUTS + 16, ONE_FRAME = MC_TILE_ROWS * ONE_STEP };

static bool is_one_tap(const mc_node *node)
{
    return node->window.kernel == 1 && node->window.padding == 0;
}

static int64_t one_tap_tasks(const mc_node *node)
{
    return mc_quotient_up(node->in.c, ONE_INPUTS) * mc_quotient_up(node->out.c, ONE_OUTPUTS);
}

static bool in_place(const mc_conv_job *conv)
{
    return is_one_tap(conv->node) && conv->rows <= ONE_ROWS_MOST &&
           one_tap_tasks(conv->node) >= MC_TILE_TASKS;
}

int64_t mc_conv_direct_weight_scratch(const mc_node *node)
{
    mc_reading reading =
        mc_reading_of(node, false, (mc_map){.c = node->in.c}, weight_cut_of(node).slab);
    if (mc_few_pixels(&reading)) {
        return 0;
    }
    reading.framed = true; /* for the sake of a map */
    mc_tiling tiling = mc_tiling_of(&reading, 0);
    return mc_at_least(mc_frame_size(&reading, &tiling), is_one_tap(node) ? ONE_FRAME : 0);
}

int64_t mc_conv_direct_weight_shared(const mc_node *node)
{
    weight_cut cut = weight_cut_of(node);
    return cut.groups * mc_conv_taps(node) * node->in.c * node->out.c;
}

typedef struct weight_job {
    const mc_conv_job *conv;
    weight_cut cut;
    mc_reading reading; /* of the first slab */
    mc_tiling tiling;
    int64_t groups, size; /* floats of a group's sums */
    float *sums;
} weight_job;

/* The channels of a slab; all slabs but the last are of one width. */
static mc_reading slab_reading(const weight_job *job, int64_t slab)
{
    mc_reading r = job->reading;
    int64_t first = slab * job->cut.slab;
    r.c = mc_smaller(job->cut.slab, r.source.c - first);
    r.source.x += first;
    if (r.source.scale != NULL) {
        r.source.scale += first;
        r.source.offset += first;
    }
    return r;
}

/* Adds a tile, of the task up to `end`, to sums [taps][slab][o], a row of the kernel at a time. */
static void add_tile(const weight_job *job, const mc_reading *r, int64_t which, int64_t end,
                     bool accumulate, mc_row_table *rows, float *sums)
{
    const mc_pass *pass = job->conv->pass;
    int64_t kernel = r->y.kernel, o = job->conv->node->out.c;
    mc_tile tile = mc_tile_at(&job->tiling, r, pass->n, which);
    mc_view view = mc_view_of(r, pass->kernels, &tile, rows->frame);
    /* Where the tile's results lie are its cotangents, which are not written to. */
    mc_tile_rows(r, &tile, &view, tile.rows, tile.columns, (float *)(uintptr_t)job->conv->dy, o,
                 rows);
    int64_t x_at[MC_TERMS_MOST];
    for (int64_t t = 0; t < kernel; t++) {
        x_at[t] = t * view.pitch;
    }
    mc_outer outer = mc_outer_of(rows);
    outer.k = kernel * kernel * r->c;
    outer.n = outer.w_stride = o;
    outer.terms = kernel;
    outer.x_at = x_at;
    outer.w = sums;
    outer.accumulate = accumulate;
    mc_soon soon = {.count = 0};
    if (job->cut.slabs == 1 && job->tiling.tiles_x == 1 && which + 1 < end) {
        mc_tile next = mc_tile_at(&job->tiling, r, pass->n, which + 1);
        mc_pixels read = mc_tile_reads(r, &next), dy = mc_tile_produces(r, &next);
        mc_soon_add(&soon, r->source.x, read.first, read.count, r->source.c);
        mc_soon_add(&soon, job->conv->dy, dy.first, dy.count, o);
        outer.ahead = soon.range;
        outer.ranges = soon.count;
    }
    pass->kernels->outer(&outer);
}

/* Adds output pixel (y, x) of some images: the taps inside the image, which lie together if the
 * slab is all channels. */
static void add_pixel(const weight_job *job, const mc_reading *r, const mc_reach *y,
                      const mc_reach *x, const mc_row_table *rows, float *sums)
{
    const mc_pass *pass = job->conv->pass;
    int64_t kernel = r->y.kernel, o = job->conv->node->out.c, c = r->source.c;
    int64_t run = r->c == c ? x->taps : 1;
    mc_outer outer = mc_outer_of(rows);
    outer.k = run * r->c;
    outer.n = outer.w_stride = o;
    outer.d_offset = (y->to * r->x.to + x->to) * o;
    outer.accumulate = true;
    for (int64_t t = 0; t < y->taps; t++) {
        for (int64_t u = 0; u < x->taps; u += run) {
            outer.x_offset = ((y->from + t) * r->x.from + x->from + u) * c;
            outer.w = sums + ((y->place + t) * kernel + x->place + u) * r->c * o;
            pass->kernels->outer(&outer);
        }
    }
}

static void add_pixels(const weight_job *job, const mc_reading *r, int64_t which,
                       mc_row_table *rows, float *sums)
{
    int64_t image = which * job->tiling.images, size = r->y.from * r->x.from * r->source.c;
    mc_tile tile = {.image = image,
                    .images = mc_smaller(job->tiling.images, job->conv->pass->n - image)};
    mc_view view = {.at = r->source.x + image * size, .image = size};
    mc_tile_rows(r, &tile, &view, 1, 1, (float *)(uintptr_t)job->conv->dy, job->conv->node->out.c,
                 rows);
    for (int64_t pixel = 0; pixel < r->y.to * r->x.to; pixel++) {
        mc_reach y = mc_axis_pixel(&r->y, pixel / r->x.to);
        mc_reach x = mc_axis_pixel(&r->x, pixel % r->x.to);
        add_pixel(job, r, &y, &x, rows, sums);
    }
}

/* ---- sums to the gradient -------------------------------------------------------------------- */

/* Input channels of a task; outputs and taps of a block, read by lines and written by columns. */
enum { SUM_INPUTS = 16, SUM_OUTPUTS = 64, SUM_TAPS = 64 };

/* Taps t and on of input i, outputs j and on: the groups' sums in order. */
static void sum_block(const weight_job *job, int64_t i, int64_t t, int64_t taps, int64_t j,
                      int64_t outputs, float block[SUM_TAPS][SUM_OUTPUTS])
{
    int64_t o = job->conv->node->out.c, slab = i / job->cut.slab;
    int64_t width = mc_smaller(job->cut.slab, job->conv->node->in.c - slab * job->cut.slab);
    const float *sums = job->sums + slab * mc_conv_taps(job->conv->node) * job->cut.slab * o;
    sums += (t * width + i % job->cut.slab) * o + j;
    for (int64_t k = 0; k < taps; k++) {
        memcpy(block[k], sums + k * width * o, (size_t)outputs * sizeof *sums);
    }
    for (int64_t g = 1; g < job->groups; g++) {
        sums += job->size;
        for (int64_t k = 0; k < taps; k++) {
            for (int64_t l = 0; l < outputs; l++) {
                block[k][l] += sums[k * width * o + l];
            }
        }
    }
}

/* A block to the gradient of its input and first output; outputs lie `stride` apart. */
static void write_block(float block[SUM_TAPS][SUM_OUTPUTS], int64_t taps, int64_t outputs, bool add,
                        float *to, int64_t stride)
{
    for (int64_t l = 0; l < outputs; l++, to += stride) {
        if (add) {
            for (int64_t k = 0; k < taps; k++) {
                to[k] += block[k][l];
            }
        } else {
            for (int64_t k = 0; k < taps; k++) {
                to[k] = block[k][l];
            }
        }
    }
}

/* The gradient [o][c][taps] of some input channels. */
static void sum_inputs(const weight_job *job, int64_t first, int64_t count)
{
    const mc_conv_job *conv = job->conv;
    int64_t c = conv->node->in.c, o = conv->node->out.c, all = mc_conv_taps(conv->node);
    float block[SUM_TAPS][SUM_OUTPUTS];
    for (int64_t j = 0; j < o; j += SUM_OUTPUTS) {
        int64_t outputs = mc_smaller(SUM_OUTPUTS, o - j);
        for (int64_t i = first; i < first + count; i++) {
            for (int64_t t = 0; t < all; t += SUM_TAPS) {
                int64_t taps = mc_smaller(SUM_TAPS, all - t);
                sum_block(job, i, t, taps, j, outputs, block);
                write_block(block, taps, outputs, conv->pass->add_grad,
                            conv->dw + (j * c + i) * all + t, c * all);
            }
        }
    }
}

static void sum_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const weight_job *job = arg;
    int64_t first = task * SUM_INPUTS;
    sum_inputs(job, first, mc_smaller(SUM_INPUTS, job->conv->node->in.c - first));
}

/* ---- kernels of one tap ---------------------------------------------------------------------- */

/* The tile's rows of a slab, each ONE_STEP behind the last. */
static void copy_rows(const mc_reading *r, const mc_kernels *kernels, const mc_row_table *rows,
                      float *to)
{
    const mc_map *map = &r->source;
    for (int64_t i = 0; i < rows->count; i++, to += ONE_STEP) {
        const float *from = rows->x[i / rows->each] + i % rows->each * rows->x_step;
        if (map->scale != NULL) {
            kernels->affine(from, 1, r->c, map->scale, map->offset, map->relu, to);
        } else {
            memcpy(to, from, (size_t)r->c * sizeof *to);
        }
    }
}

/* A block of dW, of all tiles. */
static void one_tap_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    int64_t c = conv->node->in.c, o = conv->node->out.c, slab = task % job->cut.slabs;
    int64_t output = task / job->cut.slabs * ONE_OUTPUTS;
    mc_reading r = slab_reading(job, slab);
    mc_row_table rows = mc_row_table_in(conv->pass->scratch[worker]);
    const float *frame = rows.frame;
    for (int64_t which = 0; which < job->tiling.tiles; which++) {
        mc_tile tile = mc_tile_at(&job->tiling, &r, conv->pass->n, which);
        mc_view view = mc_view_of(&r, kernels, &tile, NULL);
        mc_tile_rows(&r, &tile, &view, tile.rows, tile.columns, (float *)(uintptr_t)conv->dy, o,
                     &rows);
        copy_rows(&r, kernels, &rows, rows.frame);
        const float *dy = rows.y[0]; /* a tile's pixels of the output follow each other */
        mc_outer outer = {.count = rows.count,
                          .k = mc_smaller(ONE_OUTPUTS, o - output),
                          .n = r.c,
                          .each = rows.count,
                          .x = &dy,
                          .x_step = rows.y_step,
                          .x_offset = output,
                          .d = &frame,
                          .d_step = ONE_STEP,
                          .w = conv->dw + output * c + slab * job->cut.slab,
                          .w_stride = c,
                          .accumulate = which > 0 || conv->pass->add_grad};
        kernels->outer(&outer);
    }
}

static void sum_in_place(weight_job *job)
{
    const mc_conv_job *conv = job->conv;
    int64_t c = conv->node->in.c;
    job->cut.slab = mc_smaller(ONE_INPUTS, c);
    job->cut.slabs = mc_quotient_up(c, job->cut.slab);
    job->reading = mc_reading_of(conv->node, false, conv->input, job->cut.slab);
    job->reading.framed = false; /* a map too is read where it lies */
    job->tiling = mc_tiling_of(&job->reading, conv->pass->n);
    mc_pool_run(conv->pass->pool, one_tap_tasks(conv->node), one_tap_task, job);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

/* One slab of one group. */
static void weight_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    int64_t group = task / job->cut.slabs, slab = task % job->cut.slabs;
    int64_t taps = mc_conv_taps(job->conv->node), o = job->conv->node->out.c;
    int64_t begin = group * job->tiling.tiles / job->groups;
    int64_t end = (group + 1) * job->tiling.tiles / job->groups;
    float *sums = job->sums + group * job->size + slab * taps * job->cut.slab * o;
    mc_reading r = slab_reading(job, slab);
    mc_row_table rows = mc_row_table_in(job->conv->pass->scratch[worker]);
    bool few = mc_few_pixels(&r);

    if (few) {
        memset(sums, 0, (size_t)(taps * r.c * o) * sizeof *sums);
    }
    for (int64_t tile = begin; tile < end; tile++) {
        if (few) {
            add_pixels(job, &r, tile, &rows, sums);
        } else {
            add_tile(job, &r, tile, end, tile > begin, &rows, sums);
        }
    }
    if (job->groups == 1) {
        sum_inputs(job, slab * job->cut.slab, r.c); /* while the sums are in the cache */
    }
}

void mc_conv_direct_weight(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    const mc_pass *pass = conv->pass;
    weight_job job = {.conv = conv,
                      .cut = weight_cut_of(node),
                      .size = mc_conv_taps(node) * node->in.c * node->out.c,
                      .sums = pass->shared};
    if (in_place(conv)) {
        sum_in_place(&job);
        return;
    }
    job.reading = mc_reading_of(node, false, conv->input, job.cut.slab);
    if (mc_few_pixels(&job.reading)) {
        /* Chunks of images; few of them are enough for a group. */
        int64_t images = mc_smaller(MC_TILE_ROWS, mc_quotient_up(pass->n, job.cut.groups));
        job.tiling.tiles = mc_quotient_up(pass->n, images);
        job.tiling.images = mc_quotient_up(pass->n, job.tiling.tiles);
        job.tiling.tiles = mc_quotient_up(pass->n, job.tiling.images);
    } else {
        job.tiling = mc_tiling_of(&job.reading, pass->n);
    }
    job.groups = mc_smaller(job.cut.groups, job.tiling.tiles);
    mc_pool_run(pass->pool, job.groups * job.cut.slabs, weight_task, &job);
    if (job.groups > 1) {
        mc_pool_run(pass->pool, mc_quotient_up(node->in.c, SUM_INPUTS), sum_task, &job);
    }
}
