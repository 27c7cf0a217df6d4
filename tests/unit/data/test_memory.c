/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Datasets of arrays in memory: values, checks, copies and loans.
 */
#include "data_test.h"
#include <math.h>

enum { N = 4, SIDE = 5, SIZE = 2 * SIDE * SIDE };

static int released;

static void release(void *user)
{
    *(int *)user += 1;
}

START_TEST(test_f32_copied)
{
    modeconn_context *context = context_of("threads=2");
    float images[N * SIZE];
    int32_t labels[N] = {2, 0, 1, 2};
    for (int i = 0; i < N * SIZE; i++) {
        images[i] = 3.0F * (float)i - 100.0F;
    }
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_from_f32(context, images, labels, N, 2, SIDE, SIDE, 3, NULL, &dataset));
    memset(images, 0, sizeof(images));
    memset(labels, 0, sizeof(labels));
    float *got = images_of(dataset);
    int32_t *got_labels = labels_of(dataset);
    for (int i = 0; i < N * SIZE; i++) {
        ck_assert(got[i] == 3.0F * (float)i - 100.0F);
    }
    ck_assert(got_labels[0] == 2 && got_labels[1] == 0 && got_labels[2] == 1);
    free(got_labels);
    free(got);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* All 256 levels, each step rounded to float32, and a few as PyTorch prints them. */
START_TEST(test_u8_levels)
{
    modeconn_context *context = context_of("threads=1");
    uint8_t pixels[256];
    const int32_t label = 0;
    for (int i = 0; i < 256; i++) {
        pixels[i] = (uint8_t)i;
    }
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_from_u8(context, pixels, &label, 1, 1, 16, 16, 1, NULL, &dataset));
    float *got = images_of(dataset);
    for (int i = 0; i < 256; i++) {
        volatile float x = (float)i;
        x = x / 255.0F;
        x = x - 0.5F;
        x = x / 0.5F;
        ck_assert_msg(got[i] == x, "level %d: %.9g, expected %.9g", i, (double)got[i], (double)x);
    }
    ck_assert(got[0] == -1.0F && got[255] == 1.0F);
    ck_assert(got[128] == 0.00392162799835205078125F);
    ck_assert(got[127] == -0.00392156839370727539F);
    free(got);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_arguments)
{
    modeconn_context *context = context_of("threads=1");
    float f32[N * SIZE] = {0};
    uint8_t u8[N * SIZE] = {0};
    int32_t labels[N] = {0, 1, 2, 0};
    modeconn_dataset *d = NULL;
#define F32(n, c, h, w, k) modeconn_dataset_from_f32(context, f32, labels, n, c, h, w, k, NULL, &d)
    FAILS(modeconn_dataset_from_f32(NULL, f32, labels, N, 2, SIDE, SIDE, 3, NULL, &d),
          MODECONN_ERROR_ARGUMENT, "context");
    FAILS(modeconn_dataset_from_f32(context, NULL, labels, N, 2, SIDE, SIDE, 3, NULL, &d),
          MODECONN_ERROR_ARGUMENT, "images");
    FAILS(modeconn_dataset_from_u8(context, NULL, labels, N, 2, SIDE, SIDE, 3, NULL, &d),
          MODECONN_ERROR_ARGUMENT, "images");
    FAILS(modeconn_dataset_from_u8(context, u8, NULL, N, 2, SIDE, SIDE, 3, NULL, &d),
          MODECONN_ERROR_ARGUMENT, "labels");
    FAILS(modeconn_dataset_from_f32(context, f32, labels, N, 2, SIDE, SIDE, 3, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    d = (modeconn_dataset *)(uintptr_t)1;
    FAILS(modeconn_dataset_from_u8(NULL, u8, labels, N, 2, SIDE, SIDE, 3, NULL, &d),
          MODECONN_ERROR_ARGUMENT, "context");
    ck_assert_ptr_null(d);
    FAILS(modeconn_dataset_from_u8(context, u8, labels, N, 2, SIDE, SIDE, 3, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_dataset_borrow_u8(NULL, u8, labels, N, 2, SIDE, SIDE, 3, NULL, release,
                                     &released, &d),
          MODECONN_ERROR_ARGUMENT, "context");
    FAILS(modeconn_dataset_borrow_u8(context, NULL, labels, N, 2, SIDE, SIDE, 3, NULL, release,
                                     &released, &d),
          MODECONN_ERROR_ARGUMENT, "images");
    FAILS(modeconn_dataset_borrow_f32(context, f32, NULL, N, 2, SIDE, SIDE, 3, NULL, release,
                                      &released, &d),
          MODECONN_ERROR_ARGUMENT, "labels");
    FAILS(modeconn_dataset_borrow_f32(context, f32, labels, N, 2, SIDE, SIDE, 3, NULL, release,
                                      &released, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    FAILS(F32(0, 2, SIDE, SIDE, 3), MODECONN_ERROR_ARGUMENT, "n is 0");
    FAILS(F32(N, 0, SIDE, SIDE, 3), MODECONN_ERROR_ARGUMENT, "channels is 0");
    FAILS(F32(N, 2, -1, SIDE, 3), MODECONN_ERROR_ARGUMENT, "height is -1");
    FAILS(F32(N, 2, SIDE, 0, 3), MODECONN_ERROR_ARGUMENT, "width is 0");
    FAILS(F32(N, 2, SIDE, SIDE, 0), MODECONN_ERROR_ARGUMENT, "classes is 0");
    FAILS(F32(1LL << 40, 1LL << 30, SIDE, SIDE, 3), MODECONN_ERROR_ARGUMENT, "overflow");
    FAILS(F32(1LL << 61, 1, 1, 1, 3), MODECONN_ERROR_ARGUMENT, "overflow");
    FAILS(F32(N, 2, SIDE, SIDE, 2), MODECONN_ERROR_ARGUMENT, "sample 2: label 2");
    labels[3] = -1;
    FAILS(F32(N, 2, SIDE, SIDE, 3), MODECONN_ERROR_ARGUMENT, "sample 3: label -1");
    labels[3] = 0;
    f32[SIZE + 7] = NAN;
    FAILS(F32(N, 2, SIDE, SIDE, 3), MODECONN_ERROR_ARGUMENT, "sample 1: value 7");
    f32[SIZE + 7] = -INFINITY;
    FAILS(F32(N, 2, SIDE, SIDE, 3), MODECONN_ERROR_ARGUMENT, "sample 1: value 7");
    f32[SIZE + 7] = 0;
#undef F32
    modeconn_options *wrong = options_of("shapes", "");
    FAILS(modeconn_dataset_from_f32(context, f32, labels, N, 2, SIDE, SIDE, 3, wrong, &d),
          MODECONN_ERROR_ARGUMENT, "shapes");
    modeconn_options_destroy(wrong);
    modeconn_options *options = options_of("dataset", "view=randimg");
    FAILS(modeconn_dataset_from_f32(context, f32, labels, N, 2, SIDE, SIDE, 3, options, &d),
          MODECONN_ERROR_UNKNOWN, "randimg");
    modeconn_options_destroy(options);
    ck_assert_ptr_null(d);
    modeconn_context_destroy(context);
}
END_TEST

/* Lent arrays are read in place and given back once, after the last handle of any kind. */
START_TEST(test_borrow)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box");
    uint8_t u8[N * SIZE] = {0};
    float f32[N * SIZE] = {0};
    const int32_t labels[N] = {0, 1, 2, 0};
    for (int kind = 0; kind < 2; kind++) {
        modeconn_dataset *dataset = NULL, *part = NULL;
        released = 0;
        if (kind == 0) {
            OK(modeconn_dataset_borrow_u8(context, u8, labels, N, 2, SIDE, SIDE, 3, options,
                                          release, &released, &dataset));
        } else {
            OK(modeconn_dataset_borrow_f32(context, f32, labels, N, 2, SIDE, SIDE, 3, options,
                                           release, &released, &dataset));
        }
        ck_assert(kind == 0 ? dataset->store->u8 == u8 : dataset->store->f32 == f32);
        ck_assert_ptr_eq(dataset->store->labels, labels);
        modeconn_dataset *view = view_of(dataset, "randimg", 0.5);
        const int64_t index = 2;
        OK(modeconn_dataset_subset(view, &index, 1, &part));
        ck_assert_ptr_eq(part->store, dataset->store);
        modeconn_dataset *kept = mc_dataset_take(part);
        modeconn_dataset_destroy(dataset);
        modeconn_dataset_destroy(view);
        modeconn_dataset_destroy(part);
        ck_assert_int_eq(released, 0);
        modeconn_dataset_destroy(kept);
        ck_assert_int_eq(released, 1);
    }
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_borrow_failed_or_silent)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box");
    const float f32[N * SIZE] = {0};
    const int32_t labels[N] = {0, 1, 2, 0};
    modeconn_dataset *dataset = NULL;
    released = 0;
    FAILS(modeconn_dataset_borrow_f32(context, f32, labels, N, 2, SIDE, SIDE, 2, options, release,
                                      &released, &dataset),
          MODECONN_ERROR_ARGUMENT, "sample 2");
    FAILS(modeconn_dataset_borrow_f32(context, f32, labels, N, 2, SIDE, SIDE, 11, options, release,
                                      &released, &dataset),
          MODECONN_ERROR_SHAPE, "11 classes");
    ck_assert_int_eq(released, 0);
    OK(modeconn_dataset_borrow_f32(context, f32, labels, N, 2, SIDE, SIDE, 3, NULL, NULL, NULL,
                                   &dataset));
    modeconn_context_destroy(context); /* before its handle */
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
}
END_TEST

typedef struct attempt_arg {
    const modeconn_options *options;
    bool lent;
} attempt_arg;

static int32_t attempt(modeconn_context *context, const void *arg, modeconn_dataset *out[2])
{
    static const float f32[N * SIZE];
    static const int32_t labels[N] = {0, 1, 2, 0};
    const attempt_arg *how = arg;
    return how->lent ? modeconn_dataset_borrow_f32(context, f32, labels, N, 2, SIDE, SIDE, 3,
                                                   how->options, release, &released, &out[0])
                     : modeconn_dataset_from_f32(context, f32, labels, N, 2, SIDE, SIDE, 3,
                                                 how->options, &out[0]);
}

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_options *options = options_of("dataset", "cue=box,view=randcue");
    released = 0;
    fail_each(&state, context, attempt, &(attempt_arg){options, false}, 6);
    ck_assert_int_eq(released, 0);
    fail_each(&state, context, attempt, &(attempt_arg){options, true}, 4);
    ck_assert_int_eq(released, 1); /* by the attempt that succeeded, none of the failed */
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_f32_copied);
    tcase_add_test(tests, test_u8_levels);
    tcase_add_test(tests, test_arguments);
    tcase_add_test(tests, test_borrow);
    tcase_add_test(tests, test_borrow_failed_or_silent);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_memory", add);
}
