/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Curves: points, agreement with single evaluations under every policy, barriers, reports, errors.
 */
#include "planted.h"

static const char *const policies[] = {"reset", "ema", "interpolate", "batch", "keep"};
static const char *const views[] = {"nocue", "cue", "randcue", "randimg"};
enum { N_POLICIES = 5, N_VIEWS = 4 };

typedef struct scene {
    modeconn_context *context;
    modeconn_dataset *train, *test;
    modeconn_model *first, *second;
    modeconn_path *path;
} scene;

static scene scene_of(modeconn_context *context, modeconn_model *first, modeconn_model *second)
{
    scene made = {context,
                  planted_data(context, 50, 1, "box"),
                  planted_data(context, 40, 2, "box"),
                  first,
                  second,
                  NULL};
    OK(modeconn_path_linear(first, second, &made.path));
    return made;
}

static void scene_free(scene *made)
{
    modeconn_path_destroy(made->path);
    modeconn_model_destroy(made->second);
    modeconn_model_destroy(made->first);
    modeconn_dataset_destroy(made->test);
    modeconn_dataset_destroy(made->train);
    modeconn_context_destroy(made->context);
}

static modeconn_curve *measure(const scene *on, const char *settings)
{
    modeconn_options *options = options_of("curve", settings);
    modeconn_curve *curve = NULL;
    OK(modeconn_curve_measure(on->path, on->train, on->test, options, NULL, NULL, &curve));
    modeconn_options_destroy(options);
    return curve;
}

/* A scene of two models with batch norm, whose statistics are not at their start values. */
static scene normed_scene(void)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_model *models[2] = {normed_model(context, 1), normed_model(context, 2)};
    for (int m = 0; m < 2; m++) {
        int64_t count = 0;
        float statistics[64];
        OK(modeconn_model_statistics_count(models[m], &count));
        ck_assert_int_le(count, 64);
        for (int64_t i = 0; i < count; i++) {
            statistics[i] = 0.02F + 0.01F * (float)(i + m);
        }
        OK(modeconn_model_set_statistics(models[m], statistics, count));
    }
    return scene_of(context, models[0], models[1]);
}

START_TEST(points_are_fractions_of_integers)
{
    modeconn_context *context = context_with(1, 0);
    scene on = scene_of(context, planted_model(context, 1.0, 0.0, 0.0),
                        planted_model(context, 0.0, 1.0, 0.0));
    static const char *const settings[] = {"", "points=2", "points=11", "points=50"};
    static const int64_t sizes[] = {25, 2, 11, 50};
    for (int s = 0; s < 4; s++) {
        double t[50];
        int64_t points = 0;
        modeconn_curve *curve = measure(&on, settings[s]);
        OK(modeconn_curve_size(curve, &points));
        ck_assert_int_eq(points, sizes[s]);
        int64_t count = 0;
        OK(modeconn_curve_view_count(curve, &count));
        ck_assert_int_eq(count, N_VIEWS);
        for (int64_t v = 0; v < count; v++) {
            const char *name = NULL;
            OK(modeconn_curve_view_name(curve, v, &name));
            ck_assert_str_eq(name, views[v]);
        }
        FAILS(modeconn_curve_view_name(curve, count, NULL), MODECONN_ERROR_ARGUMENT, "name");
        const char *none = NULL;
        FAILS(modeconn_curve_view_name(curve, count, &none), MODECONN_ERROR_ARGUMENT, "index 4");
        FAILS(modeconn_curve_view_name(NULL, 0, &none), MODECONN_ERROR_ARGUMENT, "curve");
        FAILS(modeconn_curve_view_count(NULL, &count), MODECONN_ERROR_ARGUMENT, "curve");
        FAILS(modeconn_curve_view_count(curve, NULL), MODECONN_ERROR_ARGUMENT, "count");
        ck_assert_ptr_null(none);
        OK(modeconn_curve_points(curve, t, 50));
        for (int64_t i = 0; i < points; i++) {
            ck_assert_double_eq(t[i], (double)i / (double)(points - 1));
        }
        ck_assert_double_eq(t[points - 1], 1.0);
        modeconn_curve_destroy(curve);
    }
    scene_free(&on);
}
END_TEST

/* A linear model's logits are linear along the path, so each point has a closed form. */
START_TEST(closed_form_along_the_line)
{
    modeconn_context *context = context_with(1, 0);
    scene on = scene_of(context, planted_model(context, 4.0, 0.0, 0.0),
                        planted_model(context, 0.0, 4.0, 0.0));
    modeconn_curve *curve = measure(&on, "points=9");
    double loss[9], accuracy[9], t[9];
    OK(modeconn_curve_points(curve, t, 9));
    OK(modeconn_curve_values(curve, "nocue", loss, accuracy, 9));
    for (int i = 0; i < 9; i++) {
        ck_assert_double_eq_tol(loss[i], log(exp(4.0 * t[i]) + 9.0) - 4.0 * t[i], 1e-5);
        ck_assert_double_ge(accuracy[i], i == 0 ? 0.0 : 1.0);
    }
    /* Convex and falling, so no barrier but over the mean of the ends. */
    double height = -1.0;
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_LINEAR, &height));
    ck_assert_double_eq_tol(height, 0.0, 1e-12);
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_MAX, &height));
    ck_assert_double_eq_tol(height, 0.0, 1e-12);
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_MEAN, &height));
    ck_assert_double_eq_tol(height, 0.5 * (loss[0] - loss[8]), 1e-12);
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_HALF, &height));
    ck_assert_double_eq_tol(height, loss[4] - 0.5 * (loss[0] + loss[8]), 1e-12);
    ck_assert_double_lt(height, 0.0);
    modeconn_curve_destroy(curve);
    scene_free(&on);
}
END_TEST

/* Two models that tell the classes apart, one the mirror image of the other in label order: the
 * middle of the line knows nothing, and both barriers are closed forms. */
START_TEST(barriers_of_loss_and_error)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_model *first = planted_model(context, 0.0, 6.0, 0.0);
    modeconn_model *second = planted_model(context, 0.0, -6.0, 0.0);
    scene on = scene_of(context, first, second);
    modeconn_curve *curve = measure(&on, "points=5");
    double loss[5], accuracy[5], height = 0.0;
    OK(modeconn_curve_values(curve, "nocue", loss, NULL, 5));
    OK(modeconn_curve_values(curve, "nocue", NULL, accuracy, 5));
    ck_assert_double_eq(accuracy[0], 1.0);
    ck_assert_double_eq(accuracy[1], 1.0);
    ck_assert_double_eq(accuracy[3], 0.0);
    ck_assert_double_eq(accuracy[4], 0.0);
    /* Error 0, 0, e, 1, 1 against 0, 1/4, 1/2, 3/4, 1. */
    double error = 1.0 - accuracy[2];
    double linear = fmax(0.25, error - 0.5);
    OK(modeconn_curve_error_barrier(curve, "nocue", MODECONN_BARRIER_LINEAR, &height));
    ck_assert_double_eq_tol(height, linear, 1e-12);
    OK(modeconn_curve_error_barrier(curve, "nocue", MODECONN_BARRIER_MEAN, &height));
    ck_assert_double_eq_tol(height, 0.5, 1e-12);
    OK(modeconn_curve_error_barrier(curve, "nocue", MODECONN_BARRIER_MAX, &height));
    ck_assert_double_eq_tol(height, 0.0, 1e-12);
    OK(modeconn_curve_error_barrier(curve, "nocue", MODECONN_BARRIER_HALF, &height));
    ck_assert_double_eq_tol(height, error - 0.5, 1e-12);
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_HALF, &height));
    ck_assert_double_eq_tol(height, loss[2] - 0.5 * (loss[0] + loss[4]), 1e-12);
    ck_assert_double_eq_tol(loss[2], log(10.0), 1e-6);
    modeconn_curve_destroy(curve);
    scene_free(&on);
}
END_TEST

/* Loss and accuracy of one model on every view, by modeconn_evaluate(). */
static void expect_point(const scene *on, const modeconn_model *model, const char *settings,
                         const modeconn_curve *curve, int64_t point, int64_t points)
{
    modeconn_options *options = options_of("evaluate", settings);
    modeconn_evaluation *made = NULL;
    OK(modeconn_evaluate(model, on->train, on->test, options, NULL, NULL, &made));
    for (int v = 0; v < 4; v++) {
        double loss = 0.0, accuracy = 0.0, losses[16], accuracies[16];
        OK(modeconn_evaluation_get(made, views[v], &loss, &accuracy));
        ck_assert_int_le(points, 16);
        OK(modeconn_curve_values(curve, views[v], losses, accuracies, 16));
        ck_assert_double_eq(losses[point], loss);
        ck_assert_double_eq(accuracies[point], accuracy);
    }
    modeconn_evaluation_destroy(made);
    modeconn_options_destroy(options);
}

START_TEST(points_equal_evaluations)
{
    scene on = normed_scene();
    for (int p = 0; p < N_POLICIES - 1; p++) { /* keep: below */
        char settings[64], with_points[80];
        snprintf(settings, sizeof(settings), "statistics=%s,bn_batch_size=20", policies[p]);
        snprintf(with_points, sizeof(with_points), "%s,points=5", settings);
        modeconn_curve *curve = measure(&on, with_points);
        for (int64_t i = 0; i < 5; i++) {
            modeconn_model *model = NULL;
            OK(modeconn_path_model(on.path, (double)i / 4.0, &model));
            expect_point(&on, model, settings, curve, i, 5);
            modeconn_model_destroy(model);
        }
        modeconn_curve_destroy(curve);
    }
    scene_free(&on);
}
END_TEST

/* keep: the first end's statistics all along. */
START_TEST(keep_is_the_first_end)
{
    scene on = normed_scene();
    modeconn_curve *curve = measure(&on, "statistics=keep,points=3");
    modeconn_model *model = NULL;
    float statistics[64];
    int64_t count = 0;
    OK(modeconn_model_statistics_count(on.first, &count));
    OK(modeconn_model_get_statistics(on.first, statistics, count));
    for (int64_t i = 0; i < 3; i++) {
        OK(modeconn_path_model(on.path, (double)i / 2.0, &model));
        OK(modeconn_model_set_statistics(model, statistics, count));
        expect_point(&on, model, "statistics=keep", curve, i, 3);
        modeconn_model_destroy(model);
    }
    modeconn_curve_destroy(curve);
    scene_free(&on);
}
END_TEST

START_TEST(reports)
{
    scene on = normed_scene();
    modeconn_curve *odd = measure(&on, "points=3,bn_samples=40"), *even = measure(&on, "points=4");
    double loss[3], accuracy[3], height = 0.0;
    scene_free(&on); /* results keep copies of all they report */
    char *text = NULL;
    TEXT(modeconn_curve_json, odd, text);
    json_t *json = parse_json(text);
    OK(modeconn_curve_values(odd, "randimg", loss, accuracy, 3));
    ck_assert_uint_eq(json_array_size(JSON_AT(json, "t")), 3);
    ck_assert_double_eq(json_number_value(json_array_get(JSON_AT(json, "t"), 1)), 0.5);
    json_t *losses = JSON_AT(json, "views", "randimg", "loss");
    json_t *accuracies = JSON_AT(json, "views", "randimg", "accuracy");
    for (size_t i = 0; i < 3; i++) {
        ck_assert_double_eq(json_number_value(json_array_get(losses, i)), loss[i]);
        ck_assert_double_eq(json_number_value(json_array_get(accuracies, i)), accuracy[i]);
    }
    static const char *const names[] = {"linear", "mean", "max", "half"};
    json_t *heights = JSON_AT(json, "views", "randimg", "barrier");
    for (int32_t d = 0; d < 4; d++) {
        OK(modeconn_curve_barrier(odd, "randimg", d, &height));
        ck_assert_double_eq(json_number_value(JSON_AT(heights, "loss", names[d])), height);
        OK(modeconn_curve_error_barrier(odd, "randimg", d, &height));
        ck_assert_double_eq(json_number_value(JSON_AT(heights, "error", names[d])), height);
    }
    ck_assert_str_eq(json_string_value(JSON_AT(json, "statistics", "policy")), "reset");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "n")), 40);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "data", "n")), 40);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "path", "family")), "linear");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "path", "first", "architecture")), "graph");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "path", "second", "architecture")), "graph");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "data", "n")), 40);
    json_decref(json);

    TEXT(modeconn_curve_json, even, text);
    json = parse_json(text);
    ck_assert(json_is_null(JSON_AT(json, "views", "cue", "barrier", "loss", "half")));
    ck_assert(json_is_null(JSON_AT(json, "views", "cue", "barrier", "error", "half")));
    json_decref(json);

    TEXT(modeconn_curve_csv, odd, text);
    ck_assert_msg(strncmp(text,
                          "t,nocue_loss,nocue_accuracy,cue_loss,cue_accuracy,randcue_loss,"
                          "randcue_accuracy,randimg_loss,randimg_accuracy\n0,",
                          111) == 0,
                  "%s", text);
    char *line = strstr(text, "\n0.5,");
    ck_assert_ptr_nonnull(line);
    OK(modeconn_curve_values(odd, "nocue", loss, NULL, 3));
    ck_assert_double_eq(strtod(line + 5, NULL), loss[1]);
    ck_assert_ptr_nonnull(strstr(text, "\n1,"));
    free(text);
    modeconn_curve_destroy(odd);
    modeconn_curve_destroy(even);
}
END_TEST

static int32_t on_progress(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                           double accuracy, double rate, double seconds_left)
{
    int64_t *calls = user;
    (void)loss;
    (void)accuracy;
    (void)rate;
    (void)seconds_left;
    ck_assert_int_eq(total, 3 * (3 + 4 * 2)); /* 20, 20, 10; four views of 30, 10 */
    ck_assert_int_eq(step, ++*calls);
    ck_assert_int_eq(epoch, step / 11); /* points done */
    return *calls == 30;
}

START_TEST(progress_and_cancelling)
{
    scene on = normed_scene();
    modeconn_options *options = options_of("curve", "points=3,bn_batch_size=20,batch_size=30");
    modeconn_curve *curve = NULL;
    int64_t calls = 0;
    FAILS(modeconn_curve_measure(on.path, on.train, on.test, options, on_progress, &calls, &curve),
          MODECONN_ERROR_CANCELLED, "cancel");
    ck_assert_ptr_null(curve);
    ck_assert_int_eq(calls, 30);
    modeconn_options_destroy(options);
    scene_free(&on);
}
END_TEST

/* The options text of a policy, in a buffer of the caller. */
static const char *with_policy(char text[96], const char *policy, const char *rest)
{
    snprintf(text, 96, "statistics=%s,batch_size=16,bn_batch_size=16%s", policy, rest);
    return text;
}

START_TEST(same_bits_for_any_threads)
{
    static const int64_t threads[] = {1, 2, 3, 8};
    double loss[4][N_POLICIES][N_VIEWS][4];
    char text[96];
    for (int i = 0; i < 4; i++) {
        modeconn_context *context = context_with(threads[i], 0);
        scene on = scene_of(context, normed_model(context, 1), normed_model(context, 2));
        for (int p = 0; p < N_POLICIES; p++) {
            modeconn_curve *curve = measure(&on, with_policy(text, policies[p], ",points=4"));
            for (int v = 0; v < N_VIEWS; v++) {
                OK(modeconn_curve_values(curve, views[v], loss[i][p][v], NULL, 4));
            }
            modeconn_curve_destroy(curve);
        }
        scene_free(&on);
    }
    for (int i = 1; i < 4; i++) {
        ck_assert(memcmp(loss[0], loss[i], sizeof(loss[0])) == 0);
    }
}
END_TEST

/* A model and itself: one point in weight space, so no barrier by any definition, not even one of
 * rounding. */
START_TEST(a_model_with_itself)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_model *model = normed_model(context, 5), *same = NULL;
    int64_t count = 0;
    float theta[1024];
    OK(modeconn_model_parameter_count(model, &count));
    ck_assert_int_le(count, 1024);
    OK(modeconn_model_get_parameters(model, theta, count));
    theta[3] = -0.0F;
    theta[4] = 1e-42F;
    OK(modeconn_model_set_parameters(model, theta, count));
    OK(modeconn_model_clone(model, &same));
    scene on = scene_of(context, model, same);
    for (int p = 0; p < N_POLICIES; p++) {
        char text[96];
        modeconn_curve *curve = measure(&on, with_policy(text, policies[p], ",points=11"));
        for (int v = 0; v < N_VIEWS; v++) {
            double loss[11], height = -1.0;
            OK(modeconn_curve_values(curve, views[v], loss, NULL, 11));
            for (int i = 1; i < 11; i++) {
                ck_assert_double_eq(loss[i], loss[0]);
            }
            for (int32_t d = MODECONN_BARRIER_LINEAR; d <= MODECONN_BARRIER_HALF; d++) {
                OK(modeconn_curve_barrier(curve, views[v], d, &height));
                ck_assert_double_eq(height, 0.0);
                OK(modeconn_curve_error_barrier(curve, views[v], d, &height));
                ck_assert_double_eq(height, 0.0);
            }
        }
        modeconn_curve_destroy(curve);
    }
    scene_free(&on);
}
END_TEST

/* The ends against evaluations of the models themselves: keep at t = 0, interpolate at both. */
START_TEST(ends_are_the_models)
{
    scene on = normed_scene();
    modeconn_curve *keep = measure(&on, "statistics=keep,points=2");
    modeconn_curve *interpolate = measure(&on, "statistics=interpolate,points=2");
    expect_point(&on, on.first, "statistics=keep", keep, 0, 2);
    expect_point(&on, on.first, "statistics=keep", interpolate, 0, 2);
    expect_point(&on, on.second, "statistics=keep", interpolate, 1, 2);
    modeconn_curve_destroy(interpolate);
    modeconn_curve_destroy(keep);
    scene_free(&on);
}
END_TEST

/* From the other end: the same curve read backwards, to float rounding. */
START_TEST(reversal)
{
    scene on = normed_scene();
    modeconn_path *forth = on.path;
    char text[96];
    for (int p = 0; p < N_POLICIES - 1; p++) { /* keep is bound to the first end */
        double there[7], back[7], heights[2];
        modeconn_curve *curve = measure(&on, with_policy(text, policies[p], ",points=7"));
        OK(modeconn_curve_values(curve, "randcue", there, NULL, 7));
        OK(modeconn_curve_barrier(curve, "randcue", MODECONN_BARRIER_LINEAR, &heights[0]));
        modeconn_curve_destroy(curve);
        OK(modeconn_path_linear(on.second, on.first, &on.path));
        curve = measure(&on, with_policy(text, policies[p], ",points=7"));
        modeconn_path_destroy(on.path);
        on.path = forth;
        OK(modeconn_curve_values(curve, "randcue", back, NULL, 7));
        OK(modeconn_curve_barrier(curve, "randcue", MODECONN_BARRIER_LINEAR, &heights[1]));
        for (int i = 0; i < 7; i++) {
            ck_assert_double_eq_tol(there[i], back[6 - i], 1e-5);
        }
        ck_assert_double_eq_tol(heights[0], heights[1], 1e-5);
        modeconn_curve_destroy(curve);
    }
    scene_free(&on);
}
END_TEST

START_TEST(a_loss_that_blows_up_names_view_and_t)
{
    modeconn_context *context = context_with(1, 0);
    scene on = scene_of(context, planted_model(context, 0.0, 1.0, 0.0),
                        planted_model(context, 0.0, 0.0, 3e38));
    modeconn_options *options = options_of("curve", "points=11");
    modeconn_curve *curve = NULL;
    FAILS(modeconn_curve_measure(on.path, on.train, on.test, options, NULL, NULL, &curve),
          MODECONN_ERROR_NUMERIC, "t = ");
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), "/10"));
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), "view nocue"));
    ck_assert_ptr_null(curve);
    modeconn_options_destroy(options);
    scene_free(&on);
}
END_TEST

START_TEST(errors)
{
    scene on = normed_scene();
    modeconn_options *evaluate = options_of("evaluate", ""), *options = options_of("curve", "");
    modeconn_curve *curve = NULL;
    double values[4], height = 0.0;
    int64_t points = 0;
    FAILS(modeconn_curve_measure(NULL, on.train, on.test, NULL, NULL, NULL, &curve),
          MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_curve_measure(on.path, on.train, NULL, NULL, NULL, NULL, &curve),
          MODECONN_ERROR_ARGUMENT, "test");
    FAILS(modeconn_curve_measure(on.path, on.train, on.test, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_curve_measure(on.path, NULL, on.test, NULL, NULL, NULL, &curve),
          MODECONN_ERROR_ARGUMENT, "train");
    FAILS(modeconn_curve_measure(on.path, on.train, on.test, evaluate, NULL, NULL, &curve),
          MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_options_set_i64(options, "points", 1), MODECONN_ERROR_ARGUMENT, "points");
    FAILS(modeconn_options_set_i64(options, "points", 100002), MODECONN_ERROR_ARGUMENT, "points");
    FAILS(modeconn_options_set_i64(options, "point", 3), MODECONN_ERROR_UNKNOWN, "point");
    OK(modeconn_options_set_str(options, "views", "cue,dusk"));
    FAILS(modeconn_curve_measure(on.path, on.train, on.test, options, NULL, NULL, &curve),
          MODECONN_ERROR_UNKNOWN, "dusk");
    ck_assert_ptr_null(curve);

    curve = measure(&on, "points=4");
    FAILS(modeconn_curve_size(NULL, &points), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_curve_size(curve, NULL), MODECONN_ERROR_ARGUMENT, "points");
    FAILS(modeconn_curve_points(NULL, values, 4), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_curve_points(curve, NULL, 4), MODECONN_ERROR_ARGUMENT, "t");
    FAILS(modeconn_curve_points(curve, values, 3), MODECONN_ERROR_BUFFER, "4 points");
    FAILS(modeconn_curve_values(curve, "cue", values, NULL, 3), MODECONN_ERROR_BUFFER, "4 points");
    FAILS(modeconn_curve_values(curve, "dawn", values, NULL, 4), MODECONN_ERROR_UNKNOWN, "dawn");
    FAILS(modeconn_curve_values(curve, NULL, values, NULL, 4), MODECONN_ERROR_ARGUMENT, "view");
    FAILS(modeconn_curve_values(NULL, "cue", values, NULL, 4), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_curve_barrier(curve, "dawn", 0, &height), MODECONN_ERROR_UNKNOWN, "dawn");
    FAILS(modeconn_curve_barrier(curve, "cue", 4, &height), MODECONN_ERROR_ARGUMENT, "4");
    FAILS(modeconn_curve_barrier(curve, "cue", -1, &height), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_curve_barrier(curve, "cue", 0, NULL), MODECONN_ERROR_ARGUMENT, "height");
    height = 42.0;
    FAILS(modeconn_curve_barrier(curve, "cue", MODECONN_BARRIER_HALF, &height),
          MODECONN_ERROR_UNSUPPORTED, "1/2");
    FAILS(modeconn_curve_error_barrier(curve, "cue", MODECONN_BARRIER_HALF, &height),
          MODECONN_ERROR_UNSUPPORTED, "1/2");
    ck_assert_double_eq(height, 42.0);
    FAILS(modeconn_curve_error_barrier(NULL, "cue", 0, &height), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_curve_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_curve_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "curve");
    modeconn_curve_destroy(curve);
    modeconn_curve_destroy(NULL);
    modeconn_options_destroy(options);
    modeconn_options_destroy(evaluate);
    scene_free(&on);
}
END_TEST

/* The points stay ascending, hold every point of the grid with the values it has without, and close
 * in on the largest loss. */
START_TEST(refines)
{
    scene on = normed_scene();
    modeconn_path_destroy(on.path);
    modeconn_options *random = options_of("path", "degree=3,start=random,seed=5");
    OK(modeconn_path_create(on.first, on.second, random, &on.path));
    modeconn_options_destroy(random);
    modeconn_curve *coarse = measure(&on, "points=5,views=cue");
    modeconn_curve *fine = measure(&on, "points=5,refine_tolerance=0.01,refine_view=randcue");
    double t[64], loss[64], grid[5], least, largest, barriers[2];
    int64_t n = 0;
    OK(modeconn_curve_size(fine, &n));
    ck_assert_int_gt(n, 5 + 4);
    ck_assert_int_le(n, 5 + 2 * 6);
    OK(modeconn_curve_points(fine, t, 64));
    OK(modeconn_curve_values(fine, "randcue", loss, NULL, 64));
    int64_t top = 0, found = 0;
    for (int64_t i = 0; i < n; i++) {
        ck_assert(i == 0 || t[i] > t[i - 1]);
        found += t[i] == 0 || t[i] == 0.25 || t[i] == 0.5 || t[i] == 0.75 || t[i] == 1;
        top = loss[i] > loss[top] ? i : top;
    }
    ck_assert_int_eq(found, 5);
    ck_assert(top == 0 || t[top] - t[top - 1] <= 0.01);
    ck_assert(top == n - 1 || t[top + 1] - t[top] <= 0.01);
    OK(modeconn_curve_summary(fine, "randcue", &least, &largest, NULL, NULL));
    ck_assert_double_eq(largest, loss[top]);
    ck_assert_double_le(least, loss[0]);
    OK(modeconn_curve_values(coarse, "cue", grid, NULL, 5));
    OK(modeconn_curve_values(fine, "cue", loss, NULL, 64));
    for (int64_t i = 0, k = 0; i < n; i++) { /* points of the grid as without refinement */
        if (t[i] == 0.25 * (double)k) {
            ck_assert_double_eq(loss[i], grid[k++]);
        }
    }
    OK(modeconn_curve_barrier(coarse, "cue", MODECONN_BARRIER_MAX, &barriers[0]));
    OK(modeconn_curve_barrier(fine, "cue", MODECONN_BARRIER_MAX, &barriers[1]));
    ck_assert_double_ge(barriers[1], barriers[0]);
    modeconn_curve *none = NULL;
    modeconn_options *wrong = options_of("curve", "refine_tolerance=0.1,refine_view=x");
    FAILS(modeconn_curve_measure(on.path, on.train, on.test, wrong, NULL, NULL, &none),
          MODECONN_ERROR_UNKNOWN, "refine_view");
    ck_assert_ptr_null(none);
    modeconn_options_destroy(wrong);
    modeconn_curve_destroy(fine);
    modeconn_curve_destroy(coarse);
    scene_free(&on);
}
END_TEST

/* No width in t is as small as these: it ends where nothing is between two points. */
START_TEST(refines_to_the_resolution_of_t)
{
    static const char *const settings[] = {"points=3,refine_tolerance=1e-16",
                                           "points=4,refine_tolerance=1e-18",
                                           "points=5,refine_tolerance=1e-300"};
    modeconn_context *context = context_with(1, 0);
    /* The largest loss is at 0, in the middle or at 1. */
    static const double cue[3][2] = {{0, 1}, {1, -1}, {1, 0}};
    for (int i = 0; i < 9; i++) {
        scene on = scene_of(context, planted_model(context, cue[i / 3][0], 0.0, 0.0),
                            planted_model(context, cue[i / 3][1], 0.0, 0.0));
        modeconn_curve *curve = measure(&on, settings[i % 3]);
        double t[4096];
        int64_t n = 0;
        OK(modeconn_curve_size(curve, &n));
        ck_assert_int_gt(n, 5);
        OK(modeconn_curve_points(curve, t, 4096));
        ck_assert(t[0] == 0 && t[n - 1] == 1);
        for (int64_t k = 1; k < n; k++) {
            ck_assert(t[k] > t[k - 1]);
        }
        modeconn_curve_destroy(curve);
        on.context = NULL;
        scene_free(&on);
    }
    modeconn_context_destroy(context);
}
END_TEST

/* Trapezoids by hand, over t and over the arc of a chain whose legs differ in length. */
START_TEST(summaries)
{
    modeconn_context *context = context_with(1, 0);
    scene on = scene_of(context, planted_model(context, 1.0, 0.0, 0.0),
                        planted_model(context, 0.0, 2.0, 0.0));
    modeconn_model *bend = planted_model(context, 3.0, 0.5, 0.0);
    const modeconn_model *const points[3] = {on.first, bend, on.second};
    modeconn_path_destroy(on.path);
    OK(modeconn_path_from_models("chain", points, 3, &on.path));
    modeconn_curve *curve = measure(&on, "points=3");
    double loss[3], accuracy[3], arc[3], length, least, largest, mean, integral;
    OK(modeconn_path_length(on.path, &length));
    OK(modeconn_curve_arc(curve, arc, 3));
    ck_assert_double_eq(arc[0], 0);
    ck_assert_double_eq_tol(arc[2], length, 1e-12 * length);
    ck_assert_double_ne(arc[1], 0.5 * length);
    OK(modeconn_curve_values(curve, "cue", loss, accuracy, 3));
    OK(modeconn_curve_summary(curve, "cue", &least, &largest, &mean, &integral));
    ck_assert_double_eq(least, fmin(loss[0], fmin(loss[1], loss[2])));
    ck_assert_double_eq(largest, fmax(loss[0], fmax(loss[1], loss[2])));
    ck_assert_double_eq_tol(mean, 0.25 * loss[0] + 0.5 * loss[1] + 0.25 * loss[2], 1e-12);
    ck_assert_double_eq_tol(
        integral,
        0.5 * (loss[0] + loss[1]) * arc[1] + 0.5 * (loss[1] + loss[2]) * (arc[2] - arc[1]), 1e-10);
    OK(modeconn_curve_error_summary(curve, "cue", NULL, &largest, &mean, NULL));
    ck_assert_double_eq(largest, 1 - fmin(accuracy[0], fmin(accuracy[1], accuracy[2])));
    ck_assert_double_eq_tol(mean, 1 - 0.25 * (accuracy[0] + 2 * accuracy[1] + accuracy[2]), 1e-12);
    FAILS(modeconn_curve_summary(NULL, "cue", NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "curve");
    FAILS(modeconn_curve_summary(curve, "x", NULL, NULL, NULL, NULL), MODECONN_ERROR_UNKNOWN, "x");
    FAILS(modeconn_curve_error_summary(curve, NULL, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "view");
    FAILS(modeconn_curve_arc(NULL, arc, 3), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(modeconn_curve_arc(curve, NULL, 3), MODECONN_ERROR_ARGUMENT, "arc");
    FAILS(modeconn_curve_arc(curve, arc, 2), MODECONN_ERROR_BUFFER, "3 points");
    modeconn_curve_destroy(curve);
    modeconn_model_destroy(bend);
    scene_free(&on);
}
END_TEST

START_TEST(allocation_failures)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *train = planted_data(context, 12, 1, "box");
    modeconn_dataset *test = planted_data(context, 10, 2, "box");
    modeconn_model *first = normed_model(context, 1), *second = normed_model(context, 2);
    modeconn_path *path = NULL;
    modeconn_curve *curve = NULL;
    modeconn_options *options = options_of("curve", "points=2,batch_size=10,views=cue");
    double height = 0.0;
    OK(modeconn_path_linear(first, second, &path));
    EVERY_ALLOCATION(&allocator,
                     modeconn_curve_measure(path, train, test, options, NULL, NULL, &curve), curve);
    failing_at(&allocator, 1);
    FAILS(modeconn_curve_csv(curve, NULL, 0, NULL), MODECONN_ERROR_MEMORY, "out of memory");
    failing_at(&allocator, 1);
    FAILS(modeconn_curve_error_barrier(curve, "cue", 0, &height), MODECONN_ERROR_MEMORY,
          "out of memory");
    modeconn_curve_destroy(curve);
    modeconn_options_destroy(options);
    modeconn_path_destroy(path);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, points_are_fractions_of_integers);
    tcase_add_test(tests, closed_form_along_the_line);
    tcase_add_test(tests, barriers_of_loss_and_error);
    tcase_add_test(tests, points_equal_evaluations);
    tcase_add_test(tests, keep_is_the_first_end);
    tcase_add_test(tests, reports);
    tcase_add_test(tests, progress_and_cancelling);
    tcase_add_test(tests, same_bits_for_any_threads);
    tcase_add_test(tests, a_model_with_itself);
    tcase_add_test(tests, ends_are_the_models);
    tcase_add_test(tests, reversal);
    tcase_add_test(tests, a_loss_that_blows_up_names_view_and_t);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, refines);
    tcase_add_test(tests, refines_to_the_resolution_of_t);
    tcase_add_test(tests, summaries);
    tcase_add_test(tests, allocation_failures);
}

int main(void)
{
    return unit_run("measure_curve", add);
}
