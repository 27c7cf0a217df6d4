/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariance probes: verdicts on planted models over 100 draws of the data, effects against closed
 * forms and single evaluations, reports and errors.
 */
#include "planted.h"

enum { SEEDS = 100, ENOUGH = 95, SAMPLES = 400 };

/* Fixed before any verdict was looked at. */
#define MARGIN 0.1
#define CUE_AT(effect) ((effect) / 0.81)

static modeconn_probe *probe_of(const modeconn_model *model, const modeconn_dataset *data,
                                const char *settings)
{
    modeconn_options *options = options_of("probe", settings);
    modeconn_probe *probe = NULL;
    OK(modeconn_probe_measure(model, data, options, &probe));
    modeconn_options_destroy(options);
    return probe;
}

/* In how many of 100 draws of the data each attribute gets the verdict that was planted. */
static void count_verdicts(double cue, double signal, double noise, const char *settings,
                           int32_t cue_verdict, int32_t image_verdict, int right[2])
{
    modeconn_context *context = context_with(2, 0);
    modeconn_model *model = planted_model(context, cue, signal, noise);
    right[0] = right[1] = 0;
    for (int64_t seed = 1; seed <= SEEDS; seed++) {
        modeconn_dataset *data = planted_data(context, SAMPLES, seed, "box");
        modeconn_probe *probe = probe_of(model, data, settings);
        int32_t verdict = 0;
        OK(modeconn_probe_get(probe, "cue", &verdict, NULL, NULL, NULL));
        right[0] += verdict == cue_verdict;
        OK(modeconn_probe_get(probe, "image", &verdict, NULL, NULL, NULL));
        right[1] += verdict == image_verdict;
        modeconn_probe_destroy(probe);
        modeconn_dataset_destroy(data);
    }
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
}

#define RIGHT(count, least)                                                                        \
    ck_assert_msg((count) >= (least), "right in %d of %d seeds", (count), SEEDS)

/* Reads the image and, a little, the cue: a true effect of at most 0.037 against 0.1. */
START_TEST(planted_invariant)
{
    int right[2];
    count_verdicts(CUE_AT(0.3 * MARGIN), 4.0, 0.5, "resamples=300", MODECONN_VERDICT_INVARIANT,
                   MODECONN_VERDICT_DEPENDENT, right);
    RIGHT(right[0], ENOUGH);
    RIGHT(right[1], ENOUGH);
}
END_TEST

/* Half and twice the margin, and noise of the image that says nothing about the label. */
START_TEST(planted_half_and_twice)
{
    int right[2];
    count_verdicts(CUE_AT(0.5 * MARGIN), 0.0, 0.25, "resamples=300", MODECONN_VERDICT_INVARIANT,
                   MODECONN_VERDICT_INVARIANT, right);
    RIGHT(right[0], ENOUGH);
    RIGHT(right[1], ENOUGH);
    count_verdicts(CUE_AT(2.0 * MARGIN), 0.0, 0.25, "resamples=300", MODECONN_VERDICT_DEPENDENT,
                   MODECONN_VERDICT_INVARIANT, right);
    RIGHT(right[0], ENOUGH);
    RIGHT(right[1], ENOUGH);
}
END_TEST

/* Reads little but the cue. */
START_TEST(planted_dependent)
{
    int right[2];
    count_verdicts(3.0, 0.0, 0.25, "resamples=300", MODECONN_VERDICT_DEPENDENT,
                   MODECONN_VERDICT_INVARIANT, right);
    RIGHT(right[0], ENOUGH);
    RIGHT(right[1], ENOUGH);
}
END_TEST

/* True effect = margin: no amount of data can tell, and a decision is an error of the interval,
 * expected once in 100 at the default confidence of 0.99. */
START_TEST(planted_between)
{
    int right[2];
    count_verdicts(CUE_AT(MARGIN), 0.0, 0.25, "", MODECONN_VERDICT_UNDECIDED,
                   MODECONN_VERDICT_INVARIANT, right);
    RIGHT(right[0], ENOUGH);
    RIGHT(right[1], ENOUGH);
}
END_TEST

/* The margin decides: the same model, margins on both sides of its effect of 0.405. */
START_TEST(margin_moves_the_verdict)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 2000, 1, "box");
    modeconn_model *model = planted_model(context, 0.5, 0.0, 0.1);
    static const char *const settings[] = {"margin=0.3", "margin=0.405", "margin=0.5"};
    static const int32_t expected[] = {MODECONN_VERDICT_DEPENDENT, MODECONN_VERDICT_UNDECIDED,
                                       MODECONN_VERDICT_INVARIANT};
    for (int i = 0; i < 3; i++) {
        modeconn_probe *probe = probe_of(model, data, settings[i]);
        int32_t verdict = 0;
        double effect = 0.0, low = 0.0, high = 0.0;
        OK(modeconn_probe_get(probe, "cue", &verdict, &effect, &low, &high));
        ck_assert_int_eq(verdict, expected[i]);
        ck_assert_double_eq_tol(effect, 0.405, 0.02);
        ck_assert(low < effect && effect < high && high - low < 0.05);
        modeconn_probe_destroy(probe);
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* The effect is the difference of the views' losses, whatever view and proportion the data set is
 * seen through. */
START_TEST(effect_is_the_difference_of_views)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = planted_data(context, 150, 8, "box"), *seen = NULL;
    modeconn_model *model = planted_model(context, 1.0, 2.0, 0.3);
    double cue = 0.0, randcue = 0.0, randimg = 0.0, effect = 0.0;
    OK(modeconn_dataset_view(data, "cue", 0.2, &seen));
    expect_view(model, data, "cue", &cue, &effect);
    expect_view(model, data, "randcue", &randcue, &effect);
    expect_view(model, data, "randimg", &randimg, &effect);
    modeconn_probe *probe = probe_of(model, seen, "batch_size=64");
    OK(modeconn_probe_get(probe, "cue", NULL, &effect, NULL, NULL));
    ck_assert_double_eq_tol(effect, randcue - cue, 1e-5);
    OK(modeconn_probe_get(probe, "image", NULL, &effect, NULL, NULL));
    ck_assert_double_eq_tol(effect, randimg - cue, 1e-5);
    modeconn_probe_destroy(probe);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(seen);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Blind to the cue: no sample's loss moves at all. */
START_TEST(exactly_invariant)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 100, 8, "box");
    modeconn_model *model = planted_model(context, 0.0, 2.0, 0.3);
    modeconn_probe *probe = probe_of(model, data, "");
    int32_t verdict = 0;
    double effect = 1.0, low = 1.0, high = 1.0;
    OK(modeconn_probe_get(probe, "cue", &verdict, &effect, &low, &high));
    ck_assert_int_eq(verdict, MODECONN_VERDICT_INVARIANT);
    ck_assert_double_eq(effect, 0.0);
    ck_assert_double_eq(low, 0.0);
    ck_assert_double_eq(high, 0.0);
    modeconn_probe_destroy(probe);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(verdict_rule)
{
    ck_assert_int_eq(mc_probe_verdict(-0.1, 0.09, 0.1, 1000), MODECONN_VERDICT_INVARIANT);
    ck_assert_int_eq(mc_probe_verdict(-2.0, -1.0, 0.1, 1000), MODECONN_VERDICT_INVARIANT);
    ck_assert_int_eq(mc_probe_verdict(0.11, 0.2, 0.1, 1000), MODECONN_VERDICT_DEPENDENT);
    ck_assert_int_eq(mc_probe_verdict(0.09, 0.11, 0.1, 1000), MODECONN_VERDICT_UNDECIDED);
    ck_assert_int_eq(mc_probe_verdict(0.0, 0.1, 0.1, 1000), MODECONN_VERDICT_UNDECIDED);
    ck_assert_int_eq(mc_probe_verdict(0.1, 0.2, 0.1, 1000), MODECONN_VERDICT_UNDECIDED);
    ck_assert_int_eq(mc_probe_verdict(0.0, 0.0, 0.1, 29), MODECONN_VERDICT_UNDECIDED);
    ck_assert_int_eq(mc_probe_verdict(0.0, 0.0, 0.1, 30), MODECONN_VERDICT_INVARIANT);
    ck_assert_str_eq(modeconn_verdict_name(MODECONN_VERDICT_UNDECIDED), "undecided");
    ck_assert_str_eq(modeconn_verdict_name(MODECONN_VERDICT_INVARIANT), "invariant");
    ck_assert_str_eq(modeconn_verdict_name(MODECONN_VERDICT_DEPENDENT), "dependent");
    ck_assert_str_eq(modeconn_verdict_name(MODECONN_VERDICT_SIMILAR), "similar");
    ck_assert_str_eq(modeconn_verdict_name(MODECONN_VERDICT_DISSIMILAR), "dissimilar");
    ck_assert_str_eq(modeconn_verdict_name(7), "unknown verdict");
    ck_assert_str_eq(modeconn_verdict_name(-1), "unknown verdict");
}
END_TEST

/* A handful of samples decides nothing, not even without any variation. */
START_TEST(too_few_samples)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 20, 8, "box");
    modeconn_model *model = planted_model(context, 0.0, 5.0, 0.0);
    modeconn_probe *probe = probe_of(model, data, "");
    int32_t verdict = 9;
    OK(modeconn_probe_get(probe, "cue", &verdict, NULL, NULL, NULL));
    ck_assert_int_eq(verdict, MODECONN_VERDICT_UNDECIDED);
    OK(modeconn_probe_get(probe, "image", &verdict, NULL, NULL, NULL));
    ck_assert_int_eq(verdict, MODECONN_VERDICT_UNDECIDED);
    modeconn_probe_destroy(probe);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(seeds_and_threads)
{
    static const char *const settings[] = {"seed=1", "seed=1", "seed=1", "seed=1", "seed=2"};
    static const int64_t threads[] = {1, 2, 3, 8, 1};
    double low[5], high[5], effect[5];
    for (int i = 0; i < 5; i++) {
        modeconn_context *context = context_with(threads[i], 0);
        modeconn_dataset *data = planted_data(context, 300, 8, "box");
        modeconn_model *model = planted_model(context, 1.0, 1.0, 0.5);
        modeconn_probe *probe = probe_of(model, data, settings[i]);
        OK(modeconn_probe_get(probe, "image", NULL, &effect[i], &low[i], &high[i]));
        modeconn_probe_destroy(probe);
        modeconn_model_destroy(model);
        modeconn_dataset_destroy(data);
        modeconn_context_destroy(context);
    }
    for (int i = 1; i < 4; i++) {
        ck_assert(memcmp(&low[0], &low[i], sizeof(double)) == 0);
        ck_assert(memcmp(&high[0], &high[i], sizeof(double)) == 0);
        ck_assert(memcmp(&effect[0], &effect[i], sizeof(double)) == 0);
    }
    ck_assert_double_eq(effect[0], effect[4]); /* the seed is the bootstrap's */
    ck_assert_double_ne(low[0], low[4]);
}
END_TEST

START_TEST(reports)
{
    modeconn_context *context = context_with(1, 31);
    modeconn_dataset *data = planted_data(context, 64, 8, "box");
    modeconn_model *model = planted_model(context, 1.0, 1.0, 0.5);
    modeconn_probe *probe = probe_of(model, data, "margin=0.2,confidence=0.9,resamples=300");
    modeconn_model_destroy(model); /* results keep copies of all they report */
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    int64_t count = 0;
    OK(modeconn_probe_size(probe, &count));
    ck_assert_int_eq(count, 2);
    char *text = NULL;
    TEXT(modeconn_probe_json, probe, text);
    json_t *json = parse_json(text);
    char *csv = NULL;
    TEXT(modeconn_probe_csv, probe, csv);
    ck_assert_msg(strncmp(csv, "attribute,verdict,effect,low,high,margin,confidence,n\ncue,", 58) ==
                      0,
                  "%s", csv);
    for (int64_t a = 0; a < count; a++) {
        const char *name = NULL;
        int32_t verdict = 0;
        double effect = 0.0, low = 0.0, high = 0.0;
        OK(modeconn_probe_attribute(probe, a, &name));
        ck_assert_str_eq(name, a == 0 ? "cue" : "image");
        OK(modeconn_probe_get(probe, name, &verdict, &effect, &low, &high));
        json_t *found = JSON_AT(json, "attributes", name);
        ck_assert_str_eq(json_string_value(JSON_AT(found, "verdict")),
                         modeconn_verdict_name(verdict));
        ck_assert_double_eq(json_number_value(JSON_AT(found, "effect")), effect);
        ck_assert_double_eq(json_number_value(JSON_AT(found, "low")), low);
        ck_assert_double_eq(json_number_value(JSON_AT(found, "high")), high);
        char start[64];
        snprintf(start, sizeof(start), "\n%s,%s,", name, modeconn_verdict_name(verdict));
        char *line = strstr(csv, start);
        ck_assert_ptr_nonnull(line);
        ck_assert_double_eq(strtod(line + strlen(start), NULL), effect);
    }
    ck_assert_ptr_nonnull(strstr(csv, ",0.2,0.9,64\n"));
    free(csv);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "margin")), 0.2);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "confidence")), 0.9);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "resamples")), 300);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "seed")), 31);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "n")), 64);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "data", "cue")), "box");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "model", "architecture")), "graph");
    json_decref(json);
    modeconn_probe_destroy(probe);
}
END_TEST

START_TEST(errors)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 20, 1, "box");
    modeconn_dataset *plain = planted_data(context, 20, 1, "none"), *other = NULL;
    modeconn_model *model = planted_model(context, 1.0, 1.0, 0.0);
    modeconn_model *wild = planted_model(context, 0.0, 3e38, 3e38);
    modeconn_options *evaluate = options_of("evaluate", ""), *options = options_of("probe", "");
    modeconn_probe *probe = NULL;
    const char *name = NULL;
    float pixels[25] = {0};
    int32_t label = 0;
    OK(modeconn_dataset_from_f32(context, pixels, &label, 1, 1, 5, 5, 10, NULL, &other));
    FAILS(modeconn_probe_measure(NULL, data, NULL, &probe), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_probe_measure(model, NULL, NULL, &probe), MODECONN_ERROR_ARGUMENT, "test");
    FAILS(modeconn_probe_measure(model, data, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_probe_measure(model, data, evaluate, &probe), MODECONN_ERROR_ARGUMENT, "probe");
    FAILS(modeconn_probe_measure(model, plain, NULL, &probe), MODECONN_ERROR_UNSUPPORTED, "cue");
    FAILS(modeconn_probe_measure(model, other, NULL, &probe), MODECONN_ERROR_SHAPE, "5x5");
    FAILS(modeconn_probe_measure(wild, data, NULL, &probe), MODECONN_ERROR_NUMERIC, "view cue");
    ck_assert_ptr_null(probe);
    FAILS(modeconn_options_set_f64(options, "margin", 0.0), MODECONN_ERROR_ARGUMENT, "margin");
    FAILS(modeconn_options_set_f64(options, "confidence", 1.0), MODECONN_ERROR_ARGUMENT,
          "confidence");
    FAILS(modeconn_options_set_f64(options, "confidence", 0.0), MODECONN_ERROR_ARGUMENT,
          "confidence");
    FAILS(modeconn_options_set_i64(options, "resamples", 99), MODECONN_ERROR_ARGUMENT, "resamples");
    OK(modeconn_probe_measure(model, data, options, &probe));
    FAILS(modeconn_probe_size(probe, NULL), MODECONN_ERROR_ARGUMENT, "attributes");
    FAILS(modeconn_probe_size(NULL, NULL), MODECONN_ERROR_ARGUMENT, "probe");
    FAILS(modeconn_probe_attribute(probe, 2, &name), MODECONN_ERROR_ARGUMENT, "2");
    FAILS(modeconn_probe_attribute(probe, -1, &name), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_probe_attribute(probe, 0, NULL), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_probe_attribute(NULL, 0, &name), MODECONN_ERROR_ARGUMENT, "probe");
    FAILS(modeconn_probe_get(probe, "texture", NULL, NULL, NULL, NULL), MODECONN_ERROR_UNKNOWN,
          "texture");
    FAILS(modeconn_probe_get(probe, NULL, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "attribute");
    FAILS(modeconn_probe_get(NULL, "cue", NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "probe");
    FAILS(modeconn_probe_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "probe");
    FAILS(modeconn_probe_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "probe");
    modeconn_probe_destroy(probe);
    modeconn_probe_destroy(NULL);
    modeconn_options_destroy(options);
    modeconn_options_destroy(evaluate);
    modeconn_model_destroy(wild);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(other);
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
    modeconn_model *model = planted_model(context, 1.0, 1.0, 0.0);
    modeconn_options *options = options_of("probe", "resamples=100");
    modeconn_probe *probe = NULL;
    EVERY_ALLOCATION(&allocator, modeconn_probe_measure(model, data, options, &probe), probe);
    failing_at(&allocator, 1);
    FAILS(modeconn_probe_csv(probe, NULL, 0, NULL), MODECONN_ERROR_MEMORY, "out of memory");
    modeconn_probe_destroy(probe);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, planted_invariant);
    tcase_add_test(tests, planted_half_and_twice);
    tcase_add_test(tests, planted_dependent);
    tcase_add_test(tests, planted_between);
    tcase_add_test(tests, margin_moves_the_verdict);
    tcase_add_test(tests, effect_is_the_difference_of_views);
    tcase_add_test(tests, exactly_invariant);
    tcase_add_test(tests, verdict_rule);
    tcase_add_test(tests, too_few_samples);
    tcase_add_test(tests, seeds_and_threads);
    tcase_add_test(tests, reports);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, allocation_failures);
}

int main(void)
{
    return unit_run("measure_probe", add);
}
