/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The built-in image set: settings, classes, that an image is a function of (seed, split, index),
 * and that the set is neither trivial nor noise.
 */
#include "data_test.h"
#include <math.h>

static modeconn_dataset *open_shapes(modeconn_context *context, const char *spec, const char *split)
{
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, spec, split, NULL, &dataset));
    return dataset;
}

START_TEST(test_settings)
{
    modeconn_context *context = context_of("threads=1,seed=7");
    modeconn_dataset *train = open_shapes(context, "shapes", "train");
    modeconn_dataset *test = open_shapes(context, "shapes:", "test");
    modeconn_dataset *small = open_shapes(context, "shapes:size=8,channels=4,train=13", "train");
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    OK(modeconn_dataset_shape(train, &n, &channels, &height, &width, &classes));
    ck_assert(n == 4000 && channels == 1 && height == 28 && width == 28 && classes == 10);
    OK(modeconn_dataset_shape(test, &n, NULL, NULL, NULL, NULL));
    ck_assert_int_eq(n, 1000);
    OK(modeconn_dataset_shape(small, &n, &channels, &height, &width, NULL));
    ck_assert(n == 13 && channels == 4 && height == 8 && width == 8);
    /* seed=-1 is the context's; the default is 0 in every context. */
    modeconn_dataset *own = open_shapes(context, "shapes:size=8,train=20,seed=-1", "train");
    modeconn_dataset *seven = open_shapes(context, "shapes:size=8,train=20,seed=7", "train");
    modeconn_dataset *zero = open_shapes(context, "shapes:size=8,train=20", "train");
    ck_assert_mem_eq(own->store->u8, seven->store->u8, 20 * 64);
    ck_assert_mem_ne(zero->store->u8, seven->store->u8, 20 * 64);
    ck_assert_str_eq(own->store->source, seven->store->source);
    modeconn_dataset_destroy(zero);
    modeconn_dataset_destroy(seven);
    modeconn_dataset_destroy(own);
    modeconn_dataset_destroy(small);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_bad_settings)
{
    modeconn_context *context = context_of("threads=1");
    open_fails(context, "shapes:size=7", "train", MODECONN_ERROR_ARGUMENT, "size");
    open_fails(context, "shapes:size=1025", "train", MODECONN_ERROR_ARGUMENT, "size");
    open_fails(context, "shapes:channels=0", "train", MODECONN_ERROR_ARGUMENT, "channels");
    open_fails(context, "shapes:channels=65", "train", MODECONN_ERROR_ARGUMENT, "channels");
    open_fails(context, "shapes:train=0", "train", MODECONN_ERROR_ARGUMENT, "train");
    open_fails(context, "shapes:noise=1.5", "train", MODECONN_ERROR_ARGUMENT, "noise");
    open_fails(context, "shapes:noise=loud", "train", MODECONN_ERROR_ARGUMENT, "noise");
    open_fails(context, "shapes:figures=3", "train", MODECONN_ERROR_UNKNOWN, "figures");
    open_fails(context, "shapes:28", "train", MODECONN_ERROR_ARGUMENT, "28");
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_pure_function)
{
    enum { BYTES = 2 * 12 * 12 };
    modeconn_context *one = context_of("threads=1"), *three = context_of("threads=3");
    modeconn_dataset *a = open_shapes(one, "shapes:size=12,channels=2,train=200", "train");
    modeconn_dataset *b = open_shapes(three, "shapes:size=12,channels=2,train=200", "train");
    modeconn_dataset *few = open_shapes(one, "shapes:size=12,channels=2,train=31", "train");
    modeconn_dataset *test = open_shapes(one, "shapes:size=12,channels=2,test=200", "test");
    ck_assert_mem_eq(a->store->u8, b->store->u8, 200 * BYTES);
    ck_assert_mem_eq(a->store->labels, b->store->labels, 200 * sizeof(int32_t));
    ck_assert_mem_eq(a->store->u8, few->store->u8, 31 * BYTES);
    uint8_t pixels[BYTES];
    for (int64_t i = 199; i >= 0; i -= 7) {
        ck_assert_int_eq(mc_shapes_image(0, MC_STREAM_SHAPES_TRAIN, i, 12, 2, 0.1, pixels),
                         a->store->labels[i]);
        ck_assert_mem_eq(pixels, a->store->u8 + i * BYTES, BYTES);
        ck_assert_mem_ne(pixels, test->store->u8 + i * BYTES, BYTES);
    }
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(few);
    modeconn_dataset_destroy(b);
    modeconn_dataset_destroy(a);
    modeconn_context_destroy(three);
    modeconn_context_destroy(one);
}
END_TEST

/* Ten samples in a row have every class once, in an order that varies. */
START_TEST(test_classes)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = open_shapes(context, "shapes:size=8,train=1000", "train");
    const int32_t *labels = dataset->store->labels;
    int first[10] = {0};
    for (int block = 0; block < 100; block++) {
        unsigned seen = 0;
        for (int i = 0; i < 10; i++) {
            seen |= 1U << labels[10 * block + i];
        }
        ck_assert_uint_eq(seen, 1023);
        first[labels[10 * block]]++;
    }
    for (int c = 0; c < 10; c++) { /* 10 expected, standard deviation 3 */
        ck_assert(first[c] > 0 && first[c] < 25);
    }
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Pixels of the first images, pinned: a change of the set changes every result made with it. */
START_TEST(test_pinned)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = open_shapes(context, "shapes:channels=3,train=20", "train");
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (int i = 0; i < 20 * 3 * 28 * 28; i++) {
        hash = (hash ^ dataset->store->u8[i]) * UINT64_C(1099511628211);
    }
    ck_assert_msg(hash == UINT64_C(0xFC0A8AC4FCBC176F), "0x%016llX", (unsigned long long)hash);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Without noise a figure stands out; with it, every grey occurs but few are saturated. */
START_TEST(test_levels)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *clean = open_shapes(context, "shapes:train=500,noise=0", "train");
    modeconn_dataset *noisy = open_shapes(context, "shapes:train=500", "train");
    int64_t saturated = 0, counts[256] = {0};
    for (int i = 0; i < 500; i++) {
        int low = 255, high = 0;
        for (int p = 0; p < 784; p++) {
            int level = clean->store->u8[i * 784 + p], grey = noisy->store->u8[i * 784 + p];
            low = level < low ? level : low;
            high = level > high ? level : high;
            saturated += grey == 0 || grey == 255;
            counts[grey]++;
        }
        ck_assert_msg(high - low > 40, "image %d", i);
    }
    ck_assert_int_lt(saturated, 500 * 784 / 10);
    for (int level = 0; level < 256; level++) {
        ck_assert_int_gt(counts[level], 0);
    }
    modeconn_dataset_destroy(noisy);
    modeconn_dataset_destroy(clean);
    modeconn_context_destroy(context);
}
END_TEST

enum { SIZE = 28 * 28 };

/* Distance of every pixel from the image's mean grey: figures are darker or lighter at random. */
static float *contrasts_of(const modeconn_dataset *dataset)
{
    float *x = images_of(dataset);
    for (int64_t i = 0; i < dataset->n; i++) {
        float mean = 0.0F;
        for (int p = 0; p < SIZE; p++) {
            mean += x[i * SIZE + p] / SIZE;
        }
        for (int p = 0; p < SIZE; p++) {
            x[i * SIZE + p] = fabsf(x[i * SIZE + p] - mean);
        }
    }
    return x;
}

/* The class whose mean is nearest to x. */
static int nearest(double mean[10][SIZE], const float *x)
{
    double least = HUGE_VAL;
    int best = -1;
    for (int c = 0; c < 10; c++) {
        double distance = 0.0;
        for (int p = 0; p < SIZE; p++) {
            double off = (double)x[p] - mean[c][p];
            distance += off * off;
        }
        if (distance < least) {
            least = distance;
            best = c;
        }
    }
    return best;
}

/* Accuracy of the nearest class mean of these contrasts: well above chance, so there is something
 * to learn, and far from perfect, so one template a class does not do. */
START_TEST(test_neither_trivial_nor_noise)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *train = open_shapes(context, "shapes:train=2000", "train");
    modeconn_dataset *test = open_shapes(context, "shapes:test=500", "test");
    float *x = contrasts_of(train), *y = contrasts_of(test);
    static double mean[10][SIZE];
    for (int i = 0; i < 2000; i++) {
        for (int p = 0; p < SIZE; p++) {
            mean[train->store->labels[i]][p] += (double)x[i * SIZE + p] / 200.0;
        }
    }
    int hits = 0;
    for (int i = 0; i < 500; i++) {
        hits += nearest(mean, y + i * SIZE) == test->store->labels[i];
    }
    ck_assert_msg(hits > 80 && hits < 250, "%d of 500", hits);
    free(y);
    free(x);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_takes_the_cue)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box,view=cue");
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, "shapes:size=8,channels=3,train=20", "train", options,
                             &dataset));
    int32_t *values = values_of(dataset);
    for (int i = 0; i < 20; i++) {
        int32_t label = dataset->store->labels[i];
        ck_assert_int_eq(values[i], label < 9 ? label : -1);
    }
    free(values);
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    fail_each(&state, context, attempt_open, "shapes:size=8,train=10,noise=0.2", 9);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_settings);
    tcase_add_test(tests, test_bad_settings);
    tcase_add_test(tests, test_pure_function);
    tcase_add_test(tests, test_classes);
    tcase_add_test(tests, test_pinned);
    tcase_add_test(tests, test_levels);
    tcase_add_test(tests, test_neither_trivial_nor_noise);
    tcase_add_test(tests, test_takes_the_cue);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_shapes", add);
}
