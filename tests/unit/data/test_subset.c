/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Subsets and splits: which samples, in which order, with which draws.
 */
#include "data_test.h"

/* Number of the image behind sample i of a numbered() dataset of n samples. */
static int64_t number_of(const modeconn_dataset *dataset, int64_t i)
{
    return dataset->index[i];
}

START_TEST(test_subset_samples)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 20, 5, 10, "cue=box,view=cue");
    const int64_t picks[5] = {19, 3, 3, 0, 11}, second[2] = {4, 0};
    modeconn_dataset *subset = NULL, *of_subset = NULL;
    OK(modeconn_dataset_subset(dataset, picks, 5, &subset));
    OK(modeconn_dataset_subset(subset, second, 2, &of_subset));
    float *all = images_of(dataset), *some = images_of(subset), *few = images_of(of_subset);
    int32_t *labels = labels_of(subset);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(labels[i], picks[i] % 10);
        ck_assert_mem_eq(some + i * 25, all + picks[i] * 25, 25 * sizeof(*all));
    }
    ck_assert_mem_eq(few, all + 11 * 25, 25 * sizeof(*all));
    ck_assert_mem_eq(few + 25, all + 19 * 25, 25 * sizeof(*all));
    free(labels);
    free(few);
    free(some);
    free(all);
    modeconn_dataset_destroy(dataset); /* the parent goes first */
    modeconn_dataset_destroy(subset);
    ck_assert_int_eq(number_of(of_subset, 0), 11);
    modeconn_dataset_destroy(of_subset);
    modeconn_context_destroy(context);
}
END_TEST

/* The proportion counts over the subset, in its order. */
START_TEST(test_subset_proportion)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 40, 5, 2, "cue=box,view=cue,cue_proportion=0.5");
    /* Four samples of class 0 and two of class 1, all from the half without the cue. */
    const int64_t picks[6] = {38, 33, 36, 34, 31, 32};
    const int32_t expected[6] = {0, 1, 0, -1, -1, -1};
    int32_t *before = values_of(dataset);
    modeconn_dataset *subset = NULL;
    OK(modeconn_dataset_subset(dataset, picks, 6, &subset));
    int32_t *values = values_of(subset);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(before[picks[i]], -1);
        ck_assert_int_eq(values[i], expected[i]);
    }
    free(values);
    free(before);
    modeconn_dataset_destroy(subset);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* A sample keeps its random cue, and its draw of an image, mapped on the samples there are. */
START_TEST(test_subset_keeps_draws)
{
    enum { N = 1000, PART = 10 };
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, N, 7, 10, "cue=box,cue_proportion=0,seed=6");
    int64_t picks[PART];
    for (int i = 0; i < PART; i++) {
        picks[i] = (i * 377 + 5) % N;
    }
    modeconn_dataset *subset = NULL;
    OK(modeconn_dataset_subset(dataset, picks, PART, &subset));
    modeconn_dataset *cue = view_of(dataset, "randcue", 1.0), *part = view_of(subset, "randcue", 1);
    int32_t *all = values_of(cue), *some = values_of(part);
    for (int i = 0; i < PART; i++) {
        ck_assert_int_eq(some[i], all[picks[i]]);
    }
    modeconn_dataset *images = view_of(dataset, "randimg", 0);
    modeconn_dataset *part_images = view_of(subset, "randimg", 0);
    float *from_all = images_of(images), *from_part = images_of(part_images);
    int64_t size = 49;
    for (int i = 0; i < PART; i++) {
        /* floor(10 u) = floor(1000 u) / 100 */
        int64_t drawn = (int64_t)(((double)from_all[picks[i] * size] + 0.5) * N + 0.5);
        int64_t expected = picks[drawn / (N / PART)];
        ck_assert(from_part[i * size] == (float)expected / N - 0.5F);
    }
    free(from_part);
    free(from_all);
    free(some);
    free(all);
    modeconn_dataset_destroy(part_images);
    modeconn_dataset_destroy(images);
    modeconn_dataset_destroy(part);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(subset);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_subset_arguments)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 20, 5, 10, "");
    modeconn_dataset *out = dataset;
    const int64_t high[2] = {0, 20}, low[1] = {-1};
    FAILS(modeconn_dataset_subset(dataset, high, 2, &out), MODECONN_ERROR_ARGUMENT, "20");
    ck_assert_ptr_null(out);
    FAILS(modeconn_dataset_subset(dataset, low, 1, &out), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_dataset_subset(dataset, high, 0, &out), MODECONN_ERROR_ARGUMENT, "n is 0");
    FAILS(modeconn_dataset_subset(dataset, NULL, 1, &out), MODECONN_ERROR_ARGUMENT, "indices");
    FAILS(modeconn_dataset_subset(NULL, high, 1, &out), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_dataset_subset(dataset, high, 1, NULL), MODECONN_ERROR_ARGUMENT, "out");
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_split)
{
    enum { N = 500, DRAWN = 120 };
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, N, 5, 10, "cue=box");
    modeconn_dataset *drawn = NULL, *rest = NULL, *again = NULL, *other = NULL, *all = NULL;
    OK(modeconn_dataset_split(dataset, DRAWN, 3, &drawn, &rest));
    ck_assert_int_eq(drawn->n, DRAWN);
    ck_assert_int_eq(rest->n, N - DRAWN);
    uint8_t seen[N] = {0};
    int64_t low = 0;
    for (int64_t i = 0; i < DRAWN; i++) {
        seen[number_of(drawn, i)]++;
        low += number_of(drawn, i) < N / 2;
        ck_assert(i == 0 || number_of(drawn, i - 1) < number_of(drawn, i));
    }
    for (int64_t i = 0; i < N - DRAWN; i++) {
        seen[number_of(rest, i)]++;
        ck_assert(i == 0 || number_of(rest, i - 1) < number_of(rest, i));
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(seen[i], 1);
    }
    ck_assert(low > 40 && low < 80); /* 60 expected, standard deviation 4.8 */
    OK(modeconn_dataset_split(dataset, DRAWN, 3, &again, NULL));
    ck_assert_mem_eq(again->index, drawn->index, DRAWN * sizeof(int64_t));
    OK(modeconn_dataset_split(dataset, DRAWN, 4, &other, NULL));
    ck_assert_mem_ne(other->index, drawn->index, DRAWN * sizeof(int64_t));
    OK(modeconn_dataset_split(dataset, N, 3, &all, NULL));
    ck_assert_mem_eq(all->index, dataset->index, N * sizeof(int64_t));
    modeconn_dataset_destroy(all);
    modeconn_dataset_destroy(other);
    modeconn_dataset_destroy(again);
    modeconn_dataset_destroy(rest);
    modeconn_dataset_destroy(drawn);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Every sample is drawn equally often over many seeds: 3 of 12 a time. */
START_TEST(test_split_law)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 12, 5, 10, "");
    int64_t counts[12] = {0};
    for (int seed = 0; seed < 2000; seed++) {
        modeconn_dataset *drawn = NULL;
        OK(modeconn_dataset_split(dataset, 3, seed, &drawn, NULL));
        for (int i = 0; i < 3; i++) {
            counts[number_of(drawn, i)]++;
        }
        modeconn_dataset_destroy(drawn);
    }
    for (int i = 0; i < 12; i++) { /* 500 expected, standard deviation 19 */
        ck_assert_msg(counts[i] > 410 && counts[i] < 590, "sample %d: %d", i, (int)counts[i]);
    }
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_split_seed_of_context)
{
    modeconn_context *context = context_of("threads=1,seed=21");
    modeconn_dataset *dataset = numbered(context, 100, 5, 10, "");
    modeconn_dataset *given = NULL, *own = NULL;
    OK(modeconn_dataset_split(dataset, 30, 21, &given, NULL));
    OK(modeconn_dataset_split(dataset, 30, -1, &own, NULL));
    ck_assert_mem_eq(given->index, own->index, 30 * sizeof(int64_t));
    modeconn_dataset_destroy(own);
    modeconn_dataset_destroy(given);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_split_arguments)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = numbered(context, 20, 5, 10, "");
    modeconn_dataset *drawn = dataset, *rest = dataset;
    FAILS(modeconn_dataset_split(dataset, 0, 0, &drawn, &rest), MODECONN_ERROR_ARGUMENT, "n is 0");
    ck_assert(drawn == NULL && rest == NULL);
    FAILS(modeconn_dataset_split(dataset, 20, 0, &drawn, &rest), MODECONN_ERROR_ARGUMENT, "1..19");
    FAILS(modeconn_dataset_split(dataset, 21, 0, &drawn, NULL), MODECONN_ERROR_ARGUMENT, "1..20");
    FAILS(modeconn_dataset_split(dataset, 5, -2, &drawn, NULL), MODECONN_ERROR_ARGUMENT, "-2");
    FAILS(modeconn_dataset_split(NULL, 5, 0, &drawn, NULL), MODECONN_ERROR_ARGUMENT, "dataset");
    rest = dataset;
    FAILS(modeconn_dataset_split(dataset, 5, 0, NULL, &rest), MODECONN_ERROR_ARGUMENT, "drawn");
    ck_assert_ptr_null(rest);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

static int32_t attempt_subset(modeconn_context *context, const void *arg, modeconn_dataset *out[2])
{
    static const int64_t picks[3] = {4, 0, 4};
    (void)context;
    return modeconn_dataset_subset(arg, picks, 3, &out[0]);
}

static int32_t attempt_split(modeconn_context *context, const void *arg, modeconn_dataset *out[2])
{
    (void)context;
    return modeconn_dataset_split(arg, 7, 1, &out[0], &out[1]);
}

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_dataset *dataset = numbered(context, 20, 5, 10, "cue=box,view=cue");
    fail_each(&state, context, attempt_subset, dataset, 4);
    fail_each(&state, context, attempt_split, dataset, 9);
    ck_assert_int_eq(dataset->n, 20);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_subset_samples);
    tcase_add_test(tests, test_subset_proportion);
    tcase_add_test(tests, test_subset_keeps_draws);
    tcase_add_test(tests, test_subset_arguments);
    tcase_add_test(tests, test_split);
    tcase_add_test(tests, test_split_law);
    tcase_add_test(tests, test_split_seed_of_context);
    tcase_add_test(tests, test_split_arguments);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_subset", add);
}
