/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Dominoes: pairing, layout, views and errors; the pixels of resizing are held to PIL in
 * tests/golden/test_cues.c.
 */
#include "data_test.h"
#include <math.h>

enum { SIDE = 4, SQUARE = SIDE * SIDE, CLASSES = 3, BOTTOM = 12, TOP = 9 };

/* Squares of one level a sample (first + i), labels in an order of its own. */
static modeconn_dataset *squares(modeconn_context *context, int64_t n, int64_t channels, int first,
                                 int32_t (*label)(int64_t i), const char *settings)
{
    uint8_t *x = calloc((size_t)(n * channels), SQUARE);
    int32_t *y = calloc((size_t)n, sizeof(*y));
    modeconn_options *options = options_of("dataset", settings);
    modeconn_dataset *dataset = NULL;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < channels; c++) {
            memset(x + (i * channels + c) * SQUARE, first + (int)(i + 50 * c), SQUARE);
        }
        y[i] = label(i);
    }
    OK(modeconn_dataset_from_u8(context, x, y, n, channels, SIDE, SIDE, CLASSES, options,
                                &dataset));
    modeconn_options_destroy(options);
    free(y);
    free(x);
    return dataset;
}

static int32_t cycling(int64_t i)
{
    return (int32_t)(i % CLASSES);
}

static int32_t in_blocks(int64_t i)
{
    return (int32_t)(i * CLASSES / TOP);
}

static int32_t all_zero(int64_t i)
{
    (void)i;
    return 0;
}

static modeconn_dataset *paired(const modeconn_dataset *top, const modeconn_dataset *bottom,
                                const char *settings)
{
    modeconn_options *options = options_of("dataset", settings);
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_dominoes(top, bottom, options, &dataset));
    modeconn_options_destroy(options);
    return dataset;
}

/* 12 colour squares below (labels 0 1 2 0 1 2 ...), 9 grey ones above (0 0 0 1 1 1 2 2 2). */
static void make(modeconn_context *context, modeconn_dataset **top, modeconn_dataset **bottom)
{
    *top = squares(context, TOP, 1, 200, in_blocks, "");
    *bottom = squares(context, BOTTOM, 3, 10, cycling, "");
}

/* Image i: the upper half all of `above` (sample of the top, -1 zeros), the lower that of `below`.
 */
static void check_image(const float *images, int i, int above, int below)
{
    for (int c = 0; c < 3; c++) {
        for (int p = 0; p < 2 * SQUARE; p++) {
            int level = p >= SQUARE ? 10 + below + 50 * c : above < 0 ? 0 : 200 + above;
            ck_assert(images[(i * 3 + c) * 2 * SQUARE + p] == (float)level / 255.0F);
        }
    }
}

START_TEST(test_views)
{
    modeconn_context *context = context_of("threads=2,seed=3");
    modeconn_dataset *top = NULL, *bottom = NULL;
    make(context, &top, &bottom);
    modeconn_dataset *dataset = paired(top, bottom, "cue=domino");
    modeconn_dataset_destroy(top);
    modeconn_dataset_destroy(bottom);
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes));
    ck_assert(n == BOTTOM && channels == 3 && height == 2 * SIDE && width == SIDE &&
              classes == CLASSES);
    float *x = images_of(dataset);
    for (int i = 0; i < BOTTOM; i++) {
        check_image(x, i, -1, i);
    }
    free(x);
    modeconn_dataset *cue = view_of(dataset, "cue", 0.5);
    int32_t *values = values_of(cue);
    x = images_of(cue);
    for (int i = 0; i < BOTTOM; i++) {
        /* The i / 3-th of class i % 3; of four in a class the first two carry. */
        int partner = i < 6 ? i % 3 * 3 + i / 3 : -1;
        ck_assert_int_eq(values[i], partner);
        check_image(x, i, partner, i);
    }
    free(values);
    free(x);
    modeconn_dataset_destroy(cue);
    cue = view_of(dataset, "cue", 1.0);
    values = values_of(cue);
    ck_assert_int_eq(values[9], 0); /* the fourth of class 0: from the first again */
    free(values);
    modeconn_dataset_destroy(cue);
    modeconn_dataset *randcue = view_of(dataset, "randcue", 1.0);
    values = values_of(randcue);
    x = images_of(randcue);
    for (int i = 0; i < BOTTOM; i++) {
        ck_assert(values[i] >= 0 && values[i] < TOP);
        check_image(x, i, values[i], i);
    }
    free(values);
    free(x);
    modeconn_dataset_destroy(randcue);
    modeconn_dataset *randimg = view_of(dataset, "randimg", 1.0);
    x = images_of(randimg);
    for (int i = 0; i < BOTTOM; i++) {
        int below = (int)roundf(x[i * 6 * SQUARE + SQUARE] * 255.0F) - 10;
        check_image(x, i, i % 3 * 3 + i / 3 % 3, below);
    }
    free(x);
    modeconn_dataset_destroy(randimg);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Every image of the cue set comes up, alike often. */
START_TEST(test_random_over_the_set)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *top = squares(context, TOP, 1, 200, in_blocks, "");
    modeconn_dataset *bottom = squares(context, 180, 3, 0, cycling, "");
    modeconn_dataset *dataset = paired(top, bottom, "cue=domino,view=randcue,seed=9");
    int32_t *values = values_of(dataset);
    int counts[TOP] = {0};
    for (int i = 0; i < 180; i++) {
        counts[values[i]]++;
    }
    for (int v = 0; v < TOP; v++) {
        ck_assert(counts[v] >= 8 && counts[v] <= 36); /* 20 are expected */
    }
    free(values);
    modeconn_dataset_destroy(dataset);
    modeconn_dataset_destroy(bottom);
    modeconn_dataset_destroy(top);
    modeconn_context_destroy(context);
}
END_TEST

/* The handles' samples count, in their order; colours stay colours; cue and limit are options. */
START_TEST(test_subsets_and_channels)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *top = NULL, *bottom = NULL, *some = NULL;
    make(context, &top, &bottom);
    const int64_t order[4] = {8, 4, 2, 1}; /* classes 2 1 0 0 */
    OK(modeconn_dataset_subset(top, order, 4, &some));
    modeconn_dataset *dataset = paired(some, bottom, "cue=domino,view=cue,limit=6");
    int32_t *values = values_of(dataset);
    static const int32_t expected[6] = {2, 1, 0, 3, 1, 0};
    ck_assert_mem_eq(values, expected, sizeof(expected));
    float *x = images_of(dataset);
    check_image(x, 3, 1, 3);
    free(x);
    free(values);
    modeconn_dataset_destroy(dataset);
    dataset = paired(bottom, bottom, "cue=domino,view=cue"); /* three channels on three */
    x = images_of(dataset);
    for (int c = 0; c < 3; c++) {
        ck_assert(x[c * 2 * SQUARE] == (float)(10 + 50 * c) / 255.0F);
    }
    char *text = NULL;
    TEXT(modeconn_dataset_describe, dataset, text);
    ck_assert_ptr_nonnull(strstr(text, "dominoes:memory,memory"));
    free(text);
    free(x);
    modeconn_dataset_destroy(dataset);
    dataset = paired(top, bottom, ""); /* without the cue there is nocue alone */
    int64_t count = 0;
    OK(modeconn_dataset_view_count(dataset, &count));
    ck_assert_int_eq(count, 1);
    modeconn_dataset_destroy(dataset);
    modeconn_dataset_destroy(some);
    modeconn_dataset_destroy(bottom);
    modeconn_dataset_destroy(top);
    modeconn_context_destroy(context);
}
END_TEST

static void refused(const modeconn_dataset *top, const modeconn_dataset *bottom, int32_t status,
                    const char *culprit)
{
    modeconn_dataset *out = (modeconn_dataset *)(uintptr_t)1;
    FAILS(modeconn_dataset_dominoes(top, bottom, NULL, &out), status, culprit);
    ck_assert_ptr_null(out);
}

START_TEST(test_errors)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *top = NULL, *bottom = NULL;
    make(context, &top, &bottom);
    modeconn_dataset *floats = numbered(context, 6, SIDE, CLASSES, "");
    modeconn_dataset *four = numbered(context, 8, 5, 4, "");
    modeconn_dataset *zeros = squares(context, TOP, 1, 0, all_zero, "");
    modeconn_dataset *two = squares(context, TOP, 2, 0, cycling, "");
    refused(NULL, bottom, MODECONN_ERROR_ARGUMENT, "top");
    refused(top, NULL, MODECONN_ERROR_ARGUMENT, "bottom");
    FAILS(modeconn_dataset_dominoes(top, bottom, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    refused(four, bottom, MODECONN_ERROR_SHAPE, "4 classes");
    refused(floats, bottom, MODECONN_ERROR_UNSUPPORTED, "float");
    refused(top, floats, MODECONN_ERROR_UNSUPPORTED, "float");
    refused(two, bottom, MODECONN_ERROR_SHAPE, "2 channels");
    refused(zeros, bottom, MODECONN_ERROR_SHAPE, "no sample of class 1");
    modeconn_options *options = options_of("train", "");
    modeconn_dataset *out = NULL;
    FAILS(modeconn_dataset_dominoes(top, bottom, options, &out), MODECONN_ERROR_ARGUMENT,
          "dataset");
    modeconn_options_destroy(options);
    modeconn_dataset *pair = paired(top, bottom, "cue=domino,view=cue");
    refused(top, pair, MODECONN_ERROR_UNSUPPORTED, "nocue");
    modeconn_dataset_destroy(pair);
    open_fails(context, "dominoes:here", "train", MODECONN_ERROR_ARGUMENT, "dominoes:CIFAR,FMNIST");
    open_fails(context, "dominoes:", "train", MODECONN_ERROR_ARGUMENT, "dominoes:CIFAR,FMNIST");
    open_fails(context, "dominoes:/no/cifar,/no/mnist", "train", MODECONN_ERROR_IO, "/no/cifar");
    open_fails(context, "dominoes:/no/cifar,/no/mnist", "test", MODECONN_ERROR_IO, "/no/cifar");
    modeconn_dataset_destroy(two);
    modeconn_dataset_destroy(zeros);
    modeconn_dataset_destroy(four);
    modeconn_dataset_destroy(floats);
    modeconn_dataset_destroy(bottom);
    modeconn_dataset_destroy(top);
    modeconn_context_destroy(context);
}
END_TEST

typedef struct halves {
    modeconn_dataset *top, *bottom;
} halves;

static int32_t attempt(modeconn_context *context, const void *arg, modeconn_dataset *out[2])
{
    const halves *of = arg;
    (void)context;
    return modeconn_dataset_dominoes(of->top, of->bottom, NULL, &out[0]);
}

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    halves of;
    make(context, &of.top, &of.bottom);
    fail_each(&state, context, attempt, &of, 20);
    modeconn_dataset_destroy(of.top);
    modeconn_dataset_destroy(of.bottom);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

/* Halves of different contexts: the pair is the lower one's alone. */
START_TEST(test_two_contexts)
{
    failing state[2];
    modeconn_context *above = failing_context(&state[0]), *below = failing_context(&state[1]);
    halves of, other;
    make(above, &of.top, &other.bottom);
    make(below, &other.top, &of.bottom);
    modeconn_dataset *pair = paired(of.top, of.bottom, "cue=domino,view=cue");
    modeconn_dataset_destroy(of.top);
    modeconn_dataset_destroy(other.bottom);
    modeconn_context_destroy(above);
    ck_assert_int_eq(atomic_load(&state[0].live), 0);
    modeconn_dataset_destroy(of.bottom);
    modeconn_dataset_destroy(other.top);
    int32_t *values = values_of(pair), *labels = labels_of(pair);
    for (int i = 0; i < BOTTOM; i++) {
        ck_assert_int_eq(in_blocks(values[i]), labels[i]);
    }
    free(values);
    free(labels);
    modeconn_dataset_destroy(pair);
    modeconn_context_destroy(below);
    ck_assert_int_eq(atomic_load(&state[1].live), 0);
}
END_TEST

/* The real files, where they are at hand: pairs of equal class, the lower half CIFAR's bytes. */
START_TEST(test_real_files)
{
    const char *shared = getenv("MODECONN_SHARED_DATA");
    char spec[700], bottom_spec[600];
    snprintf(bottom_spec, sizeof(bottom_spec), "cifar10:%s/cifar-10-subset",
             shared == NULL ? "" : shared);
    snprintf(spec, sizeof(spec), "dominoes:%s,/usr/share/datasets/fashion-mnist",
             bottom_spec + strlen("cifar10:"));
    if (access(bottom_spec + strlen("cifar10:"), R_OK) != 0 ||
        access("/usr/share/datasets/fashion-mnist", R_OK) != 0) {
        printf("skipped: no cifar-10-subset, or no Fashion-MNIST\n");
        return;
    }
    modeconn_context *context = context_of("threads=2");
    modeconn_options *options = options_of("dataset", "cue=domino,view=cue");
    modeconn_dataset *pair = NULL, *below = NULL, *above = NULL;
    OK(modeconn_dataset_open(context, spec, "test", options, &pair));
    OK(modeconn_dataset_open(context, bottom_spec, "test", NULL, &below));
    OK(modeconn_dataset_open(context, "fashion-mnist", "test", NULL, &above));
    int64_t n = 0, height = 0;
    OK(modeconn_dataset_shape(pair, &n, NULL, &height, NULL, NULL));
    ck_assert(n == 2000 && height == 64);
    int32_t *values = values_of(pair), *labels = labels_of(pair), *kinds = labels_of(above);
    for (int64_t i = 0; i < n; i++) {
        float x[3 * 64 * 32];
        ck_assert_int_eq(kinds[values[i]], labels[i]);
        OK(modeconn_dataset_read(pair, &i, 1, x, NULL));
        for (int c = 0; c < 3; c++) {
            ck_assert_mem_eq(x, x + c * 2048, 1024 * sizeof(float)); /* grey */
            for (int p = 0; p < 1024; p++) {
                uint8_t level = below->store->u8[(i * 3 + c) * 1024 + p];
                ck_assert(x[c * 2048 + 1024 + p] == (float)level / 255.0F);
            }
        }
    }
    free(kinds);
    free(labels);
    free(values);
    modeconn_dataset_destroy(above);
    modeconn_dataset_destroy(below);
    modeconn_dataset_destroy(pair);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_views);
    tcase_add_test(tests, test_random_over_the_set);
    tcase_add_test(tests, test_subsets_and_channels);
    tcase_add_test(tests, test_errors);
    tcase_add_test(tests, test_failing_allocations);
    tcase_add_test(tests, test_two_contexts);
    tcase_add_test(tests, test_real_files);
}

int main(void)
{
    return unit_run("data_dominoes", add);
}
