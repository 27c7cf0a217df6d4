/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Mechanistic connectivity: planted paths whose rise is known, right in at least 95 of 100 seeds
 * with the tolerance fixed beforehand; the curve's own figures; which view and t break a path;
 * minimizers; symmetry; threads; reports, errors, cancelling.
 */
#include "planted.h"

static modeconn_connectivity *measured(const modeconn_model *first, const modeconn_model *second,
                                       const modeconn_dataset *data, const char *settings)
{
    modeconn_options *options = options_of("connectivity", settings);
    modeconn_path *line = NULL;
    modeconn_connectivity *made = NULL;
    OK(modeconn_path_linear(first, second, &line));
    OK(modeconn_connectivity_measure(line, NULL, data, options, NULL, NULL, &made));
    modeconn_path_destroy(line);
    modeconn_options_destroy(options);
    return made;
}

static int32_t verdict_of(const modeconn_connectivity *made)
{
    int32_t verdict = -1;
    OK(modeconn_connectivity_verdict(made, &verdict));
    return verdict;
}

/* ---- planted ------------------------------------------------------------------------------- */

typedef struct unit {
    double box, signal; /* what the units read: box at place k; row SIGNAL_ROW, column k */
} unit;

/* linear(2 * CLASSES) - ReLU - linear: unit k reads the box of class k, unit CLASSES + k the signal
 * of class k, each written to logit k. `shift`: units of the box are moved on by so many places,
 * which changes nothing of the function. */
static modeconn_model *two_readers(modeconn_context *context, unit gain, int shift)
{
    enum { HIDDEN = 2 * CLASSES };
    static const int offsets[3] = {0, 4, 9};
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 1, SIDE, SIDE, &graph));
    OK(modeconn_graph_add(graph, "linear", "a", "out_features=20,bias=0", &node, 1, &node));
    OK(modeconn_graph_add(graph, "relu", NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "b", "out_features=10,bias=0", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 0, &model));
    modeconn_graph_destroy(graph);
    float *theta = calloc((size_t)(HIDDEN * PIXELS + CLASSES * HIDDEN), sizeof(*theta));
    ck_assert_ptr_nonnull(theta);
    float *last = theta + HIDDEN * PIXELS;
    for (int k = 0; k < CLASSES; k++) {
        int reader = (k + shift) % CLASSES;
        float *box = theta + reader * PIXELS, *signal = theta + (CLASSES + k) * PIXELS;
        for (int pixel = 0; k < 9 && pixel < 9; pixel++) {
            int row = offsets[k / 3] + pixel / 3, column = offsets[k % 3] + pixel % 3;
            box[row * SIDE + column] = (float)(gain.box / 9.0);
        }
        signal[SIGNAL_ROW * SIDE + k] = (float)gain.signal;
        last[k * HIDDEN + reader] = last[k * HIDDEN + CLASSES + k] = 1.0F;
    }
    OK(modeconn_model_set_parameters(model, theta, HIDDEN * PIXELS + CLASSES * HIDDEN));
    free(theta);
    return model;
}

/* Pairs of ends and what the straight line between them is, with tolerance 0.1 nats:
 *
 *  - a signal reader and a stronger one (gains 6 and 8): the loss along the line is convex in the
 *    gain, every view is connected;
 *  - readers of the box (gain 4, no signal) whose units are one place apart: the function is the
 *    same at both ends; at t = 1/2 every unit is the mean of two readers, and writes to the mean of
 *    two logits, which spreads the evidence: a rise of more than half a nat on the view "cue".
 */
enum { REPEATS = 100, SAMPLES = 100 };

static int64_t hits(const unit ends[2], int shift, int32_t expected, const char *settings)
{
    int64_t right = 0;
    for (int64_t seed = 0; seed < REPEATS; seed++) {
        modeconn_context *context = context_with(1, seed);
        modeconn_dataset *data = planted_data(context, SAMPLES, 100 + seed, "box");
        modeconn_model *first = two_readers(context, ends[0], 0);
        modeconn_model *second = two_readers(context, ends[1], shift);
        modeconn_connectivity *made = measured(first, second, data, settings);
        right += verdict_of(made) == expected;
        modeconn_connectivity_destroy(made);
        modeconn_model_destroy(second);
        modeconn_model_destroy(first);
        modeconn_dataset_destroy(data);
        modeconn_context_destroy(context);
    }
    return right;
}

static const char *const planting = "points=5,resamples=200,tolerance=0.1";

START_TEST(planted_connected)
{
    static const unit ends[2] = {{0, 6}, {0, 8}};
    ck_assert_int_ge(hits(ends, 0, MODECONN_VERDICT_CONNECTED, planting), 95);
}
END_TEST

START_TEST(planted_disconnected)
{
    static const unit ends[2] = {{4, 0}, {4, 0}};
    ck_assert_int_ge(hits(ends, 1, MODECONN_VERDICT_DISCONNECTED, planting), 95);
}
END_TEST

/* The verdict's own error: differences e_i(t) with a known mean m at every inner t, correlated over
 * t as a curve's are (one normal deviate a sample, and one a sample and t). With the tolerance at m
 * a decided verdict is wrong or lucky: at most 1 - confidence of them, of either kind; at twice and
 * at half of it the verdict is right. */
enum { COLUMNS = 7, ROWS = 200 };

static int32_t synthetic_verdict(modeconn_context *context, uint64_t seed, double mean,
                                 double tolerance)
{
    static double d[ROWS * COLUMNS];
    double middle[COLUMNS], low[COLUMNS], high[COLUMNS];
    for (int i = 0; i < ROWS; i++) {
        double common = mc_random_normal(seed, STREAM_SYNTHETIC, (uint64_t)i, 0);
        for (uint32_t w = 0; w < COLUMNS; w++) {
            double own = mc_random_normal(seed, STREAM_SYNTHETIC, (uint64_t)i, 1 + w);
            d[i * COLUMNS + (int)w] =
                w == 0 || w == COLUMNS - 1 ? 0.0 : mean + 0.25 * common + 0.1 * own;
        }
    }
    OK(mc_bootstrap_band(context, NULL, d, ROWS, COLUMNS, 0.99, 1000, seed, middle, low, high));
    return mc_connectivity_verdict(low, high, COLUMNS, tolerance, ROWS);
}

START_TEST(planted_losses)
{
    modeconn_context *context = context_with(1, 0);
    int64_t connected = 0, disconnected = 0, wrong = 0;
    for (uint64_t seed = 0; seed < REPEATS; seed++) {
        connected += synthetic_verdict(context, seed, 0.0, 0.1) == MODECONN_VERDICT_CONNECTED;
        disconnected += synthetic_verdict(context, seed, 0.2, 0.1) == MODECONN_VERDICT_DISCONNECTED;
        wrong += synthetic_verdict(context, seed, 0.1, 0.1) != MODECONN_VERDICT_UNDECIDED;
    }
    ck_assert_int_ge(connected, 95);
    ck_assert_int_ge(disconnected, 95);
    ck_assert_int_le(wrong, 5);
    modeconn_context_destroy(context);
}
END_TEST

/* ---- figures ------------------------------------------------------------------------------- */

/* Losses, heights and ends are those of a curve and of an evaluation. */
START_TEST(agrees_with_the_curve)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = planted_data(context, 120, 3, "box");
    modeconn_model *first = two_readers(context, (unit){3, 2}, 0);
    modeconn_model *second = two_readers(context, (unit){2, 5}, 3);
    modeconn_connectivity *made = measured(first, second, data, "points=9,resamples=100");
    modeconn_path *line = NULL;
    modeconn_curve *curve = NULL;
    modeconn_options *options = options_of("curve", "points=9");
    int64_t views = 0;
    OK(modeconn_path_linear(first, second, &line));
    OK(modeconn_curve_measure(line, NULL, data, options, NULL, NULL, &curve));
    OK(modeconn_connectivity_size(made, &views));
    ck_assert_int_eq(views, 4);
    for (int64_t v = 0; v < views; v++) {
        const char *name = NULL;
        double height = 0, low = 0, high = 0, t = 0, barrier = 0, loss[9], accuracy[9];
        OK(modeconn_connectivity_view(made, v, &name));
        OK(modeconn_connectivity_get(made, name, NULL, &height, &low, &high, &t));
        OK(modeconn_curve_barrier(curve, name, MODECONN_BARRIER_LINEAR, &barrier));
        OK(modeconn_curve_values(curve, name, loss, accuracy, 9));
        ck_assert_double_eq_tol(height, barrier, 1e-9);
        ck_assert(0 <= low && low <= height && height <= high);
        for (int32_t which = 0; which < 2; which++) {
            double end = 0, right = 0;
            OK(modeconn_connectivity_end(made, name, which, &end, &right));
            ck_assert_double_eq_tol(end, loss[which * 8], 1e-9);
            ck_assert_double_eq(right, accuracy[which * 8]);
        }
    }
    modeconn_options_destroy(options);
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(line);
    modeconn_connectivity_destroy(made);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Readers of both whose box units are apart: without a box the line is flat; with one it is not. */
START_TEST(names_what_breaks)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 300, 3, "box");
    modeconn_model *first = two_readers(context, (unit){6, 0.5}, 0);
    modeconn_model *second = two_readers(context, (unit){6, 0.5}, 1);
    modeconn_connectivity *made = measured(first, second, data, "points=5,resamples=200");
    const char *view = NULL;
    double t = 0, height = 0;
    int32_t verdict = 0;
    ck_assert_int_eq(verdict_of(made), MODECONN_VERDICT_DISCONNECTED);
    OK(modeconn_connectivity_get(made, "nocue", &verdict, &height, NULL, NULL, NULL));
    ck_assert_int_eq(verdict, MODECONN_VERDICT_CONNECTED);
    ck_assert_double_lt(height, 1e-6);
    OK(modeconn_connectivity_get(made, "cue", &verdict, &height, NULL, NULL, NULL));
    ck_assert_int_eq(verdict, MODECONN_VERDICT_DISCONNECTED);
    OK(modeconn_connectivity_weakest(made, &view, &t));
    ck_assert(strcmp(view, "nocue") != 0);
    ck_assert_double_eq(t, 0.5);
    modeconn_connectivity_destroy(made);

    /* Asked about that view alone, it is connected, and names the view it was asked about. */
    made = measured(first, second, data, "points=5,resamples=200,views=nocue");
    ck_assert_int_eq(verdict_of(made), MODECONN_VERDICT_CONNECTED);
    OK(modeconn_connectivity_weakest(made, &view, NULL));
    ck_assert_str_eq(view, "nocue");
    modeconn_connectivity_destroy(made);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* A box reader is no minimizer where the box lies; the straight line to itself is connected. */
START_TEST(minimizers)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 300, 3, "box");
    modeconn_model *model = two_readers(context, (unit){20, 0}, 0);
    modeconn_connectivity *made = measured(model, model, data, "points=3,resamples=100");
    const char *view = NULL;
    double t = 0;
    ck_assert_int_eq(verdict_of(made), MODECONN_VERDICT_CONNECTED); /* not judged */
    modeconn_connectivity_destroy(made);
    made = measured(model, model, data, "points=3,resamples=100,minimum_loss=2.5");
    ck_assert_int_eq(verdict_of(made), MODECONN_VERDICT_DISCONNECTED);
    OK(modeconn_connectivity_weakest(made, &view, &t));
    ck_assert_str_eq(view, "randcue");
    ck_assert_double_eq(t, 0);
    modeconn_connectivity_destroy(made);
    made = measured(model, model, data, "points=3,resamples=100,minimum_loss=100");
    ck_assert_int_eq(verdict_of(made), MODECONN_VERDICT_CONNECTED);
    modeconn_connectivity_destroy(made);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* The line read backwards has the same verdict and heights; a model is connected to itself. */
START_TEST(symmetric_and_reflexive)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = planted_data(context, 60, 6, "box");
    for (uint64_t pair = 0; pair < 6; pair++) {
        modeconn_model *models[2];
        for (uint32_t m = 0; m < 2; m++) {
            unit gain = {4.0 * mc_random_f64(pair, STREAM_SYNTHETIC, m, 0),
                         4.0 * mc_random_f64(pair, STREAM_SYNTHETIC, m, 1)};
            models[m] = two_readers(context, gain, (int)(m * pair));
        }
        modeconn_connectivity *forth = measured(models[0], models[1], data, planting);
        modeconn_connectivity *back = measured(models[1], models[0], data, planting);
        modeconn_connectivity *same = measured(models[0], models[0], data, planting);
        ck_assert_int_eq(verdict_of(forth), verdict_of(back));
        ck_assert_int_eq(verdict_of(same), MODECONN_VERDICT_CONNECTED);
        for (int64_t v = 0; v < 4; v++) {
            const char *name = NULL;
            double a = 0, b = 0;
            OK(modeconn_connectivity_view(forth, v, &name));
            OK(modeconn_connectivity_get(forth, name, NULL, NULL, &a, NULL, NULL));
            OK(modeconn_connectivity_get(back, name, NULL, NULL, &b, NULL, NULL));
            ck_assert_double_eq_tol(a, b, 1e-5);
        }
        modeconn_connectivity_destroy(same);
        modeconn_connectivity_destroy(back);
        modeconn_connectivity_destroy(forth);
        modeconn_model_destroy(models[1]);
        modeconn_model_destroy(models[0]);
    }
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Also with batch norm, whose statistics are treated at each point. */
static char *json_with(int64_t threads, const char *settings)
{
    modeconn_context *context = context_with(threads, 0);
    modeconn_dataset *data = planted_data(context, 64, 6, "box");
    modeconn_model *first = normed_model(context, 1), *second = normed_model(context, 2);
    modeconn_options *options = options_of("connectivity", settings);
    modeconn_path *line = NULL;
    modeconn_connectivity *made = NULL;
    char *text = NULL;
    OK(modeconn_path_linear(first, second, &line));
    OK(modeconn_connectivity_measure(line, data, data, options, NULL, NULL, &made));
    TEXT(modeconn_connectivity_json, made, text);
    modeconn_connectivity_destroy(made);
    modeconn_path_destroy(line);
    modeconn_options_destroy(options);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    return text;
}

START_TEST(threads)
{
    static const char *const settings = "points=3,resamples=100,batch_size=20";
    char *one = json_with(1, settings), *three = json_with(3, settings);
    ck_assert_str_eq(one, three);
    free(one);
    free(three);
}
END_TEST

/* ---- reports and errors ---------------------------------------------------------------------- */

START_TEST(reports)
{
    json_t *json = parse_json(json_with(1, "points=3,resamples=100,minimum_loss=5"));
    ck_assert_ptr_nonnull(json_string_value(JSON_AT(json, "verdict")));
    ck_assert_ptr_nonnull(json_string_value(JSON_AT(json, "weakest", "view")));
    ck_assert_int_eq((int)json_array_size(JSON_AT(json, "views", "randimg", "excess_high")), 3);
    ck_assert(json_is_true(JSON_AT(json, "views", "cue", "ends", "second", "minimizer")));
    ck_assert_double_eq(json_number_value(JSON_AT(json, "tolerance")), 0.1);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "statistics", "policy")), "reset");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "path", "family")), "linear");
    ck_assert_ptr_nonnull(strstr(json_string_value(JSON_AT(json, "note")), "unproved"));
    json_decref(json);

    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 40, 6, "box");
    modeconn_model *model = two_readers(context, (unit){1, 1}, 0);
    modeconn_connectivity *made = measured(model, model, data, "points=3,resamples=100");
    char *text = NULL;
    int lines = 0;
    TEXT(modeconn_connectivity_csv, made, text);
    ck_assert_msg(strncmp(text, "view,verdict,t,loss,", 20) == 0, "%s", text);
    for (const char *at = text; *at != '\0'; at++) {
        lines += *at == '\n';
    }
    ck_assert_int_eq(lines, 1 + 4 * 3);
    free(text);
    modeconn_connectivity_destroy(made);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static int32_t stop_at(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                       double accuracy, double rate, double left)
{
    (void)epoch, (void)total, (void)loss, (void)accuracy, (void)rate, (void)left;
    return step == *(int64_t *)user;
}

static int32_t stop_at_call(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                            double accuracy, double rate, double left)
{
    int64_t *calls = user;
    (void)epoch, (void)step, (void)total, (void)loss, (void)accuracy, (void)rate, (void)left;
    return --*calls == 0;
}

START_TEST(errors)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 20, 6, "box");
    modeconn_dataset *plain = planted_data(context, 20, 6, "none");
    modeconn_model *model = two_readers(context, (unit){1, 1}, 0);
    modeconn_model *wild = two_readers(context, (unit){0, 1e38}, 0);
    modeconn_options *options = options_of("connectivity", "points=3,resamples=100");
    modeconn_options *curve = options_of("curve", "");
    modeconn_options *unknown = options_of("connectivity", "views=night");
    modeconn_path *line = NULL, *far = NULL;
    modeconn_connectivity *made = NULL;
    int64_t step = 4, count = 0;
    int32_t verdict = 0;
    const char *name = NULL;
    OK(modeconn_path_linear(model, model, &line));
    OK(modeconn_path_linear(model, wild, &far));
#define MEASURE(path, data, options)                                                               \
    modeconn_connectivity_measure(path, NULL, data, options, NULL, NULL, &made)
    FAILS(MEASURE(NULL, data, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(MEASURE(line, NULL, NULL), MODECONN_ERROR_ARGUMENT, "test");
    FAILS(MEASURE(line, data, curve), MODECONN_ERROR_ARGUMENT, "curve");
    FAILS(MEASURE(line, data, unknown), MODECONN_ERROR_UNKNOWN, "night");
    FAILS(MEASURE(line, plain, options), MODECONN_ERROR_UNSUPPORTED, "no counterfactual view");
    FAILS(modeconn_connectivity_measure(line, NULL, data, options, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_connectivity_measure(line, NULL, data, options, stop_at, &step, &made),
          MODECONN_ERROR_CANCELLED, "step 4 of 12");
    /* After the last batch, while intervals are drawn. */
    OK(modeconn_options_set_i64(options, "resamples", 1000000));
    step = 13;
    FAILS(modeconn_connectivity_measure(line, NULL, data, options, stop_at_call, &step, &made),
          MODECONN_ERROR_CANCELLED, "step 12 of 12");
    OK(modeconn_options_set_i64(options, "resamples", 100));
    ck_assert_ptr_null(made);
    int32_t status = MEASURE(far, data, options);
    ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_NUMERIC);
    modeconn_connectivity_destroy(made);
    made = NULL;

    OK(MEASURE(line, data, options));
    OK(modeconn_connectivity_verdict(made, &verdict)); /* 20 samples */
    ck_assert_int_eq(verdict, MODECONN_VERDICT_UNDECIDED);
    FAILS(modeconn_connectivity_verdict(made, NULL), MODECONN_ERROR_ARGUMENT, "verdict");
    FAILS(modeconn_connectivity_verdict(NULL, &verdict), MODECONN_ERROR_ARGUMENT, "connectivity");
    FAILS(modeconn_connectivity_size(made, NULL), MODECONN_ERROR_ARGUMENT, "views");
    FAILS(modeconn_connectivity_size(NULL, &count), MODECONN_ERROR_ARGUMENT, "connectivity");
    FAILS(modeconn_connectivity_view(made, 4, &name), MODECONN_ERROR_ARGUMENT, "4");
    FAILS(modeconn_connectivity_view(made, 0, NULL), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_connectivity_get(made, "night", NULL, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_UNKNOWN, "night");
    FAILS(modeconn_connectivity_end(made, "cue", 2, NULL, NULL), MODECONN_ERROR_ARGUMENT, "2");
    FAILS(modeconn_connectivity_end(made, "night", 0, NULL, NULL), MODECONN_ERROR_UNKNOWN, "night");
    FAILS(modeconn_connectivity_end(made, NULL, 0, NULL, NULL), MODECONN_ERROR_ARGUMENT, "view");
    FAILS(modeconn_connectivity_weakest(NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "connectivity");
    FAILS(modeconn_connectivity_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "connectivity");
    FAILS(modeconn_connectivity_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "connectivity");
    modeconn_connectivity_destroy(made);
    modeconn_connectivity_destroy(NULL);
    modeconn_path_destroy(far);
    modeconn_path_destroy(line);
    modeconn_options_destroy(unknown);
    modeconn_options_destroy(curve);
    modeconn_options_destroy(options);
    modeconn_model_destroy(wild);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(plain);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(allocation_failures)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *data = planted_data(context, 10, 1, "box");
    modeconn_model *model = two_readers(context, (unit){1, 1}, 0);
    modeconn_options *options = options_of("connectivity", "points=2,resamples=100");
    modeconn_path *line = NULL;
    modeconn_connectivity *made = NULL;
    OK(modeconn_path_linear(model, model, &line));
    EVERY_ALLOCATION(&allocator, MEASURE(line, data, options), made);
    modeconn_connectivity_destroy(made);
    modeconn_path_destroy(line);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, planted_connected);
    tcase_add_test(tests, planted_disconnected);
    tcase_add_test(tests, planted_losses);
    tcase_add_test(tests, agrees_with_the_curve);
    tcase_add_test(tests, names_what_breaks);
    tcase_add_test(tests, minimizers);
    tcase_add_test(tests, symmetric_and_reflexive);
    tcase_add_test(tests, threads);
    tcase_add_test(tests, reports);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, allocation_failures);
}

int main(void)
{
    return unit_run("measure_connectivity", add);
}
