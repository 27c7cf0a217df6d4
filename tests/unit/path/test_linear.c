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

static void add(TCase *tests)
{
    tcase_add_test(tests, line);
    tcase_add_test(tests, errors);
}

int main(void)
{
    return unit_run("path/linear", add);
}
