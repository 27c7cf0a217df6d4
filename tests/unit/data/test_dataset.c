/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The dataset handle: opening, shape, names of views, description, failing allocations.
 */
#include "data_test.h"
#include <jansson.h>

START_TEST(test_open)
{
    modeconn_context *context = context_of("threads=1,seed=4");
    modeconn_options *options = options_of("dataset", "cue=box,view=randimg,limit=30");
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, "shapes:size=8,train=100,test=20", "train", options,
                             &dataset));
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes));
    ck_assert(n == 30 && channels == 1 && height == 8 && width == 8 && classes == 10);
    ck_assert_int_eq(dataset->view, MC_VIEW_RANDIMG);
    ck_assert_uint_eq(dataset->seed, 4);
    OK(modeconn_dataset_shape(dataset, NULL, NULL, NULL, NULL, NULL));
    modeconn_dataset_destroy(dataset);
    /* More than there are: all of them. */
    OK(modeconn_dataset_open(context, "shapes:size=8,train=100,test=20", "test", options,
                             &dataset));
    OK(modeconn_dataset_shape(dataset, &n, NULL, NULL, NULL, NULL));
    ck_assert_int_eq(n, 20);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context); /* before its handle */
    modeconn_dataset_destroy(dataset);
    modeconn_dataset_destroy(NULL);
}
END_TEST

START_TEST(test_open_arguments)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = NULL;
    FAILS(modeconn_dataset_open(NULL, "shapes", "train", NULL, &dataset), MODECONN_ERROR_ARGUMENT,
          "context");
    FAILS(modeconn_dataset_open(context, NULL, "train", NULL, &dataset), MODECONN_ERROR_ARGUMENT,
          "spec");
    FAILS(modeconn_dataset_open(context, "shapes", NULL, NULL, &dataset), MODECONN_ERROR_ARGUMENT,
          "split");
    FAILS(modeconn_dataset_open(context, "shapes", "train", NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "out");
    modeconn_options *wrong = options_of("shapes", "");
    FAILS(modeconn_dataset_open(context, "shapes", "train", wrong, &dataset),
          MODECONN_ERROR_ARGUMENT, "shapes");
    modeconn_options_destroy(wrong);
    modeconn_options *options = options_of("dataset", "view=randcue");
    FAILS(modeconn_dataset_open(context, "shapes:train=10,size=8", "train", options, &dataset),
          MODECONN_ERROR_UNKNOWN, "randcue");
    modeconn_options_destroy(options);
    ck_assert_ptr_null(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_views_by_name)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *with = numbered(context, 10, 5, 10, "cue=box");
    modeconn_dataset *without = numbered(context, 10, 5, 10, "");
    static const char *const names[] = {"nocue", "cue", "randcue", "randimg"};
    int64_t count = 0;
    const char *name = NULL;
    OK(modeconn_dataset_view_count(with, &count));
    ck_assert_int_eq(count, 4);
    for (int i = 0; i < 4; i++) {
        OK(modeconn_dataset_view_name(with, i, &name));
        ck_assert_str_eq(name, names[i]);
    }
    OK(modeconn_dataset_view_count(without, &count));
    ck_assert_int_eq(count, 1);
    OK(modeconn_dataset_view_name(without, 0, &name));
    ck_assert_str_eq(name, "nocue");
    FAILS(modeconn_dataset_view_name(without, 1, &name), MODECONN_ERROR_ARGUMENT, "1");
    FAILS(modeconn_dataset_view_name(with, 4, &name), MODECONN_ERROR_ARGUMENT, "4");
    FAILS(modeconn_dataset_view_name(with, -1, &name), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_dataset_view_name(with, 0, NULL), MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_dataset_view_name(NULL, 0, &name), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_view_count(NULL, &count), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_view_count(with, NULL), MODECONN_ERROR_ARGUMENT, "count");
    FAILS(modeconn_dataset_shape(NULL, &count, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "dataset");
    modeconn_dataset_destroy(without);
    modeconn_dataset_destroy(with);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_view_arguments)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *with = numbered(context, 10, 5, 10, "cue=box");
    modeconn_dataset *without = numbered(context, 10, 5, 10, "");
    modeconn_dataset *out = with;
    FAILS(modeconn_dataset_view(with, "cue", 1.1, &out), MODECONN_ERROR_ARGUMENT, "1.1");
    ck_assert_ptr_null(out);
    FAILS(modeconn_dataset_view(with, "cue", -0.1, &out), MODECONN_ERROR_ARGUMENT, "-0.1");
    FAILS(modeconn_dataset_view(with, "randimg", 0.0 / 0.0, &out), MODECONN_ERROR_ARGUMENT, "nan");
    FAILS(modeconn_dataset_view(with, "bright", 1.0, &out), MODECONN_ERROR_UNKNOWN, "bright");
    FAILS(modeconn_dataset_view(without, "cue", 1.0, &out), MODECONN_ERROR_UNKNOWN, "cue");
    FAILS(modeconn_dataset_view(with, NULL, 1.0, &out), MODECONN_ERROR_ARGUMENT, "view");
    FAILS(modeconn_dataset_view(NULL, "cue", 1.0, &out), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_view(with, "cue", 1.0, NULL), MODECONN_ERROR_ARGUMENT, "out");
    modeconn_dataset_destroy(without);
    modeconn_dataset_destroy(with);
    modeconn_context_destroy(context);
}
END_TEST

/* The description parsed as JSON; the caller releases it. */
static json_t *described(const modeconn_dataset *dataset)
{
    int64_t needed = 0;
    char text[1024];
    FAILS(modeconn_dataset_describe(dataset, text, 3, &needed), MODECONN_ERROR_BUFFER, "");
    ck_assert(needed > 3 && needed <= (int64_t)sizeof(text));
    OK(modeconn_dataset_describe(dataset, NULL, 0, &needed));
    OK(modeconn_dataset_describe(dataset, text, needed, NULL));
    ck_assert_int_eq((int64_t)strlen(text) + 1, needed);
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    ck_assert_msg(json != NULL, "%s: %s", error.text, text);
    return json;
}

static const char *text_at(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    ck_assert_msg(text != NULL, "%s is not a string", key);
    return text;
}

START_TEST(test_describe)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box,seed=12");
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, "shapes:size=9,channels=2,train=40", "train", options,
                             &dataset));
    modeconn_dataset *view = view_of(dataset, "cue", 0.1);
    json_t *json = described(view);
    ck_assert_str_eq(text_at(json, "source"),
                     "shapes:size=9,channels=2,train=40,test=1000,noise=0.1,seed=0");
    ck_assert_str_eq(text_at(json, "split"), "train");
    ck_assert_str_eq(text_at(json, "cue"), "box");
    ck_assert_str_eq(text_at(json, "view"), "cue");
    ck_assert_int_eq(json_integer_value(json_object_get(json, "n")), 40);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "classes")), 10);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "seed")), 12);
    ck_assert(json_real_value(json_object_get(json, "cue_proportion")) == 0.1);
    const json_t *shape = json_object_get(json, "shape");
    ck_assert_uint_eq(json_array_size(shape), 3);
    ck_assert_int_eq(json_integer_value(json_array_get(shape, 0)), 2);
    ck_assert_int_eq(json_integer_value(json_array_get(shape, 1)), 9);
    ck_assert_int_eq(json_integer_value(json_array_get(shape, 2)), 9);
    json_decref(json);
    json = described(dataset); /* a view that the proportion does not touch */
    ck_assert(json_is_null(json_object_get(json, "cue_proportion")));
    json_decref(json);
    FAILS(modeconn_dataset_describe(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "dataset");
    modeconn_dataset_destroy(view);
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

/* Names of files may hold anything; the text is JSON all the same. */
START_TEST(test_describe_escapes)
{
    static const char *const sources[][2] = {
        {"a\"b\\c", "a\"b\\c"},
        {"line\nbell\a", "line\nbell\a"},
        {"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80",
         "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"},
        {"\xFF|\xC3", "\xEF\xBF\xBD|\xEF\xBF\xBD"},
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* overlong */
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* surrogate */
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE2\x82", "\xEF\xBF\xBD\xEF\xBF\xBD"}, /* cut */
    };
    modeconn_context *context = context_of("threads=1");
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        mc_store *store = NULL;
        modeconn_dataset *dataset = NULL;
        OK(mc_store_create(context, sources[i][0], "", 1, 1, 1, 1, 1, true, &store));
        OK(mc_dataset_from_store(store, NULL, &dataset));
        json_t *json = described(dataset);
        ck_assert_str_eq(text_at(json, "source"), sources[i][1]);
        ck_assert_str_eq(text_at(json, "cue"), "none");
        json_decref(json);
        modeconn_dataset_destroy(dataset);
        mc_store_drop(store);
    }
    modeconn_context_destroy(context);
}
END_TEST

static int32_t attempt_with_options(modeconn_context *context, const void *arg,
                                    modeconn_dataset *out[2])
{
    return modeconn_dataset_open(context, "shapes:size=8,train=10", "train", arg, &out[0]);
}

static int32_t attempt_view(modeconn_context *context, const void *arg, modeconn_dataset *out[2])
{
    (void)context;
    return modeconn_dataset_view(arg, "randimg", 0.5, &out[0]);
}

static int32_t attempt_describe(modeconn_context *context, const void *arg,
                                modeconn_dataset *out[2])
{
    (void)context;
    (void)out;
    int64_t needed = 0;
    return modeconn_dataset_describe(arg, NULL, 0, &needed);
}

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_options *options = options_of("dataset", "cue=box,view=cue");
    fail_each(&state, context, attempt_with_options, options, 8);
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, "shapes:size=8,train=10", "train", options, &dataset));
    fail_each(&state, context, attempt_view, dataset, 3);
    fail_each(&state, context, attempt_describe, dataset, 1);
    float *images = images_of(dataset);
    free(images);
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_open);
    tcase_add_test(tests, test_open_arguments);
    tcase_add_test(tests, test_views_by_name);
    tcase_add_test(tests, test_view_arguments);
    tcase_add_test(tests, test_describe);
    tcase_add_test(tests, test_describe_escapes);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_dataset", add);
}
