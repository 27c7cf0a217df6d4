/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution algorithms against the double twin at the accuracy asked of kernels: outputs to
 * 2e-6, gradients to 4e-6 (relative L2), on every instruction set, also at 512 channels; a random
 * sweep of shapes; and whether the memory of Winograd's blocks holds what they put there.
 */
#include "nn/layers/conv_winograd.h"
#include "isas.h"
#include "twin.h"
#include <stdio.h>

static modeconn_context *ctx;

/* False: there is nothing to test. */
static bool open_context(int isa)
{
    ctx = isa_context(isa, 0);
    return ctx != NULL;
}

static void setup(void)
{
    ctx = NULL;
}

static void teardown(void)
{
    modeconn_context_destroy(ctx);
}

typedef struct shape {
    int64_t n, c, h, w, o, kernel, stride, padding;
} shape;

/* Two convolutions with `middle` channels between them, so that the first's weight gradient sees
 * the second's input gradient. The head has no bias: the terms of that gradient, one an image,
 * nearly cancel, so it would show the rounding of few of them and not what many channels add. */
static modeconn_model *conv_model(const shape *s, int64_t middle, int64_t groups)
{
    modeconn_graph *graph;
    modeconn_model *model;
    char settings[128];
    int32_t node = 0;
    OK(modeconn_graph_create(ctx, s->c, s->h, s->w, &graph));
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=3,padding=1", (int)middle);
    OK(modeconn_graph_add(graph, "conv2d", "a", settings, &node, 1, &node));
    snprintf(settings, sizeof settings,
             "out_channels=%d,kernel=%d,stride=%d,padding=%d,bias=%d,groups=%d", (int)s->o,
             (int)s->kernel, (int)s->stride, (int)s->padding, (int)(s->o % 2), (int)groups);
    OK(modeconn_graph_add(graph, "conv2d", "b", settings, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "head", "out_features=3,bias=0", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    modeconn_graph_destroy(graph);
    return model;
}

static void check_gradient(const twin *t, const float *grad, double limit, const char *what)
{
    for (int64_t k = 0; k < t->model->n_blocks_theta; k++) {
        const mc_block *block = &t->model->blocks[k];
        double distance =
            twin_distance(grad + block->offset, t->grad64 + block->offset, block->size);
        ck_assert_msg(distance < limit, "%s of %s differs by %g", what, block->name, distance);
    }
}

static void nothing(void *user)
{
    (void)user;
}

/* Added to as much of the other sign. */
static void check_added(const twin *t, mc_session *session, const mc_batch *batch, double limit)
{
    int64_t size = t->model->n_theta;
    float *sum = twin_alloc(size, sizeof(float));
    for (int64_t i = 0; i < size; i++) {
        sum[i] = -t->grad[i];
    }
    OK(t->model->ops->gradient_added(session, batch, NULL, NULL, nothing, NULL, sum, NULL));
    for (int64_t i = 0; i < size; i++) {
        sum[i] += t->grad[i];
    }
    check_gradient(t, sum, limit, "what is added");
    free(sum);
}

static void check_model(modeconn_model *model, int64_t n, double forward, double backward)
{
    twin t;
    mc_plain *plain;
    mc_session *session;
    twin_init(&t, model, n, 5);
    int64_t outputs = n * model->representation_width;
    float *representation = twin_alloc(outputs, sizeof(float));
    double *d = twin_alloc(n * model->classes, sizeof(double));
    mc_batch batch = {t.x, t.y, n};

    OK(model->ops->session_create(model, n, 1, true, &session));
    OK(model->ops->bind(session, model->theta, NULL));
    OK(model->ops->outputs(session, MC_NORM_BATCH, &batch, NULL, representation));
    OK(model->ops->gradient(session, &batch, 1.0, NULL, NULL, t.grad, NULL));
    OK(mc_plain_create(model->graph, n, &plain));
    mc_plain_forward(plain, t.theta64, NULL, MC_NORM_BATCH, t.x64);
    double distance = twin_distance(representation, mc_plain_representation(plain), outputs);
    ck_assert_msg(distance < forward, "outputs differ by %g", distance);
    /* Without gradients kernels are prepared once, all of them. */
    mc_session *prepared;
    OK(model->ops->session_create(model, n, 1, false, &prepared));
    OK(model->ops->bind(prepared, model->theta, NULL));
    OK(model->ops->outputs(prepared, MC_NORM_BATCH, &batch, NULL, representation));
    distance = twin_distance(representation, mc_plain_representation(plain), outputs);
    ck_assert_msg(distance < forward, "outputs of prepared kernels differ by %g", distance);
    model->ops->session_destroy(prepared);
    for (int64_t i = 0; i < n * model->classes; i++) {
        const double *z = mc_plain_logits(plain) + i / model->classes * model->classes;
        double sum = 0.0;
        for (int64_t j = 0; j < model->classes; j++) {
            sum += exp(z[j] - z[0]);
        }
        int64_t j = i % model->classes;
        d[i] = (exp(z[j] - z[0]) / sum - (j == t.y[i / model->classes])) / (double)n;
    }
    mc_plain_backward(plain, d, NULL, t.grad64);
    check_gradient(&t, t.grad, backward, "gradient");
    check_added(&t, session, &batch, backward);
    mc_plain_free(plain);
    model->ops->session_destroy(session);
    free(representation);
    free(d);
    twin_free(&t);
}

/* Winograd's, then the direct algorithm's: kernels that are shorter than the stride, longer than
 * the image and of even extent, padding that no tap needs, rows longer than a tile, tiles of
 * several images, few pixels. */
static const shape shapes[] = {
    {128, 1, 2, 2, 16, 3, 1, 1}, {40, 3, 4, 2, 17, 3, 1, 1},  {5, 2, 28, 28, 8, 3, 1, 1},
    {16, 2, 13, 9, 33, 3, 1, 0}, {9, 1, 8, 8, 12, 3, 1, 2},   {30, 1, 5, 7, 16, 3, 1, 1},
    {7, 3, 12, 12, 9, 5, 2, 2},  {33, 2, 1, 1, 8, 3, 1, 1},   {3, 4, 9, 9, 10, 1, 1, 0},
    {33, 3, 9, 11, 16, 3, 2, 1}, {4, 1, 13, 17, 32, 3, 3, 1}, {3, 2, 15, 16, 17, 7, 2, 3},
    {5, 3, 16, 13, 64, 1, 2, 0}, {2, 3, 17, 14, 5, 1, 3, 1},  {6, 2, 14, 14, 19, 2, 3, 1},
    {2, 1, 11, 12, 7, 4, 2, 0},  {1, 2, 5, 421, 24, 3, 2, 1}, {1, 1, 2, 600, 3, 5, 1, 3},
    {33, 2, 7, 7, 21, 7, 1, 3},  {210, 1, 5, 5, 16, 3, 2, 1}, {33, 1, 4, 3, 40, 6, 3, 3},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

START_TEST(test_chosen_shapes)
{
    const shape *s = &shapes[_i / ISAS];
    if (open_context(_i % ISAS)) {
        check_model(conv_model(s, 9, 1), s->n, 2e-6, 4e-6);
    }
}
END_TEST

/* Groups of equal and of different widths, of one channel on either side, and depthwise with fewer
 * and more channels than a vector has; windows as above. The last is depthwise over more tiles than
 * there are shares of them. */
static const struct {
    int64_t middle, groups;
    shape of;
} grouped_shapes[] = {
    {6, 3, {9, 3, 8, 7, 12, 3, 1, 1}},     {34, 2, {5, 2, 13, 9, 34, 3, 2, 1}},
    {16, 8, {33, 2, 4, 4, 8, 3, 1, 1}},    {4, 4, {7, 1, 9, 11, 16, 5, 2, 2}},
    {12, 4, {6, 1, 7, 7, 4, 3, 1, 1}},     {40, 5, {3, 2, 16, 13, 40, 1, 2, 0}},
    {15, 5, {4, 2, 9, 9, 10, 1, 1, 0}},    {21, 7, {3, 1, 17, 14, 14, 2, 3, 1}},
    {8, 2, {40, 2, 1, 1, 8, 3, 1, 1}},     {12, 6, {2, 1, 5, 421, 24, 3, 2, 1}},
    {6, 2, {5, 2, 3, 3, 6, 7, 1, 3}},      {9, 9, {9, 3, 8, 7, 9, 3, 1, 1}},
    {34, 34, {5, 2, 13, 9, 34, 3, 2, 1}},  {17, 17, {40, 2, 1, 1, 17, 3, 1, 1}},
    {16, 16, {4, 1, 11, 12, 16, 4, 2, 0}}, {7, 7, {3, 1, 17, 14, 7, 2, 3, 1}},
    {40, 40, {3, 2, 16, 13, 40, 1, 2, 0}}, {33, 33, {4, 1, 13, 17, 33, 5, 3, 3}},
    {8, 8, {6, 1, 14, 14, 8, 7, 1, 3}},    {20, 20, {24, 1, 28, 27, 20, 3, 1, 1}},
};
enum { GROUPED = sizeof grouped_shapes / sizeof grouped_shapes[0] };

START_TEST(test_grouped)
{
    const shape *s = &grouped_shapes[_i / ISAS].of;
    if (open_context(_i % ISAS)) {
        check_model(
            conv_model(s, grouped_shapes[_i / ISAS].middle, grouped_shapes[_i / ISAS].groups), s->n,
            2e-6, 4e-6);
    }
}
END_TEST

/* Few products. Stride 2: by blocks, their last one shorter; tiles that hang over the edge of even
 * and odd maps; by panels, the last of them narrower; sums of 512 channels. Then maps that end in
 * tiles of 1, 2 and 3 outputs: by blocks, both gradients together and apart; maps that are such
 * tiles only; by panels; stride 2 with ends of each phase; sums of 512 channels. Then products by
 * blocks and weight gradients by panels; and both by blocks in one job, of large sums. */
static const struct {
    int64_t middle;
    shape of;
} tiled_shapes[] = {
    {48, {7, 3, 16, 15, 43, 3, 2, 1}},  {64, {7, 2, 15, 16, 33, 3, 2, 1}},
    {16, {2, 1, 32, 31, 36, 3, 2, 1}},  {64, {30, 1, 16, 16, 40, 3, 2, 1}},
    {272, {25, 2, 8, 8, 272, 3, 2, 1}}, {512, {24, 1, 8, 8, 136, 3, 2, 1}},
    {16, {9, 3, 14, 14, 16, 3, 1, 1}},  {40, {13, 2, 7, 6, 72, 3, 1, 1}},
    {128, {12, 1, 5, 9, 136, 3, 1, 1}}, {24, {30, 2, 3, 3, 33, 3, 1, 1}},
    {17, {11, 2, 12, 9, 20, 3, 1, 0}},  {19, {6, 1, 8, 11, 24, 3, 1, 2}},
    {272, {8, 1, 7, 7, 272, 3, 1, 1}},  {48, {7, 3, 28, 28, 43, 3, 2, 1}},
    {64, {7, 2, 14, 19, 33, 3, 2, 1}},  {272, {6, 2, 10, 12, 272, 3, 2, 1}},
    {512, {6, 1, 7, 6, 72, 3, 1, 1}},   {512, {4, 1, 5, 9, 72, 3, 1, 1}},
    {512, {6, 1, 14, 12, 72, 3, 2, 1}}, {512, {6, 1, 10, 10, 72, 3, 2, 1}},
    {256, {66, 1, 4, 4, 256, 3, 2, 1}}, {128, {50, 1, 16, 16, 128, 3, 2, 1}},
};
enum { TILED = sizeof tiled_shapes / sizeof tiled_shapes[0] };

START_TEST(test_tiled)
{
    const shape *s = &tiled_shapes[_i / ISAS].of;
    if (open_context(_i % ISAS)) {
        check_model(conv_model(s, tiled_shapes[_i / ISAS].middle, 1), s->n, 2e-6, 4e-6);
    }
}
END_TEST

/* As many channels a group as anywhere: sums are as long as without groups. */
START_TEST(test_wide_groups)
{
    static const shape wide = {12, 3, 6, 6, 256, 3, 1, 1};
    if (open_context(_i)) {
        check_model(conv_model(&wide, 512, 2), wide.n, 2e-6, 4e-6);
    }
}
END_TEST

/* A convolution that reads its input through a batch norm, or not. */
static modeconn_model *pair_model(int64_t extent, int middle, bool norm, int kernel, int stride,
                                  int o)
{
    modeconn_graph *graph;
    modeconn_model *model;
    char settings[96];
    int32_t node = 0;
    OK(modeconn_graph_create(ctx, 3, extent, extent, &graph));
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=1", middle);
    OK(modeconn_graph_add(graph, "conv2d", "a", settings, &node, 1, &node));
    if (norm) {
        OK(modeconn_graph_add(graph, "batch_norm", "bn", NULL, &node, 1, &node));
    }
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=%d,stride=%d,padding=%d", o, kernel,
             stride, kernel / 2);
    OK(modeconn_graph_add(graph, "conv2d", "b", settings, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "head", "out_features=3", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* A norm's bias has a gradient of terms that cancel: its rounding shows more. */
static double backward_limit(bool norm)
{
    return norm ? 2e-5 : 4e-6;
}

/* Weights whose gradient is summed in slabs of channels; maps of many pixels and of few. */
START_TEST(test_slabs)
{
    int which = _i / ISAS, kernel = which & 4 ? 1 : 3;
    bool norm = which & 2;
    if (open_context(_i % ISAS)) {
        modeconn_model *model =
            pair_model(which & 1 ? 9 : 5, 40, norm, kernel, 2, 4700 / (kernel * kernel));
        check_model(model, 5, 2e-6, backward_limit(norm));
    }
}
END_TEST

/* Images of a single tile: few products from as many of them on as share the kernels. */
START_TEST(test_single_tile)
{
    static const int64_t images[] = {5, 127, 128};
    int which = _i / ISAS;
    bool norm = which & 1;
    if (open_context(_i % ISAS)) {
        check_model(pair_model(8, 64, norm, 3, 2, 64), images[which / 2], 2e-6,
                    backward_limit(norm));
    }
}
END_TEST

/* Kernels of one tap, of so many channels that their gradient is summed in its own place, blocks of
 * it narrower at both ends: images of few pixels, several to a tile, and of several tiles. */
START_TEST(test_one_tap)
{
    static const int64_t extents[] = {3, 6, 21};
    int which = _i / ISAS, stride = which & 2 ? 2 : 1;
    bool norm = which & 1;
    if (open_context(_i % ISAS)) {
        check_model(pair_model(extents[which / 4], 270, norm, 1, stride, 600), 7, 2e-6,
                    backward_limit(norm));
    }
}
END_TEST

START_TEST(test_sweep)
{
    if (!open_context(_i % ISAS)) {
        return;
    }
    for (int k = 0; k < 12; k++) {
        int64_t pick[8];
        static const int64_t most[8] = {40, 5, 12, 12, 24, 5, 2, 2};
        for (int i = 0; i < 8; i++) {
            pick[i] = 1 + mc_random_below(77, 1003, (uint64_t)(12 * _i + k), (uint32_t)i, most[i]);
        }
        shape s = {pick[0], pick[1], pick[2], pick[3], pick[4], pick[5], pick[6], pick[7]};
        if (s.h + 2 * s.padding >= s.kernel && s.w + 2 * s.padding >= s.kernel) {
            check_model(conv_model(&s, 9, 1), s.n, 2e-6, 4e-6);
            /* Three channels a group between the two convolutions, or one. */
            int64_t groups = 2 + s.o % 5;
            s.o = s.n % 3 ? 2 * groups : groups;
            check_model(conv_model(&s, (s.n % 2 ? 3 : 1) * groups, groups), s.n, 2e-6, 4e-6);
        }
    }
}
END_TEST

START_TEST(test_512_channels)
{
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t node = 0;
    if (!open_context(_i)) {
        return;
    }
    OK(modeconn_graph_create(ctx, 512, 4, 4, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "a", "out_channels=512,kernel=3,padding=1", &node, 1,
                          &node));
    OK(modeconn_graph_add(graph, "linear", "head", "out_features=3,bias=0", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    modeconn_graph_destroy(graph);
    check_model(model, 24, 2e-6, 4e-6);
}
END_TEST

/* V and M in one memory: a frequency's products end before what they still need of V begins, and
 * the last of V is inside. */
START_TEST(test_plane_pair)
{
    static const int64_t channels[] = {1, 16, 64, 100};
    mc_window window = {.c = 1, .h = 9, .w = 9, .kernel = 3, .padding = 1};
    window.stride = 1 + _i % 2;
    window.oh = window.ow = (9 + window.stride - 1) / window.stride;
    mc_winograd w = mc_winograd_of(&window, _i % 4 >= 2);
    int64_t v_phases = mc_v_phases(&w, 0), m_phases = mc_m_phases(&w, 0);
    for (int which = 0; which < 16; which++) {
        int64_t tiles = 1 + 23 * (_i / 4), k = channels[which / 4], n = channels[which % 4];
        int64_t size = mc_plane_pair_size(&w, tiles, v_phases, k, m_phases, n);
        float *memory = malloc((size_t)size * sizeof *memory);
        mc_plane_pair pair = mc_plane_pair_at(memory, tiles, v_phases, k, m_phases, n);
        mc_planes v = pair.v, m = pair.m;
        ck_assert_int_ge(v.row, v_phases * k);
        ck_assert_int_ge(m.row, m_phases * n);
        ck_assert_ptr_eq(m.data, memory);
        for (int64_t f = 0; f < mc_winograd_frequencies(&w); f++) {
            int64_t v_begin = v.data - memory + f * v.plane;
            ck_assert_int_le(f * m.plane + tiles * m.row, v_begin);
            ck_assert_int_le(v_begin + tiles * v.row + MC_ROW_SLACK, size);
        }
        free(memory);
    }
}
END_TEST

/* A worker's memory has room for the blocks of a layer's gradients, the shared one for the sums of
 * the weight's beside the kernels of the input's. */
START_TEST(test_scratch)
{
    static const int64_t channels[] = {8, 16, 48, 128, 256};
    for (int which = 0; which < 5 * 5 * 3; which++) {
        int64_t c = channels[which % 5], o = channels[which / 5 % 5], n = 1 + which / 25 * 60;
        int64_t side = 4 + 3 * _i, stride = 1 + _i % 2, out = (side + stride - 1) / stride;
        mc_node node = {.in = {c, side, side}, .out = {o, out, out}};
        node.window = (mc_window){c, side, side, out, out, 3, stride, 1};
        if (!mc_conv_winograd_possible(&node)) {
            continue;
        }
        mc_winograd w = mc_winograd_of(&node.window, false);
        int64_t scratch = mc_conv_winograd_scratch(&node, n, true), phases = mc_v_phases(&w, 0);
        int64_t block = mc_block_tiles(&node, &w, n * mc_image_tiles(&w));
        ck_assert_int_le(mc_v_size(&w, block, c) + mc_m_size(&w, block, o), scratch);
        int64_t shared = mc_conv_winograd_shared(&node, n, true), u = mc_u_size(&w, o, c);
        for (int64_t fewer = 1; fewer <= n; fewer += 7) { /* images of a last batch */
            int64_t tiles = fewer * mc_image_tiles(&w);
            if (mc_sums_by_panels(&w, tiles, c, o)) {
                int64_t du = mc_u_size(&w, mc_sums_slice(&w, c), MC_PANEL);
                ck_assert_int_le(mc_m_size(&w, tiles, MC_PANEL) + du, scratch);
                ck_assert_int_le(mc_v_size(&w, tiles, c), shared);
            }
            if (mc_by_panels(&w, tiles, c, o)) {
                int64_t panel = mc_panel_channels(&w);
                int64_t made = mc_u_size(&w, mc_panel_slice(&w, c), panel);
                ck_assert_int_le(mc_m_size(&w, tiles, panel) + made, scratch);
                ck_assert_int_le(mc_v_size(&w, tiles, c), shared);
            }
            if (mc_gradients_beside(&node, fewer)) {
                int64_t groups = mc_weight_cut_of(&node, &w, tiles).groups;
                ck_assert_int_le(groups * mc_sums_size(&w, &node) + u, shared);
            }
        }
        if (mc_conv_winograd_joins(&node, n)) {
            int64_t tiles = mc_joint_cut_of(&node, n).rows * w.x.tiles;
            int64_t pair = mc_plane_pair_size(&w, tiles, phases, c, phases, c);
            ck_assert_int_le(mc_m_size(&w, tiles, o) + pair, scratch);
        }
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, test_chosen_shapes, 0, SHAPES * ISAS);
    tcase_add_loop_test(tests, test_tiled, 0, TILED * ISAS);
    tcase_add_loop_test(tests, test_grouped, 0, GROUPED * ISAS);
    tcase_add_loop_test(tests, test_wide_groups, 0, ISAS);
    tcase_add_loop_test(tests, test_slabs, 0, 8 * ISAS);
    tcase_add_loop_test(tests, test_single_tile, 0, 6 * ISAS);
    tcase_add_loop_test(tests, test_one_tap, 0, 12 * ISAS);
    tcase_add_loop_test(tests, test_sweep, 0, 6);
    tcase_add_loop_test(tests, test_512_channels, 0, ISAS);
    tcase_add_loop_test(tests, test_plane_pair, 0, 8);
    tcase_add_loop_test(tests, test_scratch, 0, 6);
}

int main(void)
{
    return unit_run("nn conv", add);
}
