/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Both gradients of the convolution in the Winograd domain (conv_winograd.h) in one go, image by
 * image, for layers that have more pixels than channels and wait for memory: what both read, the
 * gradient dy and the input x, then comes from memory once, and so does what a batch norm behind
 * the layer still has to do to dy.
 */
#include "nn/layers/conv_winograd.h"

typedef struct both_job {
    mc_winograd_weight weight;
    mc_winograd_product product;
    mc_joint_cut cut;
    int64_t blocks; /* of a group */
} both_job;

/* Rows and tiles of images, and both sides' channels. */
typedef struct sizes {
    int64_t in_rows, out_rows, tiles, back_tiles, c, o;
} sizes;

static sizes sizes_of(const both_job *job)
{
    const mc_node *node = job->weight.conv->node;
    return (sizes){node->in.h * node->in.w,
                   node->out.h * node->out.w,
                   mc_image_tiles(&job->weight.w),
                   mc_image_tiles(&job->product.w),
                   node->in.c,
                   node->out.c};
}

static void add_rows(mc_soon *list, const float *at, int64_t floats)
{
    list->range[list->count++] =
        (mc_ahead){(const char *)at, floats * (int64_t)sizeof *at / MC_LINE};
}

/* What images of the block want besides planes: where dx goes, then what the next ones read. */
static mc_soon soon_of(const both_job *job, int64_t image, int64_t images, bool last)
{
    const mc_conv_job *conv = job->weight.conv;
    sizes s = sizes_of(job);
    int64_t next = image + images, dy_size = images * s.out_rows * s.o;
    mc_soon list = {.count = 0};
    add_rows(&list, conv->dx + image * s.in_rows * s.c, images * s.in_rows * s.c);
    if (job->product.in_parts && conv->summed.x != conv->input.x) {
        add_rows(&list, conv->summed.x + image * s.in_rows * s.c, images * s.in_rows * s.c);
    }
    if (!last) {
        add_rows(&list, conv->dy + next * s.out_rows * s.o, dy_size);
        if (conv->norm != NULL) {
            add_rows(&list, conv->y + next * s.out_rows * s.o, dy_size);
        }
        add_rows(&list, conv->input.x + next * s.in_rows * s.c, images * s.in_rows * s.c);
    }
    return list;
}

/* The images of one group, block by block. */
static void both_task(void *arg, int64_t group, int worker)
{
    const both_job *job = arg;
    const mc_conv_job *conv = job->weight.conv;
    sizes s = sizes_of(job);
    int64_t begin = group * job->cut.group, end = begin + job->cut.group;
    float *du = job->weight.du.data + group * mc_sums_size(&job->weight.w, conv->node);
    float *memory = conv->pass->scratch[worker], *pulled = NULL;

    end = end < conv->pass->n ? end : conv->pass->n;
    if (conv->norm != NULL) {
        pulled = memory;
        memory += job->cut.block * s.out_rows * s.o;
    }
    for (int64_t image = begin, part = group * job->blocks; image < end;
         image += job->cut.block, part++) {
        int64_t left = end - image, images = left < job->cut.block ? left : job->cut.block;
        mc_winograd_product product = job->product;
        mc_soon list = soon_of(job, image, images, image + images == end);
        mc_winograd_block sum = {image * s.tiles, images * s.tiles, image * s.tiles, memory, &list};
        mc_winograd_block back = {image * s.back_tiles, images * s.back_tiles, image * s.back_tiles,
                                  memory, &list};
        if (pulled != NULL) {
            mc_norm_pull_back(conv->pass, conv->norm, image * s.out_rows, images * s.out_rows,
                              pulled);
            product.x.x = pulled;
            sum.from = back.from = 0;
        }
        mc_sum_block(&job->weight, &sum, product.x.x, 0, s.o, image > begin, du);
        mc_product_block(&product, &back, part);
    }
}

void mc_conv_winograd_both(const mc_conv_job *conv)
{
    mc_pass *pass = conv->pass;
    both_job job = {.weight = mc_winograd_weight_of(conv),
                    .product = mc_winograd_backward(conv),
                    .cut = mc_joint_cut_of(conv->node, pass->n)};
    job.weight.cut = (mc_weight_cut){job.cut.groups, 1, conv->node->out.c};
    mc_winograd_product_of(conv, &job.product,
                           pass->shared + job.cut.groups * mc_sums_size(&job.weight.w, conv->node));
    job.blocks = (job.cut.group + job.cut.block - 1) / job.cut.block;
    int64_t rest = pass->n - (job.cut.groups - 1) * job.cut.group;
    int64_t parts = (job.cut.groups - 1) * job.blocks + (rest + job.cut.block - 1) / job.cut.block;
    job.product.in_parts = mc_conv_parts(conv, parts, conv->node->in.c);
    mc_make_u(&job.product);
    mc_pool_run(pass->pool, job.cut.groups, both_task, &job);
    mc_winograd_sums_back(&job.weight);
}
