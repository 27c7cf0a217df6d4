/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of the convolution in the Winograd domain share: its products (conv_winograd.c),
 * its weight gradient (conv_winograd_weight.c), both gradients at once (conv_winograd_both.c), and
 * how all are cut (conv_winograd_cut.c).
 *
 * A 3x3 convolution at stride 1 or 2 by the bilinear algorithms of lib/kernels/winograd.c. With F
 * frequencies (36; 18 or 9 where a dimension has 2 pixels; 25 at stride 2) and tiles t of the
 * output:
 *
 *     V = B^T x B [F][t][c],  U = G W G^T [F][c][o],  M_f = V_f U_f [t][o],  y = A^T M A
 *
 * The input's gradient is the same convolution of dy with the kernels turned by a half and c and o
 * exchanged, at padding 2 - padding; at stride 2 it goes up. The weight's gradient is
 *
 *     D = A dy A^T [F][t][o],  dU_f = V_f^T D_f,  dW = G^T dU G
 *
 * and what these transforms do to x turns back into the input's gradient as well, tile by tile:
 *
 *     dx = sum over tiles B (D_f U_f^T) B^T
 *
 * At stride 2 a frequency has up to 4 phases: c stands for phases x c in V and U, or going up for
 * phases x c columns of U and M. Where a map is no multiple of 4 its last tiles have fewer
 * frequencies: t then are those that have f, a run of the rows of V and M (mc_tiles_at()).
 *
 * There are two ways through it, chosen by shapes only:
 *
 * by blocks: tiles are worked on in blocks whose V and M (or D) stay in the cache; U is made first,
 * by all, and read by every block. Weight gradients are summed over groups of blocks, apart and
 * then in order.
 *
 * by panels, where kernels are many for few tiles: V is made first, by all; then each panel of
 * output channels is one worker's, who makes the U that it needs, one or few slices of input
 * channels, in a cache (or sums slices of dU there), so that neither is ever written to memory.
 *
 * By blocks, both gradients of a narrow layer are taken together from one D, by the last formula
 * (conv_winograd_both.c); its windows overlap, so an image's follow each other. Where the input's
 * gradient is taken alone its tiles are each other's neighbours and any worker's; where there is
 * memory for both, its blocks are shared out together with the weight gradient's groups.
 */
#ifndef MC_CONV_WINOGRAD_H
#define MC_CONV_WINOGRAD_H

#include "nn/layers/conv.h"

/* ---- planes ---------------------------------------------------------------------------------- */

static inline int64_t mc_image_tiles(const mc_winograd *w)
{
    return w->y.tiles * w->x.tiles;
}

static inline int64_t mc_channel_pairs(const mc_node *node)
{
    return node->in.c * node->out.c;
}

/* Phases of V and of M: of frequency f, or the most. */
static inline int64_t mc_v_phases(const mc_winograd *w, int64_t f)
{
    return w->y.tile == MC_TILE_DOWN ? mc_winograd_phases(w, f) : 1;
}

static inline int64_t mc_m_phases(const mc_winograd *w, int64_t f)
{
    return w->y.tile == MC_TILE_UP ? mc_winograd_phases(w, f) : 1;
}

/* Planes of `tiles` tiles, of c channels in each of up to `phases` phases. */
mc_planes mc_planes_at(float *data, int64_t tiles, int64_t phases, int64_t c);
/* V and M, of k and n channels in each of their phases, of a block whose products are made in the
 * order of frequencies: M_f lies where V_{f-1} was, so that both take little more of the cache than
 * the larger one. */
typedef struct mc_plane_pair {
    mc_planes v, m;
} mc_plane_pair;
mc_plane_pair mc_plane_pair_at(float *data, int64_t tiles, int64_t v_phases, int64_t k,
                               int64_t m_phases, int64_t n);
/* Floats of V, of M and of such a pair; of U of k inputs and n outputs, and from frequency to
 * frequency of it; of dU of one group of tiles. */
int64_t mc_v_size(const mc_winograd *w, int64_t tiles, int64_t c);
int64_t mc_m_size(const mc_winograd *w, int64_t tiles, int64_t n);
int64_t mc_plane_pair_size(const mc_winograd *w, int64_t tiles, int64_t v_phases, int64_t k,
                           int64_t m_phases, int64_t n);
int64_t mc_u_size(const mc_winograd *w, int64_t k, int64_t n);
int64_t mc_u_plane(const mc_winograd *w, int64_t k, int64_t n);
int64_t mc_sums_size(const mc_winograd *w, const mc_node *node);

/* Where row `row` of tiles, counted through images as the result is, begins: its outputs, and its
 * window of inputs, what is inside of it; the row behind all begins at the end. */
int64_t mc_output_row(const mc_winograd *w, int64_t row);
int64_t mc_input_row(const mc_winograd *w, int64_t row);

/* All of V, made by all workers in pass->shared. */
mc_planes mc_make_v(const mc_pass *pass, const mc_winograd *w, const mc_map *x, int64_t tiles);

/* ---- cuts ------------------------------------------------------------------------------------ */

/* Columns of a panel, of all phases; rows of kernels of a task. */
enum { MC_PANEL = 4 * MC_LANES_MOST, MC_FILTER_ROWS = 16 };

/* Blocks of equal size, of whole rows of tiles where one fits; an even number of them, or one of
 * two threads would often wait for the other's last. */
int64_t mc_block_tiles(const mc_node *node, const mc_winograd *w, int64_t tiles);

/* Whether a block's frequency, of k by n channels, is long enough for another thread to take it
 * over: some 20 us. */
enum { MC_SPLIT_LEAST = 1048576 };
static inline bool mc_worth_splitting(int64_t tiles, int64_t k, int64_t n)
{
    return tiles * k * n >= MC_SPLIT_LEAST;
}

/* Whether tiles, of k inputs and n outputs, are worked on by panels; output channels of a panel,
 * and input channels of a slice. */
bool mc_by_panels(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n);
int64_t mc_panel_channels(const mc_winograd *w);
int64_t mc_panel_slice(const mc_winograd *w, int64_t k);
/* The same of the weight's gradient, of k inputs and n outputs. */
bool mc_sums_by_panels(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n);
int64_t mc_sums_slice(const mc_winograd *w, int64_t k);

/* How the weight gradient is cut: groups of tiles, summed apart, none of fewer tiles than a good
 * product wants; where their sums would be large, fewer groups of slabs of outputs, which each
 * transform the input anew. */
typedef struct mc_weight_cut {
    int64_t groups, slabs, slab;
} mc_weight_cut;
mc_weight_cut mc_weight_cut_of(const mc_node *node, const mc_winograd *w, int64_t tiles);

/* Whether both gradients of n images go by blocks and have memory beside each other. */
bool mc_gradients_beside(const mc_node *node, int64_t n);

/* How both gradients are cut where they are taken together: groups of images, whose weight
 * gradients are summed apart, and in them blocks of rows of tiles. */
typedef struct mc_joint_cut {
    int64_t groups, group, rows; /* images of a group; the last and the last block may have fewer */
} mc_joint_cut;
mc_joint_cut mc_joint_cut_of(const mc_node *node, int64_t n);
enum { MC_JOINT_GROUPS = 8 }; /* at most */

/* What mc_conv_algorithm asks of an algorithm. */
bool mc_conv_winograd_possible(const mc_node *node);
bool mc_conv_winograd_suits(const mc_node *node, int64_t n);
bool mc_conv_winograd_joins(const mc_node *node, int64_t n);
int64_t mc_conv_winograd_scratch(const mc_node *node, int64_t n, bool gradients);
int64_t mc_conv_winograd_shared(const mc_node *node, int64_t n, bool gradients);
int64_t mc_conv_winograd_prepared(const mc_node *node);
void mc_conv_winograd_both(const mc_conv_job *conv);

/* ---- memory wanted soon ---------------------------------------------------------------------- */

/* What a block reads or writes of images besides its planes, and what the next block reads: the
 * rows of the input's or the output's images that tiles first .. first + tiles - 1 take; where
 * there are fewer tiles, what lies behind the images is touched in vain. A product touches one
 * range: then the panels that it comes to have their turn. */
void mc_soon_inputs(mc_soon *list, const mc_winograd *w, int64_t first, int64_t tiles,
                    const float *x, int64_t c);
void mc_soon_outputs(mc_soon *list, const mc_winograd *w, int64_t first, int64_t tiles,
                     const float *y, int64_t c);
/* The range that is not yet touched, NULL if all are. */
static inline mc_ahead *mc_soon_next(mc_soon *list)
{
    return mc_wanted(list->range, list->count);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* A product, x by U: forward, or the input's gradient. */
typedef struct mc_winograd_product {
    const mc_pass *pass;
    mc_winograd w;
    mc_map x;
    const float *weight, *scale, *bias;
    bool relu;
    float *y;
    int64_t c, o; /* the layer's */
    int64_t tiles, block;
    mc_filter_way way; /* not forward: x is dy, y is dx */
    bool accumulate;
    mc_planes u, v; /* v: of all tiles, by panels */
    bool kept;      /* u is there for all panels */
    bool in_parts;  /* sums of what is written are wanted */
    const mc_conv_job *conv;
} mc_winograd_product;

/* Fills in what the layer says; u in memory of its own. */
void mc_winograd_product_of(const mc_conv_job *conv, mc_winograd_product *job, float *u);
/* All of U, by all workers. */
void mc_make_u(mc_winograd_product *job);

/* A weight gradient. */
typedef struct mc_winograd_weight {
    const mc_conv_job *conv;
    mc_winograd w;
    int64_t tiles, block, per_group;
    mc_weight_cut cut;
    mc_planes du; /* by blocks: of the first group */
    mc_planes v;  /* by panels: of all tiles */
} mc_winograd_weight;

mc_winograd_weight mc_winograd_weight_of(const mc_conv_job *conv);
/* By panels, to the end; or by blocks, the groups' sums. */
void mc_winograd_weight_panels(mc_winograd_weight *job);
mc_work mc_winograd_weight_work(mc_winograd_weight *job);
/* The groups' sums to the gradient, by all workers. */
void mc_winograd_sums_back(mc_winograd_weight *job);

/* Some tiles, from number `first` on; a worker's memory; what is to be touched meanwhile. */
typedef struct mc_winograd_block {
    int64_t first, tiles;
    float *memory;
    mc_soon *soon;
} mc_winograd_block;

/* A block's V and D, of outputs slab .. slab + count - 1, and the dU that their products go to. */
typedef struct mc_winograd_sums {
    const mc_tiles *tiles;
    mc_planes v, d;
    int64_t slab, count;
    bool accumulate;
    float *du;
    mc_soon *soon;
} mc_winograd_sums;

/* dU_f of them. */
void mc_sum_frequency(const mc_winograd_weight *job, const mc_winograd_sums *sums, int64_t f);

#endif
