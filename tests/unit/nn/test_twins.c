/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One chain: every layer of the engine = its plain double twin = finite differences, over odd
 * sizes, strides, channel counts and batches, in batch-statistics and running-statistics mode.
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

static int32_t layer(modeconn_graph *graph, const char *type, const char *name,
                     const char *settings, int32_t input)
{
    int32_t node = -1;
    OK(modeconn_graph_add(graph, type, name, settings, &input, 1, &node));
    return node;
}

/* A residual block, every pooling, biases, strides and odd kernels in one small graph. */
static modeconn_model *mixed_model(int64_t channels, int64_t height, int64_t width, int64_t c)
{
    modeconn_graph *graph;
    modeconn_model *model;
    char conv[64];
    OK(modeconn_graph_create(ctx, channels, height, width, &graph));
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=3,padding=1,bias=1", (int)c);
    int32_t a = layer(graph, "conv2d", "stem", conv, 0);
    a = layer(graph, "relu", NULL, NULL, a);
    int32_t b = layer(graph, "conv2d", "branch", conv, a);
    b = layer(graph, "batch_norm", "bn", NULL, b);
    int32_t both[2] = {a, b}, sum;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    int32_t r = layer(graph, "relu", NULL, NULL, sum);
    /* The residual stream goes on to two readers: pre-activation batch norm and a sum. */
    int32_t p = layer(graph, "batch_norm", "pre", NULL, r);
    p = layer(graph, "relu", NULL, NULL, p);
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=1", (int)c);
    p = layer(graph, "conv2d", "point", conv, p);
    int32_t again[2] = {p, r};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, again, 2, &sum));
    int32_t q = layer(graph, "max_pool", NULL, "kernel=3,stride=2,padding=1", sum);
    q = layer(graph, "avg_pool", NULL, "kernel=2,stride=1,padding=1", q);
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=5,stride=2,padding=2", (int)c + 1);
    q = layer(graph, "conv2d", "wide", conv, q);
    q = layer(graph, "batch_norm", "last", NULL, q);
    q = layer(graph, "relu", NULL, NULL, q);
    q = layer(graph, "linear", "head", "out_features=5", q);
    OK(modeconn_model_from_graph(graph, q, 3, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* Layer norm over images and over channels, with weights and without, both forms of GELU, before
 * and behind sums and where one value is left a channel. */
static modeconn_model *smooth_model(int64_t channels, int64_t height, int64_t width, int64_t c)
{
    modeconn_graph *graph;
    modeconn_model *model;
    char conv[64];
    OK(modeconn_graph_create(ctx, channels, height, width, &graph));
    int32_t a = layer(graph, "layer_norm", "first", NULL, 0);
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=3,padding=1,bias=1", (int)c);
    a = layer(graph, "conv2d", "stem", conv, a);
    a = layer(graph, "gelu", NULL, NULL, a);
    int32_t b = layer(graph, "layer_norm", "pixels", "over=channels,eps=1e-3", a);
    b = layer(graph, "gelu", NULL, "approximate=tanh", b);
    int32_t both[2] = {a, b}, sum;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    /* The sum goes on to two readers, so two layers add to one gradient. */
    both[0] = layer(graph, "layer_norm", "whole", NULL, sum);
    both[1] = layer(graph, "gelu", NULL, "approximate=tanh", sum);
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    b = layer(graph, "layer_norm", NULL, "affine=0,over=channels", sum);
    b = layer(graph, "linear", "hidden", "out_features=9", b);
    b = layer(graph, "layer_norm", "vector", "over=channels", b);
    b = layer(graph, "gelu", NULL, NULL, b);
    b = layer(graph, "linear", "head", "out_features=5", b);
    OK(modeconn_model_from_graph(graph, b, 3, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* Groups that widen and narrow, depthwise with one output a channel and with two; read through a
 * norm and by two layers. */
static modeconn_model *grouped_model(int64_t channels, int64_t height, int64_t width)
{
    modeconn_graph *graph;
    modeconn_model *model;
    OK(modeconn_graph_create(ctx, channels, height, width, &graph));
    int32_t a = layer(graph, "conv2d", "stem", "out_channels=12,kernel=1", 0);
    a = layer(graph, "batch_norm", "bn", NULL, a);
    a = layer(graph, "relu", NULL, NULL, a);
    int32_t b = layer(graph, "conv2d", "groups", "out_channels=6,padding=1,groups=3,bias=1", a);
    b = layer(graph, "conv2d", "wider", "out_channels=12,kernel=1,groups=2", b);
    int32_t c = layer(graph, "conv2d", "depthwise", "out_channels=12,padding=1,groups=12", a);
    int32_t both[2] = {b, c}, sum;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    a = layer(graph, "conv2d", "two", "out_channels=24,kernel=5,stride=2,padding=2,groups=12", sum);
    a = layer(graph, "batch_norm", "last", NULL, a);
    a = layer(graph, "relu", NULL, NULL, a);
    a = layer(graph, "conv2d", "strided", "out_channels=24,stride=2,padding=1,bias=1,groups=24", a);
    a = layer(graph, "linear", "head", "out_features=5", a);
    OK(modeconn_model_from_graph(graph, a, 3, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* The mean's margin as a layer, behind maps of more than one pixel. */
static modeconn_model *margin_model(void)
{
    modeconn_graph *graph;
    modeconn_model *model;
    OK(modeconn_graph_create(ctx, 2, 5, 4, &graph));
    int32_t a = layer(graph, "conv2d", "conv", "out_channels=7,kernel=3", 0);
    a = layer(graph, "relu", NULL, NULL, a);
    a = layer(graph, "mean_margin", NULL, "scale=3,threshold=-0.25", a);
    OK(modeconn_model_from_graph(graph, a, 3, &model));
    modeconn_graph_destroy(graph);
    return model;
}

static modeconn_model *built_in(const char *arch, const char *settings)
{
    modeconn_options *options;
    modeconn_model *model;
    OK(modeconn_options_create(ctx, "model", &options));
    OK(modeconn_options_parse(options, settings));
    OK(modeconn_model_create(ctx, arch, NULL, options, &model));
    modeconn_options_destroy(options);
    return model;
}

/* The cases: graphs made here first, then what ships. */
enum { HAND_BUILT = 8 };
static modeconn_model *model_of_case(int which)
{
    static const struct {
        const char *arch, *settings;
    } ships[] = {
        {"vgg13", "width=0.0625,channels=3,height=17,width_pixels=13,classes=7"},
        {"vgg13", "width=0.02,channels=1,height=28,width_pixels=28,classes=10"},
        {"resnet18", "width=0.0625,channels=3,height=16,width_pixels=16,classes=10"},
        {"resnet18", "widths=3,3,5,7,channels=2,height=11,width_pixels=9,classes=4"},
        {"mlp", "hidden=17,31,channels=2,height=5,width_pixels=3,classes=6"},
        {"vgg13", "widths=30,100,16,5,40,9,8,8,8,8,channels=3,height=9,width_pixels=9,classes=3"},
        {"theory", "widths=37,channels=11,height=1,width_pixels=1,classes=2"},
        {"theory", "width=0.02,logit_scale=2.5,channels=2,height=3,width_pixels=5,classes=2"},
        {"resnet34", "widths=5,6,7,8,channels=2,height=17,width_pixels=16,classes=4"},
        {"resnet56", "widths=5,6,7,channels=1,height=15,width_pixels=16,classes=3"},
        {"resnet50", "widths=3,3,4,3,channels=3,height=17,width_pixels=16,classes=4"},
        {"resnet18_bottleneck", "width=0.07,channels=3,height=16,width_pixels=19,classes=4"},
        {"resnet56_bottleneck", "widths=3,4,5,channels=1,height=11,width_pixels=13,classes=3"},
    };
    switch (which) {
    case 0:
        return mixed_model(1, 8, 8, 4);
    case 1:
        return mixed_model(3, 7, 11, 17);
    case 2:
        return mixed_model(2, 5, 5, 1);
    case 3:
        return smooth_model(3, 5, 7, 17);
    case 4:
        return smooth_model(1, 4, 4, 3);
    case 5:
        return margin_model();
    case 6:
        return grouped_model(3, 9, 7);
    case 7:
        return grouped_model(1, 8, 13);
    default:
        return built_in(ships[which - HAND_BUILT].arch, ships[which - HAND_BUILT].settings);
    }
}
enum { CASES = HAND_BUILT + 13, DEEP = HAND_BUILT + 8 };

/* Rounding grows from layer to layer, and most where batch norm sees two values, whichever way an
 * instruction set rounds: what the limits are multiplied by. */
static double slack(int which)
{
    return which < HAND_BUILT ? 1.0 : which < DEEP ? 2.0 : 5.0;
}

/* Mean cross-entropy in double and its cotangents. */
static double loss64(const twin *t, const double *logits, double *d)
{
    double sum = 0.0;
    int64_t classes = t->model->classes;
    for (int64_t i = 0; i < t->n; i++) {
        const double *z = logits + i * classes;
        double total = 0.0, top = z[0];
        for (int64_t j = 1; j < classes; j++) {
            top = z[j] > top ? z[j] : top;
        }
        for (int64_t j = 0; j < classes; j++) {
            total += exp(z[j] - top);
        }
        sum += log(total) - (z[t->y[i]] - top);
        for (int64_t j = 0; d != NULL && j < classes; j++) {
            d[i * classes + j] =
                (exp(z[j] - top) / total - (j == t->y[i] ? 1.0 : 0.0)) / (double)t->n;
        }
    }
    return sum / (double)t->n;
}

static void check_outputs(const twin *t, mc_plain *plain, mc_norm_mode mode, double limit)
{
    const modeconn_model *model = t->model;
    mc_session *session;
    mc_batch batch = {t->x, t->y, t->n};
    float *logits = twin_alloc(t->n * model->classes, sizeof(float));
    float *representation = twin_alloc(t->n * model->representation_width, sizeof(float));

    OK(model->ops->session_create(model, t->n + 3, 1, false, &session));
    OK(model->ops->bind(session, model->theta, model->statistics));
    OK(model->ops->outputs(session, mode, &batch, logits, representation));
    mc_plain_forward(plain, t->theta64, t->stats64, mode, t->x64);
    double d = twin_distance(logits, mc_plain_logits(plain), t->n * model->classes);
    ck_assert_msg(d < limit, "logits differ by %g", d);
    d = twin_distance(representation, mc_plain_representation(plain),
                      t->n * model->representation_width);
    ck_assert_msg(d < limit, "representations differ by %g", d);
    model->ops->session_destroy(session);
    free(logits);
    free(representation);
}

START_TEST(test_forward)
{
    static const int64_t batches[] = {1, 2, 5, 16};
    for (int b = 0; b < 4; b++) {
        twin t;
        mc_plain *plain;
        const char *layer_name;
        twin_init(&t, model_of_case(_i), batches[b], 7);
        OK(mc_plain_create(t.model->graph, t.n, &plain));
        check_outputs(&t, plain, MC_NORM_RUNNING, 1e-5 * slack(_i));
        if (t.n >= t.model->ops->smallest_batch(t.model, &layer_name)) {
            check_outputs(&t, plain, MC_NORM_BATCH, 1e-5 * slack(_i));
        }
        mc_plain_free(plain);
        twin_free(&t);
    }
}
END_TEST

/* Per block, so that a wrong small one cannot hide behind a large one. A convolution before batch
 * norm has a bias gradient of zero: compare with the whole gradient's size there. */
static void check_gradient(const twin *t, double limit)
{
    const modeconn_model *model = t->model;
    double whole = 0.0;
    for (int64_t i = 0; i < model->n_theta; i++) {
        whole += t->grad64[i] * t->grad64[i];
    }
    for (int64_t k = 0; k < model->n_blocks_theta; k++) {
        const mc_block *block = &model->blocks[k];
        const double *exact = t->grad64 + block->offset;
        double size = 0.0, d = twin_distance(t->grad + block->offset, exact, block->size);
        for (int64_t i = 0; i < block->size; i++) {
            size += exact[i] * exact[i];
        }
        ck_assert_msg(d < limit || d * sqrt(size) < 1e-2 * limit * sqrt(whole),
                      "gradient of %s differs by %g", block->name, d);
    }
}

START_TEST(test_backward)
{
    static const int64_t batches[] = {2, 3, 19};
    /* A ReLU whose input rounds across zero moves a gradient by more than rounding does: a deep
     * model has too many of them for 19 images to spare it that. */
    for (int b = 0; b < (_i < DEEP ? 3 : 2); b++) {
        twin t;
        mc_plain *plain;
        double loss;
        twin_init(&t, model_of_case(_i), batches[b], 11);
        double *d = twin_alloc(t.n * t.model->classes, sizeof(double));
        OK(mc_plain_create(t.model->graph, t.n, &plain));
        mc_plain_forward(plain, t.theta64, t.stats64, MC_NORM_BATCH, t.x64);
        double exact = loss64(&t, mc_plain_logits(plain), d);
        mc_plain_backward(plain, d, NULL, t.grad64);
        OK(modeconn_model_gradient(t.model, t.x, t.y, t.n, &loss, t.grad));
        ck_assert_double_eq_tol(loss, exact, 1e-5 * slack(_i));
        check_gradient(&t, 1e-4 * slack(_i));
        free(d);
        mc_plain_free(plain);
        twin_free(&t);
    }
}
END_TEST

/* The two inputs of a sum by kind and in either order, with readers beside the sum or none: what
 * shares a gradient, what changes it in place and who has to read it before. */
enum { BRANCHES = 6, SIDES = 2 };
static int32_t branch_of(modeconn_graph *graph, int kind, const char *name, int32_t from)
{
    char norm[16];
    int32_t a = layer(graph, kind == 4 ? "linear" : "conv2d", name,
                      kind == 4 ? "out_features=6" : "out_channels=6,kernel=1,bias=1", from);
    snprintf(norm, sizeof norm, "%s_norm", name);
    if (kind == 1 || kind == 2) {
        a = layer(graph, "batch_norm", norm, NULL, a);
    }
    if (kind == 5) {
        a = layer(graph, "layer_norm", norm, "over=channels", a);
    }
    return kind == 2 || kind == 3 || kind == 4 ? layer(graph, "relu", NULL, NULL, a) : a;
}

static modeconn_model *joined_model(int first, int second, bool swapped, int read_beside)
{
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t sum, sides[2], last[2];
    OK(modeconn_graph_create(ctx, 7, 1, 1, &graph));
    int32_t stem = layer(graph, "conv2d", "stem", "out_channels=5,kernel=1,bias=1", 0);
    sides[0] = branch_of(graph, first, "a", stem);
    sides[1] = branch_of(graph, second, "b", stem);
    int32_t beside = read_beside < 0 ? stem : sides[read_beside];
    last[1] = layer(graph, "conv2d", "beside", "out_channels=6,kernel=1", beside);
    int32_t both[2] = {sides[swapped ? 1 : 0], sides[swapped ? 0 : 1]};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    last[0] = layer(graph, "relu", NULL, NULL, sum);
    OK(modeconn_graph_add(graph, "add", NULL, NULL, last, 2, &sum));
    OK(modeconn_model_from_graph(graph, layer(graph, "linear", "head", "out_features=3", sum), 0,
                                 &model));
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
    loss64(&t, mc_plain_logits(plain), d);
    mc_plain_backward(plain, d, NULL, t.grad64);
    OK(modeconn_model_gradient(t.model, t.x, t.y, t.n, &loss, t.grad));
    check_gradient(&t, 1e-4);
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
    int32_t stem = layer(graph, "conv2d", "stem", "out_channels=8,kernel=3,padding=1", 0);
    int32_t at = layer(graph, "conv2d", "a", "out_channels=8,kernel=3,padding=1", stem);
    at = layer(graph, "batch_norm", "a_norm", NULL, at);
    at = relu ? layer(graph, "relu", NULL, NULL, at) : at;
    int32_t other = stem;
    if (two) {
        other = layer(graph, "conv2d", "b", "out_channels=8,kernel=3,padding=1", stem);
        other = layer(graph, "batch_norm", "b_norm", NULL, other);
    }
    int32_t both[2] = {swapped ? at : other, swapped ? other : at};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    at = layer(graph, "relu", NULL, NULL, sum);
    OK(modeconn_model_from_graph(graph, layer(graph, "linear", "head", "out_features=3", at), 0,
                                 &model));
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
    return layer(graph, "batch_norm", norm, NULL, layer(graph, "conv2d", name, settings, from));
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
    int32_t stem = layer(graph, "conv2d", "stem", settings, 0);
    both[0] = normed(graph, "a", "a_norm", c, stem);
    both[0] = relu ? layer(graph, "relu", NULL, NULL, both[0]) : both[0];
    both[0] = normed(graph, "b", "b_norm", o, both[0]);
    both[1] = two ? normed(graph, "c", "c_norm", o, stem) : stem;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    OK(modeconn_model_from_graph(graph, layer(graph, "linear", "head", "out_features=3", both[0]),
                                 0, &model));
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
    /* Several images a block and several blocks a group, of equal size and not. */
    static const int64_t batches[] = {17, 61, 30}, sides[] = {32, 9, 16}, channels[] = {16, 24, 8},
                         outputs[] = {8, 8, 16};
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
    int32_t stem = layer(graph, "conv2d", "stem", "out_channels=8,kernel=3,padding=1", 0);
    int32_t a = layer(graph, "conv2d", "a", "out_channels=8,kernel=3,padding=1", stem);
    int32_t between = layer(graph, "conv2d", "b", "out_channels=8,kernel=3,padding=1", stem);
    int32_t both[2] = {layer(graph, "batch_norm", "a_norm", NULL, a), stem};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    both[1] = between;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    OK(modeconn_model_from_graph(graph, layer(graph, "linear", "head", "out_features=3", both[0]),
                                 0, &model));
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
    int32_t stem = layer(graph, "conv2d", "stem", settings, 0);
    int32_t a = normed(graph, "a", "a_norm", c, stem);
    int32_t b = variant & TWO_NORMS ? normed(graph, "b", "b_norm", c, stem) : stem;
    int32_t both[2] = {variant & NORM_FIRST ? a : b, variant & NORM_FIRST ? b : a};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sums[0]));
    int32_t seen = variant & RECTIFIED ? layer(graph, "relu", NULL, NULL, sums[0]) : sums[0];
    int32_t pooled = variant & POOLED_BEFORE
                         ? layer(graph, "max_pool", NULL, "kernel=3,stride=1,padding=1", seen)
                         : -1;
    int32_t at = layer(graph, "conv2d", "next", next, seen), conv = at;
    at = layer(graph, "batch_norm", "next_norm", NULL, at);
    int32_t more[2] = {at, pooled >= 0 ? pooled : seen};
    if (pooled >= 0 || variant & READ_AFTER) {
        OK(modeconn_graph_add(graph, "add", NULL, NULL, more, 2, &at));
    }
    OK(modeconn_model_from_graph(graph, layer(graph, "linear", "head", "out_features=3", at), 0,
                                 &model));
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
    int32_t beside = layer(graph, "conv2d", "a", "out_channels=8,kernel=3,padding=1", 0);
    int32_t norm = normed(graph, "b", "b_norm", 8, 0), both[2] = {norm, beside};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    both[1] = layer(graph, "conv2d", "next", "out_channels=8,kernel=3,padding=1", norm);
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &both[0]));
    OK(modeconn_model_from_graph(graph, layer(graph, "linear", "head", "out_features=3", both[0]),
                                 0, &model));
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

/* The value that test_finite_differences differentiates: loss + <c, representation>. */
static double objective(const twin *t, mc_plain *plain, const double *theta, const double *c)
{
    mc_plain_forward(plain, theta, t->stats64, MC_NORM_BATCH, t->x64);
    double value = loss64(t, mc_plain_logits(plain), NULL);
    for (int64_t i = 0; i < t->n * t->model->representation_width; i++) {
        value += c[i] * mc_plain_representation(plain)[i];
    }
    return value;
}

START_TEST(test_finite_differences)
{
    twin t;
    mc_plain *plain;
    twin_init(&t, model_of_case(_i), 3, 13);
    int64_t width = t.n * t.model->representation_width;
    double *d = twin_alloc(t.n * t.model->classes, sizeof(double));
    double *c = twin_alloc(width, sizeof(double));
    for (int64_t i = 0; i < width; i++) {
        c[i] = 0.1 * twin_random(17, i);
    }
    OK(mc_plain_create(t.model->graph, t.n, &plain));
    objective(&t, plain, t.theta64, c);
    loss64(&t, mc_plain_logits(plain), d);
    mc_plain_backward(plain, d, c, t.grad64);

    /* Some parameters of every block. ReLU and maximum have kinks: with a step of 1e-7 a value
     * crosses one about never. */
    const double step = 1e-7;
    for (int64_t k = 0; k < t.model->n_blocks_theta; k++) {
        const mc_block *block = &t.model->blocks[k];
        for (int j = 0; j < 3; j++) {
            int64_t at =
                block->offset + mc_random_below(19, 1002, (uint64_t)k, (uint32_t)j, block->size);
            double kept = t.theta64[at];
            t.theta64[at] = kept + step;
            double up = objective(&t, plain, t.theta64, c);
            t.theta64[at] = kept - step;
            double down = objective(&t, plain, t.theta64, c);
            t.theta64[at] = kept;
            ck_assert_msg(fabs((up - down) / (2.0 * step) - t.grad64[at]) <
                              1e-5 * (1.0 + fabs(t.grad64[at])),
                          "%s: difference %g, gradient %g", block->name, (up - down) / (2.0 * step),
                          t.grad64[at]);
        }
    }
    free(c);
    free(d);
    mc_plain_free(plain);
    twin_free(&t);
}
END_TEST

/* Cotangents of two batches, fixed, for the pair pass. */
typedef struct pair_case {
    double *d_logits[2], *d_representation[2];
} pair_case;

static int32_t give_cotangents(void *user, const mc_pair *pair)
{
    pair_case *c = user;
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < pair->n[k] * pair->classes; i++) {
            pair->d_logits[k][i] = (float)twin_random((uint64_t)(50 + k), i);
            c->d_logits[k][i] = (double)pair->d_logits[k][i];
        }
        for (int64_t i = 0; i < pair->n[k] * pair->width; i++) {
            pair->d_representation[k][i] = (float)twin_random((uint64_t)(60 + k), i);
            c->d_representation[k][i] = (double)pair->d_representation[k][i];
        }
    }
    return MODECONN_OK;
}

/* Pair passes of models whose representation has one pixel (no layout between the two). */
static const int pairs[] = {0, 1, 2, 3, 4, 6, 7};
START_TEST(test_pair)
{
    twin t;
    mc_plain *plain;
    mc_session *session;
    pair_case c;
    twin_init(&t, model_of_case(HAND_BUILT + pairs[_i]), 6, 23);
    const modeconn_model *model = t.model;
    int64_t half = 4 * t.pixels;
    mc_batch a = {t.x, t.y, 4}, b = {t.x + half, t.y + 4, 2};
    const double *x[2] = {t.x64, t.x64 + half};
    int64_t n[2] = {4, 2};
    double *part = twin_alloc(model->n_theta, sizeof(double));
    for (int k = 0; k < 2; k++) {
        c.d_logits[k] = twin_alloc(4 * model->classes, sizeof(double));
        c.d_representation[k] = twin_alloc(4 * model->representation_width, sizeof(double));
    }
    OK(model->ops->session_create(model, 4, 2, true, &session));
    OK(model->ops->bind(session, model->theta, model->statistics));
    OK(model->ops->pair_gradient(session, &a, &b, give_cotangents, &c, t.grad, NULL));
    for (int k = 0; k < 2; k++) {
        OK(mc_plain_create(model->graph, n[k], &plain));
        mc_plain_forward(plain, t.theta64, t.stats64, MC_NORM_BATCH, x[k]);
        mc_plain_backward(plain, c.d_logits[k], c.d_representation[k], part);
        for (int64_t i = 0; i < model->n_theta; i++) {
            t.grad64[i] += part[i];
        }
        mc_plain_free(plain);
    }
    check_gradient(&t, 1e-4);
    for (int k = 0; k < 2; k++) {
        free(c.d_logits[k]);
        free(c.d_representation[k]);
    }
    free(part);
    model->ops->session_destroy(session);
    twin_free(&t);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_forward, 0, CASES);
    tcase_add_loop_test(tests, test_backward, 0, CASES);
    tcase_add_loop_test(tests, test_sums, 0, BRANCHES);
    tcase_add_loop_test(tests, test_residual, 0, 2);
    tcase_add_loop_test(tests, test_pulling, 0, 3);
    tcase_add_loop_test(tests, test_summing, 0, 4);
    tcase_add_test(tests, test_read_first_by_sum);
    tcase_add_test(tests, test_pulling_late);
    tcase_add_loop_test(tests, test_pulling_memory, 0, 4);
    tcase_add_loop_test(tests, test_finite_differences, 0, DEEP);
    tcase_add_loop_test(tests, test_pair, 0, 7);
}

int main(void)
{
    return unit_run("nn twins", add);
}
