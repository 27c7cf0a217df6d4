/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution of channels in groups, weight [o][c / groups][taps]: each group is a convolution of
 * its own, from some channels of a map to some of another. It has the products and the tiles of the
 * direct algorithm (conv_direct.c says which), only that a task does its tile group after group.
 *
 * Groups of one channel each (depthwise) leave nothing to multiply matrices of. They are one cut of
 * all channels, whose products keep the channels apart (kernels/depthwise.c).
 *
 * The weight's gradient is summed cut by cut, [shares][cuts][taps][rows][out], over shares of the
 * tiles where cuts are too few for all workers; then the shares are added in order.
 */
#include "nn/layers/conv_window.h"

/* How the channels are gone through: `count` cuts, one behind the other in both maps. */
typedef struct cuts {
    int64_t count, in, out; /* channels of a cut */
    int64_t rows;           /* inputs that a tap of an output reads */
    bool depthwise;
} cuts;

static cuts cuts_of(const mc_node *node)
{
    int64_t c = node->in.c, o = node->out.c, groups = node->groups;
    if (c == groups && o == groups) {
        return (cuts){1, c, o, 1, true};
    }
    return (cuts){groups, c / groups, o / groups, c / groups, false};
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Channels that cut 0 reads, from a map of all channels. */
static mc_reading first_reading(const mc_node *node, bool backward, mc_map source)
{
    cuts cut = cuts_of(node);
    return mc_reading_of(node, backward, source, backward ? cut.out : cut.in);
}

static int64_t frame_size(const mc_node *node, bool backward)
{
    mc_map source = {.c = backward ? node->out.c : node->in.c};
    mc_reading reading = first_reading(node, backward, source);
    reading.framed = reading.framed || !backward; /* for the sake of a map */
    mc_tiling tiling = mc_tiling_of(&reading, 0);
    return mc_frame_size(&reading, &tiling);
}

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    int64_t need = frame_size(node, false);
    need = gradients ? mc_at_least(need, frame_size(node, true)) : need;
    return MC_ROWS_SIZE + need + MC_ROW_SLACK;
}

/* Floats of a cut's weight: [taps][from] by `to`, in panels unless depthwise. */
static int64_t packed_size(const mc_node *node, const cuts *cut, bool backward)
{
    int64_t taps = mc_conv_taps(node);
    return cut->depthwise ? taps * cut->in
           : backward     ? mc_conv_panels(taps * cut->out, cut->in)
                          : mc_conv_panels(taps * cut->in, cut->out);
}

static int64_t prepared(const mc_node *node)
{
    cuts cut = cuts_of(node);
    return cut.count * packed_size(node, &cut, false);
}

static int64_t shares_of(const cuts *cut)
{
    return mc_quotient_up(MC_TILE_TASKS, cut->count);
}

/* Floats of a cut's gradient. */
static int64_t gradient_size(const mc_node *node, const cuts *cut)
{
    return mc_conv_taps(node) * cut->rows * cut->out;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    cuts cut = cuts_of(node);
    if (!gradients) {
        return 0;
    }
    int64_t need = mc_at_least(prepared(node), cut.count * packed_size(node, &cut, true));
    return mc_at_least(need, shares_of(&cut) * cut.count * gradient_size(node, &cut));
}

/* ---- packing --------------------------------------------------------------------------------- */

/* [c][taps] to [taps][c], the taps in their own order or as the input's gradient meets them. */
static void pack_depthwise(const mc_conv_job *job, bool backward, float *to)
{
    int64_t c = job->node->in.c, taps = mc_conv_taps(job->node);
    int64_t kernel = job->node->window.kernel, stride = job->node->window.stride;
    for (int64_t t = 0; t < taps; t++) {
        int64_t place = backward ? mc_tap_place(kernel, stride, t / kernel) * kernel +
                                       mc_tap_place(kernel, stride, t % kernel)
                                 : t;
        for (int64_t i = 0; i < c; i++) {
            float scale = job->scale != NULL && !backward ? job->scale[i] : 1.0f;
            to[place * c + i] = job->w[i * taps + t] * scale;
        }
    }
}

static void pack(const mc_conv_job *job, const cuts *cut, bool backward, float *to)
{
    const mc_node *node = job->node;
    int64_t taps = mc_conv_taps(node), size = packed_size(node, cut, backward);
    if (cut->depthwise) {
        pack_depthwise(job, backward, to);
        return;
    }
    for (int64_t g = 0; g < cut->count; g++) {
        const float *w = job->w + g * cut->out * cut->in * taps;
        if (backward) {
            mc_conv_pack_back(job->pass, w, taps, cut->in, cut->out, &node->window, to + g * size);
        } else {
            mc_conv_pack(job->pass, w, taps, cut->in, cut->out, to + g * size);
            mc_conv_scale(job->pass->kernels, job->scale != NULL ? job->scale + g * cut->out : NULL,
                          taps * cut->in, cut->out, to + g * size);
        }
    }
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct grouped_job {
    const mc_conv_job *conv;
    cuts cut;
    mc_reading reading; /* of cut 0 */
    mc_tiling tiling;
    /* What is produced, of c channels, `out` a cut; by packed weights of `size` a cut. */
    float *y;
    int64_t c, out, size;
    const float *packed, *bias;
    bool accumulate, relu;
    /* The weight's gradient. */
    float *sums;
    int64_t shares;
} grouped_job;

static mc_reading reading_of_cut(const grouped_job *job, int64_t g)
{
    mc_reading r = job->reading;
    r.source.x += g * r.c;
    if (r.source.scale != NULL) {
        r.source.scale += g * r.c;
        r.source.offset += g * r.c;
    }
    return r;
}

/* A class of a cut's pixels. `product` has its rows; the terms begin `at` floats behind them. */
static void multiply(const grouped_job *job, int64_t g, const mc_reach *y, const mc_reach *x,
                     int64_t at, int64_t pitch, mc_product *product)
{
    const mc_kernels *kernels = job->conv->pass->kernels;
    const mc_reading *r = &job->reading;
    mc_terms terms;

    mc_take_terms(r, y, x, at, pitch, job->cut.depthwise ? 1 : r->c, &terms, product);
    product->n = job->out;
    product->panels = job->packed + g * job->size;
    product->bias = job->bias != NULL ? job->bias + g * job->out : NULL;
    product->relu = job->relu;
    product->accumulate = job->accumulate;
    product->y_offset = (y->to * r->x.to + x->to) * job->c + g * job->out;
    (job->cut.depthwise ? kernels->depthwise : kernels->product)(product);
}

/* A tile of all classes, of one cut. */
static void produce_cut(const grouped_job *job, int64_t g, const mc_tile *tile, mc_row_table *rows)
{
    const mc_reading r = reading_of_cut(job, g);
    mc_view view = mc_view_of(&r, job->conv->pass->kernels, tile, rows->frame);

    for (int64_t class = 0; class < r.y.classes * r.x.classes; class ++) {
        mc_reach y = mc_axis_reach(&r.y, class / r.x.classes);
        mc_reach x = mc_axis_reach(&r.x, class % r.x.classes);
        int64_t height = mc_smaller(y.count - tile->y, tile->rows);
        int64_t width = mc_smaller(x.count - tile->x, tile->columns);
        if (height <= 0 || width <= 0) {
            continue;
        }
        mc_tile_rows(&r, tile, &view, height, width, job->y, job->c, rows);
        mc_product product = mc_product_of(rows);
        multiply(job, g, &y, &x, (y.from - r.y.low) * view.pitch + (x.from - r.x.low) * r.c,
                 view.pitch, &product);
    }
}

static void produce_task(void *arg, int64_t task, int worker)
{
    const grouped_job *job = arg;
    const mc_pass *pass = job->conv->pass;
    mc_row_table rows = mc_row_table_in(pass->scratch[worker]);
    mc_tile tile = mc_tile_at(&job->tiling, &job->reading, pass->n, task);
    for (int64_t g = 0; g < job->cut.count; g++) {
        produce_cut(job, g, &tile, &rows);
    }
}

static void produce(grouped_job *job)
{
    const mc_pass *pass = job->conv->pass;
    job->tiling = mc_tiling_of(&job->reading, pass->n);
    mc_pool_run(pass->pool, job->tiling.tiles, produce_task, job);
}

static void forward(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    bool ready;
    float *packed = mc_conv_prepared(conv, &ready);
    grouped_job job = {.conv = conv,
                       .cut = cuts_of(node),
                       .reading = first_reading(node, false, conv->input),
                       .y = conv->y,
                       .c = node->out.c,
                       .packed = packed,
                       .bias = conv->bias,
                       .relu = conv->relu};
    job.out = job.cut.out;
    job.size = packed_size(node, &job.cut, false);
    if (!ready) {
        pack(conv, &job.cut, false, packed);
    }
    produce(&job);
}

static void backward_input(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    mc_map dy = {.x = conv->dy, .c = node->out.c};
    grouped_job job = {.conv = conv,
                       .cut = cuts_of(node),
                       .reading = first_reading(node, true, dy),
                       .y = conv->dx,
                       .c = node->in.c,
                       .packed = conv->pass->shared,
                       .accumulate = conv->accumulate};
    job.out = job.cut.in;
    job.size = packed_size(node, &job.cut, true);
    pack(conv, &job.cut, true, conv->pass->shared);
    produce(&job);
}

/* ---- the weight's gradient ------------------------------------------------------------------- */

/* Adds a tile to a cut's sums [taps][rows][out], a row of the kernel at a time. */
static void add_tile(const grouped_job *job, int64_t g, int64_t which, bool accumulate,
                     mc_row_table *rows, float *sums)
{
    const mc_pass *pass = job->conv->pass;
    const mc_reading r = reading_of_cut(job, g);
    int64_t o = job->conv->node->out.c, out = job->cut.out, k = r.y.kernel * job->cut.rows;
    mc_tile tile = mc_tile_at(&job->tiling, &r, pass->n, which);
    mc_view view = mc_view_of(&r, pass->kernels, &tile, rows->frame);
    /* Where the tile's results lie are its cotangents, which are not written to. */
    mc_tile_rows(&r, &tile, &view, tile.rows, tile.columns, (float *)(uintptr_t)job->conv->dy, o,
                 rows);
    mc_outer outer = mc_outer_of(rows);
    outer.k = k;
    outer.n = outer.w_stride = out;
    outer.d_offset = g * out;
    outer.accumulate = accumulate;
    for (int64_t t = 0; t < r.y.kernel; t++) {
        outer.x_offset = t * view.pitch;
        outer.w = sums + t * k * out;
        (job->cut.depthwise ? pass->kernels->depthwise_outer : pass->kernels->outer)(&outer);
    }
}

/* One cut over one share of the tiles. */
static void weight_task(void *arg, int64_t task, int worker)
{
    const grouped_job *job = arg;
    int64_t share = task / job->cut.count, tiles = job->tiling.tiles;
    int64_t begin = share * tiles / job->shares, end = (share + 1) * tiles / job->shares;
    mc_row_table rows = mc_row_table_in(job->conv->pass->scratch[worker]);
    for (int64_t tile = begin; tile < end; tile++) {
        add_tile(job, task % job->cut.count, tile, tile > begin, &rows,
                 job->sums + task * gradient_size(job->conv->node, &job->cut));
    }
}

/* A cut's sums of all shares to its gradient [out][rows][taps]. */
static void sum_task(void *arg, int64_t g, int worker)
{
    (void)worker;
    const grouped_job *job = arg;
    int64_t taps = mc_conv_taps(job->conv->node), rows = job->cut.rows, out = job->cut.out;
    int64_t size = gradient_size(job->conv->node, &job->cut);
    const float *sums = job->sums + g * size;
    float *dw = job->conv->dw + g * size;
    for (int64_t at = 0; at < size; at++) {
        int64_t j = at / (rows * taps), i = at / taps % rows, t = at % taps;
        float sum = job->conv->pass->add_grad ? dw[at] : 0.0f;
        for (int64_t share = 0; share < job->shares; share++) {
            sum += sums[share * job->cut.count * size + (t * rows + i) * out + j];
        }
        dw[at] = sum;
    }
}

static void backward_weight(const mc_conv_job *conv)
{
    const mc_pass *pass = conv->pass;
    grouped_job job = {.conv = conv,
                       .cut = cuts_of(conv->node),
                       .reading = first_reading(conv->node, false, conv->input),
                       .sums = pass->shared};
    job.tiling = mc_tiling_of(&job.reading, pass->n);
    job.shares = mc_smaller(shares_of(&job.cut), job.tiling.tiles);
    mc_pool_run(pass->pool, job.shares * job.cut.count, weight_task, &job);
    mc_pool_run(pass->pool, job.cut.count, sum_task, &job);
}

static void backward(const mc_conv_job *conv)
{
    backward_weight(conv);
    if (conv->dx != NULL) {
        backward_input(conv);
    }
}

/* ---- the row of the table -------------------------------------------------------------------- */

static bool reads_maps(const mc_node *node)
{
    (void)node;
    return true;
}

static bool suits(const mc_node *node, int64_t n)
{
    (void)node;
    (void)n;
    return true;
}

const mc_conv_algorithm mc_conv_grouped = {
    .name = "grouped",
    .grouped = true,
    .reads_maps = reads_maps,
    .suits = suits,
    .scratch = scratch,
    .shared = shared,
    .prepared = prepared,
    .forward = forward,
    .backward = backward,
};
