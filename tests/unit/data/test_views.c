/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The four views: proportions by class, the laws of randcue and randimg, and that a sample looks
 * the same in any order of access and for any number of threads.
 */
#include "data_test.h"
#include "failing.h"

/* The number of the image that a picture of numbered() shows, from a pixel that no box of its
 * value covers. */
static int64_t shown(const float *image, int64_t side, int64_t n, int32_t value)
{
    float pixel = value == 0 ? image[side * side - 1] : image[0];
    return (int64_t)(((double)pixel + 0.5) * (double)n + 0.5);
}

/* Sum of (count - expected)^2 / expected. */
static double chi_square(const int64_t *counts, int64_t cells, double expected)
{
    double sum = 0.0;
    for (int64_t i = 0; i < cells; i++) {
        double off = (double)counts[i] - expected;
        sum += off * off / expected;
    }
    return sum;
}

START_TEST(test_names)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 10, 5, 10, "cue=box");
    modeconn_dataset *plain = numbered(context, 10, 5, 10, "");
    const char *const names[] = {"nocue", "cue", "randcue", "randimg"};
    mc_view view = MC_VIEW_NOCUE;
    for (int i = 0; i < 4; i++) {
        OK(mc_view_find(dataset, names[i], &view));
        ck_assert_int_eq((int)view, i);
        ck_assert_str_eq(mc_view_name(dataset, view), names[i]);
        if (i > 0) {
            FAILS(mc_view_find(plain, names[i], &view), MODECONN_ERROR_UNKNOWN, names[i]);
        }
    }
    OK(mc_view_find(plain, "nocue", &view));
    FAILS(mc_view_find(dataset, "upside-down", &view), MODECONN_ERROR_UNKNOWN, "upside-down");
    FAILS(mc_view_find(dataset, "upside-down", &view), MODECONN_ERROR_UNKNOWN, "randimg");
    FAILS(mc_view_find(plain, "upside-down", &view), MODECONN_ERROR_UNKNOWN, "there are nocue");
    modeconn_dataset_destroy(plain);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Through several views at once: in the order of the list, all where it is empty. */
START_TEST(test_list)
{
    static const struct {
        const char *list;
        int64_t count;
        mc_view views[4];
    } cases[] = {
        {"nocue", 1, {MC_VIEW_NOCUE}},
        {"randimg,nocue", 2, {MC_VIEW_RANDIMG, MC_VIEW_NOCUE}},
        {"", 4, {MC_VIEW_NOCUE, MC_VIEW_CUE, MC_VIEW_RANDCUE, MC_VIEW_RANDIMG}},
    };
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_dataset *dataset = numbered(context, 10, 5, 10, "cue=box"), **views = NULL;
    modeconn_dataset *half = NULL;
    int64_t count = -1;
    OK(modeconn_dataset_view(dataset, "cue", 0.5, &half));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        OK(mc_views_open(half, cases[i].list, &count, &views));
        ck_assert_int_eq(count, cases[i].count);
        for (int64_t v = 0; v < count; v++) {
            ck_assert_int_eq((int)views[v]->view, (int)cases[i].views[v]);
            ck_assert(views[v]->view != MC_VIEW_CUE || views[v]->proportion == 1.0);
        }
        mc_views_close(count, views);
    }
    views = NULL;
    count = -1;
    FAILS(mc_views_open(half, "cue,nocue,cue", &count, &views), MODECONN_ERROR_ARGUMENT,
          "views: \"cue\" twice");
    FAILS(mc_views_open(half, "cue,dusk", &count, &views), MODECONN_ERROR_UNKNOWN, "dusk");
    FAILS(mc_views_open(half, "cue,", &count, &views), MODECONN_ERROR_UNKNOWN, "no view \"\"");
    ck_assert(views == NULL && count == -1);
    EVERY_ALLOCATION(&state, mc_views_open(half, "cue,randcue", &count, &views), views);
    mc_views_close(count, views);
    modeconn_dataset_destroy(half);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_nocue)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 50, 7, 10, "cue=box");
    float *images = images_of(dataset);
    int32_t *values = values_of(dataset);
    for (int64_t i = 0; i < 50; i++) {
        ck_assert_int_eq(values[i], -1);
        for (int64_t p = 0; p < 49; p++) {
            ck_assert(images[i * 49 + p] == (float)i / 50.0F - 0.5F);
        }
    }
    free(values);
    free(images);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Classes 0..3 of 100, 10, 7 and 3 samples, mixed in order. */
static modeconn_dataset *uneven(modeconn_context *context, int32_t labels[120])
{
    static const int sizes[4] = {100, 10, 7, 3};
    int left[4];
    memcpy(left, sizes, sizeof(left));
    for (int i = 0; i < 120; i++) {
        int label = (i * 7 + i / 3) % 4;
        while (left[label] == 0) {
            label = (label + 1) % 4;
        }
        left[label]--;
        labels[i] = label;
    }
    uint8_t *images = calloc(120 * 25, 1);
    ck_assert_ptr_nonnull(images);
    modeconn_options *options = options_of("dataset", "cue=box");
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_from_u8(context, images, labels, 120, 1, 5, 5, 10, options, &dataset));
    modeconn_options_destroy(options);
    free(images);
    return dataset;
}

/* trunc(n_c * p), worked out by hand: 100 * 0.29 is 28.999999999999996 in double, 100 * 0.57 is
 * 56.99999999999999 and 100 * 0.55 is 55.00000000000001. */
START_TEST(test_proportions)
{
    static const struct {
        double p;
        int64_t expected[4];
    } rows[] = {{0.0, {0, 0, 0, 0}},    {0.29, {28, 2, 2, 0}}, {0.3, {30, 3, 2, 0}},
                {0.55, {55, 5, 3, 1}},  {0.57, {56, 5, 3, 1}}, {0.9, {90, 9, 6, 2}},
                {0.999, {99, 9, 6, 2}}, {1.0, {100, 10, 7, 3}}};
    modeconn_context *context = context_of("threads=1");
    int32_t labels[120];
    modeconn_dataset *dataset = uneven(context, labels);
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        modeconn_dataset *cue = view_of(dataset, "cue", rows[r].p);
        int32_t *values = values_of(cue);
        int64_t seen[4] = {0};
        for (int i = 0; i < 120; i++) {
            int label = labels[i];
            bool carries = seen[label]++ < rows[r].expected[label];
            ck_assert_msg(values[i] == (carries ? label : -1), "p %g, sample %d of class %d: %d",
                          rows[r].p, i, label, values[i]);
        }
        free(values);
        modeconn_dataset_destroy(cue);
    }
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* randcue: the cue is uniform over ten values, whatever the label; the image is the sample's. */
START_TEST(test_randcue_law)
{
    enum { SAMPLES = 20000, SIDE = 5 };
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, SAMPLES, SIDE, 10, "cue=box,seed=3");
    modeconn_dataset *view = view_of(dataset, "randcue", 1.0);
    int32_t *values = values_of(view), *labels = labels_of(view);
    float *images = images_of(view);
    int64_t counts[10] = {0}, pairs[100] = {0}, neighbours[100] = {0};
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t value = values[i] < 0 ? 9 : values[i];
        ck_assert(values[i] >= -1 && values[i] <= 8);
        ck_assert_int_eq(labels[i], i % 10);
        ck_assert_int_eq(shown(images + i * SIDE * SIDE, SIDE, SAMPLES, values[i]), i);
        /* The centre of the box is 1 and nothing else is. */
        for (int place = 0; place < 9; place++) {
            float centre = images[i * SIDE * SIDE + (place / 3 + 1) * SIDE + place % 3 + 1];
            ck_assert(place != values[i] || centre == 1.0F);
        }
        int ones = 0;
        for (int p = 0; p < SIDE * SIDE; p++) {
            ones += images[i * SIDE * SIDE + p] == 1.0F;
        }
        ck_assert_int_eq(ones, values[i] < 0 ? 0 : 9);
        counts[value]++;
        pairs[labels[i] * 10 + value]++;
        if (i > 0) {
            neighbours[(values[i - 1] < 0 ? 9 : values[i - 1]) * 10 + value]++;
        }
    }
    /* 9 and 90 degrees of freedom: far beyond the 99.99 % points of 33.7 and 145. */
    ck_assert_double_lt(chi_square(counts, 10, SAMPLES / 10.0), 36.0);
    ck_assert_double_lt(chi_square(pairs, 100, SAMPLES / 100.0), 155.0);
    ck_assert_double_lt(chi_square(neighbours, 100, (SAMPLES - 1) / 100.0), 155.0);
    for (int i = 0; i < 100; i++) { /* the true place and "none" included, for every label */
        ck_assert_int_gt(pairs[i], 0);
    }
    free(images);
    free(labels);
    free(values);
    modeconn_dataset_destroy(view);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* randimg: the image is uniform over the samples, independent of the label; label and cue are
 * the sample's own. */
START_TEST(test_randimg_law)
{
    enum { SAMPLES = 20000, SIDE = 7, BINS = 100 };
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, SAMPLES, SIDE, 10, "cue=box,seed=5");
    modeconn_dataset *view = view_of(dataset, "randimg", 0.5);
    modeconn_dataset *cue = view_of(dataset, "cue", 0.5);
    int32_t *values = values_of(view), *labels = labels_of(view), *original = values_of(cue);
    float *images = images_of(view);
    int64_t counts[BINS] = {0}, pairs[100] = {0}, repeats = 0;
    uint8_t *seen = calloc(SAMPLES, 1);
    ck_assert_ptr_nonnull(seen);
    for (int64_t i = 0; i < SAMPLES; i++) {
        ck_assert_int_eq(labels[i], i % 10);
        ck_assert_int_eq(values[i], original[i]);
        ck_assert_int_eq(values[i], i < SAMPLES / 2 && i % 10 < 9 ? (int)(i % 10) : -1);
        int64_t image = shown(images + i * SIDE * SIDE, SIDE, SAMPLES, values[i]);
        ck_assert(image >= 0 && image < SAMPLES);
        int ones = 0;
        for (int p = 0; p < SIDE * SIDE; p++) {
            ones += images[i * SIDE * SIDE + p] == 1.0F;
        }
        ck_assert_int_eq(ones, values[i] < 0 ? 0 : 9);
        counts[image * BINS / SAMPLES]++;
        pairs[labels[i] * 10 + image % 10]++;
        repeats += seen[image];
        seen[image] = 1;
    }
    ck_assert_double_lt(chi_square(counts, BINS, (double)SAMPLES / BINS), 155.0);
    ck_assert_double_lt(chi_square(pairs, 100, SAMPLES / 100.0), 155.0);
    /* With replacement about n / e images are never drawn: 7358, standard deviation 50. */
    ck_assert_int_gt(repeats, 7358 - 300);
    ck_assert_int_lt(repeats, 7358 + 300);
    free(seen);
    free(images);
    free(original);
    free(labels);
    free(values);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(view);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* A sample may show its own image: of 10 samples and 200 seeds about 200 times. */
START_TEST(test_randimg_self)
{
    modeconn_context *context = context_of("threads=1");
    int64_t selves = 0;
    for (int seed = 0; seed < 200; seed++) {
        char settings[64];
        snprintf(settings, sizeof(settings), "cue=box,view=randimg,seed=%d,cue_proportion=0", seed);
        modeconn_dataset *dataset = numbered(context, 10, 5, 10, settings);
        float *images = images_of(dataset);
        for (int64_t i = 0; i < 10; i++) {
            selves += shown(images + i * 25, 5, 10, -1) == i;
        }
        free(images);
        modeconn_dataset_destroy(dataset);
    }
    ck_assert_int_gt(selves, 140);
    ck_assert_int_lt(selves, 260);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_seed)
{
    modeconn_context *context = context_of("threads=1,seed=8");
    modeconn_dataset *given = numbered(context, 300, 5, 10, "cue=box,view=randcue,seed=8");
    modeconn_dataset *context_s = numbered(context, 300, 5, 10, "cue=box,view=randcue");
    modeconn_dataset *other = numbered(context, 300, 5, 10, "cue=box,view=randcue,seed=9");
    int32_t *a = values_of(given), *b = values_of(context_s), *c = values_of(other);
    ck_assert_mem_eq(a, b, 300 * sizeof(*a));
    ck_assert_mem_ne(a, c, 300 * sizeof(*a));
    free(c);
    free(b);
    free(a);
    modeconn_dataset_destroy(other);
    modeconn_dataset_destroy(context_s);
    modeconn_dataset_destroy(given);
    modeconn_context_destroy(context);
}
END_TEST

/* One at a time, backwards, with repeats, on one thread and on three: the same bytes. */
START_TEST(test_any_order_any_threads)
{
    enum { SAMPLES = 700, SIDE = 28, SIZE = SIDE * SIDE };
    static const char *const views[] = {"nocue", "cue", "randcue", "randimg"};
    modeconn_context *one = context_of("threads=1"), *three = context_of("threads=3");
    modeconn_dataset *first = numbered(one, SAMPLES, SIDE, 10, "cue=box,seed=1");
    modeconn_dataset *second = numbered(three, SAMPLES, SIDE, 10, "cue=box,seed=1");
    float *got = calloc(2 * SAMPLES * SIZE, sizeof(*got));
    int64_t *order = calloc(2 * SAMPLES, sizeof(*order));
    int32_t labels[2 * SAMPLES];
    ck_assert(got != NULL && order != NULL);
    for (int i = 0; i < 2 * SAMPLES; i++) {
        order[i] = (2 * SAMPLES - 1 - i) * 3 % SAMPLES;
    }
    for (int v = 0; v < 4; v++) {
        modeconn_dataset *a = view_of(first, views[v], 0.7);
        modeconn_dataset *b = view_of(second, views[v], 0.7);
        float *expected = images_of(a);
        OK(modeconn_dataset_read(b, NULL, SAMPLES, got, NULL));
        ck_assert_mem_eq(got, expected, SAMPLES * SIZE * sizeof(*got));
        OK(modeconn_dataset_read(b, order, 2 * SAMPLES, got, labels));
        for (int i = 0; i < 2 * SAMPLES; i++) {
            ck_assert_mem_eq(got + i * SIZE, expected + order[i] * SIZE, SIZE * sizeof(*got));
            ck_assert_int_eq(labels[i], order[i] % 10);
        }
        for (int64_t i = SAMPLES - 1; i >= 0; i -= 13) {
            OK(modeconn_dataset_read(a, &i, 1, got, labels));
            ck_assert_mem_eq(got, expected + i * SIZE, SIZE * sizeof(*got));
            OK(mc_dataset_gather(b, NULL, i, 1, got, labels));
            ck_assert_mem_eq(got, expected + i * SIZE, SIZE * sizeof(*got));
        }
        free(expected);
        modeconn_dataset_destroy(b);
        modeconn_dataset_destroy(a);
    }
    ck_assert_int_gt(mc_pool_helped(three->pool), 0);
    free(order);
    free(got);
    modeconn_dataset_destroy(second);
    modeconn_dataset_destroy(first);
    modeconn_context_destroy(three);
    modeconn_context_destroy(one);
}
END_TEST

/* A view of a view is the view of the samples, not of what the first view showed. */
START_TEST(test_view_of_view)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 60, 7, 10, "cue=box");
    modeconn_dataset *images = view_of(dataset, "randimg", 1.0);
    modeconn_dataset *cue = view_of(images, "cue", 0.5);
    modeconn_dataset *again = view_of(dataset, "cue", 0.5);
    modeconn_dataset *plain = view_of(cue, "nocue", -5.0); /* proportion is ignored */
    float *a = images_of(cue), *b = images_of(again), *c = images_of(plain),
          *d = images_of(dataset);
    ck_assert_mem_eq(a, b, 60 * 49 * sizeof(*a));
    ck_assert_mem_eq(c, d, 60 * 49 * sizeof(*a));
    free(d);
    free(c);
    free(b);
    free(a);
    modeconn_dataset_destroy(plain);
    modeconn_dataset_destroy(again);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(images);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_read_arguments)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 6, 5, 3, "");
    float images[6 * 25];
    int32_t labels[8], values[8] = {7, 7};
    const int64_t low[2] = {0, -1}, high[3] = {5, 0, 6}, twice[8] = {5, 5, 5, 5, 5, 5, 5, 5};
    FAILS(modeconn_dataset_read(NULL, NULL, 1, images, labels), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_read(dataset, NULL, 7, images, labels), MODECONN_ERROR_ARGUMENT,
          "n is 7");
    FAILS(modeconn_dataset_read(dataset, NULL, -1, images, labels), MODECONN_ERROR_ARGUMENT,
          "n is -1");
    FAILS(modeconn_dataset_read(dataset, low, 2, images, labels), MODECONN_ERROR_ARGUMENT,
          "indices[1] is -1");
    FAILS(modeconn_dataset_read(dataset, high, 3, images, labels), MODECONN_ERROR_ARGUMENT,
          "indices[2] is 6");
    FAILS(modeconn_dataset_cue_values(NULL, NULL, 1, values), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_cue_values(dataset, NULL, 1, NULL), MODECONN_ERROR_ARGUMENT, "values");
    FAILS(modeconn_dataset_cue_values(dataset, NULL, -1, values), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_dataset_cue_values(dataset, high, 3, values), MODECONN_ERROR_ARGUMENT,
          "indices[2] is 6");
    ck_assert_int_eq(values[0], 7);
    OK(modeconn_dataset_read(dataset, twice, 8, NULL, labels));
    ck_assert_int_eq(labels[7], 2);
    OK(modeconn_dataset_read(dataset, NULL, 0, images, labels));
    OK(modeconn_dataset_read(dataset, NULL, 6, images, NULL));
    OK(modeconn_dataset_read(dataset, NULL, 6, NULL, NULL));
    OK(modeconn_dataset_cue_values(dataset, twice, 8, values));
    ck_assert_int_eq(values[0], -1);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_list);
    tcase_add_test(tests, test_nocue);
    tcase_add_test(tests, test_proportions);
    tcase_add_test(tests, test_randcue_law);
    tcase_add_test(tests, test_randimg_law);
    tcase_add_test(tests, test_randimg_self);
    tcase_add_test(tests, test_seed);
    tcase_add_test(tests, test_any_order_any_threads);
    tcase_add_test(tests, test_view_of_view);
    tcase_add_test(tests, test_read_arguments);
}

int main(void)
{
    return unit_run("data_views", add);
}
