/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of lib/nn/history.c: the table, its getters, and JSON and CSV.
 */
#include "failing.h"
#include "nn/nn.h"
#include "unit.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

static modeconn_context *context;
static failing memory;

static void setup(void)
{
    context = failing_context(&memory);
}

static void teardown(void)
{
    modeconn_context_destroy(context);
    ck_assert_int_eq(memory.live, 0);
}

static const char *const columns[] = {"loss", "accuracy", "loss_barrier"};

/* Two epochs; the second has no accuracy and an awkward loss. */
static modeconn_history *sample(void)
{
    static const double rows[2][3] = {{2.5, 0.125, -1}, {0.1, (double)NAN, 1e-300}};
    modeconn_history *history = NULL;
    OK(mc_history_create(context, columns, 3, &history));
    OK(mc_history_append(history, rows[0]));
    OK(mc_history_append(history, rows[1]));
    return history;
}

static double value_of(const modeconn_history *history, const char *column, int64_t epoch)
{
    double value = -99;
    OK(modeconn_history_value(history, column, epoch, &value));
    return value;
}

START_TEST(test_getters)
{
    modeconn_history *history = sample();
    int64_t epochs = 0, n = 0;
    OK(modeconn_history_size(history, &epochs, &n));
    OK(modeconn_history_size(history, NULL, NULL));
    ck_assert_int_eq(epochs, 2);
    ck_assert_int_eq(n, 3);
    for (int64_t i = 0; i < n; i++) {
        const char *name = NULL;
        OK(modeconn_history_column(history, i, &name));
        ck_assert_str_eq(name, columns[i]);
    }
    ck_assert_double_eq(value_of(history, "loss", 0), 2.5);
    ck_assert_double_eq(value_of(history, "accuracy", 0), 0.125);
    ck_assert(isnan(value_of(history, "accuracy", 1)));
    ck_assert_double_eq(value_of(history, "loss_barrier", 1), 1e-300);
    modeconn_history_destroy(history);
    modeconn_history_destroy(NULL);
}
END_TEST

START_TEST(test_getters_refuse)
{
    modeconn_history *history = sample();
    modeconn_history *out = history;
    const char *name = "before";
    double value = 7;
    FAILS(modeconn_history_size(NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "history");
    FAILS(modeconn_history_column(NULL, 0, &name), MODECONN_ERROR_ARGUMENT, "history");
    FAILS(modeconn_history_column(history, 0, NULL), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_history_column(history, -1, &name), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_history_column(history, 3, &name), MODECONN_ERROR_ARGUMENT, "column 3");
    ck_assert_str_eq(name, "before");
    FAILS(modeconn_history_value(NULL, "loss", 0, &value), MODECONN_ERROR_ARGUMENT, "history");
    FAILS(modeconn_history_value(history, NULL, 0, &value), MODECONN_ERROR_ARGUMENT, "column");
    FAILS(modeconn_history_value(history, "loss", 0, NULL), MODECONN_ERROR_ARGUMENT, "value");
    FAILS(modeconn_history_value(history, "lost", 0, &value), MODECONN_ERROR_UNKNOWN, "\"lost\"");
    FAILS(modeconn_history_value(history, "loss", 2, &value), MODECONN_ERROR_ARGUMENT, "epoch 2");
    FAILS(modeconn_history_value(history, "loss", -1, &value), MODECONN_ERROR_ARGUMENT, "-1");
    ck_assert_double_eq(value, 7);
    FAILS(modeconn_history_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "history");
    FAILS(modeconn_history_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "history");
    FAILS(modeconn_model_history(NULL, &out), MODECONN_ERROR_ARGUMENT, "model");
    ck_assert_ptr_null(out);
    FAILS(modeconn_model_history(NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    modeconn_history_destroy(history);
}
END_TEST

START_TEST(test_json)
{
    modeconn_history *history = sample();
    char *text = NULL;
    TEXT(modeconn_history_json, history, text);
    json_t *root = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_uint_eq(json_array_size(json_object_get(root, "columns")), 3);
    const json_t *epochs = json_object_get(root, "epochs");
    ck_assert_uint_eq(json_array_size(epochs), 2);
    const json_t *last = json_array_get(epochs, 1);
    ck_assert_double_eq(json_real_value(json_object_get(last, "loss")), 0.1);
    ck_assert(json_is_null(json_object_get(last, "accuracy")));
    json_decref(root);
    free(text);
    modeconn_history_destroy(history);
}
END_TEST

START_TEST(test_csv)
{
    modeconn_history *history = sample();
    char *text = NULL;
    TEXT(modeconn_history_csv, history, text);
    ck_assert_str_eq(text, "epoch,loss,accuracy,loss_barrier\n"
                           "0,2.5,0.125,-1\n"
                           "1,0.1,nan,1e-300\n");
    free(text);
    modeconn_history_destroy(history);

    static const char *const awkward[] = {"a,b", "say \"x\"", "100%s"};
    OK(mc_history_create(context, awkward, 3, &history));
    TEXT(modeconn_history_csv, history, text);
    ck_assert_str_eq(text, "epoch,\"a,b\",\"say \"\"x\"\"\",100%s\n");
    free(text);
    modeconn_history_destroy(history);
}
END_TEST

START_TEST(test_empty)
{
    modeconn_history *history = NULL, *back = NULL;
    OK(mc_history_create(context, NULL, 0, &history));
    char *json = NULL;
    TEXT(modeconn_history_json, history, json);
    char *csv = NULL;
    TEXT(modeconn_history_csv, history, csv);
    ck_assert_str_eq(csv, "epoch\n");
    int64_t epochs = -1, n = -1;
    OK(mc_history_from_json(context, json, &back));
    OK(modeconn_history_size(back, &epochs, &n));
    ck_assert_int_eq(epochs, 0);
    ck_assert_int_eq(n, 0);
    free(json);
    free(csv);
    modeconn_history_destroy(history);
    modeconn_history_destroy(back);
}
END_TEST

START_TEST(test_json_reads_back_bit_for_bit)
{
    modeconn_history *history = sample(), *back = NULL;
    for (int i = 0; i < 40; i++) { /* beyond the first reservation */
        double row[3] = {1.0 / (i + 3), exp(-50.0 * i), i};
        OK(mc_history_append(history, row));
    }
    char *text = NULL;
    TEXT(modeconn_history_json, history, text);
    OK(mc_history_from_json(context, text, &back));
    ck_assert_int_eq(back->n_epochs, 42);
    ck_assert_int_eq(back->n_columns, 3);
    for (int64_t i = 0; i < 3 * 42; i++) {
        ck_assert(memcmp(&back->values[i], &history->values[i], sizeof(double)) == 0 ||
                  (isnan(back->values[i]) && isnan(history->values[i])));
    }
    free(text);
    modeconn_history_destroy(history);
    modeconn_history_destroy(back);
}
END_TEST

START_TEST(test_damaged_json)
{
    static const struct {
        const char *json, *culprit;
    } cases[] = {
        {"", ""},
        {"{", ""},
        {"[]", "\"columns\""},
        {"{\"columns\":{},\"epochs\":[]}", "\"columns\""},
        {"{\"columns\":[1],\"epochs\":[]}", "column 0"},
        {"{\"columns\":[\"a\",\"a\"],\"epochs\":[]}", "column \"a\""},
        {"{\"columns\":[\"a\"]}", "\"epochs\""},
        {"{\"columns\":[\"a\"],\"epochs\":3}", "\"epochs\""},
        {"{\"columns\":[\"a\"],\"epochs\":[{\"a\":1},7]}", "epoch 1"},
        {"{\"columns\":[\"a\"],\"epochs\":[{\"a\":1},{}]}", "epoch 1: \"a\" is missing"},
        {"{\"columns\":[\"a\"],\"epochs\":[{\"a\":\"x\"}]}", "epoch 0: \"a\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        modeconn_history *history = (modeconn_history *)&memory;
        FAILS(mc_history_from_json(context, cases[i].json, &history), MODECONN_ERROR_FORMAT,
              cases[i].culprit);
        ck_assert_ptr_null(history);
    }
    char many[2048] = "{\"columns\":[\"0\"";
    for (int i = 1; i < 257; i++) {
        snprintf(many + strlen(many), 8, ",\"%d\"", i);
    }
    strcat(many, "],\"epochs\":[]}");
    modeconn_history *history = NULL;
    FAILS(mc_history_from_json(context, many, &history), MODECONN_ERROR_FORMAT, "256");
}
END_TEST

START_TEST(test_null_of_a_file_is_nan)
{
    modeconn_history *history = NULL;
    OK(mc_history_from_json(context,
                            "{\"columns\":[\"a\",\"b\"],\"epochs\":[{\"b\":2,\"a\":null,\"c\":0}]}",
                            &history));
    ck_assert(isnan(value_of(history, "a", 0)));
    ck_assert_double_eq(value_of(history, "b", 0), 2);
    modeconn_history_destroy(history);
}
END_TEST

START_TEST(test_clone_without_a_column)
{
    modeconn_history *history = sample(), *copy = NULL;
    int64_t epochs = 0, n = 0;
    double value = 0;
    OK(mc_history_clone_without(history, "accuracy", &copy));
    OK(modeconn_history_size(copy, &epochs, &n));
    ck_assert(epochs == 2 && n == 2);
    FAILS(modeconn_history_value(copy, "accuracy", 0, &value), MODECONN_ERROR_UNKNOWN, "accuracy");
    for (int64_t epoch = 0; epoch < 2; epoch++) {
        ck_assert_double_eq(value_of(copy, "loss", epoch), value_of(history, "loss", epoch));
        ck_assert_double_eq(value_of(copy, "loss_barrier", epoch),
                            value_of(history, "loss_barrier", epoch));
    }
    modeconn_history_destroy(copy);
    OK(mc_history_clone_without(history, "nothing of the kind", &copy));
    ck_assert_int_eq(copy->n_columns, 3);
    modeconn_history_destroy(copy);
    modeconn_history_destroy(history);
}
END_TEST

START_TEST(test_clone_is_independent_and_take_is_not)
{
    static const double row[3] = {1, 2, 3};
    modeconn_history *history = sample(), *copy = NULL, *same = mc_history_take(history);
    OK(mc_history_clone(history, &copy));
    OK(mc_history_append(copy, row));
    ck_assert_int_eq(history->n_epochs, 2);
    ck_assert_int_eq(copy->n_epochs, 3);
    ck_assert_ptr_eq(same, history);
    modeconn_history_destroy(history);
    ck_assert_double_eq(value_of(same, "loss", 0), 2.5);
    ck_assert_double_eq(value_of(copy, "loss", 0), 2.5);
    ck_assert_double_eq(value_of(copy, "loss_barrier", 2), 3);
    modeconn_history_destroy(same);
    modeconn_history_destroy(copy);
}
END_TEST

/* Every allocation of a creation, an append, a clone, a reading back and a CSV fails in turn. */
START_TEST(test_out_of_memory)
{
    static const double row[3] = {1, 2, 3};
    long before = memory.live;
    for (long k = 1;; k++) {
        modeconn_history *history = NULL, *copy = NULL, *back = NULL;
        failing_at(&memory, k);
        int32_t status = mc_history_create(context, columns, 3, &history);
        if (status == MODECONN_OK) {
            status = mc_history_append(history, row);
        }
        if (status == MODECONN_OK) {
            status = mc_history_clone(history, &copy);
        }
        if (status == MODECONN_OK) {
            status = mc_history_from_json(context, "{\"columns\":[\"a\"],\"epochs\":[{\"a\":1}]}",
                                          &back);
        }
        if (status == MODECONN_OK) {
            status = modeconn_history_csv(history, NULL, 0, NULL);
        }
        failing_at(&memory, 0);
        modeconn_history_destroy(history);
        modeconn_history_destroy(copy);
        modeconn_history_destroy(back);
        ck_assert_int_eq(memory.live, before);
        if (status == MODECONN_OK) {
            ck_assert_int_gt(k, 15);
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_getters);
    tcase_add_test(tests, test_getters_refuse);
    tcase_add_test(tests, test_json);
    tcase_add_test(tests, test_csv);
    tcase_add_test(tests, test_empty);
    tcase_add_test(tests, test_json_reads_back_bit_for_bit);
    tcase_add_test(tests, test_damaged_json);
    tcase_add_test(tests, test_null_of_a_file_is_nan);
    tcase_add_test(tests, test_clone_without_a_column);
    tcase_add_test(tests, test_clone_is_independent_and_take_is_not);
    tcase_add_test(tests, test_out_of_memory);
}

int main(void)
{
    return unit_run("nn_history", add);
}
