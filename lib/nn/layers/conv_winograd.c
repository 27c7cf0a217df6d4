/* SPDX-License-Identifier: BSD-3-Clause
 *
 * 3x3 convolution at stride 1 or 2 by the bilinear algorithms of lib/kernels/winograd.c. With F
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
 * At stride 2 a frequency has up to 4 phases: c stands for phases x c in V and U, or going up for
 * phases x c columns of U and M.
 *
 * There are two ways through it, chosen by shapes only:
 *
 * by blocks: tiles are worked on in blocks whose V and M (or D) stay in the cache; U is made first,
 * by all, and read by every block. Weight gradients are summed over groups of blocks, apart and
 * then in order.
 *
 * by panels, where kernels are many for few tiles: V is made first, by all; then each panel of
 * output channels is one worker's, who makes the U that it needs, a slice of input channels at a
 * time, in the cache (or sums a slice of dU there), so that neither is ever written to memory.
 */
#include "nn/layers/conv.h"

/* ---- how the work is cut --------------------------------------------------------------------- */

static int64_t tiles_per_image(const mc_winograd *w)
{
    return w->y.tiles * w->x.tiles;
}

/* Whether V, or M, has the phases. */
static bool is_down(const mc_winograd *w)
{
    return w->y.tile == MC_TILE_DOWN;
}

static bool is_up(const mc_winograd *w)
{
    return w->y.tile == MC_TILE_UP;
}

static int64_t pairs(const mc_node *node)
{
    return node->in.c * node->out.c;
}

/* Going up the columns of a phase have to be whole vectors. */
static bool is_possible(const mc_node *node)
{
    return mc_winograd_possible(&node->window) &&
           (node->window.stride == 1 || node->in.c % MC_LANES_MOST == 0);
}

/* Worth it when the products saved outweigh the transforms: channels enough to share a tile's
 * transform, tiles enough to share a kernel's, and little of the tiles outside the image. Where
 * stride 2 leaves a single tile, its 81 kernels a channel pair are worth reading for wide layers
 * only. */
enum { WIDE_PAIRS = 65536 };

static bool suits(const mc_node *node, int64_t n)
{
    if (!is_possible(node) || node->in.c < 8 || node->out.c < 8) {
        return false;
    }
    mc_winograd w = mc_winograd_of(&node->window, false);
    int64_t tiles = tiles_per_image(&w), products = mc_winograd_lines(&w) * tiles;
    return n * tiles >= 24 && 5 * products <= 3 * 9 * node->out.h * node->out.w &&
           (!is_down(&w) || tiles > 1 || pairs(node) >= WIDE_PAIRS);
}

/* Tiles of a block. Where U leaves room in the second cache, V and M of half a megabyte stay beside
 * it; where it does not, more tiles share each reading of it. */
enum { U_MOST = 262144, BLOCK_MOST = 131072, LEAST_TILES = 24, MOST_TILES = 512, SHARE_TILES = 96 };

static int64_t block_most(const mc_node *node, const mc_winograd *w)
{
    int64_t lines = mc_winograd_lines(w), freq = mc_winograd_frequencies(w);
    if (lines * pairs(node) > U_MOST) {
        return SHARE_TILES;
    }
    int64_t block = BLOCK_MOST / (lines * node->in.c + freq * node->out.c);
    return block < LEAST_TILES ? LEAST_TILES : block > MOST_TILES ? MOST_TILES : block;
}

/* Blocks of equal size, of whole rows of tiles where one fits. */
static int64_t block_tiles(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t most = block_most(node, w), blocks = (tiles + most - 1) / most;
    int64_t block = (tiles + blocks - 1) / blocks, row = w->x.tiles;
    return block < row ? block : block / row * row;
}

/* Rows and planes must not lie a power of two apart: they would share the cache's sets. */
static int64_t padded_row(int64_t c)
{
    return c % 64 == 0 ? c + 16 : c;
}

/* Planes of `tiles` tiles, of c channels in each of up to `phases` phases. */
static mc_planes planes_at(float *data, int64_t tiles, int64_t phases, int64_t c)
{
    return (mc_planes){data, tiles * padded_row(phases * c) + 16, padded_row(phases * c), c};
}

static int64_t planes_size(const mc_winograd *w, int64_t tiles, int64_t phases, int64_t c)
{
    return mc_winograd_frequencies(w) * (tiles * padded_row(phases * c) + 16);
}

/* Phases of V and of M: of frequency f, or the most. */
static int64_t v_phases(const mc_winograd *w, int64_t f)
{
    return is_down(w) ? mc_winograd_phases(w, f) : 1;
}

static int64_t m_phases(const mc_winograd *w, int64_t f)
{
    return is_up(w) ? mc_winograd_phases(w, f) : 1;
}

static int64_t v_size(const mc_winograd *w, int64_t tiles, int64_t c)
{
    return planes_size(w, tiles, v_phases(w, 0), c);
}

static int64_t m_size(const mc_winograd *w, int64_t tiles, int64_t n)
{
    return planes_size(w, tiles, m_phases(w, 0), n);
}

/* U of k inputs and n outputs; from frequency to frequency of it. */
static int64_t u_plane(const mc_winograd *w, int64_t k, int64_t n)
{
    return mc_conv_panels(mc_winograd_most_phases(w) * k, n);
}

static int64_t u_size(const mc_winograd *w, int64_t k, int64_t n)
{
    return mc_winograd_frequencies(w) * u_plane(w, k, n);
}

/* By panels of PANEL columns, output channels of all phases, and slices of whole vectors of input
 * channels whose U is about a megabyte. All of V must not be large: more tiles would be better off
 * by blocks. */
enum { PANEL = 4 * MC_LANES_MOST, SLICE = 262144, V_MOST = 4194304, FEW_TILES = 192 };

/* Output channels of a panel. */
static int64_t panel_of(const mc_winograd *w)
{
    return PANEL / m_phases(w, 0);
}

static int64_t slice_of(const mc_winograd *w, int64_t k)
{
    int64_t slice = SLICE / (mc_winograd_lines(w) * panel_of(w)) / MC_LANES_MOST * MC_LANES_MOST;
    return slice < k ? slice : k;
}

/* Most of up to `tiles` tiles, of k inputs and n outputs, that are worked on by panels. A block
 * reads all of U, k n numbers, a panel all of V: panels pay where tiles / SHARE_TILES * k n exceeds
 * tiles (k + n), all the more as they need no memory for U; and where blocks would be too few to
 * share out. */
static int64_t panel_tiles(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n)
{
    int64_t most = V_MOST / (mc_winograd_frequencies(w) * padded_row(v_phases(w, 0) * k));
    bool many = k * n > 160 * (k + n);
    if (!many && most > FEW_TILES) {
        most = FEW_TILES;
    }
    return n < 2 * panel_of(w) ? 0 : tiles < most ? tiles : most;
}

static bool by_panels(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n)
{
    return panel_tiles(w, tiles, k, n) == tiles;
}

/* U or dU of a panel, and M or D of all tiles. */
static int64_t panel_scratch(const mc_winograd *w, int64_t tiles, int64_t k)
{
    return u_size(w, slice_of(w, k), panel_of(w)) + m_size(w, tiles, panel_of(w));
}

/* How the weight gradient is cut: groups of tiles, summed apart, none of fewer tiles than a good
 * product wants; or, where their sums would be large, slabs of outputs, which each transform the
 * input anew. */
typedef struct weight_cut {
    int64_t groups, slabs, slab;
} weight_cut;
enum { MOST_GROUPS = 8, FEW_GROUPS = 4, SLABS = 4, SLAB_UNIT = 2 * MC_LANES_MOST };
enum { SUMS_MOST = 8388608 }; /* floats of all groups */

static weight_cut weight_cut_of(const mc_node *node, const mc_winograd *w, int64_t tiles)
{
    int64_t o = node->out.c, groups = SUMS_MOST / (mc_winograd_lines(w) * pairs(node));
    if (groups < FEW_GROUPS) {
        int64_t slab = (o / SLABS + SLAB_UNIT - 1) / SLAB_UNIT * SLAB_UNIT;
        slab = slab < SLAB_UNIT ? SLAB_UNIT : slab;
        return (weight_cut){1, (o + slab - 1) / slab, slab};
    }
    int64_t most = (tiles + 63) / 64;
    groups = groups > MOST_GROUPS ? MOST_GROUPS : groups;
    return (weight_cut){groups < most ? groups : most, 1, o};
}

/* What a block reads or writes of images besides its planes, and what the next block reads:
 * products are given it to touch meanwhile, in this order. */
enum { RANGES = 3 };
typedef struct soon {
    mc_ahead range[RANGES];
    int count, next;
} soon;

/* First row of pixels of an image's dimension of `extent` that tile row `row` of all images takes,
 * `step` a tile, counted through the images. */
static int64_t pixel_row(const mc_tile_axis *y, int64_t row, int64_t step, int64_t extent)
{
    int64_t inside = row % y->tiles * step;
    return row / y->tiles * extent + (inside < extent ? inside : extent);
}

/* The rows of images [height][width][c] that tiles first .. first + tiles - 1 take. */
static void add_range(soon *list, const mc_winograd *w, int64_t first, int64_t tiles, int64_t step,
                      int64_t height, const float *images, int64_t row_size)
{
    int64_t begin = pixel_row(&w->y, first / w->x.tiles, step, height);
    int64_t end = pixel_row(&w->y, (first + tiles) / w->x.tiles, step, height);
    list->range[list->count++] =
        (mc_ahead){(const char *)(images + begin * row_size),
                   (end - begin) * row_size * (int64_t)sizeof *images / MC_LINE};
}

static void add_inputs(soon *list, const mc_winograd *w, int64_t first, int64_t tiles,
                       const float *x, int64_t c)
{
    add_range(list, w, first, tiles, w->y.step, w->y.from, x, w->x.from * c);
}

static void add_outputs(soon *list, const mc_winograd *w, int64_t first, int64_t tiles,
                        const float *y, int64_t c)
{
    add_range(list, w, first, tiles, w->y.out, w->y.to, y, w->x.to * c);
}

/* The range that is not yet touched, NULL if all are. */
static mc_ahead *next_range(soon *list)
{
    while (list->next < list->count && list->range[list->next].lines <= 0) {
        list->next++;
    }
    return list->next < list->count ? &list->range[list->next] : NULL;
}

/* What a product of up to `tiles` tiles, of k by n channels, needs of each worker's memory and of
 * the shared one; with U where nobody keeps it. */
static int64_t product_scratch(const mc_node *node, const mc_winograd *w, int64_t tiles, int64_t k,
                               int64_t n)
{
    int64_t block = block_most(node, w), panels = panel_tiles(w, tiles, k, n);
    int64_t by_blocks = panels < tiles ? v_size(w, block, k) + m_size(w, block, n) : 0;
    return mc_at_least(by_blocks, panels > 0 ? panel_scratch(w, panels, k) : 0);
}

static int64_t product_shared(const mc_winograd *w, int64_t tiles, int64_t k, int64_t n,
                              bool with_u)
{
    int64_t panels = panel_tiles(w, tiles, k, n), v = v_size(w, panels, k);
    return mc_at_least(panels > 0 ? v : 0, with_u && panels < tiles ? u_size(w, k, n) : 0);
}

static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = mc_winograd_of(&node->window, false),
                back = mc_winograd_of(&node->window, true);
    int64_t c = node->in.c, o = node->out.c;
    int64_t need = product_scratch(node, &w, n * tiles_per_image(&w), c, o);
    int64_t back_need = product_scratch(node, &back, n * tiles_per_image(&back), o, c);
    return gradients ? mc_at_least(need, back_need) : need;
}

static int64_t prepared(const mc_node *node)
{
    mc_winograd w = mc_winograd_of(&node->window, false);
    return is_possible(node) ? u_size(&w, node->in.c, node->out.c) : 0;
}

/* Sums dU of one group of tiles. */
static int64_t sums_size(const mc_winograd *w, const mc_node *node)
{
    return mc_winograd_frequencies(w) * mc_winograd_most_phases(w) * pairs(node);
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    if (!is_possible(node)) {
        return 0;
    }
    mc_winograd w = mc_winograd_of(&node->window, false),
                back = mc_winograd_of(&node->window, true);
    int64_t c = node->in.c, o = node->out.c, tiles = n * tiles_per_image(&w);
    int64_t need = product_shared(&w, tiles, c, o, gradients);
    if (gradients) {
        need = mc_at_least(need, product_shared(&back, n * tiles_per_image(&back), o, c, true));
        if (!by_panels(&w, tiles, c, o)) {
            int64_t groups = weight_cut_of(node, &w, tiles).groups;
            need = mc_at_least(need, groups * sums_size(&w, node));
        }
    }
    return need;
}

/* ---- convolution of x by U: the forward pass and the input's gradient ------------------------ */

typedef struct product_job {
    const mc_pass *pass;
    mc_winograd w;
    mc_map x;
    const float *weight, *scale, *bias;
    bool relu;
    float *y;
    int64_t c, o; /* the layer's */
    int64_t tiles, block;
    bool backward, accumulate; /* backward: x is dy, y is dx */
    mc_planes u, v;            /* v: of all tiles, by panels */
    bool kept;                 /* u is there for all panels */
    bool in_parts;             /* sums of what is written are wanted */
    const mc_conv_job *conv;
} product_job;

static int64_t columns_of(const product_job *job)
{
    return job->backward ? job->c : job->o;
}

enum { FILTER_ROWS = 16 };

/* Rows row .. row + rows - 1 of the product's kernels, all columns. */
static mc_filter filter_of(const product_job *job, int64_t row, int64_t rows)
{
    int64_t left = job->x.c - row;
    return (mc_filter){job->weight, job->c,         job->backward, row, left < rows ? left : rows,
                       0,           columns_of(job)};
}

static void filter_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const product_job *job = arg;
    mc_filter filter = filter_of(job, task * FILTER_ROWS, FILTER_ROWS);
    job->pass->kernels->winograd_filter(&job->w, &filter, job->u, filter.row);
}

/* Most tiles that panels take (panel_tiles()): of 9 frequencies, of more than 160 channels. */
enum { MOST_ROWS = V_MOST / (9 * 160) };

static void point_at(mc_planes planes, int64_t tiles, float **rows)
{
    for (int64_t t = 0; t < tiles; t++) {
        rows[t] = planes.data + t * planes.row;
    }
}

/* Tiles first .. first + tiles - 1, whole rows of them, have become part `part` of the result. */
static void sum_up(const product_job *job, int64_t part, int64_t first, int64_t tiles,
                   int64_t column, int64_t columns)
{
    const mc_winograd *w = &job->w;
    int64_t ends[2] = {first / w->x.tiles, (first + tiles) / w->x.tiles};
    for (int i = 0; i < 2; i++) {
        int64_t image = ends[i] / w->y.tiles, y = ends[i] % w->y.tiles * w->y.out;
        ends[i] = (image * w->y.to + y) * w->x.to;
    }
    (job->backward ? mc_conv_sum_dx : mc_conv_sum_y)(job->conv, part, ends[0], ends[1] - ends[0],
                                                     column, columns);
}

/* M of some tiles: V at `v_rows` from input channel `row` on, `rows` of them, by U, whose panels
 * from `column` on give n outputs to `m_rows`. */
static void multiply(const product_job *job, float *const *v_rows, const mc_planes *v, int64_t row,
                     int64_t rows, const mc_planes *u, int64_t column, int64_t tiles,
                     float *const *m_rows, const mc_planes *m, int64_t n, soon *list)
{
    const int64_t v_at[] = {row, row + v->phase, row + 2 * v->phase, row + 3 * v->phase};
    const int64_t u_at[] = {0, u->row, 2 * u->row, 3 * u->row};
    mc_product product = {.rows = tiles,
                          .run = rows,
                          .x = (const float *const *)v_rows,
                          .x_at = v_at,
                          .panel_at = u_at,
                          .accumulate = row > 0,
                          .y = m_rows};
    for (int64_t f = 0; f < mc_winograd_frequencies(&job->w); f++) {
        product.taps = v_phases(&job->w, f);
        product.n = m_phases(&job->w, f) * n;
        product.x_offset = f * v->plane;
        product.y_offset = f * m->plane;
        product.panel_rows = product.taps * u->row;
        product.panels = u->data + f * u->plane + column * product.panel_rows;
        product.ahead = next_range(list);
        job->pass->kernels->product(&product);
    }
}

static void product_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_kernels *kernels = job->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t first = task * job->block, left = job->tiles - first;
    int64_t tiles = left < job->block ? left : job->block, n = columns_of(job);
    float *to = job->pass->scratch[worker];
    mc_planes v = planes_at(to, tiles, v_phases(w, 0), job->x.c);
    mc_planes m = planes_at(to + v_size(w, tiles, job->x.c), tiles, m_phases(w, 0), n);
    float *v_rows[MOST_TILES], *m_rows[MOST_TILES];
    soon list = {.count = 0};

    add_outputs(&list, w, first, tiles, job->y, n);
    if (job->in_parts && job->backward) {
        add_outputs(&list, w, first, tiles, job->conv->input.x, n);
    }
    if (first + tiles < job->tiles) {
        add_inputs(&list, w, first + tiles, tiles, job->x.x, job->x.c);
    }
    kernels->winograd_input(w, &job->x, first, tiles, v);
    point_at(v, tiles, v_rows);
    point_at(m, tiles, m_rows);
    multiply(job, v_rows, &v, 0, job->x.c, &job->u, 0, tiles, m_rows, &m, n, &list);
    kernels->winograd_output(w, m, n, n, first, tiles, job->bias, job->accumulate, job->relu,
                             job->y);
    if (job->in_parts) {
        sum_up(job, task, first, tiles, 0, n);
    }
}

/* All of V, some tiles a task. */
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
    mc_planes v = job->v;
    v.data += first * v.row;
    job->kernels->winograd_input(job->w, job->x, first, left < INPUT_TILES ? left : INPUT_TILES, v);
}

static mc_planes make_v(const mc_pass *pass, const mc_winograd *w, const mc_map *x, int64_t tiles)
{
    input_job job = {pass->kernels, w, x, tiles,
                     planes_at(pass->shared, tiles, v_phases(w, 0), x->c)};
    mc_pool_run(pass->pool, (tiles + INPUT_TILES - 1) / INPUT_TILES, input_task, &job);
    return job.v;
}

/* M of one panel, U made or kept slice by slice of input channels, and its outputs. */
static void panel_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    const mc_kernels *kernels = job->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t panel = panel_of(w), columns = columns_of(job), column = task * panel, k = job->x.c;
    int64_t n = columns - column < panel ? columns - column : panel;
    int64_t slice = job->kept ? k : slice_of(w, k);
    float *to = job->pass->scratch[worker];
    mc_planes m = planes_at(to, job->tiles, m_phases(w, 0), panel), u = job->u;
    float *v_rows[MOST_ROWS], *m_rows[MOST_ROWS];
    soon nothing = {.count = 0};

    m.phase = n;
    if (!job->kept) {
        u = (mc_planes){to + m_size(w, job->tiles, panel), u_plane(w, slice, panel), slice, 0};
    }
    point_at(job->v, job->tiles, v_rows);
    point_at(m, job->tiles, m_rows);
    for (int64_t row = 0; row < k; row += slice) {
        mc_filter filter = filter_of(job, row, slice);
        filter.column = column;
        filter.columns = n;
        if (!job->kept) {
            kernels->winograd_filter(w, &filter, u, 0);
        }
        multiply(job, v_rows, &job->v, row, filter.rows, &u, job->kept ? column : 0, job->tiles,
                 m_rows, &m, n, &nothing);
    }
    kernels->winograd_output(w, m, columns, n, 0, job->tiles,
                             job->bias != NULL ? job->bias + column : NULL, job->accumulate,
                             job->relu, job->y + column);
    if (job->in_parts) {
        sum_up(job, 0, 0, job->tiles, column, n);
    }
}

/* All of U, by all workers. */
static void make_u(product_job *job, int64_t k)
{
    mc_pool_run(job->pass->pool, (k + FILTER_ROWS - 1) / FILTER_ROWS, filter_task, job);
    for (int64_t f = 0; f < mc_winograd_frequencies(&job->w); f++) {
        mc_conv_scale(job->pass->kernels, job->scale, v_phases(&job->w, f) * k, columns_of(job),
                      job->u.data + f * job->u.plane);
    }
}

static void run_product(const mc_conv_job *conv, product_job *job)
{
    mc_pool *pool = conv->pass->pool;
    int64_t k = job->x.c, n;
    bool ready = false;
    float *u = job->backward ? conv->pass->shared : mc_conv_prepared(conv, &ready);
    job->pass = conv->pass;
    job->conv = conv;
    job->weight = conv->w;
    job->c = conv->node->in.c;
    job->o = conv->node->out.c;
    job->tiles = conv->pass->n * tiles_per_image(&job->w);
    n = columns_of(job);
    job->u = (mc_planes){u, u_plane(&job->w, k, n), k, 0};
    bool panels = by_panels(&job->w, job->tiles, k, n);
    /* Gradients are never taken where U is kept: a panel's columns going up would not follow each
     * other in it. */
    job->kept = conv->pass->keeps_prepared || !panels;
    if (job->kept && !ready) {
        make_u(job, k);
    }
    if (panels) {
        job->v = make_v(conv->pass, &job->w, &job->x, job->tiles);
        job->in_parts = mc_conv_parts(conv, 1, n);
        mc_pool_run(pool, (n + panel_of(&job->w) - 1) / panel_of(&job->w), panel_task, job);
    } else {
        job->block = block_tiles(conv->node, &job->w, job->tiles);
        int64_t blocks = (job->tiles + job->block - 1) / job->block;
        job->in_parts = job->block % job->w.x.tiles == 0 && mc_conv_parts(conv, blocks, n);
        mc_pool_run(pool, blocks, product_task, job);
    }
}

static void forward(const mc_conv_job *conv)
{
    product_job job = {.w = mc_winograd_of(&conv->node->window, false),
                       .x = conv->input,
                       .scale = conv->scale,
                       .bias = conv->bias,
                       .relu = conv->relu,
                       .y = conv->y};
    run_product(conv, &job);
}

static void backward_input(const mc_conv_job *conv)
{
    product_job job = {.w = mc_winograd_of(&conv->node->window, true),
                       .x = {.x = conv->dy, .c = conv->node->out.c},
                       .y = conv->dx,
                       .backward = true,
                       .accumulate = conv->accumulate};
    run_product(conv, &job);
}

/* ---- the weight's gradient ------------------------------------------------------------------- */

typedef struct weight_job {
    const mc_conv_job *conv;
    mc_winograd w;
    int64_t tiles, block, per_group;
    weight_cut cut;
    mc_planes du; /* by blocks: of the first group */
    mc_planes v;  /* by panels: of all tiles */
} weight_job;

/* Sums a slab of dU [F][phases][c][o] over the tiles of one group. */
static void sum_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t c = conv->node->in.c, o = conv->node->out.c;
    int64_t group = task / job->cut.slabs, slab = task % job->cut.slabs * job->cut.slab;
    int64_t count = o - slab < job->cut.slab ? o - slab : job->cut.slab;
    int64_t begin = group * job->per_group, end = begin + job->per_group;
    float *to = conv->pass->scratch[worker];
    float *du = job->du.data + group * sums_size(w, conv->node) + slab;
    float *v_rows[MOST_TILES], *d_rows[MOST_TILES];

    end = end < job->tiles ? end : job->tiles;
    for (int64_t first = begin; first < end; first += job->block) {
        int64_t tiles = end - first < job->block ? end - first : job->block;
        mc_planes v = planes_at(to, tiles, v_phases(w, 0), c);
        mc_planes d = planes_at(to + v_size(w, tiles, c), tiles, 1, count);
        kernels->winograd_input(w, &conv->input, first, tiles, v);
        kernels->winograd_cotangent(w, conv->dy + slab, o, count, first, tiles, d);
        point_at(v, tiles, v_rows);
        point_at(d, tiles, d_rows);
        soon list = {.count = 0};
        if (first + tiles < end) {
            add_inputs(&list, w, first + tiles, tiles, conv->input.x, c);
            add_outputs(&list, w, first + tiles, tiles, conv->dy, o);
        }
        for (int64_t f = 0; f < mc_winograd_frequencies(w); f++) {
            mc_outer outer = {.count = tiles,
                              .k = v_phases(w, f) * c,
                              .n = count,
                              .x = (const float *const *)v_rows,
                              .d = (const float *const *)d_rows,
                              .x_offset = f * v.plane,
                              .d_offset = f * d.plane,
                              .w = du + f * job->du.plane,
                              .w_stride = o,
                              .accumulate = first > begin,
                              .ahead = next_range(&list)};
            kernels->outer(&outer);
        }
    }
}

static void filter_back_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    int64_t c = conv->node->in.c, o = conv->node->out.c, first = task * FILTER_ROWS;
    int64_t left = c - first;
    mc_filter filter = {NULL, c, false, first, left < FILTER_ROWS ? left : FILTER_ROWS, 0, o};
    mc_planes du = job->du;
    du.data += first * o;
    conv->pass->kernels->winograd_filter_back(&job->w, &filter, du, job->cut.groups,
                                              sums_size(&job->w, conv->node), conv->pass->add_grad,
                                              conv->dw);
}

/* D of one panel, dU slice by slice of input channels, and the gradients of its kernels. */
static void weight_panel_task(void *arg, int64_t task, int worker)
{
    const weight_job *job = arg;
    const mc_conv_job *conv = job->conv;
    const mc_kernels *kernels = conv->pass->kernels;
    const mc_winograd *w = &job->w;
    int64_t c = conv->node->in.c, o = conv->node->out.c, column = task * PANEL;
    int64_t n = o - column < PANEL ? o - column : PANEL, slice = slice_of(w, c);
    float *to = conv->pass->scratch[worker];
    mc_planes d = planes_at(to, job->tiles, 1, PANEL);
    mc_planes du = {to + m_size(w, job->tiles, PANEL), u_plane(w, slice, PANEL), PANEL,
                    slice * PANEL};
    float *v_rows[MOST_ROWS], *d_rows[MOST_ROWS];

    kernels->winograd_cotangent(w, conv->dy + column, o, n, 0, job->tiles, d);
    point_at(job->v, job->tiles, v_rows);
    point_at(d, job->tiles, d_rows);
    for (int64_t row = 0; row < c; row += slice) {
        mc_filter filter = {NULL, c, false, row, c - row < slice ? c - row : slice, column, n};
        for (int64_t f = 0; f < mc_winograd_frequencies(w); f++) {
            for (int64_t phase = 0; phase < v_phases(w, f); phase++) {
                mc_outer outer = {.count = job->tiles,
                                  .k = filter.rows,
                                  .n = n,
                                  .x = (const float *const *)v_rows,
                                  .d = (const float *const *)d_rows,
                                  .x_offset = f * job->v.plane + phase * job->v.phase + row,
                                  .d_offset = f * d.plane,
                                  .w = du.data + f * du.plane + phase * du.phase,
                                  .w_stride = du.row};
                kernels->outer(&outer);
            }
        }
        kernels->winograd_filter_back(w, &filter, du, 1, 0, conv->pass->add_grad, conv->dw);
    }
}

static void backward_weight(const mc_conv_job *conv)
{
    weight_job job = {.conv = conv, .w = mc_winograd_of(&conv->node->window, false)};
    mc_pool *pool = conv->pass->pool;
    int64_t c = conv->node->in.c, o = conv->node->out.c;
    job.tiles = conv->pass->n * tiles_per_image(&job.w);
    if (by_panels(&job.w, job.tiles, c, o)) {
        job.v = make_v(conv->pass, &job.w, &conv->input, job.tiles);
        mc_pool_run(pool, (o + PANEL - 1) / PANEL, weight_panel_task, &job);
        return;
    }
    int64_t phases = mc_winograd_most_phases(&job.w);
    job.du = (mc_planes){conv->pass->shared, phases * pairs(conv->node), o, pairs(conv->node)};
    job.block = block_tiles(conv->node, &job.w, job.tiles);
    job.cut = weight_cut_of(conv->node, &job.w, job.tiles);
    job.per_group = (job.tiles + job.cut.groups - 1) / job.cut.groups;
    /* Rounding up can leave the last group without a tile. */
    job.cut.groups = (job.tiles + job.per_group - 1) / job.per_group;
    mc_pool_run(pool, job.cut.groups * job.cut.slabs, sum_task, &job);
    mc_pool_run(pool, (c + FILTER_ROWS - 1) / FILTER_ROWS, filter_back_task, &job);
}

const mc_conv_algorithm mc_conv_winograd = {
    "winograd", false,    is_possible, suits,           scratch,
    shared,     prepared, forward,     backward_weight, backward_input,
};
