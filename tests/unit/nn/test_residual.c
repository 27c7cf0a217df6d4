/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Gradients around residual sums = those of the double twins: what shares a gradient's memory, who
 * changes it in place, who pulls a batch norm's back, masks it or takes its sums on the way.
 */
#include "twin.h"
#include <stdio.h>

static modeconn_context *ctx;

static void setup(void)
{
    OK(modeconn_context_create(NULL, &ctx));
    ctx->kept_most = 0; /* what is small is made again too */
}

static void teardown(void)
{
    modeconn_context_destroy(ctx);
}

/* The two inputs of a sum by kind and in either order, with readers beside the sum or none: what
 * shares a gradient, what changes it in place and who has to read it before. */
enum { BRANCHES = 6, SIDES = 2 };
static int32_t branch_of(modeconn_graph *graph, int kind, const char *name, int32_t from)
{
    char norm[16];
    int32_t a = twin_layer(graph, kind == 4 ? "linear" : "conv2d", name,
                           kind == 4 ? "out_features=6" : "out_channels=6,kernel=1,bias=1", from);
    snprintf(norm, sizeof norm, "%s_norm", name);
    if (kind == 1 || kind == 2) {
        a = twin_layer(graph, "batch_norm", norm, NULL, a);
    }
    if (kind == 5) {
        a = twin_layer(graph, "layer_norm", norm, "over=channels", a);
    }
    return kind == 2 || kind == 3 || kind == 4 ? twin_layer(graph, "relu", NULL, NULL, a) : a;
}

static modeconn_model *joined_model(int first, int second, bool swapped, int read_beside)
{
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t sum, sides[2], last[2];
    OK(modeconn_graph_create(ctx, 7, 1, 1, &graph));
    int32_t stem = twin_layer(graph, "conv2d", "stem", "out_channels=5,kernel=1,bias=1", 0);
    sides[0] = branch_of(graph, first, "a", stem);
    sides[1] = branch_of(graph, second, "b", stem);
    int32_t beside = read_beside < 0 ? stem : sides[read_beside];
    last[1] = twin_layer(graph, "conv2d", "beside", "out_channels=6,kernel=1", beside);
    int32_t both[2] = {sides[swapped ? 1 : 0], sides[swapped ? 0 : 1]};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    last[0] = twin_layer(graph, "relu", NULL, NULL, sum);
    OK(modeconn_graph_add(graph, "add", NULL, NULL, last, 2, &sum));
    OK(modeconn_model_from_graph(graph, twin_layer(graph, "linear", "head", "out_features=3", sum),
                                 0, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* Takes the model over. */
static void check_gradient_of(modeconn_model *model, int64_t n, uint64_t seed)
{
    twin t;
    mc_plain *plain;
    double loss;
    twin_init(&t, model, n, seed);
    double *d = twin_alloc(t.n * t.model->classes, sizeof(double));
    OK(mc_plain_create(t.model->graph, t.n, &plain));
    mc_plain_forward(plain, t.theta64, t.stats64, MC_NORM_BATCH, t.x64);
    twin_loss(&t, mc_plain_logits(plain), d);
    mc_plain_backward(plain, d, NULL, t.grad64);
    OK(modeconn_model_gradient(t.model, t.x, t.y, t.n, &loss, t.grad));
    twin_check_gradient(&t, 1e-4);
    free(d);
    mc_plain_free(plain);
    twin_free(&t);
}

START_TEST(test_sums)
{
    for (int which = 0; which < BRANCHES * 2 * (SIDES + 1); which++) {
        int read_beside = which / BRANCHES / 2 - 1;
        check_gradient_of(joined_model(_i, which % BRANCHES, which / BRANCHES % 2, read_beside), 9,
                          31);
    }
}
END_TEST

/* A block of a residual network: the gradient of its input comes from the sum and from one or two
 * convolutions. */
static modeconn_model *residual_model(bool relu, bool swapped, bool two, int64_t h)
{
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t sum;
    OK(modeconn_graph_create(ctx, 3, h, 7, &graph));
    int32_t stem = twin_layer(graph, "conv2d", "stem", "out_channels=8,kernel=3,padding=1", 0);
    int32_t at = twin_layer(graph, "conv2d", "a", "out_channels=8,kernel=3,padding=1", stem);
    at = twin_layer(graph, "batch_norm", "a_norm", NULL, at);
    at = relu ? twin_layer(graph, "relu", NULL, NULL, at) : at;
    int32_t other = stem;
    if (two) {
        other = twin_layer(graph, "conv2d", "b", "out_channels=8,kernel=3,padding=1", stem);
        other = twin_layer(graph, "batch_norm", "b_norm", NULL, other);
    }
    int32_t both[2] = {swapped ? at : other, swapped ? other : at};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    at = twin_layer(graph, "relu", NULL, NULL, sum);
    OK(modeconn_model_from_graph(graph, twin_layer(graph, "linear", "head", "out_features=3", at),
                                 0, &model));
    modeconn_graph_destroy(graph);
    return model;
}

START_TEST(test_residual)
{
    /* Few tiles; blocks of tiles that end inside of an image. */
    static const int64_t batches[] = {2, 61};
    for (int which = 0; which < 2 * 2 * 2 * 2; which++) {
        check_gradient_of(residual_model(which & 1, which & 2, which & 4, which & 8 ? 16 : 6),
                          batches[_i], 37);
    }
}
END_TEST

static int32_t normed(modeconn_graph *graph, const char *name, const char *norm, int64_t c,
                      int32_t from)
{
    char settings[64];
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=3,padding=1", (int)c);
    return twin_layer(graph, "batch_norm", norm, NULL,
                      twin_layer(graph, "conv2d", name, settings, from));
}

/* Narrow convolutions that pull the gradient of the batch norm behind them back, in a chain before
 * a sum, where two gradients that are read late have to be kept. */
static modeconn_model *pulling_model(int64_t c, int64_t o, int64_t h, bool relu, bool two)
{
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t both[2];
    OK(modeconn_graph_create(ctx, 3, h, h, &graph));
    char settings[64];
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=3,padding=1", (int)o);
    int32_t stem = twin_layer(graph, "conv2d", "stem", settings, 0);
    both[0] = normed(graph, "a", "a_norm", c, stem);
    both[0] = relu ? twin_layer(graph, "relu", NULL, NULL, both[0]) : both[0];
    both[0] = normed(graph, "b", "b_norm", o, both[0]);
    both[1] = two ? normed(graph, "c", "c_norm", o, stem) : stem;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    OK(modeconn_model_from_graph(
        graph, twin_layer(graph, "linear", "head", "out_features=3", both[0]), 0, &model));
    int32_t pulling = 0;
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        pulling += model->graph->nodes[i].pulls;
    }
    ck_assert_int_eq(pulling, two ? 3 : 2);
    modeconn_graph_destroy(graph);
    return model;
}

START_TEST(test_pulling)
{
    /* Several images a block and several blocks a group, of equal size and not, one within an
     * image, one of the ends of two and all of another. */
    static const int64_t batches[] = {17, 61, 30, 30}, sides[] = {32, 9, 16, 20},
                         channels[] = {16, 24, 8, 16}, outputs[] = {8, 8, 16, 16};
    for (int which = 0; which < 4; which++) {
        check_gradient_of(pulling_model(channels[_i], outputs[_i], sides[_i], which & 1, which & 2),
                          batches[_i], 41);
    }
}
END_TEST

/* A convolution whose batch norm shares the gradient of a sum with the sum's other input, which a
 * convolution in between also reads: that one changes the gradient before the first has read it,
 * unless each has its own. */
START_TEST(test_pulling_late)
{
    modeconn_graph *graph;
    modeconn_model *model;
    OK(modeconn_graph_create(ctx, 3, 12, 12, &graph));
    int32_t stem = twin_layer(graph, "conv2d", "stem", "out_channels=8,kernel=3,padding=1", 0);
    int32_t a = twin_layer(graph, "conv2d", "a", "out_channels=8,kernel=3,padding=1", stem);
    int32_t between = twin_layer(graph, "conv2d", "b", "out_channels=8,kernel=3,padding=1", stem);
    int32_t both[2] = {twin_layer(graph, "batch_norm", "a_norm", NULL, a), stem};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    both[1] = between;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    OK(modeconn_model_from_graph(
        graph, twin_layer(graph, "linear", "head", "out_features=3", both[0]), 0, &model));
    ck_assert(model->graph->nodes[a].pulls);
    modeconn_graph_destroy(graph);
    check_gradient_of(model, 20, 43);
}
END_TEST

/* Convolution "next" reads a sum of which norms come before; it is the first to read it, or a
 * pooling is, and the last or not. Where it is the first it masks the sum's gradient and takes the
 * sums of the norm that goes back next. */
enum {
    RECTIFIED = 1,
    TWO_NORMS = 2,
    NORM_FIRST = 4,
    POOLED_BEFORE = 8,
    READ_AFTER = 16,
    VARIANTS = 32
};

static modeconn_model *summing_model(int variant, int64_t c, int64_t h, const char *next)
{
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t sums[2];
    OK(modeconn_graph_create(ctx, 3, h, h, &graph));
    char settings[64];
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=3,padding=1", (int)c);
    int32_t stem = twin_layer(graph, "conv2d", "stem", settings, 0);
    int32_t a = normed(graph, "a", "a_norm", c, stem);
    int32_t b = variant & TWO_NORMS ? normed(graph, "b", "b_norm", c, stem) : stem;
    int32_t both[2] = {variant & NORM_FIRST ? a : b, variant & NORM_FIRST ? b : a};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sums[0]));
    int32_t seen = variant & RECTIFIED ? twin_layer(graph, "relu", NULL, NULL, sums[0]) : sums[0];
    int32_t pooled = variant & POOLED_BEFORE
                         ? twin_layer(graph, "max_pool", NULL, "kernel=3,stride=1,padding=1", seen)
                         : -1;
    int32_t at = twin_layer(graph, "conv2d", "next", next, seen), conv = at;
    at = twin_layer(graph, "batch_norm", "next_norm", NULL, at);
    int32_t more[2] = {at, pooled >= 0 ? pooled : seen};
    if (pooled >= 0 || variant & READ_AFTER) {
        OK(modeconn_graph_add(graph, "add", NULL, NULL, more, 2, &at));
    }
    OK(modeconn_model_from_graph(graph, twin_layer(graph, "linear", "head", "out_features=3", at),
                                 0, &model));
    ck_assert_int_eq(model->graph->nodes[conv].completes, pooled < 0);
    ck_assert_int_eq(model->graph->nodes[conv].sum, pooled < 0 ? sums[0] : 0);
    modeconn_graph_destroy(graph);
    return model;
}

/* Both gradients of "next" together; by blocks that end inside of an image or do not; by panels; by
 * the direct algorithm. */
START_TEST(test_summing)
{
    static const struct {
        int64_t n, c, h;
        const char *next;
        int step; /* through the variants */
    } layers[] = {{9, 8, 10, "out_channels=8,kernel=3,padding=1", 1},
                  {7, 48, 8, "out_channels=48,kernel=3,padding=1", 3},
                  {6, 136, 5, "out_channels=136,kernel=3,padding=1", 7},
                  {11, 8, 9, "out_channels=8,kernel=1", 1}};
    for (int variant = 0; variant < VARIANTS; variant += layers[_i].step) {
        check_gradient_of(summing_model(variant, layers[_i].c, layers[_i].h, layers[_i].next),
                          layers[_i].n, 47);
    }
}
END_TEST

/* A batch norm that a sum reads before a convolution does: what that one gives is not yet all of
 * the norm's gradient. */
START_TEST(test_read_first_by_sum)
{
    modeconn_graph *graph;
    modeconn_model *model;
    OK(modeconn_graph_create(ctx, 3, 12, 12, &graph));
    int32_t beside = twin_layer(graph, "conv2d", "a", "out_channels=8,kernel=3,padding=1", 0);
    int32_t norm = normed(graph, "b", "b_norm", 8, 0), both[2] = {norm, beside};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    both[1] = twin_layer(graph, "conv2d", "next", "out_channels=8,kernel=3,padding=1", norm);
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    OK(modeconn_model_from_graph(
        graph, twin_layer(graph, "linear", "head", "out_features=3", both[0]), 0, &model));
    ck_assert(model->graph->nodes[norm].lazy);
    modeconn_graph_destroy(graph);
    check_gradient_of(model, 20, 53);
}
END_TEST

/* [begin, begin + size) of `a` and `b` have nothing in common. */
static bool apart(const float *a, int64_t a_size, const float *b, int64_t b_size)
{
    return a + a_size <= b || b + b_size <= a;
}

/* What a convolution that pulls back reads, the gradient and the input of the batch norm, must not
 * lie where it writes: by chance it would seldom show. */
START_TEST(test_pulling_memory)
{
    static const char *const archs[] = {"vgg13", "resnet18", "resnet56", "resnet18_bottleneck"};
    modeconn_model *model;
    modeconn_options *options;
    mc_pass pass;
    int32_t pulling = 0;
    OK(modeconn_options_create(ctx, "model", &options));
    OK(modeconn_options_parse(options,
                              "channels=3,height=32,width_pixels=32,classes=10,width=0.25"));
    OK(modeconn_model_create(ctx, archs[_i], NULL, options, &model));
    modeconn_options_destroy(options);
    const modeconn_graph *graph = model->graph;
    OK(mc_pass_create(ctx, graph, 32, true, &pass));
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        const float *dx = pass.slots[node->inputs[0]].d_out;
        if (node->pulls && dx != NULL) {
            int64_t in = 32 * mc_shape_size(node->in), out = 32 * mc_shape_size(node->out);
            ck_assert_msg(apart(dx, in, pass.slots[node->last_reader].d_out, out), "node %d", i);
            ck_assert_msg(apart(dx, in, pass.slots[i].out, out), "node %d", i);
            pulling++;
        }
    }
    ck_assert_int_gt(pulling, 0);
    mc_pass_free(&pass);
    modeconn_model_destroy(model);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_sums, 0, BRANCHES);
    tcase_add_loop_test(tests, test_residual, 0, 2);
    tcase_add_loop_test(tests, test_pulling, 0, 4);
    tcase_add_loop_test(tests, test_summing, 0, 4);
    tcase_add_test(tests, test_read_first_by_sum);
    tcase_add_test(tests, test_pulling_late);
    tcase_add_loop_test(tests, test_pulling_memory, 0, 4);
}

int main(void)
{
    return unit_run("nn residual", add);
}
