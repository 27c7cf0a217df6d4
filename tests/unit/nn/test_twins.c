/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One chain: every layer of the engine = its plain double twin = finite differences, over odd
 * sizes, strides, channel counts and batches, in batch-statistics and running-statistics mode.
 */
#include "isas.h"
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

/* A residual block, every pooling, biases, strides and odd kernels in one small graph. */
static modeconn_model *mixed_model(int64_t channels, int64_t height, int64_t width, int64_t c)
{
    modeconn_graph *graph;
    modeconn_model *model;
    char conv[64];
    OK(modeconn_graph_create(ctx, channels, height, width, &graph));
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=3,padding=1,bias=1", (int)c);
    int32_t a = twin_layer(graph, "conv2d", "stem", conv, 0);
    a = twin_layer(graph, "relu", NULL, NULL, a);
    int32_t b = twin_layer(graph, "conv2d", "branch", conv, a);
    b = twin_layer(graph, "batch_norm", "bn", NULL, b);
    int32_t both[2] = {a, b}, sum;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    int32_t r = twin_layer(graph, "relu", NULL, NULL, sum);
    /* The residual stream goes on to two readers: pre-activation batch norm and a sum. */
    int32_t p = twin_layer(graph, "batch_norm", "pre", NULL, r);
    p = twin_layer(graph, "relu", NULL, NULL, p);
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=1", (int)c);
    p = twin_layer(graph, "conv2d", "point", conv, p);
    int32_t again[2] = {p, r};
    OK(modeconn_graph_add(graph, "add", NULL, NULL, again, 2, &sum));
    int32_t q = twin_layer(graph, "max_pool", NULL, "kernel=3,stride=2,padding=1", sum);
    q = twin_layer(graph, "avg_pool", NULL, "kernel=2,stride=1,padding=1", q);
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=5,stride=2,padding=2", (int)c + 1);
    q = twin_layer(graph, "conv2d", "wide", conv, q);
    q = twin_layer(graph, "batch_norm", "last", NULL, q);
    q = twin_layer(graph, "relu", NULL, NULL, q);
    q = twin_layer(graph, "linear", "head", "out_features=5", q);
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
    int32_t a = twin_layer(graph, "layer_norm", "first", NULL, 0);
    snprintf(conv, sizeof conv, "out_channels=%d,kernel=3,padding=1,bias=1", (int)c);
    a = twin_layer(graph, "conv2d", "stem", conv, a);
    a = twin_layer(graph, "gelu", NULL, NULL, a);
    int32_t b = twin_layer(graph, "layer_norm", "pixels", "over=channels,eps=1e-3", a);
    b = twin_layer(graph, "gelu", NULL, "approximate=tanh", b);
    int32_t both[2] = {a, b}, sum;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    /* The sum goes on to two readers, so two layers add to one gradient. */
    both[0] = twin_layer(graph, "layer_norm", "whole", NULL, sum);
    both[1] = twin_layer(graph, "gelu", NULL, "approximate=tanh", sum);
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    b = twin_layer(graph, "layer_norm", NULL, "affine=0,over=channels", sum);
    b = twin_layer(graph, "linear", "hidden", "out_features=9", b);
    b = twin_layer(graph, "layer_norm", "vector", "over=channels", b);
    b = twin_layer(graph, "gelu", NULL, NULL, b);
    b = twin_layer(graph, "linear", "head", "out_features=5", b);
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
    int32_t a = twin_layer(graph, "conv2d", "stem", "out_channels=12,kernel=1", 0);
    a = twin_layer(graph, "batch_norm", "bn", NULL, a);
    a = twin_layer(graph, "relu", NULL, NULL, a);
    int32_t b =
        twin_layer(graph, "conv2d", "groups", "out_channels=6,padding=1,groups=3,bias=1", a);
    b = twin_layer(graph, "conv2d", "wider", "out_channels=12,kernel=1,groups=2", b);
    int32_t c = twin_layer(graph, "conv2d", "depthwise", "out_channels=12,padding=1,groups=12", a);
    int32_t both[2] = {b, c}, sum;
    OK(modeconn_graph_add(graph, "add", NULL, NULL, both, 2, &sum));
    a = twin_layer(graph, "conv2d", "two", "out_channels=24,kernel=5,stride=2,padding=2,groups=12",
                   sum);
    a = twin_layer(graph, "batch_norm", "last", NULL, a);
    a = twin_layer(graph, "relu", NULL, NULL, a);
    a = twin_layer(graph, "conv2d", "strided",
                   "out_channels=24,stride=2,padding=1,bias=1,groups=24", a);
    a = twin_layer(graph, "linear", "head", "out_features=5", a);
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
    int32_t a = twin_layer(graph, "conv2d", "conv", "out_channels=7,kernel=3", 0);
    a = twin_layer(graph, "relu", NULL, NULL, a);
    a = twin_layer(graph, "mean_margin", NULL, "scale=3,threshold=-0.25", a);
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
 * instruction set rounds: what the limits are multiplied by. The last has 3 x 18 layers. */
static double slack(int which)
{
    return which < HAND_BUILT ? 1.0 : which < DEEP ? 2.0 : which < CASES - 1 ? 5.0 : 10.0;
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
        double exact = twin_loss(&t, mc_plain_logits(plain), d);
        mc_plain_backward(plain, d, NULL, t.grad64);
        OK(modeconn_model_gradient(t.model, t.x, t.y, t.n, &loss, t.grad));
        ck_assert_double_eq_tol(loss, exact, 1e-5 * slack(_i));
        twin_check_gradient(&t, 1e-4 * slack(_i));
        free(d);
        mc_plain_free(plain);
        twin_free(&t);
    }
}
END_TEST

/* The value that test_finite_differences differentiates: loss + <c, representation>. */
static double objective(const twin *t, mc_plain *plain, const double *theta, const double *c)
{
    mc_plain_forward(plain, theta, t->stats64, MC_NORM_BATCH, t->x64);
    double value = twin_loss(t, mc_plain_logits(plain), NULL);
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
    twin_loss(&t, mc_plain_logits(plain), d);
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
    twin_check_gradient(&t, 1e-4);
    for (int k = 0; k < 2; k++) {
        free(c.d_logits[k]);
        free(c.d_representation[k]);
    }
    free(part);
    model->ops->session_destroy(session);
    twin_free(&t);
}
END_TEST

/* A first row far from all others must not cost the variance its digits: relative to the moments in
 * double, over one row and few, over several blocks of channels, rows close together and apart. */
START_TEST(test_row_moments)
{
    static const int64_t cases[][3] = {
        {1, 3, 3}, {2, 5, 5}, {8, 1, 1}, {9, 17, 20}, {200, 300, 300}};
    int64_t rows = cases[_i][0], c = cases[_i][1], step = cases[_i][2];
    float *x = twin_alloc(rows * step, sizeof *x);
    double *mean = twin_alloc(c, sizeof *mean), *square = twin_alloc(c, sizeof *square);
    for (int64_t i = 0; i < rows * step; i++) {
        x[i] = i < step ? 100.0f : (float)(1.0 + twin_random(5, i));
    }
    for (int isa = 0; isa < ISAS; isa++) {
        const mc_kernels *kernels = isa_kernels(isa);
        if (kernels == NULL) {
            continue;
        }
        mc_row_moments(kernels, x, rows, c, step, mean, square);
        for (int64_t i = 0; i < c; i++) {
            double m = 0.0, q = 0.0;
            for (int64_t r = 0; r < rows; r++) {
                m += (double)x[r * step + i] / (double)rows;
            }
            for (int64_t r = 0; r < rows; r++) {
                q += ((double)x[r * step + i] - m) * ((double)x[r * step + i] - m);
            }
            ck_assert_double_le(fabs(mean[i] - m), 1e-6 * m);
            ck_assert_double_le(fabs(square[i] - q), 1e-6 * q);
        }
    }
    free(x);
    free(mean);
    free(square);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_forward, 0, CASES);
    tcase_add_loop_test(tests, test_backward, 0, CASES);
    tcase_add_loop_test(tests, test_finite_differences, 0, DEEP);
    tcase_add_loop_test(tests, test_pair, 0, 7);
    tcase_add_loop_test(tests, test_row_moments, 0, 5);
}

int main(void)
{
    return unit_run("nn twins", add);
}
