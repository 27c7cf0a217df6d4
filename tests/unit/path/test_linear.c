/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The straight line: its family, weights, length, and what does not go together.
 */
#include "path/path.h"
#include "train/small.h"

START_TEST(line)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 6, 1);
    modeconn_model *first = small_model(context, "mlp", "5", data), *second = NULL;
    modeconn_path *path = NULL;
    const char *family = NULL;
    double length, expected = 0, w[2];
    OK(modeconn_model_clone(first, &second));
    for (int64_t i = 0; i < second->n_theta; i++) {
        second->theta[i] += (float)i;
        double step = (double)second->theta[i] - (double)first->theta[i];
        expected += step * step;
    }
    OK(modeconn_path_linear(first, second, &path));
    OK(modeconn_path_family(path, &family));
    ck_assert_str_eq(family, "linear");
    OK(modeconn_path_length(path, &length));
    ck_assert_double_eq_tol(length, sqrt(expected), 1e-9 * length);
    path->family->weights(0.25, 2, w);
    ck_assert_double_eq(w[0], 0.75);
    ck_assert_double_eq(w[1], 0.25);
    ck_assert_ptr_eq(mc_path_families[0], &mc_path_linear);
    ck_assert_int_ge(mc_path_families_count, 1);
    modeconn_path_destroy(path);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(errors)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 6, 1);
    modeconn_model *first = small_model(context, "mlp", "5", data);
    modeconn_model *other = small_model(context, "mlp", "6", data);
    modeconn_path *path = NULL;
    FAILS(modeconn_path_linear(NULL, first, &path), MODECONN_ERROR_ARGUMENT, "first");
    FAILS(modeconn_path_linear(first, NULL, &path), MODECONN_ERROR_ARGUMENT, "second");
    FAILS(modeconn_path_linear(first, first, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_linear(first, other, &path), MODECONN_ERROR_SHAPE, first->blocks[0].name);
    ck_assert_ptr_null(path);
    modeconn_model_destroy(other);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Equal blocks, but one rectifies and the other does not: no line joins two functions' graphs. */
START_TEST(other_layers)
{
    modeconn_context *context = small_context(1);
    modeconn_model *models[3] = {NULL};
    modeconn_path *path = NULL;
    for (int i = 0; i < 3; i++) {
        modeconn_graph *graph = NULL;
        int32_t node = 0;
        OK(modeconn_graph_create(context, 1, 4, 4, &graph));
        OK(modeconn_graph_add(graph, "conv2d", "conv",
                              i < 2 ? "out_channels=2,kernel=3,padding=1"
                                    : "out_channels=2,kernel=3,padding=1,stride=2",
                              &node, 1, &node));
        if (i != 1) {
            OK(modeconn_graph_add(graph, "relu", NULL, NULL, &node, 1, &node));
        }
        OK(modeconn_graph_add(graph, "global_avg_pool", NULL, NULL, &node, 1, &node));
        OK(modeconn_graph_add(graph, "linear", "fc", "out_features=3", &node, 1, &node));
        OK(modeconn_model_from_graph(graph, node, 1, &models[i]));
        modeconn_graph_destroy(graph);
    }
    FAILS(modeconn_path_linear(models[0], models[1], &path), MODECONN_ERROR_SHAPE, "relu");
    FAILS(modeconn_path_linear(models[0], models[2], &path), MODECONN_ERROR_SHAPE, "stride=2");
    ck_assert_ptr_null(path);
    for (int i = 0; i < 3; i++) {
        modeconn_model_destroy(models[i]);
    }
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, line);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, other_layers);
}

int main(void)
{
    return unit_run("path/linear", add);
}
