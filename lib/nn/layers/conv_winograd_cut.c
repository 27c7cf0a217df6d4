/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a convolution in the Winograd domain is cut (conv_winograd.h): whether it is worth it,
 * blocks, panels and groups, the memory that they need, and what memory a block will want soon.
 */
#include "nn/layers/conv_winograd.h"

/* ---- the choice ------------------------------------------------------------------------------ */

/* Going up the columns of a phase have to be whole vectors. */
bool mc_conv_winograd_possible(const mc_node *node)
{
    return mc_winograd_possible(&node->window) &&
           (node->window.stride == 1 || node->in.c % MC_LANES_MOST == 0);
}

/* Worth it when the products saved outweigh the transforms: channels enough to share a tile's
 * transform, tiles enough to share a kernel's, and little of the tiles outside the image. At stride
 * 2 fewer are saved: there has to be more to do of an image, and where it is a single tile, more of
 * all images, for the 81 kernels of a channel pair to be worth making. */
enum { TILES_LEAST = 24, STRIDED_PAIRS = 4096, SINGLE_PAIRS = 128 * 4096 };

bool mc_conv_winograd_suits(const mc_node *node, int64_t n)
{
    if (!mc_conv_winograd_possible(node) || node->in.c < 8 || node->out.c < 8) {
        return false;
    }
    mc_winograd w = mc_winograd_of(&node->window, false);
    int64_t tiles = mc_image_tiles(&w), products = mc_winograd_image_lines(&w);
    int64_t pairs = mc_channel_pairs(node);
    bool worth = w.y.tile != MC_TILE_DOWN ||
                 (tiles * pairs >= STRIDED_PAIRS && (tiles > 1 || n * pairs >= SINGLE_PAIRS));
    return n * tiles >= TILES_LEAST && 5 * products <= 3 * 9 * node->out.h * node->out.w && worth;
}

/* ---- planes ---------------------------------------------------------------------------------- */

/* Rows and planes must not lie a power of two apart: they would share the cache's sets. */
static int64_t padded_row(int64_t c)
{
    return c % 64 == 0 ? c + 16 : c;
}

static int64_t plane_size(int64_t tiles, int64_t phases, int64_t c)
{
    return tiles * padded_row(phases * c) + 16;
}

mc_planes mc_planes_at(float *data, int64_t tiles, int64_t phases, int64_t c)
{
    return (mc_planes){data, plane_size(tiles, phases, c), padded_row(phases * c), c};
}

int64_t mc_v_size(const mc_winograd *w, int64_t tiles, int64_t c)
{
    return mc_winograd_frequencies(w) * plane_size(tiles, mc_v_phases(w, 0), c);
}

int64_t mc_m_size(const mc_winograd *w, int64_t tiles, int64_t n)
{
    return mc_winograd_frequencies(w) * plane_size(tiles, mc_m_phases(w, 0), n);
}

/* From frequency to frequency of a pair. */
static int64_t pair_plane(int64_t tiles, int64_t v_phases, int64_t k, int64_t m_phases, int64_t n)
{
    return mc_at_least(plane_size(tiles, v_phases, k), plane_size(tiles, m_phases, n));
}

mc_plane_pair mc_plane_pair_at(float *data, int64_t tiles, int64_t v_phases, int64_t k,
                               int64_t m_phases, int64_t n)
{
    int64_t plane = pair_plane(tiles, v_phases, k, m_phases, n);
    mc_plane_pair pair = {mc_planes_at(data + plane, tiles, v_phases, k),
                          mc_planes_at(data, tiles, m_phases, n)};
    pair.v.plane = pair.m.plane = plane;
    return pair;
}

int64_t mc_plane_pair_size(const mc_winograd *w, int64_t tiles, int64_t v_phases, int64_t k,
                           int64_t m_phases, int64_t n)
{
    return (mc_winograd_frequencies(w) + 1) * pair_plane(tiles, v_phases, k, m_phases, n);
}

int64_t mc_u_plane(const mc_winograd *w, int64_t k, int64_t n)
{
    return mc_conv_panels(mc_winograd_most_phases(w) * k, n);
}

int64_t mc_u_size(const mc_winograd *w, int64_t k, int64_t n)
{
    return mc_winograd_frequencies(w) * mc_u_plane(w, k, n);
}

int64_t mc_sums_size(const mc_winograd *w, const mc_node *node)
{
    return mc_winograd_frequencies(w) * mc_winograd_most_phases(w) * mc_channel_pairs(node);
}

/* ---- rows of images -------------------------------------------------------------------------- */

/* Counted through images of `extent` rows, of which a tile begins at `inside` in its own. */
static int64_t pixel_row(const mc_tile_axis *y, int64_t row, int64_t inside, int64_t extent)
{
    inside = inside > 0 ? inside : 0;
    return row / y->tiles * extent + (inside < extent ? inside : extent);
}

int64_t mc_output_row(const mc_winograd *w, int64_t row)
{
    return pixel_row(&w->y, row, row % w->y.tiles * w->y.out, w->y.to);
}

int64_t mc_input_row(const mc_winograd *w, int64_t row)
{
    return pixel_row(&w->y, row, row % w->y.tiles * w->y.step - w->y.before, w->y.from);
}

/* ---- all of V -------------------------------------------------------------------------------- */

/* Some tiles of V a task. */
typedef struct input_job {
    const mc_kernels *kernels;
    const mc_winograd *w;
    const mc_map *x;
    int64_t tiles;
    mc_planes v;
} input_job;
enum { INPUT_TILES = 8 };

static void input_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const input_job *job = arg;
    int64_t first = task * INPUT_TILES, left = job->tiles - first;
    mc_tiles all = mc_tiles_of(job->w, 0, job->tiles);
    mc_tiles tiles = mc_tiles_part(job->w, &all, first, left < INPUT_TILES ? left : INPUT_TILES);
    job->kernels->winograd_input(job->w, job->x, &tiles, job->v);
}

mc_planes mc_make_v(const mc_pass *pass, const mc_winograd *w, const mc_map *x, int64_t tiles)
{
    input_job job = {pass->kernels, w, x, tiles,
                     mc_planes_at(pass->shared, tiles, mc_v_phases(w, 0), x->c)};
    mc_pool_run(pass->pool, (tiles + INPUT_TILES - 1) / INPUT_TILES, input_task, &job);
    return job.v;
}

/* ---- blocks and panels ----------------------------------------------------------------------- */

/* Tiles of a block. Where U leaves room in the second cache, V and M that would be half a megabyte
 * apart stay beside it; where it does not, more tiles share each reading of it. */
enum { U_MOST = 262144, BLOCK_MOST = 131072, LEAST_TILES = 24, MOST_TILES = 512, SHARE_TILES = 48 };
/* A multiple of it leaves few rows over: products take 8 at a time by two vectors, 16 by one, and 6
 * by four, of which 24 and 48 are multiples too (lib/kernels/isa.h). */
enum { TILES_UNIT = 8 };

static int64_t block_most(const mc_node *node, const mc_winograd *w)
{
    int64_t lines = mc_winograd_lines(w), freq = mc_winograd_frequencies(w);
    if (lines * mc_channel_pairs(node) > U_MOST) {
        return SHARE_TILES;
    }
    int64_t block = BLOCK_MOST / (lines * node->in.c + freq * node->out.c);
    return block < LEAST_TILES ? LEAST_TILES : block > MOST_TILES ? MOST_TILES : block;
}

int64_t mc_block_tiles(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t most = block_most(node, w), blocks = (tiles + most - 1) / most;
    blocks += tiles >= 2 * LEAST_TILES ? blocks % 2 : 0;
    int64_t block = (tiles + blocks - 1) / blocks, row = w->x.tiles;
    block -= block >= LEAST_TILES ? block % TILES_UNIT : 0;
    return block < row ? block : block / row * row;
}

/* By panels of MC_PANEL columns, output channels of all phases, and slices of whole vectors of
 * input channels: of a product few, as each adds to all of M, and U may leave the second cache for
 * it; of the weight's gradient, whose dU nothing is added to, as many as let it stay there. All of
 * V must not be large: more tiles would be better off by blocks. */
enum { SLICE = 2097152, SUMS_SLICE = 262144, V_MOST = 4194304, FEW_TILES = 64 };
/* A block reads all of U, k n numbers, a panel all of V: panels pay where k n is so many times
 * k + n, all the more as they need no memory for U; and where blocks would be too few to share out.
 * The weight's gradient by blocks reads and writes all of dU for each. */
enum { PANELS_FROM = 160, SUMS_PANELS_FROM = 120 };

int64_t mc_panel_channels(const mc_winograd *w)
{
    return MC_PANEL / mc_m_phases(w, 0);
}

/* Channels of equal slices of k, whose U is about `most` floats or less. */
static int64_t slice_of(const mc_winograd *w, int64_t k, int64_t most)
{
    int64_t channels = most / (mc_winograd_lines(w) * mc_panel_channels(w));
    int64_t slices = (k + channels - 1) / channels, slice = (k + slices - 1) / slices;
    slice = (slice + MC_LANES_MOST - 1) / MC_LANES_MOST * MC_LANES_MOST;
    return slice < k ? slice : k;
}

int64_t mc_panel_slice(const mc_winograd *w, int64_t k)
{
    return slice_of(w, k, SLICE);
}

int64_t mc_sums_slice(const mc_winograd *w, int64_t k)
{
    return slice_of(w, k, SUMS_SLICE);
}

/* Most of up to `tiles` tiles, of k inputs and n outputs, that are worked on by panels. */
static int64_t panel_tiles(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n, int64_t from)
{
    int64_t most = V_MOST / (mc_winograd_frequencies(w) * padded_row(mc_v_phases(w, 0) * k));
    bool many = k * n > from * (k + n);
    if (!many && most > FEW_TILES) {
        most = FEW_TILES;
    }
    return n < 2 * mc_panel_channels(w) ? 0 : tiles < most ? tiles : most;
}

bool mc_by_panels(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n)
{
    return panel_tiles(w, tiles, k, n, PANELS_FROM) == tiles;
}

bool mc_sums_by_panels(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n)
{
    return panel_tiles(w, tiles, k, n, SUMS_PANELS_FROM) == tiles;
}

/* U or dU of a panel, and M or D of all tiles. */
static int64_t panel_scratch(const mc_winograd *w, int64_t tiles, int64_t slice)
{
    return mc_u_size(w, slice, mc_panel_channels(w)) + mc_m_size(w, tiles, mc_panel_channels(w));
}

/* Floats of the sums of all groups: of FEW_GROUPS, or of more. */
enum { SUMS_MOST = 8388608, SUMS_USUAL = 4915200 };
enum { MOST_GROUPS = 8, FEW_GROUPS = 4, SLABS = 4, SLAB_UNIT = 2 * MC_LANES_MOST };

mc_weight_cut mc_weight_cut_of(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t o = node->out.c, sums = mc_sums_size(w, node);
    int64_t most = (tiles + 63) / 64, groups = SUMS_USUAL / sums;
    if (FEW_GROUPS * sums > SUMS_MOST) {
        groups = groups >= 2 && most >= 2 ? 2 : 1;
        int64_t slab = (o * groups / SLABS + SLAB_UNIT - 1) / SLAB_UNIT * SLAB_UNIT;
        slab = slab < SLAB_UNIT ? SLAB_UNIT : slab;
        return (mc_weight_cut){groups, (o + slab - 1) / slab, slab};
    }
    groups = groups > MOST_GROUPS ? MOST_GROUPS : groups < FEW_GROUPS ? FEW_GROUPS : groups;
    return (mc_weight_cut){groups < most ? groups : most, 1, o};
}

/* Such sums and the input gradient's kernels both have memory where they take no more floats than
 * this, or the kernels little of what the sums need anyway. */
enum { BESIDE_MOST = 5505024 };

static bool have_memory(int64_t sums, int64_t kernels)
{
    return sums + kernels <= BESIDE_MOST || 3 * kernels <= sums;
}

bool mc_gradients_beside(const mc_node *node, int64_t n)
{
    mc_winograd w = mc_winograd_of(&node->window, false);
    mc_winograd back = mc_winograd_of(&node->window, true);
    int64_t c = node->in.c, o = node->out.c, tiles = n * mc_image_tiles(&w);
    int64_t sums = mc_weight_cut_of(node, &w, tiles).groups * mc_sums_size(&w, node);
    return !mc_sums_by_panels(&w, tiles, c, o) &&
           !mc_by_panels(&back, n * mc_image_tiles(&back), o, c) &&
           have_memory(sums, mc_u_size(&back, o, c));
}

/* Both gradients go together where their kernels and sums leave room in the second cache for D and
 * for V and M, in one memory, of some rows of tiles. The windows of T2, which are whole dimensions,
 * have no way back. */
enum { BOTH_MOST = 65536, JOINT_MOST = 76800 };

/* Rows of tiles of a block, of JOINT_MOST floats of V and D. */
static int64_t joint_rows(const mc_node *node, const mc_winograd *w)
{
    int64_t tile = mc_winograd_lines(w) * node->in.c + mc_winograd_frequencies(w) * node->out.c;
    int64_t rows = JOINT_MOST / tile / w->x.tiles, unit = 1;
    while (unit * w->x.tiles % TILES_UNIT != 0) {
        unit *= 2;
    }
    return rows >= unit ? rows - rows % unit : rows;
}

/* For some number of images. */
static bool could_join(const mc_node *node)
{
    mc_winograd w = mc_winograd_of(&node->window, false);
    return mc_conv_winograd_possible(node) && w.y.tile != MC_TILE_T2 && w.x.tile != MC_TILE_T2 &&
           mc_winograd_lines(&w) * mc_channel_pairs(node) <= BOTH_MOST && joint_rows(node, &w) > 0;
}

bool mc_conv_winograd_joins(const mc_node *node, int64_t n)
{
    if (n == 0 || !could_join(node)) {
        return could_join(node);
    }
    mc_winograd w = mc_winograd_of(&node->window, false);
    mc_winograd back = mc_winograd_of(&node->window, true);
    return !mc_sums_by_panels(&w, n * mc_image_tiles(&w), node->in.c, node->out.c) &&
           !mc_by_panels(&back, n * mc_image_tiles(&back), node->out.c, node->in.c);
}

mc_joint_cut mc_joint_cut_of(const mc_node *node, int64_t n)
{
    mc_winograd w = mc_winograd_of(&node->window, false);
    int64_t groups = n < MC_JOINT_GROUPS ? n : MC_JOINT_GROUPS, group = (n + groups - 1) / groups;
    return (mc_joint_cut){(n + group - 1) / group, group, joint_rows(node, &w)};
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* What a product of up to `tiles` tiles, of k by n channels, needs of each worker's memory and of
 * the shared one; with U where nobody keeps it. */
static int64_t product_scratch(const mc_node *node, const mc_winograd *w, int64_t tiles, int64_t k,
                               int64_t n)
{
    int64_t block = block_most(node, w), panels = panel_tiles(w, tiles, k, n, PANELS_FROM);
    int64_t by_blocks =
        panels < tiles ? mc_plane_pair_size(w, block, mc_v_phases(w, 0), k, mc_m_phases(w, 0), n)
                       : 0;
    return mc_at_least(by_blocks, panels > 0 ? panel_scratch(w, panels, mc_panel_slice(w, k)) : 0);
}

static int64_t product_shared(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n,
                              bool with_u)
{
    int64_t panels = panel_tiles(w, tiles, k, n, PANELS_FROM), v = mc_v_size(w, panels, k);
    return mc_at_least(panels > 0 ? v : 0, with_u && panels < tiles ? mc_u_size(w, k, n) : 0);
}

int64_t mc_conv_winograd_scratch(const mc_node *node, int64_t n, bool gradients)
{
    if (!mc_conv_winograd_possible(node)) {
        return 0;
    }
    mc_winograd w = mc_winograd_of(&node->window, false);
    mc_winograd back = mc_winograd_of(&node->window, true);
    int64_t c = node->in.c, o = node->out.c;
    int64_t need = product_scratch(node, &w, n * mc_image_tiles(&w), c, o);
    if (gradients) {
        int64_t block = block_most(node, &w), phases = mc_v_phases(&w, 0);
        int64_t panels = panel_tiles(&w, n * mc_image_tiles(&w), c, o, SUMS_PANELS_FROM);
        need = mc_at_least(need, product_scratch(node, &back, n * mc_image_tiles(&back), o, c));
        need = mc_at_least(need, panels > 0 ? panel_scratch(&w, panels, mc_sums_slice(&w, c)) : 0);
        need = mc_at_least(need, mc_v_size(&w, block, c) + mc_m_size(&w, block, o));
        if (could_join(node)) {
            int64_t joint = joint_rows(node, &w) * w.x.tiles;
            need = mc_at_least(need, mc_m_size(&w, joint, o) +
                                         mc_plane_pair_size(&w, joint, phases, c, phases, c));
        }
    }
    return need;
}

int64_t mc_conv_winograd_prepared(const mc_node *node)
{
    mc_winograd w = mc_winograd_of(&node->window, false);
    return mc_conv_winograd_possible(node) ? mc_u_size(&w, node->in.c, node->out.c) : 0;
}

int64_t mc_conv_winograd_shared(const mc_node *node, int64_t n, bool gradients)
{
    if (!mc_conv_winograd_possible(node)) {
        return 0;
    }
    mc_winograd w = mc_winograd_of(&node->window, false);
    mc_winograd back = mc_winograd_of(&node->window, true);
    int64_t c = node->in.c, o = node->out.c, tiles = n * mc_image_tiles(&w);
    int64_t need = product_shared(&w, tiles, c, o, gradients);
    if (gradients) {
        need = mc_at_least(need, product_shared(&back, n * mc_image_tiles(&back), o, c, true));
        int64_t panels = panel_tiles(&w, tiles, c, o, SUMS_PANELS_FROM);
        need = mc_at_least(need, panels > 0 ? mc_v_size(&w, panels, c) : 0);
        if (panels < tiles) {
            int64_t groups = mc_weight_cut_of(node, &w, tiles).groups;
            int64_t sums = groups * mc_sums_size(&w, node), kernels = mc_u_size(&back, o, c);
            need = mc_at_least(need, sums);
            /* Of fewer images the groups may be fewer too. */
            need = mc_at_least(need, have_memory(sums, kernels) ? sums + kernels : BESIDE_MOST);
        }
        if (could_join(node)) {
            need =
                mc_at_least(need, MC_JOINT_GROUPS * mc_sums_size(&w, node) + mc_u_size(&w, o, c));
        }
    }
    return need;
}

/* ---- memory wanted soon ---------------------------------------------------------------------- */

void mc_soon_inputs(mc_soon *list, const mc_winograd *w, int64_t first, int64_t tiles,
                    const float *x, int64_t c)
{
    int64_t row = first / w->x.tiles, end = (first + tiles) / w->x.tiles;
    int64_t begin = mc_input_row(w, row), count = mc_input_row(w, end) - begin;
    mc_soon_add(list, x, begin, count, w->x.from * c);
}

void mc_soon_outputs(mc_soon *list, const mc_winograd *w, int64_t first, int64_t tiles,
                     const float *y, int64_t c)
{
    int64_t row = first / w->x.tiles, end = (first + tiles) / w->x.tiles;
    int64_t begin = mc_output_row(w, row), count = mc_output_row(w, end) - begin;
    mc_soon_add(list, y, begin, count, w->x.to * c);
}
