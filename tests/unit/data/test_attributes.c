/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Attributes beside cue and image, and cues and interventions of the host's: what their functions
 * are told, in which views, what becomes of their errors, and when `user` is let go of.
 */
#include "data_test.h"
#include <math.h>
#include <pthread.h>

enum { N = 60, SIDE = 6, PIXELS = SIDE * SIDE, RANGE = 12 };

/* What a host's function saw of each sample. */
typedef struct host {
    int64_t calls, value[N];
    int32_t label[N];
    uint64_t random[N];
    int32_t fail_with; /* for sample fail_at */
    int64_t fail_at;
    float leave; /* there instead, where it is not 0 */
    int released;
    pthread_t thread;
} host;

static int32_t note(host *me, int64_t sample, int32_t label, int64_t value, uint64_t random,
                    float *image)
{
    ck_assert(pthread_equal(me->thread, pthread_self()));
    ck_assert(sample >= 0 && sample < N);
    me->calls++;
    me->value[sample] = value;
    me->label[sample] = label;
    me->random[sample] = random;
    if (sample == me->fail_at && me->fail_with != 0) {
        return me->fail_with;
    }
    if (sample == me->fail_at && me->leave != 0) {
        image[5] = me->leave;
    }
    return 0;
}

/* The value in the first pixel. */
static int32_t hat(void *user, int64_t sample, int32_t label, int64_t value, uint64_t random,
                   float *image, int64_t channels, int64_t height, int64_t width)
{
    ck_assert(channels == 1 && height == SIDE && width == SIDE);
    image[0] = (float)value;
    return note(user, sample, label, value, random, image);
}

/* A uniform number in the last pixel. */
static int32_t tilt(void *user, int64_t sample, int32_t label, uint64_t random, float *image,
                    int64_t channels, int64_t height, int64_t width)
{
    image[channels * height * width - 1] = (float)(random >> 40) * 0x1p-24F;
    return note(user, sample, label, -1, random, image);
}

static void released(void *user)
{
    ((host *)user)->released++;
}

static host new_host(void)
{
    return (host){.fail_at = -1, .thread = pthread_self()};
}

static modeconn_dataset *with_hat(const modeconn_dataset *dataset, host *me)
{
    modeconn_dataset *out = NULL;
    OK(modeconn_dataset_with_cue(dataset, "hat", RANGE, hat, released, me, &out));
    return out;
}

static modeconn_dataset *with_tilt(const modeconn_dataset *dataset, host *me)
{
    modeconn_dataset *out = NULL;
    OK(modeconn_dataset_with_attribute(dataset, "tilt", tilt, released, me, &out));
    return out;
}

/* 60 images, ten classes, on four threads, so that a call from another thread would show. */
static modeconn_dataset *plain(modeconn_context **context)
{
    *context = context_of("threads=4,seed=5");
    return numbered(*context, N, SIDE, 10, "");
}

static float base(int64_t i)
{
    return (float)i / (float)N - 0.5F;
}

START_TEST(test_cue_views)
{
    modeconn_context *context = NULL;
    modeconn_dataset *dataset = plain(&context);
    host me = new_host();
    modeconn_dataset *hatted = with_hat(dataset, &me);
    float *x = images_of(hatted); /* nocue: not called */
    ck_assert_int_eq(me.calls, 0);
    for (int i = 0; i < N * PIXELS; i++) {
        ck_assert(x[i] == base(i / PIXELS));
    }
    free(x);

    modeconn_dataset *cue = view_of(hatted, "cue", 0.5);
    x = images_of(cue);
    ck_assert_int_eq(me.calls, 30); /* three of six in each class */
    for (int i = 0; i < N; i++) {
        ck_assert(x[i * PIXELS] == (i < 30 ? (float)(i % 10) : base(i)));
        ck_assert(x[i * PIXELS + 1] == base(i));
    }
    free(x);
    modeconn_dataset_destroy(cue);

    modeconn_dataset *randcue = view_of(hatted, "randcue", 1.0);
    int32_t *values = values_of(randcue);
    int beyond = 0, own = 0;
    x = images_of(randcue);
    for (int i = 0; i < N; i++) {
        ck_assert(x[i * PIXELS] == (float)values[i] && values[i] == me.value[i]);
        ck_assert(values[i] >= 0 && values[i] < RANGE && me.label[i] == i % 10);
        beyond += values[i] >= 10;
        own += values[i] == i % 10;
    }
    ck_assert(beyond >= 3 && beyond <= 20 && own <= 15);
    free(values);
    free(x);
    modeconn_dataset_destroy(randcue);

    modeconn_dataset *randimg = view_of(hatted, "randimg", 1.0);
    x = images_of(randimg);
    int moved = 0;
    for (int i = 0; i < N; i++) { /* the sample's own cue on another's image */
        ck_assert(x[i * PIXELS] == (float)(i % 10));
        moved += x[i * PIXELS + 1] != base(i);
    }
    ck_assert_int_gt(moved, 45);
    free(x);
    modeconn_dataset_destroy(randimg);
    modeconn_dataset_destroy(hatted);
    ck_assert_int_eq(me.released, 1);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* In any order, in parts and through a subset: the same bits of randomness, the same pixels. */
START_TEST(test_any_order)
{
    modeconn_context *context = NULL;
    modeconn_dataset *dataset = plain(&context);
    host me = new_host(), you = new_host();
    modeconn_dataset *hatted = with_hat(dataset, &me), *both = with_tilt(hatted, &you);
    const char *const views[] = {"randcue", "randtilt"};
    for (int v = 0; v < 2; v++) {
        modeconn_dataset *view = view_of(both, views[v], 1.0), *part = NULL;
        host *asked = v == 0 ? &me : &you;
        float *whole = images_of(view), one[PIXELS];
        uint64_t random[N];
        memcpy(random, asked->random, sizeof(random));
        for (int64_t i = N - 1; i >= 0; i--) {
            OK(modeconn_dataset_read(view, &i, 1, one, NULL));
            ck_assert_mem_eq(one, whole + i * PIXELS, sizeof(one));
            ck_assert(random[i] == asked->random[i]);
            ck_assert(i == 0 || random[i] != random[i - 1]);
        }
        const int64_t some[3] = {41, 7, 41};
        OK(modeconn_dataset_subset(view, some, 3, &part));
        float *few = images_of(part);
        for (int i = 0; i < 3; i++) {
            ck_assert_mem_eq(few + i * PIXELS, whole + some[i] * PIXELS, sizeof(one));
        }
        free(few);
        free(whole);
        modeconn_dataset_destroy(part);
        modeconn_dataset_destroy(view);
    }
    modeconn_dataset_destroy(hatted);
    modeconn_dataset_destroy(dataset);
    ck_assert(me.released == 0 && you.released == 0); /* `both` draws with both */
    modeconn_dataset_destroy(both);
    ck_assert(me.released == 1 && you.released == 1);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_lists)
{
    static const char *const names[] = {"cue", "image", "tilt", "lean"};
    static const char *const views[] = {"nocue",   "cue",      "randcue",
                                        "randimg", "randtilt", "randlean"};
    modeconn_context *context = NULL;
    modeconn_dataset *dataset = plain(&context), *lean = NULL;
    host me = new_host();
    int64_t count = -1;
    const char *name = NULL, *view = NULL;
    OK(modeconn_dataset_attribute_count(dataset, &count));
    ck_assert_int_eq(count, 0);
    FAILS(modeconn_dataset_attribute(dataset, 0, &name, &view), MODECONN_ERROR_ARGUMENT,
          "attribute 0: the dataset has 0");
    modeconn_dataset *tilted = with_tilt(dataset, &me);
    OK(modeconn_dataset_with_attribute(tilted, "lean", tilt, NULL, &me, &lean));
    OK(modeconn_dataset_view_count(lean, &count)); /* without a cue: nocue and the two */
    ck_assert_int_eq(count, 3);
    OK(modeconn_dataset_view_name(lean, 2, &view));
    ck_assert_str_eq(view, "randlean");
    OK(modeconn_dataset_attribute(lean, 0, &name, NULL));
    ck_assert_str_eq(name, "tilt");
    modeconn_dataset *no_cue = NULL;
    FAILS(modeconn_dataset_view(lean, "cue", 1.0, &no_cue), MODECONN_ERROR_UNKNOWN, "cue");
    modeconn_dataset_destroy(dataset);
    modeconn_dataset *all = with_hat(lean, &me);
    OK(modeconn_dataset_attribute_count(all, &count));
    ck_assert_int_eq(count, 4);
    for (int i = 0; i < 4; i++) {
        OK(modeconn_dataset_attribute(all, i, &name, &view));
        ck_assert_str_eq(name, names[i]);
        ck_assert_str_eq(view, views[i + 2]);
    }
    OK(modeconn_dataset_view_count(all, &count));
    ck_assert_int_eq(count, 6);
    for (int i = 0; i < 6; i++) {
        OK(modeconn_dataset_view_name(all, i, &view));
        ck_assert_str_eq(view, views[i]);
    }
    FAILS(modeconn_dataset_view_name(all, 6, &view), MODECONN_ERROR_ARGUMENT, "6");
    FAILS(modeconn_dataset_attribute(all, -1, &name, &view), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_dataset_attribute(NULL, 0, &name, &view), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_attribute_count(NULL, &count), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_attribute_count(all, NULL), MODECONN_ERROR_ARGUMENT, "count");
    char *text = NULL;
    TEXT(modeconn_dataset_describe, all, text);
    ck_assert_ptr_nonnull(strstr(text, "\"attributes\": [\"cue\", \"image\", \"tilt\", \"lean\"]"));
    ck_assert_ptr_nonnull(strstr(text, "\"cue\": \"hat\""));
    free(text);
    modeconn_dataset_destroy(all);
    modeconn_dataset_destroy(lean);
    modeconn_dataset_destroy(tilted);
    modeconn_context_destroy(context);
}
END_TEST

/* The view of an attribute keeps the cue of those that carry it. */
START_TEST(test_attribute_over_cue)
{
    modeconn_context *context = NULL;
    modeconn_dataset *dataset = plain(&context);
    host me = new_host(), you = new_host();
    modeconn_dataset *hatted = with_hat(dataset, &me), *both = with_tilt(hatted, &you);
    modeconn_dataset *view = view_of(both, "randtilt", 0.5);
    float *x = images_of(view);
    double sum = 0;
    for (int i = 0; i < N; i++) {
        ck_assert(x[i * PIXELS] == (i < 30 ? (float)(i % 10) : base(i)));
        ck_assert(x[i * PIXELS + 1] == base(i));
        ck_assert(x[(i + 1) * PIXELS - 1] >= 0 && x[(i + 1) * PIXELS - 1] < 1);
        sum += (double)x[(i + 1) * PIXELS - 1] / N;
    }
    ck_assert(fabs(sum - 0.5) < 0.15);
    ck_assert_int_eq(you.calls, N);
    free(x);
    modeconn_dataset_destroy(view);
    modeconn_dataset_destroy(both);
    modeconn_dataset_destroy(hatted);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_errors_of_the_host)
{
    modeconn_context *context = NULL;
    modeconn_dataset *dataset = plain(&context);
    host me = new_host();
    modeconn_dataset *hatted = with_hat(dataset, &me), *both = with_tilt(hatted, &me);
    modeconn_dataset *cue = view_of(both, "cue", 1.0), *tilted = view_of(both, "randtilt", 0.0);
    float *x = calloc(N * PIXELS, sizeof(*x));
    me.fail_at = 17;
    me.fail_with = 42;
    FAILS(modeconn_dataset_read(cue, NULL, N, x, NULL), MODECONN_ERROR_CALLBACK,
          "cue hat: the host's function returned 42 for sample 17 of memory");
    FAILS(modeconn_dataset_read(tilted, NULL, N, x, NULL), MODECONN_ERROR_CALLBACK,
          "attribute tilt: the host's function returned 42 for sample 17");
    me.fail_with = MODECONN_ERROR_MEMORY;
    FAILS(modeconn_dataset_read(cue, NULL, N, x, NULL), MODECONN_ERROR_CALLBACK, "returned -2");
    me.fail_with = 0;
    me.leave = NAN;
    FAILS(modeconn_dataset_read(cue, NULL, N, x, NULL), MODECONN_ERROR_CALLBACK,
          "not finite (value 5) in sample 17");
    me.leave = -INFINITY;
    FAILS(modeconn_dataset_read(tilted, NULL, N, x, NULL), MODECONN_ERROR_CALLBACK, "not finite");
    me.leave = 0;
    OK(modeconn_dataset_read(cue, NULL, N, x, NULL));
    OK(modeconn_dataset_read(cue, NULL, N, NULL, NULL)); /* labels alone ask nobody */
    free(x);
    modeconn_dataset_destroy(tilted);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(both);
    modeconn_dataset_destroy(hatted);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_arguments)
{
    modeconn_context *context = NULL;
    modeconn_dataset *dataset = plain(&context), *out = NULL;
    host me = new_host();
    static const char *const bad[] = {
        "", "a b", "a-b", "\xc3\xa4", "a\"", "a,b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        FAILS(modeconn_dataset_with_cue(dataset, bad[i], 10, hat, released, &me, &out),
              MODECONN_ERROR_ARGUMENT, "name");
        FAILS(modeconn_dataset_with_attribute(dataset, bad[i], tilt, released, &me, &out),
              MODECONN_ERROR_ARGUMENT, "name");
    }
    FAILS(modeconn_dataset_with_cue(dataset, "none", 10, hat, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "none");
    FAILS(modeconn_dataset_with_cue(dataset, "hat", 9, hat, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "range is 9");
    FAILS(modeconn_dataset_with_cue(dataset, "hat", INT64_MAX, hat, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "range");
    FAILS(modeconn_dataset_with_cue(NULL, "hat", 10, hat, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_with_cue(dataset, NULL, 10, hat, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_dataset_with_cue(dataset, "hat", 10, NULL, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "draw");
    FAILS(modeconn_dataset_with_cue(dataset, "hat", 10, hat, released, &me, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    static const char *const taken[] = {"cue", "image", "img", "tilt"};
    modeconn_dataset *tilted = with_tilt(dataset, &me);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        FAILS(modeconn_dataset_with_attribute(tilted, taken[i], tilt, released, &me, &out),
              MODECONN_ERROR_ARGUMENT, taken[i]);
    }
    FAILS(modeconn_dataset_with_attribute(NULL, "a", tilt, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_with_attribute(dataset, NULL, tilt, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "name");
    FAILS(modeconn_dataset_with_attribute(dataset, "a", NULL, released, &me, &out),
          MODECONN_ERROR_ARGUMENT, "randomise");
    FAILS(modeconn_dataset_with_attribute(dataset, "a", tilt, released, &me, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    ck_assert(out == NULL && me.released == 0);
    modeconn_dataset_destroy(tilted);
    ck_assert_int_eq(me.released, 1);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

static int32_t attempt(modeconn_context *context, const void *arg, modeconn_dataset *out[2])
{
    (void)context;
    static host me;
    int32_t status = modeconn_dataset_with_cue(arg, "hat", 10, hat, released, &me, &out[0]);
    if (status == MODECONN_OK) {
        status = modeconn_dataset_with_attribute(out[0], "tilt", tilt, released, &me, &out[1]);
    }
    if (status < 0) {
        modeconn_dataset_destroy(out[0]);
        out[0] = NULL;
    }
    return status;
}

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_dataset *dataset = numbered(context, N, SIDE, 10, "");
    fail_each(&state, context, attempt, dataset, 12);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_cue_views);
    tcase_add_test(tests, test_any_order);
    tcase_add_test(tests, test_lists);
    tcase_add_test(tests, test_attribute_over_cue);
    tcase_add_test(tests, test_errors_of_the_host);
    tcase_add_test(tests, test_arguments);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_attributes", add);
}
