/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Building graphs: every error of modeconn_graph_* and modeconn_model_from_graph, and the text
 * round trip.
 */
#include "failing.h"
#include "nn/graph.h"
#include "unit.h"
#include <stdio.h>

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
    FAILS(modeconn_graph_create(ctx, 1024, 65536, 32, &none), MODECONN_ERROR_ARGUMENT,
          "1024x65536x32 is too large");
    ck_assert_ptr_null(none);
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
    FAILS(modeconn_graph_shape(graph, -1, &c, &h, &w), MODECONN_ERROR_ARGUMENT, "-1");
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
    FAILS(add_one("add", NULL, "", 0, &node), MODECONN_ERROR_ARGUMENT,
          "add layer: it takes 2 inputs, not 1");
    FAILS(add_one("conv2d", "\xff\xfe", "", 0, &node), MODECONN_ERROR_ARGUMENT, "UTF-8");
    FAILS(add_one("relu", "r\xc3", "", 0, &node), MODECONN_ERROR_ARGUMENT, "UTF-8");
    FAILS(add_one("conv2d", "", "", 0, &node), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(add_one("avg_pool", NULL, "kernel=2,padding=2", 0, &node), MODECONN_ERROR_ARGUMENT,
          "padding");
    FAILS(add_one("linear", "x", "out_features=1048577", 0, &node), MODECONN_ERROR_ARGUMENT,
          "out of range [1, 1048576]");
    FAILS(add_one("conv2d", "x", "out_channels=1048576,kernel=1,padding=60", 0, &node),
          MODECONN_ERROR_SHAPE, "too large");
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
    FAILS(add_one("batch_norm", "x", "", a, &b), MODECONN_ERROR_ARGUMENT,
          "layer x (batch_norm): the graph already has");
    FAILS(add_one("batch_norm", "__metadata__", "", a, &b), MODECONN_ERROR_ARGUMENT,
          "safetensors files keep that name");
    pair[0] = 0;
    pair[1] = a;
    FAILS(modeconn_graph_add(graph, "add", NULL, "", pair, 2, &node), MODECONN_ERROR_SHAPE,
          "3x8x10");
    FAILS(modeconn_graph_add(graph, "add", "sum", "", pair, 2, &node), MODECONN_ERROR_SHAPE,
          "layer sum (add)");
}
END_TEST

/* Node 0 has 3 channels. */
START_TEST(test_groups)
{
    static const struct {
        const char *settings, *culprit;
        int32_t status;
    } wrong[] = {
        {"out_channels=4,groups=2", "layer x (conv2d): groups 2 do not divide the input's 3",
         MODECONN_ERROR_SHAPE},
        {"out_channels=4,groups=3", "layer x (conv2d): groups 3 do not divide out_channels 4",
         MODECONN_ERROR_ARGUMENT},
        {"out_channels=6,groups=6", "groups 6", MODECONN_ERROR_SHAPE},
        {"out_channels=6,groups=0", "groups", MODECONN_ERROR_ARGUMENT},
        {"out_channels=6,groups=-3", "groups", MODECONN_ERROR_ARGUMENT},
        {"out_channels=6,groups=1048577", "groups", MODECONN_ERROR_ARGUMENT},
        {"out_channels=6,groups=99999999999999999999", "groups", MODECONN_ERROR_ARGUMENT},
        {"out_channels=6,groups=1.5", "groups", MODECONN_ERROR_ARGUMENT},
    };
    int32_t node = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        FAILS(add_one("conv2d", "x", wrong[i].settings, 0, &node), wrong[i].status,
              wrong[i].culprit);
    }
    ck_assert_int_eq(node, 77);
    OK(add_one("conv2d", "x", "out_channels=6,kernel=2,bias=1,groups=3", 0, &node));
    static const int64_t shape[4] = {6, 1, 2, 2};
    const mc_node *made = &graph->nodes[node];
    ck_assert_mem_eq(made->params[0].shape, shape, sizeof shape);
    ck_assert_int_eq(made->params[0].size, 24);
    ck_assert_int_eq(made->params[0].fan_in, 4);
    ck_assert_int_eq(made->params[1].size, 6);
}
END_TEST

/* Limits on nodes and parameters, far above what fits into memory as a model. */
START_TEST(test_limits)
{
    int32_t node = 0, last = 0;
    int32_t status = MODECONN_OK;
    modeconn_graph *large = NULL;
    while (status == MODECONN_OK) {
        last = node;
        status = add_one("relu", NULL, "", last, &node);
    }
    FAILS(add_one("relu", NULL, "", last, &node), MODECONN_ERROR_ARGUMENT, "65536 nodes");
    ck_assert_int_eq(last, 65535);

    OK(modeconn_graph_create(ctx, 1048576, 1, 1, &large));
    node = 0;
    status = MODECONN_OK;
    for (int i = 0; status == MODECONN_OK; i++) {
        char name[16];
        last = node;
        snprintf(name, sizeof name, "c%d", i);
        status = modeconn_graph_add(large, "conv2d", name,
                                    "out_channels=1048576,kernel=63,padding=31", &last, 1, &node);
    }
    FAILS(status, MODECONN_ERROR_SHAPE, "parameters");
    ck_assert_int_gt(large->n_theta, INT64_MAX / 2);
    ck_assert_int_eq(large->n_nodes, last + 1);
    modeconn_graph_destroy(large);
}
END_TEST

/* As many named layers as there can be, while the table of names grows under them: each name is
 * found again, and in a time that grows as their number does (24 s when it grew as its square). */
START_TEST(test_many_names)
{
    enum { NAMES = 65534 };
    int32_t node = 0, other = 0;
    char name[16];
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "l%d", i);
        OK(add_one("linear", name, "out_features=1,bias=0", node, &node));
    }
    for (int i = 0; i < NAMES; i += 6553) {
        snprintf(name, sizeof name, "l%d", i);
        FAILS(add_one("linear", name, "out_features=1", node, &other), MODECONN_ERROR_ARGUMENT,
              "the graph already has");
    }
    OK(add_one("linear", "another", "out_features=1", node, &other));
    ck_assert_int_eq(graph->n_nodes, NAMES + 2);
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        ck_assert_int_eq(graph->nodes[i].n_readers, i <= NAMES);
        ck_assert_int_eq(graph->nodes[i].last_reader, i <= NAMES ? i + 1 : 0);
    }
    OK(mc_graph_check_output(graph, other));
}
END_TEST

/* Each allocation of a graph and its model fails in turn; a failed call leaves the graph as it was.
 */
START_TEST(test_out_of_memory)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_graph *made = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0, status = MODECONN_ERROR_MEMORY;
    EVERY_ALLOCATION(&state, modeconn_graph_create(context, 1, 4, 4, &made), made);
    for (int i = 0; i < 70; i++) { /* beyond the first reservation */
        OK(modeconn_graph_add(made, "relu", NULL, "", &node, 1, &node));
    }
    const int32_t input = node;
    for (long k = 1; status != MODECONN_OK; k++) {
        failing_at(&state, k);
        status = modeconn_graph_add(made, "linear", "l", "out_features=2", &input, 1, &node);
        failing_at(&state, 0);
        ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_MEMORY);
        ck_assert_int_eq(made->n_nodes, status == MODECONN_OK ? input + 2 : input + 1);
    }
    EVERY_ALLOCATION(&state, modeconn_model_from_graph(made, node, 0, &model), model);
    modeconn_model_destroy(model);
    modeconn_graph_destroy(made);
    modeconn_context_destroy(context);
    ck_assert_int_eq(state.live, 0);
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
    FAILS(modeconn_model_from_graph(graph, b, -2, &model), MODECONN_ERROR_ARGUMENT, "seed is -2");
    FAILS(modeconn_model_from_graph(graph, 99, 0, &model), MODECONN_ERROR_ARGUMENT, "99");
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
        "{\"input\": [1, 2, 3], \"layers\": [{\"type\": \"linear\", \"name\": \"l\", \"inputs\": "
        "[\"0\"]}]}",
        "{\"input\": [1, 2, 3], \"layers\": [{\"type\": \"linear\", \"name\": \"l\", \"inputs\": "
        "[-1]}]}",
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

/* The hash that names had before it was keyed: a file could choose names that collide. */
static uint64_t fnv_1a(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    }
    return hash ^ hash >> 32;
}

/* Names that all want one place of a table of 2048 stand scattered: no search is long. */
START_TEST(test_crafted_names)
{
    int32_t node = 0, run = 0, longest = 0;
    int64_t tried = 0;
    for (int i = 0; i < 900; i++) {
        char name[32];
        do {
            snprintf(name, sizeof(name), "l%lld", (long long)tried++);
        } while ((fnv_1a(name) & 2047) != 0);
        OK(modeconn_graph_add(graph, "linear", name, "out_features=1", &node, 1, &node));
    }
    ck_assert_int_eq(graph->capacity, 1024);
    for (int32_t at = 0; at < 2 * graph->capacity; at++) {
        run = graph->named[at] != 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    ck_assert_int_lt(longest, 200);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_create_errors);
    tcase_add_test(tests, test_shapes);
    tcase_add_test(tests, test_add_errors);
    tcase_add_test(tests, test_groups);
    tcase_add_test(tests, test_limits);
    tcase_add_test(tests, test_crafted_names);
    tcase_add_test(tests, test_many_names);
    tcase_add_test(tests, test_out_of_memory);
    tcase_add_test(tests, test_model_errors);
    tcase_add_test(tests, test_graph_goes_on_after_model);
    tcase_add_test(tests, test_damaged_text);
}

int main(void)
{
    return unit_run("nn graph", add);
}
