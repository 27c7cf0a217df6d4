/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Crop and flip of training passes: what each does, with which frequencies, the same in any order
 * and for any number of threads, under the cue, and nowhere else.
 */
#include "data_test.h"
#include <math.h>

enum { N = 400, H = 5, W = 7, C = 2, SIZE = C * H * W, EPOCH = 3, SEED = 11 };

/* Every value tells sample, channel, row and column. */
static float value_of(int i, int c, int row, int column)
{
    return (float)(1 + i + N * (column + W * (row + H * c)));
}

static modeconn_dataset *marked(modeconn_context *context, const char *settings)
{
    float *x = calloc((size_t)N * SIZE, sizeof(*x));
    int32_t *y = calloc(N, sizeof(*y));
    modeconn_options *options = options_of("dataset", settings);
    modeconn_dataset *dataset = NULL;
    for (int i = 0; i < N; i++) {
        for (int p = 0; p < SIZE; p++) {
            x[i * SIZE + p] = value_of(i, p / (H * W), p / W % H, p % W);
        }
        y[i] = i % 4;
    }
    OK(modeconn_dataset_from_f32(context, x, y, N, C, H, W, 4, options, &dataset));
    modeconn_options_destroy(options);
    free(y);
    free(x);
    return dataset;
}

static float *trained_on(const modeconn_dataset *dataset, uint64_t seed, int64_t epoch)
{
    float *x = calloc((size_t)N * SIZE, sizeof(*x));
    int32_t y[N];
    OK(mc_dataset_gather_training(dataset, NULL, dataset->n, seed, epoch, x, y));
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(y[i], i % 4);
    }
    return x;
}

/* Whether x is sample i moved by (down, right), zeros coming in, and then mirrored. */
static bool is_shifted(const float *x, int i, int down, int right, bool flip)
{
    for (int p = 0; p < SIZE; p++) {
        int row = p / W % H + down, column = (flip ? W - 1 - p % W : p % W) + right;
        bool inside = row >= 0 && row < H && column >= 0 && column < W;
        if (x[p] != (inside ? value_of(i, p / (H * W), row, column) : 0.0F)) {
            return false;
        }
    }
    return true;
}

/* Counts how often each shift was drawn; exactly one explains every image. */
static void check_shifts(const char *settings, int crop, bool may_flip)
{
    modeconn_context *context = context_of("threads=2");
    modeconn_dataset *dataset = marked(context, settings);
    float *x = trained_on(dataset, SEED, EPOCH);
    int counts[5][5][2] = {{{0}}}, side = 2 * crop + 1;
    for (int i = 0; i < N; i++) {
        int found = 0;
        for (int k = 0; k < side * side * 2; k++) {
            int down = k / 2 / side - crop, right = k / 2 % side - crop;
            if (is_shifted(x + i * SIZE, i, down, right, k % 2)) {
                counts[down + crop][right + crop][k % 2]++;
                found++;
            }
        }
        ck_assert_int_eq(found, 1);
    }
    double expected = (double)N / (side * side * (may_flip ? 2 : 1)), sum = 0;
    for (int k = 0; k < side * side * 2; k++) {
        int count = counts[k / 2 / side][k / 2 % side][k % 2];
        ck_assert(k % 2 == 0 || may_flip || count == 0);
        sum += (count - expected) * (count - expected) / expected;
    }
    /* Chi-square of at most 49 degrees of freedom; without flips as many cells again are empty. */
    sum -= may_flip ? 0 : side * side * expected;
    ck_assert_msg(sum < 95, "chi-square %g", sum);
    free(x);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}

START_TEST(test_shifts)
{
    check_shifts("flip=1", 0, true);
    check_shifts("crop=1", 1, false);
    check_shifts("crop=2,flip=1", 2, true);
}
END_TEST

START_TEST(test_same_bits)
{
    modeconn_context *one = context_of("threads=1"), *four = context_of("threads=4");
    modeconn_dataset *a = marked(one, "crop=2,flip=1"), *b = marked(four, "crop=2,flip=1");
    float *x = trained_on(a, SEED, EPOCH), *y = trained_on(b, SEED, EPOCH), one_image[SIZE];
    ck_assert_mem_eq(x, y, (size_t)N * SIZE * sizeof(*x));
    for (int64_t i = N - 1; i >= 0; i -= 7) {
        OK(mc_dataset_gather_training(b, &i, 1, SEED, EPOCH, one_image, NULL));
        ck_assert_mem_eq(one_image, x + i * SIZE, sizeof(one_image));
    }
    static const struct {
        uint64_t seed;
        int64_t epoch;
    } others[] = {{SEED + 1, EPOCH}, {SEED, EPOCH + 1}, {SEED, 999999}};
    for (int k = 0; k < 3; k++) { /* another seed or epoch: other draws */
        free(y);
        y = trained_on(a, others[k].seed, others[k].epoch);
        int equal = 0;
        for (int i = 0; i < N; i++) {
            equal += memcmp(x + i * SIZE, y + i * SIZE, sizeof(one_image)) == 0;
        }
        ck_assert_int_lt(equal, 30);
    }
    free(y);
    free(x);
    modeconn_dataset_destroy(b);
    modeconn_dataset_destroy(a);
    modeconn_context_destroy(four);
    modeconn_context_destroy(one);
}
END_TEST

/* Reading is not training: no view ever shows a shift. */
START_TEST(test_evaluation)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *with = marked(context, "crop=2,flip=1,cue=box");
    modeconn_dataset *without = marked(context, "cue=box");
    const char *const views[] = {"nocue", "cue", "randcue", "randimg"};
    for (int v = 0; v < 4; v++) {
        modeconn_dataset *a = view_of(with, views[v], 1.0), *b = view_of(without, views[v], 1.0);
        float *x = images_of(a), *y = images_of(b);
        ck_assert_mem_eq(x, y, (size_t)N * SIZE * sizeof(*x));
        free(y);
        free(x);
        modeconn_dataset_destroy(b);
        modeconn_dataset_destroy(a);
    }
    char *text = NULL;
    TEXT(modeconn_dataset_describe, with, text);
    ck_assert_ptr_nonnull(strstr(text, "\"crop\": 2, \"flip\": true"));
    free(text);
    /* Views and subsets keep the options. */
    modeconn_dataset *drawn = NULL, *view = view_of(with, "cue", 1.0);
    OK(modeconn_dataset_split(view, 5, 0, &drawn, NULL));
    ck_assert(drawn->crop == 2 && drawn->flip && view->crop == 2 && view->flip);
    modeconn_dataset_destroy(drawn);
    modeconn_dataset_destroy(view);
    modeconn_dataset_destroy(without);
    modeconn_dataset_destroy(with);
    modeconn_context_destroy(context);
}
END_TEST

/* The box is drawn over the shifted image, in its place. */
START_TEST(test_cue_stays)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = marked(context, "crop=2,flip=1,cue=box,view=cue");
    float *x = trained_on(dataset, SEED, EPOCH);
    int moved = 0;
    for (int i = 0; i < N; i++) {
        static const int top[4] = {0, 0, 0, 1}, left[4] = {0, 2, 4, 0};
        const float *corner = x + i * SIZE + top[i % 4] * W + left[i % 4];
        for (int p = 0; p < 9; p++) {
            ck_assert(corner[p / 3 * W + p % 3] == 0.0F);         /* channel 0 */
            ck_assert(corner[H * W + p / 3 * W + p % 3] == 1.0F); /* channel 1 */
        }
        moved += x[i * SIZE + 4 * W + 3] != value_of(i, 0, 4, 3);
    }
    ck_assert_int_gt(moved, N / 2);
    free(x);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Black is level 0 of uint8 data; above the images of dominoes nothing moves, and nothing comes
 * down from there. */
START_TEST(test_levels_and_content)
{
    modeconn_context *context = context_of("threads=1");
    uint8_t white[16];
    const int32_t label = 0;
    memset(white, 255, sizeof(white));
    modeconn_options *options = options_of("dataset", "crop=1");
    modeconn_dataset *plain = NULL, *top = NULL, *pair = NULL;
    OK(modeconn_dataset_from_u8(context, white, &label, 1, 1, 4, 4, 2, options, &plain));
    OK(modeconn_options_parse(options, "cue=domino,view=cue"));
    OK(modeconn_dataset_from_u8(context, white, &label, 1, 1, 4, 4, 2, NULL, &top));
    OK(modeconn_dataset_dominoes(top, top, options, &pair));
    bool seen = false;
    for (int64_t epoch = 0; epoch < 40; epoch++) {
        float x[16], y[32];
        OK(mc_dataset_gather_training(plain, NULL, 1, SEED, epoch, x, NULL));
        for (int p = 0; p < 16; p++) {
            ck_assert(x[p] == 1.0F || x[p] == -1.0F);
            seen = seen || x[p] == -1.0F;
        }
        OK(mc_dataset_gather_training(pair, NULL, 1, SEED, epoch, y, NULL));
        for (int p = 0; p < 16; p++) {
            ck_assert(y[p] == 1.0F); /* the cue, whole */
            ck_assert(y[16 + p] == (x[p] == 1.0F ? 1.0F : 0.0F));
        }
    }
    ck_assert(seen);
    modeconn_dataset_destroy(pair);
    modeconn_dataset_destroy(top);
    modeconn_dataset_destroy(plain);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_shifts);
    tcase_add_test(tests, test_same_bits);
    tcase_add_test(tests, test_evaluation);
    tcase_add_test(tests, test_cue_stays);
    tcase_add_test(tests, test_levels_and_content);
}

int main(void)
{
    return unit_run("data_gather", add);
}
