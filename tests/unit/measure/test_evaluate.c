/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Evaluation: losses against the logits, closed forms, views, statistics policies, what a result
 * reports, and every error.
 */
#include "planted.h"

static const char *const view_names[] = {"nocue", "cue", "randcue", "randimg"};

/* Every view, whatever the batch size (also 1 and a short last one) and test's own view. */
START_TEST(losses_of_every_view)
{
    modeconn_context *context = context_with(2, 5);
    modeconn_dataset *data = planted_data(context, 103, 3, "box"), *seen = NULL;
    modeconn_model *model = planted_model(context, 1.5, 2.0, 0.5);
    OK(modeconn_dataset_view(data, "randimg", 0.3, &seen));
    static const char *const settings[] = {"batch_size=1", "batch_size=20", "batch_size=103",
                                           "batch_size=4000"};
    for (int s = 0; s < 4; s++) {
        modeconn_options *options = options_of("evaluate", settings[s]);
        modeconn_evaluation *made = NULL;
        OK(modeconn_evaluate(model, NULL, seen, options, NULL, NULL, &made));
        for (int v = 0; v < 4; v++) {
            double loss = 0.0, accuracy = 0.0, expected_loss = 0.0, expected_accuracy = 0.0;
            expect_view(model, data, view_names[v], &expected_loss, &expected_accuracy);
            OK(modeconn_evaluation_get(made, view_names[v], &loss, &accuracy));
            ck_assert_double_eq_tol(loss, expected_loss, 1e-5);
            ck_assert_double_eq_tol(accuracy, expected_accuracy, 1e-12);
            OK(modeconn_evaluation_get(made, view_names[v], NULL, NULL));
        }
        modeconn_evaluation_destroy(made);
        modeconn_options_destroy(options);
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(seen);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* A model that reads the box alone: log 10 without it, log(e^s + 9) - s with it. */
START_TEST(closed_forms)
{
    enum { N = 200 };
    modeconn_context *context = context_with(1, 5);
    modeconn_dataset *data = planted_data(context, N, 4, "box");
    modeconn_model *model = planted_model(context, 3.0, 0.0, 0.0);
    modeconn_evaluation *made = NULL;
    int32_t labels[N];
    int64_t boxed = 0;
    OK(modeconn_dataset_read(data, NULL, N, NULL, labels));
    for (int i = 0; i < N; i++) {
        boxed += labels[i] < 9;
    }
    double share = (double)boxed / N, loss = 0.0, accuracy = 0.0;
    OK(modeconn_evaluate(model, NULL, data, NULL, NULL, NULL, &made));
    OK(modeconn_evaluation_get(made, "nocue", &loss, NULL));
    ck_assert_double_eq_tol(loss, log(10.0), 1e-5);
    OK(modeconn_evaluation_get(made, "cue", &loss, &accuracy));
    ck_assert_double_eq_tol(loss, share * (log(exp(3.0) + 9.0) - 3.0) + (1.0 - share) * log(10.0),
                            1e-5);
    ck_assert_double_eq_tol(accuracy, share, 1e-12); /* class 9 loses the tie to class 0 */
    modeconn_evaluation_destroy(made);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(views_option)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 20, 1, "box");
    modeconn_dataset *plain = planted_data(context, 20, 1, "none");
    modeconn_model *model = planted_model(context, 1.0, 1.0, 0.0);
    modeconn_options *options = options_of("evaluate", "");
    modeconn_evaluation *made = NULL;
    double loss = 0.0;
    OK(modeconn_options_set_str(options, "views", "randimg,nocue"));
    OK(modeconn_evaluate(model, NULL, data, options, NULL, NULL, &made));
    OK(modeconn_evaluation_get(made, "nocue", &loss, NULL));
    OK(modeconn_evaluation_get(made, "randimg", &loss, NULL));
    FAILS(modeconn_evaluation_get(made, "cue", &loss, NULL), MODECONN_ERROR_UNKNOWN, "\"cue\"");
    modeconn_evaluation_destroy(made);
    made = (modeconn_evaluation *)(void *)options; /* a failure sets it to NULL */
    OK(modeconn_options_set_str(options, "views", "nocue,night"));
    FAILS(modeconn_evaluate(model, NULL, data, options, NULL, NULL, &made), MODECONN_ERROR_UNKNOWN,
          "night");
    ck_assert_ptr_null(made);
    OK(modeconn_options_set_str(options, "views", "nocue,"));
    FAILS(modeconn_evaluate(model, NULL, data, options, NULL, NULL, &made), MODECONN_ERROR_UNKNOWN,
          "view");
    OK(modeconn_options_set_str(options, "views", "nocue,cue,nocue"));
    FAILS(modeconn_evaluate(model, NULL, data, options, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT,
          "\"nocue\" twice");
    OK(modeconn_options_set_str(options, "views", "cue"));
    FAILS(modeconn_evaluate(model, NULL, plain, options, NULL, NULL, &made), MODECONN_ERROR_UNKNOWN,
          "cue");
    OK(modeconn_evaluate(model, NULL, plain, NULL, NULL, NULL, &made)); /* all of one view */
    OK(modeconn_evaluation_get(made, "nocue", &loss, NULL));
    FAILS(modeconn_evaluation_get(made, "randcue", NULL, NULL), MODECONN_ERROR_UNKNOWN, "randcue");
    modeconn_evaluation_destroy(made);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(plain);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static double nocue_loss(const modeconn_model *model, const modeconn_dataset *train,
                         const modeconn_dataset *test, const char *settings)
{
    modeconn_options *options = options_of("evaluate", settings);
    modeconn_evaluation *made = NULL;
    double loss = 0.0;
    OK(modeconn_evaluate(model, train, test, options, NULL, NULL, &made));
    OK(modeconn_evaluation_get(made, "nocue", &loss, NULL));
    modeconn_evaluation_destroy(made);
    modeconn_options_destroy(options);
    return loss;
}

START_TEST(statistics_policies)
{
    modeconn_context *context = context_with(2, 9);
    modeconn_dataset *train = planted_data(context, 90, 1, "box");
    modeconn_dataset *test = planted_data(context, 60, 2, "box");
    modeconn_model *model = normed_model(context, 3);
    double keep = nocue_loss(model, NULL, test, "");
    ck_assert_double_eq(keep, nocue_loss(model, NULL, test, "statistics=keep"));
    ck_assert_double_eq(keep, nocue_loss(model, NULL, test, "statistics=interpolate"));
    double reset = nocue_loss(model, train, test, "statistics=reset,bn_batch_size=90");
    ck_assert_double_ne(keep, reset);
    /* Batch norm comes first, so pooled statistics do not depend on how the set is cut. */
    double cut = nocue_loss(model, train, test, "statistics=reset,bn_batch_size=7");
    ck_assert_double_eq_tol(reset, cut, 1e-5);
    ck_assert_double_ne(reset, nocue_loss(model, train, test, "statistics=reset,bn_samples=30"));
    ck_assert_double_ne(reset, nocue_loss(model, train, test, "statistics=ema,bn_batch_size=30"));
    double whole = nocue_loss(model, NULL, test, "statistics=batch,batch_size=60");
    double parts = nocue_loss(model, NULL, test, "statistics=batch,batch_size=7");
    ck_assert_double_eq_tol(whole, reset, 0.2);
    ck_assert_double_ne(whole, parts);
    /* Statistics of the test set itself differ from its batch's by biased against unbiased. */
    double self = nocue_loss(model, test, test, "statistics=reset");
    ck_assert_double_eq_tol(whole, self, 1e-3);
    ck_assert_double_eq(keep, nocue_loss(model, NULL, test, "")); /* the model was not touched */
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(what_it_was_measured_on)
{
    modeconn_context *context = context_with(1, 77);
    modeconn_dataset *train = planted_data(context, 50, 1, "box");
    modeconn_dataset *test = planted_data(context, 40, 2, "box");
    modeconn_model *model = normed_model(context, 3);
    modeconn_options *options = options_of("evaluate", "statistics=ema,bn_samples=30");
    modeconn_evaluation *made = NULL;
    OK(modeconn_options_set_i64(options, "batch_size", 16));
    OK(modeconn_evaluate(model, train, test, options, NULL, NULL, &made));
    modeconn_model_destroy(model); /* results keep copies of all they report */
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);

    char *text = NULL;
    double loss = 0.0, accuracy = 0.0;
    OK(modeconn_evaluation_get(made, "randcue", &loss, &accuracy));
    TEXT(modeconn_evaluation_json, made, text);
    json_t *json = parse_json(text);
    ck_assert_uint_eq(json_object_size(JSON_AT(json, "views")), 4);
    ck_assert_double_eq(json_real_value(JSON_AT(json, "views", "randcue", "loss")), loss);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "views", "randcue", "accuracy")), accuracy);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "views", "cue", "n")), 40);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "statistics", "policy")), "ema");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "n")), 30);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "batch_size")), 30);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "seed")), 77);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "statistics", "data", "view")), "nocue");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "data", "n")), 30);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "batch_size")), 16);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "data", "cue")), "box");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "data", "n")), 40);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "data", "cue_proportion")), 1.0);
    ck_assert_ptr_null(json_object_get(JSON_AT(json, "data"), "view"));
    ck_assert_str_eq(json_string_value(JSON_AT(json, "model", "architecture")), "graph");
    json_decref(json);

    TEXT(modeconn_evaluation_csv, made, text);
    ck_assert_msg(strncmp(text, "view,loss,accuracy,n\nnocue,", 27) == 0, "%s", text);
    char *line = strstr(text, "\nrandcue,");
    ck_assert_ptr_nonnull(line);
    ck_assert_double_eq(strtod(line + 9, NULL), loss);
    ck_assert_msg(strcmp(text + strlen(text) - 4, ",40\n") == 0, "%s", text);
    free(text);
    modeconn_evaluation_destroy(made);
}
END_TEST

START_TEST(batch_policy_reports_its_batch)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *test = planted_data(context, 40, 2, "none");
    modeconn_model *model = normed_model(context, 3);
    modeconn_options *options = options_of("evaluate", "statistics=batch,batch_size=10");
    modeconn_evaluation *made = NULL;
    char *text = NULL;
    OK(modeconn_evaluate(model, NULL, test, options, NULL, NULL, &made));
    TEXT(modeconn_evaluation_json, made, text);
    json_t *json = parse_json(text);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "statistics", "policy")), "batch");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "statistics", "batch_size")), 10);
    ck_assert(json_is_null(JSON_AT(json, "statistics", "data")));
    ck_assert(json_is_null(JSON_AT(json, "data", "cue_proportion")));
    json_decref(json);
    modeconn_evaluation_destroy(made);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(test);
    modeconn_context_destroy(context);
}
END_TEST

typedef struct watch {
    int64_t calls, total, cancel_at;
} watch;

static int32_t on_progress(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                           double accuracy, double rate, double seconds_left)
{
    watch *seen = user;
    seen->calls++;
    seen->total = total;
    ck_assert_int_eq(step, seen->calls);
    ck_assert_int_eq(epoch, step == total); /* points done */
    ck_assert(isnan(loss) && isnan(accuracy) && isnan(rate));
    ck_assert(!(seconds_left < 0.0));
    return step == seen->cancel_at;
}

START_TEST(progress_and_cancelling)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *train = planted_data(context, 41, 1, "box");
    modeconn_dataset *test = planted_data(context, 25, 2, "box");
    modeconn_model *model = normed_model(context, 3);
    modeconn_options *options =
        options_of("evaluate", "statistics=reset,bn_batch_size=10,batch_size=10");
    modeconn_evaluation *made = NULL;
    watch seen = {0, 0, -1};
    OK(modeconn_evaluate(model, train, test, options, on_progress, &seen, &made));
    ck_assert_int_eq(seen.total, 4 + 4 * 3); /* 10, 10, 10, 11; four views of 10, 10, 5 */
    ck_assert_int_eq(seen.calls, seen.total);
    modeconn_evaluation_destroy(made);
    for (int64_t step = 1; step <= seen.total; step += 5) {
        watch cancelling = {0, 0, step};
        FAILS(modeconn_evaluate(model, train, test, options, on_progress, &cancelling, &made),
              MODECONN_ERROR_CANCELLED, "cancel");
        ck_assert_ptr_null(made);
        ck_assert_int_eq(cancelling.calls, step);
    }
    OK(modeconn_evaluate(model, train, test, options, NULL, NULL, &made));
    modeconn_evaluation_destroy(made);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(errors)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 21, 1, "box"), *other = NULL;
    modeconn_model *model = normed_model(context, 0);
    modeconn_model *wild = planted_model(context, 0.0, 3e38, 3e38);
    modeconn_options *curve = options_of("curve", "");
    modeconn_options *reset = options_of("evaluate", "statistics=reset");
    modeconn_evaluation *made = NULL;
    float pixels[25] = {0};
    int32_t label = 0;
    OK(modeconn_dataset_from_f32(context, pixels, &label, 1, 1, 5, 5, 10, NULL, &other));
    FAILS(modeconn_evaluate(NULL, NULL, data, NULL, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT,
          "model");
    FAILS(modeconn_evaluate(model, NULL, NULL, NULL, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT,
          "test");
    FAILS(modeconn_evaluate(model, NULL, data, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "out");
    FAILS(modeconn_evaluate(model, NULL, data, curve, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT,
          "evaluate");
    FAILS(modeconn_evaluate(model, NULL, data, reset, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT,
          "train");
    FAILS(modeconn_evaluate(model, NULL, other, NULL, NULL, NULL, &made), MODECONN_ERROR_SHAPE,
          "5x5");
    FAILS(modeconn_evaluate(model, other, data, reset, NULL, NULL, &made), MODECONN_ERROR_SHAPE,
          "statistics");
    FAILS(modeconn_evaluate(wild, NULL, data, NULL, NULL, NULL, &made), MODECONN_ERROR_NUMERIC,
          "view nocue");
    ck_assert_ptr_null(made);
    int64_t count = 0;
    const char *name = NULL;
    FAILS(modeconn_evaluation_get(NULL, "cue", NULL, NULL), MODECONN_ERROR_ARGUMENT, "evaluation");
    FAILS(modeconn_evaluation_view_count(NULL, &count), MODECONN_ERROR_ARGUMENT, "evaluation");
    FAILS(modeconn_evaluation_view_name(NULL, 0, &name), MODECONN_ERROR_ARGUMENT, "evaluation");
    FAILS(modeconn_evaluation_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "evaluation");
    FAILS(modeconn_evaluation_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "evaluation");
    OK(modeconn_evaluate(model, NULL, data, NULL, NULL, NULL, &made));
    FAILS(modeconn_evaluation_get(made, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "view");
    FAILS(modeconn_evaluation_view_count(made, NULL), MODECONN_ERROR_ARGUMENT, "count");
    FAILS(modeconn_evaluation_view_name(made, 0, NULL), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_evaluation_view_name(made, -1, &name), MODECONN_ERROR_ARGUMENT, "index -1");
    OK(modeconn_evaluation_view_count(made, &count));
    ck_assert_int_eq(count, 4);
    FAILS(modeconn_evaluation_view_name(made, 4, &name), MODECONN_ERROR_ARGUMENT, "not in 0..3");
    ck_assert_ptr_null(name);
    OK(modeconn_evaluation_view_name(made, 3, &name));
    ck_assert_str_eq(name, "randimg");
    modeconn_evaluation_destroy(made);
    modeconn_evaluation_destroy(NULL);
    FAILS(modeconn_options_set_str(reset, "statistics", "guess"), MODECONN_ERROR_ARGUMENT,
          "statistics");
    modeconn_options_destroy(reset);
    modeconn_options_destroy(curve);
    modeconn_model_destroy(wild);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(other);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Batch norm over 1x1 maps has no variance in a batch of one. */
START_TEST(batches_too_small_for_batch_norm)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 21, 1, "none");
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 1, SIDE, SIDE, &graph));
    OK(modeconn_graph_add(graph, "linear", "hidden", "out_features=4", &node, 1, &node));
    OK(modeconn_graph_add(graph, "batch_norm", "narrow", NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "fc", "out_features=10", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 0, &model));
    modeconn_graph_destroy(graph);
    modeconn_evaluation *made = NULL;
    static const char *const bad[] = {
        "statistics=batch,batch_size=10", "statistics=batch,batch_size=1",
        "statistics=reset,bn_batch_size=1", "statistics=reset,bn_samples=1"};
    for (int i = 0; i < 4; i++) {
        modeconn_options *options = options_of("evaluate", bad[i]);
        FAILS(modeconn_evaluate(model, data, data, options, NULL, NULL, &made),
              MODECONN_ERROR_UNSUPPORTED, "narrow");
        modeconn_options_destroy(options);
    }
    ck_assert(isfinite(nocue_loss(model, data, data, "statistics=reset,bn_batch_size=10")));
    ck_assert(isfinite(nocue_loss(model, data, data, "statistics=batch,batch_size=7")));
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(allocation_failures)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *train = planted_data(context, 12, 1, "box");
    modeconn_dataset *test = planted_data(context, 10, 2, "box");
    modeconn_model *model = normed_model(context, 3);
    modeconn_options *options =
        options_of("evaluate", "statistics=reset,bn_samples=9,batch_size=4");
    OK(modeconn_options_set_str(options, "views", "nocue,randcue"));
    modeconn_evaluation *made = NULL;
    EVERY_ALLOCATION(&allocator, modeconn_evaluate(model, train, test, options, NULL, NULL, &made),
                     made);
    failing_at(&allocator, 1);
    FAILS(modeconn_evaluation_csv(made, NULL, 0, NULL), MODECONN_ERROR_MEMORY, "out of memory");
    modeconn_evaluation_destroy(made);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, losses_of_every_view);
    tcase_add_test(tests, closed_forms);
    tcase_add_test(tests, views_option);
    tcase_add_test(tests, statistics_policies);
    tcase_add_test(tests, what_it_was_measured_on);
    tcase_add_test(tests, batch_policy_reports_its_batch);
    tcase_add_test(tests, progress_and_cancelling);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, batches_too_small_for_batch_norm);
    tcase_add_test(tests, allocation_failures);
}

int main(void)
{
    return unit_run("measure_evaluate", add);
}
