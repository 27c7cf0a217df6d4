/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Mechanistic similarity: the table of verdicts, reflexive and symmetric on planted models, reports
 * and errors.
 */
#include "planted.h"

/* Planted models: what each is to (cue, image). */
enum { CUE_READER, IMAGE_READER, BOTH_READER, AT_THE_MARGIN, PLANTED };

static modeconn_model *reader(modeconn_context *context, int which)
{
    static const double cue[PLANTED] = {3.0, 0.0, 3.0, 0.5};
    static const double signal[PLANTED] = {0.0, 4.0, 3.0, 4.0};
    return planted_model(context, cue[which], signal[which], 0.02);
}

START_TEST(table_of_verdicts)
{
    enum {
        U = MODECONN_VERDICT_UNDECIDED,
        I = MODECONN_VERDICT_INVARIANT,
        D = MODECONN_VERDICT_DEPENDENT,
        S = MODECONN_VERDICT_SIMILAR,
        N = MODECONN_VERDICT_DISSIMILAR
    };
    static const int32_t table[3][3] = {{U, U, U}, {U, S, N}, {U, N, S}};
    for (int32_t first = U; first <= D; first++) {
        for (int32_t second = U; second <= D; second++) {
            ck_assert_int_eq(mc_compare_verdict(first, second), table[first][second]);
        }
    }
}
END_TEST

static int32_t compared(const modeconn_model *first, const modeconn_model *second,
                        const modeconn_dataset *data, const char *settings)
{
    modeconn_options *options = options_of("probe", settings);
    modeconn_comparison *made = NULL;
    int32_t verdict = -1;
    OK(modeconn_compare(first, second, data, options, &made));
    OK(modeconn_comparison_verdict(made, &verdict));
    modeconn_comparison_destroy(made);
    modeconn_options_destroy(options);
    return verdict;
}

START_TEST(planted_pairs)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = planted_data(context, 500, 6, "box");
    modeconn_model *models[PLANTED];
    for (int m = 0; m < PLANTED; m++) {
        models[m] = reader(context, m);
    }
    enum {
        U = MODECONN_VERDICT_UNDECIDED,
        S = MODECONN_VERDICT_SIMILAR,
        N = MODECONN_VERDICT_DISSIMILAR
    };
    /* The last is decided about the image alone: enough to tell it from the cue reader only. */
    static const int32_t expected[PLANTED][PLANTED] = {
        {S, N, N, N}, {N, S, N, U}, {N, N, S, U}, {N, U, U, U}};
    /* The margin is the last model's own effect of the cue, which no interval can tell from it. */
    modeconn_probe *probe = NULL;
    double effect = 0.0;
    char settings[64];
    OK(modeconn_probe_measure(models[AT_THE_MARGIN], data, NULL, &probe));
    OK(modeconn_probe_get(probe, "cue", NULL, &effect, NULL, NULL));
    modeconn_probe_destroy(probe);
    ck_assert(effect > 0.02 && effect < 0.2);
    snprintf(settings, sizeof(settings), "margin=%.17g", effect);
    for (int a = 0; a < PLANTED; a++) {
        for (int b = 0; b < PLANTED; b++) { /* symmetric, and reflexive where all is decided */
            int32_t verdict = compared(models[a], models[b], data, settings);
            ck_assert_msg(verdict == expected[a][b], "%d against %d: %s", a, b,
                          modeconn_verdict_name(verdict));
        }
    }
    for (int m = 0; m < PLANTED; m++) {
        modeconn_model_destroy(models[m]);
    }
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Models of different architecture compare as any others. */
START_TEST(across_architectures)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 200, 6, "box");
    modeconn_model *model = reader(context, CUE_READER), *other = normed_model(context, 1);
    int32_t forth = compared(model, other, data, ""), back = compared(other, model, data, "");
    ck_assert_int_eq(forth, back);
    ck_assert_int_eq(forth, MODECONN_VERDICT_DISSIMILAR); /* untrained: it depends on nothing */
    modeconn_model_destroy(other);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Any models: symmetric, and a model is never dissimilar to itself. */
START_TEST(symmetric_and_reflexive)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = planted_data(context, 60, 6, "box");
    for (uint64_t pair = 0; pair < 12; pair++) {
        modeconn_model *models[2];
        for (uint32_t m = 0; m < 2; m++) {
            models[m] = planted_model(context, 2.0 * mc_random_f64(pair, STREAM_SYNTHETIC, m, 0),
                                      2.0 * mc_random_f64(pair, STREAM_SYNTHETIC, m, 1), 0.3);
            ck_assert_int_ne(compared(models[m], models[m], data, "resamples=100"),
                             MODECONN_VERDICT_DISSIMILAR);
        }
        ck_assert_int_eq(compared(models[0], models[1], data, "resamples=100"),
                         compared(models[1], models[0], data, "resamples=100"));
        modeconn_model_destroy(models[1]);
        modeconn_model_destroy(models[0]);
    }
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(reports)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 200, 6, "box");
    modeconn_model *first = reader(context, CUE_READER), *second = reader(context, IMAGE_READER);
    modeconn_options *options = options_of("probe", "margin=0.15,resamples=200");
    modeconn_comparison *made = NULL;
    modeconn_probe *single = NULL;
    OK(modeconn_compare(first, second, data, options, &made));
    OK(modeconn_probe_measure(second, data, options, &single));
    modeconn_options_destroy(options);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);

    char *text = NULL;
    TEXT(modeconn_comparison_json, made, text);
    json_t *json = parse_json(text);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "verdict")), "dissimilar");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "attributes", "cue", "verdict")),
                     "dissimilar");
    ck_assert_double_eq(json_number_value(JSON_AT(json, "margin")), 0.15);
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "n")), 200);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "data", "cue")), "box");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "models", "second", "architecture")), "graph");
    ck_assert_ptr_nonnull(strstr(json_string_value(JSON_AT(json, "note")), "unproved"));
    static const char *const sides[] = {"first", "second"};
    for (int32_t which = 0; which < 2; which++) {
        const modeconn_probe *probe = NULL;
        OK(modeconn_comparison_probe(made, which, &probe));
        for (int64_t a = 0; a < 2; a++) {
            const char *name = NULL;
            int32_t verdict = 0;
            double effect = 0.0, alone = 0.0, low = 0.0;
            OK(modeconn_probe_attribute(probe, a, &name));
            OK(modeconn_probe_get(probe, name, &verdict, &effect, &low, NULL));
            json_t *found = JSON_AT(json, "attributes", name, sides[which]);
            ck_assert_double_eq(json_number_value(JSON_AT(found, "effect")), effect);
            ck_assert_double_eq(json_number_value(JSON_AT(found, "low")), low);
            ck_assert_str_eq(json_string_value(JSON_AT(found, "verdict")),
                             modeconn_verdict_name(verdict));
            if (which == 1) { /* the same as probing that model alone */
                OK(modeconn_probe_get(single, name, NULL, &alone, NULL, NULL));
                ck_assert_double_eq(alone, effect);
            }
        }
    }
    json_decref(json);
    TEXT(modeconn_comparison_csv, made, text);
    ck_assert_msg(strncmp(text, "attribute,verdict,first_verdict,first_effect,first_low,", 55) == 0,
                  "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "\ncue,dissimilar,dependent,"));
    ck_assert_ptr_nonnull(strstr(text, "\nimage,dissimilar,invariant,"));
    free(text);
    modeconn_probe_destroy(single);
    modeconn_comparison_destroy(made);
}
END_TEST

START_TEST(errors)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 40, 1, "box");
    modeconn_dataset *plain = planted_data(context, 40, 1, "none");
    modeconn_model *model = reader(context, CUE_READER);
    modeconn_model *wild = planted_model(context, 0.0, 3e38, 3e38);
    modeconn_comparison *made = NULL;
    const modeconn_probe *probe = NULL;
    int32_t verdict = 0;
    FAILS(modeconn_compare(NULL, model, data, NULL, &made), MODECONN_ERROR_ARGUMENT, "first");
    FAILS(modeconn_compare(model, NULL, data, NULL, &made), MODECONN_ERROR_ARGUMENT, "second");
    FAILS(modeconn_compare(model, model, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT, "test");
    FAILS(modeconn_compare(model, model, data, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_compare(model, model, plain, NULL, &made), MODECONN_ERROR_UNSUPPORTED, "cue");
    FAILS(modeconn_compare(model, wild, data, NULL, &made), MODECONN_ERROR_NUMERIC, "second model");
    FAILS(modeconn_compare(wild, model, data, NULL, &made), MODECONN_ERROR_NUMERIC, "first model");
    ck_assert_ptr_null(made);
    OK(modeconn_compare(model, model, data, NULL, &made));
    FAILS(modeconn_comparison_verdict(NULL, &verdict), MODECONN_ERROR_ARGUMENT, "comparison");
    FAILS(modeconn_comparison_verdict(made, NULL), MODECONN_ERROR_ARGUMENT, "verdict");
    FAILS(modeconn_comparison_probe(made, 2, &probe), MODECONN_ERROR_ARGUMENT, "2");
    FAILS(modeconn_comparison_probe(made, 0, NULL), MODECONN_ERROR_ARGUMENT, "probe");
    FAILS(modeconn_comparison_probe(NULL, 0, &probe), MODECONN_ERROR_ARGUMENT, "comparison");
    FAILS(modeconn_comparison_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "comparison");
    FAILS(modeconn_comparison_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "comparison");
    modeconn_comparison_destroy(made);
    modeconn_comparison_destroy(NULL);
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
    modeconn_model *model = reader(context, CUE_READER);
    modeconn_options *options = options_of("probe", "resamples=100");
    modeconn_comparison *made = NULL;
    EVERY_ALLOCATION(&allocator, modeconn_compare(model, model, data, options, &made), made);
    failing_at(&allocator, 1);
    FAILS(modeconn_comparison_csv(made, NULL, 0, NULL), MODECONN_ERROR_MEMORY, "out of memory");
    modeconn_comparison_destroy(made);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

/* ---- planted pairs over seeds --------------------------------------------------------------- */

/* The margin of 0.3 nats is fixed here, before any draw. With signal 0 the effect of the cue is
 * 0.81 times the gain (planted.h): gains 0.1 and 2 lie far on either side of it. Every attribute is
 * decided with enough data: a signal of 4 makes a model depend on the image. */
enum { SEEDS = 100, PAIR_SAMPLES = 150 };

static const char *const planting = "margin=0.3,resamples=200";

static int64_t right_of(const double first[2], const double second[2], int32_t expected)
{
    int64_t right = 0;
    for (int64_t seed = 0; seed < SEEDS; seed++) {
        modeconn_context *context = context_with(1, seed);
        modeconn_dataset *data = planted_data(context, PAIR_SAMPLES, 1000 + seed, "box");
        modeconn_model *a = planted_model(context, first[0], first[1], 0.02);
        modeconn_model *b = planted_model(context, second[0], second[1], 0.02);
        right += compared(a, b, data, planting) == expected;
        modeconn_model_destroy(b);
        modeconn_model_destroy(a);
        modeconn_dataset_destroy(data);
        modeconn_context_destroy(context);
    }
    return right;
}

/* {cue, signal} of the pair: which reads what. */
START_TEST(right_in_95_of_100)
{
    static const struct {
        double first[2], second[2];
        int32_t verdict;
    } pairs[] = {
        {{2, 0}, {0.1, 0}, MODECONN_VERDICT_DISSIMILAR}, /* the cue, nothing */
        {{3, 0}, {0, 4}, MODECONN_VERDICT_DISSIMILAR},   /* the cue, the image */
        {{0.1, 0}, {0.05, 0}, MODECONN_VERDICT_SIMILAR}, /* nothing, nothing */
        {{2, 0}, {3, 0}, MODECONN_VERDICT_SIMILAR},      /* the cue, the cue */
        {{0, 4}, {0.1, 5}, MODECONN_VERDICT_SIMILAR},    /* the image, the image */
    };
    ck_assert_int_ge(right_of(pairs[_i].first, pairs[_i].second, pairs[_i].verdict), 95);
}
END_TEST

/* ---- progress ------------------------------------------------------------------------------- */

typedef struct watch {
    int64_t stop, step, total, epoch;
} watch;

static int32_t watching(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                        double accuracy, double rate, double left)
{
    watch *seen = user;
    (void)loss, (void)accuracy, (void)rate, (void)left;
    ck_assert_int_eq(step, seen->step + 1);
    ck_assert_int_ge(epoch, seen->epoch);
    seen->step = step;
    seen->total = total;
    seen->epoch = epoch;
    return step == seen->stop;
}

/* 3 views of 2 batches a model; a cancelled comparison gives nothing, a whole one what it gives
 * without a callback. */
START_TEST(progress)
{
    modeconn_context *context = context_with(1, 0);
    modeconn_dataset *data = planted_data(context, 60, 6, "box");
    modeconn_model *first = reader(context, CUE_READER), *second = reader(context, IMAGE_READER);
    modeconn_options *options = options_of("probe", "batch_size=40,resamples=100");
    modeconn_comparison *made = NULL;
    modeconn_probe *probe = NULL;
    int32_t verdict = 0;
    for (int64_t stop = 1; stop <= 12; stop++) {
        watch seen = {.stop = stop};
        int32_t status =
            modeconn_compare_with_progress(first, second, data, options, watching, &seen, &made);
        ck_assert_int_eq(status, MODECONN_ERROR_CANCELLED);
        ck_assert_ptr_null(made);
        ck_assert_int_eq(seen.step, stop);
        ck_assert_ptr_nonnull(
            strstr(modeconn_last_error(), stop <= 6 ? "first model" : "second model"));
    }
    watch seen = {0};
    OK(modeconn_compare_with_progress(first, second, data, options, watching, &seen, &made));
    ck_assert(seen.step == 12 && seen.total == 12 && seen.epoch == 4);
    OK(modeconn_comparison_verdict(made, &verdict));
    ck_assert_int_eq(verdict, compared(first, second, data, "batch_size=40,resamples=100"));
    modeconn_comparison_destroy(made);
    seen = (watch){.stop = 3};
    FAILS(modeconn_probe_measure_with_progress(first, data, options, watching, &seen, &probe),
          MODECONN_ERROR_CANCELLED, "step 3 of 6");
    ck_assert_ptr_null(probe);
    modeconn_options_destroy(options);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, right_in_95_of_100, 0, 5);
    tcase_add_test(tests, progress);
    tcase_add_test(tests, table_of_verdicts);
    tcase_add_test(tests, planted_pairs);
    tcase_add_test(tests, across_architectures);
    tcase_add_test(tests, symmetric_and_reflexive);
    tcase_add_test(tests, reports);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, allocation_failures);
}

int main(void)
{
    return unit_run("measure_compare", add);
}
