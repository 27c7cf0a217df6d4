/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layer norm, GELU, the mean's margin and the theory's network: values far out, closed forms, equal
 * bits for any number of threads, and settings that take part in comparisons.
 */
#include "isas.h"
#include "twin.h"
#include <stdio.h>

static modeconn_context *ctx;

static void setup(void)
{
    OK(modeconn_context_create(NULL, &ctx));
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

/* x, x Phi(x) and its derivative: the closed form by Python's math.erfc(), or limits. */
START_TEST(test_gelu_far_out)
{
    static const double known[][3] = {
        {0.0, 0.0, 0.5},
        {1.0, 0.8413447460685429, 1.0833154705876864},
        {-1.0, -0.15865525393145707, -0.08331547058768632},
        {-5.0, -1.4332578593959731e-06, -7.146946001792295e-06},
        {30.0, 30.0, 1.0},
        {-30.0, 0.0, 0.0},
        {1e20, 1e20, 1.0},
        {-1e20, 0.0, 0.0},
    };
    const mc_kernels *k = isa_kernels(_i);
    if (k == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        float x = (float)known[i][0], one = 1.0f, y, d;
        k->gelu(&x, 1, false, &y);
        k->gelu_back(&x, &one, 1, false, false, &d);
        ck_assert_double_eq_tol((double)y, known[i][1], 1e-6 * fabs(known[i][1]) + 1e-30);
        ck_assert_double_eq_tol((double)d, known[i][2], 2e-6 * fabs(known[i][2]) + 1e-30);
        k->gelu(&x, 1, true, &y);
        k->gelu_back(&x, &one, 1, true, false, &d);
        ck_assert_double_eq_tol((double)y, known[i][1], 1e-3 * (1.0 + fabs(known[i][1])));
        ck_assert_double_eq_tol((double)d, known[i][2], 3e-3);
    }
    for (int form = 0; form < 2; form++) {
        float x = NAN, one = 1.0f, y, d;
        k->gelu(&x, 1, form == 1, &y);
        k->gelu_back(&x, &one, 1, form == 1, false, &d);
        ck_assert(isnan(y) && isnan(d));
    }
}
END_TEST

/* The other form and its derivative beside the closed forms in double, all along the axis. */
START_TEST(test_gelu_tanh)
{
    const mc_kernels *k = isa_kernels(_i);
    if (k == NULL) {
        return;
    }
    for (int i = -60; i <= 60; i++) {
        float x = (float)i / 10.0f, one = 1.0f, y, d;
        double z = (double)x, a = sqrt(2.0 / acos(-1.0)), s;
        s = 1.0 / (1.0 + exp(-2.0 * a * (z + 0.044715 * z * z * z)));
        double slope = s + z * s * (1.0 - s) * 2.0 * a * (1.0 + 3.0 * 0.044715 * z * z);
        k->gelu(&x, 1, true, &y);
        k->gelu_back(&x, &one, 1, true, false, &d);
        ck_assert_double_eq_tol((double)y, z * s, 2e-7 * (z > 0.0 ? z : 1.0));
        ck_assert_double_eq_tol((double)d, slope, 3e-7);
    }
}
END_TEST

/* A row far from zero, and a constant one: nothing loses its digits, the row's gradient neither,
 * of which a part along the row and one along ones are taken away. */
START_TEST(test_layer_norm_far_from_zero)
{
    enum { D = 37 };
    const mc_kernels *k = isa_kernels(_i);
    float x[2 * D], y[2 * D], dy[D], dx[D];
    double moments[4], hat[D], mean = 0.0, variance = 0.0, plain = 0.0, along = 0.0;
    if (k == NULL) {
        return;
    }
    for (int i = 0; i < D; i++) {
        x[i] = 1000.0f + (float)(i % 5);
        x[D + i] = 3.25f;
        mean += (double)x[i] / D;
    }
    for (int i = 0; i < D; i++) {
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / D;
    }
    const double r = 1.0 / sqrt(variance + 1e-5);
    for (int i = 0; i < D; i++) {
        hat[i] = ((double)x[i] - mean) * r;
        dy[i] = (float)(100.0 + 10.0 * hat[i] + 0.1 * (i % 3));
        plain += (double)dy[i] / D;
        along += (double)dy[i] * hat[i] / D;
    }
    k->layer_norm(x, 2, D, NULL, NULL, 1e-5, moments, y);
    k->layer_norm_back(x, dy, moments, 1, D, NULL, false, dx, NULL, NULL);
    for (int i = 0; i < D; i++) {
        double d = r * ((double)dy[i] - plain - hat[i] * along);
        ck_assert_double_eq_tol((double)y[i], hat[i], 1e-7 * (1.0 + fabs(hat[i])));
        ck_assert_double_eq_tol((double)dx[i], d, 1e-7 * fabs(d) + 1e-10);
        ck_assert(y[D + i] == 0.0f);
    }
    ck_assert_double_eq_tol(moments[3], 1.0 / sqrt(1e-5), 1e-9);
}
END_TEST

static modeconn_model *wide_model(modeconn_context *context)
{
    modeconn_graph *graph;
    modeconn_model *model;
    OK(modeconn_graph_create(context, 3, 30, 31, &graph));
    int32_t a = layer(graph, "conv2d", "stem", "out_channels=12,kernel=3,padding=1", 0);
    a = layer(graph, "layer_norm", "image", NULL, a);
    a = layer(graph, "gelu", NULL, NULL, a);
    a = layer(graph, "layer_norm", "pixel", "over=channels", a);
    a = layer(graph, "gelu", NULL, "approximate=tanh", a);
    a = layer(graph, "linear", "units", "out_features=40,bias=0", a);
    a = layer(graph, "relu", NULL, NULL, a);
    a = layer(graph, "mean_margin", NULL, "scale=10", a);
    OK(modeconn_model_from_graph(graph, a, 3, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* 37 images of 30x31: many chunks of every kind, the last one short. */
START_TEST(test_any_number_of_threads)
{
    float *first = NULL;
    for (int threads = 1; threads <= 5; threads += 2) {
        twin t;
        double loss;
        modeconn_context *context = isa_context(_i, threads);
        if (context == NULL) {
            break;
        }
        twin_init(&t, wide_model(context), 37, 5);
        OK(modeconn_model_gradient(t.model, t.x, t.y, t.n, &loss, t.grad));
        size_t bytes = (size_t)t.model->n_theta * sizeof(float);
        if (first == NULL) {
            first = malloc(bytes);
            memcpy(first, t.grad, bytes);
        }
        ck_assert_mem_eq(first, t.grad, bytes);
        twin_free(&t);
        modeconn_context_destroy(context);
    }
    free(first);
}
END_TEST

/* f = mean of max(0, W x) by hand, for two units; f = y gives the loss log(1 + exp(-s/2)). */
START_TEST(test_theory_by_hand)
{
    modeconn_model *model =
        model_with(ctx, "theory", "widths=2,channels=2,height=1,width_pixels=1,classes=2");
    static const float w[4] = {1.0f, 1.0f, -2.0f, 0.5f};
    static const float x[4] = {1.5f, 0.5f, -1.0f, 0.0f}; /* W x = (2, -2.75) and (-1, 2) */
    static const int32_t y[2] = {1, 1};
    const char *name;
    int64_t shape[4];
    int32_t rank;
    float logits[4];
    double loss;
    float gradient[4];
    OK(modeconn_model_block(model, 0, &name, NULL, NULL, &rank, shape));
    ck_assert_str_eq(name, "layers.0.weight");
    ck_assert_int_eq(rank, 2);
    ck_assert_int_eq(shape[0], 2);
    OK(modeconn_model_set_parameters(model, w, 4));
    OK(modeconn_model_logits(model, x, 2, logits));
    for (int i = 0; i < 2; i++) { /* f = 1 for both: m = 10 (1 - 1/2) */
        ck_assert_double_eq_tol((double)logits[2 * i], -2.5, 1e-6);
        ck_assert_double_eq_tol((double)logits[2 * i + 1], 2.5, 1e-6);
    }
    OK(modeconn_model_gradient(model, x, y, 2, &loss, gradient));
    ck_assert_double_eq_tol(loss, log1p(exp(-5.0)), 1e-7);
    /* Unit 0 is active on the first sample only: -s/N sigma(-5) x / 2 samples. */
    double each = -10.0 / 2.0 / (1.0 + exp(5.0)) / 2.0;
    ck_assert_double_eq_tol((double)gradient[0], each * 1.5, 1e-6);
    ck_assert_double_eq_tol((double)gradient[2], each * -1.0, 1e-6);
    modeconn_model_destroy(model);
}
END_TEST

START_TEST(test_theory_errors)
{
    modeconn_options *options = options_of("model", "channels=2,height=1,width_pixels=1,classes=3");
    modeconn_model *model = NULL;
    FAILS(modeconn_model_create(ctx, "theory", NULL, options, &model), MODECONN_ERROR_ARGUMENT,
          "theory: it tells 2 classes apart, not 3");
    OK(modeconn_options_parse(options, "classes=2,widths=3,4"));
    FAILS(modeconn_model_create(ctx, "theory", NULL, options, &model), MODECONN_ERROR_ARGUMENT,
          "widths");
    FAILS(modeconn_options_set_f64(options, "logit_scale", 0.0), MODECONN_ERROR_ARGUMENT,
          "logit_scale");
    ck_assert_ptr_null(model);
    modeconn_options_destroy(options);
}
END_TEST

START_TEST(test_layer_errors)
{
    modeconn_graph *graph;
    int32_t node = 7, input = 0;
    OK(modeconn_graph_create(ctx, 3, 4, 5, &graph));
    static const struct {
        const char *type, *name, *settings, *culprit;
        int32_t status;
    } wrong[] = {
        {"gelu", NULL, "approximate=erf", "approximate", MODECONN_ERROR_ARGUMENT},
        {"gelu", NULL, "tanh=1", "tanh", MODECONN_ERROR_UNKNOWN},
        {"layer_norm", "n", "over=rows", "over", MODECONN_ERROR_ARGUMENT},
        {"layer_norm", "n", "eps=0", "eps", MODECONN_ERROR_ARGUMENT},
        {"layer_norm", NULL, "", "name", MODECONN_ERROR_ARGUMENT},
        {"mean_margin", NULL, "scale=-1", "scale", MODECONN_ERROR_ARGUMENT},
        {"mean_margin", NULL, "threshold=inf", "threshold", MODECONN_ERROR_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        FAILS(modeconn_graph_add(graph, wrong[i].type, wrong[i].name, wrong[i].settings, &input, 1,
                                 &node),
              wrong[i].status, wrong[i].culprit);
    }
    ck_assert_int_eq(node, 7);
    modeconn_graph_destroy(graph);
}
END_TEST

/* Two graphs of equal blocks that compute different things are not one shape. */
START_TEST(test_settings_are_compared)
{
    static const struct {
        const char *type, *a, *b;
    } pairs[] = {{"gelu", "", "approximate=tanh"},
                 {"layer_norm", "affine=0", "affine=0,over=channels"},
                 {"layer_norm", "affine=0", "affine=0,eps=1"},
                 {"mean_margin", "scale=2", "scale=3"},
                 {"mean_margin", "threshold=0", "threshold=1"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        modeconn_model *models[2];
        for (int k = 0; k < 2; k++) {
            modeconn_graph *graph;
            OK(modeconn_graph_create(ctx, 2, 3, 3, &graph));
            int32_t a = layer(graph, "conv2d", "c", "out_channels=2,kernel=1", 0);
            a = layer(graph, pairs[i].type, NULL, k == 0 ? pairs[i].a : pairs[i].b, a);
            a = layer(graph, "linear", "l", "out_features=2", a);
            OK(modeconn_model_from_graph(graph, a, 3, &models[k]));
            modeconn_graph_destroy(graph);
        }
        FAILS(mc_model_same_shape(models[0], models[1]), MODECONN_ERROR_SHAPE, pairs[i].b);
        OK(mc_model_same_shape(models[0], models[0]));
        modeconn_model_destroy(models[0]);
        modeconn_model_destroy(models[1]);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_gelu_far_out, 0, ISAS);
    tcase_add_loop_test(tests, test_gelu_tanh, 0, ISAS);
    tcase_add_loop_test(tests, test_layer_norm_far_from_zero, 0, ISAS);
    tcase_add_loop_test(tests, test_any_number_of_threads, 0, ISAS);
    tcase_add_test(tests, test_theory_by_hand);
    tcase_add_test(tests, test_theory_errors);
    tcase_add_test(tests, test_layer_errors);
    tcase_add_test(tests, test_settings_are_compared);
}

int main(void)
{
    return unit_run("nn smooth", add);
}
