/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Options objects: every kind's table, setters, getters, parsing, and their errors.
 */
#include "unit.h"
#include "core/core.h"
#include "failing.h"

#include <math.h>

static modeconn_options *make(const char *kind)
{
    modeconn_options *options = NULL;

    OK(modeconn_options_create(NULL, kind, &options));
    return options;
}

START_TEST(kinds_are_listed)
{
    int64_t count = 0;
    const char *name = NULL;
    bool found = false;

    OK(modeconn_options_kind_count(&count));
    ck_assert_int_ge(count, 2);
    for (int64_t i = 0; i < count; i++) {
        OK(modeconn_options_kind_name(i, &name));
        found = found || strcmp(name, "train") == 0;
    }
    ck_assert(found);
    FAILS(modeconn_options_kind_count(NULL), MODECONN_ERROR_ARGUMENT, "count");
    FAILS(modeconn_options_kind_name(0, NULL), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_options_kind_name(-1, &name), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_options_kind_name(count, &name), MODECONN_ERROR_ARGUMENT, "index");
}
END_TEST

START_TEST(creation_checks_its_arguments)
{
    modeconn_options *options = (modeconn_options *)1;

    FAILS(modeconn_options_create(NULL, "trian", &options), MODECONN_ERROR_UNKNOWN,
          "did you mean \"train\"?");
    ck_assert_ptr_null(options);
    options = (modeconn_options *)1;
    FAILS(modeconn_options_create(NULL, NULL, &options), MODECONN_ERROR_ARGUMENT, "kind");
    ck_assert_ptr_null(options);
    FAILS(modeconn_options_create(NULL, "train", NULL), MODECONN_ERROR_ARGUMENT, "out");
    modeconn_options_destroy(NULL);
}
END_TEST

/* One row of a table: described in full, and its default accepted from text. */
static void check_row(modeconn_options *options, int64_t index)
{
    const char *key, *by_default, *range, *help;
    int32_t type;

    OK(modeconn_options_describe(options, index, &key, &type, &by_default, &range, &help));
    ck_assert_msg(help != NULL && strlen(help) > 5, "%s has no help", key);
    ck_assert_ptr_nonnull(range);
    if (type == MODECONN_OPTION_I64) {
        int64_t before, after;
        OK(modeconn_options_get_i64(options, key, &before));
        OK(modeconn_options_set_text(options, key, by_default));
        OK(modeconn_options_get_i64(options, key, &after));
        ck_assert_int_eq(before, after);
        ck_assert(range[0] == '[' || range[0] == '(');
    } else if (type == MODECONN_OPTION_F64) {
        double before, after;
        OK(modeconn_options_get_f64(options, key, &before));
        OK(modeconn_options_set_text(options, key, by_default));
        OK(modeconn_options_get_f64(options, key, &after));
        ck_assert_double_eq(before, after);
        ck_assert(range[0] == '[' || range[0] == '(');
    } else {
        const char *text;
        ck_assert_int_eq(type, MODECONN_OPTION_STR);
        OK(modeconn_options_get_str(options, key, &text));
        ck_assert_str_eq(text, by_default);
        OK(modeconn_options_set_text(options, key, by_default));
        OK(modeconn_options_get_str(options, key, &text));
        ck_assert_str_eq(text, by_default);
    }
    ck_assert_int_eq(mc_option_find(options->kind, key), index); /* no key twice */
}

START_TEST(every_row_of_every_kind)
{
    int64_t kinds = 0;

    OK(modeconn_options_kind_count(&kinds));
    for (int64_t i = 0; i < kinds; i++) {
        const char *name;
        int64_t rows = 0;
        OK(modeconn_options_kind_name(i, &name));
        modeconn_options *options = make(name);
        ck_assert_ptr_eq(options->kind, mc_option_kinds[i]); /* no kind twice */
        OK(modeconn_options_count(options, &rows));
        ck_assert_int_ge(rows, 0); /* some layers have no settings */
        for (int64_t row = 0; row < rows; row++) {
            check_row(options, row);
        }
        modeconn_options_destroy(options);
    }
}
END_TEST

/* Range text of one key. */
static const char *range_of(const modeconn_options *options, const char *key)
{
    const char *range = NULL;

    OK(modeconn_options_describe(options, mc_option_find(options->kind, key), NULL, NULL, NULL,
                                 &range, NULL));
    return range;
}

START_TEST(ranges_are_described)
{
    modeconn_options *train = make("train"), *context = make("context"), *model = make("model");

    ck_assert_str_eq(range_of(train, "momentum"), "[0, 1]");
    ck_assert_str_eq(range_of(train, "learning_rate"), "(0, inf)");
    ck_assert_str_eq(range_of(train, "weight_decay"), "[0, inf)");
    ck_assert_str_eq(range_of(train, "nesterov"), "[0, 1]");
    ck_assert_str_eq(range_of(train, "seed"), "[-1, 9007199254740992]");
    ck_assert_str_eq(range_of(context, "isa"), "auto|baseline|avx2|avx512");
    ck_assert_str_eq(range_of(model, "hidden"), "");
    FAILS(modeconn_options_describe(NULL, 0, NULL, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "options");
    FAILS(modeconn_options_describe(context, 3, NULL, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "3");
    FAILS(modeconn_options_describe(context, -1, NULL, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_options_count(NULL, NULL), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_count(context, NULL), MODECONN_ERROR_ARGUMENT, "count");
    modeconn_options_destroy(train);
    modeconn_options_destroy(context);
    modeconn_options_destroy(model);
}
END_TEST

START_TEST(integers_are_set_within_range)
{
    modeconn_options *o = make("context");
    int64_t value = -7;

    OK(modeconn_options_get_i64(o, "threads", &value));
    ck_assert_int_eq(value, 0);
    OK(modeconn_options_set_i64(o, "threads", 1024));
    OK(modeconn_options_get_i64(o, "threads", &value));
    ck_assert_int_eq(value, 1024);
    FAILS(modeconn_options_set_i64(o, "threads", 1025), MODECONN_ERROR_ARGUMENT,
          "context option \"threads\": 1025 is out of range [0, 1024]");
    FAILS(modeconn_options_set_i64(o, "threads", -1), MODECONN_ERROR_ARGUMENT, "-1");
    OK(modeconn_options_set_i64(o, "seed", INT64_C(9007199254740992)));
    /* Rounds to the bound as a double, and is beyond it all the same. */
    FAILS(modeconn_options_set_i64(o, "seed", INT64_C(9007199254740993)), MODECONN_ERROR_ARGUMENT,
          "9007199254740993");
    FAILS(modeconn_options_set_f64(o, "threads", 2), MODECONN_ERROR_ARGUMENT, "an integer");
    FAILS(modeconn_options_set_str(o, "threads", "2"), MODECONN_ERROR_ARGUMENT, "threads");
    OK(modeconn_options_get_i64(o, "threads", &value));
    ck_assert_int_eq(value, 1024);
    modeconn_options_destroy(o);
}
END_TEST

START_TEST(numbers_are_set_within_range)
{
    modeconn_options *o = make("train");
    double value = -7;

    OK(modeconn_options_set_f64(o, "learning_rate", 0.03));
    OK(modeconn_options_get_f64(o, "learning_rate", &value));
    ck_assert_double_eq(value, 0.03);
    OK(modeconn_options_set_i64(o, "learning_rate", 2));
    OK(modeconn_options_get_f64(o, "learning_rate", &value));
    ck_assert_double_eq(value, 2);
    FAILS(modeconn_options_set_f64(o, "learning_rate", 0), MODECONN_ERROR_ARGUMENT,
          "train option \"learning_rate\": 0 is out of range (0, inf)");
    FAILS(modeconn_options_set_f64(o, "learning_rate", NAN), MODECONN_ERROR_ARGUMENT, "nan");
    FAILS(modeconn_options_set_f64(o, "learning_rate", HUGE_VAL), MODECONN_ERROR_ARGUMENT, "inf");
    FAILS(modeconn_options_set_i64(o, "learning_rate", -1), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_options_set_f64(o, "momentum", 1.5), MODECONN_ERROR_ARGUMENT, "[0, 1]");
    OK(modeconn_options_set_f64(o, "momentum", 1));
    OK(modeconn_options_set_f64(o, "momentum", 0));
    FAILS(modeconn_options_set_str(o, "momentum", "1"), MODECONN_ERROR_ARGUMENT, "momentum");
    OK(modeconn_options_get_f64(o, "learning_rate", &value));
    ck_assert_double_eq(value, 2);
    modeconn_options_destroy(o);
}
END_TEST

START_TEST(texts_are_copied_and_chosen)
{
    modeconn_options *o = make("context"), *model = make("model");
    const char *value = NULL;
    char text[] = "avx2";

    OK(modeconn_options_set_str(o, "isa", text));
    text[0] = 'x';
    OK(modeconn_options_get_str(o, "isa", &value));
    ck_assert_str_eq(value, "avx2");
    FAILS(modeconn_options_set_str(o, "isa", "sse"), MODECONN_ERROR_ARGUMENT,
          "context option \"isa\": \"sse\" is none of auto|baseline|avx2|avx512");
    FAILS(modeconn_options_set_str(o, "isa", ""), MODECONN_ERROR_ARGUMENT, "isa");
    FAILS(modeconn_options_set_str(o, "isa", "avx2|avx512"), MODECONN_ERROR_ARGUMENT, "isa");
    FAILS(modeconn_options_set_str(o, "isa", NULL), MODECONN_ERROR_ARGUMENT, "value");
    FAILS(modeconn_options_set_i64(o, "isa", 1), MODECONN_ERROR_ARGUMENT, "a text");
    OK(modeconn_options_set_str(o, "isa", "auto"));
    OK(modeconn_options_get_str(o, "isa", &value));
    ck_assert_str_eq(value, "auto");
    OK(modeconn_options_set_str(model, "hidden", ""));
    OK(modeconn_options_get_str(model, "hidden", &value));
    ck_assert_str_eq(value, "");
    modeconn_options_destroy(o);
    modeconn_options_destroy(model);
}
END_TEST

START_TEST(unknown_keys_name_the_nearest)
{
    modeconn_options *o = make("train");
    int64_t integer;
    double number;
    const char *text;

    FAILS(modeconn_options_set_f64(o, "learnin_rate", 1), MODECONN_ERROR_UNKNOWN,
          "options of kind \"train\" have no key \"learnin_rate\"; did you mean "
          "\"learning_rate\"?");
    FAILS(modeconn_options_set_i64(o, "epoch", 1), MODECONN_ERROR_UNKNOWN, "\"epochs\"");
    FAILS(modeconn_options_set_str(o, "shedule", "x"), MODECONN_ERROR_UNKNOWN, "\"schedule\"");
    FAILS(modeconn_options_set_text(o, "", "1"), MODECONN_ERROR_UNKNOWN, "\"\"");
    FAILS(modeconn_options_get_i64(o, "epoch", &integer), MODECONN_ERROR_UNKNOWN, "epochs");
    FAILS(modeconn_options_get_f64(o, "momentun", &number), MODECONN_ERROR_UNKNOWN, "momentum");
    FAILS(modeconn_options_get_str(o, "Schedule", &text), MODECONN_ERROR_UNKNOWN, "schedule");
    modeconn_options_destroy(o);
}
END_TEST

START_TEST(kinds_without_keys)
{
    modeconn_options *o = make("relu");
    int64_t count = -1;

    OK(modeconn_options_count(o, &count));
    ck_assert_int_eq(count, 0);
    FAILS(modeconn_options_set_text(o, "slope", "1"), MODECONN_ERROR_UNKNOWN, "\"slope\"");
    FAILS(modeconn_options_parse(o, "slope=1"), MODECONN_ERROR_UNKNOWN, "relu");
    FAILS(modeconn_options_describe(o, 0, NULL, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "relu");
    ck_assert(!mc_option_is_set(o, "slope"));
    modeconn_options_destroy(o);
}
END_TEST

START_TEST(null_and_type_errors)
{
    modeconn_options *o = make("train");
    int64_t integer = 5;
    double number = 5;
    const char *text = "kept";

    FAILS(modeconn_options_set_i64(NULL, "epochs", 1), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_set_f64(NULL, "epochs", 1), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_set_str(NULL, "epochs", ""), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_set_text(NULL, "epochs", ""), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_parse(NULL, ""), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_set_i64(o, NULL, 1), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_set_text(o, "epochs", NULL), MODECONN_ERROR_ARGUMENT, "text");
    FAILS(modeconn_options_parse(o, NULL), MODECONN_ERROR_ARGUMENT, "settings");
    FAILS(modeconn_options_set_f64(o, NULL, 1), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_set_str(o, NULL, ""), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_set_text(o, NULL, ""), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_get_i64(NULL, "epochs", &integer), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_get_f64(NULL, "momentum", &number), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_get_str(NULL, "schedule", &text), MODECONN_ERROR_ARGUMENT, "options");
    FAILS(modeconn_options_get_i64(o, NULL, &integer), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_get_f64(o, NULL, &number), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_get_str(o, NULL, &text), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_options_get_i64(o, "epochs", NULL), MODECONN_ERROR_ARGUMENT, "value");
    FAILS(modeconn_options_get_f64(o, "momentum", NULL), MODECONN_ERROR_ARGUMENT, "value");
    FAILS(modeconn_options_get_str(o, "schedule", NULL), MODECONN_ERROR_ARGUMENT, "value");
    FAILS(modeconn_options_get_i64(o, "momentum", &integer), MODECONN_ERROR_ARGUMENT, "momentum");
    FAILS(modeconn_options_get_f64(o, "epochs", &number), MODECONN_ERROR_ARGUMENT, "epochs");
    FAILS(modeconn_options_get_str(o, "epochs", &text), MODECONN_ERROR_ARGUMENT, "epochs");
    ck_assert(integer == 5 && number == 5);
    ck_assert_str_eq(text, "kept");
    modeconn_options_destroy(o);
}
END_TEST

START_TEST(text_sets_every_type)
{
    modeconn_options *o = make("train");
    int64_t integer = 0;
    double number = 0;

    OK(modeconn_options_set_text(o, "epochs", "8"));
    OK(modeconn_options_set_text(o, "weight_decay", "1e-4"));
    OK(modeconn_options_set_text(o, "schedule", "cosine"));
    OK(modeconn_options_get_i64(o, "epochs", &integer));
    OK(modeconn_options_get_f64(o, "weight_decay", &number));
    ck_assert_int_eq(integer, 8);
    ck_assert_double_eq(number, 1e-4);
    FAILS(modeconn_options_set_text(o, "epochs", "eight"), MODECONN_ERROR_ARGUMENT,
          "train option \"epochs\": \"eight\" is not an integer");
    FAILS(modeconn_options_set_text(o, "epochs", "8.0"), MODECONN_ERROR_ARGUMENT, "8.0");
    FAILS(modeconn_options_set_text(o, "epochs", "0"), MODECONN_ERROR_ARGUMENT, "out of range");
    FAILS(modeconn_options_set_text(o, "weight_decay", "0,1"), MODECONN_ERROR_ARGUMENT, "0,1");
    FAILS(modeconn_options_set_text(o, "weight_decay", "inf"), MODECONN_ERROR_ARGUMENT,
          "out of range [0, inf)");
    FAILS(modeconn_options_set_text(o, "weight_decay", ""), MODECONN_ERROR_ARGUMENT, "\"\"");
    FAILS(modeconn_options_set_text(o, "schedule", "no"), MODECONN_ERROR_ARGUMENT, "cosine");
    modeconn_options_destroy(o);
}
END_TEST

START_TEST(several_are_parsed)
{
    modeconn_options *o = make("train"), *model = make("model");
    int64_t integer = 0;
    double number = 0;
    const char *text;

    OK(modeconn_options_parse(o, ""));
    ck_assert(!mc_option_is_set(o, "epochs"));
    OK(modeconn_options_parse(o, "learning_rate=0.5,epochs=8"));
    OK(modeconn_options_get_f64(o, "learning_rate", &number));
    OK(modeconn_options_get_i64(o, "epochs", &integer));
    ck_assert(number == 0.5 && integer == 8);
    FAILS(modeconn_options_parse(o, "epochs=9,batchsize=3,momentum=0"), MODECONN_ERROR_UNKNOWN,
          "batch_size");
    OK(modeconn_options_get_i64(o, "epochs", &integer));
    ck_assert_int_eq(integer, 9);
    ck_assert(!mc_option_is_set(o, "momentum"));
    FAILS(modeconn_options_parse(o, "epochs"), MODECONN_ERROR_ARGUMENT, "\"epochs\"");
    FAILS(modeconn_options_parse(o, ",epochs=3"), MODECONN_ERROR_ARGUMENT, "key=value");
    FAILS(modeconn_options_parse(o, "epochs=3,"), MODECONN_ERROR_ARGUMENT, "\"3,\"");
    FAILS(modeconn_options_parse(o, "epochs=3,,momentum=1"), MODECONN_ERROR_ARGUMENT, "epochs");
    OK(modeconn_options_parse(model, "hidden=64,32,classes=7"));
    OK(modeconn_options_get_str(model, "hidden", &text));
    OK(modeconn_options_get_i64(model, "classes", &integer));
    ck_assert_str_eq(text, "64,32");
    ck_assert_int_eq(integer, 7);
    modeconn_options_destroy(o);
    modeconn_options_destroy(model);
}
END_TEST

/* Everything that an object allocates. */
static int32_t use_everything(modeconn_context *context)
{
    modeconn_options *o = NULL;
    const char *isa = NULL;
    int32_t status = modeconn_options_create(context, "context", &o);

    if (status < 0) {
        ck_assert_ptr_null(o);
        return status;
    }
    status = modeconn_options_set_str(o, "isa", "baseline");
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(o, "threads=3,isa=avx2");
    }
    OK(modeconn_options_get_str(o, "isa", &isa));
    ck_assert(status == MODECONN_OK || strcmp(isa, "avx2") != 0); /* the old value stays */
    modeconn_options_destroy(o);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    failing state = {.fail_at = 0};
    modeconn_options *one = make("context");
    modeconn_context *context = NULL;
    int32_t status = MODECONN_ERROR_MEMORY;
    int failures = 0;

    OK(modeconn_options_set_i64(one, "threads", 1));
    OK(modeconn_context_create_with_allocator(one, failing_alloc, failing_free, &state, &context));
    const long live = state.live;
    for (int k = 1; status != MODECONN_OK; k++) {
        failing_at(&state, k);
        status = use_everything(context);
        ck_assert_int_eq(state.live, live);
        if (status != MODECONN_OK) {
            FAILS(status, MODECONN_ERROR_MEMORY, "out of memory");
            failures++;
        }
    }
    ck_assert_int_eq(failures, 5);
    modeconn_context_destroy(context);
    ck_assert_int_eq(state.live, 0);
    modeconn_options_destroy(one);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, kinds_are_listed);
    tcase_add_test(tests, creation_checks_its_arguments);
    tcase_add_test(tests, every_row_of_every_kind);
    tcase_add_test(tests, ranges_are_described);
    tcase_add_test(tests, integers_are_set_within_range);
    tcase_add_test(tests, numbers_are_set_within_range);
    tcase_add_test(tests, texts_are_copied_and_chosen);
    tcase_add_test(tests, unknown_keys_name_the_nearest);
    tcase_add_test(tests, kinds_without_keys);
    tcase_add_test(tests, null_and_type_errors);
    tcase_add_test(tests, text_sets_every_type);
    tcase_add_test(tests, several_are_parsed);
    tcase_add_test(tests, every_allocation_may_fail);
}

int main(void)
{
    return unit_run("core_options", add);
}
