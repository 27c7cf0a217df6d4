/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution, x [n][h][w][c] to y [n][oh][ow][o], weight [kernel][kernel][c][o] (packed):
 *
 *     y[r][j] = bias[j] + sum_k col[r][k] W[k][j]        col: patches of x (lib/kernels/patch.c)
 *     dW[k][j] = sum_r col[r][k] dy[r][j]
 *     dx = patches_add(dy W^T)
 *
 * as matrix products over blocks of rows r, so that a block of patches stays in the cache. How
 * rows are cut into tasks depends on the shapes only, so results do not depend on the threads.
 */
#include "nn/graph.h"
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_I64("out_channels", 1, 1048576, "64", "output channels"),
    MC_OPT_I64("kernel", 1, 64, "3", "height and width of the kernel, pixels"),
    MC_OPT_I64("stride", 1, 64, "1", "step of the kernel, pixels"),
    MC_OPT_I64("padding", 0, 64, "0", "zeros around the image, pixels"),
    MC_OPT_BOOL("bias", "0", "1: with a bias per output channel"),
};
const mc_option_kind mc_kind_conv2d = MC_OPTION_KIND("conv2d", specs);

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    int64_t kernel = mc_option_i64(options, &mc_kind_conv2d, "kernel");
    int32_t status =
        mc_window_configure(node, kernel, mc_option_i64(options, &mc_kind_conv2d, "stride"),
                            mc_option_i64(options, &mc_kind_conv2d, "padding"));
    if (status < 0) {
        return status;
    }
    int64_t o = mc_option_i64(options, &mc_kind_conv2d, "out_channels");
    int64_t fan_in = node->in.c * kernel * kernel;
    node->out.c = o;
    node->params[0] = (mc_tensor_spec){.suffix = "weight",
                                       .size = o * fan_in,
                                       .rank = 4,
                                       .shape = {o, node->in.c, kernel, kernel},
                                       .init = MC_INIT_FAN_IN,
                                       .fan_in = fan_in};
    node->n_params = 1;
    if (mc_option_i64(options, &mc_kind_conv2d, "bias")) {
        node->params[1] = (mc_tensor_spec){.suffix = "bias",
                                           .size = o,
                                           .rank = 1,
                                           .shape = {o, 1, 1, 1},
                                           .init = MC_INIT_FAN_IN,
                                           .fan_in = fan_in};
        node->n_params = 2;
    }
    return MODECONN_OK;
}

/* ---- how the work is cut --------------------------------------------------------------------- */

static int64_t taps_of(const mc_node *node)
{
    return node->window.kernel * node->window.kernel;
}

/* A 1x1 kernel at stride 1 reads its input as it is. */
static bool is_pointwise(const mc_node *node)
{
    return node->window.kernel == 1 && node->window.stride == 1 && node->window.padding == 0;
}

static int64_t at_least(int64_t value, int64_t low)
{
    return value > low ? value : low;
}

/* Most rows of a block: patches of about 384 KB, but enough rows that packing the weights inside
 * the product is small beside it. */
static int64_t most_block_rows(int64_t patch)
{
    return at_least(98304 / patch, 192);
}

/* Rows of a block: a multiple of eight blocks, so that 1, 2, 4 and 8 threads get equal shares. */
static int64_t block_rows(int64_t rows, int64_t patch)
{
    int64_t most = most_block_rows(patch);
    int64_t blocks = ((rows + most - 1) / most + 7) / 8 * 8;
    return at_least((rows + blocks - 1) / blocks, 48);
}

/* Images of one task of the input gradient (its patches overlap inside an image only). */
static int64_t images_per_task(const mc_node *node)
{
    return at_least(256 / (node->out.h * node->out.w), 1);
}

/* The weight gradient is cut by taps (rows of W) and by groups of the batch, whose partial sums
 * are added in order. */
typedef struct weight_cut {
    int64_t taps, tap_groups, row_groups, rows; /* rows of one group */
} weight_cut;

static weight_cut cut_weight(const mc_node *node, int64_t n)
{
    weight_cut cut;
    int64_t k = node->window.kernel, rows = n * node->out.h * node->out.w;
    cut.taps = node->in.c >= 96 ? 1 : node->in.c >= 24 ? k : k * k;
    cut.tap_groups = taps_of(node) / cut.taps;
    cut.row_groups = (16 + cut.tap_groups - 1) / cut.tap_groups;
    cut.rows = at_least((rows + cut.row_groups - 1) / cut.row_groups, 64);
    cut.row_groups = (rows + cut.rows - 1) / cut.rows;
    return cut;
}

/* Rows of one product inside a weight-gradient task. */
static int64_t weight_block(const mc_node *node, const weight_cut *cut)
{
    return at_least(65536 / (cut->taps * node->in.c), 128);
}

/* Rows of one product inside an input-gradient task. */
enum { INPUT_BLOCK = 512 };

/* Bounds for every batch up to n: a shorter one can have longer blocks. */
static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    int64_t patch = taps_of(node) * node->in.c;
    int64_t need = is_pointwise(node) ? 0 : most_block_rows(patch) * patch;
    if (gradients) {
        weight_cut cut = cut_weight(node, n);
        need = at_least(need, weight_block(node, &cut) * cut.taps * node->in.c);
        int64_t image_rows = images_per_task(node) * node->out.h * node->out.w;
        need = at_least(need, (image_rows < INPUT_BLOCK ? image_rows : INPUT_BLOCK) * patch);
    }
    return need;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    if (!gradients) {
        return 0;
    }
    /* A shorter batch never has more groups. The bias gradient wants doubles [out]. */
    return at_least(cut_weight(node, n).row_groups * node->params[0].size, 2 * node->out.c);
}

/* ---- weight layout ------------------------------------------------------------------------- */

typedef struct layout_job {
    int64_t o, ik, c, taps;
    const float *from;
    float *to;
} layout_job;

enum { LAYOUT_TILE = 64 };

/* [o][c][tap] to [tap][c][o], for input channels task * LAYOUT_TILE ... */
static void pack_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const layout_job *job = arg;
    int64_t end = (task + 1) * LAYOUT_TILE;
    for (int64_t i = task * LAYOUT_TILE; i < job->c && i < end; i++) {
        for (int64_t t = 0; t < job->taps; t++) {
            float *to = job->to + (t * job->c + i) * job->o;
            const float *from = job->from + i * job->taps + t;
            for (int64_t j = 0; j < job->o; j++) {
                to[j] = from[j * job->ik];
            }
        }
    }
}

/* [tap][c][o] to [o][c][tap], for outputs task * LAYOUT_TILE ... */
static void unpack_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const layout_job *job = arg;
    int64_t end = (task + 1) * LAYOUT_TILE;
    for (int64_t i = 0; i < job->c; i++) {
        for (int64_t t = 0; t < job->taps; t++) {
            const float *from = job->from + (t * job->c + i) * job->o;
            float *to = job->to + i * job->taps + t;
            for (int64_t j = task * LAYOUT_TILE; j < job->o && j < end; j++) {
                to[j * job->ik] = from[j];
            }
        }
    }
}

static void copy_bias(const mc_node *node, const float *from, float *to)
{
    if (node->n_params == 2) {
        memcpy(to + node->params[1].offset, from + node->params[1].offset,
               (size_t)node->params[1].size * sizeof *to);
    }
}

static layout_job layout(const mc_node *node, const float *from, float *to)
{
    layout_job job = {node->out.c,   node->in.c * taps_of(node),    node->in.c,
                      taps_of(node), from + node->params[0].offset, to + node->params[0].offset};
    return job;
}

static void pack(mc_pool *pool, const mc_node *node, const float *theta, float *packed)
{
    layout_job job = layout(node, theta, packed);
    mc_pool_run(pool, (job.c + LAYOUT_TILE - 1) / LAYOUT_TILE, pack_tile, &job);
    copy_bias(node, theta, packed);
}

static void unpack(mc_pool *pool, const mc_node *node, const float *packed, float *theta)
{
    layout_job job = layout(node, packed, theta);
    mc_pool_run(pool, (job.o + LAYOUT_TILE - 1) / LAYOUT_TILE, unpack_tile, &job);
    copy_bias(node, packed, theta);
}

/* ---- forward --------------------------------------------------------------------------------- */

typedef struct conv_job {
    mc_pass *pass;
    const mc_node *node;
    const float *x, *w, *bias, *dy;
    float *y, *dx;
    int64_t rows, block;
    weight_cut cut;
    bool accumulate;
} conv_job;

static conv_job job_of(mc_pass *pass, const mc_node *node)
{
    conv_job job = {.pass = pass, .node = node};
    const mc_slot *slot = mc_slot_of(pass, node), *input = mc_input_slot(pass, node, 0);
    job.x = input->out;
    job.dx = input->d_out;
    job.y = slot->out;
    job.dy = slot->d_out;
    job.w = pass->packed + node->params[0].offset;
    job.bias = node->n_params == 2 ? pass->packed + node->params[1].offset : NULL;
    job.rows = mc_rows(pass, node->out);
    job.accumulate = slot->accumulate[0];
    return job;
}

static void forward_block(void *arg, int64_t task, int worker)
{
    const conv_job *job = arg;
    const mc_node *node = job->node;
    const mc_kernels *kernels = job->pass->kernels;
    int64_t first = task * job->block, o = node->out.c, patch = taps_of(node) * node->in.c;
    int64_t rows = job->rows - first < job->block ? job->rows - first : job->block;
    const float *col = job->x + first * node->in.c;

    if (!is_pointwise(node)) {
        kernels->patches(&node->window, job->x, first, rows, 0, taps_of(node),
                         job->pass->scratch[worker]);
        col = job->pass->scratch[worker];
    }
    if (job->bias != NULL) {
        kernels->fill_rows(job->bias, rows, o, job->y + first * o);
    }
    mc_gemm(rows, o, patch, (mc_matrix){col, patch, 1}, (mc_matrix){job->w, o, 1},
            job->bias != NULL ? 1.0f : 0.0f, job->y + first * o, o);
}

static void forward(mc_pass *pass, const mc_node *node)
{
    conv_job job = job_of(pass, node);
    job.block = block_rows(job.rows, taps_of(node) * node->in.c);
    mc_pool_run(pass->pool, (job.rows + job.block - 1) / job.block, forward_block, &job);
}

/* ---- backward -------------------------------------------------------------------------------- */

static void weight_task(void *arg, int64_t task, int worker)
{
    const conv_job *job = arg;
    const mc_node *node = job->node;
    const weight_cut *cut = &job->cut;
    int64_t group = task / cut->tap_groups, tap = task % cut->tap_groups * cut->taps;
    int64_t o = node->out.c, width = cut->taps * node->in.c;
    int64_t begin = group * cut->rows;
    int64_t end = begin + cut->rows < job->rows ? begin + cut->rows : job->rows;
    float *dw = job->pass->shared + group * node->params[0].size + tap * node->in.c * o;

    for (int64_t r = begin; r < end; r += job->block) {
        int64_t rows = end - r < job->block ? end - r : job->block;
        const float *col = job->x + r * node->in.c;
        if (!is_pointwise(node)) {
            job->pass->kernels->patches(&node->window, job->x, r, rows, tap, cut->taps,
                                        job->pass->scratch[worker]);
            col = job->pass->scratch[worker];
        }
        mc_gemm(width, o, rows, (mc_matrix){col, 1, width}, (mc_matrix){job->dy + r * o, o, 1},
                r == begin ? 0.0f : 1.0f, dw, o);
    }
}

enum { REDUCE = 16384 };

static void reduce_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const conv_job *job = arg;
    int64_t size = job->node->params[0].size, begin = task * REDUCE;
    int64_t end = begin + REDUCE < size ? begin + REDUCE : size;
    float *grad = job->pass->grad + job->node->params[0].offset;

    for (int64_t g = 0; g < job->cut.row_groups; g++) {
        const float *part = job->pass->shared + g * size;
        for (int64_t i = begin; i < end; i++) {
            grad[i] += part[i];
        }
    }
}

static void backward_bias(const conv_job *job)
{
    int64_t o = job->node->out.c;
    float *grad = job->pass->grad + job->node->params[1].offset;
    double *sum = (double *)(void *)job->pass->shared;
    memset(sum, 0, (size_t)o * sizeof *sum);
    job->pass->kernels->sum_rows(job->dy, job->rows, o, sum);
    for (int64_t j = 0; j < o; j++) {
        grad[j] += (float)sum[j];
    }
}

static void input_task(void *arg, int64_t task, int worker)
{
    const conv_job *job = arg;
    const mc_node *node = job->node;
    int64_t o = node->out.c, patch = taps_of(node) * node->in.c;
    int64_t image = node->out.h * node->out.w, images = images_per_task(node);
    int64_t begin = task * images * image, end = begin + images * image;
    end = end < job->rows ? end : job->rows;
    int64_t pixels = node->in.h * node->in.w * node->in.c;
    float *col = job->pass->scratch[worker];

    if (!job->accumulate) {
        memset(job->dx + task * images * pixels, 0,
               (size_t)((end - begin) / image * pixels) * sizeof *job->dx);
    }
    for (int64_t r = begin; r < end; r += INPUT_BLOCK) {
        int64_t rows = end - r < INPUT_BLOCK ? end - r : INPUT_BLOCK;
        mc_gemm(rows, patch, o, (mc_matrix){job->dy + r * o, o, 1}, (mc_matrix){job->w, 1, o}, 0.0f,
                col, patch);
        job->pass->kernels->patches_add(&node->window, col, r, rows, job->dx);
    }
}

static void backward(mc_pass *pass, const mc_node *node)
{
    conv_job job = job_of(pass, node);
    job.cut = cut_weight(node, pass->n);
    job.block = weight_block(node, &job.cut);
    mc_pool_run(pass->pool, job.cut.tap_groups * job.cut.row_groups, weight_task, &job);
    mc_pool_run(pass->pool, (node->params[0].size + REDUCE - 1) / REDUCE, reduce_task, &job);
    if (job.bias != NULL) {
        backward_bias(&job);
    }
    if (job.dx != NULL) {
        int64_t images = images_per_task(node);
        mc_pool_run(pass->pool, (pass->n + images - 1) / images, input_task, &job);
    }
}

/* ---- in double, straight from the definition ------------------------------------------------- */

/* Calls visit for every product y[y_index] += x[x_index] * w[w_index] of the convolution. */
typedef void (*product_fn)(void *arg, int64_t y, int64_t x, int64_t w);

static void each_product(const mc_node *node, int64_t n, product_fn visit, void *arg)
{
    const mc_window *p = &node->window;
    int64_t o = node->out.c, k = p->kernel;
    for (int64_t row = 0; row < n * o * p->oh * p->ow; row++) {
        int64_t ox = row % p->ow, oy = row / p->ow % p->oh, j = row / (p->ow * p->oh) % o;
        int64_t image = row / (p->ow * p->oh * o);
        for (int64_t i = 0; i < p->c; i++) {
            for (int64_t t = 0; t < k * k; t++) {
                int64_t y = oy * p->stride - p->padding + t / k;
                int64_t x = ox * p->stride - p->padding + t % k;
                if (y >= 0 && y < p->h && x >= 0 && x < p->w) {
                    visit(arg, row, ((image * p->c + i) * p->h + y) * p->w + x,
                          (j * p->c + i) * k * k + t);
                }
            }
        }
    }
}

typedef struct plain_conv {
    const double *x, *w, *dy;
    double *y, *dx, *dw;
} plain_conv;

static void product_forward(void *arg, int64_t y, int64_t x, int64_t w)
{
    const plain_conv *p = arg;
    p->y[y] += p->x[x] * p->w[w];
}

static void product_backward(void *arg, int64_t y, int64_t x, int64_t w)
{
    const plain_conv *p = arg;
    p->dw[w] += p->dy[y] * p->x[x];
    if (p->dx != NULL) {
        p->dx[x] += p->dy[y] * p->w[w];
    }
}

static plain_conv plain_job(mc_plain *plain, const mc_node *node)
{
    int64_t self = node - plain->graph->nodes, input = node->inputs[0];
    plain_conv p = {
        plain->out[input],   plain->theta + node->params[0].offset,
        plain->d_out[self],  plain->out[self],
        plain->d_out[input], plain->grad != NULL ? plain->grad + node->params[0].offset : NULL};
    return p;
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    plain_conv p = plain_job(plain, node);
    int64_t pixels = node->out.h * node->out.w, o = node->out.c;
    for (int64_t i = 0; i < plain->n * o * pixels; i++) {
        p.y[i] = node->n_params == 2 ? plain->theta[node->params[1].offset + i / pixels % o] : 0.0;
    }
    each_product(node, plain->n, product_forward, &p);
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    plain_conv p = plain_job(plain, node);
    int64_t pixels = node->out.h * node->out.w, o = node->out.c;
    for (int64_t i = 0; i < plain->n * o * pixels && node->n_params == 2; i++) {
        plain->grad[node->params[1].offset + i / pixels % o] += p.dy[i];
    }
    each_product(node, plain->n, product_backward, &p);
}

const mc_layer_type mc_layer_conv2d = {
    .name = "conv2d",
    .options = &mc_kind_conv2d,
    .n_inputs = 1,
    .keeps_input = true,
    .configure = configure,
    .scratch = scratch,
    .shared = shared,
    .pack = pack,
    .unpack = unpack,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
