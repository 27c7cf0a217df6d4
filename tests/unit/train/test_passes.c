/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Batch sizes, the fit of model and data, and per-sample losses against one pass over all samples.
 */
#include "train/train.h"
#include "train/small.h"

START_TEST(batch_sizes)
{
    static const int64_t cases[][2] = {{10, 4}, {9, 4}, {8, 4}, {3, 4}, {1, 4},
                                       {5, 1},  {1, 1}, {2, 1}, {5, 4}, {3, 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t n = cases[i][0], size = cases[i][1], done = 0, largest = 0, last = 0;
        while (done < n) {
            last = mc_pass_batch(n, size, done);
            ck_assert_int_ge(last, 1);
            ck_assert(last <= size || (done + last == n && last == size + 1));
            largest = last > largest ? last : largest;
            done += last;
        }
        ck_assert_int_eq(done, n);
        ck_assert_int_eq(largest, mc_pass_batch_max(n, size));
        ck_assert(n == 1 || size == 1 || last >= 2);
    }
}
END_TEST

START_TEST(mean_is_over_samples)
{
    const double values[] = {1, 2, 3, 4, 100};
    ck_assert_double_eq(mc_mean(values, 5), 22);
}
END_TEST

START_TEST(fit)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *points = small_points(context, 6, 1);
    modeconn_dataset *shapes = small_shapes(context, 20, "nocue");
    modeconn_dataset *other = NULL;
    modeconn_model *model = small_model(context, "mlp", "5", points);
    const float x[8] = {0};
    const int32_t y[2] = {0, 1};
    OK(modeconn_dataset_from_f32(context, x, y, 2, 1, 2, 2, 2, NULL, &other));
    OK(mc_check_fit(model, points));
    FAILS(mc_check_fit(model, shapes), MODECONN_ERROR_SHAPE, "1x9x9");
    FAILS(mc_check_fit(model, other), MODECONN_ERROR_SHAPE, "2");
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(other);
    modeconn_dataset_destroy(shapes);
    modeconn_dataset_destroy(points);
    modeconn_context_destroy(context);
}
END_TEST

static int32_t stop_at_20(void *user, int64_t samples)
{
    int64_t *seen = user;
    *seen = samples;
    return samples >= 20 ? mc_fail(MODECONN_ERROR_CANCELLED, "stopped") : MODECONN_OK;
}

START_TEST(losses)
{
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 43, "cue");
    modeconn_model *model = small_model(context, "mlp", "16", data);
    double loss[43], again[43];
    uint8_t correct[43], correct_again[43];
    mc_session *session = NULL;
    int64_t seen = 0;

    OK(model->ops->session_create(model, 43, 1, false, &session));
    OK(model->ops->bind(session, model->theta, model->statistics));
    OK(mc_pass_losses(model, session, MC_NORM_RUNNING, data, 43, NULL, NULL, loss, correct));
    OK(mc_pass_losses(model, session, MC_NORM_RUNNING, data, 10, NULL, NULL, again, NULL));
    OK(mc_pass_losses(model, session, MC_NORM_RUNNING, data, 10, NULL, NULL, NULL, correct_again));
    for (int i = 0; i < 43; i++) {
        ck_assert_double_eq_tol(loss[i], again[i], 1e-5);
        ck_assert_int_eq(correct[i], correct_again[i]);
    }
    FAILS(mc_pass_losses(model, session, MC_NORM_RUNNING, data, 10, stop_at_20, &seen, again, NULL),
          MODECONN_ERROR_CANCELLED, "stopped");
    ck_assert_int_eq(seen, 20);
    model->ops->session_destroy(session);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(not_finite)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 6, 1);
    modeconn_model *model = small_model(context, "mlp", "5", data);
    double loss[6];
    mc_session *session = NULL;

    OK(model->ops->session_create(model, 4, 1, false, &session));
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] = 1e38F * (i % 2 == 0 ? 1.0F : -1.0F);
    }
    OK(model->ops->bind(session, model->theta, model->statistics));
    FAILS(mc_pass_losses(model, session, MC_NORM_RUNNING, data, 4, NULL, NULL, loss, NULL),
          MODECONN_ERROR_NUMERIC, "sample ");
    ck_assert_ptr_null(strstr(modeconn_last_error(), "-nan"));
    model->ops->session_destroy(session);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, batch_sizes);
    tcase_add_test(tests, mean_is_over_samples);
    tcase_add_test(tests, fit);
    tcase_add_test(tests, losses);
    tcase_add_test(tests, not_finite);
}

int main(void)
{
    return unit_run("train/passes", add);
}
