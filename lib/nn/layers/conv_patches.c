/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution by patches, for any kernel and stride:
 *
 *     y[r][j] = bias[j] + sum_k col[r][k] W[k][j]        col: patches of x (lib/kernels/patch.c)
 *     dW[k][j] = sum_r col[r][k] dy[r][j]
 *     dx = patches_add(dy W^T)
 *
 * as matrix products over blocks of rows r, so that a block of patches stays in the cache. How
 * rows are cut into tasks depends on the shapes only, so results do not depend on the threads.
 */
#include "nn/layers/conv.h"
#include <string.h>

/* ---- how the work is cut --------------------------------------------------------------------- */

/* A 1x1 kernel at stride 1 reads its input as it is. */
static bool is_pointwise(const mc_node *node)
{
    return node->window.kernel == 1 && node->window.stride == 1 && node->window.padding == 0;
}

/* Most rows of a block: patches of about 384 KB, but enough rows that packing the weights inside
 * the product is small beside it. */
static int64_t most_block_rows(int64_t patch)
{
    return mc_at_least(98304 / patch, 192);
}

/* Rows of a block: a multiple of eight blocks, so that 1, 2, 4 and 8 threads get equal shares. */
static int64_t block_rows(int64_t rows, int64_t patch)
{
    int64_t most = most_block_rows(patch);
    int64_t blocks = ((rows + most - 1) / most + 7) / 8 * 8;
    return mc_at_least((rows + blocks - 1) / blocks, 48);
}

/* Images of one task of the input gradient (its patches overlap inside an image only). */
static int64_t images_per_task(const mc_node *node)
{
    return mc_at_least(256 / (node->out.h * node->out.w), 1);
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
    cut.tap_groups = mc_conv_taps(node) / cut.taps;
    cut.row_groups = (16 + cut.tap_groups - 1) / cut.tap_groups;
    cut.rows = mc_at_least((rows + cut.row_groups - 1) / cut.row_groups, 64);
    cut.row_groups = (rows + cut.rows - 1) / cut.rows;
    return cut;
}

/* Rows of one product inside a weight-gradient task. */
static int64_t weight_block(const mc_node *node, const weight_cut *cut)
{
    return mc_at_least(65536 / (cut->taps * node->in.c), 128);
}

/* Rows of one product inside an input-gradient task. */
enum { INPUT_BLOCK = 512 };

/* Bounds for every batch up to n: a shorter one can have longer blocks. */
static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    int64_t patch = mc_conv_taps(node) * node->in.c;
    int64_t need = is_pointwise(node) ? 0 : most_block_rows(patch) * patch;
    if (gradients) {
        weight_cut cut = cut_weight(node, n);
        need = mc_at_least(need, weight_block(node, &cut) * cut.taps * node->in.c);
        int64_t image_rows = images_per_task(node) * node->out.h * node->out.w;
        need = mc_at_least(need, (image_rows < INPUT_BLOCK ? image_rows : INPUT_BLOCK) * patch);
    }
    return need;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    if (!gradients) {
        return 0;
    }
    /* A shorter batch never has more groups. */
    return cut_weight(node, n).row_groups * node->params[0].size;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The job and how this algorithm cuts it. */
typedef struct cut_job {
    const mc_conv_job *conv;
    int64_t block; /* rows of one product */
    weight_cut weight;
} cut_job;

static void forward_block(void *arg, int64_t task, int worker)
{
    const cut_job *cut = arg;
    const mc_conv_job *job = cut->conv;
    const mc_node *node = job->node;
    const mc_kernels *kernels = job->pass->kernels;
    int64_t first = task * cut->block, o = node->out.c, patch = mc_conv_taps(node) * node->in.c;
    int64_t rows = job->rows - first < cut->block ? job->rows - first : cut->block;
    const float *col = job->x + first * node->in.c;

    if (!is_pointwise(node)) {
        kernels->patches(&node->window, job->x, first, rows, 0, mc_conv_taps(node),
                         job->pass->scratch[worker]);
        col = job->pass->scratch[worker];
    }
    if (job->bias != NULL) {
        kernels->fill_rows(job->bias, rows, o, job->y + first * o);
    }
    mc_gemm(rows, o, patch, (mc_matrix){col, patch, 1}, (mc_matrix){job->w, o, 1},
            job->bias != NULL ? 1.0f : 0.0f, job->y + first * o, o);
}

static void forward(const mc_conv_job *job)
{
    cut_job cut = {.conv = job};
    cut.block = block_rows(job->rows, mc_conv_taps(job->node) * job->node->in.c);
    mc_pool_run(job->pass->pool, (job->rows + cut.block - 1) / cut.block, forward_block, &cut);
}

/* ---- backward -------------------------------------------------------------------------------- */

static void weight_task(void *arg, int64_t task, int worker)
{
    const cut_job *cut = arg;
    const mc_conv_job *job = cut->conv;
    const mc_node *node = job->node;
    int64_t group = task / cut->weight.tap_groups;
    int64_t tap = task % cut->weight.tap_groups * cut->weight.taps;
    int64_t o = node->out.c, width = cut->weight.taps * node->in.c;
    int64_t begin = group * cut->weight.rows, end = begin + cut->weight.rows;
    float *dw = job->pass->shared + group * node->params[0].size + tap * node->in.c * o;

    end = end < job->rows ? end : job->rows;
    for (int64_t r = begin; r < end; r += cut->block) {
        int64_t rows = end - r < cut->block ? end - r : cut->block;
        const float *col = job->x + r * node->in.c;
        if (!is_pointwise(node)) {
            job->pass->kernels->patches(&node->window, job->x, r, rows, tap, cut->weight.taps,
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
    const cut_job *cut = arg;
    int64_t size = cut->conv->node->params[0].size, begin = task * REDUCE;
    int64_t end = begin + REDUCE < size ? begin + REDUCE : size;

    for (int64_t g = 0; g < cut->weight.row_groups; g++) {
        const float *part = cut->conv->pass->shared + g * size;
        for (int64_t i = begin; i < end; i++) {
            cut->conv->dw[i] += part[i];
        }
    }
}

static void backward_weight(const mc_conv_job *job)
{
    const mc_node *node = job->node;
    cut_job cut = {.conv = job, .weight = cut_weight(node, job->pass->n)};
    cut.block = weight_block(node, &cut.weight);
    mc_pool_run(job->pass->pool, cut.weight.tap_groups * cut.weight.row_groups, weight_task, &cut);
    mc_pool_run(job->pass->pool, (node->params[0].size + REDUCE - 1) / REDUCE, reduce_task, &cut);
}

static void input_task(void *arg, int64_t task, int worker)
{
    const mc_conv_job *job = arg;
    const mc_node *node = job->node;
    int64_t o = node->out.c, patch = mc_conv_taps(node) * node->in.c;
    int64_t image = node->out.h * node->out.w, images = images_per_task(node);
    int64_t begin = task * images * image, end = begin + images * image;
    int64_t pixels = node->in.h * node->in.w * node->in.c;
    float *col = job->pass->scratch[worker];

    end = end < job->rows ? end : job->rows;
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

static void backward_input(const mc_conv_job *job)
{
    int64_t images = images_per_task(job->node);
    mc_conv_job own = *job;
    mc_pool_run(job->pass->pool, (job->pass->n + images - 1) / images, input_task, &own);
}

/* The last resort of the table. */
static bool suits(const mc_node *node, int64_t n)
{
    (void)node;
    (void)n;
    return true;
}

const mc_conv_algorithm mc_conv_patches = {
    "patches", suits, scratch, shared, forward, backward_weight, backward_input,
};
