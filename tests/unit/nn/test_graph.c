/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Building graphs: every error of modeconn_graph_* and modeconn_model_from_graph, and the text
 * round trip.
 */
#include "nn/graph.h"
#include "unit.h"

static modeconn_context *ctx;
static modeconn_graph *graph;

static void setup(void)
{
    OK(modeconn_context_create(NULL, &ctx));
    OK(modeconn_graph_create(ctx, 3, 8, 10, &graph));
}

static void teardown(void)
{
    modeconn_graph_destroy(graph);
    modeconn_context_destroy(ctx);
}

static int32_t add_one(const char *type, const char *name, const char *settings, int32_t input,
                       int32_t *node)
{
    return modeconn_graph_add(graph, type, name, settings, &input, 1, node);
}

START_TEST(test_create_errors)
{
    modeconn_graph *none = (modeconn_graph *)1;
    FAILS(modeconn_graph_create(NULL, 1, 1, 1, &none), MODECONN_ERROR_ARGUMENT, "context");
    ck_assert_ptr_null(none);
    FAILS(modeconn_graph_create(ctx, 1, 1, 1, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_graph_create(ctx, 0, 8, 8, &none), MODECONN_ERROR_ARGUMENT, "0x8x8");
    FAILS(modeconn_graph_create(ctx, 1, INT64_MAX, 8, &none), MODECONN_ERROR_ARGUMENT, "extent");
    modeconn_graph_destroy(NULL);
}
END_TEST

START_TEST(test_shapes)
{
    int32_t node;
    int64_t c, h, w;
    OK(add_one("conv2d", "a", "out_channels=5,kernel=3,stride=2,padding=1", 0, &node));
    OK(modeconn_graph_shape(graph, node, &c, &h, &w));
    ck_assert_int_eq(c, 5);
    ck_assert_int_eq(h, 4);
    ck_assert_int_eq(w, 5);
    OK(add_one("max_pool", NULL, "kernel=3,stride=2", node, &node));
    OK(modeconn_graph_shape(graph, node, NULL, &h, &w));
    ck_assert_int_eq(h, 1);
    ck_assert_int_eq(w, 2);
    OK(add_one("linear", "b", "out_features=7", node, &node));
    OK(modeconn_graph_shape(graph, node, &c, &h, NULL));
    ck_assert_int_eq(c, 7);
    ck_assert_int_eq(h, 1);
    FAILS(modeconn_graph_shape(graph, 99, &c, &h, &w), MODECONN_ERROR_ARGUMENT, "99");
    FAILS(modeconn_graph_shape(NULL, 0, &c, &h, &w), MODECONN_ERROR_ARGUMENT, "graph");
}
END_TEST

START_TEST(test_add_errors)
{
    int32_t node = 77, a, b, pair[2];
    FAILS(add_one("conv3d", "x", "", 0, &node), MODECONN_ERROR_UNKNOWN, "conv3d");
    FAILS(add_one("conv2d", "x", "kernels=3", 0, &node), MODECONN_ERROR_UNKNOWN, "kernels");
    FAILS(add_one("conv2d", "x", "kernel=0", 0, &node), MODECONN_ERROR_ARGUMENT, "kernel");
    FAILS(add_one("conv2d", "x", "kernel=33", 0, &node), MODECONN_ERROR_SHAPE, "layer x");
    FAILS(add_one("conv2d", NULL, "", 0, &node), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(add_one("relu", NULL, "", 5, &node), MODECONN_ERROR_ARGUMENT, "input node 5");
    FAILS(add_one("relu", NULL, "", -1, &node), MODECONN_ERROR_ARGUMENT, "input node -1");
    FAILS(add_one("add", NULL, "", 0, &node), MODECONN_ERROR_ARGUMENT, "add takes 2");
    FAILS(add_one("avg_pool", NULL, "kernel=2,padding=2", 0, &node), MODECONN_ERROR_ARGUMENT,
          "padding");
    FAILS(add_one("linear", "x", "out_features=16777216", 0, &node), MODECONN_ERROR_SHAPE,
          "too large");
    FAILS(modeconn_graph_add(NULL, "relu", NULL, "", pair, 1, &node), MODECONN_ERROR_ARGUMENT,
          "graph");
    FAILS(modeconn_graph_add(graph, NULL, NULL, "", pair, 1, &node), MODECONN_ERROR_ARGUMENT,
          "type");
    FAILS(modeconn_graph_add(graph, "relu", NULL, "", NULL, 1, &node), MODECONN_ERROR_ARGUMENT,
          "inputs");
    FAILS(modeconn_graph_add(graph, "relu", NULL, "", pair, 1, NULL), MODECONN_ERROR_ARGUMENT,
          "node");
    ck_assert_int_eq(node, 77);
    OK(add_one("conv2d", "x", "out_channels=4", 0, &a));
    ck_assert_int_eq(a, 1);
    FAILS(add_one("batch_norm", "x", "", a, &b), MODECONN_ERROR_ARGUMENT, "named x");
    pair[0] = 0;
    pair[1] = a;
    FAILS(modeconn_graph_add(graph, "add", NULL, "", pair, 2, &node), MODECONN_ERROR_SHAPE,
          "3x8x10");
}
END_TEST

START_TEST(test_model_errors)
{
    int32_t a, b;
    modeconn_model *model = NULL;
    FAILS(modeconn_model_from_graph(NULL, 0, 0, &model), MODECONN_ERROR_ARGUMENT, "graph");
    FAILS(modeconn_model_from_graph(graph, 0, 0, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_model_from_graph(graph, 0, 0, &model), MODECONN_ERROR_ARGUMENT, "output node 0");
    OK(add_one("global_avg_pool", NULL, NULL, 0, &a));
    FAILS(modeconn_model_from_graph(graph, a, 0, &model), MODECONN_ERROR_ARGUMENT, "no parameters");
    OK(add_one("conv2d", "c", "", 0, &b));
    FAILS(modeconn_model_from_graph(graph, b, 0, &model), MODECONN_ERROR_SHAPE, "output node");
    OK(add_one("linear", "l", "", a, &b));
    FAILS(modeconn_model_from_graph(graph, b, 0, &model), MODECONN_ERROR_ARGUMENT,
          "(conv2d) does not lead");
    ck_assert_ptr_null(model);
}
END_TEST

START_TEST(test_graph_goes_on_after_model)
{
    int32_t node, extra;
    modeconn_model *model, *larger;
    int64_t first, second, count;
    const char *arch;
    OK(add_one("conv2d", "c", "out_channels=2,kernel=3,padding=1", 0, &node));
    OK(add_one("relu", NULL, NULL, node, &node));
    OK(add_one("linear", "l", "out_features=4", node, &node));
    OK(modeconn_model_from_graph(graph, node, 5, &model));
    OK(add_one("linear", "m", "out_features=3", node, &extra));
    OK(modeconn_model_from_graph(graph, extra, 5, &larger));
    OK(modeconn_model_parameter_count(model, &first));
    OK(modeconn_model_parameter_count(larger, &second));
    ck_assert_int_eq(first, 2 * 27 + 4 * 160 + 4);
    ck_assert_int_eq(second, first + 3 * 4 + 3);
    OK(modeconn_model_architecture(model, &arch));
    ck_assert_str_eq(arch, "graph");
    OK(modeconn_model_block_count(larger, &count, NULL));
    ck_assert_int_eq(count, 5);
    /* The same draws: the first layers' parameters agree. */
    ck_assert_mem_eq(model->theta, larger->theta, (size_t)first * sizeof(float));
    modeconn_model_destroy(model);
    modeconn_model_destroy(larger);
}
END_TEST

START_TEST(test_damaged_text)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[1]",
        "{\"input\": [1, 2], \"layers\": []}",
        "{\"input\": [1, 2, -3], \"layers\": []}",
        "{\"input\": [1, 2, 3], \"layers\": [{\"type\": \"relu\"}]}",
        "{\"input\": [1, 2, 3], \"layers\": [{\"type\": \"relu\", \"inputs\": [0, 0, 0, 0]}]}",
        "{\"input\": [1, 2, 3], \"layers\": [{\"type\": \"relu\", \"inputs\": [99999999999]}]}",
        "{\"input\": [1, 2, 3], \"layers\": [{\"type\": 3, \"inputs\": [0]}]}",
        "{\"input\": [1, 2, 3], \"layers\": 3}",
    };
    modeconn_model *model = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_lt(mc_model_from_settings(ctx, "graph", bad[i], &model), 0);
        ck_assert_ptr_null(model);
        ck_assert_str_ne(modeconn_last_error(), "");
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_create_errors);
    tcase_add_test(tests, test_shapes);
    tcase_add_test(tests, test_add_errors);
    tcase_add_test(tests, test_model_errors);
    tcase_add_test(tests, test_graph_goes_on_after_model);
    tcase_add_test(tests, test_damaged_text);
}

int main(void)
{
    return unit_run("nn graph", add);
}
