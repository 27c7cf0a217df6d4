/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution of any kernel and stride straight from its definition, without copies of patches:
 *
 *     forward          y[p]  = sum_t x[p s - padding + t] W[t]             W [taps][c][o]
 *     input gradient   dx[q] = sum_t dy[(q + padding - t) / s] W[t]^T     where s divides
 *     weight gradient  dW[t] = sum_p x[p s - padding + t]^T dy[p]
 *
 * The first two are one product of rows that pointers find (kernels.h) with W in panels. Pixels of
 * the produced map fall into classes that share their taps: all pixels forward, the s * s phases
 * backward. Where a class has few pixels each is a class of its own, so that taps outside the image
 * are left out; elsewhere they read zeros. Tasks are chunks of rows, or of the columns of a chunk
 * where rows are few.
 *
 * With few input channels a tap is too short a sum: images are copied into a frame of zeros, where
 * one row of the kernel is a single run of kernel * c numbers.
 */
#include "nn/layers/conv.h"
#include <string.h>

enum { CHUNK = 192, FEW_PIXELS = 16, TASKS = 8, NARROW = 16 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t quotient_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static bool framed(const mc_node *node)
{
    return node->window.kernel > 1 && node->in.c < NARROW;
}

/* Images whose output is a chunk of rows or more. */
static int64_t images_of_chunk(const mc_node *node)
{
    return mc_at_least(CHUNK / (node->window.oh * node->window.ow), 1);
}

static int64_t image_size(const mc_node *node)
{
    return node->window.h * node->window.w * node->in.c;
}

/* An input behind a batch norm is read a chunk of images at a time: mapped into the worker's
 * memory, where they must fit the cache. */
enum { STAGE_MOST = 262144 };

static bool reads_maps(const mc_node *node)
{
    return !framed(node) && node->window.oh * node->window.ow >= FEW_PIXELS &&
           images_of_chunk(node) * image_size(node) <= STAGE_MOST;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

/* Where the rows of a chunk lie. */
typedef struct rows_table {
    const float **x; /* [taps][CHUNK] */
    float **y;       /* [CHUNK] */
    int64_t *tap;    /* [taps] */
    float *frame;    /* an image among zeros, or mapped images */
} rows_table;

static int64_t frame_size(const mc_node *node)
{
    const mc_window *p = &node->window;
    if (framed(node)) {
        return (p->h + 2 * p->padding) * (p->w + 2 * p->padding) * p->c;
    }
    return reads_maps(node) ? images_of_chunk(node) * image_size(node) : 0;
}

/* Floats of a table; zeros for taps outside lie at its beginning. */
static int64_t zeros_size(const mc_node *node)
{
    return (mc_at_least(node->in.c, node->out.c) + 15) / 16 * 16;
}

enum { FLOATS_PER_POINTER = sizeof(int64_t) / sizeof(float) };

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    (void)n;
    (void)gradients;
    int64_t taps = mc_conv_taps(node);
    return zeros_size(node) + (taps * (CHUNK + 1) + CHUNK) * FLOATS_PER_POINTER + frame_size(node);
}

static rows_table table_in(const mc_node *node, float *memory)
{
    rows_table table;
    int64_t taps = mc_conv_taps(node);
    float *at = memory + zeros_size(node);
    table.x = (const float **)(void *)at;
    table.y = (float **)(void *)(at + taps * CHUNK * FLOATS_PER_POINTER);
    table.tap = (int64_t *)(void *)(at + (taps + 1) * CHUNK * FLOATS_PER_POINTER);
    table.frame = (float *)(void *)(table.tap + taps);
    return table;
}

/* How the weight gradient is cut: slabs of input channels whose sums stay in the cache, and groups
 * of images, summed apart, where slabs are too few. */
typedef struct weight_cut {
    int64_t slab, slabs, groups, images; /* channels of a slab; images of a group */
} weight_cut;

static weight_cut weight_cut_of(const mc_node *node, int64_t n)
{
    weight_cut cut;
    int64_t c = node->in.c, per_channel = mc_conv_taps(node) * node->out.c;
    cut.slab = framed(node) ? c : mc_at_least(131072 / per_channel / 12 * 12, 12);
    cut.slabs = quotient_up(c, cut.slab);
    cut.slab = quotient_up(quotient_up(c, cut.slabs), 12) * 12;
    cut.slab = smaller(cut.slab, c);
    cut.slabs = quotient_up(c, cut.slab);
    cut.groups = smaller(quotient_up(TASKS, cut.slabs), n);
    cut.images = quotient_up(n, cut.groups);
    cut.groups = quotient_up(n, cut.images);
    return cut;
}

static int64_t weight_size(const mc_node *node)
{
    return mc_conv_taps(node) * node->in.c * node->out.c;
}

static int64_t prepared(const mc_node *node)
{
    return mc_conv_panels(mc_conv_taps(node) * node->in.c, node->out.c);
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    int64_t need = 0;
    if (gradients) {
        need = prepared(node);
        need = mc_at_least(need, mc_conv_panels(mc_conv_taps(node) * node->out.c, node->in.c));
        /* A shorter batch may have as many groups. */
        int64_t groups = weight_cut_of(node, n).slabs < TASKS ? smaller(TASKS, n) : 1;
        need = mc_at_least(need, groups * weight_size(node));
    }
    return need;
}

/* ---- weights in panels --------------------------------------------------------------------------
 */

typedef struct pack_job {
    const mc_kernels *kernels;
    const float *w;
    int64_t taps, c, o;
    bool backward;
    float *panels;
} pack_job;

/* The panels of as many columns as one has at most: [taps][c] by their outputs or, backward,
 * [taps][o] by their inputs. PACK_ROWS at a time of all taps, which lie together in the weight
 * [o][c][taps]. */
enum { PACK_ROWS = 16 };

static void pack_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const pack_job *job = arg;
    int64_t out_step = job->c * job->taps, most = job->kernels->lanes * job->kernels->vectors;
    int64_t k = job->backward ? job->o : job->c, n = job->backward ? job->c : job->o;
    mc_matrix b = {job->w, job->backward ? out_step : job->taps,
                   job->backward ? job->taps : out_step};
    int64_t end = smaller((task + 1) * most, n);
    for (int64_t j = task * most, width; j < end; j += width) {
        width = mc_panel_width(job->kernels, n - j);
        float *panel = job->panels + j * job->taps * k;
        for (int64_t i = 0; i < k; i += PACK_ROWS) {
            for (int64_t t = 0; t < job->taps; t++) {
                b.data = job->w + j * b.cols + i * b.rows + t;
                job->kernels->pack_panels(smaller(PACK_ROWS, k - i), smaller(width, n - j), b, 0,
                                          panel + (t * k + i) * width);
            }
        }
    }
}

void mc_conv_pack(const mc_pass *pass, const float *weight, int64_t taps, int64_t c, int64_t o,
                  bool backward, float *panels)
{
    pack_job job = {pass->kernels, weight, taps, c, o, backward, panels};
    mc_pool_run(pass->pool,
                quotient_up(backward ? c : o, pass->kernels->lanes * pass->kernels->vectors),
                pack_task, &job);
}

void mc_conv_scale(const mc_kernels *kernels, const float *scale, int64_t k, int64_t n,
                   float *panels)
{
    if (scale == NULL) {
        return;
    }
    for (int64_t j = 0, width; j < n; j += width) {
        width = mc_panel_width(kernels, n - j);
        float *panel = panels + j * k;
        for (int64_t i = 0; i < k; i++) {
            for (int64_t l = 0; l < smaller(width, n - j); l++) {
                panel[i * width + l] *= scale[j + l];
            }
        }
    }
}

/* ---- rows ---------------------------------------------------------------------------------------
 */

/* A map [n][h][w][c] that is read or produced. */
typedef struct map {
    int64_t h, w, c;
} map;

typedef struct product_job {
    const mc_conv_job *conv;
    map from, to;
    const float *x;
    float *y;
    int64_t images;
    bool backward;
    int64_t step;          /* pixels y with equal y % step are a class of their dimension */
    int64_t chunk, chunks; /* rows of a chunk; most chunks of a class */
    int64_t columns;       /* cuts of the columns */
    const float *panels, *bias;
} product_job;

/* One dimension of a class: pixels phase + i * step, i < count; under tap t pixel i reads
 * base(t) + i * scale of the source. */
typedef struct axis {
    int64_t phase, count, scale, extent; /* extent: of the source */
} axis;

static axis axis_of(const product_job *job, int64_t phase, int64_t to, int64_t from)
{
    int64_t stride = job->conv->node->window.stride;
    axis a = {phase, phase < to ? (to - phase - 1) / job->step + 1 : 0,
              job->backward ? job->step / stride : job->step * stride, from};
    return a;
}

/* False: no pixel of the class meets tap t. */
static bool find_base(const product_job *job, const axis *a, int64_t t, int64_t *base)
{
    const mc_window *p = &job->conv->node->window;
    if (job->backward) {
        int64_t moved = a->phase + p->padding - t;
        if (moved % p->stride != 0) {
            return false;
        }
        *base = moved / p->stride;
    } else {
        *base = a->phase * p->stride - p->padding + t;
    }
    int64_t last = *base + (a->count - 1) * a->scale;
    return last >= 0 && *base < a->extent;
}

/* The rows of a chunk: image, and pixel of the class. */
typedef struct row_place {
    int64_t image, y, x;
} row_place;

static void next_row(const axis *y, const axis *x, row_place *at)
{
    if (++at->x == x->count) {
        at->x = 0;
        if (++at->y == y->count) {
            at->y = 0;
            at->image++;
        }
    }
}

static row_place place_of(const axis *y, const axis *x, int64_t row)
{
    int64_t pixels = y->count * x->count;
    row_place at = {row / pixels, row % pixels / x->count, row % pixels % x->count};
    return at;
}

static void find_outputs(const product_job *job, const axis *y, const axis *x, int64_t first,
                         int64_t rows, float **out)
{
    row_place at = place_of(y, x, first);
    for (int64_t i = 0; i < rows; i++, next_row(y, x, &at)) {
        int64_t row = (at.image * job->to.h + y->phase + at.y * job->step) * job->to.w + x->phase +
                      at.x * job->step;
        out[i] = job->y + row * job->to.c;
    }
}

/* Pointers of the taps that the class meets; returns how many. */
static int64_t find_sources(const product_job *job, const axis *y, const axis *x, int64_t first,
                            int64_t rows, const float *zeros, rows_table *table)
{
    int64_t k = job->conv->node->window.kernel, taps = 0;
    for (int64_t t = 0; t < k * k; t++) {
        int64_t base_y, base_x;
        if (!find_base(job, y, t / k, &base_y) || !find_base(job, x, t % k, &base_x)) {
            continue;
        }
        const float **to = table->x + taps * CHUNK;
        row_place at = place_of(y, x, first);
        for (int64_t i = 0; i < rows; i++, next_row(y, x, &at)) {
            int64_t sy = base_y + at.y * y->scale, sx = base_x + at.x * x->scale;
            bool inside = sy >= 0 && sy < y->extent && sx >= 0 && sx < x->extent;
            int64_t row = (at.image * y->extent + sy) * x->extent + sx;
            to[i] = inside ? job->x + row * job->from.c : zeros;
        }
        table->tap[taps++] = t;
    }
    return taps;
}

/* The columns of cut `which`: whole panels. */
static void cut_columns(const product_job *job, int64_t which, mc_product *product)
{
    const mc_kernels *kernels = job->conv->pass->kernels;
    int64_t width = kernels->lanes * kernels->vectors, panels = quotient_up(job->to.c, width);
    int64_t begin = which * panels / job->columns, end = (which + 1) * panels / job->columns;
    product->panels = job->panels + begin * width * product->panel_rows;
    product->n = smaller(end * width, job->to.c) - begin * width;
    product->y_offset = begin * width;
    product->bias = job->bias != NULL ? job->bias + begin * width : NULL;
    product->relu = !job->backward && job->conv->relu;
}

/* One chunk of rows by one cut of the columns. */
static void product_part(const product_job *job, int64_t task, float *zeros)
{
    const mc_pass *pass = job->conv->pass;
    int64_t cut = task % job->columns, chunk = task / job->columns % job->chunks;
    int64_t class = task / job->columns / job->chunks;
    axis y = axis_of(job, class / job->step, job->to.h, job->from.h);
    axis x = axis_of(job, class % job->step, job->to.w, job->from.w);
    int64_t first = chunk * job->chunk;
    int64_t rows = smaller(y.count * x.count * job->images - first, job->chunk);
    if (rows <= 0) {
        return;
    }
    memset(zeros, 0, (size_t)zeros_size(job->conv->node) * sizeof *zeros);
    rows_table table = table_in(job->conv->node, zeros);
    find_outputs(job, &y, &x, first, rows, table.y);
    mc_product product = {.rows = rows,
                          .taps = find_sources(job, &y, &x, first, rows, zeros, &table),
                          .run = job->from.c,
                          .x = table.x,
                          .x_stride = CHUNK,
                          .tap = table.tap,
                          .accumulate = job->backward && job->conv->accumulate,
                          .panel_rows = mc_conv_taps(job->conv->node) * job->from.c,
                          .y = table.y};
    cut_columns(job, cut, &product);
    pass->kernels->product(&product);
}

static void product_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    product_part(job, task, job->conv->pass->scratch[worker]);
}

/* Decides on classes and chunks; returns the number of tasks. */
static int64_t cut_product(product_job *job)
{
    int64_t pixels = quotient_up(job->to.h, job->step) * quotient_up(job->to.w, job->step);
    if (pixels < FEW_PIXELS) {
        /* Every pixel is a class. A whole number of strides, as scale must be. */
        int64_t stride = job->conv->node->window.stride;
        job->step = quotient_up(mc_at_least(job->to.h, job->to.w), stride) * stride;
        pixels = 1;
    }
    job->chunks = quotient_up(pixels * job->images, CHUNK);
    job->chunk = quotient_up(pixels * job->images, job->chunks);
    job->columns = 1;
    return job->step * job->step * job->chunks;
}

static void run_product(product_job *job)
{
    const mc_pass *pass = job->conv->pass;
    job->images = pass->n;
    int64_t tasks = cut_product(job);
    int64_t panels = quotient_up(job->to.c, pass->kernels->lanes * pass->kernels->vectors);
    job->columns = tasks >= TASKS ? 1 : smaller(quotient_up(TASKS, tasks), panels);
    mc_pool_run(pass->pool, tasks * job->columns, product_task, job);
}

/* ---- mapped images ------------------------------------------------------------------------------
 */

/* Images first .. first+count-1 of the layer's input as its map shows them, to `to`. */
static void map_images(const mc_conv_job *conv, int64_t first, int64_t count, float *to)
{
    const mc_node *node = conv->node;
    int64_t size = image_size(node), c = node->in.c;
    conv->pass->kernels->affine(conv->input.x + first * size, count * size / c, c,
                                conv->input.scale, conv->input.offset, conv->input.relu, to);
}

/* Forward of some images behind a map. */
static void mapped_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_node *node = job->conv->node;
    int64_t step = images_of_chunk(node), first = task * step;
    float *scratch = job->conv->pass->scratch[worker];
    product_job some = *job;
    some.images = smaller(step, job->conv->pass->n - first);
    some.x = table_in(node, scratch).frame;
    some.y = job->y + first * job->to.h * job->to.w * job->to.c;
    map_images(job->conv, first, some.images, table_in(node, scratch).frame);
    int64_t tasks = cut_product(&some);
    for (int64_t i = 0; i < tasks; i++) {
        product_part(&some, i, scratch);
    }
}

/* ---- framed images ------------------------------------------------------------------------------
 */

/* Image [h][w][c] into the middle of zeros. */
static void fill_frame(const mc_window *p, const float *image, float *frame)
{
    int64_t width = (p->w + 2 * p->padding) * p->c;
    memset(frame, 0, (size_t)((p->h + 2 * p->padding) * width) * sizeof *frame);
    for (int64_t y = 0; y < p->h; y++) {
        memcpy(frame + (y + p->padding) * width + p->padding * p->c, image + y * p->w * p->c,
               (size_t)(p->w * p->c) * sizeof *frame);
    }
}

/* Where output pixels first .. first+rows-1 of an image begin, kernel row 0, in the frame. */
static void find_framed(const mc_window *p, const float *frame, int64_t first, int64_t rows,
                        const float **x)
{
    int64_t width = (p->w + 2 * p->padding) * p->c;
    for (int64_t i = 0; i < rows; i++) {
        int64_t y = (first + i) / p->ow, column = (first + i) % p->ow;
        x[i] = frame + y * p->stride * width + column * p->stride * p->c;
    }
}

/* Forward of one image. */
static void framed_task(void *arg, int64_t image, int worker)
{
    const product_job *job = arg;
    const mc_node *node = job->conv->node;
    const mc_window *p = &node->window;
    const mc_pass *pass = job->conv->pass;
    int64_t pixels = p->oh * p->ow, width = (p->w + 2 * p->padding) * p->c, o = node->out.c;
    rows_table table = table_in(node, pass->scratch[worker]);

    fill_frame(p, job->x + image * p->h * p->w * p->c, table.frame);
    for (int64_t first = 0; first < pixels; first += CHUNK) {
        int64_t rows = smaller(CHUNK, pixels - first);
        for (int64_t ky = 0; ky < p->kernel; ky++) {
            find_framed(p, table.frame + ky * width, first, rows, table.x + ky * CHUNK);
        }
        for (int64_t i = 0; i < rows; i++) {
            table.y[i] = job->y + (image * pixels + first + i) * o;
        }
        mc_product product = {.rows = rows,
                              .taps = p->kernel,
                              .run = p->kernel * p->c,
                              .n = o,
                              .x = table.x,
                              .x_stride = CHUNK,
                              .panels = job->panels,
                              .panel_rows = p->kernel * p->kernel * p->c,
                              .bias = job->bias,
                              .relu = job->conv->relu,
                              .y = table.y};
        pass->kernels->product(&product);
    }
}

/* ---- forward and the input's gradient
 * -------------------------------------------------------------- */

static map input_map(const mc_node *node)
{
    return (map){node->window.h, node->window.w, node->in.c};
}

static map output_map(const mc_node *node)
{
    return (map){node->window.oh, node->window.ow, node->out.c};
}

static void forward(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    product_job job = {.conv = conv,
                       .from = input_map(node),
                       .to = output_map(node),
                       .x = conv->x,
                       .y = conv->y,
                       .step = 1,
                       .bias = conv->bias};
    bool ready;
    float *panels = mc_conv_prepared(conv, &ready);
    if (!ready) {
        int64_t taps = mc_conv_taps(node);
        mc_conv_pack(conv->pass, conv->w, taps, node->in.c, node->out.c, false, panels);
        mc_conv_scale(conv->pass->kernels, conv->scale, taps * node->in.c, node->out.c, panels);
    }
    job.panels = panels;
    if (framed(node)) {
        mc_pool_run(conv->pass->pool, conv->pass->n, framed_task, &job);
    } else if (conv->input.scale != NULL) {
        mc_pool_run(conv->pass->pool, quotient_up(conv->pass->n, images_of_chunk(node)),
                    mapped_task, &job);
    } else {
        run_product(&job);
    }
}

static void backward_input(const mc_conv_job *conv)
{
    const mc_node *node = conv->node;
    product_job job = {.conv = conv,
                       .from = output_map(node),
                       .to = input_map(node),
                       .x = conv->dy,
                       .y = conv->dx,
                       .backward = true,
                       .step = node->window.stride,
                       .panels = conv->pass->shared};
    mc_conv_pack(conv->pass, conv->w, mc_conv_taps(node), node->in.c, node->out.c, true,
                 conv->pass->shared);
    run_product(&job);
}

/* ---- the weight's gradient
 * ------------------------------------------------------------------------ */

typedef struct weight_job {
    const mc_conv_job *conv;
    weight_cut cut;
    float *sums; /* [groups][taps][c][o] */
} weight_job;

/* Adds output pixels first .. first+rows-1, counted over the images of x and dy, for channels slab
 * and on. */
static void add_chunk(const mc_conv_job *conv, const float *from, const float *dy, int64_t first,
                      int64_t rows, int64_t slab, int64_t count, rows_table *table, float *sums)
{
    const mc_window *p = &conv->node->window;
    int64_t o = conv->node->out.c, k = p->kernel;
    const float **d = (const float **)(void *)table->y;
    axis y = {0, p->oh, p->stride, p->h}, x = {0, p->ow, p->stride, p->w};

    for (int64_t t = 0; t < k * k; t++) {
        int64_t found = 0;
        row_place at = place_of(&y, &x, first);
        for (int64_t i = 0; i < rows; i++, next_row(&y, &x, &at)) {
            int64_t sy = at.y * p->stride - p->padding + t / k;
            int64_t sx = at.x * p->stride - p->padding + t % k;
            if (sy >= 0 && sy < p->h && sx >= 0 && sx < p->w) {
                table->x[found] = from + ((at.image * p->h + sy) * p->w + sx) * p->c;
                d[found++] = dy + (first + i) * o;
            }
        }
        mc_outer outer = {.count = found,
                          .k = count,
                          .n = o,
                          .x = table->x,
                          .d = d,
                          .x_offset = slab,
                          .w = sums + (t * p->c + slab) * o,
                          .w_stride = o,
                          .accumulate = true};
        conv->pass->kernels->outer(&outer);
    }
}

/* Likewise for all channels of a framed image, a row of the kernel at a time. */
static void add_framed(const weight_job *job, int64_t image, rows_table *table, float *sums)
{
    const mc_conv_job *conv = job->conv;
    const mc_window *p = &conv->node->window;
    int64_t o = conv->node->out.c, pixels = p->oh * p->ow;
    int64_t width = (p->w + 2 * p->padding) * p->c;
    const float **d = (const float **)(void *)table->y;

    fill_frame(p, conv->x + image * p->h * p->w * p->c, table->frame);
    for (int64_t first = 0; first < pixels; first += CHUNK) {
        int64_t rows = smaller(CHUNK, pixels - first);
        for (int64_t i = 0; i < rows; i++) {
            d[i] = conv->dy + (image * pixels + first + i) * o;
        }
        find_framed(p, table->frame, first, rows, table->x);
        for (int64_t ky = 0; ky < p->kernel; ky++) {
            mc_outer outer = {.count = rows,
                              .k = p->kernel * p->c,
                              .n = o,
                              .x = table->x,
                              .d = d,
                              .x_offset = ky * width,
                              .w = sums + ky * p->kernel * p->c * o,
                              .w_stride = o,
                              .accumulate = true};
            conv->pass->kernels->outer(&outer);
        }
    }
}

/* One slab of one group. */
static void weight_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_node *node = conv->node;
    int64_t c = node->in.c, o = node->out.c, pixels = node->window.oh * node->window.ow;
    int64_t group = task / job->cut.slabs, slab = task % job->cut.slabs * job->cut.slab;
    int64_t count = smaller(job->cut.slab, c - slab);
    int64_t begin = group * job->cut.images;
    int64_t end = smaller(begin + job->cut.images, conv->pass->n);
    float *sums = job->sums + group * weight_size(node);
    rows_table table = table_in(node, conv->pass->scratch[worker]);

    for (int64_t t = 0; t < mc_conv_taps(node); t++) {
        memset(sums + (t * c + slab) * o, 0, (size_t)(count * o) * sizeof *sums);
    }
    if (framed(node)) {
        for (int64_t image = begin; image < end; image++) {
            add_framed(job, image, &table, sums);
        }
        return;
    }
    bool mapped = conv->input.scale != NULL;
    int64_t step = mapped ? images_of_chunk(node) : end - begin;
    for (int64_t image = begin; image < end; image += step) {
        int64_t rows = smaller(step, end - image) * pixels;
        const float *x = mapped ? table.frame : conv->x + image * image_size(node);
        if (mapped) {
            map_images(conv, image, rows / pixels, table.frame);
        }
        for (int64_t row = 0; row < rows; row += CHUNK) {
            add_chunk(conv, x, conv->dy + image * pixels * o, row, smaller(CHUNK, rows - row), slab,
                      count, &table, sums);
        }
    }
}

enum { SUM_INPUTS = 16 };

/* The groups' sums, in order, to the gradient [o][c][taps], for some input channels. */
static void sum_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    int64_t c = conv->node->in.c, o = conv->node->out.c, taps = mc_conv_taps(conv->node);
    int64_t end = smaller((task + 1) * SUM_INPUTS, c);
    for (int64_t i = task * SUM_INPUTS; i < end; i++) {
        for (int64_t t = 0; t < taps; t++) {
            const float *from = job->sums + (t * c + i) * o;
            float *to = conv->dw + i * taps + t;
            for (int64_t j = 0; j < o; j++) {
                float sum = from[j];
                for (int64_t g = 1; g < job->cut.groups; g++) {
                    sum += from[g * taps * c * o + j];
                }
                float *at = to + j * c * taps;
                *at = conv->pass->add_grad ? *at + sum : sum;
            }
        }
    }
}

static void backward_weight(const mc_conv_job *conv)
{
    weight_job job = {
        .conv = conv, .cut = weight_cut_of(conv->node, conv->pass->n), .sums = conv->pass->shared};
    mc_pool_run(conv->pass->pool, job.cut.groups * job.cut.slabs, weight_task, &job);
    mc_pool_run(conv->pass->pool, quotient_up(conv->node->in.c, SUM_INPUTS), sum_task, &job);
}

static bool suits(const mc_node *node, int64_t n)
{
    (void)node;
    (void)n;
    return true;
}

const mc_conv_algorithm mc_conv_direct = {
    "direct", reads_maps, suits,           scratch,        shared,
    prepared, forward,    backward_weight, backward_input,
};
