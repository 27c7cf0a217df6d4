/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution of any kernel and stride straight from its definition, without copies of patches:
 *
 *     forward          y[p]  = sum_t x[p s - padding + t] W[t]             W [taps][c][o]
 *     input gradient   dx[q] = sum_t dy[(q + padding - t) / s] W[t]^T     where s divides
 *     weight gradient  dW[t] = sum_p x[p s - padding + t]^T dy[p]         conv_direct_weight.c
 *
 * The first two are one product of rows that pointers find (kernels.h) with W in panels. A row of
 * the kernel is one term of it: its taps read numbers that follow each other (conv_window.h). A
 * task is a tile of the produced map, all classes of its pixels; what it reads is copied among
 * zeros first, unless there are none to read.
 *
 * On maps of few pixels many taps lie outside: there every pixel is a class of its own that leaves
 * them out, and a task makes it for many images.
 */
#include "nn/layers/conv_window.h"
#include <string.h>

static bool reads_maps(const mc_node *node)
{
    return !mc_few_outputs(node);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t frame_size(const mc_node *node, bool backward)
{
    mc_map source = {.c = backward ? node->out.c : node->in.c};
    mc_reading reading = mc_reading_of(node, backward, source, source.c);
    if (mc_few_pixels(&reading)) {
        return 0;
    }
    reading.framed = reading.framed || !backward; /* for the sake of a map */
    mc_tiling tiling = mc_tiling_of(&reading, 0);
    return mc_frame_size(&reading, &tiling);
}

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    int64_t need = frame_size(node, false);
    if (gradients) {
        need = mc_at_least(need, frame_size(node, true));
        need = mc_at_least(need, mc_conv_direct_weight_scratch(node));
    }
    return MC_ROWS_SIZE + need + MC_ROW_SLACK;
}

static int64_t prepared(const mc_node *node)
{
    return mc_conv_panels(mc_conv_taps(node) * node->in.c, node->out.c);
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    if (!gradients) {
        return 0;
    }
    int64_t back = mc_conv_panels(mc_conv_taps(node) * node->out.c, node->in.c);
    return mc_at_least(mc_at_least(prepared(node), back), mc_conv_direct_weight_shared(node));
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct product_job {
    const mc_conv_job *conv;
    mc_reading reading;
    mc_tiling tiling;
    float *y;
    int64_t c;       /* of y */
    int64_t columns; /* cuts of y's channels */
    bool accumulate, relu;
    bool in_parts; /* sums of what is written are wanted, a tile a part */
    const float *panels, *bias;
} product_job;

typedef struct column_cut {
    int64_t begin, count;
} column_cut;

/* The channels of y in cut `cut` of them: whole panels. */
static column_cut cut_of(const product_job *job, int64_t cut)
{
    const mc_kernels *kernels = job->conv->pass->kernels;
    int64_t width = kernels->lanes * kernels->vectors, panels = mc_quotient_up(job->c, width);
    int64_t begin = cut * panels / job->columns * width;
    int64_t end = mc_smaller((cut + 1) * panels / job->columns * width, job->c);
    return (column_cut){begin, end - begin};
}

/* A class by the columns of cut `cut`. `product` has its rows; the terms begin `at` floats behind
 * them, `pitch` apart. */
static void multiply(const product_job *job, const mc_reach *y, const mc_reach *x, int64_t at,
                     int64_t pitch, int64_t cut, mc_product *product)
{
    int64_t begin = cut_of(job, cut).begin;
    mc_terms terms;

    mc_take_terms(&job->reading, y, x, at, pitch, job->reading.c, &terms, product);
    product->n = cut_of(job, cut).count;
    product->panels = job->panels + begin * product->panel_rows;
    product->bias = job->bias != NULL ? job->bias + begin : NULL;
    product->relu = job->relu;
    product->accumulate = job->accumulate;
    product->y_offset = (y->to * job->reading.x.to + x->to) * job->c + begin;
    if (product->taps > 0 || !job->accumulate) {
        job->conv->pass->kernels->product(product);
    }
}

/* A tile of whole rows has been written, of all classes. */
static void sum_up(const product_job *job, const mc_tile *tile, int64_t part, int64_t cut)
{
    mc_pixels pixels = mc_tile_produces(&job->reading, tile);
    column_cut columns = cut_of(job, cut);
    (job->reading.y.backward ? mc_conv_sum_dx : mc_conv_sum_y)(
        job->conv, part, pixels.first, pixels.count, columns.begin, columns.count);
}

/* A kernel shorter than its stride has no tap for some classes of the input's gradient. Where a
 * tile is whole rows of all channels, these zeros are written before, row after row; whether they
 * were. */
static bool clear_tile(const product_job *job, const mc_tile *tile)
{
    const mc_axis *y = &job->reading.y;
    bool gaps = y->backward && y->kernel < y->stride;
    if (!gaps || job->accumulate || job->columns > 1 || job->tiling.tiles_x > 1) {
        return false;
    }
    mc_pixels pixels = mc_tile_produces(&job->reading, tile);
    memset(job->y + pixels.first * job->c, 0, (size_t)(pixels.count * job->c) * sizeof *job->y);
    return true;
}

/* What a tile's products may touch meanwhile: what its sums will read besides, and what the next
 * tile, of this thread's as a rule, reads and writes. */
static mc_soon soon_of(const product_job *job, const mc_tile *tile, int64_t which)
{
    const mc_reading *r = &job->reading;
    const mc_conv_job *conv = job->conv;
    mc_soon list = {.count = 0};
    if (job->columns > 1 || job->tiling.tiles_x > 1) {
        return list;
    }
    if (job->in_parts && r->y.backward) {
        mc_pixels here = mc_tile_produces(r, tile);
        mc_soon_add(&list, conv->summed.x, here.first, here.count, job->c);
        if (conv->positive != NULL) {
            mc_soon_add(&list, conv->positive, here.first, here.count, job->c);
        }
    }
    if (which + 1 < job->tiling.tiles) {
        mc_tile next = mc_tile_at(&job->tiling, r, conv->pass->n, which + 1);
        mc_pixels read = mc_tile_reads(r, &next), produced = mc_tile_produces(r, &next);
        mc_soon_add(&list, r->source.x, read.first, read.count, r->source.c);
        mc_soon_add(&list, job->y, produced.first, produced.count, job->c);
    }
    return list;
}

/* A tile of all classes by one cut of the columns. */
static void tile_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_reading *r = &job->reading;
    const mc_pass *pass = job->conv->pass;
    mc_row_table rows = mc_row_table_in(pass->scratch[worker]);
    mc_tile tile = mc_tile_at(&job->tiling, r, pass->n, task / job->columns);
    mc_view view = mc_view_of(r, pass->kernels, &tile, rows.frame);
    mc_soon soon = soon_of(job, &tile, task / job->columns);
    mc_product product = {.rows = 0};
    int64_t had_height = 0, had_width = 0;
    bool cleared = clear_tile(job, &tile);

    for (int64_t class = 0; class < r->y.classes * r->x.classes; class ++) {
        mc_reach y = mc_axis_reach(&r->y, class / r->x.classes);
        mc_reach x = mc_axis_reach(&r->x, class % r->x.classes);
        int64_t height = mc_smaller(y.count - tile.y, tile.rows);
        int64_t width = mc_smaller(x.count - tile.x, tile.columns);
        if (height <= 0 || width <= 0 || (cleared && (y.taps == 0 || x.taps == 0))) {
            continue;
        }
        if (height != had_height || width != had_width) {
            mc_tile_rows(r, &tile, &view, height, width, job->y, job->c, &rows);
            product = mc_product_of(&rows);
            product.ahead = soon.range;
            product.ranges = soon.count;
            had_height = height;
            had_width = width;
        }
        multiply(job, &y, &x, (y.from - r->y.low) * view.pitch + (x.from - r->x.low) * r->c,
                 view.pitch, task % job->columns, &product);
    }
    if (job->in_parts) {
        sum_up(job, &tile, task / job->columns, task % job->columns);
    }
}

/* One pixel of a chunk of images by one cut of the columns. Pixels at the border have less to do:
 * all of a cut follow each other, so that as much is left of each thread's share. */
static void pixel_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_reading *r = &job->reading;
    const mc_pass *pass = job->conv->pass;
    int64_t pixels = r->y.to * r->x.to, pitch = r->x.from * r->c;
    int64_t chunks = mc_quotient_up(pass->n, job->tiling.images), cut = task / (chunks * pixels);
    int64_t pixel = task % pixels, image = task / pixels % chunks * job->tiling.images;
    mc_tile tile = {.image = image, .images = mc_smaller(job->tiling.images, pass->n - image)};
    mc_view view = {.at = r->source.x + image * r->y.from * pitch, .image = r->y.from * pitch};
    mc_reach y = mc_axis_pixel(&r->y, pixel / r->x.to), x = mc_axis_pixel(&r->x, pixel % r->x.to);
    mc_row_table rows = mc_row_table_in(pass->scratch[worker]);

    mc_tile_rows(r, &tile, &view, 1, 1, job->y, job->c, &rows);
    mc_product product = mc_product_of(&rows);
    multiply(job, &y, &x, y.from * pitch + x.from * r->c, pitch, cut, &product);
}

static void run_product(product_job *job)
{
    const mc_pass *pass = job->conv->pass;
    const mc_reading *r = &job->reading;
    int64_t panels = mc_quotient_up(job->c, pass->kernels->lanes * pass->kernels->vectors);
    bool few = mc_few_pixels(r);
    int64_t tasks;
    if (few) {
        int64_t chunks = mc_quotient_up(pass->n, MC_TILE_ROWS);
        job->tiling.images = mc_quotient_up(pass->n, chunks);
        tasks = chunks * r->y.to * r->x.to;
    } else {
        job->tiling = mc_tiling_of(r, pass->n);
        tasks = job->tiling.tiles;
        job->in_parts = job->tiling.tiles_x == 1 && mc_conv_parts(job->conv, tasks, job->c);
    }
    job->columns =
        tasks >= MC_TILE_TASKS ? 1 : mc_smaller(mc_quotient_up(MC_TILE_TASKS, tasks), panels);
    mc_pool_run(pass->pool, tasks * job->columns, few ? pixel_task : tile_task, job);
}

static void forward(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    bool ready;
    float *panels = mc_conv_prepared(conv, &ready);
    product_job job = {.conv = conv,
                       .reading = mc_reading_of(node, false, conv->input, node->in.c),
                       .y = conv->y,
                       .c = node->out.c,
                       .relu = conv->relu,
                       .panels = panels,
                       .bias = conv->bias};
    if (!ready) {
        int64_t taps = mc_conv_taps(node);
        mc_conv_pack(conv->pass, conv->w, taps, node->in.c, node->out.c, panels);
        mc_conv_scale(conv->pass->kernels, conv->scale, taps * node->in.c, node->out.c, panels);
    }
    run_product(&job);
}

static void backward_input(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    mc_map dy = {.x = conv->dy, .c = node->out.c};
    product_job job = {.conv = conv,
                       .reading = mc_reading_of(node, true, dy, node->out.c),
                       .y = conv->dx,
                       .c = node->in.c,
                       .accumulate = conv->accumulate,
                       .panels = conv->pass->shared};
    mc_conv_pack_back(conv->pass, conv->w, mc_conv_taps(node), node->in.c, node->out.c,
                      &node->window, conv->pass->shared);
    run_product(&job);
}

static void backward(const mc_conv_job *conv)
{
    mc_conv_direct_weight(conv);
    if (conv->dx != NULL) {
        backward_input(conv);
    }
}

static bool suits(const mc_node *node, int64_t n)
{
    (void)node;
    (void)n;
    return true;
}

const mc_conv_algorithm mc_conv_direct = {
    .name = "direct",
    .reads_maps = reads_maps,
    .suits = suits,
    .scratch = scratch,
    .shared = shared,
    .prepared = prepared,
    .forward = forward,
    .backward = backward,
};
